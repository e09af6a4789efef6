"""Step 1 of the walk: an objective result becomes outbox rows, in the host's own transaction.

What the host commits is sent; what it rolls back never was. Nothing here touches the network.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, scoped_session

from ..app_state import AppState
from ..connectors.base import Built, NotSendable, Sent, Statement
from ..database.models import (
    Configuration,
    Delivery,
    DeliveryState,
    ObjectiveLink,
    ParticipantMapping,
)
from ..database.types import new_id, update
from ..errors import InvalidValue
from ..events import ResultRecorded
from ..values import Objective, ObjectiveResult, Participant, Score, from_json, to_json
from . import after_commit

#: Reason of a row that stands for a result which another transaction is recording (see ``_write``).
PARKED = "recording"
#: What one result may take in the outbox of one configuration.
MOST_BYTES = 100_000
#: How long MariaDB is asked again for a lock before a result is parked.
_TRIES, _TRY_SECONDS = 6, 0.02
#: Advisory locks of one organization; two results that share one may park each other.
_LOCKS = 1024
_PLACEHOLDER = uuid.UUID("6f0e5a6c-6f3c-5b0a-9a43-6f2a6c1f5c11")


@dataclass(frozen=True, kw_only=True)
class NotSent:
    """A delivery that is kept but can't be sent as it is.

    :param configuration_id: for which configuration.
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
    :param duplicates: deliveries that were there already, or that another transaction records at
        this moment.
    """

    queued: int = 0
    not_sent: tuple[NotSent, ...] = ()
    duplicates: int = 0


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A configuration attached to an objective; what its LMS calls that."""

    id: uuid.UUID
    type: str
    settings: Mapping[str, Any]
    activity_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Person:
    """Who a participant is in the LMSs of their organization."""

    email: str | None
    name: str | None
    account_name: str | None
    account_home_page: str | None


#: The columns that make a :class:`_Person`.
_OF_PERSON = (
    ParticipantMapping.email,
    ParticipantMapping.name,
    ParticipantMapping.account_name,
    ParticipantMapping.account_home_page,
)


@dataclass(kw_only=True)
class _Targets:
    """What the one SELECT found."""

    now: datetime | None = None
    by_objective: dict[tuple[str, str], dict[uuid.UUID, _Target]] = field(default_factory=dict)
    #: (configuration, result id) → the highest revision recorded, and what the LMS may have of it.
    revisions: dict[tuple[uuid.UUID, str], int] = field(default_factory=dict)
    sent: dict[tuple[uuid.UUID, str], list[Sent]] = field(default_factory=dict)
    #: (organization, result id) that another open transaction is recording.
    held: set[tuple[str, str]] = field(default_factory=set)
    #: (configuration, result id) of participants who were forgotten since.
    forgotten: set[tuple[uuid.UUID, str]] = field(default_factory=set)
    #: ``ParticipantMapping.key_of`` → who they are in the LMSs.
    people: dict[str, _Person] = field(default_factory=dict)

    def note(self, key: tuple[uuid.UUID, str], revision: int, *sent: Sent) -> None:
        self.revisions[key] = max(revision, self.revisions.get(key, -1))
        self.sent.setdefault(key, []).extend(sent)


def record(
    state: AppState,
    results: Sequence[ObjectiveResult],
    *,
    session: Session | scoped_session[Any] | Connection | None = None,
    only: uuid.UUID | None = None,
) -> Recorded:
    """Put results into the outbox of every configuration attached to their objectives.

    Joins the open write transaction of ``db.session``, else commits by itself. One SELECT, one
    INSERT.

    :param session: the host's own session or connection, when it doesn't write through
        ``db.session``: the result is written there and commits and disappears with its
        transaction, which the host ends in any case.
    :param only: for this configuration alone (back-fill).
    :raises InvalidValue: an objective doesn't exist, or a result is too large; nothing was
        written.
    """
    for result in results:
        if not isinstance(result, ObjectiveResult):
            raise InvalidValue("result", result, "must be an ObjectiveResult")
    if not results:
        return Recorded()
    if isinstance(session, Connection):
        if not session.in_transaction():
            session.begin()
        with Session(bind=session, join_transaction_mode="rollback_only") as own:
            recorded, ids, events = _write(state, own, results, only)
        after_commit.add_to_connection(session, state, ids, events)
        return recorded
    is_theirs = session is not None
    ours: Session = (
        state.session()
        if session is None
        else session()
        if isinstance(session, scoped_session)
        else session
    )
    if is_theirs:
        after_commit.follow(ours)
    if after_commit.has_just_committed(ours):
        # Inside the host's own after_commit its session takes no SQL, neither ours nor that of
        # the host's loaders: a context of its own has a session of its own.
        with state.app.app_context():
            if state.session() is not ours:
                return record(state, results, only=only)
        with state.session.session_factory() as own:
            recorded, ids, events = _write(state, own, results, only)
            after_commit.add(own, state, ids, events)
            own.commit()
            return recorded
    joins = is_theirs or after_commit.is_writing(ours)
    try:
        recorded, ids, events = _write(state, ours, results, only)
        if events:
            after_commit.add(ours, state, ids, events)
        if not joins:
            ours.commit()
    except BaseException:
        if not joins:
            ours.rollback()
        raise
    return recorded


