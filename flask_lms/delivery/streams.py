"""Step 3 of the walk: whose request goes out next. A job or the ticker names a configuration here;
threads ("streams") of this process read, send and settle its requests, one at each turn.

Nobody waits for somebody else's LMS: what hangs takes no place of what answers.

- A destination that answered of late and did not fail since is *well*: three quarters of the
  streams are its kind's. One that is new or was silent (*quiet*) and one that *fails* have an
  eighth each, and short limits of time. What is idle may be used by anybody.
- A request that takes longer than a moment is *slow*: only waiting, it gives its place to a new
  thread, up to a bound. So sixty destinations that stop answering in the same second hold up the
  sixty-first for that moment and no longer. One that fails keeps its place; there are few.
- To an origin (scheme, host, port) that is well a few requests go at a time, to any other one,
  whatever number of configurations share it; in all processes of a ``flask lms worker``.
- Those that fail are tried a few a second, so that after an outage of our own network not all are
  at once.
- When several organizations wait, they take turns.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import logging
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import IO

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.pool import QueuePool

from ..app_state import AppState
from ..database.models import Configuration, ConfigurationHealth
from . import decide
from .deliver import Deliverer, DeliverReport, Walk

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not POSIX: there is only `--burst`, one process
    fcntl = None

_log = logging.getLogger(__name__)

#: After so long a request only waits.
SLOW_SECONDS = 0.25
#: An origin with a request that is under way for so long gets no other until that has ended.
HUNG_SECONDS = 10.0
#: A process has at most so many times its streams of threads.
THREADS_PER_STREAM = 16
#: Failing destinations that are tried in one second.
PROBES_A_SECOND = 4
#: Without anything to do for so long a thread ends.
_IDLE_SECONDS = 10.0
#: How often it is looked whether somebody who waits may begin.
_LOOK_SECONDS = 0.05
#: Told to stop, requests under way may take so long; then they are left.
STOP_SECONDS = 10.0
#: Connections to the database that the streams of one process use at a time, at most.
_MOST_CONNECTIONS = 8


class Standing(enum.IntEnum):
    """What a destination has shown of late; the better comes first."""

    WELL = 0
    QUIET = 1
    FAILING = 2


@dataclass(eq=False, kw_only=True)
class Candidate:
    """A configuration that wants a stream for its next request.

    :param at_once: requests of it that may be under way at a time.
    :param is_woken: something was recorded since it was last read.
    """

    configuration_id: uuid.UUID
    organization_id: str
    origin: str
    standing: Standing = Standing.QUIET
    at_once: int = 1
    under_way: int = 0
    is_woken: bool = True
    walk: Walk | None = None


@dataclass(eq=False, kw_only=True)
class Turn:
    """A stream's one request for a candidate."""

    candidate: Candidate
    standing: Standing
    started_at: float
    place: int


class OriginPlaces:
    """Counts requests under way to each origin in all processes that share one file.

    A place is a lock on one byte of it (POSIX record locks): the system gives it back when its
    process dies, however it dies. Nothing is written, and no name is in the file.

    :param file: made before the processes fork; None: this process counts for itself.
    """

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._taken: set[tuple[str, int]] = set()

    @staticmethod
    def shared() -> OriginPlaces:
        """For this process and those that it forks."""
        return OriginPlaces(tempfile.TemporaryFile(buffering=0))

    def take(self, origin: str, most: int) -> int | None:
        """One of the first ``most`` places of an origin; None: all are taken."""
        for place in range(most):
            if (origin, place) in self._taken:
                continue
            try:
                self._lock(origin, place, is_held=True)
            except OSError:
                continue
            self._taken.add((origin, place))
            return place
        return None

    def give_back(self, origin: str, place: int) -> None:
        self._taken.discard((origin, place))
        self._lock(origin, place, is_held=False)

    def close(self) -> None:
        """Give all back."""
        if self._file is not None:
            self._file.close()

    def _lock(self, origin: str, place: int, *, is_held: bool) -> None:
        if self._file is not None and fcntl is not None:
            digest = hashlib.sha256(f"{place} {origin}".encode()).digest()
            how = fcntl.LOCK_EX | fcntl.LOCK_NB if is_held else fcntl.LOCK_UN
            fcntl.lockf(self._file, how, 1, int.from_bytes(digest[:7], "big"))


