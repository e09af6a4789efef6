"""Looking again at results that could not be sent: the host may have corrected them meanwhile."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from .. import recording
from ..clock import new_id
from ..connectors import Statement
from ..errors import InvalidResult
from ..models import Configuration, Delivery, State
from ..state import State as AppState
from .change import Change, change


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
                Delivery.state == State.NOT_SENT,
                Configuration.deleted_at.is_(None),
            )
            .order_by(Delivery.id)
        ).all()
        for delivery in rows:
            try:
                built = recording.rebuild(state, delivery)
            except InvalidResult:
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
        delivery.state, delivery.settled_at = State.CANCELLED, made.now
        delivery.reason = "duplicate"
    delivery.result = None


def _fill(delivery: Delivery, statement: Statement, made: Change) -> Delivery:
    delivery.statement_id, delivery.kind = statement.id, statement.kind
    delivery.statement, delivery.size = statement.text, len(statement.text.encode())
    delivery.is_single = statement.is_single
    delivery.state, delivery.due_at = State.PENDING, made.now
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
    delivery.state, delivery.settled_at = State.CANCELLED, made.now
    delivery.reason, delivery.reason_words, delivery.result = "not_wanted", None, None