def record_parked(state: AppState, limit: int = 200) -> int:
    """Record what couldn't be while another transaction recorded the same result (see _write).

    Commits each; called by the ticker.

    :returns: how many were looked at.
    """
    session = state.session()
    parked = session.execute(
        sa.select(Delivery.id, Delivery.configuration_id, Delivery.result)
        .where(Delivery.state == DeliveryState.NOT_SENT, Delivery.reason == PARKED)
        .order_by(Delivery.id)
        .limit(limit)
    ).all()
    session.rollback()
    for row in parked:
        mine = sa.delete(Delivery).where(Delivery.id == row.id, Delivery.reason == PARKED)
        if update(session, mine):
            results = [from_json(row.result)]
            _, ids, events = _write(state, session, results, row.configuration_id, is_checked=True)
            after_commit.add(session, state, ids, events)
        session.commit()
    return len(parked)


def rebuild(state: AppState, deliveries: Sequence[Delivery]) -> dict[uuid.UUID, Built | None]:
    """What deliveries that were not sent would be now, with the participants as known now.

    Nothing to send when a correction was recorded meanwhile; None: the result is no longer kept.
    Five SELECTs, however many they are.

    :param deliveries: at most some hundred.
    """
    session = state.session()
    kept = {one.id: from_json(one.result) for one in deliveries if one.result is not None}
    owners = {one.configuration_id for one in deliveries}
    rows: dict[tuple[uuid.UUID, str], list[Any]] = {}
    for row in session.execute(
        sa.select(
            Delivery.configuration_id,
            Delivery.result_id,
            Delivery.revision,
            Delivery.state,
            Delivery.statement_id,
            Delivery.kind,
            Delivery.attempts,
        ).where(
            Delivery.organization_id.in_({one.organization_id for one in deliveries}),
            Delivery.result_id.in_({one.result_id for one in deliveries}),
        )
    ):
        rows.setdefault((row.configuration_id, row.result_id), []).append(row)
    known = {
        one.id: one
        for one in session.scalars(sa.select(Configuration).where(Configuration.id.in_(owners)))
    }
    own_ids = {
        (row.configuration_id, row.objective_id): row.activity_id
        for row in session.execute(
            sa.select(
                ObjectiveLink.configuration_id,
                ObjectiveLink.objective_id,
                ObjectiveLink.activity_id,
            ).where(
                ObjectiveLink.configuration_id.in_(owners),
                ObjectiveLink.objective_id.in_({one.objective_id for one in deliveries}),
                ObjectiveLink.activity_id.is_not(None),
            )
        )
    }
    people = {
        row.participant_key: _person(row)
        for row in session.execute(_people(map(_person_key, kept.values())))
    }
    now = state.clock.now(session)
    found: dict[uuid.UUID, Built | None] = {}
    for one in deliveries:
        configuration = known.get(one.configuration_id)
        if one.id not in kept or configuration is None:
            found[one.id] = None
            continue
        # By the letter, as MariaDB takes "r1" and "R1" for the same.
        of_result = rows.get((one.configuration_id, one.result_id), ())
        if any(row.revision > one.revision for row in of_result):
            found[one.id] = Built()
            continue
        result = kept[one.id]
        person = people.get(_person_key(result))
        loaded = state.callbacks.participant(result.organization_id, one.participant_id)
        result = _mapped(replace(result, participant=loaded) if loaded else result, person)
        target = _Target(
            id=configuration.id,
            type=configuration.type,
            settings=configuration.settings,
            activity_id=own_ids.get((one.configuration_id, one.objective_id)),
        )
        sent = [each for row in of_result for each in _sent(row)]
        found[one.id] = _build(state, target, result, now, sent)
    return found


