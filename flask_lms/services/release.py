"""What was not sent because nobody knew who it was about, sent once its participant is mapped."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from ..app_state import AppState
from ..audit import Change, change
from ..database.models import Delivery, DeliveryState, ParticipantMapping
from ..database.types import by_id, exactly
from . import deliveries
from .steps import STEP, TaskStep, Work

#: A host's transaction that records results is open for so long at most.
LONGEST_TRANSACTION = timedelta(minutes=15)
#: So young a mapping may have been committed after a result that was built later.
_JUST_MAPPED = timedelta(seconds=90)


def unidentified(state: AppState, organization_id: str) -> sa.ColumnElement[bool]:
    """Those of an organization that were not sent because nobody knew who they are about."""
    return sa.and_(
        exactly(Delivery.organization_id, organization_id),
        Delivery.state == DeliveryState.NOT_SENT,
        Delivery.reason.in_(state.registry.unidentified()),
    )


def mapped_since(organization_id: str, since: datetime) -> sa.ColumnElement[bool]:
    """The mappings of an organization that were made or changed since then."""
    return sa.and_(
        exactly(ParticipantMapping.organization_id, organization_id),
        # MariaDB keeps no fractions of a second.
        ParticipantMapping.mapped_at >= since.replace(microsecond=0),
        ParticipantMapping.forgotten_at.is_(None),
    )


def waiting(
    state: AppState, organization_id: str, participant_ids: Sequence[str]
) -> list[uuid.UUID]:
    """Their deliveries that a mapping may release, oldest first; an index finds them.

    :param participant_ids: at most some hundred.
    """
    query = sa.select(Delivery.id, Delivery.participant_id).where(
        unidentified(state, organization_id), Delivery.participant_id.in_(participant_ids)
    )
    named = set(participant_ids)  # by the letter
    return sorted(row.id for row in state.session.execute(query) if row.participant_id in named)


def steps_of_release(state: AppState, work: Work) -> Iterator[TaskStep]:
    """The steps of a task that sends what waited for those mapped since a time."""
    is_new = mapped_since(work.organization_id, datetime.fromisoformat(work.asked["mapped_since"]))
    query = sa.select(ParticipantMapping.participant_id).where(is_new)
    at: dict[str, Any] = {"mapping": None, "delivery": None, **work.position}
    if at["mapping"]:
        query = query.where(ParticipantMapping.id > uuid.UUID(at["mapping"]))
    done = work.done
    for rows in by_id(state.session, query, ParticipantMapping.id, STEP):
        ids = waiting(state, work.organization_id, [row[0] for row in rows])
        if at["delivery"]:  # a worker was at these before
            ids = [one for one in ids if one > uuid.UUID(at["delivery"])]
        for start in range(0, len(ids), STEP):
            part = ids[start : start + STEP]
            done += len(part)
            at = {**at, "delivery": part[-1].hex}
            yield TaskStep(do=partial(_release, state, part), done=done, position=at)
        at = {"mapping": rows[-1][-1].hex, "delivery": None}


def release_missed(state: AppState, now: datetime) -> int:
    """Send what was being recorded while its participant was mapped: neither saw the other.

    Commits; called by the ticker, each minute.

    :returns: how many were looked at, at most 200.
    """
    missed = (
        sa.select(Delivery.id, Delivery.organization_id)
        .join(
            ParticipantMapping,
            sa.and_(
                ParticipantMapping.organization_id == Delivery.organization_id,
                ParticipantMapping.participant_id == Delivery.participant_id,
            ),
        )
        .where(
            ParticipantMapping.mapped_at >= now - LONGEST_TRANSACTION,
            ParticipantMapping.forgotten_at.is_(None),
            Delivery.state == DeliveryState.NOT_SENT,
            Delivery.reason.in_(state.registry.unidentified()),
            # Not built since.
            sa.or_(
                Delivery.due_at <= ParticipantMapping.mapped_at,
                ParticipantMapping.mapped_at > now - _JUST_MAPPED,
            ),
        )
        .order_by(Delivery.id)
        .limit(STEP)
    )
    by_owner: dict[str, list[uuid.UUID]] = {}
    for id, owner in state.session.execute(missed):
        by_owner.setdefault(owner, []).append(id)
    state.session.rollback()
    for owner, of_owner in by_owner.items():
        with change(state) as made:
            done = deliveries.build_anew(state, of_owner, made)
            if done.queued:
                made.note("released", None, {"queued": done.queued}, organization_id=owner)
    return sum(map(len, by_owner.values()))


def _release(state: AppState, ids: Sequence[uuid.UUID], made: Change) -> dict[str, int]:
    return asdict(deliveries.build_anew(state, ids, made))
