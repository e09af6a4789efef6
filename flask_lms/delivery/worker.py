"""`flask lms worker`: the one process an operator runs, any number of copies on any hosts.

It supervises its parts and restarts what dies: senders (RQ workers), RQ's scheduler, the ticker
(the net under RQ: it finds in the database what Redis lost) and the mailer.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import sys
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
from . import lease
from .deliver import Deliverer
from .ticker import Ticker
from .wake import QUEUE, make_job_class

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 100.0
_RESTART_SECONDS = (0.2, 1.0, 2.0, 5.0)
_STABLE_SECONDS = 30.0
_MAIL_SECONDS = 2.0
#: Shorter than RQ's default, so that a sender notices a dead Redis connection within a minute.
_WORKER_TTL_SECONDS = 45


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


def run(app: Flask, *, burst: bool = False, processes: int | None = None) -> BurstReport | None:
    """Work until SIGTERM or SIGINT, or, in a burst, until nothing is due.

    :param processes: senders; default ``LMS_WORKER_PROCESSES``.
    """
    if burst:
        return work_off(app)
    state = app.extensions["lms_state"]
    if not hasattr(os, "fork"):
        raise SetupError(
            "`flask lms worker` needs fork(), as RQ does: run it on Linux or macOS, or run "
            "`flask lms worker --burst` each minute."
        )
    Supervisor(app, processes or state.settings.worker_processes).run()
    return None


def work_off(app: Flask) -> BurstReport:
    """Deliver all that is due, in this process, without Redis; then send due mails."""
    delivered = rejected = requests = 0
    with app.app_context():
        state: AppState = app.extensions["lms_state"]
        done: set[object] = set()
        sender = Deliverer(state)
        while True:
            ids = [
                id
                for id in lease.due(state.session(), state.clock.now(state.session()))
                if id not in done
            ]
            state.session.rollback()
            if not ids:
                break
            for id in ids:
                drained = sender.deliver(id)
                delivered += drained.delivered
                rejected += drained.rejected
                requests += drained.requests
                if not drained.requests:
                    done.add(id)
        outages.tick(state, state.clock.now(state.session()))
        mails = sending.send_due(state)
    return BurstReport(delivered=delivered, rejected=rejected, requests=requests, mails=mails)


@dataclass(kw_only=True)
class _Part:
    """One supervised process."""

    name: str
    target: Callable[[Flask], None]
    process: BaseProcess | None = None
    started_at: float = 0.0
    restarts: int = 0
    start_at: float = 0.0


@dataclass
class Supervisor:
    """Starts the parts, restarts those that end, and ends them with itself.

    :param senders: how many destinations are served at the same time.
    """

    app: Flask
    senders: int
    parts: list[_Part] = field(default_factory=list)
    is_stopping: bool = False

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT."""
        self.parts = [
            *(_Part(name=f"sender-{n + 1}", target=_send) for n in range(self.senders)),
            _Part(name="scheduler", target=_schedule),
            _Part(name="ticker", target=_tick),
            _Part(name="mailer", target=_mail),
        ]
        state: AppState = self.app.extensions["lms_state"]
        state.worker = f"{socket.gethostname()[:60]}/{uuid.uuid4().hex[:8]}"
        # Shared memory without a lock, which a part that is killed could hold for ever.
        leaving = RawValue(ctypes.c_bool, False)
        state.is_stopping = lambda: bool(leaving.value)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        _log.info("flask lms worker: %d senders", self.senders)
        while not self.is_stopping:
            for part in self.parts:
                self._look_after(part)
            time.sleep(0.1)
        leaving.value = True
        self._end()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True

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
            part.process = context.Process(
                target=_child, args=(self.app, part.name, part.target, os.getpid())
            )
            part.process.start()
            part.started_at = now

    def _end(self) -> None:
        running = [part.process for part in self.parts if part.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def _child(app: Flask, name: str, target: Callable[[Flask], None], parent: int) -> None:
    """Run one part in its own process, with connections of its own."""
    _die_with_parent(parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    with app.app_context():
        state: AppState = app.extensions["lms_state"]
        for engine in state.db.engines.values():
            engine.dispose(close=False)
    try:
        target(app)
    except KeyboardInterrupt:
        sys.exit(0)
    except (RedisError, OSError) as error:
        _log.warning("%s: Redis is away (%s)", name, type(error).__name__)
        sys.exit(1)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def worker_redis(url: str) -> Redis:
    """A connection for RQ's worker and scheduler."""
    tcp = {} if url.startswith("unix:") else {"socket_connect_timeout": 5, "socket_keepalive": True}
    return Redis.from_url(url, **tcp)


def make_sender(app: Flask) -> SimpleWorker:
    """An RQ worker that runs only our jobs, in this process, which keeps its connections."""
    state: AppState = app.extensions["lms_state"]
    job_class = make_job_class(app, Deliverer(state).deliver)
    redis = worker_redis(state.settings.redis_url)
    queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer, job_class=job_class)
    return SimpleWorker(
        [queue],
        connection=redis,
        serializer=JSONSerializer,
        job_class=job_class,
        worker_ttl=_WORKER_TTL_SECONDS,
        log_job_description=False,
    )


def _send(app: Flask) -> None:
    make_sender(app).work(logging_level="WARNING")


def _schedule(app: Flask) -> None:
    """RQ's scheduler: moves jobs whose time has come into the queue."""
    state: AppState = app.extensions["lms_state"]
    scheduler = RQScheduler(
        [QUEUE],
        connection=worker_redis(state.settings.redis_url),
        serializer=JSONSerializer,
        logging_level=logging.WARNING,
    )
    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
    scheduler.work()  # type: ignore[no-untyped-call]


def _tick(app: Flask) -> None:
    state: AppState = app.extensions["lms_state"]
    ticker = Ticker(app=app, state=state)
    try:
        ticker.run()
    finally:
        ticker.close()


def _mail(app: Flask) -> None:
    """The mailer: a mail server that is slow or down delays mails, never results."""
    state: AppState = app.extensions["lms_state"]
    while True:
        with app.app_context():
            try:
                sending.send_due(state)
            except Exception:
                state.session.rollback()
                _log.exception("mails wait: sending them failed")
        time.sleep(_MAIL_SECONDS)