class Turns:
    """Decides who is next. Not for threads: whoever calls holds a lock.

    :param streams: of this process.
    :param at_once: requests to one origin that is well.
    """

    def __init__(self, streams: int, at_once: int, places: OriginPlaces | None = None) -> None:
        self._streams = streams
        self._at_once = at_once
        self._places = places or OriginPlaces()
        eighth = max(streams // 8, 1)
        self._share = {
            Standing.WELL: max(streams - 2 * eighth, 1),
            Standing.QUIET: eighth,
            Standing.FAILING: eighth,
        }
        self.waiting: dict[Candidate, None] = {}
        self.under_way: dict[Turn, None] = {}
        #: Origin → when it last answered, and when it last failed.
        self._answered_at: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}
        self._turns = 0
        self._last_turn: dict[str, int] = {}
        self._probes: list[float] = []

    def standing(self, candidate: Candidate, now: float) -> Standing:
        """By what its origin showed to anybody of late, else by the configuration's own health."""
        answered = self._answered_at.get(candidate.origin, float("-inf"))
        failed = self._failed_at.get(candidate.origin, float("-inf"))
        if failed > answered:
            return Standing.FAILING
        if candidate.standing is Standing.QUIET and now - answered < 3600:
            return Standing.WELL
        return candidate.standing

    def next(self, now: float) -> Turn | None:
        """Give a stream to whoever is next; None: nobody may begin now."""
        if not self.waiting or len(self.under_way) >= self._streams * THREADS_PER_STREAM:
            return None
        active = self._active(now)
        is_idle = sum(active.values()) < self._streams
        oldest: dict[str, float] = {}
        for turn in self.under_way:  # in the order in which they began
            oldest.setdefault(turn.candidate.origin, now - turn.started_at)
        is_crowded = len(self.under_way) > self._streams * THREADS_PER_STREAM // 2
        most_seconds = SLOW_SECONDS if is_crowded else HUNG_SECONDS
        self._probes = [at for at in self._probes if now - at < 1.0]

        def order(candidate: Candidate) -> tuple[int, bool, int]:
            return (
                standings[candidate],
                oldest.get(candidate.origin, 0.0) >= SLOW_SECONDS,
                self._last_turn.get(candidate.organization_id, 0),
            )

        standings = {
            candidate: self.standing(candidate, now)
            for candidate in self.waiting
            if candidate.under_way < candidate.at_once
            and oldest.get(candidate.origin, 0.0) < most_seconds
        }
        for candidate in sorted(standings, key=order):
            standing = standings[candidate]
            if not is_idle and active[standing] >= self._share[standing]:
                continue
            if standing is Standing.FAILING and len(self._probes) >= PROBES_A_SECOND:
                break
            # An origin may be well when this configuration, by a fault of its own, is not.
            answered = self._answered_at.get(candidate.origin, float("-inf"))
            is_well = answered > self._failed_at.get(candidate.origin, float("-inf"))
            most = self._at_once if is_well or standing is Standing.WELL else 1
            place = self._places.take(candidate.origin, most)
            if place is None:
                continue
            if standing is Standing.FAILING:
                self._probes.append(now)
            del self.waiting[candidate]
            candidate.under_way += 1
            self._turns += 1
            self._last_turn[candidate.organization_id] = self._turns
            turn = Turn(candidate=candidate, standing=standing, started_at=now, place=place)
            self.under_way[turn] = None
            return turn
        return None

    def is_full(self, now: float) -> bool:
        """Whether no stream is left for another one that is well."""
        active = self._active(now)
        return (
            len(self.under_way) >= self._streams * THREADS_PER_STREAM
            or active[Standing.WELL] + active[Standing.QUIET] >= self._share[Standing.WELL]
        )

    def done(self, turn: Turn) -> None:
        """The stream is free again."""
        del self.under_way[turn]
        turn.candidate.under_way -= 1
        self._places.give_back(turn.candidate.origin, turn.place)
        if len(self._last_turn) > 10_000:  # organizations; who isn't there has waited longest
            self._last_turn.clear()

    def noted(self, origin: str, has_answered: bool, now: float) -> None:
        """What an origin showed."""
        seen = self._answered_at if has_answered else self._failed_at
        seen.pop(origin, None)
        seen[origin] = now
        if len(seen) > 10_000:
            del seen[next(iter(seen))]

    def _active(self, now: float) -> Counter[Standing]:
        """Turns that hold a place, by standing."""
        return Counter(
            turn.standing
            for turn in self.under_way
            if turn.standing is Standing.FAILING or now - turn.started_at < SLOW_SECONDS
        )


