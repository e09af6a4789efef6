"""What stands in Redis: little, however long workers or an LMS are away."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone

import pytest
from redis import Redis
from rq import Queue
from rq.registry import ScheduledJobRegistry
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from demo.valkey import Valkey
from flask_lms.delivery.wake import Wake

ONE = uuid.UUID("6f0e5a6c-6f3c-5b0a-9a43-6f2a6c1f5c11")


@pytest.fixture
def redis(valkey: Valkey) -> Redis:
    made = Redis.from_url(valkey.url)
    made.flushall()
    return made


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("lms", connection=redis, serializer=JSONSerializer)


def test_rings_before_anybody_came_are_one_job(valkey: Valkey, redis: Redis, queue: Queue) -> None:
    bell = Wake(valkey.url)
    for _ in range(20):
        assert bell.now([ONE])
    assert queue.count == 1
    bell.answered(ONE)
    bell.now([ONE])
    assert queue.count == 2


def test_while_no_worker_runs_jobs_do_not_pile_up(
    valkey: Valkey, redis: Redis, queue: Queue
) -> None:
    """A day of results without a worker: each job that is rung for later replaces an older one."""
    Wake(valkey.url).now([ONE])
    stands = redis.ttl(Wake(valkey.url).key(ONE))
    assert stands >= 300
    [job] = queue.jobs
    assert redis.ttl(job.key) == pytest.approx(stands, abs=5)


def test_the_same_time_is_scheduled_once(valkey: Valkey, redis: Redis, queue: Queue) -> None:
    bell = Wake(valkey.url)
    at = datetime.now(timezone.utc) + timedelta(minutes=10)
    for _ in range(20):
        assert bell.at(ONE, at)
    bell.at(ONE, at + timedelta(minutes=1))
    bell.at(uuid.uuid4(), at)
    registry = ScheduledJobRegistry(queue=queue)
    assert registry.count == 3
    assert len(list(redis.scan_iter("rq:job:*"))) == 3


def test_a_time_is_never_rung_for_too_early(valkey: Valkey, redis: Redis, queue: Queue) -> None:
    at = datetime.now(timezone.utc) + timedelta(seconds=100, microseconds=1)
    Wake(valkey.url).at(ONE, at)
    registry = ScheduledJobRegistry(queue=queue)
    [job_id] = registry.get_job_ids()
    assert registry.get_scheduled_time(job_id) >= at


def test_rqs_scheduler_takes_what_was_scheduled(valkey: Valkey, redis: Redis, queue: Queue) -> None:
    Wake(valkey.url).at(ONE, datetime.now(timezone.utc) - timedelta(seconds=5))
    scheduler = RQScheduler(["lms"], connection=redis, serializer=JSONSerializer)
    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
    scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
    scheduler.release_locks()  # type: ignore[no-untyped-call]
    [job] = queue.jobs
    assert list(job.args) == [ONE.hex]


def test_two_installations_on_one_redis_each_have_a_namespace(
    valkey: Valkey, redis: Redis, queue: Queue
) -> None:
    one, other = Wake(valkey.url), Wake(valkey.url, "training-b")
    assert one.now([ONE])
    assert other.now([ONE])
    assert other.at(ONE, datetime.now(timezone.utc) + timedelta(minutes=1))
    theirs = Queue("training-b", connection=redis, serializer=JSONSerializer)
    assert (queue.count, theirs.count) == (1, 1)
    assert (ScheduledJobRegistry(queue=queue).count, ScheduledJobRegistry(queue=theirs).count) == (
        0,
        1,
    )
    other.answered(ONE)
    assert redis.exists(one.key(ONE))
    assert one.key(ONE) == f"lms:wake:{ONE.hex}"  # as before there were namespaces
