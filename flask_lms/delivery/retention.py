"""Forgetting what is done. What waits is never forgotten.

Of what an LMS has, or may have, the skeleton stays: id, kind, revision and result. A correction,
however late, takes back what was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..app_state import AppState
from ..database.models import (
    SKELETON,
    Attempt,
    Audit,
    Base,
    Configuration,
    Delivery,
    DeliveryState,
    Incident,
    Mail,
    OrderHold,
    StoreEntry,
    Task,
    Worker,
)
from ..database.types import update

_CHUNK = 1000
#: A deleted configuration can be restored for so long.
DELETED_DAYS = 30
_DONE = (DeliveryState.DELIVERED, DeliveryState.SUPERSEDED, DeliveryState.CANCELLED)
_UNDELIVERED = (DeliveryState.NOT_SENT, DeliveryState.REJECTED, DeliveryState.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Purged:
    """How many rows a purge touched.

    :param deliveries: those that are listed no more: deleted, or only their skeleton stays.
    :param contents: deliveries whose statement was erased.
    :param cancelled: waiting deliveries of configurations that were deleted 30 days ago.
    """

    deliveries: int
    contents: int
    attempts: int
    incidents: int
    mails: int
    cancelled: int
    audits: int = 0


def purge(
    state: AppState, now: datetime, on_progress: Callable[[int], None] | None = None
) -> Purged:
    """Forget what the keys ``LMS_…RETENTION_DAYS`` say; commits in chunks.

    Rows of forgotten participants stay: they tell of nobody, and keep what is handed in once more
    from being recorded again.

    :param now: aware UTC.
    :param on_progress: called with the rows of each chunk.
    """
    old = now - timedelta(days=state.settings.retention_days)
    old_content = now - timedelta(days=state.settings.content_retention_days)
    report = on_progress or (lambda rows: None)
    # A configuration deleted 30 days ago loses its secrets; what waits for it is cancelled.
    gone = state.session.scalars(
        sa.select(Configuration.id).where(
            Configuration.deleted_at < now - timedelta(days=DELETED_DAYS)
        )
    ).all()
    cancelled = 0
    if gone:
        state.session.execute(
            sa.update(Configuration)
            .where(Configuration.id.in_(gone), Configuration.secrets.is_not(None))
            .values(secrets=None)
        )
        state.session.execute(sa.delete(StoreEntry).where(StoreEntry.configuration_id.in_(gone)))
        _in_chunks(  # no correction comes any more
            state,
            sa.select(Delivery.id).where(
                Delivery.configuration_id.in_(gone), Delivery.participant_id == SKELETON
            ),
            sa.delete(Delivery),
            Delivery,
            report,
        )
        cancelled = _in_chunks(
            state,
            sa.select(Delivery.id).where(
                Delivery.configuration_id.in_(gone),
                Delivery.state.in_([DeliveryState.PENDING, DeliveryState.NOT_SENT]),
            ),
            sa.update(Delivery).values(
                state=DeliveryState.CANCELLED, reason="configuration_deleted", settled_at=now
            ),
            Delivery,
            report,
        )
    contents = _in_chunks(
        state,
        sa.select(Delivery.id).where(
            Delivery.state.in_(_DONE),
            Delivery.settled_at < old_content,
            Delivery.statement.is_not(None),
        ),
        sa.update(Delivery).values(statement=None, reason_words=None, read_back_facts=sa.null()),
        Delivery,
        report,
    )
    old_undelivered = now - timedelta(days=state.settings.undelivered_retention_days)
    names_nobody = Delivery.participant_id.like("forgotten-%")
    may_be_there = sa.and_(Delivery.state == DeliveryState.CANCELLED, Delivery.attempts > 0)
    deliveries = _in_chunks(
        state,
        sa.select(Delivery.id).where(
            Delivery.state.in_(_UNDELIVERED),
            Delivery.settled_at < old_undelivered,
            ~may_be_there,
            ~names_nobody,
        ),
        sa.delete(Delivery),
        Delivery,
        report,
    )
    deliveries += _in_chunks(
        state,
        sa.select(Delivery.id).where(
            sa.or_(
                sa.and_(
                    Delivery.state.in_((DeliveryState.DELIVERED, DeliveryState.SUPERSEDED)),
                    Delivery.settled_at < old,
                ),
                sa.and_(may_be_there, Delivery.settled_at < old_undelivered),
            ),
            ~names_nobody,
        ),
        sa.update(Delivery).values(
            participant_id=SKELETON,
            participant_name=None,
            outcome=None,
            score=None,
            objective_name=None,
            statement=None,
            size=0,
            result=None,
            reason=None,
            reason_words=None,
            settled_at=None,
            settled_by=None,
            read_back=None,
            read_back_at=None,
            read_back_facts=sa.null(),
        ),
        Delivery,
        report,
    )
    audits = _in_chunks(
        state,
        sa.select(Audit.id).where(
            Audit.at < now - timedelta(days=state.settings.audit_retention_days)
        ),
        sa.delete(Audit),
        Audit,
        report,
    )
    attempts = _in_chunks(
        state,
        sa.select(Attempt.id).where(Attempt.started_at < old_content),
        sa.delete(Attempt),
        Attempt,
        report,
    )
    incidents = _in_chunks(
        state,
        sa.select(Incident.id).where(Incident.closed_at < old),
        sa.delete(Incident),
        Incident,
        report,
    )
    mails = _in_chunks(
        state,
        sa.select(Mail.id).where(Mail.state != "waiting", Mail.created_at < old),
        sa.delete(Mail),
        Mail,
        report,
    )
    state.session.execute(
        sa.delete(OrderHold).where(
            ~sa.exists().where(
                Delivery.id == OrderHold.delivery_id, Delivery.state == DeliveryState.PENDING
            )
        )
    )
    _in_chunks(state, sa.select(Task.id).where(Task.ended_at < old), sa.delete(Task), Task, report)
    yesterday = now - timedelta(days=1)
    _in_chunks(
        state,
        sa.select(StoreEntry.id).where(StoreEntry.expires_at < yesterday),
        sa.delete(StoreEntry),
        StoreEntry,
        report,
    )
    state.session.execute(sa.delete(Worker).where(Worker.seen_at < yesterday))
    state.session.commit()
    return Purged(
        deliveries=deliveries,
        contents=contents,
        attempts=attempts,
        incidents=incidents,
        mails=mails,
        cancelled=cancelled,
        audits=audits,
    )


def _in_chunks(
    state: AppState,
    find: sa.Select[Any],
    act: sa.Update | sa.Delete,
    model: type[Base],
    report: Callable[[int], None],
) -> int:
    session, total = state.session, 0
    column = sa.inspect(model).primary_key[0]
    still = find.whereclause  # somebody may send one again meanwhile
    assert still is not None
    while ids := session.scalars(find.limit(_CHUNK)).all():
        chosen = act.where(column.in_(ids), still)
        update(session, chosen)
        session.commit()
        total += len(ids)
        report(len(ids))
    return total
