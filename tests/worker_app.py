"""The small host as an app for real worker processes: ``flask --app tests.worker_app``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from tests.world import build_world

_ROOT = Path(__file__).parent.parent


def create_app() -> Flask:
    """The host that the test made, in a process of its own."""
    config = {
        key.removeprefix("TEST_"): value
        for key, value in os.environ.items()
        if key.startswith("TEST_LMS_")
    }
    seconds = {k: float(v) if "SECONDS" in k else int(v) for k, v in config.items()}
    database_url, redis_url = os.environ["TEST_DATABASE_URL"], os.environ["TEST_REDIS_URL"]
    return build_world(database_url, redis_url=redis_url, **seconds).app


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
    database_url: str, redis_url: str, *arguments: str, **config: Any
) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "TEST_DATABASE_URL": database_url,
        "TEST_REDIS_URL": redis_url,
        **{f"TEST_{key}": str(value) for key, value in config.items()},
    }
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "tests.worker_app", "lms", "worker", *arguments],
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
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
