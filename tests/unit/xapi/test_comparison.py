from __future__ import annotations

import copy
from typing import Any

import pytest

from flask_lms.connectors.xapi.comparison import differences, is_same, likeness
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


# -- Field by field, for what is read back -----------------------------------------------------


def names(changed: dict[str, Any]) -> list[str]:
    return [one.name for one in differences(OURS, changed)]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"result__duration": "PT83S"}, "result.duration"),
        ({"result__response": "A"}, "result.response"),
        ({"result__success": 1}, "result.success"),
        ({"result__extensions": {}}, "result.extensions"),
        ({"context__registration": "00000000-0000-4000-8000-000000000000"}, "context.registration"),
        ({"context__platform": None}, "context.platform"),
        ({"context__contextActivities__parent": []}, "context.contextActivities.parent"),
        ({"context__extensions": {}}, "context.extensions"),
        ({"verb__id": "http://adlnet.gov/expapi/verbs/failed"}, "verb"),
        ({"result__score__max": 7}, "result.score.max"),
    ],
)
def test_each_field_that_differs_is_named(changes: dict[str, Any], name: str) -> None:
    found = names(stored(**changes))
    assert found
    assert all(one.startswith(name) for one in found)


def test_nothing_may_be_added_to_a_result() -> None:
    ours = {**OURS, "result": {"success": False}}
    [found] = differences(ours, {**ours, "result": {"success": False, "completion": True}})
    assert (found.name, found.sent, found.stored) == ("result.completion", None, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"result__duration": "PT1M23.25S"},
        {"result__score__scaled": 0.8333000000000001},
        {"context__registration": OURS["context"]["registration"].upper()},
        {"context__contextActivities__parent": OURS["context"]["contextActivities"]["parent"][0]},
        {
            "context__contextActivities__grouping": OURS["context"]["contextActivities"][
                "grouping"
            ][::-1]
        },
        {"context__team": {"objectType": "Group"}},
        {"attachments": []},
        {"object__definition": {"name": {"de": "Anders"}}},
    ],
)
def test_another_spelling_and_what_is_added_elsewhere_is_no_difference(
    changes: dict[str, Any],
) -> None:
    assert names(stored(**changes)) == []


def test_likeness_goes_by_what_happened_and_not_by_the_id() -> None:
    assert likeness(stored(id="other", verb__display={})) == likeness(OURS)
    for other in (
        {"timestamp": "2026-11-20T12:34:56.788Z"},
        {"actor__mbox": "mailto:x@y.example"},
        {"result__success": not OURS["result"]["success"]},
        {"context__registration": None},
    ):
        assert likeness(stored(**other)) != likeness(OURS)
