"""The published profile says of our statements what is true of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from flask_lms.checks import is_absolute_iri
from flask_lms.connectors.xapi import vocabulary
from tests.xapi_support import connector, every_shape

PROFILE: dict[str, Any] = json.loads(connector.profile())
SHAPES = every_shape()


def found(value: Any, path: list[str]) -> Iterator[Any]:
    """What a JSONPath of names and ``[*]`` finds."""
    if not path:
        yield value
    elif path[0] == "*":
        for item in value if isinstance(value, list) else ():
            yield from found(item, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from found(value[path[0]], path[1:])


def templates_of(statement: dict[str, Any]) -> list[dict[str, Any]]:
    type = statement["object"].get("definition", {}).get("type")
    verb = statement["verb"]["id"]
    return [t for t in PROFILE["templates"] if (t["verb"], t["objectActivityType"]) == (verb, type)]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_statement_follows_its_template(shape: str) -> None:
    statement = SHAPES[shape]
    if statement["verb"]["id"] == vocabulary.VOIDED:
        assert templates_of(statement) == []
        return
    [template] = templates_of(statement)
    for rule in template["rules"]:
        values = list(found(statement, re.findall(r"[A-Za-z]+|\*", rule["location"])))
        if rule.get("presence") == "included":
            assert values, rule
        if rule.get("presence") == "excluded":
            assert not values, rule
        if "any" in rule:
            assert set(values) & set(rule["any"]), rule
        if "all" in rule:
            assert set(values) <= set(rule["all"]), rule


def test_every_template_is_seen_and_the_ids_are_ids() -> None:
    seen = {one["id"] for statement in SHAPES.values() for one in templates_of(statement)}
    assert seen == {template["id"] for template in PROFILE["templates"]}
    [version] = PROFILE["versions"]
    assert version["id"] == vocabulary.OBJECTIVE_RESULT
    every = [PROFILE["id"], version["id"], *seen]
    assert len(set(every)) == len(every)
    assert all(map(is_absolute_iri, every))
    assert {template["inScheme"] for template in PROFILE["templates"]} == {version["id"]}
    assert PROFILE["conformsTo"] == "https://w3id.org/xapi/profiles#1.0"
