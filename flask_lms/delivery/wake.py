"""Step 2 of the walk: after the commit, wake a worker through RQ. Losing a ring loses nothing:
the ticker of every worker finds what is due in the database.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

from flask import Flask
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from ..errors import LMSError

_log = logging.getLogger(__name__)

QUEUE = "lms"
#: What a job calls itself in Redis. It names no function: only ``make_job_class`` knows what to do.
_DELIVER = "flask_lms:deliver"
#: A job may run a drain (60 s), its last request and one more after a conflict (80 s each).
_JOB_TIMEOUT_SECONDS = 240
#: A ring counts for so long, and its job lives no longer: while no worker runs, jobs don't pile up.
#: (Should a job be lost, the ticker has long done its work by then.)
_WAKE_SECONDS = 600
_REST_SECONDS = 5.0


def wake_key(configuration_id: uuid.UUID) -> str:
    """The Redis key that stands while a ring waits for its worker."""
    return f"lms:wake:{configuration_id.hex}"


class Wake:
    """Wakes workers. Never raises; after a failure it rests 5 s in this process, so that a Redis
    which is away or hangs costs a request at most half a second, once.

    :param redis_url: ``redis://``, ``rediss://`` or ``unix://``.
    :param monotonic: seconds from any start.
    """

    def __init__(self, redis_url: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        tcp = {} if redis_url.startswith("unix:") else {"socket_connect_timeout": 0.25}
        self._redis = Redis.from_url(
            redis_url, socket_timeout=0.25, retry=Retry(NoBackoff(), 0), **tcp
        )
        self._queue = Queue(QUEUE, connection=self._redis, serializer=JSONSerializer)
        self._monotonic = monotonic
        self._resting_until = 0.0

    def now(self, configuration_ids: Iterable[uuid.UUID]) -> bool:
        """Ask for a drain of each; True when Redis took all of them."""

        def ring_all() -> None:
            for configuration_id in configuration_ids:
                self._ring_one(configuration_id)

        return self._try(ring_all)

    def at(self, configuration_id: uuid.UUID, at: datetime) -> bool:
        """Ask for a drain at a time (aware); True when Redis took it. The same time again is the
        same job. RQ knows full seconds only, so the next one is meant: never too early.
        """
        second = math.ceil(at.timestamp())
        return self._try(
            lambda: self._queue.enqueue_at(
                datetime.fromtimestamp(second, timezone.utc),
                _DELIVER,
                configuration_id.hex,
                job_id=f"lms-{configuration_id.hex}-{second}",
                job_timeout=_JOB_TIMEOUT_SECONDS,
                result_ttl=0,
                failure_ttl=3600,
                description=f"deliver {configuration_id.hex}",
            )
        )

    def answered(self, configuration_id: uuid.UUID) -> None:
        """A drain has begun: what is recorded from now on rings again."""
        self._try(lambda: self._redis.delete(wake_key(configuration_id)))

    def is_redis_there(self) -> bool:
        """Whether Redis answers now."""
        return self._try(self._redis.ping)

    def _ring_one(self, configuration_id: uuid.UUID) -> None:
        if not self._redis.set(wake_key(configuration_id), 1, nx=True, ex=_WAKE_SECONDS):
            return
        self._queue.enqueue_call(
            _DELIVER,
            args=(configuration_id.hex,),
            timeout=_JOB_TIMEOUT_SECONDS,
            ttl=_WAKE_SECONDS,
            result_ttl=0,
            failure_ttl=3600,
            description=f"deliver {configuration_id.hex}",
        )

    def _try(self, act: Callable[[], object]) -> bool:
        if self._monotonic() < self._resting_until:
            return False
        try:
            act()
        except (RedisError, OSError) as error:
            self._resting_until = self._monotonic() + _REST_SECONDS
            _log.warning(
                "Redis did not take a message (%s); nothing is lost, workers look into the "
                "database every few seconds",
                type(error).__name__,
            )
            return False
        return True


# -- What RQ may run: one function, an id in. No payload and no secret is in Redis, and whatever
# else stands there is refused.


class ForgedJob(LMSError):
    """Redis holds a job that this extension didn't put there; it was not run."""


def make_job_class(app: Flask, deliver: Callable[[uuid.UUID], object]) -> type[Job]:
    """An RQ job class that runs only ``deliver``, in this app's context.

    :param deliver: given the configuration's id. A job with anything else raises ForgedJob.
    """

    def run(configuration_id: str) -> None:
        try:
            id = uuid.UUID(configuration_id)
        except (ValueError, AttributeError, TypeError):
            raise ForgedJob("a job's argument is not a configuration id; it was not run") from None
        deliver(id)

    class LMSJob(Job):
        """A job of Flask-LMS. Callbacks, webhooks, repeats and other functions are ignored or
        refused: whoever can write to Redis must not run code here.
        """

        @property
        def func(self) -> Callable[..., Any]:
            if self.func_name != _DELIVER or self.instance is not None:
                raise ForgedJob(
                    f"Redis holds a job for {self.func_name!r}, which is not of Flask-LMS; it was "
                    "not run. Give the extension a Redis of its own, or a password."
                )
            return run

        success_callback = None
        failure_callback = None
        stopped_callback = None

        def restore(self, raw_data: dict[Any, Any]) -> Any:
            restored = super().restore(raw_data)
            self._success_callback_name = None
            self._failure_callback_name = None
            self._stopped_callback_name = None
            self.webhooks = []
            self.repeats_left = None
            return restored

        def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
            """Nothing: the one door to the network is ``transport``."""

        def perform(self) -> Any:
            with app.app_context():
                return super().perform()

    return LMSJob
