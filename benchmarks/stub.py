"""LMSs that are no bottleneck: many ports in one process, each quick, slow, hanging or ill on
demand, with a compact memory of every statement.

``python -m benchmarks.stub 400`` prints its control port and the ports of 400 LMSs, and serves
until its input is closed. Control:

- ``GET /set?first=0&last=59&ms=-1``: how long an answer takes (−1: not until another time is set)
- ``GET /script?port=3&answers=500,503s,429,cut``: the next answers (503s: it stores and says 503;
  cut: it stores and closes the connection)
- ``GET /seen``: statement id → when it was stored (``time.monotonic()`` of this machine), and the
  most requests under way at a time for each port
- ``GET /ids``: every stored statement as 20 bytes: id, port's number, times it came, 1 when it came
  with other content under the same id
- ``GET /count`` and ``GET /forget``
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: Statements begin with their id (``flask_lms`` writes them so).
_IDS = re.compile(rb'(?:^|[\[,]\s?)\{"id":\s?"([0-9a-f-]{36})"')
_HEAD = "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nX-Experience-API-Version: 1.0.3\r\n"
_ROW = struct.Struct(">16sHBB")


@dataclass(slots=True)
class Stored:
    """One statement at one LMS: how often it came, and whether it was always the same."""

    at: float
    crc: int
    times: int = 1
    is_different: bool = False


class Stub(AbstractContextManager["Stub"]):
    """The LMSs in a process of their own, and the way to ask them."""

    def __init__(self, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._control, *self.ports = json.loads(self._process.stdout.readline())

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports[number]}/xapi"

    def ask(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=60)
        connection.request("GET", path)
        body = connection.getresponse().read()
        connection.close()
        return body

    def get(self, path: str) -> dict[str, Any]:
        return dict(json.loads(self.ask(path)))

    def set(self, first: int, last: int, ms: float) -> None:
        self.ask(f"/set?first={first}&last={last}&ms={ms}")

    def stored(self) -> Iterator[tuple[bytes, int, int, int]]:
        """Of each statement: id, number of its LMS, times it came, 1: with different content."""
        return _ROW.iter_unpack(self.ask("/ids"))

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()


class LMSs:
    def __init__(self, count: int) -> None:
        self.delays = [0.0] * count
        self.scripts: list[list[str]] = [[] for _ in range(count)]
        self.stored: dict[tuple[int, bytes], Stored] = {}
        self.under_way = [0] * count
        self.most = [0] * count
        self.requests = 0
        self.arrived = 0
        self.hanging: list[tuple[Connection, bytes]] = []

    def store(self, number: int, body: bytes) -> list[str]:
        """Their ids; the same id again is counted, and its content compared."""
        found = list(_IDS.finditer(body))
        now = time.monotonic()
        ends = [match.start() + 1 for match in found[1:]] + [len(body)]
        for match, end in zip(found, ends, strict=True):
            id = bytes.fromhex(match[1].replace(b"-", b"").decode())
            start = body.index(b"{", match.start())
            crc = zlib.crc32(body[start:end].rstrip(b",] \n"))
            known = self.stored.get((number, id))
            if known is None:
                self.stored[number, id] = Stored(now, crc)
            else:
                known.times = min(known.times + 1, 255)
                known.is_different |= known.crc != crc
        self.arrived += len(found)
        return [match[1].decode() for match in found]


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as it is needed: requests with a length, one after the other."""

    def __init__(self, lmss: LMSs, number: int) -> None:
        self.lmss, self.number = lmss, number
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while True:
            head, found, rest = self.received.partition(b"\r\n\r\n")
            if not found:
                return
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self.received = rest[size:]
            path = head.split(b" ", 2)[1].decode()
            if self.number < 0:
                self.control(path)
            else:
                self.answer(rest[:size])

    def answer(self, body: bytes) -> None:
        lmss, number = self.lmss, self.number
        lmss.requests += 1
        lmss.under_way[number] += 1
        lmss.most[number] = max(lmss.most[number], lmss.under_way[number])
        delay = lmss.delays[number]
        if delay < 0:
            lmss.hanging.append((self, body))
        elif delay:
            asyncio.get_running_loop().call_later(delay, self.say, body)
        else:
            self.say(body)

    def say(self, body: bytes) -> None:
        lmss, number = self.lmss, self.number
        how = lmss.scripts[number].pop(0) if lmss.scripts[number] else "200"
        lmss.under_way[number] -= 1
        ids = lmss.store(number, body) if how in ("200", "503s", "cut") else []
        if how == "cut":
            self.transport.close()
        else:
            more = "Retry-After: 1\r\n" if how == "429" else ""
            self.reply(json.dumps(ids).encode(), int(how[:3]), more)

    def connection_lost(self, error: Exception | None) -> None:
        left = [one for one in self.lmss.hanging if one[0] is not self]
        self.lmss.under_way[self.number] -= len(self.lmss.hanging) - len(left)
        self.lmss.hanging = left

    def reply(self, body: bytes, status: int = 200, more: str = "") -> None:
        head = f"{_HEAD % status}{more}Content-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    def control(self, path: str) -> None:
        lmss, parts = self.lmss, urlsplit(path)
        asked = {key: value[0] for key, value in parse_qs(parts.query).items()}
        answer: dict[str, Any] = {}
        if parts.path == "/set":
            for number in range(int(asked["first"]), int(asked["last"]) + 1):
                lmss.delays[number] = float(asked["ms"]) / 1000
            waiting, lmss.hanging = lmss.hanging, []
            for connection, body in waiting:  # an LMS that wakes up answers late
                if lmss.delays[connection.number] < 0:
                    lmss.hanging.append((connection, body))
                else:
                    connection.say(body)
        elif parts.path == "/script":
            lmss.scripts[int(asked["port"])] += asked["answers"].split(",")
        elif parts.path == "/forget":
            lmss.stored.clear()
            lmss.most = list(lmss.under_way)
            lmss.requests = lmss.arrived = 0
        elif parts.path == "/seen":
            stored = {id.hex(): one.at for (_, id), one in lmss.stored.items()}
            answer = {"stored": stored, "most": lmss.most, "requests": lmss.requests}
        elif parts.path == "/count":
            answer = {
                "stored": len(lmss.stored),
                "arrived": lmss.arrived,
                "requests": lmss.requests,
            }
        elif parts.path == "/ids":
            rows = (
                _ROW.pack(id, number, one.times, one.is_different)
                for (number, id), one in lmss.stored.items()
            )
            self.reply(b"".join(rows))
            return
        self.reply(json.dumps(answer).encode())


async def serve(count: int) -> None:
    lmss, loop = LMSs(count), asyncio.get_running_loop()
    ports = []
    for number in range(-1, count):
        server = await loop.create_server(
            lambda number=number: Connection(lmss, number), "127.0.0.1", 0, backlog=512
        )
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
