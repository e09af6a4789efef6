"""Deliveries: listed, counted, sent again, checked again and cancelled; however many, in chunks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import defer

from ..errors import NotFound
from ..models import Attempt, Configuration, Delivery, State
from ..state import State as AppState
from . import bulk, checking
from .audit import By, Slice
from .bulk import Progress
from .change import as_id
from .checking import CheckedAgain
from .exact import exactly
from .filters import Conditions, Filters, conditions

__all__ = ["CheckedAgain", "Deliveries", "Filters", "Progress", "Slice"]

#: Rows in memory while all are walked; results built anew in one transaction.
_CHUNK = 1000
_FEW = 100
#: Rows that a search looks at for its first slice, and for further ones.
_FIRST_WINDOW = 30_000
_NEXT_WINDOW = 300_000
_ANY = Filters()
#: An attempt starts at most so long before its deliveries are settled.
_LONGEST_REQUEST = timedelta(minutes=5)
_MOST_ATTEMPTS = 200


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

        A part of a participant's name or ID is looked for in the newest rows first: see
        :attr:`Slice.searched_to`.

        :param before: ``next`` of the slice before.
        """
        found = conditions(self._state.session(), filters, self._organization_id)
        if not found.scanned:
            rows = self._newest(found.all, before, None, limit + 1)
            return self._slice(rows, limit)
        # Looking at a million rows takes seconds: a window at a time, wider when one asks on.
        wide = _FIRST_WINDOW if before is None else _NEXT_WINDOW
        end = self._end_of_window(found, before, wide)
        rows = self._newest(found.all, before, end, limit + 1)
        if end is None or len(rows) > limit:
            return self._slice(rows, limit)
        seen = self._state.session.get(Delivery, end)
        return Slice(
            items=rows,
            next=end,
            searched_to=seen.recorded_at if seen else None,
        )

    def _end_of_window(
        self, found: Conditions, before: uuid.UUID | None, wide: int
    ) -> uuid.UUID | None:
        """The id at which a window of ``wide`` rows ends; None: all fit into it."""
        query = sa.select(Delivery.id).where(*found.indexed).order_by(Delivery.id.desc())
        if before is not None:
            query = query.where(Delivery.id < before)
        last: uuid.UUID | None = self._state.session.scalar(query.offset(wide - 1).limit(1))
        return last

    def _newest(
        self,
        where: Sequence[sa.ColumnElement[bool]],
        before: uuid.UUID | None,
        end: uuid.UUID | None,
        limit: int,
    ) -> Sequence[Delivery]:
        query = sa.select(Delivery).where(*where).order_by(Delivery.id.desc()).limit(limit)
        if before is not None:
            query = query.where(Delivery.id < before)
        if end is not None:
            query = query.where(Delivery.id >= end)
        return self._state.session.scalars(query).all()

    def _slice(self, rows: Sequence[Delivery], limit: int) -> Slice[Delivery]:
        shown = rows[:limit]
        following = shown[-1].id if len(rows) > limit else None
        return Slice(items=shown, next=following)

    def iterate(self, filters: Filters = _ANY) -> Iterator[Delivery]:
        """All of them, newest first, a chunk in memory at a time; without statement and result."""
        last: uuid.UUID | None = None
        slim = (defer(Delivery.statement), defer(Delivery.result))
        while True:
            query = self._query(filters).options(*slim).order_by(Delivery.id.desc())
            if last is not None:
                query = query.where(Delivery.id < last)
            rows: Sequence[Delivery] = self._state.session.scalars(query.limit(_CHUNK)).all()
            yield from rows
            if len(rows) < _CHUNK:
                return
            last = rows[-1].id

    def get(self, delivery_id: uuid.UUID | str) -> Delivery:
        """One delivery.

        :raises NotFound: there is none of that id in this organization.
        """
        query = sa.select(Delivery).where(Delivery.id == as_id(delivery_id))
        if self._organization_id is not None:
            query = query.where(exactly(Delivery.organization_id, self._organization_id))
        found = self._state.session.scalar(query)
        if found is None:
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
        newest = query.order_by(Attempt.started_at.desc(), Attempt.id.desc()).limit(_MOST_ATTEMPTS)
        return self._state.session.scalars(newest).all()[::-1]

    def count(self, filters: Filters = _ANY) -> int:
        """How many match."""
        query = self._query(filters).with_only_columns(sa.func.count())
        return self._state.session.scalar(query) or 0

    def count_sendable(self, filters: Filters = _ANY) -> int:
        """How many :meth:`send_again` would send."""
        return bulk.count(self._state, self._organization_id, bulk.SEND_AGAIN, filters)

    def count_checkable(self, filters: Filters = _ANY) -> int:
        """How many :meth:`check_again` would look at."""
        return bulk.count(self._state, self._organization_id, bulk.CHECK_AGAIN, filters)

    def count_cancellable(self, filters: Filters = _ANY) -> int:
        """How many :meth:`cancel` would cancel."""
        return bulk.count(self._state, self._organization_id, bulk.CANCEL, filters)

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

        :param on_progress: called with how many are done so far.
        :returns: how many wait now.
        """
        return self._run(bulk.SEND_AGAIN, filters, by, on_progress)

    def cancel(self, filters: Filters, by: By = None, on_progress: Progress | None = None) -> int:
        """Never send those that wait or can't be sent.

        :returns: how many were cancelled.
        """
        return self._run(bulk.CANCEL, filters, by, on_progress)

    def check_again(
        self, filters: Filters, by: By = None, on_progress: Progress | None = None
    ) -> CheckedAgain:
        """Look whether those not sent can be sent now, with the participant as the host knows
        them now.
        """
        act = bulk.CHECK_AGAIN
        total = CheckedAgain()
        for owner in self._owners(act, filters):
            here = CheckedAgain()
            for ids in bulk.chunks(self._state, owner, act, filters, _FEW):
                here += checking.check_again(self._state, ids)
                if on_progress:
                    on_progress((total + here).checked)
            if here.checked:
                bulk.note(self._state, owner, act, filters, asdict(here), by)
            total += here
        return total

    # -- parts ---------------------------------------------------------------------------------

    def _run(self, act: bulk.Act, filters: Filters, by: By, on_progress: Progress | None) -> int:
        total = 0
        for owner in self._owners(act, filters):
            before = total

            def show(done: int, before: int = before) -> None:
                if on_progress:
                    on_progress(before + done)

            total += bulk.run(self._state, owner, act, filters, by, show)
        return total

    def _owners(self, act: bulk.Act, filters: Filters) -> Sequence[str]:
        if self._organization_id is not None:
            return [self._organization_id]
        return bulk.organizations(self._state, act, filters)

    def _query(self, filters: Filters) -> sa.Select[Any]:
        found = conditions(self._state.session(), filters, self._organization_id)
        return sa.select(Delivery).where(*found.all)

    def _configuration_ids(self) -> sa.Select[Any]:
        assert self._organization_id is not None
        ours = exactly(Configuration.organization_id, self._organization_id)
        return sa.select(Configuration.id).where(ours)
