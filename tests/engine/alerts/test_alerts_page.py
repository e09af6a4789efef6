"""The Alerts page says in words why a mail was not sent."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from flask_lms import Administrator
from flask_lms.alerts import texts


@pytest.mark.parametrize("code", list(texts._REASONS))
def test_every_reason_has_words(code):
    assert texts.reason(code) != code
    assert texts.reason(code).endswith(".")


def test_a_mail_servers_own_words_stay():
    assert texts.reason("550 no such user") == "550 no such user"


def test_every_code_that_the_source_writes_is_known_and_none_is_left_over():
    assert _codes() == set(texts._REASONS)


def _codes():
    """The literals that end up in something called ``reason``, in all modules of the alerts: by
    assignment, by keyword, as an argument, or returned by a function whose result is assigned.
    """
    modules = [ast.parse(path.read_text()) for path in Path(texts.__file__).parent.glob("*.py")]
    nodes = [node for module in modules for node in ast.walk(module)]
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    constants, given = {}, []
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=True)
                for one, value in pairs:
                    name = getattr(one, "attr", getattr(one, "id", None))
                    constants[name] = value
                    given += [value] if name == "reason" else []
        elif isinstance(node, ast.Call):
            given += [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            called = functions.get(getattr(node.func, "attr", getattr(node.func, "id", None)))
            names = [argument.arg for argument in called.args.args] if called else []
            if "reason" in names[: len(node.args)]:
                given.append(node.args[names.index("reason")])
    codes, seen = set(), set()
    while given:
        value = given.pop()
        if isinstance(value, ast.Constant):
            codes |= {value.value} if isinstance(value.value, str) else set()
        elif isinstance(value, (ast.BoolOp, ast.IfExp)):
            given += getattr(value, "values", None) or [value.body, value.orelse]
        elif isinstance(value, ast.Name) and value.id.isupper():
            given.append(constants[value.id])
        elif isinstance(value, ast.Call):
            name = getattr(value.func, "attr", getattr(value.func, "id", None))
            if name in functions and name not in seen:
                seen.add(name)
                body = ast.walk(functions[name])
                given += [node.value for node in body if isinstance(node, ast.Return)]
    return codes


def test_a_muted_address_is_shown_with_its_reason(world):
    id = world.connected()
    world.lms.configurations.mute(id, "ana@acme.example")
    world.refuse(id)
    world.who = Administrator(id="1", organization_id="acme", name="Ana Ruiz")
    page = world.app.test_client().get(f"/lms/{id}/alerts")
    assert page.status_code == 200
    assert "This address stopped these mails." in page.get_data(as_text=True)