def _sent(row: Any) -> list[Sent]:
    """The statement of a delivery, if the LMS has it or may have it.

    What waits may be under way, and a request whose answer got lost may have brought what was then
    cancelled. Of a void that is no reason to leave another one out.
    """
    certain = (DeliveryState.DELIVERED, DeliveryState.PENDING)
    may_be = row.state is DeliveryState.CANCELLED and row.attempts and row.kind != "void"
    if row.state not in certain and not may_be:
        return []
    return [Sent(id=row.statement_id, kind=row.kind, revision=row.revision)]


def _write(
    state: AppState,
    session: Session,
    results: Sequence[ObjectiveResult],
    only: uuid.UUID | None,
    *,
    is_checked: bool = False,
) -> tuple[Recorded, set[uuid.UUID], list[ResultRecorded]]:
    """Write the rows; whose configurations wait for a worker, and what to tell after the commit.

    It never waits for another transaction that records the same result: two of them could wait for
    each other, and the database would end the host's. Such a result is *parked* as a row that meets
    no other; the ticker records it within seconds, when the other has come to its end.
    """
    with session.no_autoflush:  # the host's half-made objects stay as they are
        targets = _find_targets(state, session, results, only)
        made: list[tuple[ObjectiveResult, list[dict[str, Any]]]] = []
        duplicates = 0
        for result in results:
            attached = targets.by_objective.get((result.organization_id, _objective_id(result)), {})
            whole = _resolve(state, result) if attached else result
            for target in attached.values():
                key = (target.id, result.id)
                is_known = result.revision <= targets.revisions.get(key, -1)
                if is_known or key in targets.forgotten:
                    duplicates += 1
                    continue
                assert targets.now is not None
                person = targets.people.get(_person_key(result))
                sent = targets.sent.get(key, ())
                built = _build(state, target, _mapped(whole, person), targets.now, sent)
                now_sent = (
                    Sent(id=one.id, kind=one.kind, revision=result.revision)
                    for one in built.statements
                )
                targets.note(key, result.revision, *now_sent)
                if of_one := _rows(target, whole, built, targets.now):
                    if not is_checked and sum(map(_bytes_of, of_one)) > MOST_BYTES:
                        rule = "must be at most 100 kB as statements: leave something out"
                        raise InvalidValue("ObjectiveResult", whole, rule)
                    is_held = (whole.organization_id, whole.id) in targets.held
                    made.append((whole, [_parked(whole, of_one[0])] if is_held else of_one))
        rows = [row for _, of_one in made for row in of_one]
        stored = _insert(session, rows) if rows else set()
        if stored is None:
            rows = [_parked(whole, of_one[0]) for whole, of_one in made]
            stored = _insert(session, rows) or set()
    written = [row for row in rows if row["id"] in stored and row["reason"] != PARKED]
    by_result: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in written:
        by_result.setdefault((row["organization_id"], row["result_id"]), []).append(row)
    recorded = Recorded(
        queued=sum(row["state"] is DeliveryState.PENDING for row in written),
        not_sent=tuple(
            NotSent(
                result_id=row["result_id"],
                configuration_id=row["configuration_id"],
                reason=row["reason"],
            )
            for row in written
            if row["state"] is DeliveryState.NOT_SENT
        ),
        duplicates=duplicates + len(rows) - len(written),
    )
    events = [
        ResultRecorded(
            organization_id=organization_id,
            result_id=result_id,
            delivery_ids=tuple(row["id"] for row in of_one),
            not_sent=sum(row["state"] is DeliveryState.NOT_SENT for row in of_one),
        )
        for (organization_id, result_id), of_one in by_result.items()
    ]
    due = {row["configuration_id"] for row in written if row["state"] is DeliveryState.PENDING}
    return recorded, due, events


