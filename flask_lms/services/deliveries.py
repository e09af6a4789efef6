"""Deliveries: listed, counted, sent again, checked again and cancelled; however many, in chunks.

Which ones is said by keywords (:class:`DeliveryFilter`); they become conditions that the indices of
``lms_delivery`` answer.
"""

from __future__ import annotations

import enum
import json
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, TypedDict, cast

import sqlalchemy as sa
from sqlalchemy.orm import defer
from sqlalchemy.sql.elements import ColumnElement

from ..app_state import AppState
from ..audit import By, Change, Slice, as_id, change
from ..connectors.base import Statement
from ..database.models import (
    SKELETON,
    Attempt,
    Configuration,
    Delivery,
    DeliveryState,
    ReadBack,
)
from ..database.types import UTC, by_id, exactly, new_id, update
from ..delivery.decide import NOT_VERIFIED
from ..errors import NotFound
from ..recording import record
from . import participants, waiting
from .participants import Forgotten
from .steps import TaskStep, Work

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack

#: Called with how many are done so far.
Progress = Callable[[int], None]

#: Rows in memory while all are walked, and changed in one transaction.
CHUNK = 1000
#: Results built anew in one transaction.
_FEW = 200
#: Rows that a search looks at for its first slice, and for further ones.
_FIRST_WINDOW = 30_000
_NEXT_WINDOW = 300_000
#: An attempt starts at most so long before its deliveries are settled.
_LONGEST_REQUEST = timedelta(minutes=5)
_MOST_ATTEMPTS = 200
#: Ids tell the time of the host that made them; its clock may differ so much from the database's.
_SKEW = timedelta(hours=1)
#: Of these a skeleton may stay.
_FORGOTTEN = (DeliveryState.DELIVERED, DeliveryState.CANCELLED)
#: What waits for somebody.
ATTENTION = (DeliveryState.REJECTED, DeliveryState.NOT_SENT)
#: Counted up to so many while somebody waits.
MOST_COUNTED = 1_000
#: So many configurations are counted one by one.
_ONE_BY_ONE = 20
_WITH_REASON = (DeliveryState.REJECTED, DeliveryState.NOT_SENT, DeliveryState.CANCELLED)


class DeliveryFilter(TypedDict, total=False):
    """Which deliveries. What is left out, None or an empty text means any; an empty list of ``ids``
    or ``states`` means none.
    """

    #: Only these.
    ids: Sequence[uuid.UUID | str] | None
    #: Of this configuration.
    configuration_id: uuid.UUID | str | None
    #: One state, such as ``"rejected"``, or several.
    state: DeliveryState | str | None
    #: Any of these states.
    states: Sequence[DeliveryState | str] | None
    #: Of this objective.
    objective_id: str | None
    #: Of this participant.
    participant_id: str | None
    #: A participant's id, or a part of an id or name; or the id of a result or statement.
    search: str | None
    #: A code, such as ``no_email``.
    reason: str | None
    #: What its LMS had of it when it was asked again, such as ``"missing"``.
    read_back: ReadBack | str | None
    #: Recorded at this time or later, aware.
    since: datetime | None
    #: Recorded before this time, aware.
    until: datetime | None
    #: Settled on this UTC day, or recorded on it and still waiting: a bar of the chart.
    day: date | None


def _said(which: Mapping[str, Any], *, needed: bool = False) -> DeliveryFilter:
    """The filters that were given.

    :raises TypeError: there is no such filter; or none was given, but one is needed.
    """
    unknown = which.keys() - DeliveryFilter.__annotations__.keys()
    if unknown:
        raise TypeError(f"there is no filter {', '.join(sorted(unknown))}")
    said = {name: value for name, value in which.items() if value is not None and value != ""}
    if needed and not said:
        raise TypeError("say which deliveries, such as configuration_id=… or state=…")
    return cast(DeliveryFilter, said)


