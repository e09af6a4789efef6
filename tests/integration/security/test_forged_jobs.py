"""Somebody can write to Redis: nothing but our own function runs, and real work goes on."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis

from demo.valkey import Valkey
from flask_lms.database.models import DeliveryState
from flask_lms.delivery.deliver import Deliverer
from flask_lms.delivery.worker import make_rq_worker
from tests.address_cases import Tripwire
from tests.transport_support import answering, serving
from tests.world import World, make_world, result

#: What forged jobs managed to call.
CALLED: list[Any] = []

HERE = "tests.integration.security.test_forged_jobs"


def fire(*args: Any, **kw: Any) -> None:
    """What a forged job would like to run."""
    CALLED.append((args, kw))


class Pickled:
    """Calls :func:`fire` when it is unpickled."""

    def __reduce__(self) -> Any:
        return fire, ("unpickled",)


@pytest.fixture
def host_with_redis(tmp_path: Path, valkey: Valkey) -> Iterator[World]:
    CALLED.clear()
    Redis.from_url(valkey.url).flushall()
    url = f"sqlite:///{tmp_path / 'host.db'}"
    with make_world(url, redis_url=valkey.url) as made:
        yield made


def _forge(redis: Redis, data: bytes, **fields: Any) -> str:
    """Put a job into our queue as RQ would have written it."""
    id = str(uuid.uuid4())
    known = {
        "data": zlib.compress(data),
        "created_at": "2026-03-02T09:00:00.000000Z",
        "enqueued_at": "2026-03-02T09:00:00.000000Z",
        "origin": "lms",
        "status": "queued",
        "timeout": 30,
    }
    redis.hset(f"rq:job:{id}", mapping={**known, **fields})
    redis.sadd("rq:queues", "rq:queue:lms")
    redis.rpush("rq:queue:lms", id)
    return id


def _call(function: Any, *args: Any, instance: Any = None, **kw: Any) -> bytes:
    return json.dumps([function, instance, args, kw]).encode()


def _work(world: World) -> None:
    worker = make_rq_worker(world.app, Deliverer(world.state).deliver)
    worker.subscribe = lambda: None  # type: ignore[method-assign]  # its teardown can stall
    worker.work(burst=True, logging_level="CRITICAL")


FORGED = {
    "a function of the process": _call(f"{HERE}.fire", 1),
    "a shell command": _call("os.system", "touch {marker}"),
    "a subprocess": _call("subprocess.call", ["touch", "{marker}"]),
    "exec": _call("builtins.exec", "open('{marker}', 'w')"),
    "eval": _call("builtins.eval", "open('{marker}', 'w')"),
    "a module that runs at import": _call("antigravity.fly"),
    "a neighbour of our function": _call("flask_lms.delivery.wake.make_job_class", "x"),
    "through our function": _call("flask_lms:deliver.__globals__"),
    "another spelling of ours": _call(" flask_lms:deliver", "x"),
    "ours by another way": _call("flask_lms.delivery.worker.work_off", "x"),
    "a method of an instance": _call("flask_lms:deliver", instance="a text"),
    "no function": _call(None),
    "a list for a function": _call(["flask_lms:deliver"]),
    "a number for a function": _call(7),
    "an object for a function": _call({"a": "b"}),
    "ours with a path for an id": _call("flask_lms:deliver", "../../etc/passwd"),
    "ours with SQL for an id": _call("flask_lms:deliver", "' OR 1=1 --"),
    "ours with a list for an id": _call("flask_lms:deliver", [1]),
    "ours with nothing": _call("flask_lms:deliver"),
    "ours with too much": _call("flask_lms:deliver", "a", "b", c="d"),
    "ours for nobody": _call("flask_lms:deliver", uuid.uuid4().hex),
    "too short a tuple": json.dumps(["flask_lms:deliver"]).encode(),
    "no tuple": b"{}",
    "no JSON": b"\xff\x00nonsense",
    "nothing": b"",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_job_runs_nothing_and_holds_up_nobody(
    name: str, host_with_redis: World, valkey: Valkey, tmp_path: Path, tripwire: Tripwire
) -> None:
    world, redis = host_with_redis, Redis.from_url(valkey.url)
    marker = tmp_path / "marker"
    with serving(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as lms:
        world.attach(lms.url(path="/xapi"))
        _forge(redis, FORGED[name].replace(b"{marker}", str(marker).encode()))
        world.lms.record(result())
        world.db.session.commit()
        _work(world)
        assert not marker.exists()
        assert CALLED == []
        assert {address[1] for address in tripwire.touched} <= {lms.port}
    assert [row.state for row in world.rows()] == [DeliveryState.DELIVERED]
    assert redis.llen("rq:queue:lms") == 0


def test_a_pickle_is_not_opened(host_with_redis: World, valkey: Valkey) -> None:
    redis = Redis.from_url(valkey.url)
    evil = pickle.dumps(Pickled())
    _forge(redis, evil)
    _forge(redis, _call("flask_lms:deliver", uuid.uuid4().hex), result=evil, meta=evil)
    _forge(redis, pickle.dumps((f"{HERE}.fire", None, (), {})))
    _work(host_with_redis)
    assert CALLED == []
    pickle.loads(evil)
    assert CALLED == [(("unpickled",), {})]  # the charge was live


@pytest.mark.parametrize("ends_well", [True, False])
def test_callbacks_and_webhooks_of_a_job_are_not_called(
    ends_well: bool, host_with_redis: World, valkey: Valkey, tripwire: Tripwire
) -> None:
    redis = Redis.from_url(valkey.url)
    hook = {
        "url": f"http://127.0.0.1:{tripwire.port}/",
        "events": ["success", "failure", "finished", "failed", "stopped", "queued"],
        "event": "finished",
        "method": "POST",
        "headers": {},
        "timeout": 5,
        "secret": None,
    }
    data = _call("flask_lms:deliver", uuid.uuid4().hex if ends_well else "no id")
    for field in ("success", "failure", "stopped"):
        callback = {
            f"{field}_callback_name": f"{HERE}.fire",
            f"{field}_callback_timeout": 5,
            "webhooks": json.dumps([hook]),
            "repeats_left": 2,
            "repeat_intervals": "[0]",
        }
        _forge(redis, data, **callback)
    _work(host_with_redis)
    assert CALLED == []
    assert tripwire.touched == []


def test_an_abandoned_job_calls_nothing_when_it_is_cleaned_away(
    host_with_redis: World, valkey: Valkey
) -> None:
    redis = Redis.from_url(valkey.url)
    id = _forge(
        redis,
        _call(f"{HERE}.fire"),
        status="started",
        failure_callback_name=f"{HERE}.fire",
        failure_callback_timeout=5,
    )
    redis.delete("rq:queue:lms")
    redis.zadd("rq:wip:lms", {f"{id}:{uuid.uuid4().hex}": 1})
    _work(host_with_redis)
    worker = make_rq_worker(host_with_redis.app, print)
    worker.clean_registries()
    assert CALLED == []


def test_what_redis_holds_is_an_id_and_nothing_more(host_with_redis: World, valkey: Valkey) -> None:
    world, redis = host_with_redis, Redis.from_url(valkey.url)
    configuration = world.attach("https://lms.example.com/xapi")
    world.lms.record(result())
    world.db.session.commit()
    (id,) = redis.lrange("rq:queue:lms", 0, -1)
    job = redis.hgetall(f"rq:job:{id.decode()}")
    data = json.loads(zlib.decompress(job[b"data"]))
    assert data == ["flask_lms:deliver", None, [configuration.id.hex], {}]
    everything = b"".join(job.values()) + b"".join(redis.keys())
    for word in (b"jane", b"Jane", b"canary", b"lms.example.com", b"acme"):
        assert word not in everything


def test_a_job_has_our_limit_of_time_whatever_redis_says(
    host_with_redis: World, valkey: Valkey
) -> None:
    """A limit of one second would end a healthy configuration's delivery half way."""
    taken: list[int] = []
    worker = make_rq_worker(host_with_redis.app, lambda id: taken.append(job.timeout))
    id = _forge(Redis.from_url(valkey.url), _call("flask_lms:deliver", "0" * 32), timeout=1)
    job = worker.job_class.fetch(id, connection=worker.connection, serializer=worker.serializer)
    job.perform()
    assert taken == [240]


def test_what_a_failed_job_leaves_in_redis_tells_of_nobody(
    host_with_redis: World, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    world = host_with_redis
    made = world.attach("http://127.0.0.1:9/xapi")
    redis = Redis.from_url(valkey.url)

    def fail(configuration_id: uuid.UUID) -> None:
        names = {"name": "Jane Doe"}
        world.session.execute(sa.text("INSERT INTO nowhere VALUES (:name)"), names)

    world.record("r1")
    worker = make_rq_worker(world.app, fail)
    worker.subscribe = lambda: None  # type: ignore[method-assign]
    worker.work(burst=True, logging_level="CRITICAL")
    kept = []
    for key in redis.scan_iter("rq:results:*"):
        for _, row in redis.xrange(key):
            kept.append(zlib.decompress(base64.b64decode(row[b"exc_string"])).decode())
    assert any("OperationalError: see the worker's log" in text for text in kept), made
    for text in (*kept, caplog.text):
        assert "Jane Doe" not in text
        assert "INSERT" not in "".join(kept)
    assert "a job failed" in caplog.text
