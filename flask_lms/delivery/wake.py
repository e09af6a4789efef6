"""Step 2 of the walk: after the commit, wake a worker through RQ. Losing a message loses nothing:
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
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import BaseTimeoutException
from sqlalchemy.exc import StatementError

from ..errors import LMSError

_log = logging.getLogger(__name__)

#: What a job calls itself in Redis. It names no function: only ``make_job_class`` knows what to do.
_DELIVER = "flask_lms:deliver"
#: A job hands its configuration on and ends; while every stream is busy it waits for one.
_JOB_TIMEOUT_SECONDS = 240
#: A wake counts for so long, and its job lives no longer: while no worker runs, jobs don't pile up.
#: (Should a job be lost, the ticker has long done its work by then.)
_WAKE_SECONDS = 600
_REST_SECONDS = 5.0


class Wake:
    """Wakes workers. Never raises; after a failure it rests 5 s in this process, so that a Redis
    which is away or hangs costs a request at most half a second, once.

    :param redis_url: ``redis://``, ``rediss://`` or ``unix://``.
    :param namespace: the queue's name; all keys of ours begin with it.
    :param monotonic: seconds from any start.
    """

    def __init__(
        self,
        redis_url: str,
        namespace: str = "lms",
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.namespace = namespace
        tcp = {} if redis_url.startswith("unix:") else {"socket_connect_timeout": 0.25}
        self._redis = Redis.from_url(
            redis_url, socket_timeout=0.25, retry=Retry(NoBackoff(), 0), **tcp
        )
        self._queue = Queue(namespace, connection=self._redis, serializer=JSONSerializer)
        self._monotonic = monotonic
        self._resting_until = 0.0

    def key(self, configuration_id: uuid.UUID) -> str:
        """The Redis key that stands from a wake until its worker begins."""
        return f"{self.namespace}:wake:{configuration_id.hex}"

    def now(self, configuration_ids: Iterable[uuid.UUID]) -> bool:
        """Ask for a delivery of each; True when Redis took all of them."""

        def enqueue() -> None:
            for configuration_id in configuration_ids:
                key = self.key(configuration_id)
                if self._redis.set(key, 1, nx=True, ex=_WAKE_SECONDS):
                    self._queue.enqueue_call(
                        _DELIVER,
                        args=(configuration_id.hex,),
                        timeout=_JOB_TIMEOUT_SECONDS,
                        ttl=_WAKE_SECONDS,
                        result_ttl=0,
                        failure_ttl=3600,
                        description=f"deliver {configuration_id.hex}",
                    )

        return self._try(enqueue)

    def at(self, configuration_id: uuid.UUID, at: datetime) -> bool:
        """Ask for a delivery at a time (aware); True when Redis took it. The same time again is the
        same job. RQ knows full seconds only, so the next one is meant: never too early.
        """
        second = math.ceil(at.timestamp())
        return self._try(
            lambda: self._queue.enqueue_at(
                datetime.fromtimestamp(second, timezone.utc),
                _DELIVER,
                configuration_id.hex,
                job_id=f"{self.namespace}-{configuration_id.hex}-{second}",
                job_timeout=_JOB_TIMEOUT_SECONDS,
                result_ttl=0,
                failure_ttl=3600,
                description=f"deliver {configuration_id.hex}",
            )
        )

    def answered(self, configuration_id: uuid.UUID) -> None:
        """A delivery has begun: what is recorded from now on wakes again."""
        self._try(lambda: self._redis.delete(self.key(configuration_id)))

    def is_redis_there(self) -> bool:
        """Whether Redis answers now."""
        return self._try(self._redis.ping)

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


class FailedJob(LMSError):
    """A job failed; what RQ may know of it."""


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
            self.timeout = _JOB_TIMEOUT_SECONDS
            return restored

        def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
            """Nothing: the one door to the network is ``transport``."""

        def perform(self) -> Any:
            try:
                with app.app_context():
                    return super().perform()
            except (ForgedJob, BaseTimeoutException, StopRequested):
                raise
            except Exception as error:
                if isinstance(error, StatementError):
                    error.hide_parameters = True
                _log.exception("a job failed; what is due is delivered later")
                fault = FailedJob(f"{type(error).__name__}: see the worker's log")
            # RQ keeps the trace in Redis, where no name of a learner may be.
            raise fault

    return LMSJob