def _states(said: DeliveryFilter) -> list[DeliveryState] | None:
    """None: any."""
    if "state" not in said and "states" not in said:
        return None
    chosen = [*(said.get("states") or ()), *([said["state"]] if said.get("state") else ())]
    return [DeliveryState(state) for state in chosen]


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


@dataclass(frozen=True, kw_only=True)
class Segments:
    """How many are in each part of a list, each counted up to :data:`MOST_COUNTED`; one more stands
    for more.

    :param attention: rejected and not sent.
    :param waiting: to be sent.
    :param sent: delivered.
    :param superseded: the LMS has newer ones in their place.
    :param cancelled: by somebody, or with their configuration.
    :param total: all of them.
    :param reasons: of those that need attention, by code, the most frequent first.
    """

    attention: int
    waiting: int
    sent: int
    superseded: int
    cancelled: int
    total: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Act:
    """What is done to which deliveries.

    :param action: for the history, past tense.
    :param states: those it is for.
    :param where: what else must hold.
    :param values: the new values of their columns.
    :param wakes: workers are woken then.
    """

    action: str
    states: tuple[DeliveryState, ...]
    where: tuple[sa.ColumnElement[bool], ...] = ()
    values: Callable[[Change], dict[str, Any]] = lambda made: {}
    wakes: bool = False


SEND_AGAIN = Act(
    action="sent_again",
    states=(DeliveryState.REJECTED, DeliveryState.CANCELLED, DeliveryState.DELIVERED),
    where=(
        Delivery.statement.is_not(None),
        sa.exists().where(
            Configuration.id == Delivery.configuration_id, Configuration.deleted_at.is_(None)
        ),
    ),
    values=lambda made: {
        "state": DeliveryState.PENDING,
        "due_at": made.now,
        "refusals": 0,
        "reason": None,
        "reason_words": None,
        "settled_at": None,
        "settled_by": None,
        "read_back": None,
        "read_back_at": None,
        "read_back_facts": sa.null(),
    },
    wakes=True,
)
CANCEL = Act(
    action="cancelled",
    states=(DeliveryState.PENDING, DeliveryState.NOT_SENT),
    values=lambda made: {
        "state": DeliveryState.CANCELLED,
        "settled_at": made.now,
        "settled_by": made.by_name,
    },
)
CHECK_AGAIN = Act(action="checked_again", states=(DeliveryState.NOT_SENT,))


@dataclass(frozen=True, kw_only=True)
class CheckedAgain:
    """What became of results that were not sent.

    :param queued: they wait to be sent now.
    :param still_not_sent: they have the reason that holds now.
    :param not_wanted: the configuration doesn't want such results any more.
    """

    queued: int = 0
    still_not_sent: int = 0
    not_wanted: int = 0

    @property
    def checked(self) -> int:
        """How many were looked at."""
        return self.queued + self.still_not_sent + self.not_wanted

    def __add__(self, other: CheckedAgain) -> CheckedAgain:
        return CheckedAgain(
            queued=self.queued + other.queued,
            still_not_sent=self.still_not_sent + other.still_not_sent,
            not_wanted=self.not_wanted + other.not_wanted,
        )


