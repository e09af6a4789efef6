"""Node.js programs that aren't ours: a validator of statements and a real LRS."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from tests.requirements_support import installed_once, need

SOURCES = Path(__file__).parent / "node"
_ORGANISATION = "58fe13e34effd3c26a7fc4b6"


def node_modules() -> Path:
    """The installed packages, in the user's cache; installed there the first time.

    Scripts of packages are never run.
    """
    need("node")
    npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    wanted = (SOURCES / "package.json").read_text()
    return installed_once("node", wanted, npm, 400, "package.json") / "node_modules"


def _environment(modules: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "NODE_PATH": str(modules), "LANG": "en"}


def validate(statements: list[Any]) -> list[list[str]]:
    """What ``@learninglocker/xapi-validation`` says of each statement; empty lists: nothing."""
    modules = node_modules()
    done = subprocess.run(
        [need("node"), str(SOURCES / "validate.js")],
        input=json.dumps(statements),
        env=_environment(modules),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said: list[list[str]] = json.loads(done.stdout)
    return said


class _Authority:
    """Tells the LRS who a Basic header is, as the rest of Learning Locker would."""

    def __init__(self) -> None:
        #: Authorization header → what it may do.
        self.scopes: dict[str, list[str]] = {}
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                header = self.headers.get("Authorization", "")
                scopes = authority.scopes.get(header)
                body = json.dumps(
                    {
                        "_id": "58fe13e34effd3c26a7fc4b7",
                        "title": "Test client",
                        "authority": {"objectType": "Agent", "mbox": "mailto:lrs@example.org"},
                        "isTrusted": True,
                        "lrs_id": "58fe13e34effd3c26a7fc4b7",
                        "organisation": _ORGANISATION,
                        "scopes": scopes,
                    }
                ).encode()
                self.send_response(404 if scopes is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> _Authority:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True)
class RealLRS:
    """A running ``xapi-statements``: strict xAPI 1.0.3, in memory.

    :param url: the xAPI URL, without ``/statements``.
    :param key: with ``secret``: may read and write.
    :param write_only_key: with ``secret``: may only write.
    """

    url: str
    key: str = "real-key"
    secret: str = "real-secret"
    write_only_key: str = "writing-key"

    def stored(self) -> list[dict[str, Any]]:
        """Every statement that isn't voided, newest first."""
        answer = requests.get(
            f"{self.url}/statements",
            params={"limit": "100"},
            auth=(self.key, self.secret),
            headers={"X-Experience-API-Version": "1.0.3"},
            timeout=10,
        )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["statements"]
        return found


@contextmanager
def real_lrs() -> Iterator[RealLRS]:
    """Start the LRS on a free loopback port; it ends with the block."""
    modules = node_modules()
    with _Authority() as authority, tempfile.TemporaryDirectory() as place:
        environment = {
            **_environment(modules),
            "AUTH_REPO": "fetch",
            "LL_CLIENT_INFO_ENDPOINT": authority.url,
            "EVENTS_REPO": "test",  # no Redis
            "MODELS_REPO": "memory",
            "STORAGE_REPO": "memory",
            "SERVICE_AWAIT_UPDATES": "true",
            "WINSTON_CONSOLE_LEVEL": "error",
        }
        command = [
            need("node"),
            "--no-deprecation",
            "--require",
            str(SOURCES / "loopback.js"),
            str(modules / "xapi-statements" / "dist" / "server.js"),
        ]
        with stopped_in_the_end(command, place, environment) as port:
            lrs = RealLRS(url=f"http://127.0.0.1:{port}/xAPI")
            basic = requests.auth._basic_auth_str
            authority.scopes[basic(lrs.key, lrs.secret)] = ["all"]
            authority.scopes[basic(lrs.write_only_key, lrs.secret)] = ["statements/write"]
            yield lrs


@contextmanager
def stopped_in_the_end(
    command: Sequence[str], folder: str, environment: Mapping[str, str]
) -> Iterator[int]:
    """A server of somebody else's that prints ``LISTENING`` and its port, which is given here."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield _port(process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _port(process: subprocess.Popen[str]) -> int:
    """The port that the LRS says it listens on; the rest of its output is read and dropped."""
    assert process.stdout is not None
    output = process.stdout
    for line in output:
        if line.startswith("LISTENING "):
            threading.Thread(target=lambda: output.read(), daemon=True).start()
            return int(line.split()[1])
    raise RuntimeError(f"the LRS ended with {process.wait()} before it listened")


__all__ = ["RealLRS", "node_modules", "real_lrs", "stopped_in_the_end", "validate"]
