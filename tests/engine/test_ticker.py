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
from tests.engine.support import assert_everything_arrived, record, states
from tests.host import Host


@pytest.fixture
def ticker(host: Host) -> Iterator[Ticker]:
    host.state.worker = "host-a/1234abcd"
    streams = Streams(host.app)
    yield Ticker(app=host.app, state=host.state, streams=streams, monotonic=lambda: seconds[0])
    streams.close()


seconds = [0.0]


@pytest.fixture(autouse=True)
def _from_zero() -> None:
    seconds[0] = 0.0


@pytest.fixture
def rung(host: Host) -> list[Any]:
    """A Redis that takes every ring, and then nobody comes."""
    calls: list[Any] = []

    def ring(ids: Any) -> bool:
        calls.extend(ids)
        return True

    host.state.wake.now = ring
    return calls


def test_without_redis_a_tick_delivers_by_itself(host: Host, ticker: Ticker, lrs: FakeLRS) -> None:
    host.attach(**lrs.settings)
    record(host, "r1")
    ticker.tick()
    assert ticker.streams.wait()
    assert_everything_arrived(host, lrs)


def test_with_redis_a_tick_rings_and_leaves_the_work_to_others(
    host: Host, ticker: Ticker, rung: list[Any]
) -> None:
    configuration = host.attach("http://127.0.0.1:9/xapi")
    record(host, "r1")
    rung.clear()
    ticker.tick()
    assert rung == [configuration.id]
    assert states(host) == {"pending": 1}


def test_woken_in_vain_for_ten_seconds_the_ticker_does_it_itself(
    host: Host, ticker: Ticker, rung: list[Any], lrs: FakeLRS
) -> None:
    host.attach(**lrs.settings)
    record(host, "r1")
    ticker.tick()
    seconds[0] = 11.0
    ticker.tick()
    assert ticker.streams.wait()
    assert rung
    assert_everything_arrived(host, lrs)


def test_what_nothing_can_be_done_for_now_is_not_rung_for(
    host: Host, ticker: Ticker, rung: list[Any]
) -> None:
    clock = host.freeze()
    paused = host.attach("http://127.0.0.1:9/xapi", name="Paused")
    waits = host.attach("http://127.0.0.1:9/xapi", name="Waits")
    leased = host.attach("http://127.0.0.1:9/xapi", name="Leased")
    record(host, "r1")
    host.lms.configurations.pause(paused.id)
    row = host.db.session.get(ConfigurationHealth, waits.id)
    assert row is not None
    row.next_attempt_at = clock.time.replace(year=2027)
    lease.acquire(host.db.session(), leased.id, "host-b/x/1", clock.time)
    host.db.session.commit()
    rung.clear()
    ticker.tick()
    assert rung == []


def test_the_lease_of_a_dead_sender_of_this_worker_is_given_back_at_once(
    host: Host, ticker: Ticker, rung: list[Any]
) -> None:
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    session = host.db.session()
    mine = host.attach("http://127.0.0.1:9/xapi", name="Mine")
    alive = host.attach("http://127.0.0.1:9/xapi", name="Alive")
    foreign = host.attach("http://127.0.0.1:9/xapi", name="Foreign")
    record(host, "r1")
    now = host.state.clock.now(session)
    lease.acquire(session, mine.id, f"{host.state.worker}/{dead}", now)
    lease.acquire(session, alive.id, f"{host.state.worker}/{os.getpid()}", now)
    lease.acquire(session, foreign.id, f"host-b/5678/{dead}", now)
    session.commit()
    rung.clear()
    ticker.tick()
    assert rung == [mine.id]


def test_a_destination_that_hangs_does_not_hold_up_the_ticker(
    host: Host, ticker: Ticker, lrs: FakeLRS
) -> None:
    for number in range(6):
        host.attach(**lrs.settings, name=f"Hangs {number}")
    with FakeLRS() as quick:
        record(host, "r1")
        lrs.delay_seconds = 3.0
        started = time.monotonic()
        ticker.tick()
        host.attach(**quick.settings, name="Quick")
        record(host, "r2")
        ticker.tick()
        assert time.monotonic() - started < 2.0
        assert host.db.session.query(Worker).count() == 1
        lrs.delay_seconds = 0.0
        assert ticker.streams.wait()
        seconds[0] += 5.0
        ticker.tick()
        assert ticker.streams.wait()
        assert len(quick.statements) == 1
    assert states(host)["delivered"] > 1


def test_the_worker_is_seen(host: Host, ticker: Ticker) -> None:
    ticker.tick()
    [row] = host.db.session.query(Worker).all()
    assert row.id == "host-a/1234abcd"
    first = row.seen_at
    assert row.has_redis is False
    seconds[0] = 16.0
    ticker.tick()
    host.db.session.expire_all()
    assert row.seen_at >= first


def test_while_redis_is_away_it_looks_often_and_does_the_rest_as_before(
    host: Host, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
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
    host.state.wake.is_redis_there = lambda: True
    pauses.clear()
    with pytest.raises(SystemExit):
        ticker.run()
    assert set(pauses) == {module.TICK_SECONDS}