class Deliveries:
    """The deliveries of an organization, or of all.

    Which ones: the keywords of :class:`DeliveryFilter`, in every call alike.

    :param organization_id: None: of all organizations. With it, another organization's ids raise
        :class:`NotFound` or match nothing.
    """

    def __init__(self, state: AppState, organization_id: str | None = None) -> None:
        self._state = state
        self._organization_id = organization_id

    # -- one participant ---------------------------------------------------------------------------

    def forget(self, organization_id: str, participant_id: str, by: By = None) -> Forgotten:
        """Erase a participant: what waits is cancelled, and no row tells of them any more.

        The same results, handed in once more, are not recorded again.

        :param by: who acts, for the history, which doesn't name the participant.
        """
        self._check_owner(organization_id)
        return participants.forget(self._state, organization_id, participant_id, by)

    def export(self, organization_id: str, participant_id: str) -> dict[str, Any]:
        """All that is kept of a participant, as JSON values."""
        self._check_owner(organization_id)
        return participants.export(self._state, organization_id, participant_id)

    def _check_owner(self, organization_id: str) -> None:
        if self._organization_id not in (None, organization_id):
            raise NotFound("There is no such organization.")

    # -- reading -------------------------------------------------------------------------------

    def list(
        self,
        *,
        before: uuid.UUID | None = None,
        limit: int = 50,
        **which: Unpack[DeliveryFilter],
    ) -> Slice[Delivery]:
        """Deliveries, newest first.

        A part of a participant's name or id is looked for in the newest rows first: see
        :attr:`Slice.searched_to`.

        :param before: ``next`` of the slice before.
        """
        session, found = self._state.session, self._conditions(_said(which))
        end: uuid.UUID | None = None
        if found.scanned:
            # Looking at a million rows takes seconds: a window at a time, wider when one asks on.
            wide = _FIRST_WINDOW if before is None else _NEXT_WINDOW
            window = sa.select(Delivery.id).where(*found.indexed).order_by(Delivery.id.desc())
            if before is not None:
                window = window.where(Delivery.id < before)
            end = session.scalar(window.offset(wide - 1).limit(1))
        query = sa.select(Delivery).where(*found.all).order_by(Delivery.id.desc())
        if before is not None:
            query = query.where(Delivery.id < before)
        if end is not None:
            query = query.where(Delivery.id >= end)
        rows = session.scalars(query.limit(limit + 1)).all()
        if len(rows) > limit:
            return Slice(items=rows[:limit], next=rows[limit - 1].id)
        if end is None:
            return Slice(items=rows)
        seen = session.get(Delivery, end)
        return Slice(items=rows, next=end, searched_to=seen.recorded_at if seen else None)

    def iterate(self, **which: Unpack[DeliveryFilter]) -> Iterator[Delivery]:
        """All of them, newest first, a chunk in memory at a time; without statement and result."""
        slim = (defer(Delivery.statement), defer(Delivery.result))
        query = sa.select(Delivery).where(*self._conditions(_said(which)).all).options(*slim)
        for rows in by_id(self._state.session, query, Delivery.id, CHUNK, newest_first=True):
            yield from (row[0] for row in rows)

    def get(self, delivery_id: uuid.UUID | str) -> Delivery:
        """One delivery.

        :raises NotFound: there is none of that id in this organization.
        """
        query = sa.select(Delivery).where(
            Delivery.id == as_id(delivery_id), Delivery.participant_id != SKELETON
        )
        if self._organization_id is not None:
            query = query.where(exactly(Delivery.organization_id, self._organization_id))
        found = self._state.session.scalar(query)
        if found is None:
            raise NotFound("There is no such delivery.")
        return found

    def attempts(self, delivery: Delivery) -> Sequence[Attempt]:
        """The requests that carried it, oldest first; at most the last 200.

        :param delivery: a row that :meth:`get` or :meth:`list` returned.
        """
        query = sa.select(Attempt).where(
            Attempt.configuration_id == delivery.configuration_id,
            Attempt.started_at >= delivery.recorded_at - _LONGEST_REQUEST,
            Attempt.delivery_ids.contains(delivery.id.hex),
        )
        if delivery.settled_at is not None:
            query = query.where(Attempt.started_at <= delivery.settled_at + _LONGEST_REQUEST)
        newest = query.order_by(Attempt.started_at.desc(), Attempt.id.desc()).limit(_MOST_ATTEMPTS)
        return self._state.session.scalars(newest).all()[::-1]

    def count(self, **which: Unpack[DeliveryFilter]) -> int:
        """How many match."""
        found = self._conditions(_said(which))
        query = sa.select(sa.func.count()).select_from(Delivery).where(*found.all)
        return self._state.session.scalar(query) or 0

    def count_sendable(self, **which: Unpack[DeliveryFilter]) -> int:
        """How many :meth:`send_again` would send."""
        return self._count(SEND_AGAIN, which)

    def count_checkable(self, **which: Unpack[DeliveryFilter]) -> int:
        """How many :meth:`check_again` would look at."""
        return self._count(CHECK_AGAIN, which)

    def count_cancellable(self, **which: Unpack[DeliveryFilter]) -> int:
        """How many :meth:`cancel` would cancel."""
        return self._count(CANCEL, which)

    def counts(self, configuration_id: uuid.UUID | str | None = None) -> dict[DeliveryState, int]:
        """How many are in each state, zeros included.

        :param configuration_id: of this one only.
        """
        query = (
            sa.select(Delivery.state, sa.func.count())
            .where(Delivery.participant_id != SKELETON)
            .group_by(Delivery.state)
        )
        if configuration_id is not None:
            query = query.where(Delivery.configuration_id == as_id(configuration_id))
        if self._organization_id is not None:
            ours = exactly(Configuration.organization_id, self._organization_id)
            query = query.where(
                Delivery.configuration_id.in_(sa.select(Configuration.id).where(ours))
            )
        found = {state: count for state, count in self._state.session.execute(query)}
        return {state: found.get(state, 0) for state in DeliveryState}

    def segments(
        self, configuration_ids: Sequence[uuid.UUID], **which: Unpack[DeliveryFilter]
    ) -> Segments:
        """What there is of each state, and why; two queries, quick however many there are.

        :param configuration_ids: those of the organization: with them an index knows the states.
        :param which: ``state``, ``states`` and ``reason`` are left out of account.
        """
        said = _said({**which, "state": None, "states": None, "reason": None})
        # One configuration and one state at a time: of several, PostgreSQL may read all rows.
        groups = [[one] for one in configuration_ids]
        if len(groups) > _ONE_BY_ONE:
            groups = [list(configuration_ids)]

        def some(column: Any, states: Sequence[DeliveryState]) -> list[tuple[str, sa.Subquery]]:
            return [
                (
                    state.value,
                    sa.select(column.label("it"))
                    .where(
                        Delivery.configuration_id.in_(ids)
                        if len(ids) > 1
                        else Delivery.configuration_id == ids[0],
                        *self._conditions(said, [state]).all,
                    )
                    .order_by(Delivery.id.desc())
                    .limit(MOST_COUNTED + 1)
                    .subquery(),
                )
                for state in states
                for ids in groups
            ]

        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        if groups:
            parts = [
                sa.select(sa.literal(state).label("state"), sa.func.count().label("n")).select_from(
                    rows
                )
                for state, rows in some(Delivery.id, list(DeliveryState))
            ]
            for state, n in self._counted(parts):
                counts[state] += n
        attention = sum(counts[state.value] for state in ATTENTION)
        if attention:
            parts = [
                sa.select(rows.c.it, sa.func.count().label("n")).group_by(rows.c.it)
                for _, rows in some(Delivery.reason, ATTENTION)
            ]
            for reason, n in self._counted(parts):
                if reason:
                    reasons[reason] += n
        return Segments(
            attention=attention,
            waiting=counts["pending"],
            sent=counts["delivered"],
            superseded=counts["superseded"],
            cancelled=counts["cancelled"],
            total=sum(counts.values()),
            reasons=dict(reasons.most_common()),
        )

    def _counted(self, parts: Sequence[sa.Select[str, int]]) -> sa.Result[str, int]:
        """The rows of all of them; a union doesn't tell by itself in which database they are."""
        of_ours = {"mapper": sa.inspect(Delivery)}
        return self._state.session.execute(sa.union_all(*parts), bind_arguments=of_ours)

    # -- changing ------------------------------------------------------------------------------

    def send_again(
        self,
        *,
        by: By = None,
        on_progress: Progress | None = None,
        **which: Unpack[DeliveryFilter],
    ) -> int:
        """Send the same bytes again, now: rejected, cancelled and sent ones whose content is kept.

        An LMS that has a statement already keeps that one.

        :param by: the administrator who acts, a name, or None for automatic.
        :param on_progress: called with how many are done so far.
        :returns: how many wait now.
        :raises TypeError: no filter was given: that would be all.
        """
        return self._run(SEND_AGAIN, which, by, on_progress)

    def cancel(
        self,
        *,
        by: By = None,
        on_progress: Progress | None = None,
        **which: Unpack[DeliveryFilter],
    ) -> int:
        """Never send those that wait or can't be sent.

        :param by: the administrator who acts, a name, or None for automatic.
        :param on_progress: called with how many are done so far.
        :returns: how many were cancelled.
        :raises TypeError: no filter was given: that would be all.
        """
        return self._run(CANCEL, which, by, on_progress)

    def check_again(
        self,
        *,
        by: By = None,
        on_progress: Progress | None = None,
        **which: Unpack[DeliveryFilter],
    ) -> CheckedAgain:
        """Look whether those not sent can be sent now, with the participant as the host knows
        them now.

        :param by: the administrator who acts, a name, or None for automatic.
        :param on_progress: called with how many are done so far.
        :raises TypeError: no filter was given: that would be all.
        """
        act, said, total = CHECK_AGAIN, _said(which, needed=True), CheckedAgain()
        for owner in self._owners(act, said):
            here = CheckedAgain()
            for ids in self._chunks(owner, act, said, _FEW):
                with change(self._state) as made:
                    here += build_anew(self._state, ids, made)
                if on_progress:
                    on_progress((total + here).checked)
            if here.checked:
                with change(self._state, by) as made:
                    _note(made, owner, act, said, asdict(here))
            total += here
        return total

    # -- which ---------------------------------------------------------------------------------

    def _conditions(
        self,
        said: DeliveryFilter,
        states: Sequence[DeliveryState] | None = None,
        owner: str | None = None,
    ) -> Conditions:
        """The filters within one organization, or all.

        :param states: in place of those said.
        :raises NotFound: an id has not the form of one.
        """
        owner = self._organization_id if owner is None else owner
        states = _states(said) if states is None else states
        found: list[ColumnElement[bool]] = []
        scanned: list[ColumnElement[bool]] = []
        if owner is not None:
            found.append(exactly(Delivery.organization_id, owner))
        ids, configuration_id = said.get("ids"), said.get("configuration_id")
        if ids is not None:
            found.append(Delivery.id.in_([as_id(one) for one in ids]))
        if configuration_id:
            found.append(Delivery.configuration_id == as_id(configuration_id))
        if objective_id := said.get("objective_id"):
            found.append(exactly(Delivery.objective_id, objective_id))
        if participant_id := said.get("participant_id"):
            found.append(exactly(Delivery.participant_id, participant_id))
        reason = said.get("reason")
        if reason == NOT_VERIFIED:
            scanned.append(Delivery.reason == reason)
            states = (DeliveryState.DELIVERED,) if states is None else states
        elif reason:
            # An index finds these states, which are few beside those sent.
            found.append(Delivery.reason == reason)
            states = _WITH_REASON if states is None else states
        if read_back := said.get("read_back"):
            scanned.append(Delivery.read_back == ReadBack(read_back))
            states = (DeliveryState.DELIVERED,) if states is None else states
        if states is not None:
            found.append(Delivery.state.in_(states))
        if states is None or not set(states).isdisjoint(_FORGOTTEN):
            found.append(Delivery.participant_id != SKELETON)
        if part := (said.get("search") or "").strip():
            # The very id of somebody or something: then an index finds the rows.
            mine = [] if owner is None else [exactly(Delivery.organization_id, owner)]
            very = [exactly(Delivery.participant_id, part), exactly(Delivery.result_id, part)]
            with suppress(ValueError):
                of_owner = sa.select(Configuration.id)
                if owner is not None:
                    of_owner = of_owner.where(exactly(Configuration.organization_id, owner))
                known = Delivery.statement_id == uuid.UUID(part)
                very.append(sa.and_(Delivery.configuration_id.in_(of_owner), known))
            for one in very:
                query = sa.select(Delivery.id).where(one, *mine).limit(1)
                if self._state.session.scalar(query) is not None:
                    found.append(one)
                    break
            else:
                scanned.append(
                    sa.or_(
                        Delivery.participant_id.icontains(part, autoescape=True),
                        Delivery.participant_name.icontains(part, autoescape=True),
                    )
                )
        if since := said.get("since"):
            found += [Delivery.recorded_at >= since, Delivery.id >= _first_id(since)]
        if day := said.get("day"):
            start = datetime.combine(day, time(), UTC)
            end = start + timedelta(days=1)
            settled = sa.and_(
                Delivery.settled_at >= start,
                Delivery.settled_at < end,
                Delivery.state.in_((DeliveryState.DELIVERED, *ATTENTION)),
            )
            waits = sa.and_(
                Delivery.state == DeliveryState.PENDING,
                Delivery.recorded_at >= start,
                Delivery.recorded_at < end,
            )
            found += [sa.or_(settled, waits), Delivery.id < _first_id(end + 2 * _SKEW)]
        if until := said.get("until"):
            last = _first_id(until + 2 * _SKEW)
            found += [Delivery.recorded_at < until, Delivery.id < last]
        return Conditions(indexed=found, scanned=scanned)

    def _matching(self, act: Act, said: DeliveryFilter, owner: str | None = None) -> sa.Select[Any]:
        """Those that an act is done to."""
        wanted = _states(said)
        states = [state for state in act.states if wanted is None or state in wanted]
        found = self._conditions(said, states, owner)
        return sa.select(Delivery).where(*found.all, *act.where)

    def _count(self, act: Act, which: Mapping[str, Any]) -> int:
        query = self._matching(act, _said(which)).with_only_columns(sa.func.count())
        return self._state.session.scalar(query) or 0

    def _owners(self, act: Act, said: DeliveryFilter) -> Sequence[str]:
        """The organizations whose deliveries match: each finds the act in its own history."""
        if self._organization_id is not None:
            return [self._organization_id]
        return sorted(self._counts_by_owner(act, said))

    def _counts_by_owner(self, act: Act, said: DeliveryFilter) -> Counter[str]:
        # With the configuration, so that ids which differ in case only stay two.
        columns = Delivery.organization_id, Delivery.configuration_id
        query = self._matching(act, said).with_only_columns(*columns, sa.func.count())
        counts: Counter[str] = Counter()
        for owner, _, count in self._state.session.execute(query.group_by(*columns)):
            counts[owner] += count
        return counts

    def _last(self, owner: str, act: Act, said: DeliveryFilter) -> uuid.UUID | None:
        """The newest that matches: what is recorded after it is left alone."""
        matching = self._matching(act, said, owner)
        found: uuid.UUID | None = self._state.session.scalar(
            matching.with_only_columns(sa.func.max(Delivery.id))
        )
        return found

    def _chunks(
        self,
        owner: str,
        act: Act,
        said: DeliveryFilter,
        size: int,
        *,
        after: uuid.UUID | None = None,
        last: uuid.UUID | None = None,
    ) -> Iterator[Sequence[uuid.UUID]]:
        """The ids that match, oldest first, up to the last one."""
        last = last or self._last(owner, act, said)
        if last is not None:
            ids = self._matching(act, said, owner).with_only_columns(Delivery.id)
            ids = ids.where(Delivery.id <= last)
            if after is not None:
                ids = ids.where(Delivery.id > after)
            for rows in by_id(self._state.session, ids, Delivery.id, size):
                yield [row[0] for row in rows]

    # -- acts ----------------------------------------------------------------------------------

    def _run(self, act: Act, which: Mapping[str, Any], by: By, on_progress: Progress | None) -> int:
        """A chunk, an UPDATE and a commit at a time, so that a million of them hold no lock; then
        the history tells how far it came, even when it was broken off.
        """
        session, said, total = self._state.session, _said(which, needed=True), 0
        for owner in self._owners(act, said):
            changed = 0
            touched: set[uuid.UUID] = set()
            try:
                for ids in self._chunks(owner, act, said, CHUNK):
                    made = Change(self._state, by)
                    rows = _do(act, ids, made)
                    session.commit()
                    touched |= made.to_wake
                    changed += rows
                    if on_progress:
                        on_progress(total + changed)
            finally:
                session.rollback()
                if changed:
                    session.expire_all()
                    with change(self._state, by) as made:
                        _note(made, owner, act, said, {"deliveries": changed})
                if touched:
                    self._state.wake.now(touched)
            total += changed
        return total


