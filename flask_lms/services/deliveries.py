"""Which deliveries: what people choose on the pages and commands, as conditions that the indices
of ``lms_delivery`` answer.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer
from sqlalchemy.sql.elements import ColumnElement

from ..app_state import AppState
from ..audit import By, Change, Slice, as_id, change, tell
from ..connectors.base import Statement
from ..database.models import SKELETON, Attempt, Configuration, Delivery, DeliveryState
from ..database.types import exactly, new_id
from ..errors import InvalidValue, NotFound
from ..recording import record

#: Ids tell the time of the host that made them; its clock may differ so much from the database's.
_SKEW = timedelta(hours=1)
#: Of these a skeleton may stay.
_FORGOTTEN = (DeliveryState.DELIVERED, DeliveryState.CANCELLED)
_WITH_REASON = (DeliveryState.REJECTED, DeliveryState.NOT_SENT, DeliveryState.CANCELLED)


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
    states: Sequence[DeliveryState] = field(default=())
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
                value = [DeliveryState(state).value for state in value]
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
    states = [DeliveryState(state) for state in filters.states]
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
    if not states or not {*states}.isdisjoint(_FORGOTTEN):
        found.append(Delivery.participant_id != SKELETON)
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


# -- One act on many deliveries: a chunk, an UPDATE and a commit at a time, so that a million of
# them hold no lock; then the history tells how far it came, even when it was broken off.

#: Called with how many are done so far.
Progress = Callable[[int], None]

CHUNK = 1000


@dataclass(frozen=True, kw_only=True)
class Act:
    """What is done to which deliveries.

    :param action: for the history, past tense.
    :param states: those it is for.
    :param where: what else must hold.
    :param values: the new values of their columns.
    :param rings: workers are woken then.
    """

    action: str
    states: tuple[DeliveryState, ...]
    where: tuple[sa.ColumnElement[bool], ...] = ()
    values: Callable[[Change], dict[str, Any]] = lambda made: {}
    rings: bool = False

    def narrow(self, filters: Filters) -> Filters | None:
        """The filters limited to the act's states; None: nothing can match."""
        wanted = [DeliveryState(state) for state in filters.states]
        states = tuple(state for state in self.states if not wanted or state in wanted)
        return replace(filters, states=states) if states else None


def _due_now(made: Change) -> dict[str, Any]:
    return {
        "state": DeliveryState.PENDING,
        "due_at": made.now,
        "refusals": 0,
        "reason": None,
        "reason_words": None,
        "settled_at": None,
        "settled_by": None,
    }


def _given_up(made: Change) -> dict[str, Any]:
    return {"state": DeliveryState.CANCELLED, "settled_at": made.now, "settled_by": made.by_name}


SEND_AGAIN = Act(
    action="sent_again",
    states=(DeliveryState.REJECTED, DeliveryState.CANCELLED, DeliveryState.DELIVERED),
    where=(
        Delivery.statement.is_not(None),
        sa.exists().where(
            Configuration.id == Delivery.configuration_id, Configuration.deleted_at.is_(None)
        ),
    ),
    values=_due_now,
    rings=True,
)
CANCEL = Act(
    action="cancelled", states=(DeliveryState.PENDING, DeliveryState.NOT_SENT), values=_given_up
)
CHECK_AGAIN = Act(action="checked_again", states=(DeliveryState.NOT_SENT,))


def count(state: AppState, organization_id: str | None, act: Act, filters: Filters) -> int:
    """How many deliveries an act would be done to."""
    found = act.narrow(filters)
    if found is None:
        return 0
    query = _matching(state, organization_id, act, found).with_only_columns(sa.func.count())
    return state.session.scalar(query) or 0


def chunks(
    state: AppState,
    organization_id: str,
    act: Act,
    filters: Filters,
    size: int | None = None,
) -> Iterator[Sequence[uuid.UUID]]:
    """The ids that match now, oldest first; what is recorded meanwhile is left alone."""
    found = act.narrow(filters)
    if found is None:
        return
    matching = _matching(state, organization_id, act, found)
    end = state.session.scalar(matching.with_only_columns(sa.func.max(Delivery.id)))
    last = uuid.UUID(int=0)
    while end is not None:
        query = matching.with_only_columns(Delivery.id).where(
            Delivery.id > last, Delivery.id <= end
        )
        rows = state.session.execute(query.order_by(Delivery.id).limit(size or CHUNK)).all()
        if not rows:
            return
        last = rows[-1].id
        yield [row.id for row in rows]


