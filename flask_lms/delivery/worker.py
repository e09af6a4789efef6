"""`flask lms worker`: the one process an operator runs, any number of copies on any hosts.

It supervises its parts and restarts what dies. *Deliverers* are RQ workers whose jobs hand
configurations to the streams of their process. One *keeper* has the ticker (the net under RQ: it
finds in the database what Redis lost), RQ's scheduler, the mailer and the tasks. These four are
threads, not processes: each is a loop around rows that stay, so whatever ends the process (no
memory, a fault in C) costs the others no more than the second until the supervisor has started it
again; an exception ends one turn of one loop; and one that hangs (a mail server) holds up none of
the others.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from types import FrameType

from flask import Flask
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from ..alerts import outages, sending
from ..app_state import AppState
from ..errors import SetupError
from ..services import tasks
from . import lease
from .deliver import Deliverer, DeliverReport
from .streams import STOP_SECONDS, OriginPlaces, Streams
from .ticker import Ticker
from .wake import make_job_class

_log = logging.getLogger(__name__)

_GRACE_SECONDS = STOP_SECONDS + 10.0
_RESTART_SECONDS = (0.2, 1.0, 2.0, 5.0)
_STABLE_SECONDS = 30.0
_MAIL_SECONDS = 2.0
_SCHEDULE_SECONDS = 1.0
#: How often a scheduler tries to be the one of its queue.
_ACQUIRE_SECONDS = 5.0
#: Shorter than RQ's default, so that a dead Redis connection is noticed within a minute.
_WORKER_TTL_SECONDS = 45
_MOST_PROCESSES = 2


@dataclass(frozen=True, kw_only=True)
class BurstReport:
    """What one ``flask lms worker --burst`` did.

    :param delivered: statements that were stored.
    :param rejected: statements that were refused for good.
    :param requests: HTTP requests to LMSs.
    :param mails: alerts that left.
    """

    delivered: int = 0
    rejected: int = 0
    requests: int = 0
    mails: int = 0


def run(
    app: Flask, *, burst: bool = False, processes: int | None = None, streams: int | None = None
) -> BurstReport | None:
    """Work until SIGTERM or SIGINT, or, in a burst, until nothing is due.

    :param processes: that deliver; default ``LMS_WORKER_PROCESSES``.
    :param streams: of each; default ``LMS_WORKER_STREAMS``.
    """
    if burst:
        at_once = Streams(app, streams=streams)
        try:
            return work_off(app, at_once)
        finally:
            at_once.close()
    state: AppState = app.extensions["lms_state"]
    if not hasattr(os, "fork"):
        raise SetupError(
            "`flask lms worker` needs fork(), as RQ does: run it on Linux or macOS, or run "
            "`flask lms worker --burst` each minute."
        )
    settings = state.settings
    processes = processes or settings.worker_processes or min(os.cpu_count() or 1, _MOST_PROCESSES)
    Supervisor(app, processes, streams or settings.worker_streams).run()
    return None


def work_off(app: Flask, streams: Streams | None = None) -> BurstReport:
    """End all tasks and deliver all that is due, in this process, without Redis; then send due
    mails.

    :param streams: None: one configuration after the other, in this thread alone.
    """
    reports: list[DeliverReport] = []
    with app.app_context():
        state: AppState = app.extensions["lms_state"]
        while tasks.work(state):
            pass
        deliverer = Deliverer(state)
        done: set[uuid.UUID] = set()
        while True:
            due = lease.due(state.session(), state.clock.now(state.session()))
            state.session.rollback()
            ids = [id for id in due if id not in done]
            if not ids:
                break
            new = streams.deliver(ids) if streams else [deliverer.deliver(id) for id in ids]
            done |= {*ids} - {one.configuration_id for one in new if one.requests}
            reports += new
        outages.tick(state, state.clock.now(state.session()))
        mails = sending.send_due(state)
    return BurstReport(
        delivered=sum(one.delivered for one in reports),
        rejected=sum(one.rejected for one in reports),
        requests=sum(one.requests for one in reports),
        mails=mails,
    )


@dataclass(kw_only=True)
class _Part:
    """One supervised process."""

    name: str
    target: Callable[[Flask, Streams], None]
    process: BaseProcess | None = None
    started_at: float = 0.0
    restarts: int = 0
    start_at: float = 0.0


@dataclass
class Supervisor:
    """Starts the parts, restarts those that end, and ends them with itself.

    :param deliverers: processes that deliver.
    :param streams: of each process.
    """

    app: Flask
    deliverers: int
    streams: int
    parts: list[_Part] = field(default_factory=list)
    places: OriginPlaces = field(default_factory=OriginPlaces.shared)
    is_stopping: bool = False

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT."""
        self.parts = [
            *(_Part(name=f"deliverer-{n + 1}", target=_deliver) for n in range(self.deliverers)),
            _Part(name="keeper", target=_keep),
        ]
        state: AppState = self.app.extensions["lms_state"]
        state.worker = f"{socket.gethostname()[:60]}/{uuid.uuid4().hex[:8]}"
        # Shared memory without a lock, which a part that is killed could hold for ever.
        leaving = RawValue(ctypes.c_bool, False)
        state.is_stopping = lambda: bool(leaving.value)

        def stop(number: int, frame: FrameType | None) -> None:
            self.is_stopping = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        gc.collect()
        gc.freeze()  # what is here now is shared with the parts and stays so
        _log.info("flask lms worker: %d processes, %d streams", self.deliverers, self.streams)
        while not self.is_stopping:
            for part in self.parts:
                self._look_after(part)
            time.sleep(0.1)
        leaving.value = True

        running = [part.process for part in self.parts if part.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self.places.close()

    def _look_after(self, part: _Part) -> None:
        now = time.monotonic()
        if part.process is not None:
            if part.process.is_alive():
                return
            if now - part.started_at > _STABLE_SECONDS:
                part.restarts = 0
            wait = _RESTART_SECONDS[min(part.restarts, len(_RESTART_SECONDS) - 1)]
            _log.warning(
                "%s ended with code %s; it starts again in %s s",
                part.name,
                part.process.exitcode,
                wait,
            )
            part.process, part.start_at, part.restarts = None, now + wait, part.restarts + 1
        if now >= part.start_at:
            context = multiprocessing.get_context("fork")
            part.process = context.Process(target=self._run_part, args=(part, os.getpid()))
            part.process.start()
            part.started_at = now

    def _run_part(self, part: _Part, parent: int) -> None:
        """Run one part in its own process, with connections of its own."""
        if sys.platform == "linux":
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)

        def leave(number: int, frame: FrameType | None) -> None:
            sys.exit(0)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leave)
        state: AppState = self.app.extensions["lms_state"]
        with self.app.app_context():
            for engine in state.db.engines.values():
                engine.dispose(close=False)
        streams = Streams(self.app, streams=self.streams, places=self.places)
        try:
            part.target(self.app, streams)
        except KeyboardInterrupt:
            sys.exit(0)
        finally:
            streams.close()


