"""The ticker: every few seconds it finds in the database what RQ lost, and rings or drains."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

from flask import Flask

from ..alerts import outages
from ..app_state import AppState
from ..database.models import Worker
from ..recording.record import record_parked
from . import lease, retention
from .deliver import Deliverer

_log = logging.getLogger(__name__)

TICK_SECONDS = 5.0
_HEARTBEAT_SECONDS = 15.0
_PURGE_SECONDS = 3600.0
#: Rung for so long and still nobody came: the ticker carries it out itself.
_PATIENCE_SECONDS = 20.0
_HANDS = 4


@dataclass(kw_only=True)
class Ticker:
    """One ticker, of the worker that ``state.worker`` names."""

    app: Flask
    state: AppState
    monotonic: Callable[[], float] = time.monotonic
    waiting_since: dict[uuid.UUID, float] = field(default_factory=dict)
    _beat_at: float = float("-inf")
    _purged_at: float = float("-inf")
    _hands: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_HANDS))
    _under_way: dict[uuid.UUID, Future[None]] = field(default_factory=dict)

    def run(self) -> None:
        """Tick until the process ends. A failing tick is logged and the next one tries again."""
        while True:
            started = self.monotonic()
            try:
                with self.app.app_context():
                    self.tick()
            except Exception:
                _log.exception("a tick failed; the next one is in %s s", TICK_SECONDS)
            time.sleep(max(0.1, TICK_SECONDS - (self.monotonic() - started)))

    def tick(self) -> None:
        """Heartbeat, ring or carry out what is due, decide on mails, forget what is old."""
        session = self.state.session
        now = self.state.clock.now(session())
        if lease.release_dead(session(), f"{self.state.worker}/", _is_alive):
            session.commit()
        record_parked(self.state)
        due = lease.due(session(), now)
        session.rollback()
        has_redis = bool(self.state.wake.now(due)) if due else self.state.wake.is_redis_there()
        self._beat(now, has_redis)
        self._carry_out(self._overdue(due, has_redis))
        outages.tick(self.state, now)
        if self.monotonic() - self._purged_at > _PURGE_SECONDS:
            self._purged_at = self.monotonic()
            retention.purge(self.state, now)

    def _overdue(self, due: Sequence[uuid.UUID], has_redis: bool) -> list[uuid.UUID]:
        at = self.monotonic()
        self.waiting_since = {id: self.waiting_since.get(id, at) for id in due}
        return [
            id
            for id, since in self.waiting_since.items()
            if not has_redis or at - since > _PATIENCE_SECONDS
        ]

    def _carry_out(self, ids: Sequence[uuid.UUID]) -> None:
        """Drain without RQ, a few at a time, beside the ticking: one that hangs holds up nobody."""
        self._under_way = {id: one for id, one in self._under_way.items() if not one.done()}
        for id in ids:
            if id not in self._under_way:
                self._under_way[id] = self._hands.submit(self._drain, id)

    def _drain(self, id: uuid.UUID) -> None:
        try:
            with self.app.app_context():
                Deliverer(self.state).deliver(id)
        except Exception:
            _log.exception("a drain failed; it is tried again")

    def finish(self) -> None:
        """Wait for the drains under way."""
        wait(self._under_way.values())

    def close(self) -> None:
        """Wait for those that have begun, and begin no other."""
        self._hands.shutdown(cancel_futures=True)

    def _beat(self, now: datetime, has_redis: bool) -> None:
        if self.monotonic() - self._beat_at < _HEARTBEAT_SECONDS:
            return
        self._beat_at = self.monotonic()
        session = self.state.session
        row = session.get(Worker, self.state.worker)
        if row is None:
            row = Worker(id=self.state.worker, version=version("flask-lms"), started_at=now)
            session.add(row)
        row.seen_at, row.has_redis = now, has_redis
        session.commit()


def _is_alive(process_id: str) -> bool:
    """Whether a process of this worker still runs: both are children of the same supervisor."""
    try:
        os.kill(int(process_id), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass
    return True
