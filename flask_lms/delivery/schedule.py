"""Step 7 of the walk: which configurations have something to do now. The net under RQ."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..models import Configuration, Delivery, Health, State


def due(session: Session, now: datetime, limit: int = 1000) -> Sequence[uuid.UUID]:
    """Configurations with due deliveries that nobody is sending and nothing holds back.

    :param now: aware UTC.
    """
    waiting = sa.exists().where(
        Delivery.state == State.PENDING,
        Delivery.configuration_id == Configuration.id,
        Delivery.due_at <= now,
    )
    return session.scalars(
        sa.select(Configuration.id)
        .join(Health, Health.configuration_id == Configuration.id)
        .where(
            Configuration.deleted_at.is_(None),
            Configuration.paused_at.is_(None),
            sa.or_(Health.next_attempt_at.is_(None), Health.next_attempt_at <= now),
            sa.or_(Health.lease_expires_at.is_(None), Health.lease_expires_at <= now),
            waiting,
        )
        .order_by(Health.last_attempt_at.is_not(None), Health.last_attempt_at)  # never tried: first
        .limit(limit)
    ).all()


def next_due_at(session: Session, configuration_id: uuid.UUID) -> datetime | None:
    """When the next waiting delivery of a configuration is due; None: nothing waits."""
    return session.scalar(
        sa.select(sa.func.min(Delivery.due_at)).where(
            Delivery.state == State.PENDING, Delivery.configuration_id == configuration_id
        )
    )
