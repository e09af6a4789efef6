from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flask_lms.connectors.base import Statement
from flask_lms.connectors.xapi import statement
from flask_lms.connectors.xapi.statement import duration, score, statement_id, timestamp
from flask_lms.values import Activity, Objective, Participant, Score, Step, StepResult
from tests.xapi_rules import faults
from tests.xapi_support import (
    BASE,
    FINISHED,
    NOW,
    built,
    connector,
    context,
    every_shape,
    objective,
    participant,
    result,
    rich_result,
    sent,
    settings,
    statements,
)

VERBS = "http://adlnet.gov/expapi/verbs/"


@pytest.mark.parametrize("shape", every_shape())
def test_every_shape_keeps_the_rules(shape: str) -> None:
    assert faults(every_shape()[shape], now=NOW) == []


def test_the_whole_statement_of_a_result_in_which_everything_is_set() -> None:
    [made] = statements(rich_result())
    assert made == {
        "id": str(statement_id("result", "acme", "r1", 0)),
        "actor": {
            "objectType": "Agent",
            "mbox": "mailto:jane.doe@example.com",
            "name": "Jane Doe",
        },
        "verb": {"id": VERBS + "passed", "display": {"en": "passed"}},
        "object": {
            "objectType": "Activity",
            "id": f"{BASE}/objectives/42",
            "definition": {
                "type": "http://adlnet.gov/expapi/activities/objective",
                "name": {"en-US": "Put on PPE"},
                "description": {"en-US": "In the right order."},
                "moreInfo": "https://host.example/objectives/42",
            },
        },
        "result": {
            "success": True,
            "completion": True,
            "duration": "PT83.25S",
            "score": {"scaled": 0.8333, "raw": 5, "min": 0, "max": 6},
            "extensions": {
                "https://w3id.org/xapi/cmi5/result/extensions/progress": 66,
                f"{BASE}/extensions/steps": [
                    {
                        "number": 1,
                        "name": "Helmet",
                        "outcome": "succeeded",
                        "duration_ms": 30100,
                        "at": "2026-11-20T12:34:56.789Z",
                    },
                    {"number": 2, "outcome": "failed"},
                    {"number": 3, "name": "Gloves", "outcome": "not_reached"},
                ],
                "https://host.example/x/seed": [1, None, {"deep": "ünïcode 🎓"}],
            },
        },
        "context": {
            "registration": str(statement.registration_id("acme", "E001", "session-9")),
            "platform": "Headset 4",
            "language": "en-GB",
            "revision": "3",
            "contextActivities": {
                "parent": [
                    {
                        "objectType": "Activity",
                        "id": f"{BASE}/scenes/7",
                        "definition": {
                            "type": "http://adlnet.gov/expapi/activities/simulation",
                            "name": {"en-US": "Warehouse"},
                        },
                    }
                ],
                "grouping": [
                    {"objectType": "Activity", "id": f"{BASE}/projects/12"},
                    {
                        "objectType": "Activity",
                        "id": "urn:example:course",
                        "definition": {"name": {"en-US": "Säfety"}},
                    },
                ],
                "category": [
                    {
                        "objectType": "Activity",
                        "id": "urn:uuid:68312f5c-eadd-5552-9c18-6313ba6c0fd4",
                        "definition": {
                            "type": "http://adlnet.gov/expapi/activities/profile",
                            "name": {"en": "Objective result"},
                        },
                    }
                ],
            },
            "extensions": {f"{BASE}/extensions/session": "Morning shift"},
        },
        "timestamp": "2026-11-20T12:34:56.789Z",
    }


@pytest.mark.parametrize(
    ("success", "verb"), [(True, "passed"), (False, "failed"), (None, "completed")]
)
def test_the_verb_follows_success(success: bool | None, verb: str) -> None:
    [made] = statements(result(success=success))
    assert made["verb"]["id"] == VERBS + verb
    assert made["result"].get("success") == success


def test_a_result_that_was_not_completed_sends_nothing() -> None:
    assert statements(result(completed=False)) == []


@pytest.mark.parametrize(("success", "n"), [(True, 1), (False, 0), (None, 0)])
def test_passed_only_sends_nothing_else(success: bool | None, n: int) -> None:
    assert len(statements(result(success=success), results="passed")) == n


