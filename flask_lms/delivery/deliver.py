"""Steps 5 and 6 of the walk: the next request of one configuration is read and sent, and its
answer is handed on to be settled.

No database transaction is open during HTTP. Whatever dies on the way, the rows tell where to go on.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from rq.timeouts import BaseTimeoutException

from ..app_state import AppState
from ..connectors.base import Answer, Connector, Statement, Stored, Verdict
from ..database.models import Configuration, Delivery, DeliveryState, OrderHold
from ..encryption import Secret, binding
from ..errors import SecretUnreadable
from ..transport import Transport
from . import decide, lease
from .decide import Pace, compared, plan
from .settle import Request, Settled, may_be_stored, settle

_log = logging.getLogger(__name__)

#: After so long, or so many statements, one call gives way to the next configuration.
FAIR_SECONDS = 60.0
FAIR_STATEMENTS = 1000
#: The lease begins anew when it is older than this, so that it outlives the longest request.
_RENEW_SECONDS = 5.0
#: An answer that the database turned back is written down so often again.
_SETTLE_AGAIN = 3
#: So many more that are due are looked at, again and again, behind those that wait for others.
_LOOKED_AT = 200
#: Causes of ours, which no LMS has to do with.
_OURS = ("unknown_type", "secret_unreadable", "connector_failed")
#: For destinations that did not answer of late: connecting, between two bytes, in all.
_SHORT_SECONDS = (5.0, 10.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class DeliverReport:
    """What one delivery of a configuration's waiting statements did.

    :param is_leased: False: somebody else is at it, nothing was done.
    """

    configuration_id: uuid.UUID
    is_leased: bool = True
    requests: int = 0
    delivered: int = 0
    rejected: int = 0
    is_fenced: bool = False


@dataclass(kw_only=True)
class Load:
    """The rows of one request and what is needed to send them; nothing of a session.

    :param transport: the way out for its organization; None: the host couldn't say which it is.
    :param number: counts the walk's requests.
    :param version: of the configuration, when its settings were read.
    :param has_more: there is probably enough for another request.
    :param is_patient: the limits of time are the full ones.
    :param releases: of the health row, when the rows were read.
    :param is_ordered: the connector has keys of order.
    """

    configuration_id: uuid.UUID
    type: str
    settings: Mapping[str, Any]
    connector: Connector | None
    secrets: Mapping[str, Secret] | None = field(repr=False)
    transport: Transport | None
    rows: Sequence[Any]
    statements: Sequence[Statement] = field(repr=False)
    number: int
    version: int
    keys: frozenset[str]
    has_more: bool
    is_patient: bool
    is_witness: bool
    releases: int | None
    is_ordered: bool


@dataclass(kw_only=True)
class Walk:
    """One configuration's delivery under one lease, by one thread or by several at a time.

    :param again: parts of requests that were divided, to go out next.
    :param under_way: the requests sent and not yet settled, by number.
    :param is_over: nothing more is to be read under this lease.
    :param is_broken: by a fault of ours: it is the ticker that comes again, not at once.
    """

    configuration_id: uuid.UUID
    token: int
    renewed_at: float
    pace: Pace | None = None
    is_well: bool = False
    again: deque[list[Any]] = field(default_factory=deque)
    under_way: dict[int, Load] = field(default_factory=dict)
    witness: uuid.UUID | None = None
    is_over: bool = False
    is_fenced: bool = False
    is_broken: bool = False
    #: Requests up to this number began before a failure was known, and fail with it.
    failed_with: int = 0
    #: Nothing goes out before, as what was refused is to be sent first.
    held_until: datetime | None = None
    requests: int = 0
    delivered: int = 0
    rejected: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def report(self) -> DeliverReport:
        """What was done so far."""
        return DeliverReport(
            configuration_id=self.configuration_id,
            requests=self.requests,
            delivered=self.delivered,
            rejected=self.rejected,
            is_fenced=self.is_fenced,
        )


@dataclass
class Deliverer:
    """Delivers for configurations of one app.

    :param chance: 0 to 1.
    :param monotonic: seconds from any start.
    :param holder: names this process in leases and attempts.
    :param database: held while the database is used, never during HTTP.
    """

    state: AppState
    chance: Callable[[], float] = random.random
    monotonic: Callable[[], float] = time.monotonic
    holder: str = ""
    database: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def __post_init__(self) -> None:
        self.holder = self.holder or f"{self.state.worker or socket.gethostname()}/{os.getpid()}"

    def deliver(self, configuration_id: uuid.UUID) -> DeliverReport:
        """Send what is due for one configuration, request by request, until nothing is, it fails,
        or others wait.
        """
        self.state.wake.answered(configuration_id)
        walk = self.begin(configuration_id)
        if walk is None:
            return DeliverReport(configuration_id=configuration_id, is_leased=False)
        started = self.monotonic()
        try:
            while (
                self.monotonic() - started < FAIR_SECONDS and walk.delivered < FAIR_STATEMENTS
            ) and (load := self.read(walk)) is not None:
                self.send(walk, load)
        except BaseException:
            walk.is_broken = True
            raise
        finally:
            self.end(walk)
        return walk.report()

    def begin(self, configuration_id: uuid.UUID) -> Walk | None:
        """Take the lease; None: somebody else has it."""
        session = self.state.session
        with self.database:
            now = self.state.clock.now(session())
            token = lease.acquire(session(), configuration_id, self.holder, now)
            session.commit()
        if token is None:
            return None
        return Walk(configuration_id=configuration_id, token=token, renewed_at=self.monotonic())

    def end(self, walk: Walk) -> None:
        """Give the lease back; what came meanwhile, and what comes due, wakes a worker again."""
        session = self.state.session
        walk.is_over = True
        with self.database:
            for is_last in (False, True):
                try:
                    session.rollback()
                    lease.release(session(), walk.configuration_id, walk.token)
                    session.commit()
                    break
                except sa.exc.DBAPIError:  # once more, on a new connection
                    session.remove()
                    if is_last:
                        _log.warning("a lease was not given back; it runs out by itself")
                        return
            if walk.is_fenced or walk.is_broken:
                return
            now = self.state.clock.now(session())
            configuration = session.get(
                Configuration, walk.configuration_id, populate_existing=True
            )
            at = lease.next_due_at(session(), walk.configuration_id) if configuration else None
            if walk.held_until is not None and at:
                at = max(at, walk.held_until)
            if configuration is not None and configuration.health.next_attempt_at and at:
                at = max(at, configuration.health.next_attempt_at)
            is_open = configuration is not None and not (
                configuration.paused_at or configuration.deleted_at
            )
            session.rollback()
        if at is None or not is_open:
            return
        if at <= now:
            self.state.wake.now([walk.configuration_id])
        else:
            self.state.wake.at(walk.configuration_id, at)

    def read(self, walk: Walk) -> Load | None:
        """The next request of a walk; None when there is nothing to do now.

        Several threads may read and send at a time; two requests never share a row, nor a key.
        """
        if self.state.is_stopping():
            walk.is_over = True
        with walk.lock, self.database:
            return None if walk.is_over else self._read(walk)

    def _read(self, walk: Walk) -> Load | None:
        state, session = self.state, self.state.session
        configuration = session.get(Configuration, walk.configuration_id, populate_existing=True)
        now = state.clock.now(session())
        is_open = configuration is not None and not (
            configuration.deleted_at or configuration.paused_at
        )
        if (
            configuration is None
            or not is_open
            or (
                (health := configuration.health).next_attempt_at is not None
                and health.next_attempt_at > now
            )
        ):
            session.rollback()
            return None
        if self.monotonic() - walk.renewed_at > _RENEW_SECONDS and not self._renew(walk):
            return None

        connector = state.registry.get(configuration.type)
        settings = dict(configuration.settings)
        own = connector.limits(settings) if connector else (1, None)
        walk.is_well = decide.is_well(health.failures, health.last_success_at, now)
        if walk.pace is None:
            at_once = connector.requests_at_once(settings) if connector else 1
            walk.pace = Pace.begin(
                most_at_once=min(at_once or 64, state.settings.requests_at_once),
                most_statements=min(state.settings.batch_statements, own[0] or 500),
                is_well=walk.is_well and health.ramp is None,
            )
        most = min(n for n in (walk.pace.statements, own[0], health.ramp) if n is not None)
        most_bytes = min(
            n for n in (state.settings.batch_bytes, own[1], health.learnt_bytes) if n is not None
        )

        is_ordered = connector is not None and type(connector).order_key is not Connector.order_key
        # First what was left of a request that was divided, without what was cancelled meanwhile.
        found: Sequence[Any] = []
        if walk.witness is not None:
            sendable = (DeliveryState.PENDING, DeliveryState.DELIVERED)
            asked = _ROWS.where(Delivery.id == walk.witness, Delivery.state.in_(sendable))
            found = session.execute(asked).all()
            if any(row.id == walk.witness for load in walk.under_way.values() for row in load.rows):
                found = []
        is_witness = bool(found)
        while walk.again and not found:
            rows = walk.again.popleft()
            waiting = set(
                session.scalars(
                    sa.select(Delivery.id).where(
                        Delivery.id.in_([row.id for row in rows]),
                        Delivery.state == DeliveryState.PENDING,
                    )
                )
            )
            found = [row for row in rows if row.id in waiting]
        is_again = bool(found)
        if not is_again:
            # The oldest due rows; while everything is refused, the newest one that was refused
            # least often, and no void as long as there is another.
            order: tuple[Any, ...] = (Delivery.due_at, Delivery.id)
            if health.cause == decide.SETTINGS:
                is_void = sa.case((Delivery.kind == "void", 1), else_=0)
                most, order = 1, (is_void, Delivery.refusals, Delivery.id.desc())
            taken = [row.id for load in walk.under_way.values() for row in load.rows]
            taken += [row.id for rows in walk.again for row in rows]
            due = _ROWS.where(
                Delivery.configuration_id == configuration.id,
                Delivery.state == DeliveryState.PENDING,
                Delivery.due_at <= now,
            )
            if taken:
                due = due.where(Delivery.id.not_in(taken))
            due = due.order_by(*order)
            found = session.execute(due.limit(most)).all()
        busy = {key for load in walk.under_way.values() for key in load.keys}
        if connector is not None and is_ordered and not is_witness:
            # There may be others behind those that wait for one of their key.
            free: Sequence[Any] = ()
            first = self._first_refused(walk, connector, settings, now)
            behind, looked_at = set[str](), 0
            while found:
                looked_at += len(found)
                keys = [_keys(row, connector, settings) for row in found]
                if (free := in_turn(found, keys, busy, first, behind)) or is_again:
                    break
                found = session.execute(due.offset(looked_at).limit(_LOOKED_AT)).all()
            if found := free:
                walk.held_until = None
        keys = [_keys(row, connector, settings) for row in found]
        if is_again:  # it was cut already
            most, most_bytes = len(found), sum(row.size + 1 for row in found) + 2
        places = [
            connector.destination_key(_statement(row), settings) if connector else None
            for row in found
        ]
        chosen = fitting(found, keys, busy, most, most_bytes, places)
        if is_again and len(chosen) < len(found):
            left = set(range(len(found))) - set(chosen)
            walk.again.appendleft([found[index] for index in sorted(left)])
        try:
            bound_to = None
            if connector is not None:
                bound_to = binding(configuration.id, connector.origin(settings))
            secrets = state.encryption.decrypt(configuration.secrets, bound_to)
        except SecretUnreadable:
            secrets = None
        transport: Transport | None
        try:
            transport = state.transport_for(configuration.organization_id).with_store(
                state.store_of(configuration.id, configuration.type, settings, self.database)
            )
        except Exception:  # a callback of the host: nothing is called then, and nothing stops
            _log.exception("@lms.egress_policy failed; what is due waits")
            session.rollback()
            transport = None
        load = Load(
            configuration_id=walk.configuration_id,
            type=configuration.type,
            settings=settings,
            connector=connector,
            secrets=secrets,
            transport=transport,
            rows=[found[index] for index in chosen],
            statements=[_statement(found[index]) for index in chosen],
            number=walk.requests + 1,
            version=configuration.version,
            keys=frozenset(key for index in chosen for key in keys[index]),
            has_more=bool(walk.again) or len(chosen) < len(found) or len(found) >= most,
            is_patient=walk.is_well or decide.is_patient(health.failures),
            is_witness=is_witness,
            releases=health.releases,
            is_ordered=is_ordered,
        )
        session.commit()
        if not chosen:
            return None
        walk.requests += 1
        walk.under_way[load.number] = load
        return load

    def _first_refused(
        self, walk: Walk, connector: Connector, settings: Mapping[str, Any], now: datetime
    ) -> dict[str, uuid.UUID]:
        """Key of order → the first one that was refused, which goes before all others of it."""
        refused = self.state.session.execute(
            _ROWS.join(OrderHold, OrderHold.delivery_id == Delivery.id)
            .where(
                OrderHold.configuration_id == walk.configuration_id,
                Delivery.state == DeliveryState.PENDING,
            )
            .order_by(Delivery.id.desc())
        ).all()
        walk.held_until = min((one.due_at for one in refused if one.due_at > now), default=None)
        return {key: one.id for one in refused for key in _keys(one, connector, settings)[1:]}

    def send(self, walk: Walk, load: Load) -> bool | None:
        """Send one request and settle its answer, whatever it is.

        :returns: whether the LMS answered; None: that says nothing of the LMS.
        """
        try:
            answer, settled = self._send(walk, load)
        finally:
            with walk.lock:
                walk.under_way.pop(load.number, None)
        if settled is None:
            walk.is_over = walk.is_fenced = True
        if answer.http_status is not None:
            return answer.http_status < 500
        return None if answer.cause in _OURS or answer.verdict is not Verdict.FAILED else False

    def _send(self, walk: Walk, load: Load) -> tuple[Answer, Settled | None]:
        started = self.monotonic()
        answer = self._post(load)
        took_ms = round((self.monotonic() - started) * 1000)
        jitter = self.chance() * 2 - 1
        decided = plan(answer, [row.refusals for row in load.rows], jitter)
        if decided.compare is not None and load.rows[0].state is DeliveryState.PENDING:
            # Two requests in a row may take longer than a lease.
            with walk.lock, self.database:
                if not self._renew(walk):
                    return answer, None
                row = load.rows[0]
                may_be = may_be_stored(self.state.session(), load.configuration_id, row)
                self.state.session.rollback()
            # After a conflict on one: the same is stored already, or another one, or none.
            assert load.connector is not None
            assert load.secrets is not None
            assert load.transport is not None
            stored: Stored | Answer
            try:
                stored = load.connector.compare(
                    load.statements[0], load.settings, load.secrets, load.transport
                )
            except (BaseTimeoutException, sa.exc.SQLAlchemyError):
                raise  # of RQ, for the whole job, and of our database: nothing of the LMS
            except Exception:
                stored = _connector_failed(load)
            answer, decided = compared(
                answer, stored, may_be_stored=may_be, refusals=row.refusals, jitter=jitter
            )
        with walk.lock:
            is_echo = load.number <= walk.failed_with
            if answer.verdict is Verdict.FAILED:
                walk.is_over = True
                walk.failed_with = max(walk.failed_with, 0 if is_echo else walk.requests)
        size = load.connector.size(load.statements) if load.connector else 0
        request = Request(
            configuration_id=load.configuration_id,
            version=load.version,
            rows=load.rows,
            answer=answer,
            plan=decided,
            took_ms=took_ms,
            size=size,
            jitter=jitter,
            worker=self.holder,
            is_witness=load.is_witness,
            is_echo=is_echo,
            releases=load.releases,
            is_ordered=load.is_ordered,
        )
        with self.database:
            for tries_left in range(_SETTLE_AGAIN, -1, -1):
                try:
                    settled = settle(self.state, request, walk.token)
                    break
                except sa.exc.OperationalError as error:  # such as a deadlock: all was undone
                    if error.connection_invalidated or not tries_left:
                        raise
                    self.state.session.rollback()
        if settled is None:
            return answer, None
        with walk.lock:
            walk.renewed_at = self.monotonic()
            walk.delivered += settled.delivered
            walk.rejected += settled.rejected
            if settled.witness is not None or load.is_witness:
                walk.witness = settled.witness
            walk.is_over |= settled.is_held_back
            if settled.is_outdated:
                walk.pace, walk.is_over = None, False
                walk.again.clear()
                return answer, settled
            if walk.pace is not None:
                walk.pace = walk.pace.after(answer.verdict, len(load.rows), took_ms)
            walk.again.extendleft(
                [load.rows[index] for index in indices] for indices in reversed(decided.again)
            )
        return answer, settled

    def _post(self, load: Load) -> Answer:
        if load.connector is None:
            facts = {"type": load.type}
            return Answer(verdict=Verdict.FAILED, cause="unknown_type", facts=facts)
        if load.secrets is None:
            return Answer(verdict=Verdict.FAILED, cause="secret_unreadable")
        transport = load.transport
        if transport is None:
            facts = {"type": load.type}
            return Answer(verdict=Verdict.FAILED, cause="connector_failed", facts=facts)
        if not load.is_patient:
            transport = transport.within(*_SHORT_SECONDS)
        try:
            return load.connector.send(load.statements, load.settings, load.secrets, transport)
        except (BaseTimeoutException, sa.exc.SQLAlchemyError):
            raise
        except Exception:
            return _connector_failed(load)

    def _renew(self, walk: Walk) -> bool:
        """Let the lease begin anew; False: it was lost. The walk is locked by the caller."""
        session = self.state.session
        now = self.state.clock.now(session())
        is_kept = lease.renew(session(), walk.configuration_id, walk.token, now)
        session.commit()
        walk.renewed_at = self.monotonic()
        if not is_kept:
            walk.is_over = walk.is_fenced = True
        return is_kept


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
    Delivery.due_at,
)


def _connector_failed(load: Load) -> Answer:
    """Others write connectors: their fault must show, and stop nothing."""
    _log.exception("the connector of type %s failed; its statements wait", load.type)
    facts = {"type": load.type}
    return Answer(verdict=Verdict.FAILED, cause="connector_failed", facts=facts)


def _statement(row: Any) -> Statement:
    return Statement(
        id=row.statement_id, kind=row.kind, text=row.statement or "", is_single=row.is_single
    )


def _keys(row: Any, connector: Connector | None, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What must not be in two requests at a time: a result (what voids a statement comes after
    it), and what the connector asks to keep in order.
    """
    own = connector.order_key(_statement(row), settings) if connector else None
    result = f"result {row.result_id}"
    return (result,) if own is None else (result, f"own {own}")


