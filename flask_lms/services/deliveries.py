"""Deliveries: listed, counted, sent again, checked again and cancelled; however many, in chunks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import defer

from ..errors import NotFound
from ..models import Attempt, Configuration, Delivery, State
from ..state import State as AppState
from . import checking
from .audit import By, Slice, tell
from .change import Change, as_id
from .checking import CheckedAgain
from .filters import Filters, conditions

__all__ = ["CheckedAgain", "Deliveries", "Filters", "Progress", "Slice"]

#: Called with how many are done so far.
Progress = Callable[[int], None]

_CHUNK = 1000
_ANY = Filters()
#: An attempt starts at most so long before its deliveries are settled.
_LONGEST_REQUEST = timedelta(minutes=5)
_MOST_ATTEMPTS = 200

_SENDABLE = (State.REJECTED, State.CANCELLED, State.DELIVERED)
_CANCELLABLE = (State.PENDING, State.NOT_SENT)


class Deliveries:
    """The deliveries of an organization, or of all.

    :param organization_id: None: of all organizations. With it, another organization's ids raise
        :class:`NotFound` or match nothing.
    """

    def __init__(self, state: AppState, organization_id: str | None = None) -> None:
        self._state = state
        self._organization_id = organization_id

    # -- reading -------------------------------------------------------------------------------

    def list(
        self, filters: Filters = _ANY, *, before: uuid.UUID | None = None, limit: int = 50
    ) -> Slice[Delivery]:
        """Deliveries, newest first.

        :param before: ``next`` of the slice before.
        """
        query = self._query(filters).order_by(Delivery.id.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(Delivery.id < before)
        rows: Sequence[Delivery] = self._state.session.scalars(query).all()
        shown = rows[:limit]
        following = shown[-1].id if len(rows) > limit else None
        return Slice(items=[row for row in shown if self._is_ours(row)], next=following)

    def iterate(self, filters: Filters = _ANY) -> Iterator[Delivery]:
        """All of them, newest first, a chunk in memory at a time; without statement and result."""
        last: uuid.UUID | None = None
        slim = (defer(Delivery.statement), defer(Delivery.result))
        while True:
            query = self._query(filters).options(*slim).order_by(Delivery.id.desc())
            if last is not None:
                query = query.where(Delivery.id < last)
            rows: Sequence[Delivery] = self._state.session.scalars(query.limit(_CHUNK)).all()
            yield from (row for row in rows if self._is_ours(row))
            if len(rows) < _CHUNK:
                return
            last = rows[-1].id

    def get(self, delivery_id: uuid.UUID | str) -> Delivery:
        """One delivery.

        :raises NotFound: there is none of that id in this organization.
        """
        query = sa.select(Delivery).where(Delivery.id == as_id(delivery_id))
        if self._organization_id is not None:
            query = query.where(Delivery.organization_id == self._organization_id)
        found = self._state.session.scalar(query)
        if found is None or not self._is_ours(found):
            raise NotFound("There is no such delivery.")
        return found

    def attempts(self, delivery: Delivery) -> Sequence[Attempt]:
        """The requests that carried it, oldest first; at most the last 200."""
        query = sa.select(Attempt).where(
            Attempt.configuration_id == delivery.configuration_id,
            Attempt.started_at >= delivery.recorded_at - _LONGEST_REQUEST,
            Attempt.delivery_ids.contains(delivery.id.hex),
        )
        if delivery.settled_at is not None:
            query = query.where(Attempt.started_at <= delivery.settled_at + _LONGEST_REQUEST)
        newest = query.order_by(Attempt.started_at.desc()).limit(_MOST_ATTEMPTS)
        return self._state.session.scalars(newest).all()[::-1]

    def count(self, filters: Filters = _ANY) -> int:
        """How many match."""
        query = self._query(filters).with_only_columns(sa.func.count())
        return self._state.session.scalar(query) or 0

    def count_sendable(self, filters: Filters = _ANY) -> int:
        """How many :meth:`send_again` would send."""
        found = _narrow(filters, _SENDABLE)
        return 0 if found is None else self._count(found, Delivery.statement.is_not(None))

    def count_checkable(self, filters: Filters = _ANY) -> int:
        """How many :meth:`check_again` would look at."""
        found = _narrow(filters, (State.NOT_SENT,))
        return 0 if found is None else self._count(found)

    def count_cancellable(self, filters: Filters = _ANY) -> int:
        """How many :meth:`cancel` would cancel."""
        found = _narrow(filters, _CANCELLABLE)
        return 0 if found is None else self._count(found)

    def counts(self, configuration_id: uuid.UUID | str | None = None) -> dict[State, int]:
        """How many are in each state, zeros included."""
        query = sa.select(Delivery.state, sa.func.count()).group_by(Delivery.state)
        if configuration_id is not None:
            query = query.where(Delivery.configuration_id == as_id(configuration_id))
        if self._organization_id is not None:
            query = query.where(Delivery.configuration_id.in_(self._configuration_ids()))
        found = {state: count for state, count in self._state.session.execute(query)}
        return {state: found.get(state, 0) for state in State}

    # -- changing ------------------------------------------------------------------------------

    def send_again(
        self, filters: Filters, by: By = None, on_progress: Progress | None = None
    ) -> int:
        """Send the same bytes again, now: rejected, cancelled and sent ones whose content is kept.

        An LMS that has a statement already keeps that one.

        :returns: how many wait now.
        """
        found = _narrow(filters, _SENDABLE)
        if found is None:
            return 0
        if self._organization_id is None:
            return sum(one.send_again(found, by, on_progress) for one in self._each(found))
        living = sa.exists().where(
            Configuration.id == Delivery.configuration_id, Configuration.deleted_at.is_(None)
        )

        def values(made: Change) -> dict[str, Any]:
            return {
                "state": State.PENDING,
                "due_at": made.now,
                "refusals": 0,
                "reason": None,
                "reason_words": None,
                "settled_at": None,
                "settled_by": None,
            }

        extra = (Delivery.statement.is_not(None), living)
        return self._change_all("sent_again", found, extra, values, by, on_progress, rings=True)

    def check_again(
        self, filters: Filters, by: By = None, on_progress: Progress | None = None
    ) -> CheckedAgain:
        """Look whether those not sent can be sent now, with the participant as the host knows
        them now.
        """
        found = _narrow(filters, (State.NOT_SENT,))
        queued = still = 0
        if found is not None and self._organization_id is None:
            for one in self._each(found):
                part = one.check_again(found, by, on_progress)
                queued, still = queued + part.queued, still + part.still_not_sent
        elif found is not None:
            for ids in self._chunks(found, (), size=100):
                done = checking.check_again(self._state, ids)
                queued, still = queued + done.queued, still + done.still_not_sent
                if on_progress:
                    on_progress(queued + still)
            facts = {"queued": queued, "still_not_sent": still}
            self._note("checked_again", found, facts, by)
        return CheckedAgain(queued=queued, still_not_sent=still)

    def cancel(self, filters: Filters, by: By = None, on_progress: Progress | None = None) -> int:
        """Never send those that wait or can't be sent.

        :returns: how many were cancelled.
        """
        found = _narrow(filters, _CANCELLABLE)
        if found is None:
            return 0
        if self._organization_id is None:
            return sum(one.cancel(found, by, on_progress) for one in self._each(found))

        def values(made: Change) -> dict[str, Any]:
            return {
                "state": State.CANCELLED,
                "settled_at": made.now,
                "settled_by": made.by_name,
            }

        return self._change_all("cancelled", found, (), values, by, on_progress)

    # -- parts ---------------------------------------------------------------------------------

    def _each(self, filters: Filters) -> Iterator[Deliveries]:
        """The same limited to each organization concerned, so that each finds it in its history."""
        query = self._query(filters).with_only_columns(Delivery.organization_id).distinct()
        for organization_id in self._state.session.scalars(query).all():
            yield Deliveries(self._state, organization_id)

    def _is_ours(self, delivery: Delivery) -> bool:
        # Some databases compare strings without regard to case.
        return self._organization_id in (None, delivery.organization_id)

    def _query(self, filters: Filters) -> sa.Select[Any]:
        found = conditions(self._state.session(), filters, self._organization_id)
        return sa.select(Delivery).where(*found)

    def _count(self, filters: Filters, *extra: sa.ColumnElement[bool]) -> int:
        query = self._query(filters).where(*extra).with_only_columns(sa.func.count())
        return self._state.session.scalar(query) or 0

    def _configuration_ids(self) -> Sequence[uuid.UUID]:
        rows = self._state.session.execute(
            sa.select(Configuration.id, Configuration.organization_id).where(
                Configuration.organization_id == self._organization_id
            )
        )
        return [id for id, organization_id in rows if organization_id == self._organization_id]

    def _chunks(
        self, filters: Filters, extra: Sequence[sa.ColumnElement[bool]], size: int = _CHUNK
    ) -> Iterator[Sequence[uuid.UUID]]:
        """The ids that match now, oldest first; what is recorded meanwhile is left alone."""
        last = uuid.UUID(int=0)
        matching = self._query(filters).where(*extra)
        end = self._state.session.scalar(matching.with_only_columns(sa.func.max(Delivery.id)))
        while end is not None:
            query = matching.with_only_columns(Delivery.id, Delivery.organization_id).where(
                Delivery.id > last, Delivery.id <= end
            )
            rows = self._state.session.execute(query.order_by(Delivery.id).limit(size)).all()
            if not rows:
                return
            last = rows[-1].id
            yield [row.id for row in rows if self._organization_id in (None, row.organization_id)]

    def _change_all(
        self,
        action: str,
        filters: Filters,
        extra: Sequence[sa.ColumnElement[bool]],
        values: Callable[[Change], dict[str, Any]],
        by: By,
        on_progress: Progress | None,
        *,
        rings: bool = False,
    ) -> int:
        """One UPDATE and commit a chunk, so that a million doesn't hold a lock; then the audit
        tells how far it came, even when it was broken off.
        """
        changed = 0
        touched: set[uuid.UUID] = set()
        session = self._state.session
        try:
            for ids in self._chunks(filters, extra):
                made = Change(self._state, by)
                these = sa.and_(Delivery.id.in_(ids), Delivery.state.in_(filters.states))
                if rings:
                    touched.update(
                        session.scalars(
                            sa.select(Delivery.configuration_id).where(these).distinct()
                        )
                    )
                result = session.execute(
                    sa.update(Delivery)
                    .where(these)
                    .values(**values(made))
                    .execution_options(synchronize_session=False)
                )
                session.commit()
                changed += result.rowcount  # type: ignore[attr-defined]
                if on_progress:
                    on_progress(changed)
        finally:
            session.rollback()
            if changed:
                self._note(action, filters, {"deliveries": changed}, by)
                session.expire_all()
        if touched:
            self._state.ring(touched)
        return changed

    def _note(self, action: str, filters: Filters, facts: dict[str, Any], by: By) -> None:
        """One audit row: about the chosen configuration, else about the organization."""
        made = Change(self._state, by)
        configuration = None
        if filters.configuration_id:
            configuration = made.session.get(Configuration, as_id(filters.configuration_id))
        chosen = {f"filter_{key}": value for key, value in filters.described().items()}
        chosen.pop("filter_configuration_id", None)
        made.note(action, configuration, {**facts, **chosen}, organization_id=self._organization_id)
        made.session.commit()
        tell(self._state)


def _narrow(filters: Filters, allowed: Sequence[State]) -> Filters | None:
    """The filters limited to states an act is for; None: nothing can match."""
    wanted = [State(state) for state in filters.states]
    states = tuple(state for state in allowed if not wanted or state in wanted)
    return replace(filters, states=states) if states else None
