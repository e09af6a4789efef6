"""Stands between a worker and its database server, and breaks the line when told to.

``python -m tests.chaos.relay HOST PORT`` prints its own port and takes orders, one a line:
``commit answer`` (the next COMMIT arrives, its answer never comes), ``commit request`` (the next
COMMIT never arrives), ``away 3`` (all connections end, new ones are refused for 3 s). For each that
has happened it prints a line.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import deque
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent


class Relay:
    """One relay in a process of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.relay", host, str(port)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())
        self._orders = 0

    def order(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        self._orders += 1

    def close(self) -> int:
        """End it; how many of the orders have happened."""
        said = self._process.communicate()[0]
        return len(said.split())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class _Line:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.armed: deque[str] = deque()
        self.writers: set[asyncio.StreamWriter] = set()
        self.is_away = False

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_away:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self.writers |= {writer, far_writer}
        loses_answer = asyncio.Event()

        async def copy(
            source: asyncio.StreamReader, to: asyncio.StreamWriter, is_ours: bool
        ) -> None:
            while data := await source.read(65536):
                if is_ours and self.armed and b"COMMIT" in data:
                    how = self.armed.popleft()
                    print("commit", flush=True)
                    if how == "request":
                        return
                    loses_answer.set()
                elif not is_ours and loses_answer.is_set():
                    return
                to.write(data)
                await to.drain()

        tasks = [
            asyncio.ensure_future(copy(reader, far_writer, True)),
            asyncio.ensure_future(copy(far_reader, writer, False)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, far_writer):
            self.writers.discard(end)
            end.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def obey(self, words: list[str]) -> None:
        if words[0] == "commit":
            self.armed.append(words[1])
        elif words[0] == "away":
            self.is_away = True
            for writer in list(self.writers):
                writer.transport.abort()
            print("away", flush=True)
            await asyncio.sleep(float(words[1]))
            self.is_away = False


async def _serve(host: str, port: int) -> None:
    line = _Line(host, port)
    server = await asyncio.start_server(line.connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        await line.obey(words)
    os._exit(0)  # without waiting for lines that are still open


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
