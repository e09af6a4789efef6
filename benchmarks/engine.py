"""What the engine does when LMSs are slow, hang or are quick: one table, peers in the same run.

Times go from the host's commit to the moment the LMS has stored the statement, measured by the LMS
(``benchmarks.stub``) on the same clock. Each destination has an organization of its own and was
well a moment before.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from demo.valkey import Valkey
from flask_lms import Objective
from tests.worker_app import children, enable_wal, start_worker, stop
from tests.world import World, make_world, result

STUB = Path(__file__).parent / "stub.py"
PLACES = 400


class Stub:
    """The LMSs, in a process of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(STUB), str(PLACES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._control, *self.ports = json.loads(self._process.stdout.readline())

    def get(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=60)
        connection.request("GET", path)
        return dict(json.loads(connection.getresponse().read()))

    def set(self, first: int, last: int, ms: float) -> None:
        self.get(f"/set?first={first}&last={last}&ms={ms}")

    def close(self) -> None:
        self._process.communicate()


class Bench:
    def __init__(self, url: str, redis_url: str, host: World, stub: Stub) -> None:
        self.url, self.redis_url, self.host, self.stub = url, redis_url, host, stub
        self.attached = 0
        self.recorded: dict[str, float] = {}
        self._number = 0

    def attach(self, count: int) -> None:
        for number in range(self.attached, count):
            self.host.attach(
                f"http://127.0.0.1:{self.stub.ports[number]}/xapi",
                name=f"LMS {number}",
                organization_id=f"org{number}",
                objective_id="ppe",
            )
        self.attached = max(self.attached, count)

    def record(self, destinations: list[int], each: int = 1) -> None:
        made = []
        for number in destinations:
            for _ in range(each):
                self._number += 1
                made.append(
                    result(
                        f"b{self._number}",
                        organization_id=f"org{number}",
                        objective=Objective(id="ppe", name="Put on PPE"),
                    )
                )
        for first in range(0, len(made), 2000):
            self.host.lms.record_many(made[first : first + 2000])
        at = time.monotonic()
        self.recorded.update((one.id, at) for one in made)
        self.host.db.session.remove()

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        process = start_worker(self.url, self.redis_url, *arguments)
        try:
            for _ in range(300):
                time.sleep(0.1)
                with self.host.db.engine.connect() as connection:
                    if connection.scalar(sa.text("select count(*) from lms_worker")):
                        break
            time.sleep(1)
            yield process
        finally:
            stop(process)
            with self.host.db.engine.begin() as connection:
                connection.execute(sa.text("delete from lms_worker"))

    def until_stored(self, count: int, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while self.stub.get("/count")["stored"] < count:
            if time.monotonic() > until:
                raise SystemExit(f"not stored within {seconds} s")
            time.sleep(0.02)

    def forget(self) -> None:
        self.stub.get("/forget")
        self.recorded.clear()

    def warm(self, count: int) -> None:
        """Every destination answers once."""
        self.stub.set(0, PLACES - 1, 0)
        self.attach(count)
        self.forget()
        self.record(list(range(count)))
        self.until_stored(count)
        time.sleep(1)
        self.forget()

    def rows(self) -> dict[str, str]:
        """Statement id → result id."""
        with self.host.db.engine.connect() as connection:
            found = connection.execute(
                sa.text("select statement_id, result_id from lms_delivery")
            ).all()
        return {str(uuid.UUID(hex=str(row[0]))): str(row[1]) for row in found}

    # -- scenarios -----------------------------------------------------------------------------

    def burst(self, destinations: int, each: int, ms: float) -> str:
        with self.worker():
            self.warm(destinations)
            self.stub.set(0, destinations - 1, ms)
            started = time.monotonic()
            self.record(list(range(destinations)), each)
            committed = time.monotonic()
            self.until_stored(destinations * each)
            seen = self.stub.get("/seen")
        last = max(seen["stored"].values())
        rate = destinations * each / (last - committed)
        whole = destinations * each / (last - started)
        return (
            f"{last - committed:.2f} s after the commit, {rate:,.0f}/s ({whole:,.0f}/s with "
            f"recording), {seen['requests']} requests, {max(seen['most'])} at once to one"
        )

    def backlog(self, destinations: int, each: int, ms: float) -> str:
        """What waited when the worker was started; from the first to the last stored."""
        with self.worker():
            self.warm(destinations)
        self.stub.set(0, destinations - 1, ms)
        self.record(list(range(destinations)), each)
        with self.worker():
            self.until_stored(destinations * each)
            seen = self.stub.get("/seen")
        times = sorted(seen["stored"].values())
        first = times[0] - ms / 1000
        return (
            f"{len(times) / (times[-1] - first):,.0f}/s, {seen['requests']} requests, "
            f"{max(seen['most'])} at once to one"
        )

    def hanging(self, hang: int, of: int, seconds: float) -> str:
        """Results go on to all; the first ``hang`` stop answering."""
        with self.worker() as process:
            self.warm(of)
            self.stub.set(0, hang - 1, -1)
            started, wanted = time.monotonic(), []
            rate, number = 20.0, 0
            while time.monotonic() - started < seconds:
                time.sleep(max(0.0, started + number / rate - time.monotonic()))
                healthy = hang + number % (of - hang)
                self.record([healthy])
                wanted.append(f"b{self._number}")
                self.record([number % hang])
                number += 1
            time.sleep(5)
            seen, rows = self.stub.get("/seen"), self.rows()
            pss = memory(process.pid)
            stored = {rows[id]: at for id, at in seen["stored"].items() if id in rows}
            took = sorted(
                (stored.get(id, float("inf")) - self.recorded[id]) * 1000 for id in wanted
            )
            self.stub.set(0, PLACES - 1, 0)
        return f"{spread(took)}; {pss}; {max(seen['most'])} at once to one"

    def idle(self, destinations: int, seconds: float) -> str:
        with self.worker() as process:
            self.warm(destinations)
            pss = memory(process.pid)
            started, number = time.monotonic(), 0
            while time.monotonic() - started < seconds:
                time.sleep(max(0.0, started + number / 20 - time.monotonic()))
                self.record([number % destinations])
                number += 1
            time.sleep(2)
            seen, rows = self.stub.get("/seen"), self.rows()
        took = sorted(
            (at - self.recorded[rows[id]]) * 1000 for id, at in seen["stored"].items() if id in rows
        )
        return f"{spread(took)}; idle: {pss}"

    def raw(self, ms: float) -> str:
        """A plain keep-alive loop, 50 statements of the same size each."""
        self.stub.set(0, 0, ms)
        body = b"[" + b",".join([_STATEMENT] * 50) + b"]"
        connection = http.client.HTTPConnection("127.0.0.1", self.stub.ports[0])
        started, sent = time.monotonic(), 0
        while time.monotonic() - started < 3:
            connection.request("POST", "/xapi/statements", body)
            connection.getresponse().read()
            sent += 50
        return f"{sent / (time.monotonic() - started):,.0f}/s"


_STATEMENT = b'{"id":"6f0e5a6c-6f3c-5b0a-9a43-6f2a6c1f5c11","x":"' + b"x" * 1000 + b'"}'


def spread(took: list[float]) -> str:
    cuts = statistics.quantiles(took, n=100)
    p50, p95, p99 = (cuts[at] for at in (49, 94, 98))
    return f"n={len(took)} p50 {p50:.0f} p95 {p95:.0f} p99 {p99:.0f} max {took[-1]:.0f} ms"


def memory(process_id: int) -> str:
    ids = [process_id, *children(process_id)]
    kb = 0
    for id in ids:
        rollup = Path(f"/proc/{id}/smaps_rollup").read_text()
        kb += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return f"{kb / 1024:.0f} MB Pss in {len(ids)} processes"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="./run bench engine", description=__doc__)
    parser.add_argument("--database", default=os.environ.get("LMS_TEST_POSTGRES_URL"))
    parser.add_argument("--seconds", type=float, default=120, help="of the runs with hanging LMSs")
    parser.add_argument("--only", nargs="*", help="names of rows, by their beginning")
    options = parser.parse_args(arguments)
    scenarios: dict[str, Callable[[Bench], str]] = {
        "idle, 20 results/s": lambda bench: bench.idle(20, min(options.seconds, 30)),
        "60 of 61 hang": lambda bench: bench.hanging(60, 61, options.seconds),
        "300 of 400 hang": lambda bench: bench.hanging(300, 400, options.seconds),
        "120 x 5, 500 ms": lambda bench: bench.burst(120, 5, 500),
        "16 x 500, 50 ms": lambda bench: bench.backlog(16, 500, 50),
        "one, 50 ms": lambda bench: bench.backlog(1, 8000, 50),
        "one, at once": lambda bench: bench.backlog(1, 20000, 0),
        "raw loop, 50 ms": lambda bench: bench.raw(50),
        "raw loop, at once": lambda bench: bench.raw(0),
    }
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    for name, scenario in scenarios.items():
        if options.only and not name.startswith(tuple(options.only)):
            continue
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lms-bench-"))
            url = options.database or f"sqlite:///{Path(folder) / 'bench.db'}"
            valkey = stack.enter_context(Valkey())
            stub = Stub()
            stack.callback(stub.close)
            host = stack.enter_context(make_world(url, redis_url=valkey.url))
            enable_wal(host.db.engine)
            outcome = scenario(Bench(url, valkey.url, host, stub))
            print(f"{name:<20} {host.db.engine.dialect.name:<11} {outcome}", flush=True)


if __name__ == "__main__":
    main()