def worker_redis(url: str) -> Redis:
    """A connection for RQ's worker and scheduler."""
    tcp = {} if url.startswith("unix:") else {"socket_connect_timeout": 5, "socket_keepalive": True}
    return Redis.from_url(url, **tcp)


def make_rq_worker(app: Flask, deliver: Callable[[uuid.UUID], object]) -> SimpleWorker:
    """An RQ worker that runs only our jobs, in this process, which keeps its connections.

    :param deliver: given the configuration of each job.
    """
    state: AppState = app.extensions["lms_state"]
    job_class = make_job_class(app, deliver)
    redis = worker_redis(state.settings.redis_url)
    name = state.wake.namespace
    queue = Queue(name, connection=redis, serializer=JSONSerializer, job_class=job_class)
    worker = SimpleWorker(
        [queue],
        connection=redis,
        serializer=JSONSerializer,
        job_class=job_class,
        worker_ttl=_WORKER_TTL_SECONDS,
        log_job_description=False,
    )
    worker.max_connection_wait_time = _RESTART_SECONDS[-1]
    return worker


def _deliver(app: Flask, streams: Streams) -> None:
    """Take jobs until told to end, or until RQ ends at a fault of Redis; the next one begins when
    Redis is back.
    """
    state: AppState = app.extensions["lms_state"]
    while not state.wake.is_redis_there():
        time.sleep(_SCHEDULE_SECONDS)
    try:
        make_rq_worker(app, lambda id: streams.put(id, waits=True)).work(logging_level="WARNING")
    except (RedisError, OSError) as error:
        _log.warning("Redis is away (%s)", type(error).__name__)


def _keep(app: Flask, streams: Streams) -> None:
    """Ticker, scheduler, mailer and tasks; a thread that ends nevertheless begins again."""
    state: AppState = app.extensions["lms_state"]
    loops: dict[str, Callable[[], None]] = {
        "lms-ticker": Ticker(app=app, state=state, streams=streams).run,
        "lms-scheduler": lambda: _schedule(state),
        "lms-mailer": lambda: _mail(app, state),
        "lms-tasks": lambda: tasks.run(app),
    }
    threads: dict[str, threading.Thread] = {}
    while True:
        for name, loop in loops.items():
            if name not in threads or not threads[name].is_alive():
                threads[name] = threading.Thread(target=loop, name=name, daemon=True)
                threads[name].start()
        time.sleep(1.0)


def _schedule(state: AppState) -> None:
    """RQ's scheduler: moves jobs whose time has come into the queue. One of all workers does it;
    its lock runs out a minute after its death, and until then the ticker finds what is due.
    """
    scheduler = RQScheduler(
        [state.wake.namespace],
        connection=worker_redis(state.settings.redis_url),
        serializer=JSONSerializer,
        logging_level=logging.WARNING,
    )
    acquired_at = float("-inf")
    while True:
        try:
            if not scheduler.acquired_locks:
                if time.monotonic() - acquired_at > _ACQUIRE_SECONDS:
                    acquired_at = time.monotonic()
                    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
            else:
                scheduler.heartbeat()  # type: ignore[no-untyped-call]
                scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            _log.warning("the scheduler waits: Redis is away (%s)", type(error).__name__)
            time.sleep(_ACQUIRE_SECONDS)
        time.sleep(_SCHEDULE_SECONDS)


def _mail(app: Flask, state: AppState) -> None:
    """The mailer: a mail server that is slow or down delays mails, never results."""
    while True:
        with app.app_context():
            try:
                sending.send_due(state)
            except Exception:
                state.session.rollback()
                _log.exception("mails wait: sending them failed")
        time.sleep(_MAIL_SECONDS)
