"""Step 2 of the walk: what was recorded waits for the end of the host's transaction; then workers
are woken and the host is told.

A session tells of its transactions by events; what waits hangs on it. Whether the host writes is
read from the SQL that goes out, as there are many ways to write.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Connection, NestedTransaction
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin

from ..app_state import AppState
from ..events import ResultRecorded, result_recorded, tell

_log = logging.getLogger(__name__)
_KEY = "flask_lms"
_FOLLOWED = "flask_lms_followed"
_PENDING = "flask_lms_pending"


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What one call recorded, and in which (nested) transaction."""

    transaction: SessionTransaction
    state: AppState
    configuration_ids: frozenset[uuid.UUID]
    events: Sequence[ResultRecorded]

    def is_within(self, transaction: SessionTransaction) -> bool:
        current: SessionTransaction | None = self.transaction
        while current is not None:
            if current is transaction:
                return True
            current = current.parent
        return False


@dataclass
class _Root:
    """A session's root transaction.

    :ivar is_committing: its commit has begun, so that it can't be committed by us.
    """

    has_written: bool = False
    is_committing: bool = False
    has_committed: bool = False
    entries: list[_Entry] = field(default_factory=list)


def _of(session: Session) -> _Root:
    root: _Root = session.info.setdefault(_KEY, _Root())
    return root


def listen(db: SQLAlchemy) -> None:
    """Follow the transactions of the host's session."""
    maker = db.session.session_factory
    if not sa.event.contains(maker, "after_begin", _after_begin):
        _follow(maker)


def follow(session: Session) -> None:
    """Follow the transactions of a session of the host's own, from now on."""
    if not session.info.get(_FOLLOWED):
        session.info[_FOLLOWED] = True
        _follow(session)


def _follow(sessions: Any) -> None:
    """:param sessions: a session, or what makes them."""
    sa.event.listen(sessions, "after_begin", _after_begin)
    sa.event.listen(sessions, "before_commit", _before_commit, insert=True)
    sa.event.listen(sessions, "after_commit", _after_commit, insert=True)
    sa.event.listen(sessions, "after_rollback", _after_rollback)
    sa.event.listen(sessions, "after_transaction_end", _after_transaction_end)


def is_writing(session: Session) -> bool:
    """Whether the host is in a write transaction, which it will commit or roll back itself."""
    transaction = session.get_transaction()
    if transaction is None:
        return False
    root = _of(session)
    return bool(
        root.has_written
        or root.is_committing
        or transaction.origin is SessionTransactionOrigin.BEGIN
        or session.in_nested_transaction()
        or session.new
        or session.deleted
        # Touched without a net change is nothing to write.
        or any(session.is_modified(one) for one in session.dirty)
    )


def has_just_committed(session: Session) -> bool:
    """Whether the session is inside an ``after_commit`` of its root transaction."""
    return _of(session).has_committed


def add(
    session: Session,
    state: AppState,
    configuration_ids: Iterable[uuid.UUID],
    events: Sequence[ResultRecorded],
) -> None:
    """Note what to do once the current transaction is committed."""
    transaction = session.get_nested_transaction() or session.get_transaction()
    assert transaction is not None
    _of(session).entries.append(
        _Entry(
            transaction=transaction,
            state=state,
            configuration_ids=frozenset(configuration_ids),
            events=tuple(events),
        )
    )


@dataclass(kw_only=True)
class _Pending:
    """What was recorded through a connection that no session holds."""

    state: AppState
    configuration_ids: frozenset[uuid.UUID]
    events: Sequence[ResultRecorded]
    savepoint: NestedTransaction | None
    is_committed: bool | None = None


def add_to_connection(
    connection: Connection,
    state: AppState,
    configuration_ids: Iterable[uuid.UUID],
    events: Sequence[ResultRecorded],
) -> None:
    """As :func:`add`, for a connection that no session holds.

    SQLAlchemy tells of a commit before it happens, so all is told when the connection goes back to
    its pool; should the host keep it, a worker finds the rows within seconds all the same.
    """
    engine = connection.engine
    if not sa.event.contains(engine, "commit", _connection_commits):
        sa.event.listen(engine, "commit", _connection_commits)
        sa.event.listen(engine, "rollback", _connection_rolls_back)
        sa.event.listen(engine, "rollback_savepoint", _connection_rolls_back)
        sa.event.listen(engine.pool, "checkin", _connection_is_given_back)
    pending = _Pending(
        state=state,
        configuration_ids=frozenset(configuration_ids),
        events=tuple(events),
        savepoint=connection.get_nested_transaction(),
    )
    connection.info.setdefault(_PENDING, []).append(pending)