def test_the_bytes_are_the_same_whenever_and_for_whomever_they_are_built() -> None:
    [first] = built(rich_result())
    later = context(now=NOW + timedelta(days=30))
    [second] = connector.build(
        rich_result(), settings(url="https://other.example", key="other"), later
    ).statements
    assert first.text == second.text
    assert first.id == second.id
    assert str(first.id) == json.loads(first.text)["id"]


def test_ids_never_change_with_a_release() -> None:
    assert str(statement_id("result", "acme", "r1", 0)) == "cbb0d547-db1d-5cc8-969b-18a60476a2af"
    assert (
        str(statement.registration_id("acme", "E001", "s"))
        == "b12b12e1-0c42-59dd-b9f6-89690b1d06a0"
    )


def test_ids_differ_by_kind_organization_result_revision_and_step() -> None:
    made = {
        statement_id("result", "acme", "r1", 0),
        statement_id("completed", "acme", "r1", 0),
        statement_id("result", "other", "r1", 0),
        statement_id("result", "acme", "r2", 0),
        statement_id("result", "acme", "r1", 1),
        statement_id("result", "acme", "r1", 0, 1),
        statement_id("result", 'acme","r1', "", 0),
    }
    assert len(made) == 7
    assert {item.version for item in made} == {5}


def test_completed_is_sent_too_when_asked_for_and_only_once() -> None:
    main, also = built(rich_result(), send_completed=True)
    assert (main.kind, also.kind) == ("result", "completed")
    assert main.id != also.id
    extra = json.loads(also.text)
    assert extra["verb"]["id"] == VERBS + "completed"
    assert extra["result"] == {"completion": True, "duration": "PT83.25S"}
    assert len(built(result(success=None), send_completed=True)) == 1


def test_steps_as_statements_follow_the_main_one_and_point_to_it() -> None:
    main, first, second = built(rich_result(), steps="statements")
    body, one, two = (json.loads(item.text) for item in (main, first, second))
    assert [first.kind, second.kind] == ["step", "step"]
    assert list(body["result"]["extensions"]) == [
        "https://w3id.org/xapi/cmi5/result/extensions/progress",
        "https://host.example/x/seed",
    ]
    assert one["object"]["id"] == f"{BASE}/objectives/42/steps/1"
    assert one["object"]["definition"] == {
        "type": "http://id.tincanapi.com/activitytype/step",
        "name": {"en-US": "Helmet"},
    }
    assert one["context"]["contextActivities"]["parent"] == [
        {"objectType": "Activity", "id": f"{BASE}/objectives/42"}
    ]
    assert one["context"]["statement"] == {"objectType": "StatementRef", "id": body["id"]}
    assert one["context"]["registration"] == body["context"]["registration"]
    assert one["result"] == {"success": True, "completion": True, "duration": "PT30.1S"}
    assert two["result"] == {"success": False}
    assert {step["verb"]["id"] for step in (one, two)} == {VERBS + "completed"}


def test_a_correction_voids_what_the_old_revision_sent_each_void_alone() -> None:
    old = built(result(revision=1))
    new, void = built(result(revision=2, success=False), sent(old, 1))
    assert (void.kind, void.is_single, new.is_single) == ("void", True, False)
    body = json.loads(void.text)
    assert body["verb"]["id"] == VERBS + "voided"
    assert body["object"] == {"objectType": "StatementRef", "id": str(old[0].id)}
    assert void.id not in {old[0].id, new.id}
    assert void.id == built(result(revision=2), sent(old, 1))[1].id


def voided(made: list[Statement]) -> list[str]:
    """What these take back."""
    return [json.loads(one.text)["object"]["id"] for one in made if one.kind == "void"]


def test_a_correction_voids_what_was_sent_and_not_what_it_would_send_now() -> None:
    old = built(rich_result(), send_completed=True, steps="statements")
    new = built(rich_result(revision=1, steps=[]), sent(old))
    assert voided(new) == [str(one.id) for one in old]
    assert len(old) == 4
    assert len({item.id for item in new}) == len(new)
    chosen: dict[str, Any] = {"send_completed": True, "steps": "statements"}
    assert voided(built(rich_result(revision=1), sent(old[:1]), **chosen)) == [str(old[0].id)]


