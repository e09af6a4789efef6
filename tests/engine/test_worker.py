"""The worker as operators run it: real processes, a real Redis-protocol server, kills."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.valkey import Valkey
from flask_lms.database.models import ConfigurationHealth, Worker
from flask_lms.testing import FakeLRS
from tests.worker_app import children, enable_wal, start_worker, stop, until, worker
from tests.world import World, make_world


@pytest.fixture
def redis() -> Iterator[Valkey]:
    """A server of the test's own, to stop and flush."""
    with Valkey() as server:
        yield server


@pytest.fixture
def world(database_url: str, redis: Valkey) -> Iterator[World]:
    with make_world(database_url, redis_url=redis.url) as made:
        enable_wal(made.db.engine)
        yield made


def pending(world: World) -> int:
    return world.states()["pending"]


def ready(world: World) -> None:
    """Wait for the worker's heartbeat."""

    def has_beaten() -> bool:
        world.db.session.rollback()
        return world.db.session.query(Worker).count() > 0

    until(has_beaten, 20, "a heartbeat")


def test_a_committed_result_is_stored_in_about_a_second(
    world: World, redis: Valkey, database_url: str, lrs: FakeLRS, capsys: pytest.CaptureFixture[str]
) -> None:
    world.attach(**lrs.settings)
    with worker(database_url, redis.url, "--processes", "2"):
        ready(world)
        world.record("warm-up")
        until(lambda: len(lrs.statements) == 1)
        took = []
        for number in range(5):
            started = time.monotonic()
            world.record(f"r{number}")
            until(lambda want=number + 2: len(lrs.statements) == want)  # type: ignore[misc]
            took.append(time.monotonic() - started)
        until(lambda: not pending(world))
    world.assert_everything_arrived(lrs)
    with capsys.disabled():
        dialect = world.db.engine.dialect.name
        print(f"\ncommitted → stored ({dialect}): {sorted(took)[2] * 1000:.0f} ms (median of 5)")
    assert sorted(took)[2] < 2.0


def test_workers_killed_at_any_part_lose_nothing(
    world: World, redis: Valkey, database_url: str, lrs: FakeLRS
) -> None:
    world.attach(**lrs.settings)
    lrs.delay_seconds = 0.05
    with worker(database_url, redis.url, "--processes", "2") as process:
        ready(world)
        for number in range(4):
            world.record(*(f"r{number}-{n}" for n in range(100)))
            time.sleep(0.12)
            for part in children(process.pid):
                os.kill(part, signal.SIGKILL)
        until(lambda: not pending(world), 60, "everything delivered")
    world.assert_everything_arrived(lrs)


def test_a_worker_killed_whole_is_followed_by_the_next_one(
    world: World, redis: Valkey, database_url: str, lrs: FakeLRS
) -> None:
    world.attach(**lrs.settings)
    world.record(*(f"r{n}" for n in range(200)))
    lrs.delay_seconds = 0.3
    first = start_worker(database_url, redis.url)
    parts: list[int] = []
    until(lambda: lrs.requests >= 1)
    parts = children(first.pid)
    first.kill()
    first.wait()
    until(lambda: not any(Path(f"/proc/{part}/cmdline").exists() for part in parts))
    lrs.delay_seconds = 0.0
    # Its lease would run out after 90 s; let it do so now.
    world.db.session.rollback()
    for row in world.db.session.query(ConfigurationHealth):
        row.lease_expires_at = world.state.clock.now(world.db.session())
    world.db.session.commit()
    with worker(database_url, redis.url):
        until(lambda: not pending(world), 40, "everything delivered")
    world.assert_everything_arrived(lrs)


def test_redis_flushed_stopped_and_started_costs_seconds_and_no_data(
    world: World, redis: Valkey, database_url: str, lrs: FakeLRS
) -> None:
    import redis as redis_py

    world.attach(**lrs.settings)
    with worker(database_url, redis.url, "--processes", "2"):
        ready(world)
        redis_py.Redis.from_url(redis.url).flushall()
        world.record("after the flush")
        until(lambda: not pending(world), 30, "after the flush")
        redis.stop()
        world.record("while it is away")
        until(lambda: not pending(world), 30, "while it is away")
        redis.start()
        time.sleep(0.2)
        world.record("after it is back")
        until(lambda: not pending(world), 30, "after it is back")
    world.assert_everything_arrived(lrs)


def test_a_burst_delivers_what_is_due_without_redis(
    world: World, database_url: str, lrs: FakeLRS
) -> None:
    world.attach(**lrs.settings)
    world.record(*(f"r{n}" for n in range(120)))
    process = start_worker(database_url, "redis://127.0.0.1:1/0", "--burst")
    assert process.wait(60) == 0
    world.assert_everything_arrived(lrs)


def test_a_worker_ends_its_parts_when_told_to(
    world: World, redis: Valkey, database_url: str
) -> None:
    process = start_worker(database_url, redis.url)
    until(lambda: len(children(process.pid)) >= 3)
    parts = children(process.pid)
    stop(process)
    assert process.returncode == 0
    assert not any(Path(f"/proc/{part}/cmdline").exists() for part in parts)


def test_told_to_stop_a_worker_ends_its_request_and_leaves_the_rest_to_the_next_one(
    world: World, redis: Valkey, database_url: str, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings, batch_statements=1)
    world.record(*(f"r{n}" for n in range(60)))
    lrs.delay_seconds = 0.3
    process = start_worker(database_url, redis.url, "--processes", "1")
    until(lambda: lrs.requests >= 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    left = pending(world)
    assert left > 40
    row = world.health(configuration)
    assert (row.lease_holder, row.lease_expires_at) == (None, None)
    lrs.delay_seconds = 0.0
    with worker(database_url, redis.url):
        until(lambda: not pending(world), 20, "the rest delivered")
    world.assert_everything_arrived(lrs)
    assert lrs.resent == 0


def test_a_redis_that_hangs_costs_a_request_half_a_second_once(
    world: World, redis: Valkey, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("warm-up")
    server = redis._process
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    try:
        took = []
        for number in range(3):
            started = time.monotonic()
            world.record(f"r{number}")
            took.append(time.monotonic() - started)
    finally:
        server.send_signal(signal.SIGCONT)
    assert took[0] < 0.6
    assert max(took[1:]) < 0.2
    assert pending(world) == 4
    assert configuration.id
