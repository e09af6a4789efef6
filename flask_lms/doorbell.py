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

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

_log = logging.getLogger(__name__)

QUEUE = "lms"
_DELIVER = "flask_lms.jobs.deliver"
#: A job may run a drain (60 s), its last request and one more after a conflict (80 s each).
_JOB_TIMEOUT_SECONDS = 240
#: A ring counts for so long, and its job lives no longer: while no worker runs, jobs don't pile up.
#: (Should a job be lost, the ticker has long done its work by then.)
_WAKE_SECONDS = 600
_REST_SECONDS = 5.0


def wake_key(configuration_id: uuid.UUID) -> str:
    """The Redis key that stands while a ring waits for its worker."""
    return f"lms:wake:{configuration_id.hex}"


class Doorbell:
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

    def ring(self, configuration_ids: Iterable[uuid.UUID]) -> bool:
        """Ask for a drain of each; True when Redis took all of them."""

        def ring_all() -> None:
            for configuration_id in configuration_ids:
                self._ring_one(configuration_id)

        return self._try(ring_all)

    def schedule(self, configuration_id: uuid.UUID, at: datetime) -> bool:
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

    def is_there(self) -> bool:
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
