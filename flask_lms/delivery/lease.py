"""Step 4 of the walk: one process at a time delivers for a configuration, with fencing.

A lease is a compare-and-set on the configuration's health row. Its token only grows; whoever was
paused so long that another took over finds its own token outdated and writes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..connectors.base import Verdict
from ..database.models import (
    Attempt,
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
)
from ..database.types import update

#: Longer than the longest request, so that nobody else starts while one is under way.
LEASE_SECONDS = 90
#: The cause of a request whose worker died, as far as one was under way.
INTERRUPTED = "interrupted"
#: Most statements that are under way to one destination.
_UNDER_WAY = 800


def acquire(
    session: Session, configuration_id: uuid.UUID, holder: str, now: datetime
) -> int | None:
    """Take the lease if it is free or has run out; the caller commits.

    :param now: the database's clock, aware UTC.
    :returns: the fencing token, or None when somebody else holds it.
    """
    lease = (
        sa.update(ConfigurationHealth)
        .where(ConfigurationHealth.configuration_id == configuration_id)
        .values(
            lease_token=ConfigurationHealth.lease_token + 1,
            lease_holder=holder[:100],
            lease_expires_at=now + timedelta(seconds=LEASE_SECONDS),
        )
    )
    if not update(session, lease.where(ConfigurationHealth.lease_expires_at.is_(None))):
        if not update(session, lease.where(ConfigurationHealth.lease_expires_at <= now)):
            return None
        _note_interrupted(session, configuration_id, now)
    return session.scalar(
        sa.select(ConfigurationHealth.lease_token).where(
            ConfigurationHealth.configuration_id == configuration_id
        )
    )


def _note_interrupted(session: Session, configuration_id: uuid.UUID, now: datetime) -> None:
    """A lease that was not given back: what was under way may be stored at the LMS. So the first
    that wait are kept as a request without an answer; it costs nothing as long as nobody dies.
    """
    ids = session.scalars(
        sa.select(Delivery.id)
        .where(
            Delivery.configuration_id == configuration_id,
            Delivery.state == DeliveryState.PENDING,
            Delivery.due_at <= now,
        )
        .order_by(Delivery.due_at, Delivery.id)
        .limit(_UNDER_WAY)
    ).all()
    if ids:
        session.add(
            Attempt(
                configuration_id=configuration_id,
                started_at=now,
                duration_ms=0,
                statements=len(ids),
                delivery_ids=",".join(id.hex for id in ids),
                size=0,
                verdict=Verdict.FAILED.value,
                cause=INTERRUPTED,
            )
        )


def renew(session: Session, configuration_id: uuid.UUID, token: int, now: datetime) -> bool:
    """Keep the lease, and lock its row until the caller's commit; False: it was lost."""
    return (
        update(
            session,
            sa.update(ConfigurationHealth)
            .where(
                ConfigurationHealth.configuration_id == configuration_id,
                ConfigurationHealth.lease_token == token,
            )
            .values(lease_expires_at=now + timedelta(seconds=LEASE_SECONDS)),
        )
        == 1
    )


def release_dead(
    session: Session, prefix: str, is_alive: Callable[[str], bool], now: datetime
) -> int:
    """Give back the leases of holders that died, so that nobody waits for them to run out.

    :param prefix: of the holders that ``is_alive`` can judge.
    :param is_alive: told what follows the prefix.
    :param now: the database's clock, aware UTC.
    :returns: how many; the caller commits.
    """
    held = session.execute(
        sa.select(
            ConfigurationHealth.configuration_id,
            ConfigurationHealth.lease_token,
            ConfigurationHealth.lease_holder,
        ).where(ConfigurationHealth.lease_holder.startswith(prefix, autoescape=True))
    ).all()
    dead = [row for row in held if not is_alive(str(row.lease_holder)[len(prefix) :])]
    for row in dead:
        _note_interrupted(session, row.configuration_id, now)
        release(session, row.configuration_id, row.lease_token)
    return len(dead)


def release(session: Session, configuration_id: uuid.UUID, token: int) -> None:
    """Give the lease back, unless it was lost; the caller commits.

    The token grows here too: a request that was left under way writes nothing any more.
    """
    update(
        session,
        sa.update(ConfigurationHealth)
        .where(
            ConfigurationHealth.configuration_id == configuration_id,
            ConfigurationHealth.lease_token == token,
        )
        .values(
            lease_token=ConfigurationHealth.lease_token + 1,
            lease_holder=None,
            lease_expires_at=None,
        ),
    )


# -- Which configurations have something to do now: what the ticker looks for.


def due(session: Session, now: datetime, limit: int = 1000) -> Sequence[uuid.UUID]:
    """Configurations with due deliveries that nobody is sending and nothing holds back.

    :param now: aware UTC.
    """
    waiting = sa.exists().where(
        Delivery.state == DeliveryState.PENDING,
        Delivery.configuration_id == Configuration.id,
        Delivery.due_at <= now,
    )
    return session.scalars(
        sa.select(Configuration.id)
        .join(ConfigurationHealth, ConfigurationHealth.configuration_id == Configuration.id)
        .where(
            Configuration.deleted_at.is_(None),
            Configuration.paused_at.is_(None),
            sa.or_(
                ConfigurationHealth.next_attempt_at.is_(None),
                ConfigurationHealth.next_attempt_at <= now,
            ),
            sa.or_(
                ConfigurationHealth.lease_expires_at.is_(None),
                ConfigurationHealth.lease_expires_at <= now,
            ),
            waiting,
        )
        .order_by(
            ConfigurationHealth.last_attempt_at.is_not(None), ConfigurationHealth.last_attempt_at
        )  # never tried: first
        .limit(limit)
    ).all()


def next_due_at(session: Session, configuration_id: uuid.UUID) -> datetime | None:
    """When the next waiting delivery of a configuration is due; None: nothing waits."""
    return session.scalar(
        sa.select(sa.func.min(Delivery.due_at)).where(
            Delivery.state == DeliveryState.PENDING, Delivery.configuration_id == configuration_id
        )
    )
