from __future__ import annotations

import copy
from typing import Any

import pytest

from flask_lms.connectors.xapi.comparison import is_same
from tests.xapi_support import rich_result, statements

OURS = statements(rich_result())[0]


def stored(**changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(OURS)
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = made
        for parent in parents:
            place = place[parent]
        place[name] = value
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"id": OURS["id"].upper()},
        {"stored": "2026-11-20T12:40:00Z", "authority": {}, "version": "1.0.3"},
        {"timestamp": "2026-11-20T12:34:56.789000+00:00"},
        {"timestamp": "2026-11-20T14:34:56.789+02:00"},
        {"timestamp": "2026-11-20T07:04:56.7891-0530"},
        {"actor__name": "Doe, Jane"},
        {"actor__mbox": "mailto:Jane.Doe@example.com"},
        {"verb__display": {}},
        {"object__definition": {}},
        {"result__score__raw": 5.0},
        {"context": {}},
    ],
)
def test_what_an_lrs_may_add_or_rewrite_makes_no_difference(changes: dict[str, Any]) -> None:
    assert is_same(OURS, stored(**changes)) is True


@pytest.mark.parametrize(
    "changes",
    [
        {"actor__mbox": "mailto:somebody@example.com"},
        {"verb__id": "http://adlnet.gov/expapi/verbs/failed"},
        {"object__id": "https://other.example/1"},
        {"result__success": False},
        {"result__score__scaled": 0.5},
        {"result": None},
        {"timestamp": "2026-11-20T12:34:57.789Z"},
        {"timestamp": "nonsense"},
        {"timestamp": "9999-99-99T00:00:00Z"},
        {"timestamp": "0001-01-01T00:00:00+14:00"},
        {"actor": "Jane"},
    ],
)
def test_another_record_is_told_apart(changes: dict[str, Any]) -> None:
    assert is_same(OURS, stored(**changes)) is False


@pytest.mark.parametrize("value", [None, [], "x", {}, {"id": "other"}, {"statements": []}])
def test_what_is_not_our_statement_cannot_be_compared(value: Any) -> None:
    assert is_same(OURS, value) is None
