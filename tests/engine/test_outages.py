"""Outages on a clock that moves only when told: nothing is given up, and it is soon over."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest

from flask_lms.database.models import Status
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.support import assert_everything_arrived, drain_due, health, record, states
from tests.host import Host


def step_until(host: Host, clock: object, until: datetime, lrs: FakeLRS) -> list[datetime]:
    """Tick as a worker does, jumping over the time in which nothing is due; when requests came."""
    times = []
    while clock.time < until:  # type: ignore[attr-defined]
        before = lrs.requests
        drain_due(host)
        if lrs.requests > before:
            times.append(clock.time)  # type: ignore[attr-defined]
            assert lrs.requests - before == 1, "more than one request to a destination that is down"
        clock.advance(seconds=5)  # type: ignore[attr-defined]
    return times


@pytest.mark.parametrize("status", [500, 503])
def test_after_three_hours_everything_arrives_with_the_next_probe(
    host: Host, lrs: FakeLRS, status: int
) -> None:
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, *(f"r{n}" for n in range(120)))
    lrs.answer_always(FakeAnswer(status))
    end = clock.time + timedelta(hours=3)
    times = step_until(host, clock, end, lrs)
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    assert max(gaps) <= 12 * 60
    assert states(host) == {"pending": 120}
    assert health(host, configuration).status is Status.SERVER_ERROR
    lrs.answer_always(None)
    for _ in range(12 * 60 // 5):
        drain_due(host)
        if not states(host)["pending"]:
            break
        clock.advance(seconds=5)
    assert clock.time - end <= timedelta(minutes=12)
    assert_everything_arrived(host, lrs)
    sizes = [r.body.count(b'"actor"') for r in lrs.received if r.status == 200]
    assert sizes[:3] == [1, 10, 50]


@pytest.mark.timeout(240)
def test_thirty_days_of_outage_lose_nothing(host: Host, lrs: FakeLRS) -> None:
    if host.db.engine.dialect.name != "sqlite":
        pytest.skip("4,300 probes: the clock is the same on every database, SQLite stands for all")
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, *(f"r{n}" for n in range(60)))
    lrs.answer_always(FakeAnswer(503))
    start = clock.time
    probes: list[datetime] = []
    while clock.time < start + timedelta(days=30):
        before = lrs.requests
        drain_due(host)
        if lrs.requests > before:
            probes.append(clock.time)
        due = health(host, configuration).next_attempt_at
        # To the tick that finds it: at most 5 s after it came due.
        clock.time = max(due, clock.time) + timedelta(seconds=5)
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(probes)]
    assert max(gaps) <= 12 * 60
    assert lrs.requests == len(probes)
    assert states(host) == {"pending": 60}
    lrs.answer_always(None)
    recovered_from = clock.time
    drain_due(host)
    assert_everything_arrived(host, lrs)
    assert clock.time - recovered_from <= timedelta(hours=24)


def test_one_destination_that_is_down_does_not_hold_up_another(host: Host, lrs: FakeLRS) -> None:
    host.freeze()
    host.attach("http://127.0.0.1:1/xapi", name="Down")
    host.attach(**lrs.settings, name="Up")
    record(host, "r1")
    drain_due(host)
    assert states(host) == {"pending": 1, "delivered": 1}


def test_a_host_whose_clock_is_ten_minutes_fast_delays_nothing(
    host: Host, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    configuration = host.attach(**lrs.settings)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 600 * 10**9)
    record(host, "from the fast host")
    monkeypatch.setattr(time, "time_ns", lambda: real() - 600 * 10**9)
    record(host, "from the slow host")
    drain_due(host)
    assert health(host, configuration).status is Status.CONNECTED
    assert_everything_arrived(host, lrs)