def run(
    state: AppState,
    organization_id: str,
    act: Act,
    filters: Filters,
    by: By,
    on_progress: Progress | None,
) -> int:
    """Do it; returns to how many."""
    changed = 0
    touched: set[uuid.UUID] = set()
    session = state.session
    try:
        for ids in chunks(state, organization_id, act, filters):
            made = Change(state, by)
            these = sa.and_(Delivery.id.in_(ids), Delivery.state.in_(act.states))
            if act.rings:
                touched.update(
                    session.scalars(sa.select(Delivery.configuration_id).where(these).distinct())
                )
            result = session.execute(
                sa.update(Delivery)
                .where(these)
                .values(**act.values(made))
                .execution_options(synchronize_session=False)
            )
            session.commit()
            changed += result.rowcount  # type: ignore[attr-defined]
            if on_progress:
                on_progress(changed)
    finally:
        session.rollback()
        if changed:
            session.expire_all()
            note(state, organization_id, act, filters, {"deliveries": changed}, by)
        if touched:
            state.wake.now(touched)
    return changed


def note(
    state: AppState,
    organization_id: str,
    act: Act,
    filters: Filters,
    facts: dict[str, Any],
    by: By,
) -> None:
    """One audit row: about the chosen configuration, else about the organization."""
    made = Change(state, by)
    about = None
    if filters.configuration_id:
        about = made.session.get(Configuration, as_id(filters.configuration_id))
        if about is not None and about.organization_id != organization_id:
            about = None
    chosen = filters.described()
    chosen.pop("configuration_id", None)
    changes = {**facts, **{f"filter_{name}": value for name, value in chosen.items()}}
    made.note(act.action, about, changes, organization_id=organization_id)
    made.session.commit()
    tell(state)


def organizations(state: AppState, act: Act, filters: Filters) -> Sequence[str]:
    """Those whose deliveries match, so that each finds the act in its own history."""
    found = act.narrow(filters)
    if found is None:
        return []
    # With the configuration, so that ids which differ in case only stay two.
    query = _matching(state, None, act, found).with_only_columns(
        Delivery.organization_id, Delivery.configuration_id
    )
    return sorted({row.organization_id for row in state.session.execute(query.distinct())})


def _matching(
    state: AppState, organization_id: str | None, act: Act, filters: Filters
) -> sa.Select[Any]:
    found = conditions(state.session(), filters, organization_id)
    return sa.select(Delivery).where(*found.all, *act.where)


# -- Looking again at results that could not be sent: the host may have corrected them
# meanwhile.


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
        return self.queued + self.still_not_sent + self.not_wanted

    def __add__(self, other: CheckedAgain) -> CheckedAgain:
        return CheckedAgain(
            queued=self.queued + other.queued,
            still_not_sent=self.still_not_sent + other.still_not_sent,
            not_wanted=self.not_wanted + other.not_wanted,
        )


def check_again(state: AppState, ids: Sequence[uuid.UUID]) -> CheckedAgain:
    """Build these deliveries anew and commit; those settled meanwhile stay as they are."""
    queued = still = not_wanted = 0
    with change(state) as made:
        rows = made.session.scalars(
            sa.select(Delivery)
            .join(Configuration, Configuration.id == Delivery.configuration_id)
            .where(
                Delivery.id.in_(ids),
                Delivery.state == DeliveryState.NOT_SENT,
                Configuration.deleted_at.is_(None),
            )
            .order_by(Delivery.id)
        ).all()
        for delivery in rows:
            try:
                built = record.rebuild(state, delivery)
            except InvalidValue:
                still += 1
                continue
            if built.statements:
                queued += 1
                _queue(delivery, built.statements, made)
                made.to_ring.add(delivery.configuration_id)
            elif built.not_sendable:
                still += 1
                delivery.reason = built.not_sendable.reason
                delivery.reason_words = json.dumps(dict(built.not_sendable.facts))
            else:
                not_wanted += 1
                _leave_out(delivery, made)
    return CheckedAgain(queued=queued, still_not_sent=still, not_wanted=not_wanted)


def _queue(delivery: Delivery, statements: Sequence[Statement], made: Change) -> None:
    """The row becomes the first statement; its further ones get rows of their own."""
    present = set(
        made.session.scalars(
            sa.select(Delivery.statement_id).where(
                Delivery.configuration_id == delivery.configuration_id,
                Delivery.statement_id.in_([one.id for one in statements]),
                Delivery.id != delivery.id,
            )
        )
    )
    main = next((one for one in statements if one.id == delivery.statement_id), None)
    main = main or next((one for one in statements if one.id not in present), None)
    for statement in statements:
        if statement is main:
            _fill(delivery, statement, made)
        elif statement.id not in present:
            made.session.add(_fill(_sibling(delivery), statement, made))
    if main is None:  # all of them are there already, recorded meanwhile
        delivery.state, delivery.settled_at = DeliveryState.CANCELLED, made.now
        delivery.reason = "duplicate"
    delivery.result = None


