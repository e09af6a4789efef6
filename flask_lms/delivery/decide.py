"""Step 7 of the walk: what an answer means for the statements of its request, for the health of
its destination and for how much goes out next. Pure.

A :class:`Plan` says for each statement whether it is done, waits, or goes out again at once in a
smaller request. Statements are named by their index in the request.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from ..connectors.base import Answer, Cause, TestReport, Verdict
from ..database.models import ConfigurationHealth, Status

#: Seconds after which a statement that was refused alone is tried again; then it is rejected.
REFUSAL_SECONDS = (60.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0)
_ALIKE_AT_LEAST = 5
_SINGLES_KEPT = 20
_RECENT = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One statement that was refused alone.

    :param again_seconds: when to try it again; None: rejected for good.
    """

    reason: str
    words: str | None
    again_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do with the statements of one request.

    :param again: indices to send again at once, request by request.
    :param compare: ask the LMS whether what it has stored under this id is the same.
    :param too_large: the request's size was the trouble: remember that.
    """

    delivered: tuple[int, ...] = ()
    refused: Mapping[int, Refusal] = field(default_factory=dict)
    again: tuple[tuple[int, ...], ...] = ()
    compare: int | None = None
    too_large: bool = False


def plan(answer: Answer, refusals: Sequence[int], jitter: float) -> Plan:
    """Decide by the answer's verdict.

    :param refusals: how often each statement of the request was refused alone before.
    :param jitter: −1 to 1, chance.
    """
    n = len(refusals)
    everyone = tuple(range(n))
    if answer.verdict is Verdict.ACCEPTED:
        return Plan(delivered=everyone)
    if answer.verdict is Verdict.PARTIAL:
        refused = {
            index: Refusal(reason="rejected", words=words, again_seconds=None)
            for index, words in answer.rejected.items()
        }
        return Plan(delivered=tuple(i for i in everyone if i not in refused), refused=refused)
    if answer.verdict is Verdict.REFUSED:
        return _refused(answer, refusals, jitter)
    if answer.verdict is Verdict.CONFLICT:
        return Plan(compare=0) if n == 1 else Plan(again=tuple((i,) for i in everyone))
    if answer.verdict is Verdict.TOO_LARGE:
        if n == 1:
            refusal = Refusal(reason="too_large", words=answer.words, again_seconds=None)
            return Plan(refused={0: refusal})
        return Plan(again=_halves(everyone), too_large=True)
    return Plan()  # slow down, failed: all stay as they are


def _refused(answer: Answer, refusals: Sequence[int], jitter: float) -> Plan:
    everyone = tuple(range(len(refusals)))
    named = tuple(i for i in everyone if i in answer.rejected) if len(everyone) > 1 else everyone
    if not named:
        return Plan(again=_halves(everyone))
    refused = {}
    for index in named:
        words = answer.rejected.get(index, answer.words)
        wait = (
            REFUSAL_SECONDS[refusals[index]] * (1 + 0.2 * jitter)
            if refusals[index] < len(REFUSAL_SECONDS)
            else None
        )
        refused[index] = Refusal(reason="rejected", words=words, again_seconds=wait)
    rest = tuple(i for i in everyone if i not in refused)
    return Plan(refused=refused, again=(rest,) if rest else ())


def _halves(indices: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    middle = (len(indices) + 1) // 2
    return (indices[:middle], indices[middle:])


def conflict(words: str | None) -> Plan:
    """Another statement is stored under this id: rejected, as it can never be stored."""
    refusal = Refusal(reason="conflict", words=words, again_seconds=None)
    return Plan(refused={0: refusal})


def note_refusal(
    singles: Sequence[str], words: str | None, http_status: int | None, delivery_id: str
) -> tuple[str, ...]:
    """The list of single refusals with one more; a statement counts once, by its newest answer.

    Numbers, quoted parts and ids in the answer are left out, so that alike answers look alike.
    """
    essence = re.sub(r"[0-9a-f-]{8,}|\d+|\"[^\"]*\"|'[^']*'", "*", (words or "").lower())
    digest = hashlib.sha256(f"{http_status} {essence}".encode()).hexdigest()[:12]
    others = [entry for entry in singles if not entry.endswith(delivery_id)]
    return tuple([*others, f"{digest} {delivery_id}"][-_SINGLES_KEPT:])


def refuses_everything(
    singles: Sequence[str], last_success_at: datetime | None, now: datetime
) -> bool:
    """Whether the settings are to blame and not the statements: five different ones and half of
    the last twenty were refused alike, and nothing was accepted of late.
    """
    if len(singles) < _ALIKE_AT_LEAST:
        return False
    if last_success_at is not None and now - last_success_at < _RECENT:
        return False
    [(_, alike)] = Counter(entry.split()[0] for entry in singles).most_common(1)
    return alike >= _ALIKE_AT_LEAST and alike * 2 >= len(singles)


# -- The health of a destination: what one answer makes of it. Pure.

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
    def of(cls, health: ConfigurationHealth) -> Vitals:
        """The vitals in a row."""
        values = {item.name: getattr(health, item.name) for item in fields(cls)}
        return cls(**{**values, "singles": tuple(health.singles or ())})

    def write(self, health: ConfigurationHealth) -> None:
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


def settle_test(
    health: ConfigurationHealth, report: TestReport, cause: Cause | None, now: datetime
) -> None:
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


# -- Telling the installation's own faults (its DNS, its proxy, its network) from a
# destination's.

_DESTINATIONS = 3


def fails_alike(evidence: Iterable[tuple[str, str | None]], cause: str) -> bool:
    """Whether at least three destinations were tried and every request failed with this cause.

    :param evidence: destination and cause (None: it answered) of each request of late. Pure.
    """
    tried = set()
    for destination, found in evidence:
        if found != cause:
            return False
        tried.add(destination)
    return len(tried) >= _DESTINATIONS


# -- How much goes out at once. Pure.

_ANSWERS_LATELY = timedelta(hours=1)
#: Every so many failures in a row a request has the full limits of time, for an LMS that is slow.
_PATIENT_EVERY = 6
_FIRST_STATEMENTS = 50
_QUICK_MS = 1000


def is_well(failures: int, last_success_at: datetime | None, now: datetime) -> bool:
    """Whether a destination may be trusted to answer: it did of late, and did not fail since."""
    return (
        failures == 0 and last_success_at is not None and now - last_success_at <= _ANSWERS_LATELY
    )


def is_patient(failures: int) -> bool:
    """Whether a destination that did not answer of late is given the full time for once."""
    return failures % _PATIENT_EVERY == _PATIENT_EVERY - 1


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Requests beside each other, and statements in each.

    :param accepted: requests accepted in a row.
    """

    most_at_once: int
    most_statements: int
    at_once: int
    statements: int
    accepted: int = 0

    @classmethod
    def begin(cls, *, most_at_once: int, most_statements: int, is_well: bool) -> Pace:
        """Carefully, unless the destination answered of late."""
        return cls(
            most_at_once=most_at_once,
            most_statements=most_statements,
            at_once=most_at_once if is_well else 1,
            statements=min(_FIRST_STATEMENTS, most_statements),
        )

    def after(self, verdict: Verdict, statements: int, took_ms: int) -> Pace:
        """What the next requests may be: larger after quick and full ones that were accepted, one
        at a time and small again after any other.
        """
        if verdict is not Verdict.ACCEPTED:
            return replace(
                self,
                at_once=1,
                statements=min(_FIRST_STATEMENTS, self.most_statements),
                accepted=0,
            )
        accepted = self.accepted + 1
        grows = statements >= self.statements and took_ms <= _QUICK_MS
        return replace(
            self,
            at_once=self.most_at_once if accepted > 1 else self.at_once,
            statements=min(self.statements * 2, self.most_statements) if grows else self.statements,
            accepted=accepted,
        )
