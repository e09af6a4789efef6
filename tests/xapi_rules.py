"""Our own checker of statements: stricter than the standard where a real LRS is (design: xAPI).

It knows nothing of the code that makes statements. :func:`faults` gives one sentence a fault.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

_VERBS = "http://adlnet.gov/expapi/verbs/"
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_DURATION = re.compile(r"PT(0|[1-9]\d*)(\.\d{1,2})?S")
_MAILTO = re.compile(r"mailto:[A-Za-z0-9.!$&'*+/=_~-]+@([a-z0-9-]+\.)+[a-z][a-z0-9-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_STATEMENT = {"id", "actor", "verb", "object", "result", "context", "timestamp"}
_RESULT = {"success", "completion", "duration", "score", "extensions"}
_CONTEXT = {
    "registration", "platform", "language", "revision", "contextActivities", "statement",
    "extensions",
}  # fmt: skip
_IDENTIFIERS = {"mbox", "mbox_sha1sum", "account"}


def faults(statement: Any, *, now: datetime) -> list[str]:
    """What is wrong with a statement; empty: nothing."""
    if not isinstance(statement, dict):
        return ["a statement is an object"]
    return [
        *_unknown("statement", statement, _STATEMENT),
        *_required("statement", statement, ("id", "actor", "verb", "object", "timestamp")),
        *_values(statement),
        *_uuid("id", statement.get("id")),
        *_actor(statement.get("actor", {})),
        *_verb(statement.get("verb", {})),
        *_object(statement.get("object", {}), statement),
        *_result(statement.get("result")),
        *_context(statement.get("context")),
        *_timestamp(statement.get("timestamp"), now),
    ]


def _unknown(place: str, value: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    for name in value.keys() - known:
        yield f"{place} has the unknown property {name}"


def _required(place: str, value: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if name not in value:
            yield f"{place} lacks {name}"


def _values(value: Any, path: str = "$") -> Iterator[str]:
    """No null, NaN, empty object or control character outside extensions."""
    if value is None:
        yield f"{path} is null"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is not a number"
    elif isinstance(value, str):
        if _CONTROL.search(value):
            yield f"{path} has control characters"
        if not value:
            yield f"{path} is empty"
    elif isinstance(value, dict):
        if not value:
            yield f"{path} is an empty object"
        for name, item in value.items():
            if name == "extensions":
                yield from _extensions(item, f"{path}.extensions")
            else:
                yield from _values(item, f"{path}.{name}")
    elif isinstance(value, list):
        if not value:
            yield f"{path} is an empty list"
        for index, item in enumerate(value):
            yield from _values(item, f"{path}[{index}]")


def _extensions(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield f"{path} is no object with entries"
        return
    for name in value:
        yield from _iri(path, name)


def _iri(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:.", value):
        yield f"{path} is no absolute IRI: {value!r}"
    elif re.search(r"[\s<>\"{}|\\^`]", value):
        yield f"{path} has characters that an IRI must not have: {value!r}"


def _uuid(path: str, value: Any) -> Iterator[str]:
    try:
        parsed = uuid.UUID(value)
    except (ValueError, TypeError, AttributeError):
        yield f"{path} is no UUID"
        return
    if str(parsed) != value:
        yield f"{path} is not spelled as a UUID is"
    if parsed.variant != uuid.RFC_4122:
        yield f"{path} has a foreign variant"


def _map_of_languages(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield f"{path} is no map of languages"
        return
    for tag, text in value.items():
        if not _LANGUAGE.fullmatch(tag):
            yield f"{path} has the language tag {tag}"
        if not isinstance(text, str):
            yield f"{path} has a text that is none"


def _actor(actor: Any) -> Iterator[str]:
    yield from _unknown("actor", actor, {"objectType", "name", *_IDENTIFIERS})
    if actor.get("objectType") != "Agent":
        yield "actor is no Agent"
    given = _IDENTIFIERS & actor.keys()
    if len(given) != 1:
        yield f"actor has {len(given)} identifiers"
    if "mbox" in actor and not _MAILTO.fullmatch(actor["mbox"]):
        yield f"actor.mbox is {actor['mbox']!r}"
    if "mbox_sha1sum" in actor:
        if not re.fullmatch(r"[0-9a-f]{40}", actor["mbox_sha1sum"]):
            yield "actor.mbox_sha1sum is no lower-case SHA-1"
        if "name" in actor:
            yield "actor has a name beside a hash"
    if "account" in actor:
        if set(actor["account"]) != {"homePage", "name"}:
            yield "actor.account needs homePage and name"
        yield from _iri("actor.account.homePage", actor["account"].get("homePage"))
    if len(actor.get("name", "")) > 255:
        yield "actor.name is too long"


def _verb(verb: Any) -> Iterator[str]:
    yield from _unknown("verb", verb, {"id", "display"})
    names = {f"{_VERBS}{name}" for name in ("passed", "failed", "completed", "voided")}
    if verb.get("id") not in names:
        yield f"verb.id is {verb.get('id')!r}"
    yield from _map_of_languages("verb.display", verb.get("display"))


def _object(target: Any, statement: Mapping[str, Any]) -> Iterator[str]:
    is_void = statement.get("verb", {}).get("id") == f"{_VERBS}voided"
    if target.get("objectType") == "StatementRef":
        yield from _reference("object", target)
        if not is_void:
            yield "only a void has another statement as its object"
        if target.get("id") == statement.get("id"):
            yield "a void voids itself"
        for name in ("result", "context"):
            if name in statement:
                yield f"a void has a {name}"
        return
    if is_void:
        yield "a void names no statement"
    yield from _activity("object", target)


def _reference(path: str, value: Any) -> Iterator[str]:
    if set(value) != {"objectType", "id"} or value.get("objectType") != "StatementRef":
        yield f"{path} is no StatementRef"
    yield from _uuid(f"{path}.id", value.get("id"))


def _activity(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no activity"
        return
    yield from _unknown(path, value, {"objectType", "id", "definition"})
    if value.get("objectType") != "Activity":
        yield f"{path} is no Activity"
    yield from _iri(f"{path}.id", value.get("id"))
    definition = value.get("definition", {"type": "x:y"})
    yield from _unknown(path, definition, {"type", "name", "description", "moreInfo"})
    for name in ("type", "moreInfo"):
        if name in definition:
            yield from _iri(f"{path}.definition.{name}", definition[name])
    for name in ("name", "description"):
        if name in definition:
            yield from _map_of_languages(f"{path}.definition.{name}", definition[name])


def _result(result: Any) -> Iterator[str]:
    if result is None:
        return
    yield from _unknown("result", result, _RESULT)
    for name in ("success", "completion"):
        if name in result and not isinstance(result[name], bool):
            yield f"result.{name} is no Boolean"
    if "duration" in result and not _DURATION.fullmatch(result["duration"]):
        yield f"result.duration is {result['duration']!r}"
    if "score" in result:
        yield from _score(result["score"])


def _score(score: Any) -> Iterator[str]:
    yield from _unknown("score", score, {"scaled", "raw", "min", "max"})
    for name, value in score.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"score.{name} is no number"
            return
    rules: dict[str, Callable[[], bool]] = {
        "scaled from -1 to 1": lambda: -1 <= score.get("scaled", 0) <= 1,
        "scaled with at most four places": lambda: (
            round(score.get("scaled", 0), 4) == score.get("scaled", 0)
        ),
        "min below max": lambda: not {"min", "max"} <= set(score) or score["min"] < score["max"],
        "raw not below min": lambda: (
            not {"min", "raw"} <= set(score) or score["min"] <= score["raw"]
        ),
        "raw not above max": lambda: (
            not {"max", "raw"} <= set(score) or score["raw"] <= score["max"]
        ),
    }
    for rule, holds in rules.items():
        if not holds():
            yield f"score breaks the rule: {rule}"


def _context(context: Any) -> Iterator[str]:
    if context is None:
        return
    yield from _unknown("context", context, _CONTEXT)
    if "registration" in context:
        yield from _uuid("context.registration", context["registration"])
    if "language" in context and not _LANGUAGE.fullmatch(context["language"]):
        yield f"context.language is {context['language']!r}"
    if "statement" in context:
        yield from _reference("context.statement", context["statement"])
    around = context.get("contextActivities", {})
    yield from _unknown("contextActivities", around, {"parent", "grouping", "category", "other"})
    for name, activities in around.items():
        if not isinstance(activities, list):
            yield f"contextActivities.{name} is no list"
            continue
        for activity in activities:
            yield from _activity(f"contextActivities.{name}", activity)
            if re.search(r"w3id\.org/xapi/(cmi5|moveon)", str(activity.get("id"))):
                yield "claims to be launched by an LMS"


def _timestamp(text: Any, now: datetime) -> Iterator[str]:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        yield f"timestamp is {text!r}"
        return
    moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    if moment > now + timedelta(milliseconds=1):
        yield "timestamp is in the future"
