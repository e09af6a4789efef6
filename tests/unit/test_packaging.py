"""What is shipped, and the command that a newcomer types first."""

from __future__ import annotations

import configparser
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
    assert {"demo", "test", "docs", "bench"} <= extras
    for extra in extras:
        assert f'need("{extra}")' in run or extra not in ("demo", "test", "docs", "bench")


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


def test_run_refuses_what_it_does_not_know_with_a_remedy():
    said = run("demmo")
    assert said.returncode != 0
    assert "./run --help" in said.stderr


@pytest.mark.parametrize("name", ["run", ".ci/run"])
def test_the_commands_can_be_started(name):
    path = TOP / name
    assert path.stat().st_mode & 0o111
    assert path.read_text().startswith("#!/usr/bin/env ")