#: (configuration, statement) → the delivery that has it.
_Holders = dict[tuple[uuid.UUID, uuid.UUID], uuid.UUID]


def build_anew(state: AppState, ids: Sequence[uuid.UUID], made: Change) -> CheckedAgain:
    """Build these anew, in the transaction of the change; those settled meanwhile stay as they
    are. The same few statements, however many they are.
    """
    queued = still = not_wanted = 0
    rows = made.session.scalars(
        sa.select(Delivery)
        .where(
            Delivery.id.in_(ids),
            Delivery.state == DeliveryState.NOT_SENT,
            Delivery.configuration_id.in_(
                sa.select(Configuration.id).where(Configuration.deleted_at.is_(None))
            ),
        )
        .order_by(Delivery.id)
        # Somebody else may build them at the same time, and they may be sent by then.
        .with_for_update()
    ).all()
    if not rows:
        return CheckedAgain()
    now_built = record.rebuild(state, rows)
    statements = [one.id for built in now_built.values() if built for one in built.statements]
    holders: _Holders = {}
    for start in range(0, len(statements), CHUNK):
        taken = sa.select(Delivery.configuration_id, Delivery.statement_id, Delivery.id).where(
            Delivery.configuration_id.in_({one.configuration_id for one in rows}),
            Delivery.statement_id.in_(statements[start : start + CHUNK]),
        )
        holders |= {(row[0], row[1]): row[2] for row in made.session.execute(taken)}
    for delivery in rows:
        built = now_built[delivery.id]
        if delivery.statement is None and (built is None or built.not_sendable):
            delivery.due_at = made.now  # when it was looked at
        if delivery.statement is not None:  # it waited for an event: see whether it came
            queued += 1
            for name, value in waiting.AGAIN.items():
                setattr(delivery, name, value)
            made.to_wake.add(delivery.configuration_id)
        elif built is None:
            still += 1
        elif built.statements:
            queued += 1
            _queue(delivery, built.statements, holders, made)
            made.to_wake.add(delivery.configuration_id)
        elif built.not_sendable:
            still += 1
            delivery.reason = built.not_sendable.reason
            delivery.reason_words = json.dumps(dict(built.not_sendable.facts))
        else:  # the configuration doesn't want such results any more
            not_wanted += 1
            delivery.state, delivery.settled_at = DeliveryState.CANCELLED, made.now
            delivery.reason, delivery.reason_words = "not_wanted", None
            delivery.result = None
    return CheckedAgain(queued=queued, still_not_sent=still, not_wanted=not_wanted)


