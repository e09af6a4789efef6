"""Who changed what, when, from → to. Rows are added in the transaction of the change they tell of,
and hosts hear of them (``events.audit_event``) once that is committed.

``changes`` of a row maps a field to

- ``[from, to]`` for a value that was changed,
- ``"replaced"`` for a secret, whose values are never written,
- a plain number or text for a fact, such as ``{"deliveries": 412}``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session, scoped_session

from . import events
from .app_state import AppState
from .database.models import Audit, Configuration
from .database.types import exactly
from .errors import NotFound
from .events import AuditEvent, StatusChanged
from .values import Administrator

T = TypeVar("T")

#: Whoever acts: an administrator, a name such as "operator", or None for automatic.
By = Administrator | str | None

_UNTOLD = "lms_untold_audit"


@dataclass(frozen=True, kw_only=True)
class Slice(Generic[T]):
    """A part of a list, newest first.

    :param items: this part.
    :param next: pass it as ``before`` for the next slice; None: there is none.
    :param searched_to: set when the search stopped before it had a full slice, to stay quick:
        everything since this time was looked at, older ones from ``next`` on were not.
    """

    items: Sequence[T]
    next: uuid.UUID | None = None
    searched_to: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AuditFilters:
    """Which audit rows; None: any.

    :param since: aware; inclusive. :param until: aware; exclusive.
    """

    configuration_id: uuid.UUID | str | None = None
    actions: Sequence[str] = field(default=())
    administrator: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def name_of(by: By) -> str | None:
    """What people call whoever acted; None: automatic."""
    if by is None:
        return None
    return (by if isinstance(by, str) else by.name or by.email or by.id)[:255]


def write(
    session: Session | scoped_session[Session],
    *,
    organization_id: str,
    action: str,
    at: datetime,
    by: By = None,
    configuration: Configuration | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Audit:
    """Add a row to the transaction of ``session``; call :func:`tell` after its commit.

    :param action: past tense, such as ``created``.
    :param at: aware UTC.
    :param changes: see the top of this module; never a secret's value.
    """
    row = Audit(
        organization_id=organization_id,
        configuration_id=None if configuration is None else configuration.id,
        subject=None if configuration is None else configuration.name,
        at=at,
        administrator_id=by.id if isinstance(by, Administrator) else None,
        administrator_name=name_of(by),
        action=action,
        changes=dict(changes or {}),
    )
    session.add(row)
    event = AuditEvent(
        organization_id=organization_id,
        configuration_id=row.configuration_id,
        administrator_id=row.administrator_id,
        action=action,
        at=at,
        changes=row.changes,
    )
    session.info.setdefault(_UNTOLD, []).append((row, event))
    return row


def amend(session: Session | scoped_session[Session], row: Audit, **facts: Any) -> None:
    """Add facts to a row that is written already, before the host is told of it."""
    row.changes = {**row.changes, **facts}
    session.info[_UNTOLD] = [
        (one, replace(event, changes=row.changes) if one is row else event)
        for one, event in session.info.get(_UNTOLD, ())
    ]


def tell(state: AppState) -> None:
    """Tell the host of the rows written in this session and committed since the last call."""
    for row, event in state.session.info.pop(_UNTOLD, ()):
        # A row that was rolled back is transient again.
        if sa.inspect(row).persistent:
            events.tell(events.audit_event, state.app, event)


def status_changed(session: Session, configuration: Configuration, event: StatusChanged) -> None:
    """Note an automatic change of a configuration's status, in the transaction that changes it."""
    changes: dict[str, Any] = {"status": [event.old, event.new]}
    if event.cause:
        changes["cause"] = event.cause
    write(
        session,
        organization_id=event.organization_id,
        action="status_changed",
        at=event.at,
        configuration=configuration,
        changes=changes,
    )


class Audits:
    """The history of an organization, to be read only.

    :param organization_id: None: of all organizations.
    """

    def __init__(self, state: AppState, organization_id: str | None = None) -> None:
        self._state = state
        self._organization_id = organization_id

    def list(
        self,
        filters: AuditFilters = AuditFilters(),
        *,
        before: uuid.UUID | None = None,
        limit: int = 50,
    ) -> Slice[Audit]:
        """Rows, newest first.

        :param before: ``next`` of the slice before.
        """
        query = sa.select(Audit).order_by(Audit.id.desc()).limit(limit + 1)
        if self._organization_id is not None:
            query = query.where(exactly(Audit.organization_id, self._organization_id))
        if filters.configuration_id is not None:
            try:
                wanted = uuid.UUID(str(filters.configuration_id))
            except ValueError:
                return Slice(items=())
            query = query.where(Audit.configuration_id == wanted)
        if filters.actions:
            query = query.where(Audit.action.in_(filters.actions))
        if filters.administrator:
            query = query.where(
                sa.or_(
                    Audit.administrator_id == filters.administrator,
                    Audit.administrator_name == filters.administrator,
                )
            )
        if filters.since is not None:
            query = query.where(Audit.at >= filters.since)
        if filters.until is not None:
            query = query.where(Audit.at < filters.until)
        if before is not None:
            query = query.where(Audit.id < before)
        rows = self._state.session.scalars(query).all()
        shown = rows[:limit]
        following = shown[-1].id if len(rows) > limit else None
        return Slice(
            items=shown,
            next=following,
        )


# -- One change made by a service: one transaction, and after its commit those who must hear of
# it.


class Change:
    """A change in progress. Make one with :func:`change`."""

    def __init__(self, state: AppState, by: By) -> None:
        self.session = state.session()
        self.now = state.clock.now(self.session)
        self.by = by
        self.by_name = name_of(by)
        self.to_wake: set[uuid.UUID] = set()
        self.status_events: list[StatusChanged] = []

    def note(
        self,
        action: str,
        configuration: Configuration | None = None,
        changes: Mapping[str, Any] | None = None,
        *,
        organization_id: str | None = None,
    ) -> None:
        """Write an audit row about a configuration, or about an organization."""
        owner = organization_id if configuration is None else configuration.organization_id
        assert owner is not None
        write(
            self.session,
            organization_id=owner,
            action=action,
            at=self.now,
            by=self.by,
            configuration=configuration,
            changes=changes,
        )


@contextmanager
def change(state: AppState, by: By = None) -> Iterator[Change]:
    """Commit at the end and then tell the host and wake workers; an error rolls back."""
    try:
        made = Change(state, by)
        yield made
        made.session.commit()
    except BaseException:
        state.session.rollback()
        raise
    tell(state)
    for event in made.status_events:
        events.tell(events.configuration_status_changed, state.app, event)
    if made.to_wake:
        state.wake.now(made.to_wake)


def as_id(value: uuid.UUID | str) -> uuid.UUID:
    """An id from a URL or from code.

    :raises NotFound: it has not the form of an id, so nothing has it.
    """
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise NotFound("There is no such id.") from None