def in_turn(
    rows: Sequence[Any],
    keys: Sequence[Sequence[str]],
    busy: set[str],
    first: Mapping[str, uuid.UUID],
    behind: set[str],
) -> list[Any]:
    """The rows that wait for no other one of a key of theirs. Pure, but for ``behind``.

    :param busy: keys for which something is under way.
    :param first: key → the row that was refused and goes before all others of it.
    :param behind: keys of what waits; more are added.
    """
    free = []
    for row, of_it in zip(rows, keys, strict=True):
        is_first = row.id in first.values()
        waits = not busy.isdisjoint(of_it) or any(first.get(one, row.id) < row.id for one in of_it)
        if waits or not (is_first or behind.isdisjoint(of_it)):
            behind.update(of_it)
        else:
            free.append(row)
    return free


def fitting(
    rows: Sequence[Any],
    keys: Sequence[Sequence[str]],
    busy: set[str],
    most: int,
    most_bytes: int,
    places: Sequence[str | None] = (),
) -> list[int]:
    """The indices of the first rows that go together in one request: at least one that is not
    kept back; a single one, and one that was refused alone, alone. Pure.

    :param keys: of each row; a row whose key is busy waits, and so do later ones with a key of it.
    :param places: where each row goes; those of one request go to one place.
    """
    chosen: list[int] = []
    size = 2  # the brackets
    held = set(busy)
    for index, row in enumerate(rows):
        is_elsewhere = bool(chosen and places and places[index] != places[chosen[0]])
        if is_elsewhere or held.intersection(keys[index]):
            held.update(keys[index])
            continue
        size += row.size + 1
        is_single = row.is_single or row.refusals
        if len(chosen) == most or (chosen and (is_single or size > most_bytes)):
            break
        chosen.append(index)
        if is_single:
            break
    return chosen