def _find_targets(
    state: AppState,
    session: Session,
    results: Sequence[ObjectiveResult],
    only: uuid.UUID | None,
) -> _Targets:
    keys = sorted({(result.organization_id, result.id) for result in results})
    is_postgresql = session.get_bind(sa.inspect(Delivery)).dialect.name == "postgresql"
    organizations = {result.organization_id for result in results}
    objectives = {_objective_id(result) for result in results}
    hashed = {
        digest: result.id
        for result in results
        for digest in state.encryption.digests(f"result {result.id}")
    }
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
            Delivery.statement_id,
            Delivery.kind,
            Delivery.attempts,
            state.clock.column().label("now"),
            (_try_locks(keys) if is_postgresql else sa.null()).label("locks"),
            ObjectiveLink.activity_id,
            *(sa.null().label(column.key) for column in _OF_PERSON),
        )
        .select_from(ObjectiveLink)
        .join(Configuration, Configuration.id == ObjectiveLink.configuration_id)
        .outerjoin(
            Delivery,
            sa.and_(
                Delivery.configuration_id == Configuration.id,
                Delivery.organization_id == ObjectiveLink.organization_id,
                Delivery.result_id.in_([*(result.id for result in results), *hashed]),
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
    # In the same SELECT who these people are in the LMSs: rows without a configuration.
    people = _people(map(_person_key, results))
    empty = len(query.selected_columns) - 2 - len(_OF_PERSON)
    people = people.with_only_columns(
        ParticipantMapping.organization_id,
        ParticipantMapping.participant_key,
        *(sa.null() for _ in range(empty)),
        *_OF_PERSON,
    )
    found = _Targets()
    both = sa.union_all(query, people)
    for row in session.execute(both, bind_arguments={"mapper": sa.inspect(Delivery)}):
        if row.id is None:
            found.people[row.objective_id] = _person(row)
            continue
        found.now = row.now
        if row.locks is not None and not found.held:
            found.held.update(
                key for key, is_ours in zip(keys, row.locks, strict=True) if not is_ours
            )
        target = _Target(
            id=row.id, type=row.type, settings=row.settings, activity_id=row.activity_id
        )
        attached = found.by_objective.setdefault((row.organization_id, row.objective_id), {})
        attached[row.id] = target
        if row.result_id in hashed:
            found.forgotten.add((row.id, hashed[row.result_id]))
        elif row.result_id is not None:
            found.note((row.id, row.result_id), row.revision, *_sent(row))
    return found


def _objective_id(result: ObjectiveResult) -> str:
    return result.objective if isinstance(result.objective, str) else result.objective.id


def _person_key(result: ObjectiveResult) -> str:
    of = result.participant
    return ParticipantMapping.key_of(result.organization_id, of if isinstance(of, str) else of.id)


def _people(keys: Iterable[str]) -> Any:
    """The mappings of these, of whom nobody was forgotten."""
    return sa.select(ParticipantMapping.participant_key, *_OF_PERSON).where(
        ParticipantMapping.participant_key.in_(sorted(set(keys))),
        ParticipantMapping.forgotten_at.is_(None),
    )


def _person(row: Any) -> _Person:
    return _Person(**{column.key: getattr(row, column.key) for column in _OF_PERSON})


def _mapped(result: ObjectiveResult, person: _Person | None) -> ObjectiveResult:
    """The result with what an administrator entered about its participant in place of what the
    host says.
    """
    known = result.participant
    if person is None or not isinstance(known, Participant):
        return result
    account = person if person.account_name else known
    return replace(
        result,
        participant=replace(
            known,
            email=person.email or known.email,
            name=person.name or known.name,
            account_name=account.account_name,
            account_home_page=account.account_home_page,
        ),
    )


def _try_locks(keys: Iterable[tuple[str, str]]) -> sa.ColumnElement[Any]:
    """PostgreSQL only: take a lock for each result until the end of the transaction, without
    waiting; a column with an array that tells which were free.
    """
    numbers = []
    for organization_id, result_id in keys:
        organization = hashlib.sha256(f"flask-lms {organization_id}".encode()).digest()[:8]
        base = int.from_bytes(organization, "big", signed=True) & ~(_LOCKS - 1)
        numbers.append(base | zlib.crc32(result_id.encode()) % _LOCKS)
    array = postgresql.ARRAY(sa.BigInteger)
    key = sa.func.unnest(sa.cast(sa.literal(numbers, array), array)).column_valued("key")
    tried = sa.select(sa.func.pg_try_advisory_xact_lock(key)).scalar_subquery()
    return sa.func.array(tried, type_=postgresql.ARRAY(sa.Boolean))


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
    sent: Sequence[Sent],
) -> Built:
    connector = state.registry.get(target.type)
    if connector is None:
        key = json.dumps([result.organization_id, result.id, result.revision])
        waiting = NotSendable(
            reason="unknown_type", id=uuid.uuid5(_PLACEHOLDER, key), facts={"type": target.type}
        )
        return Built(not_sendable=waiting)
    context = state.build_context(now, sent, target.activity_id)
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
        "outcome": outcome_of(result),
        "score": points(result.score),
        "result_id": result.id,
        "revision": result.revision,
        "recorded_at": now,
        "attempts": 0,
    }
    rows = [{**common, "id": new_id(), **waiting(statement, now)} for statement in built.statements]
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
                "due_at": now,
                "refusals": 0,
                "result": to_json(result),
                "reason": built.not_sendable.reason,
                "reason_words": json.dumps(dict(built.not_sendable.facts)),
                "settled_at": now,
                "settled_by": None,
            }
        )
    return rows