def _do(act: Act, ids: Sequence[uuid.UUID], made: Change) -> int:
    """An act on these, in the transaction of the change; returns to how many."""
    these = sa.and_(Delivery.id.in_(ids), Delivery.state.in_(act.states))
    if act.wakes:
        of = sa.select(Delivery.configuration_id).where(these).distinct()
        made.to_wake.update(made.session.scalars(of))
    return update(made.session, sa.update(Delivery).where(these).values(**act.values(made)))


def _note(
    made: Change, owner: str, act: Act, said: DeliveryFilter, facts: Mapping[str, Any]
) -> None:
    """One audit row: about the chosen configuration, else about the organization."""
    changes, about = dict(facts), None
    for name, value in said.items():
        if name == "configuration_id":
            about = made.session.get(Configuration, as_id(str(value)))
            if about is not None and about.organization_id != owner:
                about = None
        elif name == "ids":
            changes["filter_ids"] = len(said["ids"] or ())
        elif name not in ("state", "states"):
            changes[f"filter_{name}"] = str(value.value if isinstance(value, ReadBack) else value)
    states = _states(said)
    if states and set(states) != set(DeliveryState):
        changes["filter_states"] = [state.value for state in states]
    made.note(act.action, about, changes, organization_id=owner)


# -- as the steps of a task ------------------------------------------------------------------------

