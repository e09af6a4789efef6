"""The rules of the house, read from the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "flask_lms"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

#: Who may import whom: a module imports from its own floor or from those before it.
FLOORS = [
    {"entities", "checked", "errors", "words", "clock"},
    {"settings", "signals"},
    {"models"},
    {"vault", "transport", "schema", "slots", "i18n"},
    {"connectors"},
    {"state"},
    {"journal", "recording", "delivery"},
    {"alerts", "services"},
    {"jobs", "doorbell", "ticker"},
    {"admin", "cli", "worker"},
    {"extension"},
    {"__init__", "testing"},
]
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

PURE = [
    PACKAGE / "connectors" / "xapi" / f"{name}.py" for name in ("statement", "actor", "answers")
]
#: About 400 lines a module, about 50 a function without its docstring.
LONGEST_MODULE, LONGEST_FUNCTION = 430, 55


def part(path: Path) -> str:
    """The part of the house that a module belongs to: ``delivery/lease.py`` → ``delivery``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and part of every import of the package's own, wherever it stands in the file.

    Imports for type checking only don't count: they are gone when the program runs.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    package = ["flask_lms", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = [*base, *(node.module.split(".") if node.module else [])]
            found = [[*start, alias.name] for alias in node.names]
        else:
            continue
        for name in found:
            if name[0] == "flask_lms" and len(name) > 1 and name[1] in FLOOR:
                yield node.lineno, name[1]


def shown(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_imports_go_one_way(path):
    floor = FLOOR.get(part(path))
    assert floor is not None, f"{part(path)} has no floor yet: give it one in FLOORS"
    steps_back = [
        f"line {line}: {part(path)} imports {name}, which stands above it"
        for line, name in imports(path)
        if FLOOR[name] > floor
    ]
    assert not steps_back, "\n".join(steps_back)


def test_an_import_against_the_order_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "delivery").mkdir()
    wrong = tmp_path / "delivery" / "sender.py"
    wrong.write_text(
        "def later():\n    from ..admin import make_blueprint\n    from .lease import x\n"
    )
    assert list(imports(wrong)) == [(2, "admin"), (3, "delivery")]


@pytest.mark.parametrize("path", PURE, ids=shown)
def test_the_core_of_the_connector_is_pure(path):
    text = path.read_text()
    names = {
        (node.module or "").split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and not node.level
    } | {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not names & {"flask", "flask_wtf", "sqlalchemy", "requests", "socket", "redis"}


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_nobody_but_the_clock_reads_the_time_of_day(path):
    wrong = [
        f"line {node.lineno}: {ast.unparse(node.func)}()"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("now", "utcnow", "today")
        and ast.unparse(node.func.value).split(".")[-1] in ("datetime", "date")
    ]
    assert shown(path) in ("clock.py", "testing.py") or not wrong, "\n".join(wrong)


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    skipped = 0
    if ast.get_docstring(function) is not None:
        skipped = (first.end_lineno or 0) - first.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - skipped


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_modules_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_MODULE, f"{shown(path)} is too long: split it"
    long = [
        f"{node.name} has {lines(node)} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and lines(node) > LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_broad_excepts_are_at_the_borders_only(path):
    """Jobs, signals, tickers and connectors of others may do anything. Elsewhere it is raised."""
    borders = {
        "jobs",
        "signals",
        "ticker",
        "worker",
        "extension",
        "doorbell",
        "recording",
        "journal",
    }
    broad = [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]
    calls_connectors = path.match("delivery/sender.py") and len(broad) == 1
    assert part(path) in borders or calls_connectors or not broad, "\n".join(broad)


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_modules_keep_no_state(path):
    """No ``global``, and no empty list, dict or set at the top that something could fill."""
    tree = ast.parse(path.read_text())
    wrong = [f"line {n.lineno}: global" for n in ast.walk(tree) if isinstance(n, ast.Global)]
    for node in tree.body:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and (
            (isinstance(value, ast.List | ast.Set) and not value.elts)
            or (isinstance(value, ast.Dict) and not value.keys)
        ):
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)
