"""What a host's type checker says of an adapter, with Flask-LMS as an installed package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flask_lms
from tests.node_support import node_modules
from tests.requirements_support import need

HERE = Path(__file__).parent
ROOT = Path(flask_lms.__file__).parent.parent

#: Whose names a host writes. The other modules are typed too; ``mypy --strict`` is their test.
PUBLIC = ("callbacks", "errors", "events", "extension", "testing", "values")


def mypy(folder: Path, name: str) -> str:
    """What ``mypy --strict`` says of a file that stands in a host's folder, in a line each."""
    shutil.copy(HERE / name, folder)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"),
            *("--config-file=", "--no-error-summary", "--cache-dir", str(folder / "cache"), name),
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    return done.stdout + done.stderr


def test_a_hosts_adapter_passes_and_keeps_the_types_of_its_functions(tmp_path: Path) -> None:
    assert mypy(tmp_path, "adapter.py") == ""


def test_a_function_that_does_not_fit_its_callback_is_an_error(tmp_path: Path) -> None:
    assert (HERE / "wrong.py").read_text().count("# type: ignore[") == 14
    assert mypy(tmp_path, "wrong.py") == ""


def test_the_typed_package_says_so() -> None:
    assert (ROOT / "flask_lms" / "py.typed").exists()


@pytest.fixture(scope="module")
def completeness() -> Any:
    """The report of ``pyright --verifytypes flask_lms``."""
    program = node_modules() / "pyright" / "index.js"
    done = subprocess.run(
        [
            *(need("node"), str(program), "--verifytypes", "flask_lms", "--ignoreexternal"),
            *("--pythonpath", sys.executable, "--outputjson"),
        ],
        cwd=node_modules(),  # elsewhere: here the package would be the project itself
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    return json.loads(done.stdout)["typeCompleteness"]


@pytest.mark.node
def test_no_public_name_is_left_to_the_guess_of_a_type_checker(completeness: Any) -> None:
    def is_public(name: str) -> bool:
        module = name.split(".")[1]
        return module in PUBLIC or name.count(".") == 1 or module[0].isupper()

    guessed = [
        f"{symbol['name']}: {said['message']}"
        for symbol in completeness["symbols"]
        if symbol["isExported"] and is_public(symbol["name"])
        for said in symbol.get("diagnostics", ())
        # Services lead to forms, and Flask-WTF has no types.
        if said["severity"] == "error" and "partially unknown" not in said["message"]
    ]
    assert len(completeness["symbols"]) > 1000
    assert guessed == []


@pytest.mark.node
def test_most_of_the_whole_package_is_complete_to_pyright_too(completeness: Any) -> None:
    assert completeness["completenessScore"] > 0.85
