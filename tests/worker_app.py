"""The small host as an app for real worker processes: ``flask --app tests.worker_app``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from flask import Flask

from tests.world import build_world

_ROOT = Path(__file__).parent.parent


def create_app() -> Flask:
    """The host that the test made, in a process of its own."""
    config: dict[str, Any] = {
        key.removeprefix("TEST_"): float(value) if re.fullmatch(r"[\d.]+", value) else value
        for key, value in os.environ.items()
        if key.startswith("TEST_LMS_")
    }
    config = {k: int(v) if isinstance(v, float) and v % 1 == 0 else v for k, v in config.items()}
    database_url, redis_url = os.environ["TEST_DATABASE_URL"], os.environ["TEST_REDIS_URL"]
    app = build_world(database_url, redis_url=redis_url, **config).app
    if ahead := float(os.environ.get("TEST_CLOCK_AHEAD_SECONDS", "0")):
        _put_clock_ahead(ahead)
    return app


def _put_clock_ahead(seconds: float) -> None:
    """A machine with a wrong clock: what Flask-LMS and RQ ask for the time is told another one."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)

    class Alike(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Wrong(datetime, metaclass=Alike):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> datetime:  # type: ignore[override]
            return datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(seconds=seconds)

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("rq", "flask_lms") and vars(module).get("datetime") is datetime:
            vars(module)["datetime"] = Wrong


@contextmanager
def worker(
    database_url: str, redis_url: str, *arguments: str, **config: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A real ``flask lms worker`` for the host with these servers; stopped at the end."""
    process = start_worker(database_url, redis_url, *arguments, **config)
    try:
        yield process
    finally:
        stop(process)


def start_worker(
    database_url: str,
    redis_url: str,
    *arguments: str,
    folder: Path = _ROOT,
    stderr: int | IO[bytes] | None = None,
    **config: Any,
) -> subprocess.Popen[bytes]:
    """:param folder: with the code of Flask-LMS, ours or that of another version."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(_ROOT), os.environ.get("PYTHONPATH", "")]),
        "TEST_DATABASE_URL": database_url,
        "TEST_REDIS_URL": redis_url,
        **{f"TEST_{key}": str(value) for key, value in config.items()},
    }
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "tests.worker_app", "lms", "worker", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=stderr,
    )


def stop(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """End a process gently, then firmly."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def children(process_id: int) -> list[int]:
    """Process ids of the parts of a worker (Linux)."""
    found = Path(f"/proc/{process_id}/task/{process_id}/children")
    return [int(part) for part in found.read_text().split()] if found.exists() else []


def until(condition: Callable[[], object], seconds: float = 30.0, what: str = "") -> float:
    """Wait for something another process does; the seconds it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.02)
    return time.monotonic() - started


def enable_wal(engine: sa.Engine) -> None:
    """SQLite for several processes: readers don't wait for the writer."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.execute(sa.text("PRAGMA journal_mode=WAL"))
