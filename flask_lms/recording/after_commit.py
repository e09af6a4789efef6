"""What was recorded in a host's transaction and waits for its end: then workers are woken.

Flask-SQLAlchemy's session tells of its transactions by events; a journal hangs on each session.
Whether the host writes is read from the SQL that goes out, as there are many ways to write.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin

from .. import events as events_module
from ..app_state import AppState
from ..events import ResultRecorded

_log = logging.getLogger(__name__)
_KEY = "flask_lms"


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
class _Journal:
    has_written: bool = False
    has_committed: bool = False
    entries: list[_Entry] = field(default_factory=list)


def _of(session: Session) -> _Journal:
    journal: _Journal = session.info.setdefault(_KEY, _Journal())
    return journal


def listen(db: SQLAlchemy) -> None:
    """Follow the transactions of the host's session."""
    maker = db.session.session_factory
    if sa.event.contains(maker, "after_begin", _after_begin):
        return
    sa.event.listen(maker, "after_begin", _after_begin)
    sa.event.listen(maker, "after_commit", _after_commit, insert=True)
    sa.event.listen(maker, "after_rollback", _after_rollback)
    sa.event.listen(maker, "after_transaction_end", _after_transaction_end)


def is_writing(session: Session) -> bool:
    """Whether the host is in a write transaction, which it will commit or roll back itself."""
    transaction = session.get_transaction()
    if transaction is None:
        return False
    return bool(
        _of(session).has_written
        or transaction.origin is SessionTransactionOrigin.BEGIN
        or session.in_nested_transaction()
        or session.new
        or session.deleted
        or session.dirty
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


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    connection.info[_KEY] = _of(session)
    if not sa.event.contains(connection.engine, "before_cursor_execute", _before_execute):
        sa.event.listen(connection.engine, "before_cursor_execute", _before_execute)


def _before_execute(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
    journal: _Journal | None = connection.info.get(_KEY)
    if journal is not None and not journal.has_written:
        journal.has_written = writes(statement)


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


def _after_commit(session: Session) -> None:
    if not session.in_nested_transaction():  # a released savepoint is not yet a commit
        _of(session).has_committed = True


def _after_rollback(session: Session) -> None:
    """Forget what was undone. (After ``after_soft_rollback`` the transaction has ended already.)"""
    undone = session.get_nested_transaction() or session.get_transaction()
    assert undone is not None
    journal = _of(session)
    journal.entries = [entry for entry in journal.entries if not entry.is_within(undone)]


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    journal: _Journal = session.info.pop(_KEY, None) or _Journal()
    entries, journal.entries = journal.entries, []  # a pooled connection still knows the journal
    if not journal.has_committed:
        for entry in entries:
            for event in entry.events:
                _log.error(
                    "Result %s was recorded inside a database transaction that ended without a "
                    "commit, so it will not be sent. Commit the session after recording, or send "
                    "the signal after the commit.",
                    event.result_id,
                    extra={"organization_id": event.organization_id},
                )
        return
    rings: dict[int, tuple[AppState, set[uuid.UUID]]] = {}
    for entry in entries:
        rings.setdefault(id(entry.state), (entry.state, set()))[1].update(entry.configuration_ids)
    for state, ids in rings.values():
        state.wake.now(ids)
    for entry in entries:
        for event in entry.events:
            events_module.tell(events_module.result_recorded, entry.state.app, event)
