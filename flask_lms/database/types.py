"""The one clock: the database's, so that a wrong clock on a host can't delay or repeat anything.

Everything that decides by time takes its ``now`` from here, so that tests pass their own.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session, scoped_session
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

UTC = timezone.utc


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """Aware UTC in Python on every database (SQLite and MariaDB give naive values back)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time must be aware, such as datetime.now(timezone.utc)")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(
        self, value: datetime | str | None, dialect: Dialect
    ) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str):  # MariaDB gives a bound value back as text
            value = datetime.fromisoformat(value)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class utc_now(FunctionElement[datetime]):
    """The database's clock as an SQL expression."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utc_now)
def _default_now(element: utc_now, compiler: Any, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(utc_now, "sqlite")
def _sqlite_now(element: utc_now, compiler: Any, **kw: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(utc_now, "postgresql")
def _postgresql_now(element: utc_now, compiler: Any, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(utc_now, "mysql", "mariadb")
def _mysql_now(element: utc_now, compiler: Any, **kw: Any) -> str:
    return "utc_timestamp(6)"


class utc_day(FunctionElement[Any]):
    """The UTC day of a time, as text ``YYYY-MM-DD`` or a date."""

    inherit_cache = True


@compiles(utc_day)
def _default_day(element: utc_day, compiler: Any, **kw: Any) -> str:
    return f"date({compiler.process(element.clauses, **kw)})"


@compiles(utc_day, "postgresql")
def _postgresql_day(element: utc_day, compiler: Any, **kw: Any) -> str:
    return f"date({compiler.process(element.clauses, **kw)} AT TIME ZONE 'UTC')"


class Clock(Protocol):
    """Where ``now`` comes from."""

    def column(self) -> ColumnElement[datetime]:
        """``now`` as a column, so that it can ride along in another SELECT."""

    def now(self, session: Session) -> datetime:
        """``now``, aware UTC."""


class DatabaseClock:
    """The clock of the database server: the same for every host and worker.

    :param of: a mapped class: with bind keys, the server on which its table lives.
    """

    def __init__(self, of: type[object] | None = None) -> None:
        self._bind = {"mapper": of} if of else {}

    def column(self) -> ColumnElement[datetime]:
        return utc_now()

    def now(self, session: Session) -> datetime:
        now = session.scalar(sa.select(utc_now()), bind_arguments=self._bind)
        assert isinstance(now, datetime)
        return now


class FixedClock:
    """A clock for tests that moves only when told.

    :param start: the first ``now``, aware.
    """

    def __init__(self, start: datetime) -> None:
        self.time: datetime = start

    def column(self) -> ColumnElement[datetime]:
        return sa.literal(self.time, UtcDateTime())

    def now(self, session: Session) -> datetime:
        return self.time

    def advance(self, **span: float) -> datetime:
        """Move on by ``timedelta(**span)``; returns the new time."""
        self.time += timedelta(**span)
        return self.time


def new_id() -> uuid.UUID:
    """A time-ordered id (RFC 9562, version 7), so that rows sort in the order they were made.

    The 12 bits after the milliseconds are the fraction of the millisecond (method 3 of 6.2).
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76 | (nanoseconds * 4096 // 1_000_000) << 64
    value |= 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=value)


def update(session: Session | scoped_session[Any], statement: sa.Update | sa.Delete) -> int:
    """Change rows without a look at the objects in memory; returns how many."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, sa.CursorResult)
    return result.rowcount


def by_id(
    session: Session | scoped_session[Any],
    query: sa.Select[Any],
    id: InstrumentedAttribute[uuid.UUID],
    size: int,
    *,
    newest_first: bool = False,
) -> Iterator[Sequence[Any]]:
    """Walk over the rows of ``query`` in the order of their ids, ``size`` at a time.

    Each chunk is a query of its own, so the transaction may end between two of them.

    :param id: the column that tells the order; it comes last in each row.
    """
    query = query.add_columns(id).order_by(id.desc() if newest_first else id).limit(size)
    part = query
    while rows := session.execute(part).all():
        yield rows
        if len(rows) < size:
            return
        last = rows[-1][-1]
        part = query.where(id < last if newest_first else id > last)


# -- Comparing host ids to the letter. Some databases take ``acme`` and ``ACME`` for the same,
# which would show one organization what belongs to another.


class _same_letters(FunctionElement[bool]):
    """Whether two texts that compare equal are equal to the letter."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(_same_letters)
def _always(element: _same_letters, compiler: Any, **kw: Any) -> str:
    return "(1 = 1)"


@compiles(_same_letters, "mysql", "mariadb")
def _same_bytes(element: _same_letters, compiler: Any, **kw: Any) -> str:
    one, other = (
        f"CAST(CONVERT({compiler.process(part, **kw)} USING utf8mb4) AS BINARY)"
        for part in element.clauses
    )
    return f"({one} = {other})"


class to_the_letter(FunctionElement[str]):
    """A text by which rows are grouped or sorted to the letter."""

    type = sa.String(255)
    inherit_cache = True


@compiles(to_the_letter)
def _text(element: to_the_letter, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(element.clauses, **kw))


@compiles(to_the_letter, "mysql", "mariadb")
def _binary_text(element: to_the_letter, compiler: Any, **kw: Any) -> str:
    return f"CONVERT({compiler.process(element.clauses, **kw)} USING utf8mb4) COLLATE utf8mb4_bin"


def exactly(column: InstrumentedAttribute[str], value: str) -> ColumnElement[bool]:
    """``column = value``, to the letter; an index on the column is used."""
    return sa.and_(column == value, _same_letters(column, sa.literal(value, sa.String(255))))
