"""Hosts that run RQ workers of their own, which never heard of Flask-LMS, on the same Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer

from demo.valkey import Valkey
from flask_lms.database.models import DeliveryState
from flask_lms.testing import FakeLRS
from tests.worker_app import enable_wal, stop, until, worker
from tests.world import World, build_world, result, standing

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def rq_worker(redis: Valkey, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real ``rq worker``, as a host's operator starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rq.cli", "worker", "--quiet", "--url", redis.url, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        stop(process)


@pytest.fixture
def redis() -> Iterator[Valkey]:
    """A server of the test's own."""
    with Valkey() as server:
        yield server


@pytest.fixture
def world(url: str, redis: Valkey) -> Iterator[World]:
    with standing(build_world(url, redis_url=redis.url)) as made:
        with made.app.app_context():
            enable_wal(made.db.engine)
        yield made


def record(world: World, *ids: str) -> None:
    with world.app.app_context():
        world.lms.record_many([result(id) for id in ids])


def pending(world: World) -> int:
    with world.app.app_context():
        return sum(one.state is DeliveryState.PENDING for one in world.rows())


def enqueue(redis: Valkey, trace: Path, serializer: type = DefaultSerializer) -> Job:
    """A job of the host's own."""
    queue = Queue("default", connection=Redis.from_url(redis.url), serializer=serializer)
    return queue.enqueue("tests.hosts.host_jobs.mark", str(trace))


def test_side_by_side_each_worker_does_its_own_jobs(
    world: World, redis: Valkey, url: str, lrs: FakeLRS, tmp_path: Path
) -> None:
    with world.app.app_context():
        world.attach(**lrs.settings)
    traces = [tmp_path / f"trace{n}" for n in range(3)]
    with (
        rq_worker(redis, "default", "--with-scheduler") as theirs,
        worker(url, redis.url, "--processes", "1") as ours,
    ):
        for number, trace in enumerate(traces):
            record(world, f"r{number}")
            enqueue(redis, trace)
        until(lambda: not pending(world) and all(trace.exists() for trace in traces))
        assert theirs.poll() is None
        assert ours.poll() is None
    assert len(lrs.statements) == 3
    failed = Queue("default", connection=Redis.from_url(redis.url)).failed_job_registry
    assert len(failed) == 0


def test_workers_of_the_host_that_take_our_queue_by_mistake_lose_nothing(
    world: World, redis: Valkey, url: str, lrs: FakeLRS, tmp_path: Path
) -> None:
    """They take our jobs and fail at each of them. The rows in the database stay, and the ticker of
    ``flask lms worker`` carries out after ten seconds what nobody came for.
    """
    with world.app.app_context():
        world.attach(**lrs.settings)
    queued = Queue("lms", connection=Redis.from_url(redis.url), serializer=JSONSerializer)
    with (
        rq_worker(redis, "lms", "default") as pickling,
        rq_worker(redis, "lms", "--serializer", "json") as reading,
    ):
        record(world, "taken")
        until(lambda: len(queued) == 0)
        enqueue(redis, tmp_path / "trace")
        until((tmp_path / "trace").exists)  # the host's own jobs go on
        assert (pending(world), lrs.requests) == (1, 0)
        with worker(url, redis.url, "--processes", "1"):
            record(world, *(f"r{number}" for number in range(5)))
            until(lambda: not pending(world), 60)
        assert pickling.poll() is None
        assert reading.poll() is None
    assert len(lrs.statements) == 6
    assert lrs.resent == 0


def test_a_job_of_the_host_on_our_queue_by_mistake_is_not_run_and_stops_nothing(
    world: World, redis: Valkey, url: str, lrs: FakeLRS, tmp_path: Path
) -> None:
    with world.app.app_context():
        world.attach(**lrs.settings)
    connection = Redis.from_url(redis.url)
    with worker(url, redis.url, "--processes", "1") as ours:
        for kind in (DefaultSerializer, JSONSerializer):
            queue = Queue("lms", connection=connection, serializer=kind)
            queue.enqueue("tests.hosts.host_jobs.mark", str(tmp_path / "trace"))
        record(world, "r1")
        until(lambda: not pending(world))
        assert ours.poll() is None
    assert not (tmp_path / "trace").exists()
    assert len(lrs.statements) == 1
