"""Lists as CSV: streamed, UTC, UTF-8 with a mark so that spreadsheets read it, formulas defused."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from flask import Response, stream_with_context

from ..database.types import UTC
from ..services.csv_lines import FORMULA
from .pages import state

_FORMULA = re.compile(FORMULA.format(""))
_LINES = 200


def defuse(value: object) -> str:
    """A cell's text; one that a spreadsheet would calculate gets an apostrophe (OWASP)."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return _FORMULA.sub(r"\1'", str(value))


def stream(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A download made while it is read."""

    def lines() -> Iterator[str]:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        buffer.write("\ufeff")
        writer.writerow(head)
        try:
            for count, row in enumerate(rows, 1):
                writer.writerow([defuse(cell) for cell in row])
                if count % _LINES == 0:
                    yield buffer.getvalue()
                    buffer.seek(0)
                    buffer.truncate()
        except BaseException:
            state().session.rollback()
            raise
        yield buffer.getvalue()

    response = Response(stream_with_context(lines()), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
