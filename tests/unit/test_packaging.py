"""What is shipped, and the command that a newcomer types first."""

from __future__ import annotations

import configparser
import json
import re
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
PACKAGE = TOP / "flask_lms"
SOURCES = {".py", ".pyc", ".po", ".pot"}


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(TOP / "setup.cfg")
    return parser


def test_every_template_style_and_translation_is_in_the_wheel():
    patterns = setup()["options.package_data"]["flask_lms"].split(",")
    shipped = {path for pattern in patterns for path in PACKAGE.glob(pattern.strip())}
    found = {
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in SOURCES and "__pycache__" not in path.parts
    }
    assert found - shipped == set()
    assert PACKAGE / "py.typed" in shipped
    assert any(path.suffix == ".html" for path in shipped)


def test_the_xapi_connector_is_found_by_its_entry_point():
    [point] = [one for one in entry_points(group="flask_lms.connectors") if one.name == "xapi"]
    assert point.load().type == "xapi"


def test_every_extra_that_the_commands_install_exists():
    run = (TOP / "run").read_text()
    extras = set(setup()["options.extras_require"])
    needed = {"test"} | {
        extra
        for line in re.findall(r'^    "\w+": \("([\w ]+)",', run, re.M)
        for extra in line.split()
    }
    assert needed == {"demo", "test", "docs", "bench"}
    assert {*needed, "audit"} <= extras


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOP / "run"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_run_tells_its_commands():
    said = run("--help")
    assert said.returncode == 0
    for command in ("demo", "test", "docs", "bench", "chaos", "screenshots", "LMS_TEST_REQUIRE"):
        assert command in said.stdout


@pytest.mark.parametrize("name", ["demo", "test", "audit", "docs", "bench", "chaos", "screenshots"])
def test_the_help_of_a_command_installs_nothing(name, tmp_path):
    """On a bare clone: nothing is made, and the options are those that the sources declare."""
    for folder in ("demo", "benchmarks", "tests/chaos"):
        shutil.copytree(TOP / folder, tmp_path / folder)
    shutil.copy(TOP / "run", tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "run"), name, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"./run {name}" in said
    option = {"demo": "--port", "test": "--old", "bench": "--rows", "chaos": "--kills"}.get(
        name, ""
    )
    assert option in said
    assert sorted(tmp_path.rglob("*")) == before


def test_an_audit_that_reached_nothing_is_not_called_ok():
    advisories = runpy.run_path(str(TOP / "run"))["advisories"]

    def report(*faults):
        rows = [{"name": name, "version": "1", "vulns": [{"id": "X-1"}]} for name in faults]
        return json.dumps({"dependencies": [{"name": "flask", "version": "3", "vulns": []}, *rows]})

    assert advisories(report(), "") == ("ok", "")
    assert advisories(report("pip"), "") == ("ok", "pip 1: X-1")
    assert advisories(report("pip", "requests"), "")[0] == "FAILED"
    unknown = {"name": "rq", "version": "3", "skip_reason": "Dependency not found"}
    mine = {"name": "Flask-LMS", "skip_reason": "distribution marked as editable"}
    rows = json.loads(report())["dependencies"]
    assert advisories(json.dumps({"dependencies": [*rows, mine]}), "") == ("ok", "")
    said = advisories(json.dumps({"dependencies": [*rows, mine, unknown]}), "")[0]
    assert said == "NOT DONE for 1 of 3: nothing is known of them"
    assert advisories("", "a trace\nConnectionError: no route")[0].startswith("NOT DONE: ")


def test_run_refuses_what_it_does_not_know_with_a_remedy():
    said = run("demmo")
    assert said.returncode != 0
    assert "./run --help" in said.stderr


@pytest.mark.parametrize("name", ["run", ".ci/run"])
def test_the_commands_can_be_started(name):
    path = TOP / name
    assert path.stat().st_mode & 0o111
    assert path.read_text().startswith("#!/usr/bin/env ")
