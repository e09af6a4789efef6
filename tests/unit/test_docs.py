"""README and docs say what the code does, and their code runs."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flask_lms import Recorded
from flask_lms.cli.commands import make_cli
from flask_lms.settings import Settings

TOP = Path(__file__).parent.parent.parent
README = TOP / "README.md"
DOCS = sorted((TOP / "docs").glob("*.md"))
TEXTS = [README, TOP / "CONTRIBUTING.md", TOP / "CHANGES.md", *DOCS]


def between(path: Path, name: str) -> str:
    found = re.search(rf"<!-- {name}:start -->\n(.*?)<!-- {name}:end -->", path.read_text(), re.S)
    assert found, f"{path.name} has no part marked {name}"
    return found[1]


def compare(path: Path, name: str, wanted: str) -> None:
    """The marked part must be ``wanted``; LMS_WRITE_SNAPSHOT=1 puts it there."""
    if os.environ.get("LMS_WRITE_SNAPSHOT"):
        start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
        path.write_text(
            path.read_text().replace(start + between(path, name) + end, start + wanted + end)
        )
    assert between(path, name) == wanted, (
        f"{path.name} differs from the code: run LMS_WRITE_SNAPSHOT=1 pytest {Path(__file__).name}"
    )


def settings_table() -> str:
    lines = ["| key | default | what it is |", "| --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        default = "" if field.default in ("", None, ()) else f"`{field.default!r}`"
        lines.append(f"| `LMS_{field.name.upper()}` | {default} | {field.metadata['about']} |")
    return "\n".join(lines) + "\n"


def test_the_settings_table_is_what_the_code_reads():
    compare(README, "settings", settings_table())


def test_the_table_of_commands_is_what_the_code_has():
    commands = make_cli().commands
    assert {"worker", "check", "status", "test", "send-waiting", "requeue"} <= set(commands)
    assert {"backfill", "purge", "rekey"} <= set(commands)
    lines = ["| command | what it does |", "| --- | --- |"]
    for name, command in sorted(commands.items()):
        lines.append(f"| `{name}` | {command.get_short_help_str(200)} |")
    compare(TOP / "docs" / "operating.md", "commands", "\n".join(lines) + "\n")


@pytest.fixture
def host(tmp_path):
    """The host of the README, as a file that was imported."""
    code = re.search(r"```python\n(.*?)```", between(README, "host"), re.S)
    assert code
    path = tmp_path / "host.py"
    path.write_text(code[1])
    spec = importlib.util.spec_from_file_location("readme_host", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme_host"] = module
    spec.loader.exec_module(module)
    yield module
    with module.app.app_context():
        module.db.session.remove()
        module.db.engine.dispose()
    del sys.modules["readme_host"]


def test_the_host_of_the_readme_shows_the_pages_and_queues_a_result(host):
    client = host.app.test_client()
    assert client.get("/lms/").status_code == 403
    with client.session_transaction() as session:
        session.update(is_admin=True, user_id="1", company_id="acme")
    assert "Create LMS Configuration" in client.get("/lms/").text

    with host.app.app_context():
        made = host.lms.configurations.create(
            "acme",
            "Corporate LMS",
            ["ana@acme.example"],
            settings={"url": "https://lrs.example/xapi", "key": "k", "secret": "s"},
        )
        host.lms.configurations.attach(made.id, "7")
        heard: list[Recorded] = []
        host.quiz_finished.send(
            host.app,
            quiz_id="7",
            user={"company_id": "acme", "email": "jane@acme.example", "name": "Jane Doe"},
            is_passed=True,
            attempt_id="a1",
        )
        assert not heard
        [delivery] = host.lms.deliveries.list().items
        assert delivery.state.value == "pending"
        assert "jane@acme.example" in delivery.statement


def test_the_services_in_the_docs_do_what_is_written(host):
    code = re.search(r"```python\n(.*?)```", between(TOP / "docs" / "host.md", "services"), re.S)
    assert code
    with host.app.app_context():
        exec(compile(code[1], "host.md", "exec"), {"lms": host.lms})
        assert [one.name for one in host.lms.configurations.list("acme")] == ["Corporate LMS"]


def test_the_tests_in_the_docs_pass(tmp_path):
    code = re.search(r"```python\n(.*?)```", between(TOP / "docs" / "testing.md", "example"), re.S)
    assert code
    path = tmp_path / "test_lms.py"
    path.write_text(code[1])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_the_code_in_the_texts_is_python(path):
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.S | re.M)
    for block in blocks:
        ast.parse(block)
    assert path.read_text().count("```") % 2 == 0


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text())
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_names_of_settings_in_the_texts_exist(path):
    known = {f"LMS_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    known |= {"LMS_TEST_REQUIRE", "LMS_TEST_POSTGRES_URL", "LMS_TEST_MARIADB_URL"}
    known |= {"LMS_WRITE_SNAPSHOT"}
    assert set(re.findall(r"\bLMS_[A-Z_]+[A-Z]\b", path.read_text())) <= known


def test_the_layout_in_the_readme_is_the_one_of_the_example():
    shown = re.search(r"```html\+jinja\n(.*?)```", README.read_text(), re.S)
    assert shown
    assert shown[1] == (TOP / "example_app/templates/lms/layout.html").read_text()
