"""Tables that administrators upload: CSV as Excel of any country, HR systems and people write it.

Pure: bytes in, lines with their numbers out. What is wrong with a line is said with its number.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidConfiguration
from ..i18n import Words

MOST_BYTES = 5_000_000
MOST_LINES = 20_000
#: Where a formula may begin: at the start, or where a spreadsheet of another country, which splits
#: at semicolons or tabs, starts a new cell. The wide signs mean the same in East Asian ones.
FORMULA = r"(^\s*|[;\t\r\n]\s*){}(?=[=+\-@＝＋－＠])"
_DEFUSED = re.compile(FORMULA.format("'"))
_SEPARATORS = ",;\t"


@dataclass(frozen=True, kw_only=True)
class BadLine:
    """A line of an uploaded table that can't be taken.

    :param number: of the line in the file; the line of the columns' names is the first.
    :param errors: column → sentences; of no column: ``""``.
    """

    number: int
    errors: Mapping[str, Sequence[str]]


@dataclass(kw_only=True)
class Table:
    """What a file holds.

    :param rows: (number of the line, column → text), without empty lines.
    :param bad: those that could not be read.
    """

    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


def read(data: bytes | str, columns: Mapping[str, Sequence[str]], needed: Sequence[str]) -> Table:
    """The lines of a table, whose first one names the columns, in any order.

    UTF-8 with or without a mark, UTF-16 with one, else Windows' Western letters; commas,
    semicolons or tabs. The apostrophes with which we keep formulas from running are taken away.

    :param columns: name → what else it may be called; capitals, spaces and hyphens don't count.
    :param needed: those that must be there.
    :raises InvalidConfiguration: field ``file``: it is no such table, or too long.
    """
    text = data if isinstance(data, str) else _text(data)
    lines = io.StringIO(text, newline="")
    first = lines.readline()
    skipped = 0
    separator = max(_SEPARATORS, key=first.count)
    if directive := re.fullmatch(r"sep=([,;\t|])\s*", first, re.IGNORECASE):  # Excel's own
        separator, skipped = directive[1], 1
    else:
        lines.seek(0)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    table, names = Table(), list[str]()
    while True:
        number = skipped + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error:
            if not names:
                raise _refused(Words("The first line doesn't name the columns.")) from None
            broken = Words(
                "A quotation mark stands where none may or has no end, or a cell is far too long. "
                "This line and those after it were not read."
            )
            table.bad.append(BadLine(number=number, errors={"": [broken]}))
            break
        if not any(cell.strip() for cell in cells):
            continue
        if not names:
            names = _names(cells, columns)
            if missing := [one for one in needed if one not in names]:
                raise _refused(
                    Words(
                        "The first line must name the columns. Missing: %(names)s.",
                        names=", ".join(missing),
                    )
                )
            continue
        if any(cell.strip() for cell in cells[len(names) :]):
            many = Words("It has more cells than the first line. Put quotes around commas.")
            table.bad.append(BadLine(number=number, errors={"": [many]}))
            continue
        clean = (_DEFUSED.sub(r"\1", cell).strip() for cell in cells)
        row = {name: cell for name, cell in zip(names, clean, strict=False) if name}
        table.rows.append((number, row))
        if len(table.rows) > MOST_LINES:
            raise _refused(
                Words("It has more than %(most)s lines. Upload it in parts.", most=MOST_LINES)
            )
    if not names:
        raise _refused(Words("The file is empty."))
    return table


def _refused(sentence: str) -> InvalidConfiguration:
    return InvalidConfiguration({"file": [sentence]})


def _text(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise _refused(
            Words("It is larger than %(most)s MB. Upload it in parts.", most=MOST_BYTES // 10**6)
        )
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise _refused(Words("This is a workbook, not a CSV file. In Excel, use “Save as CSV”."))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise _refused(Words("This is not a CSV file."))
    return text


def _names(cells: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """What each column is; empty: nothing of ours."""
    plain = {
        re.sub(r"[\W_]+", "", called).casefold(): name
        for name, also in columns.items()
        for called in (name, *also)
    }
    return [plain.get(re.sub(r"[\W_]+", "", cell).casefold(), "") for cell in cells]
