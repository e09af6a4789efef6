"""What the engine does when LMSs are slow, hang or are quick: one table, peers in the same run.

Times go from the host's commit to the moment the LMS has stored the statement, measured by the LMS
(``benchmarks.stub``) on the same clock. Each destination has an organization of its own and was
well a moment before.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
import sqlalchemy as sa

from benchmarks import report
from benchmarks.stub import Stub
from demo.valkey import Valkey
from flask_lms import Objective
from tests.worker_app import children, enable_wal, start_worker, stop
from tests.world import World, make_world, result

PLACES = 400
_TOP = Path(__file__).parent.parent


class Bench:
    """A host with its worker and LMSs, and what can be measured with them."""

    def __init__(self, url: str, redis_url: str, host: World, stub: Stub) -> None:
        self.url, self.redis_url, self.host, self.stub = url, redis_url, host, stub
        self.attached = 0
        self.valkey: Valkey | None = None
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

    def latencies(self, ids: Iterable[str]) -> list[float]:
        """Milliseconds from commit to stored, shortest first; without end for what is not there."""
        with self.host.db.engine.connect() as connection:
            found = connection.execute(
                sa.text("select statement_id, result_id from lms_delivery")
            ).all()
        results = {uuid.UUID(hex=str(row[0])).hex: str(row[1]) for row in found}
        stored = {
            results[id]: at for id, at in self.stub.get("/seen")["stored"].items() if id in results
        }
        return sorted((stored.get(id, math.inf) - self.recorded[id]) * 1000 for id in ids)

    # -- ours ----------------------------------------------------------------------------------

    def burst(
        self, destinations: int, each: int, ms: float, rounds: int
    ) -> tuple[list[float], str]:
        """Seconds from the commit to the last stored."""
        taken = []
        with self.worker():
            self.warm(destinations)
            self.stub.set(0, destinations - 1, ms)
            for _ in range(rounds):
                self.forget()
                self.record(list(range(destinations)), each)
                committed = time.monotonic()
                self.until_stored(destinations * each)
                taken.append(max(self.stub.get("/seen")["stored"].values()) - committed)
                time.sleep(1)
            most = max(self.stub.get("/seen")["most"])
        return taken, f"at most {most} at a time to one"

    def backlog(
        self, destinations: int, each: int, ms: float, rounds: int
    ) -> tuple[list[float], str]:
        """Statements a second: what waited when the worker was started, first to last stored."""
        rates, note = [], ""
        for number in range(rounds):
            self.forget()
            if not number:
                with self.worker():
                    self.warm(destinations)
                self.stub.set(0, destinations - 1, ms)
            self.record(list(range(destinations)), each)
            with self.worker():
                self.until_stored(destinations * each)
                seen = self.stub.get("/seen")
            times = sorted(seen["stored"].values())
            rates.append(len(times) / (times[-1] - times[0] + ms / 1000))
            note = f"{seen['requests']} requests, {max(seen['most'])} at a time to one"
        return rates, note

    def hanging(self, hang: int, of: int, seconds: float) -> tuple[list[float], str]:
        """Latencies of the healthy ones, while the first ``hang`` take all and answer nothing."""
        with self.worker() as process:
            self.warm(of)
            self.stub.set(0, hang - 1, -1)
            started, wanted, number = time.monotonic(), [], 0
            while time.monotonic() - started < seconds:
                time.sleep(max(0.0, started + number / 20 - time.monotonic()))
                self.record([hang + number % (of - hang)])
                wanted.append(f"b{self._number}")
                self.record([number % hang])
                number += 1
            time.sleep(5)
            taken = self.latencies(wanted)
            pss, processes = memory(process.pid)
            most = max(self.stub.get("/seen")["most"])
            self.stub.set(0, PLACES - 1, 0)
        return taken, f"{most} at a time to one, {pss:.0f} MB in {processes} processes"

    def idle(self, destinations: int, seconds: float) -> tuple[list[float], list[float]]:
        """Latencies under 20 results a second; Pss (MB), processes and share of a core, idle."""
        with self.worker() as process:
            self.warm(destinations)
            pss, processes = memory(process.pid)
            before, began = cpu_seconds(process.pid), time.monotonic()
            time.sleep(min(seconds, 15))
            share = (cpu_seconds(process.pid) - before) / (time.monotonic() - began) * 100
            return self._trickle(destinations, seconds), [pss, processes, share]

    def without_redis(self, destinations: int, seconds: float) -> list[float]:
        assert self.valkey is not None
        with self.worker():
            self.warm(destinations)
            self.valkey.stop()
            time.sleep(6)
            taken = self._trickle(destinations, seconds)
            self.valkey.start()
        return taken

    def _trickle(self, destinations: int, seconds: float) -> list[float]:
        started, number, wanted = time.monotonic(), 0, []
        while time.monotonic() - started < seconds:
            time.sleep(max(0.0, started + number / 20 - time.monotonic()))
            self.record([number % destinations])
            wanted.append(f"b{self._number}")
            number += 1
        time.sleep(3)
        return self.latencies(wanted)

    def dripping(self) -> tuple[float, float]:
        """Seconds that a connection test takes against an LMS that sends a byte each second, and
        that it takes at most for a page of the host meanwhile.
        """
        with Dripping() as port:
            made = self.host.attach(f"http://127.0.0.1:{port}/xapi", name="Drips")
            took: list[float] = []

            def test() -> None:
                started = time.monotonic()
                with self.host.app.app_context():
                    self.host.lms.configurations.test(made.id)
                took.append(time.monotonic() - started)

            thread = threading.Thread(target=test)
            thread.start()
            slowest, client = 0.0, self.host.app.test_client()
            while thread.is_alive():
                started = time.monotonic()
                client.get("/lms/health.json")
                slowest = max(slowest, time.monotonic() - started)
                time.sleep(0.05)
        return took[0], slowest

    # -- others --------------------------------------------------------------------------------

    def raw(self, ms: float, rounds: int) -> list[float]:
        """A plain keep-alive loop, 50 statements of the same size each."""
        self.stub.set(0, 0, ms)
        body = b"[" + b",".join([_STATEMENT] * 50) + b"]"
        connection = http.client.HTTPConnection("127.0.0.1", self.stub.ports[0])
        rates = []
        for _ in range(rounds):
            started, sent = time.monotonic(), 0
            while time.monotonic() - started < 3:
                connection.request("POST", "/xapi/statements", body)
                connection.getresponse().read()
                sent += 50
            rates.append(sent / (time.monotonic() - started))
        return rates

    def outbox(self, ms: float, rounds: int) -> list[float]:
        """The least that is honest: SELECT a batch, POST, UPDATE, COMMIT, on the same database."""
        self.stub.set(0, 0, ms)
        table = sa.Table(
            "bench_outbox",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("body", sa.Text),
            sa.Column("is_sent", sa.Boolean, index=True),
        )
        engine, http_session, rates = self.host.db.engine, requests.Session(), []
        table.drop(engine, checkfirst=True)
        table.create(engine)
        url = f"{self.stub.url(0)}/statements"
        with engine.connect() as connection:
            for _ in range(rounds):
                row = {"body": _STATEMENT.decode(), "is_sent": False}
                connection.execute(sa.insert(table), [row] * (2500 if ms else 10_000))
                connection.commit()
                started, sent = time.monotonic(), 0
                waiting = sa.select(table).where(~table.c.is_sent).order_by(table.c.id).limit(50)
                while rows := connection.execute(waiting).all():
                    body = f"[{','.join(row.body for row in rows)}]"
                    http_session.post(url, data=body).raise_for_status()
                    ids = [row.id for row in rows]
                    done = sa.update(table).where(table.c.id.in_(ids)).values(is_sent=True)
                    connection.execute(done)
                    connection.commit()
                    sent += len(rows)
                rates.append(sent / (time.monotonic() - started))
        table.drop(engine)
        return rates

    def peer(self, name: str, ms: float, rounds: int) -> list[float]:
        """One of ``benchmarks.peers``."""
        self.stub.set(0, 0, ms)
        python = peers_python()
        command = [python, str(_TOP / "benchmarks/peers.py"), name, self.stub.url(0), "3"]
        rates = []
        for _ in range(rounds if python else 0):
            ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
            if ran.returncode:
                print(ran.stderr.strip().splitlines()[-1], file=sys.stderr)
                break
            rates.append(float(ran.stdout))
        return rates


class Dripping:
    """An LMS that sends its answer a byte a second, for ever."""

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not self._is_over.wait(1.0):
                connection.sendall(b" ")


_STATEMENT = b'{"id":"6f0e5a6c-6f3c-5b0a-9a43-6f2a6c1f5c11","x":"' + b"x" * 1000 + b'"}'


@functools.cache
def peers_python() -> str:
    """The Python of an environment with the peers; "" when it can't be had."""
    folder = _TOP / ".venv-peers"
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        print("Making .venv-peers …", file=sys.stderr)
        make = [sys.executable, "-m", "venv", str(folder)]
        install = [str(python), "-m", "pip", "install", "--quiet", *PEERS]
        if subprocess.call(make) or subprocess.call(install):
            print("The peers can't be installed; they are left out.", file=sys.stderr)
            return ""
        (folder / ".installed").touch()
    return str(python)


