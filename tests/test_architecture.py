"""The rules of the house, read from the source itself (CONTRIBUTING.md, "Rules")."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "flask_lms"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

#: Every file, in an order in which each knows only those before it. What stands low is known by
#: many and knows little; a file that isn't listed yet fails until it has a place.
ORDER = """
errors.py events.py database/types.py i18n.py checks.py values.py settings.py encryption.py
database/models.py database/attach.py callbacks.py store.py
transport/faults.py transport/policy.py transport/http.py transport/__init__.py
connectors/causes.py connectors/fields.py connectors/stages.py connectors/routes.py
connectors/base.py connectors/replies.py connectors/registry.py
connectors/webhook/causes.py connectors/webhook/connector.py connectors/webhook/__init__.py
connectors/xapi/vocabulary.py connectors/xapi/redaction.py connectors/xapi/actor.py
connectors/xapi/statement.py connectors/xapi/comparison.py connectors/xapi/answers.py
connectors/xapi/causes.py connectors/xapi/sign_in.py connectors/xapi/fields.py
connectors/xapi/catalogue.py
connectors/xapi/client.py connectors/xapi/reading.py connectors/xapi/probe.py
connectors/xapi/connector.py connectors/xapi/__init__.py
delivery/wake.py app_state.py
audit.py recording/after_commit.py recording/record.py
alerts/rules.py alerts/incidents.py alerts/unsubscribe.py alerts/texts.py alerts/queue.py
alerts/summaries.py alerts/operators.py alerts/outages.py alerts/sending.py
status.py
delivery/lease.py delivery/decide.py delivery/settle.py delivery/deliver.py delivery/retention.py
delivery/streams.py
services/steps.py services/csv_lines.py services/attachments.py services/connection_test.py
services/configurations.py services/objectives.py services/participants.py
services/waiting.py services/deliveries.py services/release.py services/reconcile.py
services/tasks.py services/mappings.py
services/overview.py
services/organization.py delivery/ticker.py delivery/worker.py
cli/parts.py cli/keys.py cli/diagnostics.py cli/commands.py
admin/charts.py admin/forms.py admin/pages.py admin/wording.py admin/csv_files.py admin/help.py
admin/probe.py admin/history.py admin/tasks.py admin/participants.py admin/reconcile.py
admin/deliveries.py admin/editing.py admin/configurations.py admin/objectives.py
admin/catalogue.py admin/alerts.py admin/secrets.py admin/routes.py
admin/toolbox.py admin/__init__.py extension.py __init__.py
testing.py
""".split()  # noqa: SIM905
#: Packages that hold nothing but a sentence.
EMPTY = {
    f"{name}/__init__.py"
    for name in ("alerts", "cli", "connectors", "database", "delivery", "recording", "services")
}

#: Functions of values: no web, no database, no network, no queue.
PURE = (
    "values.py",
    "alerts/rules.py",
    "connectors/xapi/statement.py",
    "connectors/xapi/actor.py",
    "connectors/xapi/answers.py",
    "connectors/xapi/comparison.py",
    "connectors/xapi/redaction.py",
    "delivery/decide.py",
)
IMPURE = {"flask", "flask_wtf", "sqlalchemy", "requests", "socket", "redis", "rq"}


def shown(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path, top: Path = PACKAGE) -> Iterator[tuple[ast.ImportFrom, str]]:
    """Every import of ours, wherever it stands in the file, and the file that it is from."""
    here = ("flask_lms", *path.relative_to(top).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            assert not isinstance(node, ast.Import) or not any(
                alias.name.startswith("flask_lms") for alias in node.names
            ), f"{path}: write `from … import …`"
            continue
        base = here[: len(here) - node.level + 1] if node.level else ()
        names = [*base, *(node.module.split(".") if node.module else [])]
        if names[0] != "flask_lms":
            continue
        folder = Path(top, *names[1:])
        for alias in node.names:
            for found in (
                folder / f"{alias.name}.py",
                folder / alias.name / "__init__.py",
                folder.with_suffix(".py"),
                folder / "__init__.py",
            ):
                if found.exists():
                    yield node, found.relative_to(top).as_posix()
                    break


def steps_back(path: Path, order: list[str], top: Path = PACKAGE) -> list[str]:
    own = order.index(path.relative_to(top).as_posix())
    return [
        f"line {node.lineno}: imports {name}, which stands above it"
        for node, name in imports(path, top)
        if name not in EMPTY and order.index(name) >= own
    ]


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_imports_go_one_way_between_files(path):
    if shown(path) in EMPTY:
        assert len(ast.parse(path.read_text()).body) == 1, "give it a place in ORDER"
        return
    assert shown(path) in ORDER, "give it a place in ORDER"
    assert not steps_back(path, ORDER)


def test_the_order_names_each_file_once_and_no_other():
    assert sorted(ORDER) == sorted({shown(path) for path in MODULES} - EMPTY)


def test_an_import_against_the_order_would_be_seen(tmp_path):
    (tmp_path / "delivery").mkdir()
    for name in ("audit", "delivery/lease", "delivery/settle"):
        (tmp_path / f"{name}.py").write_text("")
    wrong = tmp_path / "delivery" / "lease.py"
    wrong.write_text("from ..audit import x\ndef later():\n    from . import settle\n")
    order = ["audit.py", "delivery/lease.py", "delivery/settle.py"]
    assert steps_back(wrong, order, tmp_path) == [
        "line 3: imports delivery/settle.py, which stands above it"
    ]


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_no_import_of_ours_hides_in_a_function(path):
    hidden = [
        f"line {node.lineno}: {outer.name}"
        for outer in ast.walk(ast.parse(path.read_text()))
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(outer)
        if isinstance(node, ast.ImportFrom)
        and (node.level or (node.module or "").startswith("flask_lms"))
    ]
    assert not hidden, "\n".join(hidden)


def test_no_public_class_has_its_name_twice():
    where: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(shown(path))
    assert not {name: files for name, files in where.items() if len(files) > 1}


@pytest.mark.parametrize("name", PURE)
def test_the_core_is_pure(name):
    tree = ast.parse((PACKAGE / name).read_text())
    found = {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level
    } | {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not found & IMPURE


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
    assert shown(path) in ("database/types.py", "transport/http.py", "testing.py") or not wrong, (
        "\n".join(wrong)
    )


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_broad_excepts_are_at_the_borders_only(path):
    """Jobs, signals, tickers and connectors of others may do anything. Elsewhere it is raised."""
    borders = {
        "events.py", "extension.py", "recording/record.py", "recording/after_commit.py",
        "services/connection_test.py", "services/tasks.py",
        "delivery/wake.py", "delivery/ticker.py", "delivery/worker.py", "delivery/deliver.py",
        "delivery/streams.py",
        "transport/http.py",  # what passes through it shows its variables
    }  # fmt: skip
    broad = [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]
    assert shown(path) in borders or not broad, "\n".join(broad)


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
