"""The walk of one configuration's waiting deliveries: lease → read → post → settle → schedule.

No database transaction is open during HTTP. Whatever dies on the way, the rows tell where to go on.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from rq.timeouts import BaseTimeoutException

from ..app_state import AppState
from ..connectors.base import Answer, Connector, Statement, Verdict
from ..database.models import Configuration, Delivery, DeliveryState
from ..errors import SecretUnreadable
from . import decide, lease
from .decide import Plan, compared, plan
from .settle import Request, Settled, may_be_stored, settle

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: After so long, or so many statements, a drain gives way to the next configuration.
FAIR_SECONDS = 60.0
FAIR_STATEMENTS = 1000


@dataclass(frozen=True, kw_only=True)
class DeliverReport:
    """What one drain did.

    :param is_leased: False: somebody else is at it, nothing was done.
    """

    is_leased: bool = True
    requests: int = 0
    delivered: int = 0
    rejected: int = 0
    is_fenced: bool = False


@dataclass(kw_only=True)
class _Load:
    """The rows of one request and what is needed to send them; nothing of a session."""

    configuration_id: uuid.UUID
    type: str
    settings: Mapping[str, Any]
    connector: Connector | None
    secrets: dict[str, str] | None = field(repr=False)
    rows: Sequence[Any]


@dataclass
class Deliverer:
    """Drains configurations of one app.

    :param chance: 0 to 1.
    :param monotonic: seconds from any start.
    :param holder: names this process in leases and attempts.
    """

    state: AppState
    chance: Callable[[], float] = random.random
    monotonic: Callable[[], float] = time.monotonic
    holder: str = ""

    def __post_init__(self) -> None:
        self.holder = self.holder or f"{self.state.worker or socket.gethostname()}/{os.getpid()}"

    def deliver(self, configuration_id: uuid.UUID) -> DeliverReport:
        """Send what is due for one configuration, until nothing is, it fails, or others wait."""
        state = self.state
        state.wake.answered(configuration_id)
        session = state.session
        token = lease.acquire(session(), configuration_id, self.holder, state.clock.now(session()))
        session.commit()
        if token is None:
            return DeliverReport(is_leased=False)
        try:
            done = self._walk(configuration_id, token)
        finally:
            self._give_back(configuration_id, token)
        self._look_again(configuration_id)
        return done

    def _give_back(self, configuration_id: uuid.UUID, token: int) -> None:
        """Release the lease, on a new connection if the old one broke."""
        session = self.state.session
        for is_last in (False, True):
            try:
                session.rollback()
                lease.release(session(), configuration_id, token)
                session.commit()
                return
            except sa.exc.DBAPIError:
                session.remove()
                if is_last:
                    _log.warning("a lease was not given back; it runs out by itself")

    def _walk(self, configuration_id: uuid.UUID, token: int) -> DeliverReport:
        started = self.monotonic()
        requests = delivered = rejected = 0
        again: deque[list[Any]] = deque()
        witness: uuid.UUID | None = None
        while (
            self.monotonic() - started < FAIR_SECONDS
            and delivered < FAIR_STATEMENTS
            and not self.state.is_stopping()
        ):
            load = self._read(configuration_id, again, witness=witness)
            if load is None:
                break
            settled = self._send(load, token, again, is_witness=witness is not None)
            requests += 1
            if settled is None:
                return DeliverReport(
                    requests=requests, delivered=delivered, rejected=rejected, is_fenced=True
                )
            delivered += settled.delivered
            rejected += settled.rejected
            witness = settled.witness
            if settled.is_held_back:
                break
        return DeliverReport(requests=requests, delivered=delivered, rejected=rejected)

    def _look_again(self, configuration_id: uuid.UUID) -> None:
        """What was recorded while the lease was held, and what comes due, wakes a worker again."""
        session = self.state.session
        now = self.state.clock.now(session())
        configuration = session.get(Configuration, configuration_id, populate_existing=True)
        at = lease.next_due_at(session(), configuration_id) if configuration else None
        if configuration is not None and configuration.health.next_attempt_at and at:
            at = max(at, configuration.health.next_attempt_at)
        is_open = configuration is not None and not (
            configuration.paused_at or configuration.deleted_at
        )
        session.rollback()
        if at is None or not is_open:
            return
        if at <= now:
            self.state.wake.now([configuration_id])
        else:
            self.state.wake.at(configuration_id, at)

    # -- read ----------------------------------------------------------------------------------

    def _read(
        self, configuration_id: uuid.UUID, again: deque[list[Any]], *, witness: uuid.UUID | None
    ) -> _Load | None:
        """The next request's rows; None when there is nothing to do now."""
        session = self.state.session
        configuration = session.get(Configuration, configuration_id, populate_existing=True)
        now = self.state.clock.now(session())
        if configuration is None or configuration.deleted_at or configuration.paused_at:
            session.rollback()
            return None
        health = configuration.health
        if health.next_attempt_at and health.next_attempt_at > now:
            session.rollback()
            return None
        connector = self.state.registry.get(configuration.type)
        rows: Sequence[Any] = []
        if witness is not None:
            sendable = (DeliveryState.PENDING, DeliveryState.DELIVERED)
            found = _ROWS.where(Delivery.id == witness, Delivery.state.in_(sendable))
            rows = session.execute(found).all()
        rows = rows or self._still_waiting(again) or self._due_rows(configuration, connector, now)
        try:
            secrets = self.state.encryption.decrypt(configuration.secrets)
        except SecretUnreadable:
            secrets = None
        load = _Load(
            configuration_id=configuration.id,
            type=configuration.type,
            settings=dict(configuration.settings),
            connector=connector,
            secrets=secrets,
            rows=rows,
        )
        session.commit()
        return load if rows else None

    def _still_waiting(self, again: deque[list[Any]]) -> list[Any]:
        """The next part of a request that was divided, without what was cancelled meanwhile."""
        while again:
            rows = again.popleft()
            found = self.state.session.scalars(
                sa.select(Delivery.id).where(
                    Delivery.id.in_([row.id for row in rows]),
                    Delivery.state == DeliveryState.PENDING,
                )
            )
            waiting = set(found)
            if left := [row for row in rows if row.id in waiting]:
                return left
        return []

    def _due_rows(
        self,
        configuration: Configuration,
        connector: Connector | None,
        now: datetime,
    ) -> list[Any]:
        """The oldest due rows that fit one request; while everything is refused, the newest one
        that was refused least often, and no void as long as there is another.
        """
        health, settings = configuration.health, self.state.settings
        own = connector.limits(configuration.settings) if connector else (1, None)
        most = min(n for n in (settings.batch_statements, own[0], health.ramp) if n is not None)
        most_bytes = min(
            n for n in (settings.batch_bytes, own[1], health.learnt_bytes) if n is not None
        )
        order: tuple[Any, ...] = (Delivery.due_at, Delivery.id)
        if health.cause == decide.SETTINGS:
            is_void = sa.case((Delivery.kind == "void", 1), else_=0)
            most, order = 1, (is_void, Delivery.refusals, Delivery.id.desc())
        found = self.state.session.execute(
            _ROWS.where(
                Delivery.configuration_id == configuration.id,
                Delivery.state == DeliveryState.PENDING,
                Delivery.due_at <= now,
            )
            .order_by(*order)
            .limit(most)
        ).all()
        return _fitting(found, most_bytes)

    # -- post ----------------------------------------------------------------------------------

    def _send(
        self, load: _Load, token: int, again: deque[list[Any]], *, is_witness: bool
    ) -> Settled | None:
        """Post one request and settle it; None: the lease was lost meanwhile."""
        started = self.monotonic()
        answer = self._post(load)
        took_ms = round((self.monotonic() - started) * 1000)
        jitter = self.chance() * 2 - 1
        decided = plan(answer, [row.refusals for row in load.rows], jitter)
        if decided.compare is not None and load.rows[0].state is DeliveryState.PENDING:
            if not self._keep_lease(load.configuration_id, token):
                return None
            answer, decided = self._compared(load, answer, jitter)
        request = Request(
            configuration_id=load.configuration_id,
            rows=load.rows,
            answer=answer,
            plan=decided,
            took_ms=took_ms,
            size=load.connector.size([_statement(row) for row in load.rows])
            if load.connector
            else 0,
            jitter=jitter,
            worker=self.holder,
            is_witness=is_witness,
        )
        settled = settle(self.state, request, token)
        if settled is not None:
            again.extendleft(
                [load.rows[index] for index in indices] for indices in reversed(decided.again)
            )
        return settled

    def _post(self, load: _Load) -> Answer:
        if load.connector is None:
            facts = {"type": load.type}
            return Answer(verdict=Verdict.FAILED, cause="unknown_type", facts=facts)
        if load.secrets is None:
            return Answer(verdict=Verdict.FAILED, cause="secret_unreadable")
        connector, secrets = load.connector, load.secrets
        statements = [_statement(row) for row in load.rows]
        return self._asked(
            load, lambda: connector.send(statements, load.settings, secrets, self.state.transport)
        )

    def _asked(self, load: _Load, ask: Callable[[], _T]) -> _T | Answer:
        """What a connector returns; others write connectors: their fault must show, and be an
        attempt like any other.
        """
        try:
            return ask()
        except BaseTimeoutException:  # of RQ, for the whole job: it says nothing of the LMS
            raise
        except Exception:
            _log.exception("the connector of type %s failed; its statements wait", load.type)
            facts = {"type": load.type}
            return Answer(verdict=Verdict.FAILED, cause="connector_failed", facts=facts)

    def _keep_lease(self, configuration_id: uuid.UUID, token: int) -> bool:
        """Let the lease begin anew, as two requests in a row may take longer; False: lost."""
        session = self.state.session
        is_kept = lease.renew(session(), configuration_id, token, self.state.clock.now(session()))
        session.commit()
        return is_kept

    def _compared(self, load: _Load, answer: Answer, jitter: float) -> tuple[Answer, Plan]:
        """After a conflict on one: the same is stored already, or another one, or none."""
        connector, secrets, row = load.connector, load.secrets, load.rows[0]
        assert connector is not None
        assert secrets is not None
        may_be = may_be_stored(self.state.session(), load.configuration_id, row)
        self.state.session.rollback()
        stored = self._asked(
            load,
            lambda: connector.compare(
                _statement(row), load.settings, secrets, self.state.transport
            ),
        )
        return compared(answer, stored, may_be_stored=may_be, refusals=row.refusals, jitter=jitter)


_ROWS = sa.select(
    Delivery.id,
    Delivery.statement_id,
    Delivery.kind,
    Delivery.statement,
    Delivery.size,
    Delivery.is_single,
    Delivery.refusals,
    Delivery.result_id,
    Delivery.state,
    Delivery.recorded_at,
)


def _statement(row: Any) -> Statement:
    return Statement(
        id=row.statement_id, kind=row.kind, text=row.statement or "", is_single=row.is_single
    )


def _fitting(rows: Sequence[Any], most_bytes: int) -> list[Any]:
    """The first rows that go together in one request: at least one; a single one, and one
    that was refused alone, goes alone.
    """
    taken: list[Any] = []
    size = 2  # the brackets
    for row in rows:
        size += row.size + 1
        is_single = row.is_single or row.refusals
        if taken and (is_single or size > most_bytes):
            break
        taken.append(row)
        if is_single:
            break
    return taken
