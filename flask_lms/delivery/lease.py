"""Step 3 of the walk: one drain at a time for each configuration, with fencing.

A lease is a compare-and-set on the configuration's health row. Its token only grows; whoever was
paused so long that another took over finds its own token outdated and writes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..models import Health

#: Longer than the longest request, so that nobody else starts while one is under way.
LEASE_SECONDS = 90


def _rows(session: Session, statement: sa.Update) -> int:
    return session.execute(statement.execution_options(synchronize_session=False)).rowcount  # type: ignore[attr-defined, no-any-return]


def acquire(
    session: Session, configuration_id: uuid.UUID, holder: str, now: datetime
) -> int | None:
    """Take the lease if it is free or has run out; the caller commits.

    :param now: the database's clock, aware UTC.
    :returns: the fencing token, or None when somebody else holds it.
    """
    taken = _rows(
        session,
        sa.update(Health)
        .where(
            Health.configuration_id == configuration_id,
            sa.or_(Health.lease_expires_at.is_(None), Health.lease_expires_at <= now),
        )
        .values(
            lease_token=Health.lease_token + 1,
            lease_holder=holder[:100],
            lease_expires_at=now + timedelta(seconds=LEASE_SECONDS),
        ),
    )
    if taken != 1:
        return None
    return session.scalar(
        sa.select(Health.lease_token).where(Health.configuration_id == configuration_id)
    )


def renew(session: Session, configuration_id: uuid.UUID, token: int, now: datetime) -> bool:
    """Keep the lease, and lock its row until the caller's commit; False: it was lost."""
    return (
        _rows(
            session,
            sa.update(Health)
            .where(Health.configuration_id == configuration_id, Health.lease_token == token)
            .values(lease_expires_at=now + timedelta(seconds=LEASE_SECONDS)),
        )
        == 1
    )


def release_dead(session: Session, prefix: str, is_alive: Callable[[str], bool]) -> int:
    """Give back the leases of holders that died, so that nobody waits for them to run out.

    :param prefix: of the holders that ``is_alive`` can judge.
    :param is_alive: told what follows the prefix.
    :returns: how many; the caller commits.
    """
    held = session.execute(
        sa.select(Health.configuration_id, Health.lease_token, Health.lease_holder).where(
            Health.lease_holder.startswith(prefix, autoescape=True)
        )
    ).all()
    dead = [row for row in held if not is_alive(str(row.lease_holder)[len(prefix) :])]
    for row in dead:
        release(session, row.configuration_id, row.lease_token)
    return len(dead)


def release(session: Session, configuration_id: uuid.UUID, token: int) -> None:
    """Give the lease back, unless it was lost; the caller commits."""
    _rows(
        session,
        sa.update(Health)
        .where(Health.configuration_id == configuration_id, Health.lease_token == token)
        .values(lease_holder=None, lease_expires_at=None),
    )
