"""Comparing host ids to the letter. Some databases take ``acme`` and ``ACME`` for the same, which
would show one organization what belongs to another.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement


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


def exactly(column: InstrumentedAttribute[str], value: str) -> ColumnElement[bool]:
    """``column = value``, to the letter; an index on the column is used."""
    return sa.and_(column == value, _same_letters(column, sa.literal(value, sa.String(255))))
