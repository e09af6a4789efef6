"""Step 1 of the walk: an objective result becomes outbox rows, in the host's own transaction.

What the host commits is sent; what it rolls back never was. Nothing here touches the network.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..connectors.base import Built, NotSendable
from ..database.models import Configuration, Delivery, DeliveryState, ObjectiveLink
from ..database.types import new_id
from ..errors import InvalidValue
from ..events import ResultRecorded
from ..values import Objective, ObjectiveResult, Participant, from_json, to_json
from . import after_commit

_PLACEHOLDER = uuid.UUID("6f0e5a6c-6f3c-5b0a-9a43-6f2a6c1f5c11")


@dataclass(frozen=True, kw_only=True)
class NotSent:
    """A delivery that is kept but can't be sent as it is.

    :param reason: code of the reason, such as ``no_email``.
    """

    result_id: str
    configuration_id: uuid.UUID
    reason: str


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of the results.

    :param queued: deliveries waiting to be sent.
    :param not_sent: deliveries kept, with the reason why they can't be sent.
    :param duplicates: deliveries that were there already.
    """

    queued: int = 0
    not_sent: tuple[NotSent, ...] = ()
    duplicates: int = 0


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A configuration attached to an objective."""

    id: uuid.UUID
    type: str
    settings: Mapping[str, Any]


@dataclass(kw_only=True)
class _Targets:
    """What the one SELECT found."""

    now: datetime | None = None
    by_objective: dict[tuple[str, str], dict[uuid.UUID, _Target]] = field(default_factory=dict)
    #: (configuration, result id) → the highest revision recorded, and of those that may be sent.
    revisions: dict[tuple[uuid.UUID, str], int] = field(default_factory=dict)
    sendable: dict[tuple[uuid.UUID, str], int] = field(default_factory=dict)

    def note(self, key: tuple[uuid.UUID, str], revision: int, *, is_sendable: bool) -> None:
        self.revisions[key] = max(revision, self.revisions.get(key, -1))
        if is_sendable:
            self.sendable[key] = max(revision, self.sendable.get(key, -1))


def record(
    state: AppState, results: Sequence[ObjectiveResult], *, only: uuid.UUID | None = None
) -> Recorded:
    """Put results into the outbox of every configuration attached to their objectives.

    Joins the host's open write transaction, else commits by itself. One SELECT, one INSERT.

    :param only: for this configuration alone (back-fill).
    :raises InvalidValue: an objective doesn't exist; nothing was written.
    """
    for result in results:
        if not isinstance(result, ObjectiveResult):
            raise InvalidValue("result", result, "must be an ObjectiveResult")
    if not results:
        return Recorded()
    session = state.session()
    if after_commit.has_just_committed(session):  # inside the host's own after_commit
        with state.session.session_factory() as own:
            recorded = _write(state, own, results, only)
            own.commit()
            return recorded
    joins = after_commit.is_writing(session)
    try:
        recorded = _write(state, session, results, only)
        if not joins:
            session.commit()
    except BaseException:
        if not joins:
            session.rollback()
        raise
    return recorded


def rebuild(state: AppState, delivery: Delivery) -> Built:
    """What a delivery that was not sent would be now, with the participant as known now; nothing
    when a correction of it was recorded meanwhile.

    :raises InvalidValue: its result is no longer kept.
    """
    configuration = state.session.get(Configuration, delivery.configuration_id)
    if delivery.result is None or configuration is None:
        raise InvalidValue("Delivery.result", delivery.result, "must still be kept")
    if _has_later_revision(state, delivery):
        return Built()
    kept = from_json(delivery.result)
    known = state.callbacks.participant(kept.organization_id, delivery.participant_id)
    result = kept if known is None else replace(kept, participant=known)
    target = _Target(id=configuration.id, type=configuration.type, settings=configuration.settings)
    return _build(state, target, result, state.clock.now(state.session()), None)


def _has_later_revision(state: AppState, delivery: Delivery) -> bool:
    query = sa.select(Delivery.result_id).where(
        Delivery.configuration_id == delivery.configuration_id,
        Delivery.organization_id == delivery.organization_id,
        Delivery.result_id == delivery.result_id,
        Delivery.revision > delivery.revision,
    )
    # Compared here again, as MariaDB takes "r1" and "R1" for the same.
    return delivery.result_id in state.session.scalars(query).all()


def _write(
    state: AppState,
    session: Session,
    results: Sequence[ObjectiveResult],
    only: uuid.UUID | None,
) -> Recorded:
    with session.no_autoflush:  # the host's half-made objects stay as they are
        targets = _find_targets(state, session, results, only)
        rows, not_sent, duplicates, events = _make_rows(state, targets, results)
        if rows:
            duplicates += len(rows) - _insert(session, rows)
            due = {row["configuration_id"] for row in rows if row["state"] is DeliveryState.PENDING}
            after_commit.add(session, state, due, events)
    queued = sum(row["state"] is DeliveryState.PENDING for row in rows)
    return Recorded(queued=queued, not_sent=tuple(not_sent), duplicates=duplicates)


def _find_targets(
    state: AppState,
    session: Session,
    results: Iterable[ObjectiveResult],
    only: uuid.UUID | None,
) -> _Targets:
    organizations = {result.organization_id for result in results}
    objectives = {_objective_id(result) for result in results}
    query = (
        sa.select(
            ObjectiveLink.organization_id,
            ObjectiveLink.objective_id,
            Configuration.id,
            Configuration.type,
            Configuration.settings,
            Delivery.result_id,
            Delivery.revision,
            Delivery.state,
            state.clock.column().label("now"),
        )
        .select_from(ObjectiveLink)
        .join(Configuration, Configuration.id == ObjectiveLink.configuration_id)
        .outerjoin(
            Delivery,
            sa.and_(
                Delivery.configuration_id == Configuration.id,
                Delivery.organization_id == ObjectiveLink.organization_id,
                Delivery.result_id.in_([result.id for result in results]),
            ),
        )
        .where(
            ObjectiveLink.organization_id.in_(organizations),
            ObjectiveLink.objective_id.in_(objectives),
            Configuration.deleted_at.is_(None),
        )
    )
    if only is not None:
        query = query.where(Configuration.id == only)
    found = _Targets()
    for row in session.execute(query):
        found.now = row.now
        target = _Target(id=row.id, type=row.type, settings=row.settings)
        attached = found.by_objective.setdefault((row.organization_id, row.objective_id), {})
        attached[row.id] = target
        if row.result_id is not None:
            is_sendable = row.state is not DeliveryState.NOT_SENT
            found.note((row.id, row.result_id), row.revision, is_sendable=is_sendable)
    return found


def _objective_id(result: ObjectiveResult) -> str:
    return result.objective if isinstance(result.objective, str) else result.objective.id


def _make_rows(
    state: AppState, targets: _Targets, results: Iterable[ObjectiveResult]
) -> tuple[list[dict[str, Any]], list[NotSent], int, list[ResultRecorded]]:
    rows: list[dict[str, Any]] = []
    not_sent: list[NotSent] = []
    events: list[ResultRecorded] = []
    duplicates = 0
    for result in results:
        attached = targets.by_objective.get((result.organization_id, _objective_id(result)), {})
        made: list[dict[str, Any]] = []
        whole = _resolve(state, result) if attached else result
        for target in attached.values():
            key = (target.id, result.id)
            if result.revision <= targets.revisions.get(key, -1):
                duplicates += 1
                continue
            assert targets.now is not None
            built = _build(state, target, whole, targets.now, targets.sendable.get(key))
            targets.note(key, result.revision, is_sendable=built.not_sendable is None)
            made += _rows(target, whole, built, targets.now)
            if built.not_sendable:
                reason = built.not_sendable.reason
                not_sent.append(
                    NotSent(result_id=result.id, configuration_id=target.id, reason=reason)
                )
        if made:
            rows += made
            unsent = sum(row["state"] is DeliveryState.NOT_SENT for row in made)
            events.append(
                ResultRecorded(
                    organization_id=result.organization_id,
                    result_id=result.id,
                    delivery_ids=tuple(row["id"] for row in made),
                    not_sent=unsent,
                )
            )
    return rows, not_sent, duplicates, events


def _resolve(state: AppState, result: ObjectiveResult) -> ObjectiveResult:
    """The result with values in place of ids, asked from the host."""
    objective, participant = result.objective, result.participant
    if isinstance(objective, str):
        found = state.callbacks.objective(result.organization_id, objective)
        if found is None:
            raise InvalidValue(
                "ObjectiveResult.objective", objective, "must exist in that organization"
            )
        objective = found
    if isinstance(participant, str):
        known = state.callbacks.participant(result.organization_id, participant)
        participant = known or Participant(id=participant)
    return replace(result, objective=objective, participant=participant)


def _build(
    state: AppState,
    target: _Target,
    result: ObjectiveResult,
    now: datetime,
    previous_revision: int | None,
) -> Built:
    connector = state.registry.get(target.type)
    if connector is None:
        key = json.dumps([result.organization_id, result.id, result.revision])
        waiting = NotSendable(
            reason="unknown_type", id=uuid.uuid5(_PLACEHOLDER, key), facts={"type": target.type}
        )
        return Built(not_sendable=waiting)
    context = state.build_context(now, previous_revision=previous_revision)
    return connector.build(result, target.settings, context)


def _rows(
    target: _Target, result: ObjectiveResult, built: Built, now: datetime
) -> list[dict[str, Any]]:
    objective, participant = result.objective, result.participant
    assert isinstance(objective, Objective)
    assert isinstance(participant, Participant)
    common: dict[str, Any] = {
        "organization_id": result.organization_id,
        "configuration_id": target.id,
        "objective_id": objective.id,
        "objective_name": objective.name,
        "participant_id": participant.id,
        "participant_name": participant.name,
        "result_id": result.id,
        "revision": result.revision,
        "recorded_at": now,
        "due_at": now,
        "refusals": 0,
        "attempts": 0,
    }
    rows = [
        {
            **common,
            "id": new_id(),
            "kind": statement.kind,
            "statement_id": statement.id,
            "statement": statement.text,
            "size": len(statement.text.encode()),
            "state": DeliveryState.PENDING,
            "is_single": statement.is_single,
            "result": None,
            "reason": None,
            "reason_words": None,
            "settled_at": None,
        }
        for statement in built.statements
    ]
    if built.not_sendable:
        rows.append(
            {
                **common,
                "id": new_id(),
                "kind": "result",
                "statement_id": built.not_sendable.id,
                "statement": None,
                "size": 0,
                "state": DeliveryState.NOT_SENT,
                "is_single": False,
                "result": to_json(result),
                "reason": built.not_sendable.reason,
                "reason_words": json.dumps(dict(built.not_sendable.facts)),
                "settled_at": now,
            }
        )
    return rows


def _insert(session: Session, rows: list[dict[str, Any]]) -> int:
    """Insert, passing over what another transaction recorded meanwhile; returns how many stay."""
    mapper = sa.inspect(Delivery)
    table = mapper.local_table
    assert isinstance(table, sa.Table)
    dialect = session.get_bind(mapper).dialect.name
    statement: sa.Insert
    if dialect == "sqlite":
        statement = sqlite.insert(table).on_conflict_do_nothing()
    elif dialect == "postgresql":
        statement = postgresql.insert(table).on_conflict_do_nothing()
    elif dialect in ("mysql", "mariadb"):
        # Not INSERT IGNORE: that would also cut or change what doesn't fit.
        statement = mysql.insert(table).on_duplicate_key_update(id=table.c.id)
    else:
        statement = sa.insert(table)
    connection = session.connection(bind_arguments={"mapper": mapper})
    try:
        inserted = connection.execute(statement, rows if len(rows) > 1 else rows[0])
    except sa.exc.StatementError as error:
        error.hide_parameters = True  # learners' names, on their way into the host's log
        raise
    return inserted.rowcount if inserted.rowcount >= 0 else len(rows)
