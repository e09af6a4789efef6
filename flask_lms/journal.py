"""What was recorded in a host's transaction and waits for its end: then workers are woken.

Flask-SQLAlchemy's session tells of its transactions by events; a journal hangs on each session.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, SessionTransactionOrigin

from . import signals
from .signals import ResultRecorded
from .state import State

_log = logging.getLogger(__name__)
_KEY = "flask_lms"


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What one call recorded, and in which (nested) transaction."""

    transaction: SessionTransaction
    state: State
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
    if sa.event.contains(maker, "before_flush", _before_flush):
        return
    sa.event.listen(maker, "before_flush", _before_flush)
    sa.event.listen(maker, "do_orm_execute", _on_execute)
    sa.event.listen(maker, "after_commit", _after_commit, insert=True)
    sa.event.listen(maker, "after_soft_rollback", _after_soft_rollback)
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
    state: State,
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


def _before_flush(session: Session, flush_context: object, instances: object) -> None:
    _of(session).has_written = True


def _on_execute(execution: ORMExecuteState) -> None:
    if execution.is_select:
        return
    text = execution.statement
    if isinstance(text, sa.TextClause) and text.text.lstrip()[:6].upper() in _READS:
        return
    _of(execution.session).has_written = True


_READS = ("SELECT", "PRAGMA", "SHOW", "EXPLAI", "SET", "VALUES")


def _after_commit(session: Session) -> None:
    if not session.in_nested_transaction():  # a released savepoint is not yet a commit
        _of(session).has_committed = True


def _after_soft_rollback(session: Session, previous_transaction: SessionTransaction) -> None:
    journal = _of(session)
    journal.entries = [e for e in journal.entries if not e.is_within(previous_transaction)]


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    journal: _Journal = session.info.pop(_KEY, None) or _Journal()
    if not journal.has_committed:
        for entry in journal.entries:
            for event in entry.events:
                _log.error(
                    "Result %s was recorded inside a database transaction that ended without a "
                    "commit, so it will not be sent. Commit the session after recording, or send "
                    "the signal after the commit.",
                    event.result_id,
                    extra={"organization_id": event.organization_id},
                )
        return
    for entry in journal.entries:
        entry.state.ring(entry.configuration_ids)
        for event in entry.events:
            signals.tell(signals.result_recorded, entry.state.app, event)
