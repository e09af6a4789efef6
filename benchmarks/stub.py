"""LMSs that are no bottleneck: many ports in one process, each quick, slow or hanging on demand.

``python -m benchmarks.stub 400`` prints its control port and the ports of 400 LMSs, and serves
until its input is closed. Control: ``GET /set?first=0&last=59&ms=-1`` (−1: never answers),
``GET /seen`` (statement id → when it was stored, ``time.monotonic()`` of this machine, and the
most requests under way at a time for each port), ``GET /forget``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from urllib.parse import parse_qs, urlsplit

#: Statements begin with their id (``flask_lms`` writes them so).
_IDS = re.compile(rb'(?:^|[\[,])\{"id":\s?"([0-9a-f-]{36})"')
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Experience-API-Version: 1.0.3\r\n"


class World:
    def __init__(self, count: int) -> None:
        self.delays = [0.0] * count
        self.stored: dict[str, float] = {}
        self.under_way = [0] * count
        self.most = [0] * count
        self.requests = 0


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as it is needed: requests with a length, one after the other."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
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
            self.answer(head.split(b" ", 2)[1].decode(), rest[:size])

    def answer(self, path: str, body: bytes) -> None:
        world, number = self.world, self.number
        if number < 0:
            return self.control(path)
        world.requests += 1
        world.under_way[number] += 1
        world.most[number] = max(world.most[number], world.under_way[number])
        delay = world.delays[number]
        if delay < 0:
            return None
        if delay:
            asyncio.get_running_loop().call_later(delay, self.store, body)
        else:
            self.store(body)
        return None

    def store(self, body: bytes) -> None:
        ids = [id.decode() for id in _IDS.findall(body)]
        now = time.monotonic()
        for id in ids:
            self.world.stored.setdefault(id, now)
        self.world.under_way[self.number] -= 1
        self.reply(json.dumps(ids).encode())

    def connection_lost(self, error: Exception | None) -> None:
        if self.number >= 0 and self.world.delays[self.number] < 0:
            self.world.under_way[self.number] = max(self.world.under_way[self.number] - 1, 0)

    def reply(self, body: bytes) -> None:
        self.transport.write(  # type: ignore[attr-defined]
            _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        )

    def control(self, path: str) -> None:
        parts = urlsplit(path)
        asked = {key: float(value[0]) for key, value in parse_qs(parts.query).items()}
        if parts.path == "/set":
            for number in range(int(asked["first"]), int(asked["last"]) + 1):
                self.world.delays[number] = asked["ms"] / 1000
        if parts.path == "/forget":
            self.world.stored.clear()
            self.world.most = list(self.world.under_way)
            self.world.requests = 0
        answer = {}
        if parts.path == "/seen":
            answer = {
                "stored": self.world.stored,
                "most": self.world.most,
                "requests": self.world.requests,
            }
        if parts.path == "/count":
            answer = {"stored": len(self.world.stored)}
        self.reply(json.dumps(answer).encode())


async def serve(count: int) -> None:
    world, loop = World(count), asyncio.get_running_loop()
    ports = []
    for number in range(-1, count):
        server = await loop.create_server(
            lambda number=number: Connection(world, number), "127.0.0.1", 0, backlog=512
        )
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
