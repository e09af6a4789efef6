"""Ralph, a real LRS that isn't ours, from pip: in a folder and a process of its own, as what it
needs fits badly beside what we need.

It takes statements as xAPI 1.0.3 says, answers 422 to bad ones and only new ids to a resend, lists
with ``more``, and knows no voiding. It reads its whole file at each request: keep it small.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.node_support import RealLRS, stopped_in_the_end
from tests.requirements_support import installed_once

WANTED = "ralph-malph[lrs,cli]==5.1.0\nrequests\n"
_KEY, _SECRET = "ralph-key", "ralph-secret"
#: As shipped, the second POST to a file is a 500.
_START = """
import socket, uvicorn
from ralph.backends.data.base import BaseOperationType
from ralph.backends.lrs.fs import FSLRSBackend
FSLRSBackend.default_operation_type = BaseOperationType.APPEND
from ralph.api import app
place = socket.socket()
place.bind(("127.0.0.1", 0))
place.listen(64)
print("LISTENING", place.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[place])
"""


def ralph() -> Path:
    """Where it is installed: a folder to import from."""
    pip = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--target", "packages", "--requirement", "wanted",
    ]  # fmt: skip
    return installed_once("ralph", WANTED, pip, 240) / "packages"


@dataclass(frozen=True)
class Ralph(RealLRS):
    """:param file: in which its statements are."""

    file: Path = Path()

    def empty(self) -> None:
        self.file.write_text("")


@contextmanager
def ralph_lrs() -> Iterator[Ralph]:
    """Start it on a free loopback port, empty; it ends with the block."""
    packages = ralph()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "statements.jsonl"
        file.touch()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(packages),
            "RALPH_APP_DIR": place,
            "RALPH_AUTH_FILE": f"{place}/auth.json",
            "RALPH_RUNSERVER_BACKEND": "fs",
            "RALPH_BACKENDS__LRS__FS__DEFAULT_DIRECTORY_PATH": place,
            "RALPH_BACKENDS__LRS__FS__DEFAULT_LRS_FILE": file.name,
        }
        user = ["-u", _KEY, "-p", _SECRET, "-s", "all", "-M", "mailto:lrs@example.org", "-N", "us"]
        subprocess.run(
            [sys.executable, "-m", "ralph", "auth", *user, "-w"],
            cwd=place,
            env=environment,
            capture_output=True,
            timeout=60,
            check=True,
        )
        with stopped_in_the_end([sys.executable, "-c", _START], place, environment) as port:
            yield Ralph(f"http://127.0.0.1:{port}/xAPI", _KEY, _SECRET, file=file)
