"""What an answer means for the statements of its request. Pure.

A :class:`Plan` says for each statement whether it is done, waits, or goes out again at once in a
smaller request. Statements are named by their index in the request.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..connectors import Answer, Verdict

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
