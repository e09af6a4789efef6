"""Every shape of statement passes a checker that isn't ours."""

from __future__ import annotations

import pytest

from tests.node_support import validate
from tests.xapi_rules import faults
from tests.xapi_support import NOW, every_shape

pytestmark = [pytest.mark.node, pytest.mark.timeout(500)]


def test_every_shape_passes_learning_lockers_validator() -> None:
    shapes = every_shape()
    said = dict(zip(shapes, validate(list(shapes.values())), strict=True))
    assert {name: warnings for name, warnings in said.items() if warnings} == {}
    assert len(said) > 25


def test_both_checkers_see_what_is_wrong() -> None:
    good = every_shape()["rich 0"]
    wrong = [
        {**good, "id": "1"},
        {**good, "actor": {"objectType": "Agent", "name": "Jane"}},
        {**good, "verb": {"id": "passed"}},
        {**good, "timestamp": "yesterday"},
        {**good, "extra": 1},
        {**good, "result": {"duration": "83 s"}},
        {**good, "result": {"score": {"scaled": 2}}},
        {**good, "context": {"language": "en_US"}},
        {**good, "context": None},
    ]
    for statement, warnings in zip(wrong, validate(wrong), strict=True):
        assert warnings
        assert faults(statement, now=NOW)