PEERS = ("tincan==1.0.0", "edx-event-routing-backends==9.3.8")


def _ratio(rates: list[float], other: float | None, name: str) -> str:
    return f", {quantile(sorted(rates), 0.5) / other:.2g} × {name}" if other else ""


def quantile(values: list[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)]


def _parts(process_id: int) -> list[int]:
    return [process_id, *children(process_id)]


def memory(process_id: int) -> tuple[float, int]:
    """MB (Pss) and processes of a worker."""
    kb = 0
    for id in _parts(process_id):
        rollup = Path(f"/proc/{id}/smaps_rollup").read_text()
        kb += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return kb / 1024, len(_parts(process_id))


def cpu_seconds(process_id: int) -> float:
    ticks = 0
    for id in _parts(process_id):
        fields = Path(f"/proc/{id}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Table:
    """The lines measured so far; each is printed as it comes."""

    def __init__(self) -> None:
        self.lines: list[report.Measured] = []
        self.database = ""

    def add(
        self,
        name: str,
        unit: str,
        values: list[float],
        goal: str = "",
        *,
        most: float | None = None,
        least: float | None = None,
        share: float = 0.5,
        **more: str,
    ) -> None:
        """A line whose figure must be at most or at least so much."""
        values = [round(one, 3) for one in sorted(values)]
        if not values:
            return
        figure = quantile(values, share)
        is_met = None
        if most is not None or least is not None:
            is_met = (most is None or figure <= most) and (least is None or figure >= least)
        line = report.Measured(
            name=name,
            database=self.database,
            unit=unit,
            values=values,
            figure=figure,
            goal=goal,
            is_met=is_met,
            **more,
        )
        self.lines.append(line)
        print(report.text(line), file=sys.stderr, flush=True)

    def median(self, name: str) -> float | None:
        """Of a line, of this database when there is one."""
        found = [line for line in self.lines if line.name == name]
        found.sort(key=lambda line: line.database != self.database)
        return found[0].figure if found else None

    def knows(self, name: str) -> bool:
        """Whether it was measured with any database; it depends on none."""
        return any(line.name == name for line in self.lines)

    def latency(self, name: str, taken: list[float], p50: float, high: float, at: float) -> None:
        self.add(f"{name}: p50", "ms", taken, f"≤ {p50:g} ms", most=p50)
        percent = f"p{at * 100:.0f}"
        self.add(f"{name}: {percent}", "ms", taken, f"≤ {high:g} ms", most=high, share=at)


def measure(table: Table, url: str, options: argparse.Namespace) -> None:
    """All of it on one database."""
    rounds, seconds, only = options.rounds, options.seconds, options.only

    def part(name: str) -> bool:
        return not only or name.startswith(tuple(only))

    @contextmanager
    def bench() -> Iterator[Bench]:
        with ExitStack() as stack:
            valkey = stack.enter_context(Valkey())
            stub = stack.enter_context(Stub(PLACES))
            host = stack.enter_context(make_world(url, redis_url=valkey.url))
            enable_wal(host.db.engine)
            made = Bench(url, valkey.url, host, stub)
            made.valkey = valkey
            yield made

    if part("peers"):
        with bench() as b:
            for ms, how in ((50, "50 ms"), (0, "at once")):
                table.add(f"raw keep-alive loop, {how}", "/s", b.raw(ms, rounds))
                table.add(f"minimal outbox, {how}", "/s", b.outbox(ms, rounds))
                if not table.knows(f"tincan, {how}"):
                    table.add(f"tincan, {how}", "/s", b.peer("tincan", ms, rounds))
                    name = f"ERB transform + bulk, {how}"
                    table.add(name, "/s", b.peer("erb", ms, rounds))
                    paper = 4139.0 if ms else 7942.0
                    table.add(
                        f"ERB's Celery, sending only, {how}",
                        "/s",
                        [paper],
                        source="from an earlier measurement, not of this run",
                    )
    if part("one"):
        raw = table.median("raw keep-alive loop, 50 ms")
        with bench() as b:
            rates, note = b.backlog(1, options.statements // 2, 50, rounds)
        table.add(
            "one destination, 50 ms",
            "/s",
            rates,
            f"≥ 3.5 × raw{f' ({3.5 * raw:,.0f}/s)' if raw else ''} and ≥ 1.2 × ERB's Celery",
            least=max(3.5 * raw, 1.2 * 4139) if raw else None,
            note=f"{note}{_ratio(rates, raw, 'raw')}",
        )
        erb = table.median("ERB transform + bulk, at once")
        at_once = table.median("raw keep-alive loop, at once")
        with bench() as b:
            rates, note = b.backlog(1, options.statements, 0, rounds)
        table.add(
            "one destination, at once",
            "/s",
            rates,
            f"≥ 8 × ERB transform + bulk{f' ({8 * erb:,.0f}/s)' if erb else ''}",
            least=8 * erb if erb else None,
            note=f"{note}{_ratio(rates, erb, 'ERB')}{_ratio(rates, at_once, 'raw')}",
        )
    if part("16"):
        with bench() as b:
            rates, note = b.backlog(16, 500, 50, rounds)
        table.add("16 × 500, 50 ms", "/s", rates, "≥ 5,500/s", least=5500, note=note)
    if part("120"):
        with bench() as b:
            taken, note = b.burst(120, 5, 500, rounds)
        table.add("120 × 5, 500 ms", "s", taken, "≤ 3 s", most=3, note=note)
    for hang, of in ((60, 61), (300, 400)):
        if part(f"{hang}"):
            with bench() as b:
                taken, note = b.hanging(hang, of, seconds)
            table.latency(f"{hang} of {of} hang", taken, 100, 500, 0.95)
            table.lines[-1].note = note
    if part("idle"):
        with bench() as b:
            taken, (pss, processes, share) = b.idle(20, min(seconds, 30))
        table.latency("20 results a second", taken, 15, 100, 0.99)
        table.add("worker: Pss", "MB", [pss], "≤ 150 MB", most=150)
        table.add("worker: processes", "", [processes], "≤ 5", most=5)
        table.add("worker: idle, share of a core", "%", [share], "≤ 1 %", most=1)
    if part("redis"):
        with bench() as b:
            taken = b.without_redis(20, min(seconds, 20))
        table.add("Redis away: p50", "ms", taken, "≤ 1,000 ms", most=1000)
    if part("drip") and not table.knows("dripping LMS: connection test"):
        with bench() as b:
            whole, page = b.dripping()
        table.add("dripping LMS: connection test", "s", [whole], "≤ 12 s", most=12)
        table.add("dripping LMS: another page", "s", [page], "≤ 0.2 s", most=0.2)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run bench engine", description=__doc__)
    parser.add_argument("--database", action="append", help="URL; default: SQLite and PostgreSQL")
    parser.add_argument("--seconds", type=float, default=120, help="of the runs with hanging LMSs")
    parser.add_argument("--statements", type=int, default=16_000, help="for one destination")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="peers one 16 120 60 300 idle redis drip")
    parser.add_argument("--write-docs", action="store_true", help="docs/speed.md, docs/benchmarks")
    options = parser.parse_args(arguments)
    table, load = Table(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="lms-bench-") as folder:
        sqlite, postgres = f"sqlite:///{folder}/bench.db", os.environ.get("LMS_TEST_POSTGRES_URL")
        for url in options.database or [sqlite, *([postgres] if postgres else [])]:
            table.database = sa.engine.make_url(url).get_backend_name()
            measure(table, url, options)
    run = report.Run(lines=table.lines, load_before=load)
    print(report.markdown(run))
    if options.write_docs:
        report.write_docs(run, _TOP / "docs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