def _fill(delivery: Delivery, statement: Statement, made: Change) -> Delivery:
    delivery.statement_id, delivery.kind = statement.id, statement.kind
    delivery.statement, delivery.size = statement.text, len(statement.text.encode())
    delivery.is_single = statement.is_single
    delivery.state, delivery.due_at = DeliveryState.PENDING, made.now
    delivery.reason = delivery.reason_words = delivery.settled_at = delivery.settled_by = None
    return delivery


def _sibling(delivery: Delivery) -> Delivery:
    copied = (
        "organization_id",
        "configuration_id",
        "objective_id",
        "objective_name",
        "participant_id",
        "participant_name",
        "result_id",
        "revision",
        "recorded_at",
    )
    return Delivery(id=new_id(), **{name: getattr(delivery, name) for name in copied})


def _leave_out(delivery: Delivery, made: Change) -> None:
    """The configuration doesn't want such results any more."""
    delivery.state, delivery.settled_at = DeliveryState.CANCELLED, made.now
    delivery.reason, delivery.reason_words, delivery.result = "not_wanted", None, None


# -- Deliveries: listed, counted, sent again, checked again and cancelled; however many, in
# chunks.


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
        return count(self._state, self._organization_id, SEND_AGAIN, filters)

    def count_checkable(self, filters: Filters = _ANY) -> int:
        """How many :meth:`check_again` would look at."""
        return count(self._state, self._organization_id, CHECK_AGAIN, filters)

    def count_cancellable(self, filters: Filters = _ANY) -> int:
        """How many :meth:`cancel` would cancel."""
        return count(self._state, self._organization_id, CANCEL, filters)

    def counts(self, configuration_id: uuid.UUID | str | None = None) -> dict[DeliveryState, int]:
        """How many are in each state, zeros included."""
        query = (
            sa.select(Delivery.state, sa.func.count())
            .where(Delivery.participant_id != SKELETON)
            .group_by(Delivery.state)
        )
        if configuration_id is not None:
            query = query.where(Delivery.configuration_id == as_id(configuration_id))
        if self._organization_id is not None:
            query = query.where(Delivery.configuration_id.in_(self._configuration_ids()))
        found = {state: count for state, count in self._state.session.execute(query)}
        return {state: found.get(state, 0) for state in DeliveryState}

    # -- changing ------------------------------------------------------------------------------

    def send_again(
        self, filters: Filters, by: By = None, on_progress: Progress | None = None
    ) -> int:
        """Send the same bytes again, now: rejected, cancelled and sent ones whose content is kept.

        An LMS that has a statement already keeps that one.

        :param on_progress: called with how many are done so far.
        :returns: how many wait now.
        """
        return self._run(SEND_AGAIN, filters, by, on_progress)

    def cancel(self, filters: Filters, by: By = None, on_progress: Progress | None = None) -> int:
        """Never send those that wait or can't be sent.

        :returns: how many were cancelled.
        """
        return self._run(CANCEL, filters, by, on_progress)

    def check_again(
        self, filters: Filters, by: By = None, on_progress: Progress | None = None
    ) -> CheckedAgain:
        """Look whether those not sent can be sent now, with the participant as the host knows
        them now.
        """
        act = CHECK_AGAIN
        total = CheckedAgain()
        for owner in self._owners(act, filters):
            here = CheckedAgain()
            for ids in chunks(self._state, owner, act, filters, _FEW):
                here += check_again(self._state, ids)
                if on_progress:
                    on_progress((total + here).checked)
            if here.checked:
                note(self._state, owner, act, filters, asdict(here), by)
            total += here
        return total

    # -- parts ---------------------------------------------------------------------------------

    def _run(self, act: Act, filters: Filters, by: By, on_progress: Progress | None) -> int:
        total = 0
        for owner in self._owners(act, filters):
            before = total

            def show(done: int, before: int = before) -> None:
                if on_progress:
                    on_progress(before + done)

            total += run(self._state, owner, act, filters, by, show)
        return total

    def _owners(self, act: Act, filters: Filters) -> Sequence[str]:
        if self._organization_id is not None:
            return [self._organization_id]
        return organizations(self._state, act, filters)

    def _query(self, filters: Filters) -> sa.Select[Any]:
        found = conditions(self._state.session(), filters, self._organization_id)
        return sa.select(Delivery).where(*found.all)

    def _configuration_ids(self) -> sa.Select[Any]:
        assert self._organization_id is not None
        ours = exactly(Configuration.organization_id, self._organization_id)
        return sa.select(Configuration.id).where(ours)
