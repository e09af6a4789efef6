"""README and docs say what the code does, and their code runs."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import render_template_string
from sqlalchemy.orm import Mapped, Session, mapped_column

from flask_lms import Administrator, ObjectiveResult
from flask_lms.cli.commands import make_cli
from flask_lms.settings import Settings
from tests.docs_support import DOCS, README, TOP, between, python_blocks, readme_host, run_pytest

TEXTS = [README, TOP / "CONTRIBUTING.md", TOP / "CHANGES.md", *DOCS]


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
def app(tmp_path):
    """The app of the README's host."""
    with readme_host(tmp_path) as host:
        app = host.create_app()
        app.extensions["readme_host"] = host
        yield app
        with app.app_context():
            host.db.session.remove()
            host.db.engine.dispose()


def test_the_host_of_the_readme_shows_the_pages_and_queues_a_result(app, capsys):
    host, client = app.extensions["readme_host"], app.test_client()
    assert client.get("/lms/").status_code == 403
    with client.session_transaction() as session:
        session.update(is_admin=True, user_id="1", company_id="acme")
    assert "Create LMS Configuration" in client.get("/lms/").text

    with app.app_context():
        [services] = python_blocks(between(README, "services"))
        exec(services, vars(host))
        assert capsys.readouterr().out == "0 0\n"
        host.quiz_finished.send(
            app,
            quiz_id="7",
            user={"company_id": "acme", "email": "jane@acme.example", "name": "Jane Doe"},
            is_passed=True,
            attempt_id="a1",
        )
        [delivery] = host.acme.deliveries.list().items
        assert delivery.state.value == "pending"
        assert "jane@acme.example" in delivery.statement
        assert "Harbor Training" in delivery.statement


def test_the_code_of_the_host_page_runs(app):
    host = app.extensions["readme_host"]

    class Attempt(host.db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)

    with app.app_context():
        host.db.create_all()
        made = [
            ObjectiveResult(
                id=id,
                organization_id="acme",
                objective="7",
                participant="jane@acme.example",
                finished_at=datetime.now(timezone.utc),
            )
            for id in ("signal", "session")
        ]
        here = {
            **vars(host),
            "app": app,
            "Session": Session,
            "engine": host.db.engine,
            "attempt": Attempt(),
        }
        *blocks, services = python_blocks((TOP / "docs" / "host.md").read_text())
        exec(services, here)
        for block, result in zip(blocks, (None, *made), strict=True):
            exec(block, {**here, "result": result})
        found = host.lms.deliveries.list().items
        assert {one.result_id for one in found} == {"signal", "session"}
        assert {one.state.value for one in found} == {"pending"}


def test_the_tests_in_the_docs_pass(tmp_path):
    [code] = python_blocks(between(TOP / "docs" / "testing.md", "example"))
    (tmp_path / "test_lms.py").write_text(code)
    assert "2 passed" in run_pytest(tmp_path, "test_lms.py")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_the_code_in_the_texts_is_python(path):
    for block in python_blocks(path.read_text()):
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


def test_the_house_of_contributing_is_the_one_that_stands():
    text = (TOP / "CONTRIBUTING.md").read_text()
    house = text.partition("## The house")[2].partition("### A stranger's questions")[0]
    package = TOP / "flask_lms"
    names = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in package.iterdir()
        if path.name not in ("__init__.py", "__pycache__", "py.typed")
    }
    named = set(re.findall(r"`(\w+(?:\.py|/))`", house.partition("Beside")[0]))
    assert named - {"base.py"} == names


def test_the_answers_to_a_strangers_questions_are_files():
    answers = between(TOP / "CONTRIBUTING.md", "answers")
    files = re.findall(r"`(flask_lms/[a-z_/]+\.py)`", answers)
    assert len(files) == answers.count("?") == 5
    assert all((TOP / file).is_file() for file in files)


def test_the_files_named_in_the_texts_exist():
    for path in (*TEXTS, TOP / "SECURITY.md"):
        named = re.findall(r"`((?:flask_lms|tests|demo|example_app)/[\w/.]*)`", path.read_text())
        assert [one for one in named if not (TOP / one).exists()] == [], path.name


def test_each_word_of_the_glossary_stands_there_once():
    rows = re.findall(r"^\| ([^|]+) \|", between(TOP / "CONTRIBUTING.md", "glossary"), re.M)[2:]
    words = [word.strip() for row in rows for word in row.split(",")]
    assert 25 <= len(rows) <= 40
    assert len(set(words)) == len(words)


#: CHANGES tells what had another name.
PLAIN = [path for path in [*TEXTS, TOP / "SECURITY.md"] if path.name != "CHANGES.md"]


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_words_that_were_given_up_are_gone(path):
    old = (
        "drain drained doorbell vault slot slots gate gates journal ring rung letter letters story"
    )
    words = set(re.findall(r"\w+", path.read_text().lower()))
    assert words & set(old.split()) == set()


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_commands_in_the_texts_exist(path):
    text = path.read_text()
    named = set(re.findall(r"flask (?:--app \w+ )?lms ([a-z][a-z-]*)", text))
    assert named <= set(make_cli().commands)
    ours = re.findall(r"^\./run ([a-z]+)", (TOP / "run").read_text(), re.M)
    assert set(re.findall(r"\./run ([a-z]+)", text)) <= set(ours)


def test_the_templates_in_the_docs_are_filled(app):
    host = app.extensions["readme_host"]
    host.lms.administrator_loader(
        lambda: Administrator(id="1", organization_id="acme"), replace=True
    )
    layout, macros, mail = re.findall(
        r"```html\+jinja\n(.*?)```", (TOP / "docs" / "templates.md").read_text(), re.S
    )
    with app.test_request_context():
        shown = render_template_string(macros, quiz=SimpleNamespace(id="7"))
        assert '<a class="nav-link" href="/lms/">LMS configurations</a>' in shown
        assert "Create LMS Configuration" in shown  # of the objective's panel: there is none yet
    for block in (layout, mail):
        app.jinja_env.parse(block)
    assert layout == (TOP / "example_app/templates/lms/layout.html").read_text()
