"""Step 9 of the walk: the net. Every few seconds the ticker finds in the database what is due and
what RQ lost, and wakes a worker or carries it out itself.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

from flask import Flask

from ..alerts import outages
from ..app_state import AppState
from ..database.models import Worker
from ..recording.record import record_parked
from ..services.release import release_missed
from . import lease, retention
from .streams import Streams

_log = logging.getLogger(__name__)

TICK_SECONDS = 5.0
#: While Redis is away nobody but the ticker sees what is due.
ALONE_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15.0
_RELEASE_SECONDS = 60.0
_PURGE_SECONDS = 3600.0
#: Woken for so long and still nobody came: the ticker carries it out itself.
_PATIENCE_SECONDS = 10.0


@dataclass(kw_only=True)
class Ticker:
    """One ticker, of the worker that ``state.worker`` names.

    :param streams: carry out what nobody else does.
    """

    app: Flask
    state: AppState
    streams: Streams
    monotonic: Callable[[], float] = time.monotonic
    has_redis: bool = True
    waiting_since: dict[uuid.UUID, float] = field(default_factory=dict)
    _ticked_at: float = float("-inf")
    _beat_at: float = float("-inf")
    _released_at: float = float("-inf")
    _purged_at: float = float("-inf")

    def run(self) -> None:
        """Tick until the process ends. A failing tick is logged and the next one tries again."""
        while True:
            started = self.monotonic()
            try:
                with self.app.app_context():
                    self.tick()
            except Exception:
                _log.exception("a tick failed; the next one is in some seconds")
            pause = TICK_SECONDS if self.has_redis else ALONE_SECONDS
            time.sleep(max(0.1, pause - (self.monotonic() - started)))

    def tick(self) -> None:
        """Wake or carry out what is due; and, each five seconds, heartbeat, decide on mails, forget
        what is old.
        """
        session, at = self.state.session, self.monotonic()
        now = self.state.clock.now(session())
        if lease.release_dead(session(), f"{self.state.worker}/", _is_alive, now):
            session.commit()
        due = lease.due(session(), now)
        session.rollback()
        wake = self.state.wake
        self.has_redis = wake.now(due) if due else wake.is_redis_there()
        self.waiting_since = {id: self.waiting_since.get(id, at) for id in due}
        for id, since in self.waiting_since.items():
            if not self.has_redis or at - since > _PATIENCE_SECONDS:
                self.streams.put(id)

        if at - self._ticked_at < TICK_SECONDS - ALONE_SECONDS / 2:
            return
        self._ticked_at = at
        record_parked(self.state)
        if at - self._beat_at >= _HEARTBEAT_SECONDS:
            self._beat_at = at
            row = session.get(Worker, self.state.worker)
            if row is None:
                row = Worker(id=self.state.worker, version=version("flask-lms"), started_at=now)
                session.add(row)
            row.seen_at, row.has_redis = now, self.has_redis
            session.commit()
        outages.tick(self.state, now)
        if at - self._released_at >= _RELEASE_SECONDS:
            self._released_at = at
            release_missed(self.state, now)
        if at - self._purged_at > _PURGE_SECONDS:
            self._purged_at = at
            retention.purge(self.state, now)


def _is_alive(process_id: str) -> bool:
    """Whether a process of this worker still runs: both are children of the same supervisor."""
    try:
        os.kill(int(process_id), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass
    return True
