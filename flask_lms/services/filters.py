"""Which deliveries: what people choose on the pages and commands, as conditions that the indices
of ``lms_delivery`` answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from ..models import Delivery, State
from .change import as_id
from .exact import exactly

#: Ids tell the time of the host that made them; its clock may differ so much from the database's.
_SKEW = timedelta(hours=1)
_WITH_REASON = (State.REJECTED, State.NOT_SENT, State.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which deliveries; what is left out means any.

    :param ids: only these.
    :param participant: an exact participant ID, or a part of an ID or name.
    :param reason: a code, such as ``no_email``.
    :param since: recorded at this time or later, aware. :param until: recorded before it.
    """

    ids: Sequence[uuid.UUID | str] = field(default=())
    configuration_id: uuid.UUID | str | None = None
    states: Sequence[State] = field(default=())
    objective_id: str | None = None
    participant: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def described(self) -> dict[str, Any]:
        """Those given, as JSON values for the audit."""
        found: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value in (None, "", ()) or (item.name == "ids" and not value):
                continue
            if item.name == "ids":
                value = len(value)
            elif item.name == "states":
                value = [State(state).value for state in value]
            found[item.name] = value if isinstance(value, int | list) else str(value)
        return found


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The filters as parts of a WHERE clause.

    :param indexed: an index finds what matches these.
    :param scanned: each row must be looked at for these; empty: there are none.
    """

    indexed: Sequence[ColumnElement[bool]]
    scanned: Sequence[ColumnElement[bool]] = field(default=())

    @property
    def all(self) -> Sequence[ColumnElement[bool]]:
        return [*self.indexed, *self.scanned]


def conditions(session: Session, filters: Filters, organization_id: str | None) -> Conditions:
    """The filters of one organization, or of all with None.

    :raises NotFound: an id has not the form of one.
    """
    found: list[ColumnElement[bool]] = []
    scanned: list[ColumnElement[bool]] = []
    states = [State(state) for state in filters.states]
    if organization_id is not None:
        found.append(exactly(Delivery.organization_id, organization_id))
    if filters.ids:
        found.append(Delivery.id.in_([as_id(one) for one in filters.ids]))
    if filters.configuration_id:
        found.append(Delivery.configuration_id == as_id(filters.configuration_id))
    if filters.objective_id:
        found.append(exactly(Delivery.objective_id, filters.objective_id))
    if filters.reason:
        # An index finds these states, which are few beside those sent.
        found.append(Delivery.reason == filters.reason)
        states = states or list(_WITH_REASON)
    if states:
        found.append(Delivery.state.in_(states))
    if filters.participant:
        wanted = filters.participant.strip()
        if _is_participant(session, wanted, organization_id):
            found.append(exactly(Delivery.participant_id, wanted))
        else:
            scanned.append(_part_of_participant(wanted))
    if filters.since is not None:
        found += [Delivery.recorded_at >= filters.since, Delivery.id >= _first_id(filters.since)]
    if filters.until is not None:
        last = _first_id(filters.until + 2 * _SKEW)
        found += [Delivery.recorded_at < filters.until, Delivery.id < last]
    return Conditions(indexed=found, scanned=scanned)


def _is_participant(session: Session, wanted: str, organization_id: str | None) -> bool:
    """Whether that is somebody's ID: then an index finds the rows."""
    query = sa.select(Delivery.id).where(exactly(Delivery.participant_id, wanted)).limit(1)
    if organization_id is not None:
        query = query.where(exactly(Delivery.organization_id, organization_id))
    return session.scalar(query) is not None


def _part_of_participant(wanted: str) -> ColumnElement[bool]:
    return sa.or_(
        Delivery.participant_id.icontains(wanted, autoescape=True),
        Delivery.participant_name.icontains(wanted, autoescape=True),
    )


def _first_id(moment: datetime) -> uuid.UUID:
    """No id made after ``moment`` is less than this one (RFC 9562, version 7)."""
    milliseconds = max(int((moment - _SKEW).timestamp() * 1000), 0)
    return uuid.UUID(int=(milliseconds & (2**48 - 1)) << 80)
