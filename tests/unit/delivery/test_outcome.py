"""What an answer means for the statements of its request."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from flask_lms.connectors.base import Answer, Stored, Verdict
from flask_lms.delivery.decide import (
    REFUSAL_SECONDS,
    compared,
    grown,
    hours_between,
    is_unclear,
    note_refusal,
    plan,
    refuses_everything,
    refuses_for_long,
    vouched,
    witness_says,
)
from tests.world import START

ACCEPTED = Answer(verdict=Verdict.ACCEPTED)
REFUSED = Answer(verdict=Verdict.REFUSED, cause="refused", words="bad actor", http_status=400)


def test_an_accepted_request_delivers_every_statement() -> None:
    assert plan(ACCEPTED, [0, 0, 3], 0.0).delivered == (0, 1, 2)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.SLOW_DOWN])
def test_a_failing_destination_changes_no_statement(verdict: Verdict) -> None:
    decided = plan(Answer(verdict=verdict, cause="timeout"), [0, 0], 0.0)
    assert (decided.delivered, dict(decided.refused), decided.again) == ((), {}, ())


@pytest.mark.parametrize(
    ("n", "halves"),
    [(2, ((0,), (1,))), (3, ((0, 1), (2,))), (50, (tuple(range(25)), tuple(range(25, 50))))],
)
def test_a_refused_batch_is_halved(n: int, halves: tuple[tuple[int, ...], ...]) -> None:
    decided = plan(REFUSED, [0] * n, 0.0)
    assert decided.again == halves
    assert not decided.refused


def test_a_refused_batch_that_names_the_culprit_sends_the_rest_at_once() -> None:
    answer = Answer(verdict=Verdict.REFUSED, cause="refused", rejected={1: "no verb"})
    decided = plan(answer, [0, 0, 0], 0.0)
    assert decided.again == ((0, 2),)
    assert decided.refused[1].words == "no verb"
    assert decided.refused[1].again_seconds == REFUSAL_SECONDS[0]


@pytest.mark.parametrize(
    ("before", "seconds"), [*enumerate(REFUSAL_SECONDS), (len(REFUSAL_SECONDS), None)]
)
def test_one_refused_alone_is_tried_five_times_more_and_then_rejected(
    before: int, seconds: float | None
) -> None:
    [refusal] = plan(REFUSED, [before], 0.0).refused.values()
    assert refusal.again_seconds == seconds
    assert refusal.words == "bad actor"


@pytest.mark.parametrize(("jitter", "seconds"), [(-1.0, 48.0), (1.0, 72.0)])
def test_a_retry_is_spread_by_a_fifth(jitter: float, seconds: float) -> None:
    assert plan(REFUSED, [0], jitter).refused[0].again_seconds == pytest.approx(seconds)


def test_partial_success_refuses_those_named_alone_and_delivers_the_others() -> None:
    answer = Answer(verdict=Verdict.PARTIAL, rejected={0: "too old"})
    decided = plan(answer, [0, 5], 0.0)
    assert decided.delivered == (1,)
    assert decided.again == ()
    assert decided.refused[0].again_seconds == REFUSAL_SECONDS[0]
    assert plan(answer, [5, 0], 0.0).refused[0].again_seconds is None


def test_partial_success_that_names_everything_delivers_nothing() -> None:
    decided = plan(Answer(verdict=Verdict.PARTIAL, rejected={0: "a", 1: "b"}), [0, 0], 0.0)
    assert decided.delivered == ()
    assert [refusal.words for refusal in decided.refused.values()] == ["a", "b"]


def test_a_conflict_in_a_batch_sends_one_by_one() -> None:
    decided = plan(Answer(verdict=Verdict.CONFLICT, cause="conflict"), [0, 0, 0], 0.0)
    assert decided.again == ((0,), (1,), (2,))


def test_a_conflict_on_one_asks_for_what_is_stored() -> None:
    assert plan(Answer(verdict=Verdict.CONFLICT, cause="conflict"), [0], 0.0).compare == 0


HELD = Answer(verdict=Verdict.CONFLICT, cause="conflict", words="exists", http_status=409)
AWAY = Answer(verdict=Verdict.FAILED, cause="timeout")


@pytest.mark.parametrize("may_be_stored", [True, False])
def test_what_the_lms_has_under_the_id_decides_a_conflict(may_be_stored: bool) -> None:
    answer, same = compared(HELD, Stored.SAME, may_be_stored=may_be_stored, refusals=0, jitter=0.0)
    assert (answer, same.delivered, same.is_unverified) == (HELD, (0,), False)
    for stored, reason, again in (
        (Stored.DIFFERS, "conflict", None),
        (Stored.ABSENT, "rejected", REFUSAL_SECONDS[0]),
    ):
        _, decided = compared(HELD, stored, may_be_stored=may_be_stored, refusals=0, jitter=0.0)
        [refusal] = decided.refused.values()
        assert (refusal.reason, refusal.again_seconds) == (reason, again)
        assert decided.delivered == ()


def test_a_conflict_that_cannot_be_looked_into_counts_as_stored_only_if_it_may_have_been_sent() -> (
    None
):
    answer, decided = compared(HELD, Stored.UNREADABLE, may_be_stored=True, refusals=0, jitter=0.0)
    assert (decided.delivered, decided.is_unverified, decided.is_taken) == ((0,), True, False)
    answer, decided = compared(HELD, AWAY, may_be_stored=True, refusals=0, jitter=0.0)
    assert (answer, decided) == (AWAY, plan(AWAY, [0], 0.0))
    for stored in (Stored.UNREADABLE, AWAY):
        answer, decided = compared(HELD, stored, may_be_stored=False, refusals=5, jitter=0.0)
        assert answer is HELD
        assert decided.delivered == ()
        assert decided.refused[0].again_seconds is None


@pytest.mark.parametrize(
    ("verdict", "http_status", "cause", "expected"),
    [
        ("failed", None, "timeout", True),
        ("failed", None, "reset", True),
        ("failed", None, "interrupted", True),
        ("failed", None, "refused", False),
        ("failed", None, "dns", False),
        ("failed", 200, "cut_off", True),
        ("failed", 200, "not_lrs", False),
        ("failed", 500, "internal", True),
        ("failed", 502, "internal", True),
        ("failed", 408, "busy", True),
        ("failed", 401, "credentials", False),
        ("failed", 404, "address", False),
        ("slow_down", 503, "rate", False),
        ("refused", 400, "rejected", False),
        ("conflict", 409, "conflict", False),
        ("accepted", 200, None, True),
        ("partial", 200, "rejected", True),
    ],
)
def test_only_a_request_without_a_clear_answer_may_have_been_stored(
    verdict: str, http_status: int | None, cause: str | None, expected: bool
) -> None:
    assert is_unclear(verdict, http_status, cause) is expected


def test_a_batch_that_is_too_large_is_halved_and_remembered() -> None:
    decided = plan(Answer(verdict=Verdict.TOO_LARGE, cause="too_large"), [0] * 4, 0.0)
    assert decided.again == ((0, 1), (2, 3))
    assert decided.too_large


def test_one_statement_that_is_too_large_is_refused_alone() -> None:
    [refusal] = plan(Answer(verdict=Verdict.TOO_LARGE), [0], 0.0).refused.values()
    assert (refusal.reason, refusal.again_seconds) == ("too_large", REFUSAL_SECONDS[0])


def _refusals(*words: str) -> tuple[str, ...]:
    singles: tuple[str, ...] = ()
    for number, said in enumerate(words):
        singles = note_refusal(singles, said, 400, f"{number:08x}")
    return singles


LONG_AGO = START - timedelta(days=1)


@pytest.mark.parametrize(
    ("singles", "expected"),
    [
        (_refusals(*["unknown version"] * 4), False),
        (_refusals(*["unknown version"] * 5), True),
        (_refusals(*[f"statement {n} is bad" for n in range(5)]), True),
        (_refusals("a", "b", "c", "d", "e"), False),
        (_refusals(*["a"] * 5, *"bcdef"), True),
        (_refusals(*["a"] * 5, *"bcdefg"), False),
        (vouched(_refusals(*["a"] * 20)), False),
    ],
)
def test_settings_are_to_blame_when_five_and_half_of_all_are_refused_alike(
    singles: tuple[str, ...], expected: bool
) -> None:
    assert refuses_everything(singles) is expected


def test_once_a_witness_spoke_for_the_lms_five_others_are_needed() -> None:
    singles = vouched(_refusals(*["a"] * 5))
    for number in range(5):
        assert not refuses_everything(singles)
        singles = note_refusal(singles, "a", 400, f"new{number}")
    assert refuses_everything(singles)


@pytest.mark.parametrize(
    ("singles", "last_success_at", "expected"),
    [
        (_refusals(*["a"] * 20), LONG_AGO, False),
        (vouched(_refusals(*["a"] * 20)), LONG_AGO, True),
        (vouched(_refusals(*["a"] * 20)), None, False),
        (vouched(_refusals(*["a"] * 19)), LONG_AGO, False),
        (vouched(_refusals(*["a"] * 19, "b")), LONG_AGO, False),
        (vouched(_refusals(*["a"] * 20)), START - timedelta(minutes=9), False),
        (vouched(_refusals(*["a"] * 20)), START - timedelta(minutes=10), True),
    ],
)
def test_twenty_decide_whatever_a_witness_said_when_nothing_was_accepted_of_late(
    singles: tuple[str, ...], last_success_at: datetime | None, expected: bool
) -> None:
    assert refuses_for_long(singles, last_success_at, START) is expected


BAD = _refusals(*["bad actor"] * 5)
HELD_ALL = tuple(note_refusal((), "exists", 409, f"{n:08x}")[0] for n in range(5))


@pytest.mark.parametrize(
    ("answer", "singles", "expected"),
    [
        (ACCEPTED, BAD, True),
        (REFUSED, BAD, False),
        (Answer(verdict=Verdict.REFUSED, words="known already", http_status=400), BAD, None),
        (HELD, BAD, True),
        (HELD, HELD_ALL, None),
    ],
    ids=["taken again", "refused alike", "refused otherwise", "409", "409 as all others"],
)
def test_a_statement_that_the_lms_took_before_testifies(
    answer: Answer, singles: tuple[str, ...], expected: bool | None
) -> None:
    assert witness_says(answer, singles) is expected


@pytest.mark.parametrize(
    ("hours", "minutes_ago", "expected"),
    [
        (0, None, 1000),
        (1, None, 2000),
        (2, None, 4000),
        (3, None, None),
        (1, 59, 1000),
        (2, 61, 2000),
        (2, 130, 4000),
        (10**6, None, None),
    ],
)
def test_a_learnt_limit_doubles_after_each_hour_without_a_413(
    hours: int, minutes_ago: int | None, expected: int | None
) -> None:
    at = None if minutes_ago is None else START - timedelta(minutes=minutes_ago)
    assert grown(1000, hours, at, START, 8000) == expected


def test_hours_are_those_of_the_clock() -> None:
    assert hours_between(None, START) == 0
    assert hours_between(START, START + timedelta(minutes=59)) == 0
    assert hours_between(START - timedelta(seconds=1), START) == 1
    assert hours_between(START, START + timedelta(hours=3, minutes=59)) == 3


def test_one_statement_refused_again_and_again_counts_once() -> None:
    singles: tuple[str, ...] = ()
    for _ in range(9):
        singles = note_refusal(singles, "bad", 400, "0badcafe")
    assert len(singles) == 1


def test_only_the_last_twenty_refusals_are_kept() -> None:
    assert len(_refusals(*["x"] * 30)) == 20
