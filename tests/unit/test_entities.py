"""Host values check themselves: each field has its rule and its words."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flask_lms import (
    Activity,
    Administrator,
    InvalidValue,
    Objective,
    ObjectiveResult,
    Participant,
    Score,
    Step,
    StepResult,
)
from flask_lms.values import from_json, to_json
from tests.world import START, result

NAIVE = datetime(2026, 3, 2, 9, 0)  # noqa: DTZ001
GIVEN: dict[type, dict[str, Any]] = {
    Administrator: {"id": "a", "organization_id": "o"},
    Activity: {"id": "a"},
    Step: {"number": 1},
    Objective: {"id": "ppe", "name": "Put on PPE"},
    Participant: {"id": "p"},
    Score: {"scaled": 0.5},
    StepResult: {"number": 1, "outcome": "failed"},
    ObjectiveResult: {
        "id": "r1",
        "organization_id": "acme",
        "objective": "ppe",
        "participant": "jane@acme.example",
        "finished_at": START,
    },
}
ID = "1 to 255 characters"
CASES: list[tuple[type, str, Any, str]] = [
    (Administrator, "id", None, "must be a str"),
    (Administrator, "organization_id", 1.5, "must be a str"),
    (Administrator, "name", 5, "must be a str"),
    (Administrator, "email", b"a@b", "must be a str"),
    (Activity, "id", "", ID),
    (Activity, "name", 1, "must be a str"),
    (Activity, "type", "no iri", "absolute IRI"),
    (Step, "number", 0, "from 1 to"),
    (Step, "number", "1", "whole number"),
    (Step, "name", 3, "must be a str"),
    (Step, "type", "step", "absolute IRI"),
    (Objective, "id", "x" * 256, ID),
    (Objective, "name", "", "must not be empty"),
    (Objective, "name", None, "must be a str"),
    (Objective, "description", 1, "must be a str"),
    (Objective, "url", "/relative", "absolute http(s) URL"),
    (Objective, "url", "javascript:alert(document.domain)", "absolute http(s) URL"),
    (Objective, "url", "JavaScript://host.example/%0Aalert(1)", "absolute http(s) URL"),
    (Objective, "url", "data:text/html,<script>", "absolute http(s) URL"),
    (Participant, "account_home_page", "javascript:alert(1)", "absolute http(s) URL"),
    (Objective, "language", "en_US", "hyphens: en-US"),
    (Objective, "enabled", "yes", "True or False"),
    (Objective, "activity_id", "https://a b", "absolute IRI"),
    (Objective, "version", 2, "must be a str"),
    (Objective, "parent", "scene", "must be of type Activity"),
    (Objective, "grouping", ["x"], "nothing but Activity"),
    (Objective, "steps", "12", "must be a list of Step"),
    (Participant, "id", "a\nb", "no control characters"),
    (Participant, "email", 1, "must be a str"),
    (Participant, "name", [], "must be a str"),
    (Participant, "account_home_page", "not one", "absolute http(s) URL"),
    (Participant, "account_name", "alone", "together with account_home_page"),
    (Score, "scaled", 1.01, "from -1 to 1"),
    (Score, "scaled", None, "must be given"),
    (Score, "scaled", float("nan"), "from -1 to 1"),
    (Score, "raw", "3", "finite number"),
    (Score, "min", float("inf"), "finite"),
    (Score, "max", True, "finite number"),
    (StepResult, "number", -1, "from 1 to"),
    (StepResult, "outcome", "passed", "must be one of succeeded, failed, not_reached"),
    (StepResult, "at", NAIVE, "must be aware"),
    (StepResult, "duration_ms", 1.5, "whole number"),
    (ObjectiveResult, "id", True, "must be a str"),
    (ObjectiveResult, "id", " ", ID),
    (ObjectiveResult, "organization_id", None, "must be a str"),
    (ObjectiveResult, "objective", None, "must be a str"),
    (ObjectiveResult, "participant", object(), "must be a str"),
    (ObjectiveResult, "finished_at", "2026-03-02", "must be a datetime"),
    (ObjectiveResult, "finished_at", NAIVE, "must be aware"),
    (ObjectiveResult, "finished_at", None, "must be a datetime"),
    (ObjectiveResult, "success", 1, "True or False"),
    (ObjectiveResult, "completed", None, "True or False"),
    (ObjectiveResult, "started_at", NAIVE, "must be aware"),
    (ObjectiveResult, "started_at", START + timedelta(seconds=1), "not be after finished_at"),
    (ObjectiveResult, "duration_ms", -1, "from 0 to"),
    (ObjectiveResult, "duration_ms", "83", "whole number"),
    (ObjectiveResult, "score", 0.5, "must be of type Score"),
    (ObjectiveResult, "steps", [1], "nothing but StepResult"),
    (
        ObjectiveResult,
        "steps",
        (StepResult(number=1, outcome="failed"),) * 2,
        "not name a step number twice",
    ),
    (ObjectiveResult, "session_id", "", ID),
    (ObjectiveResult, "session_name", 1, "must be a str"),
    (ObjectiveResult, "platform", 1, "must be a str"),
    (ObjectiveResult, "language", "english", "BCP 47"),
    (ObjectiveResult, "is_test", "no", "True or False"),
    (ObjectiveResult, "revision", -1, "from 0 to"),
    (ObjectiveResult, "revision", None, "whole number"),
    (ObjectiveResult, "extensions", [], "must be a mapping"),
    (ObjectiveResult, "extensions", {"key": 1}, "absolute IRIs as keys"),
    (ObjectiveResult, "extensions", {"https://a.example/x": START}, "JSON values"),
    (ObjectiveResult, "extensions", {"https://a.example/x": float("nan")}, "JSON values"),
]


@pytest.mark.parametrize(
    ("kind", "field", "value", "rule"),
    CASES,
    ids=[f"{kind.__name__}.{field}-{number}" for number, (kind, field, *_) in enumerate(CASES)],
)
def test_a_value_that_breaks_a_rule_names_field_type_and_rule(
    kind: type, field: str, value: Any, rule: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind(**{**GIVEN[kind], field: value})
    assert caught.value.field == f"{kind.__name__}.{field}"
    assert caught.value.value_type == type(value).__name__
    assert rule in caught.value.rule
    assert str(caught.value).startswith(f"{kind.__name__}.{field} (got {type(value).__name__}): ")


def test_every_field_of_an_objective_result_has_its_case() -> None:
    tested = {field for kind, field, *_ in CASES if kind is ObjectiveResult}
    assert tested == {field.name for field in dataclasses.fields(ObjectiveResult)}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"raw": 5, "min": 6}, "Score.raw"),
        ({"raw": 5, "max": 4}, "Score.raw"),
        ({"raw": 5, "min": 9, "max": 1}, "Score.min"),
    ],
)
def test_a_score_lies_within_its_bounds(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Score(**values)
    assert caught.value.field == field


def test_the_refused_value_itself_is_not_in_the_message() -> None:
    with pytest.raises(InvalidValue) as caught:
        result(participant=Participant(id="jane@acme.example\x00"))
    assert "jane" not in str(caught.value)


def test_ids_may_be_ints_and_names_lose_control_characters() -> None:
    made = result(id=7, objective=Objective(id=42, name="Put\x07 on\n PPE"))  # type: ignore[arg-type]
    assert made.id == "7"
    assert isinstance(made.objective, Objective)
    assert (made.objective.id, made.objective.name) == ("42", "Put on PPE")


def test_a_result_survives_being_kept_as_json() -> None:
    whole = result(
        started_at=datetime(2026, 3, 2, 10, 58, tzinfo=timezone(timedelta(hours=2))),
        score=Score(scaled=0.5, raw=3, min=0, max=6),
        objective=Objective(
            id="ppe",
            name="Put on PPE",
            parent=Activity(id="scene-7", name="Warehouse"),
            grouping=[Activity(id="project-12")],
            steps=[Step(number=1, name="Helmet")],
        ),
        steps=[StepResult(number=1, outcome="succeeded", at=START, duration_ms=10)],
        extensions={"https://a.example/x": {"deep": [1, None, True]}},
    )
    assert from_json(json.loads(json.dumps(to_json(whole)))) == whole


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        result().id = "other"  # type: ignore[misc]