def test_a_second_correction_voids_what_the_first_one_left_and_nothing_twice() -> None:
    first = built(result())
    second = built(result(revision=1), sent(first))
    both = [*sent(first), *sent(second, 1)]
    third = built(result(revision=2), both)
    assert voided(third) == [str(second[0].id)]
    without_the_void = [one for one in both if one.kind != "void"]
    assert voided(built(result(revision=2), without_the_void)) == [
        str(first[0].id),
        str(second[0].id),
    ]


def test_a_correction_that_is_not_wanted_still_takes_the_old_one_back() -> None:
    old = sent(built(result()))
    for new in (
        built(result(revision=1, success=False), old, results="passed"),
        built(result(revision=1, completed=False), old),
    ):
        assert [one.kind for one in new] == ["void"]
        again = built(result(revision=2, completed=False), [*old, *sent(new, 1)])
        assert again == []


def test_nothing_is_voided_that_is_no_older() -> None:
    for later in (1, 2):
        old = sent(built(result(revision=later)), later)
        assert [item.kind for item in built(result(revision=1), old)] == ["result"]


def test_a_test_result_is_clearly_marked_and_has_an_id_of_its_own() -> None:
    [real], [test] = built(result()), built(result(is_test=True))
    assert test.kind == "test"
    assert test.id != real.id
    marked = json.loads(test.text)["context"]
    assert marked["platform"] == "Harbor Training (test)"
    assert marked["extensions"] == {f"{BASE}/extensions/test": True}
    assert json.loads(test.text)["object"] == json.loads(real.text)["object"]


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (Participant(id="E001"), "no_email"),
        (Participant(id="E001", email="jane doe@example.com"), "bad_email"),
        (Participant(id="jane@example.com", email="jane@"), "bad_email"),
    ],
)
def test_a_participant_without_an_address_is_not_sendable_and_says_why(
    who: Participant, reason: str
) -> None:
    made = connector.build(result(participant=who), settings(), context())
    assert made.statements == ()
    assert made.not_sendable is not None
    assert made.not_sendable.reason == reason
    assert made.not_sendable.id == statement_id("result", "acme", "r1", 0)
    cause = connector.causes[reason]
    assert who.id in cause.sentence_for(made.not_sendable.facts)
    assert cause.remedies_for(made.not_sendable.facts)[0] == (
        "Correct it in Harbor Training, then Check again."
    )


def test_the_words_for_a_participant_id_that_is_no_address() -> None:
    made = connector.build(result(participant=Participant(id="E001")), settings(), context())
    assert made.not_sendable is not None
    cause = connector.causes["no_email"]
    facts = made.not_sendable.facts
    said = f"{cause.sentence_for(facts)} {cause.remedies_for(facts)[0]}"
    assert said == (
        "The participant ID 'E001' is not an e-mail address. "
        "Correct it in Harbor Training, then Check again."
    )


def test_a_statement_over_60000_bytes_is_not_sendable() -> None:
    def around(count: int) -> Objective:
        return Objective(id="1", name="A", grouping=[Activity(id="a", name="ä" * 200)] * count)

    assert len(built(result(objective=around(100)))) == 1
    made = connector.build(result(objective=around(150)), settings(), context())
    assert made.statements == ()
    assert made.not_sendable is not None
    assert made.not_sendable.reason == "too_long"
    assert made.not_sendable.facts["bytes"] > 60_000
    assert "bytes long" in connector.causes["too_long"].sentence_for(made.not_sendable.facts)


def test_an_id_instead_of_values_is_enough() -> None:
    [made] = statements(result(objective="7", participant="jane@example.com"))
    assert made["object"]["id"] == f"{BASE}/objectives/7"
    assert made["actor"] == {"objectType": "Agent", "mbox": "mailto:jane@example.com"}


def test_a_result_without_a_session_has_no_registration() -> None:
    [made] = statements(result())
    assert "registration" not in made["context"]
    assert "language" not in made["context"]