#: By the name of the task.
ACTS: Mapping[str, Act] = MappingProxyType(
    {"send_again": SEND_AGAIN, "check_again": CHECK_AGAIN, "cancel": CANCEL}
)


def counts_by_organization(
    state: AppState, organization_id: str | None, act: str, which: DeliveryFilter
) -> Mapping[str, int]:
    """Whose deliveries match, and how many: each organization has a task of its own.

    :param organization_id: None: all organizations.
    """
    return Deliveries(state, organization_id)._counts_by_owner(ACTS[act], _said(which))


def asked_of(
    state: AppState, organization_id: str, act: str, which: DeliveryFilter
) -> dict[str, Any]:
    """What a task is asked: the filters as JSON, and the newest row that they match now."""
    said = _said(which, needed=True)
    last = Deliveries(state, organization_id)._last(organization_id, ACTS[act], said)

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return str(value.value if isinstance(value, enum.Enum) else value)

    return {
        "which": {name: plain(value) for name, value in said.items()},
        "last": last and last.hex,
    }


def _said_by(work: Work) -> DeliveryFilter:
    said = dict(work.asked["which"])
    for name in ("since", "until"):
        if name in said:
            said[name] = datetime.fromisoformat(said[name])
    if "day" in said:
        said["day"] = date.fromisoformat(said["day"])
    return _said(said)


