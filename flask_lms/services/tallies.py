"""Counts for many configurations at once: each is one query, answered by an index of
``lms_delivery``, however many rows there are.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as time_of_day
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from ..clock import UTC
from ..models import Configuration, Delivery, ObjectiveLink, State

_OPEN = (State.PENDING, State.REJECTED, State.NOT_SENT)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What is open for a configuration."""

    waiting: int = 0
    rejected: int = 0
    not_sent: int = 0
    oldest_waiting_at: datetime | None = None

    @property
    def attention(self) -> int:
        return self.rejected + self.not_sent


class utc_day(FunctionElement[Any]):
    """The UTC day of a time, as text ``YYYY-MM-DD`` or a date."""

    inherit_cache = True


@compiles(utc_day)
def _default_day(element: utc_day, compiler: Any, **kw: Any) -> str:
    return f"date({compiler.process(element.clauses, **kw)})"


@compiles(utc_day, "postgresql")
def _postgresql_day(element: utc_day, compiler: Any, **kw: Any) -> str:
    return f"date({compiler.process(element.clauses, **kw)} AT TIME ZONE 'UTC')"


def tallies(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Tally]:
    """What is open, by configuration; two queries."""
    counts: dict[uuid.UUID, dict[State, int]] = {}
    oldest: dict[uuid.UUID, uuid.UUID] = {}
    rows = session.execute(
        sa.select(
            Delivery.configuration_id,
            Delivery.state,
            sa.func.count(),
            sa.func.min(Delivery.id),
        )
        .where(Delivery.configuration_id.in_(ids), Delivery.state.in_(_OPEN))
        .group_by(Delivery.configuration_id, Delivery.state)
    )
    for configuration_id, state, count, first in rows:
        counts.setdefault(configuration_id, {})[state] = count
        if state is State.PENDING:
            oldest[configuration_id] = first
    since: dict[uuid.UUID, datetime] = {}
    if oldest:
        found = session.execute(
            sa.select(Delivery.configuration_id, Delivery.recorded_at).where(
                Delivery.id.in_(oldest.values())
            )
        )
        since = {configuration_id: at for configuration_id, at in found}
    return {
        configuration_id: Tally(
            waiting=by_state.get(State.PENDING, 0),
            rejected=by_state.get(State.REJECTED, 0),
            not_sent=by_state.get(State.NOT_SENT, 0),
            oldest_waiting_at=since.get(configuration_id),
        )
        for configuration_id, by_state in counts.items()
    }


def attention(session: Session, ids: Sequence[uuid.UUID]) -> int:
    """How many are rejected or not sent in all."""
    count = session.scalar(
        sa.select(sa.func.count())
        .select_from(Delivery)
        .where(
            Delivery.configuration_id.in_(ids),
            Delivery.state.in_((State.REJECTED, State.NOT_SENT)),
        )
    )
    return count or 0


def last_sent(session: Session, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, datetime]:
    """When each configuration's newest result was sent; those that sent nothing are left out."""
    newest = (
        sa.select(sa.func.max(Delivery.settled_at))
        .where(
            Delivery.configuration_id == Configuration.id,
            Delivery.settled_at.is_not(None),
            Delivery.state == State.DELIVERED,
        )
        .correlate(Configuration)
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(Configuration.id, newest).where(Configuration.id.in_(list(ids)))
    )
    return {configuration_id: at for configuration_id, at in rows if at is not None}


def objectives(session: Session, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many objectives each configuration is attached to."""
    rows = session.execute(
        sa.select(ObjectiveLink.configuration_id, sa.func.count())
        .where(ObjectiveLink.configuration_id.in_(list(ids)))
        .group_by(ObjectiveLink.configuration_id)
    )
    return {configuration_id: count for configuration_id, count in rows}


def per_day(
    session: Session, configuration_id: uuid.UUID, first: date
) -> dict[tuple[date, State], int]:
    """(UTC day, state) → how many were settled on it, or recorded on it and still wait."""
    since = datetime.combine(first, time_of_day(), UTC)
    counts: dict[tuple[date, State], int] = {}
    settled = sa.and_(
        Delivery.settled_at >= since,
        Delivery.state.in_((State.DELIVERED, State.REJECTED, State.NOT_SENT)),
    )
    waiting = sa.and_(Delivery.state == State.PENDING, Delivery.recorded_at >= since)
    for moment, which in ((Delivery.settled_at, settled), (Delivery.recorded_at, waiting)):
        day = utc_day(moment)
        rows = session.execute(
            sa.select(day, Delivery.state, sa.func.count())
            .where(Delivery.configuration_id == configuration_id, which)
            .group_by(day, Delivery.state)
        )
        for found, state, count in rows:
            key = found if isinstance(found, date) else date.fromisoformat(found)
            counts[key, state] = count
    return counts
