"""The net under RQ: what the ticker finds, does and leaves to others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flask_lms.database.models import ConfigurationHealth, Worker
from flask_lms.delivery import lease
from flask_lms.delivery.streams import Streams
from flask_lms.delivery.ticker import Ticker
from flask_lms.testing import FakeLRS
from tests.world import World


@pytest.fixture
def ticker(world: World) -> Iterator[Ticker]:
    world.state.worker = "host-a/1234abcd"
    streams = Streams(world.app)
    yield Ticker(app=world.app, state=world.state, streams=streams, monotonic=lambda: seconds[0])
    streams.close()


seconds = [0.0]


@pytest.fixture(autouse=True)
def _from_zero() -> None:
    seconds[0] = 0.0


@pytest.fixture
def rung(world: World) -> list[Any]:
    """A Redis that takes every ring, and then nobody comes."""
    calls: list[Any] = []

    def ring(ids: Any) -> bool:
        calls.extend(ids)
        return True

    world.state.wake.now = ring
    return calls


def test_without_redis_a_tick_delivers_by_itself(
    world: World, ticker: Ticker, lrs: FakeLRS
) -> None:
    world.attach(**lrs.settings)
    world.record("r1")
    ticker.tick()
    assert ticker.streams.wait()
    world.assert_everything_arrived(lrs)


def test_with_redis_a_tick_rings_and_leaves_the_work_to_others(
    world: World, ticker: Ticker, rung: list[Any]
) -> None:
    configuration = world.attach("http://127.0.0.1:9/xapi")
    world.record("r1")
    rung.clear()
    ticker.tick()
    assert rung == [configuration.id]
    assert world.states() == {"pending": 1}


def test_woken_in_vain_for_ten_seconds_the_ticker_does_it_itself(
    world: World, ticker: Ticker, rung: list[Any], lrs: FakeLRS
) -> None:
    world.attach(**lrs.settings)
    world.record("r1")
    ticker.tick()
    seconds[0] = 11.0
    ticker.tick()
    assert ticker.streams.wait()
    assert rung
    world.assert_everything_arrived(lrs)


def test_what_nothing_can_be_done_for_now_is_not_rung_for(
    world: World, ticker: Ticker, rung: list[Any]
) -> None:
    clock = world.freeze()
    paused = world.attach("http://127.0.0.1:9/xapi", name="Paused")
    waits = world.attach("http://127.0.0.1:9/xapi", name="Waits")
    leased = world.attach("http://127.0.0.1:9/xapi", name="Leased")
    world.record("r1")
    world.lms.configurations.pause(paused.id)
    row = world.db.session.get(ConfigurationHealth, waits.id)
    assert row is not None
    row.next_attempt_at = clock.time.replace(year=2027)
    lease.acquire(world.db.session(), leased.id, "host-b/x/1", clock.time)
    world.db.session.commit()
    rung.clear()
    ticker.tick()
    assert rung == []


def test_the_lease_of_a_dead_sender_of_this_worker_is_given_back_at_once(
    world: World, ticker: Ticker, rung: list[Any]
) -> None:
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    session = world.db.session()
    mine = world.attach("http://127.0.0.1:9/xapi", name="Mine")
    alive = world.attach("http://127.0.0.1:9/xapi", name="Alive")
    foreign = world.attach("http://127.0.0.1:9/xapi", name="Foreign")
    world.record("r1")
    now = world.state.clock.now(session)
    lease.acquire(session, mine.id, f"{world.state.worker}/{dead}", now)
    lease.acquire(session, alive.id, f"{world.state.worker}/{os.getpid()}", now)
    lease.acquire(session, foreign.id, f"host-b/5678/{dead}", now)
    session.commit()
    rung.clear()
    ticker.tick()
    assert rung == [mine.id]


def test_a_destination_that_hangs_does_not_hold_up_the_ticker(
    world: World, ticker: Ticker, lrs: FakeLRS
) -> None:
    for number in range(6):
        world.attach(**lrs.settings, name=f"Hangs {number}")
    with FakeLRS() as quick:
        world.record("r1")
        lrs.delay_seconds = 3.0
        started = time.monotonic()
        ticker.tick()
        world.attach(**quick.settings, name="Quick")
        world.record("r2")
        ticker.tick()
        assert time.monotonic() - started < 2.0
        assert world.db.session.query(Worker).count() == 1
        lrs.delay_seconds = 0.0
        assert ticker.streams.wait()
        seconds[0] += 5.0
        ticker.tick()
        assert ticker.streams.wait()
        assert len(quick.statements) == 1
    assert world.states()["delivered"] > 1


def test_the_worker_is_seen(world: World, ticker: Ticker) -> None:
    ticker.tick()
    [row] = world.db.session.query(Worker).all()
    assert row.id == "host-a/1234abcd"
    first = row.seen_at
    assert row.has_redis is False
    seconds[0] = 16.0
    ticker.tick()
    world.db.session.expire_all()
    assert row.seen_at >= first


def test_while_redis_is_away_it_looks_often_and_does_the_rest_as_before(
    world: World, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_lms.delivery import ticker as module

    looks, ticks = [], []
    due = module.lease.due
    monkeypatch.setattr(module.lease, "due", lambda *args: looks.append(1) or due(*args))
    monkeypatch.setattr(module.outages, "tick", lambda *args: ticks.append(1))
    pauses: list[float] = []

    def sleep(pause: float) -> None:
        pauses.append(pause)
        seconds[0] += pause
        if len(pauses) == 20:
            raise SystemExit

    monkeypatch.setattr(module.time, "sleep", sleep)
    with pytest.raises(SystemExit):
        ticker.run()
    assert set(pauses) == {module.ALONE_SECONDS}
    assert (len(looks), len(ticks)) == (20, 2)
    world.state.wake.is_redis_there = lambda: True
    pauses.clear()
    with pytest.raises(SystemExit):
        ticker.run()
    assert set(pauses) == {module.TICK_SECONDS}
