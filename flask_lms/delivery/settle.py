"""Step 8 of the walk: one answer written down, in one transaction, by the lease's holder."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import audit, status
from ..alerts import operators
from ..app_state import AppState
from ..connectors.base import Answer, Cause, Verdict
from ..database.models import Attempt, Configuration, Delivery, DeliveryState
from ..events import (
    DeliveryRejected,
    StatementDelivered,
    configuration_status_changed,
    delivery_rejected,
    statement_delivered,
    tell,
)
from . import decide, lease
from .decide import Plan, Vitals, fails_alike, note_refusal, refuses_everything

#: Requests of so long, and so many, are asked whether a fault is the installation's own.
_EVIDENCE = timedelta(minutes=2)
_MOST_EVIDENCE = 1000
#: Assumed when a connector names a cause that it doesn't describe.
_UNKNOWN = Cause(code="internal", status=None, sentence="")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request that was answered.

    :param version: of the configuration whose settings it was sent with.
    :param rows: its deliveries, in order.
    :param took_ms: milliseconds from sending to the answer read.
    :param size: bytes of its body.
    :param jitter: −1 to 1, chance.
    :param is_witness: sent to find out whether the LMS refuses everything.
    :param is_echo: it was under way when another one failed: if it fails too, that is one failure.
    """

    configuration_id: uuid.UUID
    version: int
    rows: Sequence[Any]
    answer: Answer
    plan: Plan
    took_ms: int
    size: int
    jitter: float
    worker: str
    is_witness: bool = False
    is_echo: bool = False


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What was written.

    :param is_held_back: nothing more goes to this destination for now.
    :param needs_witness: the newest delivery should go next, alone.
    :param is_outdated: the settings were edited meanwhile: only what is stored now was noted.
    """

    delivered: int = 0
    rejected: int = 0
    is_held_back: bool = False
    needs_witness: bool = False
    is_outdated: bool = False


@dataclass(kw_only=True)
class _Change:
    """The transaction under way."""

    session: Session
    configuration: Configuration
    now: datetime
    events: list[tuple[Any, object]] = field(default_factory=list)


def settle(state: AppState, request: Request, token: int) -> Settled | None:
    """Write an answer down: deliveries, attempt, health, status. Signals follow the commit.

    :param token: of the lease.
    :returns: None when the lease was lost; then nothing was written.
    """
    session = state.session()
    now = state.clock.now(session)
    if not lease.renew(session, request.configuration_id, token, now):
        session.rollback()
        return None
    configuration = session.get(Configuration, request.configuration_id, populate_existing=True)
    assert configuration is not None
    change = _Change(session=session, configuration=configuration, now=now)
    is_outdated = configuration.version != request.version
    if is_outdated:  # what the LMS said is true of what was sent, not of what was saved since
        request = replace(request, plan=Plan(delivered=request.plan.delivered))
    _write_attempt(change, request)
    delivered = _write_delivered(change, request)
    rejected = _write_refused(change, request)
    before = Vitals.of(configuration.health)
    after, needs_witness = before, False
    is_noted = request.is_echo and request.answer.verdict is Verdict.FAILED
    if not is_outdated and not is_noted:
        after, needs_witness = _vitals(state, change, request, before)
    after.write(configuration.health)
    if before.cause == decide.SETTINGS and after.cause is None:
        _make_due(change)
    event = status.changed(state, session, configuration, before.status, now)
    if event is not None:
        change.events.append((configuration_status_changed, event))
    held = after.next_attempt_at is not None and after.next_attempt_at > now
    session.commit()
    audit.tell(state)
    for signal, told in change.events:
        tell(signal, state.app, told)
    session.rollback()  # whatever receivers left undone, or broken, is theirs
    return Settled(
        delivered=delivered,
        rejected=rejected,
        is_held_back=held,
        needs_witness=needs_witness,
        is_outdated=is_outdated,
    )


def _vitals(
    state: AppState, change: _Change, request: Request, before: Vitals
) -> tuple[Vitals, bool]:
    """What the answer makes of the destination's health, and whether a witness is needed."""
    answer, now = request.answer, change.now
    if request.plan.delivered:
        return decide.succeeded(before, now), False
    cause = _cause(state, change, answer.cause)
    if answer.verdict is Verdict.SLOW_DOWN:
        wait = answer.retry_after_seconds
        return decide.asked_to_slow_down(before, cause, answer.facts, wait, now), False
    if answer.verdict is Verdict.FAILED:
        if cause.is_local and _is_own_fault(state, change.session, cause, now):
            operators.operator_fault(state, change.session, cause.code, dict(answer.facts), now)
            return decide.own_fault(before, now), False
        smaller = None
        if answer.is_suspect_of_size and before.failures and len(request.rows) > 1:
            smaller = len(request.rows) // 2
        failed = decide.failed(
            before, cause, answer.facts, now, jitter=request.jitter, smaller=smaller
        )
        return failed, False
    heard = decide.answered(before, now)
    if request.plan.too_large:
        heard = replace(heard, learnt_bytes=max(request.size // 2, 1))
    if answer.verdict is Verdict.REFUSED and len(request.rows) == 1:
        return _refused_alone(state, change, request, heard)
    return heard, False


def _is_own_fault(state: AppState, session: Session, cause: Cause, now: datetime) -> bool:
    """Look at all requests of the last two minutes; the one being settled is among them."""
    rows = session.execute(
        sa.select(Attempt.verdict, Attempt.cause, Configuration.type, Configuration.settings)
        .join(Configuration, Configuration.id == Attempt.configuration_id)
        .where(Attempt.started_at >= now - _EVIDENCE)
        .order_by(Attempt.started_at.desc())
        .limit(_MOST_EVIDENCE)
    ).all()
    evidence = []
    for verdict, found, type, settings in rows:
        connector = state.registry.get(type)
        destination = connector.destination(settings) if connector else type
        evidence.append((destination, found if verdict == Verdict.FAILED.value else None))
    return fails_alike(evidence, cause.code)


def _refused_alone(
    state: AppState, change: _Change, request: Request, vitals: Vitals
) -> tuple[Vitals, bool]:
    answer = request.answer
    singles = note_refusal(
        vitals.singles, answer.words, answer.http_status, request.rows[0].id.hex[-8:]
    )
    noted = replace(vitals, singles=singles)
    if not refuses_everything(singles, vitals.last_success_at, change.now):
        return noted, False
    if not request.is_witness and _has_untried(change):
        return noted, True
    cause = _cause(state, change, decide.SETTINGS)
    return decide.failed(noted, cause, answer.facts, change.now, jitter=request.jitter), False


def _cause(state: AppState, change: _Change, code: str | None) -> Cause:
    return state.registry.cause(change.configuration.type, code) or replace(
        _UNKNOWN, code=code or _UNKNOWN.code
    )


def _has_untried(change: _Change) -> bool:
    return bool(
        change.session.scalar(
            sa.select(Delivery.id)
            .where(
                Delivery.configuration_id == change.configuration.id,
                Delivery.state == DeliveryState.PENDING,
                Delivery.due_at <= change.now,
                Delivery.refusals == 0,
            )
            .limit(1)
        )
    )


def _make_due(change: _Change) -> None:
    """What an LMS refused because of its settings doesn't wait any longer."""
    change.session.execute(
        sa.update(Delivery)
        .where(
            Delivery.configuration_id == change.configuration.id,
            Delivery.state == DeliveryState.PENDING,
            Delivery.due_at > change.now,
        )
        .values(due_at=change.now, refusals=0)
        .execution_options(synchronize_session=False)
    )


def _write_attempt(change: _Change, request: Request) -> None:
    answer = request.answer
    change.session.add(
        Attempt(
            configuration_id=request.configuration_id,
            started_at=change.now - timedelta(milliseconds=request.took_ms),
            duration_ms=request.took_ms,
            statements=len(request.rows),
            delivery_ids=",".join(row.id.hex for row in request.rows),
            size=request.size,
            verdict=answer.verdict.value,
            http_status=answer.http_status,
            cause=answer.cause or answer.note,
            words=answer.words[:2000] if answer.words else None,
            worker=request.worker[:100],
        )
    )


def _write_delivered(change: _Change, request: Request) -> int:
    """The LMS has them: true even of one that was cancelled while under way."""
    rows = [request.rows[index] for index in request.plan.delivered]
    stored = {row.id for row in rows}
    _count_attempt(change, [row.id for row in request.rows if row.id not in stored])
    if not rows:
        return 0
    change.session.execute(
        sa.update(Delivery)
        .where(
            Delivery.id.in_([row.id for row in rows]),
            Delivery.state.in_([DeliveryState.PENDING, DeliveryState.CANCELLED]),
        )
        .values(
            state=DeliveryState.DELIVERED,
            settled_at=change.now,
            attempts=Delivery.attempts + 1,
            reason=None,
            reason_words=None,
        )
        .execution_options(synchronize_session=False)
    )
    if not statement_delivered.receivers:
        return len(rows)
    change.events += [
        (
            statement_delivered,
            StatementDelivered(
                organization_id=change.configuration.organization_id,
                configuration_id=change.configuration.id,
                delivery_id=row.id,
                statement_id=row.statement_id,
                result_id=row.result_id,
                at=change.now,
            ),
        )
        for row in rows
    ]
    return len(rows)


def _count_attempt(change: _Change, ids: list[uuid.UUID]) -> None:
    if not ids:
        return
    change.session.execute(
        sa.update(Delivery)
        .where(Delivery.id.in_(ids))
        .values(attempts=Delivery.attempts + 1)
        .execution_options(synchronize_session=False)
    )


def _write_refused(change: _Change, request: Request) -> int:
    rejected = 0
    for index, refusal in request.plan.refused.items():
        row = request.rows[index]
        words = refusal.words[:2000] if refusal.words else None
        values: dict[str, Any] = {
            "reason": refusal.reason,
            "reason_words": words,
            "refusals": Delivery.refusals + 1,
            "is_single": True,
        }
        if refusal.again_seconds is None:
            rejected += 1
            values |= {"state": DeliveryState.REJECTED, "settled_at": change.now}
            change.events.append((delivery_rejected, _rejected(change, row, refusal)))
        else:
            values |= {"due_at": change.now + timedelta(seconds=refusal.again_seconds)}
        change.session.execute(
            sa.update(Delivery)
            .where(Delivery.id == row.id, Delivery.state == DeliveryState.PENDING)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    return rejected


def _rejected(change: _Change, row: Any, refusal: Any) -> DeliveryRejected:
    return DeliveryRejected(
        organization_id=change.configuration.organization_id,
        configuration_id=change.configuration.id,
        delivery_id=row.id,
        statement_id=row.statement_id,
        result_id=row.result_id,
        reason=refusal.reason,
        words=refusal.words,
        at=change.now,
    )