def _connection_commits(connection: Connection) -> None:
    for pending in connection.info.get(_PENDING, ()):
        if pending.is_committed is None:
            pending.is_committed = True


def _connection_rolls_back(connection: Connection, *savepoint: object) -> None:
    undone = connection.get_nested_transaction() if savepoint else None
    for pending in connection.info.get(_PENDING, ()):
        if pending.is_committed is None and (not savepoint or pending.savepoint is undone):
            pending.is_committed = False


def _connection_is_given_back(dbapi_connection: object, record: Any) -> None:
    for pending in record.info.pop(_PENDING, ()):
        if pending.is_committed:
            _tell(pending.state, pending.configuration_ids, pending.events)


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    connection.info[_KEY] = _of(session)
    if not sa.event.contains(connection.engine, "before_cursor_execute", _before_execute):
        sa.event.listen(connection.engine, "before_cursor_execute", _before_execute)


def _before_execute(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
    root: _Root | None = connection.info.get(_KEY)
    if root is not None and not root.has_written:
        root.has_written = writes(statement)


#: What stands before the first word: white space, comments and brackets.
_LEAD = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_READS = re.compile(
    r"(?:SELECT|VALUES|TABLE|SHOW|EXPLAIN|DESCRIBE|DESC|PRAGMA|SET|USE|SAVEPOINT|RELEASE|ROLLBACK)\b"
)
#: Locks that last until the end of the transaction. (Patterns that begin with a word are quick.)
_LOCKS = (
    re.compile(r"FOR\s+(?:NO\s+KEY\s+|KEY\s+)?(?:UPDATE|SHARE)\b"),
    re.compile(r"LOCK\s+IN\s+SHARE\b"),
    re.compile(r"_ADVISORY_XACT_LOCK"),
)
_CHANGES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE|REPLACE)\b")


def writes(statement: str) -> bool:
    """Whether SQL changes or locks rows, so that somebody will commit or roll back. Pure."""
    sql = statement.upper()
    start = _LEAD.match(sql)
    assert start is not None
    if sql.startswith("WITH", start.end()):
        if _CHANGES.search(sql):
            return True
    elif not _READS.match(sql, start.end()):
        return True
    return any(lock.search(sql) for lock in _LOCKS)


def _before_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        _of(session).is_committing = True


def _after_commit(session: Session) -> None:
    if not session.in_nested_transaction():  # a released savepoint is not yet a commit
        _of(session).has_committed = True


def _after_rollback(session: Session) -> None:
    """Forget what was undone. (After ``after_soft_rollback`` the transaction has ended already.)"""
    undone = session.get_nested_transaction() or session.get_transaction()
    assert undone is not None
    root = _of(session)
    root.entries = [entry for entry in root.entries if not entry.is_within(undone)]


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    root: _Root = session.info.pop(_KEY, None) or _Root()
    entries, root.entries = root.entries, []  # a pooled connection still knows the root
    if not root.has_committed:
        for entry in entries:
            _log_never_committed(entry.events)
        return
    woken: dict[int, tuple[AppState, set[uuid.UUID]]] = {}
    for entry in entries:
        woken.setdefault(id(entry.state), (entry.state, set()))[1].update(entry.configuration_ids)
    for state, ids in woken.values():
        _tell(state, ids, [e for entry in entries if entry.state is state for e in entry.events])


def _tell(
    state: AppState, configuration_ids: Iterable[uuid.UUID], events: Iterable[ResultRecorded]
) -> None:
    state.wake.now(configuration_ids)
    for event in events:
        tell(result_recorded, state.app, event)


def _log_never_committed(events: Iterable[ResultRecorded]) -> None:
    for event in events:
        _log.error(
            "Result %s was recorded inside a database transaction that ended without a commit, so "
            "it will not be sent. Commit the session after recording, or send the signal after the "
            "commit.",
            event.result_id,
            extra={"organization_id": event.organization_id},
        )
