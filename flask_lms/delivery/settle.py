"""Step 8 of the walk: one answer written down, in one transaction, by the lease's holder."""

from __future__ import annotations

import json
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
from ..connectors.base import Answer, Verdict
from ..connectors.causes import Cause
from ..database.models import (
    Attempt,
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
    OrderHold,
    Status,
)
from ..database.types import update
from ..events import (
    DeliveryRejected,
    StatementDelivered,
    configuration_status_changed,
    delivery_rejected,
    statement_delivered,
    tell,
)
from . import decide, lease
from .decide import Plan, Refusal, Vitals

#: A destination that took something in so long is known to work.
_ESTABLISHED = timedelta(days=1)
#: One that should be rejected while it isn't known whether the LMS is to blame waits so long.
_UNDECIDED_SECONDS = 60.0
#: A request begins at most so long before it is written down, and before an older one ends.
_LONGEST_REQUEST = timedelta(minutes=10)
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
    :param is_witness: sent to find out whether the LMS refuses everything; one that is delivered
        already only bears witness.
    :param is_echo: it was under way when another one failed: if it fails too, that is one failure.
    :param releases: of the health row, when its deliveries were read.
    :param is_ordered: its connector keeps an order, so that one that is refused goes first.
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
    releases: int | None = None
    is_ordered: bool = False


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What was written.

    :param is_held_back: nothing more goes to this destination for now.
    :param witness: the delivery that should go next, alone, to find out who is to blame.
    :param is_outdated: the settings were edited meanwhile: only what is stored now was noted.
    """

    delivered: int = 0
    rejected: int = 0
    is_held_back: bool = False
    witness: uuid.UUID | None = None
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
    before = Vitals.of(configuration.health)
    is_outdated = configuration.version != request.version
    if request.rows[0].state is DeliveryState.DELIVERED:
        request = replace(request, plan=Plan())  # nothing is to be found out of the statement
    elif request.plan.is_unverified and before.cause == decide.SETTINGS:
        # While it refuses everything its word isn't enough.
        words, refusals = request.answer.words, request.rows[0].refusals
        alone = decide.refused_alone(words, refusals, request.jitter)
        request = replace(request, plan=Plan(refused={0: alone}))
    if is_outdated:  # what the LMS said is true of what was sent, not of what was saved since
        request = replace(request, plan=replace(request.plan, refused={}, again=()))
    after, witness, delivered = before, None, 0
    if request.answer.verdict is Verdict.WAITS:  # no request was made, so nothing was learnt
        is_noted = True
        _write_waiting(change, request)
    else:
        is_noted = request.is_echo and request.answer.verdict is Verdict.FAILED
        _write_attempt(change, request)
        delivered = _write_delivered(change, request)
    if not is_outdated and not is_noted:
        after, witness = _vitals(state, change, request, before)
    after.write(configuration.health)
    rejected = _write_refused(change, request, after, is_undecided=witness is not None)
    if not is_outdated and request.plan.is_taken and decide.was_refusing(before):
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
        witness=witness,
        is_outdated=is_outdated,
    )


def _vitals(
    state: AppState, change: _Change, request: Request, before: Vitals
) -> tuple[Vitals, uuid.UUID | None]:
    """What the answer makes of the destination's health, and the witness that is needed."""
    answer, now, session = request.answer, change.now, change.session
    if request.plan.is_taken:
        after = decide.succeeded(before, now)
        if decide.was_refusing(before):
            return replace(after, learnt_bytes=None), None
        hours = decide.hours_between(before.last_attempt_at, now)
        if before.learnt_bytes is not None and before.last_attempt_at is not None and hours:
            too_large_at = session.scalar(
                sa.select(sa.func.max(Attempt.started_at)).where(
                    Attempt.configuration_id == request.configuration_id,
                    Attempt.started_at >= before.last_attempt_at - timedelta(hours=1),
                    Attempt.verdict == Verdict.TOO_LARGE.value,
                    Attempt.statements > 1,
                )
            )
            most = state.settings.batch_bytes
            grown = decide.grown(before.learnt_bytes, hours, too_large_at, now, most)
            after = replace(after, learnt_bytes=grown)
        return after, None
    cause = _cause(state, change, answer.cause)
    if answer.verdict is Verdict.SLOW_DOWN:
        wait = answer.retry_after_seconds
        return decide.asked_to_slow_down(before, cause, answer.facts, wait, now), None
    if answer.verdict is Verdict.FAILED:
        if cause.is_local and _is_own_fault(state, session, cause, now):
            operators.operator_fault(state, session, cause.code, dict(answer.facts), now)
            if decide.may_be_own_fault(before, now):
                return decide.own_fault(before, now), None
        smaller = None
        if answer.is_suspect_of_size and before.failures and len(request.rows) > 1:
            smaller = len(request.rows) // 2
        failed = decide.failed(
            before, cause, answer.facts, now, jitter=request.jitter, smaller=smaller
        )
        return failed, None
    heard = decide.answered(before, now)
    if request.plan.too_large:
        learnt = min(request.size // 2, before.learnt_bytes or request.size)
        heard = replace(heard, learnt_bytes=max(learnt, 1))
    return _refusing(state, change, request, heard)


def _is_own_fault(state: AppState, session: Session, cause: Cause, now: datetime) -> bool:
    """Look at all requests of the last two minutes; the one being settled is among them."""
    rows = session.execute(
        sa.select(
            Attempt.verdict,
            Attempt.cause,
            Configuration.type,
            Configuration.settings,
            ConfigurationHealth.last_success_at,
        )
        .join(Configuration, Configuration.id == Attempt.configuration_id)
        .join(ConfigurationHealth, ConfigurationHealth.configuration_id == Configuration.id)
        .where(Attempt.started_at >= now - _EVIDENCE)
        .order_by(Attempt.started_at.desc())
        .limit(_MOST_EVIDENCE)
    ).all()
    evidence = []
    for verdict, found, type, settings, last_success_at in rows:
        if found == lease.INTERRUPTED:
            continue
        connector = state.registry.get(type)
        destination = connector.destination(settings) if connector else type
        is_established = last_success_at is not None and last_success_at >= now - _ESTABLISHED
        failed_with = found if verdict == Verdict.FAILED.value else None
        evidence.append((destination, failed_with, is_established))
    return decide.fails_alike(evidence, cause.code)


def _refusing(
    state: AppState, change: _Change, request: Request, vitals: Vitals
) -> tuple[Vitals, uuid.UUID | None]:
    """Who is to blame for what was refused, the statements or the LMS.

    Five different ones refused alike with nothing accepted meanwhile: first a statement is sent
    again that the LMS took before, then the newest one that waits; if neither is better, or none
    is there, the LMS refuses everything. When twenty are refused for long, only one that waits can
    still speak for it.
    """
    answer, now = request.answer, change.now
    is_known = request.rows[0].state is DeliveryState.DELIVERED
    alone = {
        index: refusal
        for index, refusal in request.plan.refused.items()
        if refusal.reason != decide.CONFLICT
    }
    if not alone and not is_known:
        return vitals, None
    singles, words = vitals.singles, answer.words
    for index, refusal in alone.items():
        id, words = request.rows[index].id.hex[-8:], refusal.words
        singles = decide.note_refusal(singles, words, answer.http_status, id)
    noted = replace(vitals, singles=singles)
    is_refusing = noted.cause == decide.SETTINGS
    is_for_long = decide.refuses_for_long(singles, noted.last_success_at, now)
    if is_known:
        says = decide.witness_says(answer, singles)
        if says is True:
            return replace(noted, singles=decide.vouched(singles)), None
        is_refusing = is_refusing or says is False
    elif not (is_refusing or is_for_long or decide.refuses_everything(singles)):
        return noted, None
    if not is_refusing and (is_known or not request.is_witness):
        witness = _witness(change, request, is_known=not (is_known or is_for_long))
        if witness is not None:
            return noted, witness
    cause = replace(
        _cause(state, change, decide.SETTINGS), status=Status.SERVER_ERROR, is_settings=True
    )
    facts = {**answer.facts, "words": words or answer.facts.get("words")}
    refusing = decide.failed(noted, cause, facts, now, jitter=request.jitter, is_refusing=True)
    return refusing, None


def _witness(change: _Change, request: Request, *, is_known: bool) -> uuid.UUID | None:
    """A statement whose answer tells who is to blame; never a void, which would do something.

    :param is_known: preferably one that the LMS took before, with the settings of now.
    """
    mine = (
        Delivery.configuration_id == change.configuration.id,
        Delivery.kind.not_in(("void", "test")),
    )
    if is_known:
        taken = change.session.scalar(
            sa.select(Delivery.id)
            .where(
                *mine,
                Delivery.state == DeliveryState.DELIVERED,
                Delivery.reason.is_(None),
                Delivery.statement.is_not(None),
                Delivery.settled_at >= change.configuration.updated_at,
            )
            .order_by(Delivery.settled_at.desc())
            .limit(1)
        )
        if taken is not None:
            return taken
    is_too_large = request.answer.verdict is Verdict.TOO_LARGE
    return change.session.scalar(
        sa.select(Delivery.id)
        .where(
            *mine,
            Delivery.state == DeliveryState.PENDING,
            Delivery.due_at <= change.now,
            Delivery.refusals == 0,
            Delivery.id.not_in([request.rows[index].id for index in request.plan.refused]),
        )
        .order_by(*([Delivery.size] if is_too_large else []), Delivery.id.desc())
        .limit(1)
    )


def _cause(state: AppState, change: _Change, code: str | None) -> Cause:
    return state.registry.cause(change.configuration.type, code) or replace(
        _UNKNOWN, code=code or _UNKNOWN.code
    )


def _make_due(change: _Change) -> None:
    """What an LMS refused because it refused everything waits no longer, nor goes alone; all go in
    the order in which they were recorded, as a void must come after what it voids.
    """
    update(
        change.session,
        sa.update(Delivery)
        .where(
            Delivery.configuration_id == change.configuration.id,
            Delivery.state == DeliveryState.PENDING,
            sa.or_(Delivery.due_at > change.now, Delivery.refusals > 0),
        )
        .values(due_at=Delivery.recorded_at, refusals=0),
    )


def earlier(session: Session, configuration_id: uuid.UUID, row: Any) -> Sequence[Attempt]:
    """The requests that carried a delivery, oldest first."""
    return session.scalars(
        sa.select(Attempt)
        .where(
            Attempt.configuration_id == configuration_id,
            Attempt.started_at >= row.recorded_at - _LONGEST_REQUEST,
            Attempt.delivery_ids.contains(row.id.hex),
        )
        .order_by(Attempt.started_at)
    ).all()


def may_be_stored(session: Session, configuration_id: uuid.UUID, row: Any) -> bool:
    """Whether an earlier request with it was accepted, or had no clear answer."""
    return any(
        decide.is_unclear(attempt.verdict, attempt.http_status, attempt.cause)
        for attempt in earlier(session, configuration_id, row)
    )


def _write_attempt(change: _Change, request: Request) -> None:
    answer = request.answer
    is_shared = bool(answer.rejected) and len(request.rows) > 1
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
            # What names several statements is kept with each of these, not with their neighbours.
            words=answer.words[:2000] if answer.words and not is_shared else None,
            worker=request.worker[:100],
        )
    )


