"""Nobody who failed is credited, whatever an LMS goes by and whatever is set, but for the one
setting that says so in words.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_lms.values import ObjectiveResult, Score, Step, StepResult
from tests.xapi_support import BASE, connector, context, objective, result, settings

VERBS = "http://adlnet.gov/expapi/verbs/"
OBJECTIVE = f"{BASE}/objectives/42"
MASTERY = 0.8

Sent = list[dict[str, Any]]


def _verb(sent: Sent, *names: str) -> bool:
    return any(one["verb"]["id"] == VERBS + name for one in sent for name in names)


def _flag(sent: Sent) -> bool:
    return any(one.get("result", {}).get("completion") is True for one in sent)


def _scaled(sent: Sent) -> bool:
    scores = [one.get("result", {}).get("score", {}).get("scaled") for one in sent]
    return any(scaled is not None and scaled >= MASTERY for scaled in scores)


#: How LMSs decide that somebody has done an activity, from the statements about it: a rule's name,
#: the rule, and whether completing is enough for it.
RULES: dict[str, tuple[Callable[[Sent], bool], bool]] = {
    "the verb completed": (lambda sent: _verb(sent, "completed"), True),
    "the completion flag": (_flag, True),
    "cmi5 CompletedOrPassed": (lambda sent: _verb(sent, "completed", "passed"), True),
    "cmi5 CompletedAndPassed": (
        lambda sent: _verb(sent, "completed") and _verb(sent, "passed"),
        False,
    ),
    "cmi5 Passed": (lambda sent: _verb(sent, "passed"), False),
    "cmi5 Completed": (lambda sent: _verb(sent, "completed"), True),
    "the flag beside a verb": (
        lambda sent: any(_flag([one]) and _verb([one], "completed", "passed") for one in sent),
        True,
    ),
    "score at least mastery": (_scaled, False),
}
SETTINGS = [
    {
        "failed_counts_as_completed": counts,
        "send_completed": send_completed,
        "steps": steps,
        "results": results,
        "identify": identify,
    }
    for counts, send_completed, steps, results, identify in itertools.product(
        (None, False, True),
        (False, True),
        ("summary", "statements"),
        ("all", "passed"),
        ("mbox", "account"),
    )
]
STEPS = {
    "none": [],
    "all failed": [StepResult(number=1, outcome="failed"), StepResult(number=2, outcome="failed")],
    "one failed": [
        StepResult(number=1, outcome="succeeded"),
        StepResult(number=2, outcome="failed"),
    ],
    "all succeeded": [StepResult(number=n, outcome="succeeded") for n in (1, 2)],
}
#: The host's own pass mark is the LMS's: a failed result has a score below it.
SCORES = {
    True: [None, Score(scaled=0.9), Score(raw=9, min=0, max=10)],
    False: [None, Score(scaled=0.79996), Score(raw=7, min=0, max=10), Score(raw=1)],
    None: [None],
}


def results() -> Iterator[ObjectiveResult]:
    of = objective(steps=[Step(number=1), Step(number=2)])
    for success, completed, is_test in itertools.product(
        (True, False, None), (True, False), (False, True)
    ):
        for score, steps in itertools.product(SCORES[success], STEPS.values()):
            yield result(
                objective=of,
                success=success,
                completed=completed,
                is_test=is_test,
                score=score,
                steps=steps,
            )


def sent(of: ObjectiveResult, chosen: dict[str, Any]) -> list[dict[str, Any]]:
    given = settings(**chosen)
    if chosen["failed_counts_as_completed"] is None:  # saved by an older version
        del given["failed_counts_as_completed"]
    return [json.loads(one.text) for one in connector.build(of, given, context()).statements]


def about(statements: Sent, activity: str) -> Sent:
    return [one for one in statements if one["object"]["id"] == activity]


def test_no_failed_result_is_credited_under_any_rule_but_as_the_administrator_chose() -> None:
    combinations = credited_failed = 0
    for of, chosen in itertools.product(results(), SETTINGS):
        statements = about(sent(of, chosen), OBJECTIVE)
        for name, (rule, goes_by_completion) in RULES.items():
            combinations += 1
            is_credited = rule(statements)
            if not is_credited:
                continue
            assert of.completed, (name, chosen)
            if of.success is None:
                assert goes_by_completion, (name, chosen)
            if of.success is False:
                credited_failed += 1
                assert chosen["failed_counts_as_completed"] is True, (name, chosen)
                assert goes_by_completion, (name, chosen)
    assert combinations >= 500
    assert credited_failed  # who chooses it gets it


def test_no_failed_step_is_completed_and_no_step_is_passed() -> None:
    seen = 0
    for of, chosen in itertools.product(results(), SETTINGS):
        for step in of.steps:
            statements = about(sent(of, chosen), f"{OBJECTIVE}/steps/{step.number}")
            seen += len(statements)
            assert not _verb(statements, "passed", "failed")
            assert _flag(statements) == (bool(statements) and step.outcome == "succeeded")
    assert seen


@pytest.mark.parametrize("rule", RULES)
def test_who_passed_is_credited_by_an_lms_that_goes_by_what_it_is_sent(rule: str) -> None:
    """The rules above are no empty promise: each credits somebody."""
    chosen = {**SETTINGS[0], "send_completed": True}
    passed = result(success=True, score=Score(raw=9, min=0, max=10))
    assert RULES[rule][0](sent(passed, chosen))


@pytest.mark.parametrize("chosen", SETTINGS)
def test_the_sentence_of_the_preview_says_what_is_sent(chosen: dict[str, Any]) -> None:
    given = {**settings(**chosen)}
    passed, failed = connector.previews(given, context())
    assert (passed.label, failed.label) == ("Somebody passed", "Somebody failed")
    assert "is credited" in passed.meaning
    if chosen["results"] == "passed":
        assert (failed.text, failed.meaning[:15]) == ("", "Nothing is sent")
        return
    may_credit = '"completion": true' in failed.text.partition("activitytype/step")[0]
    assert may_credit == ("credited although they failed" in failed.meaning)
    assert may_credit == bool(chosen["failed_counts_as_completed"])
    assert ("nobody who failed is credited" in failed.meaning) != may_credit


def test_settings_of_an_older_version_tell_what_changed_until_they_are_saved() -> None:
    old = settings(steps="statements")
    assert connector.changes(old) == []
    del old["failed_counts_as_completed"]
    failed, steps = connector.changes(old)
    assert "nobody who failed is credited" in failed
    assert "no longer as “passed” or “failed”" in steps
    assert connector.changes({**old, "steps": "summary", "results": "passed"}) == []