class Streams:
    """The threads of one process. Made after the fork; threads begin when there is work.

    :param streams: default ``LMS_WORKER_STREAMS``.
    :param places: shared with the worker's other processes.
    """

    def __init__(
        self,
        app: Flask,
        *,
        streams: int | None = None,
        places: OriginPlaces | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        state: AppState = app.extensions["lms_state"]
        self._app, self._state, self._monotonic = app, state, monotonic
        streams = streams or state.settings.worker_streams
        self._most_threads = streams * THREADS_PER_STREAM
        self._turns = Turns(streams, state.settings.requests_at_once, places)
        # How many may use the database at a time: SQLite has one writer; elsewhere the host's own
        # pool says it, so that a stream waits for its turn here rather than fail there.
        with app.app_context():
            engine = state.db.engines[state.settings.bind_key]
        size = engine.pool.size() if isinstance(engine.pool, QueuePool) else 0
        connections = min(size or _MOST_CONNECTIONS, _MOST_CONNECTIONS)
        database = threading.BoundedSemaphore(1 if engine.dialect.name == "sqlite" else connections)
        self._deliverer = Deliverer(state, monotonic=monotonic, database=database)
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._has_room = threading.Condition(self._lock)
        self._candidates: dict[uuid.UUID, Candidate] = {}
        self._threads = self._idle = self._ending = 0
        self._is_looking = self._is_closing = False
        self._ended: list[Walk] | None = None

    def put(self, configuration_id: uuid.UUID, *, waits: bool = False) -> None:
        """Deliver for a configuration, soon; inside an app context.

        :param waits: return only when there is a stream for the next one too.
        """
        with self._lock:
            candidate = self._candidates.get(configuration_id)
        candidate = candidate or self._find(configuration_id)
        if candidate is None:
            return
        with self._lock:
            candidate = self._candidates.setdefault(configuration_id, candidate)
            candidate.is_woken = True
            self._offer(candidate)
            while waits and self._turns.is_full(self._monotonic()) and not self._is_closing:
                self._has_room.wait(_LOOK_SECONDS)

    def deliver(self, configuration_ids: Iterable[uuid.UUID]) -> list[DeliverReport]:
        """Deliver for all of these beside each other, and wait until it is done."""
        ended = self._ended = []
        for configuration_id in configuration_ids:
            self.put(configuration_id)
        while not self.wait():
            pass
        return [walk.report() for walk in ended]

    def _find(self, configuration_id: uuid.UUID) -> Candidate | None:
        """A configuration as a candidate; None when nothing goes to it now."""
        state, session = self._state, self._state.session
        with self._deliverer.database:
            row = session.execute(
                sa.select(
                    Configuration.organization_id,
                    Configuration.type,
                    Configuration.settings,
                    Configuration.deleted_at,
                    Configuration.paused_at,
                    ConfigurationHealth.failures,
                    ConfigurationHealth.last_success_at,
                    ConfigurationHealth.next_attempt_at,
                    state.clock.column().label("now"),
                )
                .join(ConfigurationHealth, ConfigurationHealth.configuration_id == Configuration.id)
                .where(Configuration.id == configuration_id)
            ).one_or_none()
            session.rollback()
        if (
            row is None
            or row.deleted_at
            or row.paused_at
            or (row.next_attempt_at and row.next_attempt_at > row.now)
        ):
            # Resuming it, saving it and its own planned time wake again.
            state.wake.answered(configuration_id)
            return None
        connector = state.registry.get(row.type)
        if row.failures:
            standing = Standing.FAILING
        elif decide.is_well(row.failures, row.last_success_at, row.now):
            standing = Standing.WELL
        else:
            standing = Standing.QUIET
        return Candidate(
            configuration_id=configuration_id,
            organization_id=row.organization_id,
            origin=connector.origin(row.settings) if connector else row.type,
            standing=standing,
        )

    def _offer(self, candidate: Candidate) -> None:
        """Let it wait for a stream, and see that there is a thread. The lock is held."""
        self._turns.waiting.setdefault(candidate)
        self._need_thread()
        if not self._is_looking:
            self._is_looking = True
            self._start(self._look, "lms-look")

    def _need_thread(self) -> None:
        if self._idle:
            self._has_work.notify()
        elif self._threads < self._most_threads and not self._is_closing:
            self._threads += 1
            self._start(self._work, "lms-stream")

    def _start(self, target: Callable[[], None], name: str) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def _look(self) -> None:
        """While somebody waits: a request that became slow, or one of another process that ended,
        lets another begin.
        """
        while True:
            time.sleep(_LOOK_SECONDS)
            with self._lock:
                if not self._turns.waiting or self._is_closing:
                    self._is_looking = False
                    return
                self._need_thread()

    def _work(self) -> None:
        """One thread: turn after turn, until there is nothing to do for a while."""
        while True:
            with self._lock:
                while (turn := self._turns.next(self._monotonic())) is None or self._is_closing:
                    if turn is not None:
                        self._turns.done(turn)
                    self._idle += 1
                    is_called = not self._is_closing and self._has_work.wait(_IDLE_SECONDS)
                    self._idle -= 1
                    if not is_called:
                        self._threads -= 1
                        return
                if self._turns.waiting:
                    self._need_thread()
            try:
                with self._app.app_context():
                    self._serve(turn)
            except Exception:
                _log.exception("a delivery failed; it is tried again")

    def _serve(self, turn: Turn) -> None:
        """One turn; who is last at a configuration ends its walk."""
        candidate = turn.candidate
        try:
            self._request(candidate)
        except BaseException:
            if candidate.walk is not None:
                candidate.walk.is_over = candidate.walk.is_broken = True
            raise
        finally:
            with self._lock:
                self._turns.done(turn)
                walk = candidate.walk
                if walk is not None and walk.is_over:
                    self._turns.waiting.pop(candidate, None)
                is_last = candidate.under_way == 0 and candidate not in self._turns.waiting
                if is_last:
                    if walk is not None and self._ended is not None:
                        self._ended.append(walk)
                    del self._candidates[candidate.configuration_id]
                    self._ending += 1
                self._has_room.notify_all()
            if is_last:
                try:
                    if walk is not None:
                        self._deliverer.end(walk)
                finally:
                    with self._lock:
                        self._ending -= 1
                        self._has_room.notify_all()

    def _request(self, candidate: Candidate) -> None:
        if candidate.is_woken:
            candidate.is_woken = False
            self._state.wake.answered(candidate.configuration_id)
        if candidate.walk is None:  # then this is its only turn
            candidate.walk = self._deliverer.begin(candidate.configuration_id)
        walk = candidate.walk
        load = self._deliverer.read(walk) if walk is not None else None
        if walk is None or load is None:  # who has the lease looks again at its end
            return
        if walk.is_well:
            candidate.standing = Standing.WELL
        with self._lock:
            candidate.at_once = walk.pace.at_once if walk.pace else 1
            if load.has_more and candidate.at_once > candidate.under_way:
                self._offer(candidate)
        has_answered = self._deliverer.send(walk, load)
        with self._lock:
            candidate.at_once = walk.pace.at_once if walk.pace else 1
            if has_answered is not None:
                self._turns.noted(candidate.origin, has_answered, self._monotonic())
                candidate.standing = Standing.WELL if has_answered else Standing.FAILING
            if not walk.is_over:
                self._offer(candidate)

    def wait(self, seconds: float = 60.0) -> bool:
        """Until nothing waits and nothing is under way; False: it took longer."""
        until = self._monotonic() + seconds
        with self._lock:
            while (self._candidates or self._ending) and self._monotonic() < until:
                self._has_room.wait(_LOOK_SECONDS)
            return not self._candidates and not self._ending

    def close(self, seconds: float = STOP_SECONDS) -> None:
        """Begin nothing more, let what is under way end, and give every lease back.

        A request that takes longer is left: its LMS knows its statements by their ids when they
        come again, and its answer is not written any more.
        """
        until = self._monotonic() + seconds
        with self._lock:
            self._is_closing = True
            self._has_work.notify_all()
            while (self._turns.under_way or self._ending) and self._monotonic() < until:
                self._has_room.wait(_LOOK_SECONDS)
            left = [one.walk for one in self._candidates.values() if one.walk is not None]
        for walk in left:
            with contextlib.suppress(sa.exc.SQLAlchemyError), self._app.app_context():
                self._deliverer.end(walk)