#: What all rows of a result have in common.
OF_THE_RESULT = (
    "organization_id", "configuration_id", "objective_id", "objective_name", "participant_id",
    "participant_name", "outcome", "score", "result_id", "revision", "recorded_at",
)  # fmt: skip


def outcome_of(result: ObjectiveResult) -> str:
    """How it went, in a word that lists show: ``passed``, ``failed``, ``completed`` or
    ``incomplete``.
    """
    if result.success is not None:
        return "passed" if result.success else "failed"
    return "completed" if result.completed else "incomplete"


def points(score: Score | None) -> dict[str, float] | None:
    """A score as JSON, without what it doesn't say."""
    if score is None:
        return None
    return {name: value for name, value in asdict(score).items() if value is not None}


def waiting(statement: Statement, now: datetime) -> dict[str, Any]:
    """What makes a row of ``lms_delivery`` one that waits to carry this statement."""
    return {
        "kind": statement.kind,
        "statement_id": statement.id,
        "statement": statement.text,
        "size": len(statement.text.encode()),
        "is_single": statement.is_single,
        "state": DeliveryState.PENDING,
        "due_at": now,
        "refusals": 0,
        "result": None,
        "reason": None,
        "reason_words": None,
        "settled_at": None,
        "settled_by": None,
    }


def _bytes_of(row: Mapping[str, Any]) -> int:
    """What a row keeps: its statement, or the result while it can't be sent."""
    return len(json.dumps(row["result"])) if row["result"] else int(row["size"])


def _parked(result: ObjectiveResult, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in place of those of a result that another transaction is recording."""
    return {
        **row,
        "id": new_id(),
        "kind": "result",
        "statement_id": uuid.uuid4(),
        "statement": None,
        "size": 0,
        "state": DeliveryState.NOT_SENT,
        "is_single": False,
        "result": to_json(result),
        "reason": PARKED,
        "reason_words": None,
        "settled_at": row["recorded_at"],
    }


class _NoWaitInsert(mysql.Insert):
    """An INSERT of MariaDB that fails at once where it would have to wait for a lock."""

    inherit_cache = True


@compiles(_NoWaitInsert, "mysql", "mariadb")
def _no_wait_insert(element: _NoWaitInsert, compiler: Any, **kw: Any) -> str:
    return "SET STATEMENT innodb_lock_wait_timeout=0 FOR " + str(
        compiler.visit_insert(element, **kw)
    )


def _insert(session: Session, rows: list[dict[str, Any]]) -> set[uuid.UUID] | None:
    """Insert, passing over what another transaction has recorded; the ids of those that stay.

    None: another transaction is at it (MariaDB), and nothing is told of what was inserted.
    """
    mapper = sa.inspect(Delivery)
    table = mapper.local_table
    assert isinstance(table, sa.Table)
    connection = session.connection(bind_arguments={"mapper": mapper})
    dialect = connection.dialect
    statement: Any
    if dialect.name == "sqlite":
        statement = sqlite.insert(table).on_conflict_do_nothing()
    elif dialect.name == "postgresql":
        statement = postgresql.insert(table).on_conflict_do_nothing()
    elif dialect.name in ("mysql", "mariadb"):
        # Not INSERT IGNORE: that would also cut or change what doesn't fit.
        kind = _NoWaitInsert if getattr(dialect, "is_mariadb", False) else mysql.Insert
        statement = kind(table).on_duplicate_key_update(id=table.c.id)
    else:
        statement = sa.insert(table)
    returns = dialect.insert_returning and dialect.insert_executemany_returning
    if returns:
        statement = statement.returning(table.c.id)
    for tries_left in range(_TRIES, -1, -1):
        try:
            done = connection.execute(statement, rows if len(rows) > 1 else rows[0])
            break
        except sa.exc.StatementError as error:
            error.hide_parameters = True  # learners' names, on their way into the host's log
            # MariaDB's 1205: only the statement was undone. (After 1213 all would be.)
            if getattr(error.orig, "args", (None,))[:1] != (1205,):
                raise
            if not tries_left:
                return None
        time.sleep(_TRY_SECONDS)
    if returns:
        return {row.id for row in done}
    ids = [row["id"] for row in rows]
    return set(connection.scalars(sa.select(table.c.id).where(table.c.id.in_(ids))))
