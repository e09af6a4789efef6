"""One act on many deliveries: a chunk, an UPDATE and a commit at a time, so that a million of them
hold no lock; then the history tells how far it came, even when it was broken off.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from ..models import Configuration, Delivery, State
from ..state import State as AppState
from .audit import By, tell
from .change import Change, as_id
from .filters import Filters, conditions

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
    states: tuple[State, ...]
    where: tuple[sa.ColumnElement[bool], ...] = ()
    values: Callable[[Change], dict[str, Any]] = lambda made: {}
    rings: bool = False

    def narrow(self, filters: Filters) -> Filters | None:
        """The filters limited to the act's states; None: nothing can match."""
        wanted = [State(state) for state in filters.states]
        states = tuple(state for state in self.states if not wanted or state in wanted)
        return replace(filters, states=states) if states else None


def _due_now(made: Change) -> dict[str, Any]:
    return {
        "state": State.PENDING,
        "due_at": made.now,
        "refusals": 0,
        "reason": None,
        "reason_words": None,
        "settled_at": None,
        "settled_by": None,
    }


def _given_up(made: Change) -> dict[str, Any]:
    return {"state": State.CANCELLED, "settled_at": made.now, "settled_by": made.by_name}


SEND_AGAIN = Act(
    action="sent_again",
    states=(State.REJECTED, State.CANCELLED, State.DELIVERED),
    where=(
        Delivery.statement.is_not(None),
        sa.exists().where(
            Configuration.id == Delivery.configuration_id, Configuration.deleted_at.is_(None)
        ),
    ),
    values=_due_now,
    rings=True,
)
CANCEL = Act(action="cancelled", states=(State.PENDING, State.NOT_SENT), values=_given_up)
CHECK_AGAIN = Act(action="checked_again", states=(State.NOT_SENT,))


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
            state.ring(touched)
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
