"""Tables as Excel of any country, HR systems and people write them."""

from __future__ import annotations

import pytest

from flask_lms import InvalidConfiguration
from flask_lms.admin.csv_files import defuse
from flask_lms.services import csv_lines
from flask_lms.services.csv_lines import Table
from flask_lms.services.mappings import COLUMNS


def read(data: bytes | str) -> Table:
    return csv_lines.read(data, COLUMNS, ["participant_id"])


TEXT = "Participant ID;E-Mail;Name\r\nE001;jane@acme.example;Jänet\r\n\r\nE002;;\r\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("cp1252"),
        TEXT.encode("utf-16"),
        TEXT.replace(";", ",").encode(),
        TEXT.replace(";", "\t").encode("utf-16"),
        TEXT.replace("\r\n", "\n").encode(),
        TEXT.replace("\r\n", "\r").encode(),
        TEXT,
    ],
    ids=["plain", "mark", "western", "utf-16", "commas", "tabs", "unix", "old mac", "text"],
)
def test_what_spreadsheets_write_is_read(data: bytes | str) -> None:
    table = read(data)
    assert table.bad == []
    assert [row for _, row in table.rows] == [
        {"participant_id": "E001", "email": "jane@acme.example", "name": "Jänet"},
        {"participant_id": "E002", "email": "", "name": ""},
    ]
    assert [number for number, _ in table.rows] == [2, 4]


def test_excels_own_line_on_the_separator_counts_as_a_line() -> None:
    table = read("sep=|\r\nid|mail\r\nE001|a,b;c@x.example\r\n")
    assert table.rows == [(3, {"participant_id": "E001", "email": "a,b;c@x.example"})]


def test_columns_of_others_are_passed_over_and_their_order_is_free() -> None:
    table = read('Department,"E-Mail-Adresse",Personalnummer\n"Sales, North",j@x.example,7\n')
    assert table.rows == [(2, {"email": "j@x.example", "participant_id": "7"})]


@pytest.mark.parametrize("text", ["=1+1", "-7", "@x", "+49", "a;=b", "＝x", "'quoted", "plain"])
def test_what_was_kept_from_running_comes_back_as_it_was(text: str) -> None:
    table = read(f'participant_id\n"{defuse(text)}"\n')
    assert [row["participant_id"] for _, row in table.rows] == [text]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"name,mail\nx,y\n", "Missing: participant_id"),
        (b"E001,jane@acme.example\n", "Missing: participant_id"),
        (b"PK\x03\x04rest", "workbook"),
        (b"\xd0\xcf\x11\xe0rest", "workbook"),
        (b"participant_id\nE\x00001\n", "not a CSV"),
        (b"x" * 5_000_001, "5 MB"),
        (b"participant_id\n" + b"E\n" * 20_001, "20000 lines"),
        (b'"participant_id', "doesn't name the columns"),
    ],
)
def test_what_is_no_such_table_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        read(data)
    [sentence] = refused.value.errors["file"]
    assert said in str(sentence)


def test_a_line_that_cant_be_read_is_told_by_its_number() -> None:
    table = read('id,mail\nE001,a@x.example,surplus\nE002,b@x.example\n"E003,c@x.example\nE004\n')
    assert [(one.number, *map(str, one.errors[""])) for one in table.bad] == [
        (2, "It has more cells than the first line. Put quotes around commas."),
        (4, str(table.bad[1].errors[""][0])),
    ]
    assert "not read" in str(table.bad[1].errors[""][0])
    assert [row["participant_id"] for _, row in table.rows] == ["E002"]
    assert read("id\n" + '"' + "x" * 200_000 + '"\n').bad[0].number == 2


def test_a_line_break_within_quotes_keeps_the_numbers_right() -> None:
    table = read('id,name\nE001,"Jane\nDoe"\nE002,x\n')
    assert [number for number, _ in table.rows] == [2, 4]
