"""A PostgreSQL server of its own for the kill test, which may crash in the middle of COMMITs."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from demo.valkey import end_with_the_parent

#: Microseconds by which COMMITs are held up before a crash, so that some are under way.
_DELAY = 100_000


def _programs() -> Path | None:
    """The folder of initdb and postgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name))
    initdb = shutil.which("initdb")
    return found[-1] if found else Path(initdb).resolve().parent if initdb else None


def _user() -> dict[str, Any]:
    """PostgreSQL doesn't run as root."""
    if os.getuid():
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Postgres:
    """A server with default durability (fsync, WAL) on loopback, with its data in a folder.

    >>> with Postgres() as postgres:
    ...     sa.create_engine(postgres.url)
    """

    def __init__(self) -> None:
        programs = _programs()
        if programs is None:
            raise RuntimeError("PostgreSQL's initdb is missing: install postgresql")
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="lms-postgres-"))
        if (user := _user().get("user")) is not None:
            os.chown(self._folder, user, _user()["group"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://lms@127.0.0.1:{self._port}/postgres"
        self._engine = sa.create_engine(
            self.url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
        )

    @staticmethod
    def is_there() -> bool:
        """Whether this machine has the programs, and a user that may run them."""
        with contextlib.suppress(KeyError):
            _user()
            return _programs() is not None
        return False

    def __enter__(self) -> Postgres:
        options = ("--username=lms", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        try:
            subprocess.run(
                [str(self._programs / "initdb"), "-D", str(self._folder / "data"), *options],
                cwd=self._folder,
                check=True,
                capture_output=True,
                **_user(),
            )
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._crash()
        shutil.rmtree(self._folder, ignore_errors=True)

    def crash_in_commit(self) -> int:
        """Crash while COMMITs are under way, and recover; returns how many were."""
        with self._engine.connect() as connection:
            self._delay_commits(connection, _DELAY)
            count = 0
            for _ in range(500):
                count = connection.scalar(
                    sa.text(
                        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                        "AND query ILIKE 'commit%' AND pid <> pg_backend_pid()"
                    )
                )
                if count:
                    break
                time.sleep(0.01)
        self._crash()
        self._start()
        with self._engine.connect() as connection:
            self._delay_commits(connection, 0)
        return int(count or 0)

    def _delay_commits(self, connection: sa.Connection, microseconds: int) -> None:
        connection.exec_driver_sql(f"ALTER SYSTEM SET commit_delay = {microseconds}")
        connection.exec_driver_sql("ALTER SYSTEM SET commit_siblings = 0")
        connection.exec_driver_sql("SELECT pg_reload_conf()")

    def _start(self) -> None:
        data = str(self._folder / "data")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(self._programs / "postgres"), "-D", data, "-k", str(self._folder)),
                    *("-h", "127.0.0.1", "-p", str(self._port), "-c", "max_connections=300"),
                ],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_the_parent(signal.SIGQUIT),
                **_user(),
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self._engine.connect().close()
                return
            except sa.exc.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = (self._folder / "log").read_text()[-2000:]
                    raise RuntimeError(f"PostgreSQL did not start; it says: {said}") from None
                time.sleep(0.05)

    def _crash(self) -> None:
        """Without a checkpoint, as `pg_ctl stop -m immediate` does it: the log is replayed then."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None
