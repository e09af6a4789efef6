"""Outages on a clock that moves only when told: nothing is given up, and it is soon over."""

from __future__ import annotations

import itertools
import time
from datetime import datetime, timedelta

import pytest

from flask_lms.database.models import Status
from flask_lms.delivery import retention
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.world import World


def step_until(world: World, clock: object, until: datetime, lrs: FakeLRS) -> list[datetime]:
    """Tick as a worker does, jumping over the time in which nothing is due; when requests came."""
    times = []
    while clock.time < until:  # type: ignore[attr-defined]
        before = lrs.requests
        world.deliver_due()
        if lrs.requests > before:
            times.append(clock.time)  # type: ignore[attr-defined]
            assert lrs.requests - before == 1, "more than one request to a destination that is down"
        clock.advance(seconds=5)  # type: ignore[attr-defined]
    return times


@pytest.mark.parametrize("status", [500, 503])
def test_after_three_hours_everything_arrives_with_the_next_probe(
    world: World, lrs: FakeLRS, status: int
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record(*(f"r{n}" for n in range(120)))
    lrs.answer_always(FakeAnswer(status))
    end = clock.time + timedelta(hours=3)
    times = step_until(world, clock, end, lrs)
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    assert max(gaps) <= 12 * 60
    assert world.states() == {"pending": 120}
    assert world.health(configuration).status is Status.SERVER_ERROR
    lrs.answer_always(None)
    for _ in range(12 * 60 // 5):
        world.deliver_due()
        if not world.states()["pending"]:
            break
        clock.advance(seconds=5)
    assert clock.time - end <= timedelta(minutes=12)
    world.assert_everything_arrived(lrs)
    sizes = [r.body.count(b'"actor"') for r in lrs.received if r.status == 200]
    assert sizes[:3] == [1, 10, 50]


def test_thirty_days_of_outage_lose_nothing(world: World, lrs: FakeLRS) -> None:
    """On some days a worker is there for two hours only; the gaps of all 4,300 probes are the
    breaker's, whose own tests walk through them.
    """
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record(*(f"r{n}" for n in range(60)))
    lrs.answer_always(FakeAnswer(503))
    start = clock.time
    for day in range(30):
        clock.time = max(clock.time, start + timedelta(days=day))
        begin, probes = clock.time, lrs.requests
        end = begin + timedelta(hours=24 if day == 0 else 2)
        while clock.time < end:
            world.deliver_due()
            # To the tick that finds it: at most 5 s after it came due.
            due = world.health(configuration).next_attempt_at
            assert due - clock.time <= timedelta(minutes=12)
            clock.time = max(due, clock.time) + timedelta(seconds=5)
        assert lrs.requests - probes >= (end - begin) / timedelta(minutes=12)
        retention.purge(world.state, clock.time)
        assert world.states() == {"pending": 60}
    lrs.answer_always(None)
    world.deliver_due()
    world.assert_everything_arrived(lrs)


def test_one_destination_that_is_down_does_not_hold_up_another(world: World, lrs: FakeLRS) -> None:
    world.freeze()
    world.attach("http://127.0.0.1:1/xapi", name="Down")
    world.attach(**lrs.settings, name="Up")
    world.record("r1")
    world.deliver_due()
    assert world.states() == {"pending": 1, "delivered": 1}


def test_a_host_whose_clock_is_ten_minutes_fast_delays_nothing(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = world.attach(**lrs.settings)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 600 * 10**9)
    world.record("from the fast host")
    monkeypatch.setattr(time, "time_ns", lambda: real() - 600 * 10**9)
    world.record("from the slow host")
    world.deliver_due()
    assert world.health(configuration).status is Status.CONNECTED
    world.assert_everything_arrived(lrs)
