"""Telling the installation's own faults (its DNS, its proxy, its network) from a destination's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..connectors import Cause, Verdict
from ..models import Attempt, Configuration
from ..state import State

_WINDOW = timedelta(minutes=2)
_DESTINATIONS = 3
_ROWS = 1000


def fails_alike(evidence: Iterable[tuple[str, str | None]], cause: str) -> bool:
    """Whether at least three destinations were tried and every request failed with this cause.

    :param evidence: destination and cause (None: it answered) of each request of late. Pure.
    """
    tried = set()
    for destination, found in evidence:
        if found != cause:
            return False
        tried.add(destination)
    return len(tried) >= _DESTINATIONS


def is_own_fault(state: State, session: Session, cause: Cause, now: datetime) -> bool:
    """Look at all requests of the last two minutes; the one being settled is among them."""
    rows = session.execute(
        sa.select(Attempt.verdict, Attempt.cause, Configuration.type, Configuration.settings)
        .join(Configuration, Configuration.id == Attempt.configuration_id)
        .where(Attempt.started_at >= now - _WINDOW)
        .order_by(Attempt.started_at.desc())
        .limit(_ROWS)
    ).all()
    evidence = []
    for verdict, found, type, settings in rows:
        connector = state.registry.get(type)
        destination = connector.destination(settings) if connector else type
        evidence.append((destination, found if verdict == Verdict.FAILED.value else None))
    return fails_alike(evidence, cause.code)