def steps_of_act(state: AppState, work: Work) -> Iterator[TaskStep]:
    """The steps of a task that sends again, checks again or cancels."""
    if work.asked["last"] is None:
        return
    act, service = ACTS[work.act], Deliveries(state, work.organization_id)
    size = _FEW if act is CHECK_AGAIN else CHUNK

    def do(ids: Sequence[uuid.UUID], made: Change) -> dict[str, int]:
        if act is CHECK_AGAIN:
            return asdict(build_anew(state, ids, made))
        return {"deliveries": _do(act, ids, made)}

    after, done = work.position.get("after"), work.done
    for ids in service._chunks(
        work.organization_id,
        act,
        _said_by(work),
        size,
        after=after and uuid.UUID(after),
        last=uuid.UUID(work.asked["last"]),
    ):
        done += len(ids)
        yield TaskStep(do=partial(do, ids), done=done, position={"after": ids[-1].hex})


def note_of_act(state: AppState, work: Work, made: Change) -> None:
    """What the history says of such a task in the end."""
    _note(made, work.organization_id, ACTS[work.act], _said_by(work), work.counts)


def _first_id(moment: datetime) -> uuid.UUID:
    """No id made after ``moment`` is less than this one (RFC 9562, version 7)."""
    milliseconds = max(int((moment - _SKEW).timestamp() * 1000), 0)
    return uuid.UUID(int=(milliseconds & (2**48 - 1)) << 80)


def _queue(
    delivery: Delivery, statements: Sequence[Statement], holders: _Holders, made: Change
) -> None:
    """The row becomes the first statement; its further ones get rows of their own."""
    owner = delivery.configuration_id
    own = [one for one in statements if holders.get((owner, one.id), delivery.id) == delivery.id]
    main = next((one for one in own if one.id == delivery.statement_id), None)
    main = main or next(iter(own), None)
    for statement in own:
        values = record.waiting(statement, made.now)
        holders[owner, statement.id] = delivery.id
        if statement is main:
            for name, value in values.items():
                setattr(delivery, name, value)
        else:
            of = {name: getattr(delivery, name) for name in record.OF_THE_RESULT}
            made.session.add(Delivery(id=new_id(), **of, **values))
    if main is None:  # all of them are there already, recorded meanwhile
        delivery.state, delivery.settled_at = DeliveryState.CANCELLED, made.now
        delivery.reason, delivery.result = "duplicate", None
