"""What an answer means for the statements of its request."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flask_lms.connectors.base import Answer, Verdict
from flask_lms.delivery.decide import (
    REFUSAL_SECONDS,
    conflict,
    note_refusal,
    plan,
    refuses_everything,
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


def test_partial_success_rejects_those_named_and_delivers_the_others() -> None:
    answer = Answer(verdict=Verdict.PARTIAL, rejected={0: "too old"})
    decided = plan(answer, [0, 0], 0.0)
    assert decided.delivered == (1,)
    assert decided.refused[0].again_seconds is None


def test_a_conflict_in_a_batch_sends_one_by_one() -> None:
    decided = plan(Answer(verdict=Verdict.CONFLICT, cause="conflict"), [0, 0, 0], 0.0)
    assert decided.again == ((0,), (1,), (2,))


def test_a_conflict_on_one_asks_for_what_is_stored() -> None:
    assert plan(Answer(verdict=Verdict.CONFLICT, cause="conflict"), [0], 0.0).compare == 0


def test_another_statement_under_the_same_id_is_rejected() -> None:
    [refusal] = conflict("differs").refused.values()
    assert (refusal.reason, refusal.again_seconds) == ("conflict", None)


def test_a_batch_that_is_too_large_is_halved_and_remembered() -> None:
    decided = plan(Answer(verdict=Verdict.TOO_LARGE, cause="too_large"), [0] * 4, 0.0)
    assert decided.again == ((0, 1), (2, 3))
    assert decided.too_large


def test_one_statement_that_is_too_large_is_rejected() -> None:
    [refusal] = plan(Answer(verdict=Verdict.TOO_LARGE), [0], 0.0).refused.values()
    assert (refusal.reason, refusal.again_seconds) == ("too_large", None)


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
    ],
)
def test_settings_are_to_blame_when_five_and_half_of_all_are_refused_alike(
    singles: tuple[str, ...], expected: bool
) -> None:
    assert refuses_everything(singles, LONG_AGO, START) is expected


def test_settings_are_not_to_blame_while_others_are_accepted() -> None:
    singles = _refusals(*["bad"] * 9)
    assert not refuses_everything(singles, START - timedelta(minutes=2), START)


def test_one_statement_refused_again_and_again_counts_once() -> None:
    singles: tuple[str, ...] = ()
    for _ in range(9):
        singles = note_refusal(singles, "bad", 400, "0badcafe")
    assert len(singles) == 1


def test_only_the_last_twenty_refusals_are_kept() -> None:
    assert len(_refusals(*["x"] * 30)) == 20
