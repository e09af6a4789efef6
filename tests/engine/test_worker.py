"""The worker as operators run it: real processes, a real Redis-protocol server, kills."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from example_app.valkey import Valkey
from flask_lms.database.models import Worker
from flask_lms.testing import FakeLRS
from tests.engine.support import assert_everything_arrived, health, record, states
from tests.host import Host, make_host
from tests.worker_app import children, enable_wal, start_worker, stop, until, worker


@pytest.fixture
def redis() -> Iterator[Valkey]:
    """A server of the test's own, to stop and flush."""
    with Valkey() as server:
        yield server


@pytest.fixture
def host(database_url: str, redis: Valkey) -> Iterator[Host]:
    with make_host(database_url, redis_url=redis.url) as made:
        enable_wal(made.db.engine)
        yield made


def pending(host: Host) -> int:
    return states(host)["pending"]


def ready(host: Host) -> None:
    """Wait for the worker's heartbeat."""

    def has_beaten() -> bool:
        host.db.session.rollback()
        return host.db.session.query(Worker).count() > 0

    until(has_beaten, 20, "a heartbeat")


def test_a_committed_result_is_stored_in_about_a_second(
    host: Host, redis: Valkey, database_url: str, lrs: FakeLRS, capsys: pytest.CaptureFixture[str]
) -> None:
    host.attach(**lrs.settings)
    with worker(database_url, redis.url, "--processes", "2"):
        ready(host)
        record(host, "warm-up")
        until(lambda: len(lrs.statements) == 1)
        took = []
        for number in range(5):
            started = time.monotonic()
            record(host, f"r{number}")
            until(lambda want=number + 2: len(lrs.statements) == want)  # type: ignore[misc]
            took.append(time.monotonic() - started)
        until(lambda: not pending(host))
    assert_everything_arrived(host, lrs)
    with capsys.disabled():
        dialect = host.db.engine.dialect.name
        print(f"\ncommitted → stored ({dialect}): {sorted(took)[2] * 1000:.0f} ms (median of 5)")
    assert sorted(took)[2] < 2.0


def test_workers_killed_at_any_part_lose_nothing(
    host: Host, redis: Valkey, database_url: str, lrs: FakeLRS
) -> None:
    host.attach(**lrs.settings)
    lrs.delay_seconds = 0.05
    with worker(database_url, redis.url, "--processes", "2") as process:
        ready(host)
        for number in range(4):
            record(host, *(f"r{number}-{n}" for n in range(100)))
            time.sleep(0.12)
            for part in children(process.pid):
                os.kill(part, signal.SIGKILL)
        until(lambda: not pending(host), 60, "everything delivered")
    assert_everything_arrived(host, lrs)


def test_a_worker_killed_whole_is_followed_by_the_next_one(
    host: Host, redis: Valkey, database_url: str, lrs: FakeLRS
) -> None:
    host.attach(**lrs.settings)
    record(host, *(f"r{n}" for n in range(200)))
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
    host.db.session.rollback()
    from flask_lms.database.models import ConfigurationHealth

    for row in host.db.session.query(ConfigurationHealth):
        row.lease_expires_at = host.state.clock.now(host.db.session())
    host.db.session.commit()
    with worker(database_url, redis.url):
        until(lambda: not pending(host), 40, "everything delivered")
    assert_everything_arrived(host, lrs)


def test_redis_flushed_stopped_and_started_costs_seconds_and_no_data(
    host: Host, redis: Valkey, database_url: str, lrs: FakeLRS
) -> None:
    import redis as redis_py

    host.attach(**lrs.settings)
    with worker(database_url, redis.url, "--processes", "2"):
        ready(host)
        redis_py.Redis.from_url(redis.url).flushall()
        record(host, "after the flush")
        until(lambda: not pending(host), 30, "after the flush")
        redis.stop()
        record(host, "while it is away")
        until(lambda: not pending(host), 30, "while it is away")
        redis.start()
        time.sleep(0.2)
        record(host, "after it is back")
        until(lambda: not pending(host), 30, "after it is back")
    assert_everything_arrived(host, lrs)


def test_a_burst_delivers_what_is_due_without_redis(
    host: Host, database_url: str, lrs: FakeLRS
) -> None:
    host.attach(**lrs.settings)
    record(host, *(f"r{n}" for n in range(120)))
    process = start_worker(database_url, "redis://127.0.0.1:1/0", "--burst")
    assert process.wait(60) == 0
    assert_everything_arrived(host, lrs)


def test_a_worker_ends_its_parts_when_told_to(host: Host, redis: Valkey, database_url: str) -> None:
    process = start_worker(database_url, redis.url)
    until(lambda: len(children(process.pid)) >= 3)
    parts = children(process.pid)
    stop(process)
    assert process.returncode == 0
    assert not any(Path(f"/proc/{part}/cmdline").exists() for part in parts)


def test_told_to_stop_a_worker_ends_its_request_and_leaves_the_rest_to_the_next_one(
    host: Host, redis: Valkey, database_url: str, lrs: FakeLRS
) -> None:
    configuration = host.attach(**lrs.settings, batch_statements=1)
    record(host, *(f"r{n}" for n in range(60)))
    lrs.delay_seconds = 0.3
    process = start_worker(database_url, redis.url, "--processes", "1")
    until(lambda: lrs.requests >= 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    left = pending(host)
    assert left > 40
    row = health(host, configuration)
    assert (row.lease_holder, row.lease_expires_at) == (None, None)
    lrs.delay_seconds = 0.0
    with worker(database_url, redis.url):
        until(lambda: not pending(host), 20, "the rest delivered")
    assert_everything_arrived(host, lrs)
    assert lrs.resent == 0


def test_a_redis_that_hangs_costs_a_request_half_a_second_once(
    host: Host, redis: Valkey, lrs: FakeLRS
) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "warm-up")
    server = redis._process
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    try:
        took = []
        for number in range(3):
            started = time.monotonic()
            record(host, f"r{number}")
            took.append(time.monotonic() - started)
    finally:
        server.send_signal(signal.SIGCONT)
    assert took[0] < 0.6
    assert max(took[1:]) < 0.2
    assert pending(host) == 4
    assert configuration.id
