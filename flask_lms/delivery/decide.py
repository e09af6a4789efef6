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

from ..connectors.base import Answer, Stored, Verdict
from ..connectors.causes import Cause
from ..connectors.stages import TestReport
from ..database.models import ConfigurationHealth, Status

#: Seconds after which a statement that was refused alone is tried again; then it is rejected.
REFUSAL_SECONDS = (60.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0)
#: Why one is refused: its content, its size, or because another one is stored under its id.
REJECTED, TOO_LARGE, CONFLICT = "rejected", "too_large", "conflict"
#: The note on one that the LMS calls stored and doesn't let us read.
NOT_VERIFIED = "not_verified"
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
    :param is_unverified: those delivered are so by the LMS's word alone.
    :param superseded: the LMS has newer ones in their place.
    :param waits: nothing was asked: they wait for an event.
    """

    delivered: tuple[int, ...] = ()
    refused: Mapping[int, Refusal] = field(default_factory=dict)
    again: tuple[tuple[int, ...], ...] = ()
    compare: int | None = None
    too_large: bool = False
    is_unverified: bool = False
    superseded: tuple[int, ...] = ()
    waits: tuple[int, ...] = ()

    @property
    def is_taken(self) -> bool:
        """Whether the LMS certainly took something, or has newer than it, so that it is well."""
        return bool(self.superseded or self.delivered) and not self.is_unverified


def plan(answer: Answer, refusals: Sequence[int], jitter: float) -> Plan:
    """Decide by the answer's verdict.

    :param refusals: how often each statement of the request was refused alone before.
    :param jitter: −1 to 1, chance.
    """
    n = len(refusals)
    everyone = tuple(range(n))
    if answer.verdict is Verdict.ACCEPTED:
        return Plan(delivered=everyone)
    if answer.verdict in (Verdict.CONFLICT, Verdict.SUPERSEDED, Verdict.WAITS):
        if n > 1:  # it can't be true of all: one by one
            return Plan(again=tuple((i,) for i in everyone))
        if answer.verdict is Verdict.CONFLICT:
            return Plan(compare=0)
        return Plan(superseded=(0,)) if answer.verdict is Verdict.SUPERSEDED else Plan(waits=(0,))
    is_too_large = answer.verdict is Verdict.TOO_LARGE
    if not is_too_large and answer.verdict not in (Verdict.PARTIAL, Verdict.REFUSED):
        return Plan()  # slow down, failed: all stay as they are
    is_partial = answer.verdict is Verdict.PARTIAL
    named = everyone if n == 1 and not is_partial else tuple(answer.rejected)
    if not named:
        return Plan(again=_halves(everyone), too_large=is_too_large)
    own = answer.cause if n == 1 and answer.verdict is Verdict.REFUSED else None
    reason = TOO_LARGE if is_too_large else own or REJECTED
    refused = {
        i: refused_alone(answer.rejected.get(i, answer.words), refusals[i], jitter, reason)
        for i in everyone
        if i in named
    }
    rest = tuple(i for i in everyone if i not in refused)
    if is_partial:
        return Plan(delivered=rest, refused=refused)
    return Plan(refused=refused, again=(rest,) if rest else ())


def refused_alone(
    words: str | None, refusals: int, jitter: float, reason: str = REJECTED
) -> Refusal:
    """The one way in which a statement is refused alone, whatever the LMS says: tried again five
    times, then rejected.
    """
    again = (
        REFUSAL_SECONDS[refusals] * (1 + 0.2 * jitter) if refusals < len(REFUSAL_SECONDS) else None
    )
    return Refusal(reason=reason, words=words, again_seconds=again)


def _halves(indices: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    middle = (len(indices) + 1) // 2
    return (indices[:middle], indices[middle:])


def compared(
    answer: Answer, stored: Stored | Answer, *, may_be_stored: bool, refusals: int, jitter: float
) -> tuple[Answer, Plan]:
    """Decide about one conflict by what the LMS has under the id.

    :param answer: the conflict.
    :param stored: an answer: the LMS could not be asked.
    :param may_be_stored: an earlier request with it had no clear answer.
    :returns: the answer that counts, and the plan.
    """
    if stored is Stored.SAME:
        return answer, Plan(delivered=(0,))
    if stored is Stored.DIFFERS:
        differs = Refusal(reason=CONFLICT, words=answer.words, again_seconds=None)
        return answer, Plan(refused={0: differs})
    if may_be_stored and stored is Stored.UNREADABLE:
        return answer, Plan(delivered=(0,), is_unverified=True)
    if isinstance(stored, Answer) and (may_be_stored or stored.cause == "connector_failed"):
        return stored, Plan()
    return answer, Plan(refused={0: refused_alone(answer.words, refusals, jitter)})


def is_unclear(verdict: str, http_status: int | None, cause: str | None) -> bool:
    """Whether the LMS may have stored what was in a request that was answered so."""
    if verdict != Verdict.FAILED.value:
        return verdict in (Verdict.ACCEPTED.value, Verdict.PARTIAL.value)
    if http_status is None:
        return cause in ("timeout", "reset", "interrupted")
    return http_status >= 500 or http_status == 408 or cause == "cut_off"


# -- Is it the statements, or does the LMS refuse everything? Pure. An entry of ``singles`` is
# "<digest of the answer> <delivery>", with a third part once a witness has spoken for the LMS.


def essence(words: str | None, http_status: int | None) -> str:
    """A digest of an answer. Numbers, quoted parts and ids are left out, so that alike answers look
    alike.
    """
    text = re.sub(r"[0-9a-f-]{8,}|\d+|\"[^\"]*\"|'[^']*'", "*", (words or "").lower())
    return hashlib.sha256(f"{http_status} {text}".encode()).hexdigest()[:12]


def note_refusal(
    singles: Sequence[str], words: str | None, http_status: int | None, delivery_id: str
) -> tuple[str, ...]:
    """The list of single refusals with one more; a statement counts once, by its newest answer."""
    others = [entry for entry in singles if entry.split()[1] != delivery_id]
    return tuple([*others, f"{essence(words, http_status)} {delivery_id}"][-_SINGLES_KEPT:])


def vouched(singles: Sequence[str]) -> tuple[str, ...]:
    """The LMS took a statement that it knows: so far the statements are to blame."""
    return tuple(" ".join([*entry.split()[:2], "vouched"]) for entry in singles)


def refuses_everything(singles: Sequence[str]) -> bool:
    """Whether five different ones, and half of all, were refused alike since one was accepted, and
    no witness spoke for the LMS.
    """
    return _most_alike([entry for entry in singles if len(entry.split()) == 2]) is not None


def refuses_for_long(
    singles: Sequence[str], last_success_at: datetime | None, now: datetime
) -> bool:
    """Whether twenty in a row were refused alike and nothing new was accepted of late, although a
    witness spoke for the LMS: it may know old statements and still refuse all new ones.
    """
    digests, is_vouched = {entry.split()[0] for entry in singles}, "vouched" in " ".join(singles)
    is_late = last_success_at is not None and now - last_success_at >= _RECENT
    return len(singles) == _SINGLES_KEPT and len(digests) == 1 and is_vouched and is_late


def witness_says(answer: Answer, singles: Sequence[str]) -> bool | None:
    """What the answer to a statement that the LMS took before says of the LMS.

    :returns: True: it is well; False: it refuses that one as it refuses the others; None: nothing,
        such as a conflict, which is a right answer to one that it has, when the others had it too.
    """
    if answer.verdict is Verdict.ACCEPTED:
        return True
    words = answer.rejected.get(0, answer.words)
    is_alike = essence(words, answer.http_status) == _most_alike(singles)
    if answer.verdict is Verdict.CONFLICT:
        return None if is_alike else True
    return False if is_alike else None


def _most_alike(singles: Sequence[str]) -> str | None:
    """The digest that five, and half of all, share."""
    for digest, alike in Counter(entry.split()[0] for entry in singles).most_common(1):
        if alike >= _ALIKE_AT_LEAST and alike * 2 >= len(singles):
            return digest
    return None


# -- The health of a destination: what one answer makes of it. Pure.

#: Seconds to wait after the first failures, then between probes of a destination that is down.
_FIRST_SECONDS = (2.0, 5.0)
_PROBE_SECONDS = (15.0, 30.0, 60.0, 120.0, 240.0, 480.0)
_LONGEST_PROBE_SECONDS = 600.0
#: With the ticker's 5 s a probe is never more than 12 minutes after the last.
_MOST_SECONDS = 710.0
_SETTINGS_SECONDS = 1800.0
#: Between probes of an LMS that refuses everything; each may be two requests. Then as above.
_REFUSING_SECONDS = (60.0, 60.0, 120.0, 240.0, 480.0)
_SLOW_DOWN_SECONDS = 60.0
_MOST_RETRY_AFTER_SECONDS = 6 * 3600.0
_OWN_FAULT_SECONDS = 60.0
#: For so long a destination isn't charged with what may be our own fault.
_OWN_FAULT_AT_MOST = timedelta(minutes=10)
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
    ramp = None if was_refusing(vitals) else vitals.ramp
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


def was_refusing(vitals: Vitals) -> bool:
    """Whether the LMS refused everything; another error may have come over that since."""
    return vitals.cause == SETTINGS or (
        vitals.status.is_error and refuses_everything(vitals.singles)
    )


def answered(vitals: Vitals, now: datetime) -> Vitals:
    """The LMS is there and lets us in but took nothing of this request.

    So an error to connect is over; one of the settings is not.
    """
    if vitals.cause == SETTINGS:
        return replace(vitals, last_attempt_at=now)
    heard = replace(
        vitals, failures=0, failing_since=None, last_attempt_at=now, next_attempt_at=None
    )
    if not vitals.status.is_error:
        return heard
    return _with_status(heard, Status.CONNECTED, None, {}, now)


def failed(
    vitals: Vitals,
    cause: Cause,
    facts: Mapping[str, Any],
    now: datetime,
    *,
    jitter: float,
    smaller: int | None = None,
    is_refusing: bool = False,
) -> Vitals:
    """The destination failed; its statements stay.

    :param jitter: −1 to 1, chance.
    :param smaller: statements in the next request, when size is suspected.
    :param is_refusing: it refuses everything, which may be over soon.
    """
    failures = vitals.failures + 1
    shows = failures >= DOWN_AFTER or cause.is_settings or _shows_at_once(cause)
    down = failures >= DOWN_AFTER or cause.is_settings
    ramp = 1 if down else smaller or vitals.ramp
    delay = _delay(failures, cause, jitter)
    if is_refusing and failures <= len(_REFUSING_SECONDS):
        delay = _REFUSING_SECONDS[failures - 1] * (1.1 + 0.1 * jitter)  # never sooner
    seen = replace(
        vitals,
        failures=failures,
        failing_since=vitals.failing_since or now,
        next_attempt_at=now + timedelta(seconds=delay),
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
    """The LMS wants a pause (429, 503 with Retry-After): shown, not counted as a failure.

    :param retry_after_seconds: None: it didn't say how long, or nothing that makes sense; then a
        minute, twice as long each time in a row.
    """
    wait = retry_after_seconds
    if wait is None:
        before = vitals.facts.get("wait_seconds") if vitals.cause == cause.code else None
        is_paused = vitals.next_attempt_at is not None and vitals.next_attempt_at > now
        wait = _SLOW_DOWN_SECONDS if before is None else before if is_paused else before * 2
        wait = min(wait, _MOST_RETRY_AFTER_SECONDS)
        facts = {**facts, "wait_seconds": wait}
    wait = min(max(wait, 1.0), _MOST_RETRY_AFTER_SECONDS)
    until = now + timedelta(seconds=wait)
    if until.microsecond:  # MariaDB cuts it off, which would be too early
        until = until.replace(microsecond=0) + timedelta(seconds=1)
    paused = replace(vitals, next_attempt_at=until, last_attempt_at=now)
    return _with_status(paused, cause.status or Status.SERVER_ERROR, cause.code, facts, now)


def may_be_own_fault(vitals: Vitals, now: datetime) -> bool:
    """Whether a destination need not yet be charged with a fault that may be ours."""
    return vitals.failing_since is None or now - vitals.failing_since < _OWN_FAULT_AT_MOST


def own_fault(vitals: Vitals, now: datetime) -> Vitals:
    """Every destination fails alike with a local cause: the fault is ours, charge nobody."""
    return replace(
        vitals,
        failing_since=vitals.failing_since or now,
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


# -- The size of requests: a limit that was learnt grows back. Pure.


def hours_between(before: datetime | None, now: datetime) -> int:
    """Full hours of the clock that began since: then a limit may grow."""
    return 0 if before is None else int(now.timestamp() // 3600 - before.timestamp() // 3600)


def grown(
    learnt_bytes: int, hours: int, too_large_at: datetime | None, now: datetime, most_bytes: int
) -> int | None:
    """The limit, doubled after each hour without a 413; None: it limits nothing any more.

    :param hours: that began since the last request.
    :param too_large_at: the newest 413 since an hour before that request; None: there was none.
    """
    if too_large_at is not None:
        hours = min(hours, int((now - too_large_at) / timedelta(hours=1)))
    learnt_bytes *= 2 ** min(hours, 32)
    return learnt_bytes if learnt_bytes < most_bytes else None


# -- Telling the installation's own faults (its DNS, its proxy, its network) from a
# destination's.

_DESTINATIONS = 3
_ESTABLISHED = 2


def fails_alike(evidence: Iterable[tuple[str, str | None, bool]], cause: str) -> bool:
    """Whether at least three destinations were tried, every request failed with this cause, and
    that is news of two of them: new ones may as well be mistyped. Pure.

    :param evidence: of each request of late its destination, its cause (None: it was answered), and
        whether that destination took something in the last day.
    """
    tried, established = set(), set()
    for destination, found, is_established in evidence:
        if found != cause:
            return False
        tried.add(destination)
        if is_established:
            established.add(destination)
    return len(tried) >= _DESTINATIONS and len(established) >= _ESTABLISHED


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
        if verdict is Verdict.WAITS:  # says nothing of the destination
            return self
        if verdict not in (Verdict.ACCEPTED, Verdict.SUPERSEDED):
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