def test_progress_counts_the_objectives_steps_and_is_no_score() -> None:
    many = objective(steps=[Step(number=n) for n in range(1, 11)])
    [made] = statements(result(objective=many, steps=[StepResult(number=1, outcome="failed")]))
    progress = made["result"]["extensions"]["https://w3id.org/xapi/cmi5/result/extensions/progress"]
    assert progress == 10
    assert "score" not in made["result"]


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (Score(scaled=0.83333333), {"scaled": 0.8333}),
        (Score(scaled=-0.00001), {"scaled": 0.0}),
        (Score(scaled=1), {"scaled": 1}),
        (Score(raw=5, min=0, max=6), {"scaled": 0.8333, "raw": 5, "min": 0, "max": 6}),
        (Score(raw=-1, min=-2, max=2), {"scaled": 0.25, "raw": -1, "min": -2, "max": 2}),
        (
            Score(raw=0, min=-1e308, max=1e308),
            {"scaled": 0.5, "raw": 0, "min": -1e308, "max": 1e308},
        ),
        (Score(raw=0, min=0, max=5e-324), {"raw": 0, "min": 0, "max": 5e-324}),
        (Score(scaled=0.2, raw=5, min=0, max=6), {"scaled": 0.2, "raw": 5, "min": 0, "max": 6}),
        (Score(raw=3, min=3, max=3), {"raw": 3}),
        (Score(raw=3, min=1), {"raw": 3, "min": 1}),
        (Score(raw=3, max=4.5), {"raw": 3, "max": 4.5}),
    ],
)
def test_scores(value: Score, made: dict[str, float]) -> None:
    assert score(value) == made
    assert "-" not in json.dumps(score(Score(scaled=-0.00001)))


@pytest.mark.parametrize(
    ("scaled", "sent"), [(0.79999, 0.7999), (0.8, 0.8), (0.80001, 0.8), (-0.00001, -0.0001)]
)
def test_no_failed_score_is_rounded_up_to_a_pass_mark(scaled: float, sent: float) -> None:
    assert score(Score(scaled=scaled), is_failed=True) == {"scaled": sent}


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "PT0S"), (4, "PT0S"), (5, "PT0.01S"), (12_500, "PT12.5S"), (83_250, "PT83.25S"),
     (1_000, "PT1S"), (59_999, "PT60S"), (3_600_010, "PT3600.01S")],
)  # fmt: skip
def test_durations_have_at_most_two_decimals(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


def test_the_duration_comes_from_the_times_when_only_those_are_known() -> None:
    [made] = statements(result(started_at=FINISHED - timedelta(seconds=61.5)))
    assert made["result"]["duration"] == "PT61.5S"


EAST = timezone(timedelta(hours=14))
WEST = timezone(-timedelta(hours=12))


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (FINISHED, "2026-11-20T12:34:56.789Z"),
        (FINISHED.astimezone(EAST), "2026-11-20T12:34:56.789Z"),
        (NOW + timedelta(days=1), "2026-11-20T12:40:00.000Z"),
        (datetime.max.replace(tzinfo=WEST), "2026-11-20T12:40:00.000Z"),
        (datetime.min.replace(tzinfo=EAST), "0001-01-01T00:00:00.000Z"),
        (datetime(3, 1, 1, tzinfo=timezone.utc), "0003-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds_and_never_in_the_future(at: datetime, text: str) -> None:
    assert timestamp(at, NOW) == text


@pytest.mark.parametrize(
    ("given", "iri"),
    [
        ("scenes/7", f"{BASE}/scenes/7"),
        ("/scenes/7/", f"{BASE}/scenes/7"),
        ("a b?#ä", f"{BASE}/a%20b%3F%23%C3%A4"),
        ("https://x.example/ä", "https://x.example/ä"),
    ],
)
def test_short_ids_of_activities_are_built_under_the_base_url(given: str, iri: str) -> None:
    [made] = statements(result(objective=objective(parent=Activity(id=given))))
    assert made["context"]["contextActivities"]["parent"][0]["id"] == iri


def test_nothing_in_the_text_is_escaped() -> None:
    [made] = built(result(objective=Objective(id="1", name="Größe </script> 🎓")))
    assert "Größe </script> 🎓" in made.text
    assert uuid.UUID(json.loads(made.text)["id"]) == made.id


def test_the_name_is_sent_only_when_allowed_and_never_beside_a_hash() -> None:
    for chosen in ({"send_name": False}, {"identify": "mbox_sha1sum"}):
        assert "Jane" not in built(result(participant=participant()), **chosen)[0].text


def test_the_previews_keep_the_rules_with_every_setting() -> None:
    for identify in ("mbox", "mbox_sha1sum", "account"):
        for results in ("all", "passed"):
            chosen = settings(identify=identify, results=results)
            for preview in connector.previews(chosen, context()):
                if preview.text:
                    assert faults(json.loads(preview.text), now=NOW) == []
                    assert preview.text.startswith("{\n  ")
