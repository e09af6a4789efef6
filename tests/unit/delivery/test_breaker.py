"""What one answer makes of a destination's health."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flask_lms.connectors.causes import TRANSPORT_CAUSES, Cause
from flask_lms.connectors.stages import TestReport
from flask_lms.database.models import ConfigurationHealth, Status
from flask_lms.delivery import decide
from flask_lms.delivery.decide import Vitals
from tests.world import START

REFUSED = TRANSPORT_CAUSES["refused"]
DNS = TRANSPORT_CAUSES["dns"]
CREDENTIALS = Cause(code="credentials", status=Status.SERVER_ERROR, sentence="", is_settings=True)
INTERNAL = Cause(code="internal", status=Status.SERVER_ERROR, sentence="")
FACTS = {"host": "lrs.example.org"}


def fail(vitals: Vitals, cause: Cause, times: int = 1, jitter: float = 0.0) -> Vitals:
    for _ in range(times):
        vitals = decide.failed(vitals, cause, FACTS, START, jitter=jitter)
    return vitals


def wait(vitals: Vitals) -> float:
    assert vitals.next_attempt_at is not None
    return (vitals.next_attempt_at - START).total_seconds()


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 2), (2, 5), (3, 15), (4, 30), (5, 60), (6, 120), (7, 240), (8, 480), (9, 600), (99, 600)],
)
def test_tries_come_soon_at_first_and_every_ten_minutes_without_end(
    failures: int, seconds: float
) -> None:
    assert wait(fail(Vitals(), REFUSED, failures)) == seconds


@pytest.mark.parametrize("jitter", [-1.0, -0.3, 0.0, 0.7, 1.0])
def test_probes_are_never_more_than_twelve_minutes_apart_ticker_included(jitter: float) -> None:
    assert wait(fail(Vitals(), REFUSED, 50, jitter)) + 5 <= 12 * 60


def test_in_thirty_days_of_outage_no_two_probes_are_further_apart() -> None:
    chance, vitals, now, probes = random.Random(30), Vitals(), START, 0
    while now < START + timedelta(days=30):
        jitter = chance.uniform(-1, 1)
        vitals = decide.failed(vitals, INTERNAL, FACTS, now, jitter=jitter)
        assert vitals.next_attempt_at is not None
        probed_at = vitals.next_attempt_at + timedelta(seconds=5)  # the ticker finds it
        assert timedelta(0) < probed_at - now <= timedelta(minutes=12)
        now, probes = probed_at, probes + 1
    assert probes == vitals.failures > 30 * 24 * 5
    assert vitals.failing_since == START


@pytest.mark.parametrize(
    ("cause", "shown_after"), [(REFUSED, 1), (CREDENTIALS, 1), (INTERNAL, 3), (DNS, 3)]
)
def test_a_fault_shows_at_once_unless_it_may_pass_or_be_our_own(
    cause: Cause, shown_after: int
) -> None:
    before = fail(Vitals(), cause, shown_after - 1)
    assert before.status is Status.NOT_TESTED
    after = fail(before, cause)
    assert (after.status, after.cause) == (cause.status, cause.code)
    assert after.since == START


def test_a_fault_of_the_settings_is_probed_every_half_hour() -> None:
    assert wait(fail(Vitals(), CREDENTIALS)) == 1800


def test_a_destination_that_is_down_gets_one_statement_at_a_time() -> None:
    assert fail(Vitals(), REFUSED, 2).ramp is None
    assert fail(Vitals(), REFUSED, 3).ramp == 1
    assert fail(Vitals(), CREDENTIALS).ramp == 1


def test_after_the_first_success_requests_grow_from_one_to_ten_to_full() -> None:
    vitals = decide.succeeded(fail(Vitals(), REFUSED, 5), START)
    assert vitals.ramp == 10
    assert decide.succeeded(vitals, START).ramp is None


def test_one_success_clears_everything_at_once() -> None:
    later = START + timedelta(hours=1)
    vitals = decide.succeeded(fail(Vitals(), REFUSED, 9), later)
    assert (vitals.status, vitals.cause, vitals.failures) == (Status.CONNECTED, None, 0)
    assert (vitals.failing_since, vitals.next_attempt_at) == (None, None)
    assert (vitals.since, vitals.last_success_at) == (later, later)


def test_the_time_of_a_status_stays_while_the_status_stays() -> None:
    first = fail(Vitals(), REFUSED)
    later = decide.failed(first, DNS, FACTS, START + timedelta(hours=1), jitter=0.0)
    later = decide.failed(later, DNS, FACTS, START + timedelta(hours=1), jitter=0.0)
    assert later.since == START
    assert later.cause == "dns"
    assert later.failing_since == START


RATE = Cause(code="rate", status=Status.SERVER_ERROR, sentence="")


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 60), (0.5, 1), (30.0, 30), (10**6, 6 * 3600)]
)
def test_a_request_to_slow_down_is_kept_up_to_six_hours_and_is_no_failure(
    asked: float | None, seconds: float
) -> None:
    vitals = decide.asked_to_slow_down(Vitals(), RATE, FACTS, asked, START)
    assert wait(vitals) == seconds
    assert vitals.failures == 0
    assert (vitals.status, vitals.cause) == (Status.SERVER_ERROR, "rate")


def test_one_that_does_not_say_how_long_waits_twice_as_long_each_time_in_a_row() -> None:
    vitals, now, waits = Vitals(), START, []
    for _ in range(11):
        vitals = decide.asked_to_slow_down(vitals, RATE, FACTS, None, now)
        assert vitals.next_attempt_at is not None
        waits.append((vitals.next_attempt_at - now).total_seconds())
        now = vitals.next_attempt_at
    assert waits == [60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600]
    vitals = decide.succeeded(vitals, now)
    assert wait(decide.asked_to_slow_down(vitals, RATE, FACTS, None, START)) == 60


def test_what_was_under_way_at_the_same_time_doubles_no_wait() -> None:
    vitals = decide.asked_to_slow_down(Vitals(), RATE, FACTS, None, START)
    assert wait(decide.asked_to_slow_down(vitals, RATE, FACTS, None, START)) == 60


def test_a_wait_that_was_said_begins_no_row() -> None:
    vitals = decide.asked_to_slow_down(Vitals(), RATE, FACTS, 3600.0, START)
    later = START + timedelta(hours=1)
    vitals = decide.asked_to_slow_down(vitals, RATE, FACTS, None, later)
    assert vitals.next_attempt_at == later + timedelta(seconds=60)


def test_a_refused_statement_proves_that_the_connection_is_well() -> None:
    vitals = decide.answered(fail(Vitals(), REFUSED, 4), START)
    assert (vitals.status, vitals.cause, vitals.failures) == (Status.CONNECTED, None, 0)


def test_a_refused_statement_does_not_clear_a_fault_of_the_settings() -> None:
    settings = Cause(code="settings", status=Status.SERVER_ERROR, sentence="", is_settings=True)
    vitals = decide.answered(fail(Vitals(), settings), START)
    assert vitals.status is Status.SERVER_ERROR


def test_our_own_fault_charges_nobody() -> None:
    healthy = Vitals(status=Status.CONNECTED, since=START)
    vitals = decide.own_fault(healthy, START)
    assert (vitals.status, vitals.failures, wait(vitals)) == (Status.CONNECTED, 0, 60)


def test_a_second_timeout_asks_for_smaller_requests() -> None:
    vitals = decide.failed(
        fail(Vitals(), TRANSPORT_CAUSES["timeout"]),
        TRANSPORT_CAUSES["timeout"],
        FACTS,
        START,
        jitter=0.0,
        smaller=25,
    )
    assert vitals.ramp == 25


def test_a_connection_test_clears_or_shows_an_error_at_once() -> None:
    health = ConfigurationHealth(status=Status.NOT_TESTED, facts={}, failures=0, singles=[])
    failed = TestReport(stages=(), cause="credentials", facts=FACTS)
    decide.settle_test(health, failed, CREDENTIALS, START)
    assert (health.status, health.cause, health.facts) == (
        Status.SERVER_ERROR,
        "credentials",
        FACTS,
    )
    assert health.next_attempt_at is not None
    decide.settle_test(health, TestReport(stages=()), None, START)
    assert (health.status, health.cause, health.next_attempt_at) == (
        Status.CONNECTED,
        None,
        None,
    )


def test_a_good_test_of_a_destination_that_failed_clears_it_and_starts_with_one_statement() -> None:
    down = replace(fail(Vitals(), REFUSED, 9), singles=("a b",), ramp=10)
    later = START + timedelta(hours=1)
    vitals = decide.tested(down, None, FACTS, later)
    assert (vitals.status, vitals.cause, vitals.facts) == (Status.CONNECTED, None, {})
    assert (vitals.failures, vitals.failing_since, vitals.next_attempt_at) == (0, None, None)
    assert (vitals.since, vitals.singles, vitals.ramp) == (later, ("a b",), 1)
    assert vitals.last_success_at is None  # nothing was stored


def test_a_good_test_of_a_healthy_destination_leaves_its_requests_as_large_as_they_were() -> None:
    for ramp in (None, 10):
        healthy = Vitals(status=Status.CONNECTED, since=START, ramp=ramp)
        assert decide.tested(healthy, None, {}, START + timedelta(hours=1)) == healthy


def test_a_bad_test_shows_at_once_and_plans_the_next_try() -> None:
    vitals = decide.tested(Vitals(), DNS, FACTS, START)
    assert (vitals.status, vitals.cause, vitals.facts) == (Status.CANT_CONNECT, "dns", FACTS)
    assert (vitals.failures, vitals.failing_since, wait(vitals)) == (1, START, 2)
    second = decide.tested(replace(vitals, next_attempt_at=None), DNS, FACTS, START)
    assert wait(second) == 5


def test_a_bad_test_adds_no_failure_and_moves_no_try_of_a_destination_that_is_down() -> None:
    down = fail(Vitals(), REFUSED, 9)
    vitals = decide.tested(down, REFUSED, FACTS, START + timedelta(minutes=5))
    assert vitals == down


def test_a_test_whose_cause_is_no_fault_of_the_destination_changes_nothing() -> None:
    down = fail(Vitals(), REFUSED, 3)
    assert decide.tested(down, Cause(code="rejected", status=None, sentence=""), {}, START) == down


def test_vitals_survive_the_row() -> None:
    values: dict[str, Any] = {"failures": 4, "ramp": 1, "singles": ("a b",), "learnt_bytes": 9}
    health = ConfigurationHealth(status=Status.NOT_TESTED, facts={}, singles=[])
    vitals = Vitals(status=Status.CANT_CONNECT, cause="dns", facts=FACTS, **values)
    vitals.write(health)
    assert Vitals.of(health) == vitals


SETTINGS = Cause(code="settings", status=Status.SERVER_ERROR, sentence="", is_settings=True)


@pytest.mark.parametrize("jitter", [-1.0, 0.0, 1.0])
def test_one_that_refuses_everything_is_asked_each_minute_at_most_and_later_each_half_hour(
    jitter: float,
) -> None:
    vitals, waits = Vitals(), []
    for _ in range(7):
        vitals = decide.failed(vitals, SETTINGS, FACTS, START, jitter=jitter, is_refusing=True)
        waits.append(wait(vitals))
    assert all(60 <= seconds <= 576 for seconds in waits[:5])
    assert sorted(waits) == waits
    assert waits[5:] == [1800 * (1 + 0.05 * jitter)] * 2


def test_after_one_that_refused_everything_requests_are_full_at_once() -> None:
    vitals = decide.failed(Vitals(), SETTINGS, FACTS, START, jitter=0.0, is_refusing=True)
    assert decide.was_refusing(vitals)
    assert decide.succeeded(vitals, START).ramp is None


def test_another_error_over_it_makes_nobody_forget_that_everything_was_refused() -> None:
    singles = tuple(f"same {n:08x}" for n in range(5))
    down = fail(Vitals(singles=singles), REFUSED, 3)
    assert decide.was_refusing(down)
    assert not decide.was_refusing(decide.Vitals(singles=singles, status=Status.CONNECTED))
    assert not decide.was_refusing(fail(Vitals(singles=singles[1:]), REFUSED, 3))


def test_an_answer_between_them_ends_a_row_of_failures() -> None:
    assert decide.answered(fail(Vitals(), INTERNAL, 2), START).failures == 0


def test_a_refusal_that_was_under_way_does_not_end_the_pause() -> None:
    vitals = decide.failed(Vitals(), SETTINGS, FACTS, START, jitter=0.0, is_refusing=True)
    assert decide.answered(vitals, START).next_attempt_at == vitals.next_attempt_at


def test_our_own_fault_is_nobodys_for_ten_minutes() -> None:
    vitals = decide.own_fault(Vitals(status=Status.CONNECTED), START)
    assert decide.may_be_own_fault(Vitals(), START)
    assert decide.may_be_own_fault(vitals, START + timedelta(minutes=9))
    assert not decide.may_be_own_fault(vitals, START + timedelta(minutes=10))
    assert decide.succeeded(vitals, START).failing_since is None
    assert decide.answered(vitals, START).failing_since is None


ALIKE = [("a", "dns", True), ("b", "dns", True), ("c", "dns", False)]


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (ALIKE, True),
        (ALIKE[:2], False),
        ([*ALIKE[:2], ("a", "dns", True)], False),
        ([*ALIKE, ("d", None, True)], False),
        ([*ALIKE, ("d", "refused", False)], False),
        ([(name, "dns", False) for name in "abcde"], False),
        ([("a", "dns", True), ("b", "dns", False), ("c", "dns", False)], False),
    ],
    ids=["alike", "two", "two twice", "one answers", "another cause", "all new", "one known"],
)
def test_a_fault_may_be_ours_only_when_those_fail_that_worked(
    evidence: list[tuple[str, str | None, bool]], expected: bool
) -> None:
    assert decide.fails_alike(evidence, "dns") is expected