def _write_delivered(change: _Change, request: Request) -> int:
    """The LMS has them: true even of one that was cancelled while under way."""
    rows = [request.rows[index] for index in request.plan.delivered]
    newer = [request.rows[index].id for index in request.plan.superseded]
    if newer:
        update(
            change.session,
            sa.update(Delivery)
            .where(Delivery.id.in_(newer), Delivery.state == DeliveryState.PENDING)
            .values(
                state=DeliveryState.SUPERSEDED,
                settled_at=change.now,
                reason=None,
                reason_words=None,
            ),
        )
    stored = {row.id for row in rows}
    _count_attempt(change, [row.id for row in request.rows if row.id not in stored])
    if not rows:
        return 0
    update(
        change.session,
        sa.update(Delivery)
        .where(
            Delivery.id.in_([row.id for row in rows]),
            Delivery.state.in_([DeliveryState.PENDING, DeliveryState.CANCELLED]),
        )
        .values(
            state=DeliveryState.DELIVERED,
            settled_at=change.now,
            attempts=Delivery.attempts + 1,
            reason=decide.NOT_VERIFIED if request.plan.is_unverified else None,
            reason_words=None,
        ),
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


def _write_waiting(change: _Change, request: Request) -> None:
    """Put aside what waits for an event; unless one came since it was read: then it goes out at
    once. The health row is locked, and whoever releases writes there first.
    """
    ids = [request.rows[index].id for index in request.plan.waits]
    if not ids or change.configuration.health.releases != request.releases:
        return
    update(
        change.session,
        sa.update(Delivery)
        .where(Delivery.id.in_(ids), Delivery.state == DeliveryState.PENDING)
        .values(
            state=DeliveryState.NOT_SENT,
            settled_at=change.now,
            reason=request.answer.cause,
            reason_words=json.dumps(dict(request.answer.facts)),
        ),
    )


def _count_attempt(change: _Change, ids: list[uuid.UUID]) -> None:
    if not ids:
        return
    update(
        change.session,
        sa.update(Delivery).where(Delivery.id.in_(ids)).values(attempts=Delivery.attempts + 1),
    )


def _write_refused(change: _Change, request: Request, after: Vitals, *, is_undecided: bool) -> int:
    """Each refused statement waits for its next time, or is rejected: never while the LMS refuses
    everything, or may do so.
    """
    rejected = 0
    for index, refusal in request.plan.refused.items():
        row = request.rows[index]
        values: dict[str, Any] = {
            "reason": refusal.reason,
            "reason_words": refusal.words[:2000] if refusal.words else None,
            "refusals": Delivery.refusals + 1,
        }
        again: float | None
        if refusal.reason != decide.CONFLICT and after.cause == decide.SETTINGS:
            again = 0.0
        elif refusal.reason != decide.CONFLICT and is_undecided:
            again = refusal.again_seconds or _UNDECIDED_SECONDS
        elif _is_too_large_for_all(change, request, row, refusal):
            again = decide.REFUSAL_SECONDS[-1]
        else:
            again = refusal.again_seconds
        if again is None:
            rejected += 1
            values |= {"state": DeliveryState.REJECTED, "settled_at": change.now}
            change.events.append((delivery_rejected, _rejected(change, row, refusal)))
        else:
            values |= {"due_at": change.now + timedelta(seconds=again)}
            if request.is_ordered and not row.refusals:
                change.session.merge(
                    OrderHold(delivery_id=row.id, configuration_id=request.configuration_id)
                )
        update(
            change.session,
            sa.update(Delivery)
            .where(Delivery.id == row.id, Delivery.state == DeliveryState.PENDING)
            .values(**values),
        )
    return rejected


def _is_too_large_for_all(change: _Change, request: Request, row: Any, refusal: Refusal) -> bool:
    """One that would be rejected as too large, though nothing smaller was taken since: it may not
    be its size.
    """
    if refusal.again_seconds is not None or refusal.reason != decide.TOO_LARGE:
        return False
    refused_at = min(
        attempt.started_at
        for attempt in earlier(change.session, request.configuration_id, row)
        if attempt.verdict == Verdict.TOO_LARGE.value
    )  # at least the request that is being settled
    return not change.session.scalar(
        sa.select(
            sa.exists().where(
                Delivery.configuration_id == request.configuration_id,
                Delivery.state == DeliveryState.DELIVERED,
                Delivery.settled_at >= refused_at,
                Delivery.size < row.size,
            )
        )
    )


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
