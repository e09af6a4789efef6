"""The health of a destination: what one answer makes of it. Pure.

Three failures in a row open the breaker: then one statement at a time probes, soon at first and
every ten minutes at most, without end. The first success closes it: 1, 10, then full requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from ..connectors import Cause, TestReport
from ..models import Health, Status

#: Seconds to wait after the first failures, then between probes of a destination that is down.
_FIRST_SECONDS = (2.0, 5.0)
_PROBE_SECONDS = (15.0, 30.0, 60.0, 120.0, 240.0, 480.0)
_LONGEST_PROBE_SECONDS = 600.0
#: With the ticker's 5 s a probe is never more than 12 minutes after the last.
_MOST_SECONDS = 710.0
_SETTINGS_SECONDS = 1800.0
_SLOW_DOWN_SECONDS = 60.0
_MOST_RETRY_AFTER_SECONDS = 6 * 3600.0
_OWN_FAULT_SECONDS = 60.0
#: Failures in a row after which a destination is down.
DOWN_AFTER = 3
_RAMP = 10
#: The cause of an LMS that refuses everything; each connector has it.
SETTINGS = "settings"


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """The part of a health row that answers decide; names as there."""

    status: Status = Status.NOT_TESTED
    cause: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    next_attempt_at: datetime | None = None
    last_attempt_at: datetime | None = None
    last_success_at: datetime | None = None
    ramp: int | None = None
    learnt_bytes: int | None = None
    singles: tuple[str, ...] = ()

    @classmethod
    def of(cls, health: Health) -> Vitals:
        """The vitals in a row."""
        values = {item.name: getattr(health, item.name) for item in fields(cls)}
        return cls(**{**values, "singles": tuple(health.singles or ())})

    def write(self, health: Health) -> None:
        """Put them back into the row."""
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("facts", "singles"):
                value = dict(value) if item.name == "facts" else list(value)
            if getattr(health, item.name) != value:
                setattr(health, item.name, value)


def succeeded(vitals: Vitals, now: datetime) -> Vitals:
    """The LMS stored something: whatever was wrong is over."""
    ramp = vitals.ramp
    return replace(
        _with_status(vitals, Status.CONNECTED, None, {}, now),
        failures=0,
        failing_since=None,
        next_attempt_at=None,
        last_attempt_at=now,
        last_success_at=now,
        ramp=_RAMP if ramp is not None and ramp < _RAMP else None,
        singles=(),
    )


def answered(vitals: Vitals, now: datetime) -> Vitals:
    """The LMS is there and lets us in but took nothing of this request.

    So an error to connect is over; one of the settings is not.
    """
    heard = replace(vitals, last_attempt_at=now, next_attempt_at=None)
    if not vitals.status.is_error or vitals.cause == SETTINGS:
        return heard
    heard = replace(heard, failures=0, failing_since=None)
    return _with_status(heard, Status.CONNECTED, None, {}, now)


def failed(
    vitals: Vitals,
    cause: Cause,
    facts: Mapping[str, Any],
    now: datetime,
    *,
    jitter: float,
    smaller: int | None = None,
) -> Vitals:
    """The destination failed; its statements stay.

    :param jitter: −1 to 1, chance.
    :param smaller: statements in the next request, when size is suspected.
    """
    failures = vitals.failures + 1
    shows = failures >= DOWN_AFTER or cause.is_settings or _shows_at_once(cause)
    down = failures >= DOWN_AFTER or cause.is_settings
    ramp = 1 if down else smaller or vitals.ramp
    seen = replace(
        vitals,
        failures=failures,
        failing_since=vitals.failing_since or now,
        next_attempt_at=now + timedelta(seconds=_delay(failures, cause, jitter)),
        last_attempt_at=now,
        ramp=ramp,
    )
    if not shows or cause.status is None:
        return seen
    return _with_status(seen, cause.status, cause.code, facts, now)


def asked_to_slow_down(
    vitals: Vitals,
    cause: Cause,
    facts: Mapping[str, Any],
    retry_after_seconds: float | None,
    now: datetime,
) -> Vitals:
    """The LMS wants a pause (429, 503 with Retry-After): shown, not counted as a failure."""
    wait = _SLOW_DOWN_SECONDS if retry_after_seconds is None else retry_after_seconds
    wait = min(max(wait, 1.0), _MOST_RETRY_AFTER_SECONDS)
    until = now + timedelta(seconds=wait)
    if until.microsecond:  # MariaDB cuts it off, which would be too early
        until = until.replace(microsecond=0) + timedelta(seconds=1)
    paused = replace(vitals, next_attempt_at=until, last_attempt_at=now)
    return _with_status(paused, cause.status or Status.SERVER_ERROR, cause.code, facts, now)


def own_fault(vitals: Vitals, now: datetime) -> Vitals:
    """Every destination fails alike with a local cause: the fault is ours, charge nobody."""
    return replace(
        vitals,
        next_attempt_at=now + timedelta(seconds=_OWN_FAULT_SECONDS),
        last_attempt_at=now,
    )


def tested(vitals: Vitals, cause: Cause | None, facts: Mapping[str, Any], now: datetime) -> Vitals:
    """A connection test is evidence too: it clears an error at once, or shows one at once."""
    if cause is None:
        return replace(
            _with_status(vitals, Status.CONNECTED, None, {}, now),
            failures=0,
            failing_since=None,
            next_attempt_at=None,
            ramp=1 if vitals.failures else vitals.ramp,
            singles=(),
        )
    if cause.status is None:
        return vitals
    failing = replace(
        vitals,
        failures=max(vitals.failures, 1),
        failing_since=vitals.failing_since or now,
        next_attempt_at=vitals.next_attempt_at
        or now + timedelta(seconds=_delay(vitals.failures + 1, cause, 0.0)),
    )
    return _with_status(failing, cause.status, cause.code, facts, now)


def settle_test(health: Health, report: TestReport, cause: Cause | None, now: datetime) -> None:
    """Write a connection test's evidence into the row."""
    tested(Vitals.of(health), cause, report.facts, now).write(health)


def _shows_at_once(cause: Cause) -> bool:
    """No connection shows at once; what may pass by itself, or may be our own network, does not."""
    return cause.status is Status.CANT_CONNECT and not cause.is_local


def _delay(failures: int, cause: Cause, jitter: float) -> float:
    if cause.is_settings:
        return _SETTINGS_SECONDS * (1 + 0.05 * jitter)
    if failures < DOWN_AFTER:
        return _FIRST_SECONDS[failures - 1]
    step = failures - DOWN_AFTER
    if step < len(_PROBE_SECONDS):
        return _PROBE_SECONDS[step] * (1 + 0.2 * jitter)
    return min(_LONGEST_PROBE_SECONDS * (1 + 0.2 * jitter), _MOST_SECONDS)


def _with_status(
    vitals: Vitals, status: Status, cause: str | None, facts: Mapping[str, Any], now: datetime
) -> Vitals:
    since = vitals.since if vitals.status is status and vitals.since else now
    return replace(vitals, status=status, cause=cause, facts=dict(facts), since=since)
