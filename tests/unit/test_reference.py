"""The Reference names everything public, each with what its docstring owes, and its code runs."""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blinker import Signal
from werkzeug.local import LocalProxy

import flask_lms
import flask_lms.testing
from flask_lms.connectors.xapi.fields import FIELDS
from flask_lms.database.models import Base
from tests.docs_support import TOP, between, python_blocks, readme_host

PAGE = TOP / "docs" / "reference.md"
MODULES = (flask_lms, flask_lms.testing)
#: Their columns speak for themselves where they bear no comment.
TABLES = Base


def public(kind: type) -> Iterator[tuple[str, Any]]:
    """The public functions and properties of a class, those of our own bases among them."""
    seen: set[str] = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("flask_lms") or base is TABLES:
            continue
        for name, member in vars(base).items():
            function = member.fget if isinstance(member, property) else member
            function = getattr(function, "__func__", function)
            if not name.startswith("_") and name not in seen and inspect.isfunction(function):
                seen.add(name)
                yield name, function


def classes() -> dict[str, type]:
    found = {}
    for module in MODULES:
        for name in module.__all__:
            value = getattr(module, name)
            if type(value) is not LocalProxy and isinstance(value, type):
                found[f"{module.__name__}.{name}"] = value
    return found


CLASSES = classes()
#: Dotted name → function, of all that can be called.
FUNCTIONS = {
    **{
        f"{where}.{name}": function
        for where, kind in CLASSES.items()
        for name, function in public(kind)
    },
    "flask_lms.testing.deliver": flask_lms.testing.deliver,
}


def on_the_page() -> set[str]:
    """Dotted names of what the page's directives show."""
    shown: set[str] = set()
    directives = re.findall(
        r"^\.\. (?:auto|py:)(\w+):: (\S+)\n((?:   :.*\n)*)", PAGE.read_text(), re.M
    )
    for kind, name, options in directives:
        shown.add(name)
        members = re.search(r":members:(.*)", options)
        if kind != "class" or not members:
            continue
        wanted = {part.strip() for part in members[1].split(",")} - {""}
        has_inherited = ":inherited-members:" in options
        owner = CLASSES[name]
        for member, function in public(owner):
            is_own = member in vars(owner) or has_inherited
            if member in wanted or (not wanted and is_own and function.__doc__):
                shown.add(f"{name}.{member}")
    return shown


def explained() -> set[str]:
    """The arguments that the page explains once for all."""
    return set(re.findall(r"`(\w+)`", "".join(re.findall(
        r"^\|([^|]*)\|", between(PAGE, "arguments"), re.M
    ))))  # fmt: skip


def owed(doc: str | None, names: typing.Iterable[str]) -> set[str]:
    """Those of ``names`` that neither this docstring nor the page explains."""
    told = set(re.findall(r":(?:param|ivar) (\w+):", doc or ""))
    return set(names) - told - explained()


def commented(kind: type) -> set[str]:
    """The names in a class's body that have a ``#:`` comment above them."""
    return set(re.findall(r"^ +#:.*\n(?: +#:.*\n)* +(\w+)", inspect.getsource(kind), re.M))


def test_every_public_name_stands_on_the_page() -> None:
    named = {f"{module.__name__}.{name}" for module in MODULES for name in module.__all__}
    assert (named | FUNCTIONS.keys()) - on_the_page() == set()


def test_what_is_no_class_or_function_has_its_text_on_the_page() -> None:
    """Signals and proxies have no docstring of their own."""
    values = [
        f"{module.__name__}.{name}"
        for module in MODULES
        for name in module.__all__
        if type(getattr(module, name)) is LocalProxy or isinstance(getattr(module, name), Signal)
    ]
    for name in values:
        assert re.search(rf"^\.\. py:data:: {name}\n\n   \w", PAGE.read_text(), re.M), name


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_tells_what_it_does_takes_and_raises(name: str) -> None:
    function = FUNCTIONS[name]
    assert function.__doc__, "it has no docstring"
    taken = [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.name not in ("self", "cls") and one.kind is not one.VAR_KEYWORD
    ]
    assert owed(function.__doc__, taken) == set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }
    told = set(re.findall(r":raises (\w+):", function.__doc__))
    caught = {
        one.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        for one in ast.walk(node.type or ast.Pass())
        if isinstance(one, ast.Name)
    }
    assert raised - caught - told == set()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_tells_what_it_is_and_what_its_fields_are(name: str) -> None:
    kind = CLASSES[name]
    doc = vars(kind).get("__doc__") or ""
    assert doc, "it has no docstring"
    assert not doc.startswith(f"{kind.__name__}("), "it has no docstring but a dataclass's"
    if dataclasses.is_dataclass(kind):
        fields = {field.name for field in dataclasses.fields(kind)}
        assert owed(doc, fields) - commented(kind) == set()
    elif issubclass(kind, enum.Enum):
        assert {one.name for one in kind} - commented(kind) == set()
    elif typing.is_typeddict(kind):
        assert owed(doc, kind.__annotations__) - commented(kind) == set()
    elif "__init__" in vars(kind) and (issubclass(kind, Exception) or kind in MADE_BY_HOSTS):
        taken = list(inspect.signature(kind).parameters)
        assert owed(doc, taken) == set()


#: Classes, besides values and errors, that a host makes by itself; services come from ``LMS``.
MADE_BY_HOSTS = (flask_lms.LMS, flask_lms.testing.FakeLRS)


def test_the_examples_run_in_the_order_of_the_page(tmp_path: Path) -> None:
    page = PAGE.read_text()
    first, *rest = python_blocks(page)
    with readme_host(tmp_path) as host:
        here = types.ModuleType("examples")
        exec(first, vars(here))
        with here.app.app_context():
            for number, block in enumerate(rest, start=2):
                exec(compile(block, f"example {number} of {PAGE.name}", "exec"), vars(here))
            host.db.session.remove()
            host.db.engine.dispose()


def test_the_settings_of_xapi_are_named() -> None:
    [named] = re.findall(r"^The settings of the LMS type `xapi` are (.*)$", PAGE.read_text(), re.M)
    assert re.findall(r"`(\w+)`", named) == [field.name for field in FIELDS]
