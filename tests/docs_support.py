"""What the tests of README and docs share: marked parts, their code, and the host of the README."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

TOP = Path(__file__).parent.parent
README = TOP / "README.md"
DOCS = sorted((TOP / "docs").glob("*.md"))


def between(path: Path, name: str) -> str:
    """The part of a text between ``<!-- name:start -->`` and ``<!-- name:end -->``."""
    found = re.search(rf"<!-- {name}:start -->\n(.*?)<!-- {name}:end -->", path.read_text(), re.S)
    assert found, f"{path.name} has no part marked {name}"
    return found[1]


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)


@contextmanager
def imported(path: Path) -> Iterator[ModuleType]:
    """A file as the module of its name, until the end of the block."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[path.stem]


@contextmanager
def readme_host(folder: Path) -> Iterator[Any]:
    """The host of the README, as a module that was imported from ``folder``."""
    [code] = python_blocks(between(README, "host"))
    path = folder / "host.py"
    path.write_text(code)
    with imported(path) as module:
        yield module


def run_pytest(folder: Path, *names: str) -> str:
    """What pytest prints of files in a folder of their own; they must pass."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", *names],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TOP), str(folder)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
