"""What a machine may lack: skipped loudly, or failed where ``LMS_TEST_REQUIRE`` names it."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa

_WHAT = {
    "browser": "Chromium (apt-get install chromium)",
    "node": "Node.js with npm (apt-get install nodejs npm)",
    "ralph": "Ralph, a real LRS that pip installs",
    "postgres": "a PostgreSQL server, by LMS_TEST_POSTGRES_URL",
    "mariadb": "a MariaDB server, by LMS_TEST_MARIADB_URL",
}


def need(name: str) -> str:
    """The path or URL of what a test needs.

    :param name: ``browser``, ``node``, ``postgres`` or ``mariadb``.
    """
    if name == "browser":
        found = shutil.which("chromium") or shutil.which("chromium-browser")
    elif name == "node":
        found = shutil.which("node") if shutil.which("npm") else None
    else:
        found = _own_database(os.environ.get(f"LMS_TEST_{name.upper()}_URL"))
    return found or lacking(name)


@functools.cache
def _own_database(url: str | None) -> str | None:
    """Each process of a parallel run has a database of its own on that server."""
    process = os.environ.get("PYTEST_XDIST_WORKER")
    if not url or not process:
        return url
    server, name = sa.make_url(url), f"lms_{process}"
    root = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with root.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    root.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


def lacking(name: str, why: str | None = None) -> NoReturn:
    """Skip this test, or fail it where ``LMS_TEST_REQUIRE`` names what it needs.

    :param why: what is wrong; default: it is missing.
    """
    said = f"NOT TESTED: {why or _WHAT[name] + ' is missing'}"
    if name in os.environ.get("LMS_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{said}, and LMS_TEST_REQUIRE names it")
    pytest.skip(said)


def installed_once(
    name: str, wanted: str, command: Sequence[str], seconds: float, file: str = "wanted"
) -> Path:
    """A folder in the user's cache in which this command ran once.

    :param name: as ``LMS_TEST_REQUIRE`` names it.
    :param wanted: what is installed; it stands in ``file`` there while the command runs.
    :param seconds: it may take.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flask-lms-tests"
    home = root / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if home.is_dir():
        return home
    root.mkdir(parents=True, exist_ok=True)
    # Elsewhere first: a run that was cut off, or one beside it, leaves nothing half done.
    with tempfile.TemporaryDirectory(dir=root) as made:
        place = Path(made) / name
        place.mkdir()
        (place / file).write_text(wanted)
        try:
            done = subprocess.run(
                command, cwd=place, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            lacking(name, f"{command[0]} took more than {seconds:.0f} s")
        if done.returncode:
            lacking(name, f"{command[0]} failed: {done.stderr.strip()[-500:]}")
        try:
            place.rename(home)
        except OSError:  # another run was quicker
            if not home.is_dir():
                raise
    return home
