"""The kill test: real workers, a real Redis-protocol server, a real database and real LRSs.

Results are recorded while parts of the system die. It ends when nothing waits any more, and then
every recorded id is read back from the receiving ends.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

import redis as redis_py
import sqlalchemy as sa

from demo.valkey import Valkey
from flask_lms import Objective
from flask_lms.database.models import Delivery, DeliveryState
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.worker_app import children, enable_wal, start_worker, stop
from tests.world import World, make_world, result

_AWAY_SECONDS = 8.0
_PATIENCE_SECONDS = 300.0
_TRANSACTION = 50


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of what; faults come at random moments of ``seconds``."""

    statements: int
    destinations: int = 8
    workers: int = 2
    kills: int = 60
    flushes: int = 2
    stops: int = 1
    cuts: int = 1
    seconds: float = 90.0
    #: Share of the kills that take a worker whole; the others take one of its parts.
    whole: float = 0.2
    seed: int | None = None


@dataclass(kw_only=True)
class Outcome:
    """What happened. ``twice`` counts statements that arrived again with the same id."""

    database: str
    faults: dict[str, int]
    statements: int
    lost: int
    twice: int
    recovery_seconds: float
    total_seconds: float
    seed: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def as_table(self) -> str:
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        rows = [
            ("database", self.database),
            ("faults injected", faults),
            ("statements recorded", f"{self.statements:,}"),
            ("lost", f"{self.lost}"),
            ("sent twice (same id)", f"{self.twice:,}"),
            ("last fault → all stored", f"{self.recovery_seconds:.1f} s"),
            ("whole run", f"{self.total_seconds:.1f} s (seed {self.seed})"),
        ]
        return "\n".join(f"{name:<26}{value}" for name, value in rows)


@dataclass(kw_only=True)
class _World:
    """Everything that runs, so that it can be hurt and stopped."""

    host: World
    valkey: Valkey
    lrss: list[FakeLRS]
    chance: random.Random
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    recorded: set[str] = field(default_factory=set)
    last_fault: float = 0.0

    def start_worker(self) -> None:
        url = self.host.app.config["SQLALCHEMY_DATABASE_URI"]
        self.processes.append(start_worker(url, self.valkey.url, "--processes", "2"))

    # -- faults --------------------------------------------------------------------------------

    def kill(self, whole: float) -> None:
        """SIGKILL of a random part of a random worker, or of the worker whole."""
        process = self.chance.choice(self.processes)
        parts = children(process.pid)
        if self.chance.random() < whole or (whole and not parts):
            process.kill()
            process.wait()
            self.processes.remove(process)
            self.start_worker()
            self.faults["workers killed"] += 1
        elif parts:
            os.kill(self.chance.choice(parts), signal.SIGKILL)
            self.faults["parts killed"] += 1

    def flush(self) -> None:
        redis_py.Redis.from_url(self.valkey.url).flushall()
        self.faults["Redis flushes"] += 1

    def stop_redis(self) -> None:
        self.valkey.stop()
        time.sleep(_AWAY_SECONDS)
        self.valkey.start()
        self.faults["Redis stops"] += 1

    def cut_database(self) -> None:
        """End every other connection to the database, whatever it is doing."""
        engine = sa.create_engine(self.host.app.config["SQLALCHEMY_DATABASE_URI"])
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(
                    sa.text(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where datname = current_database() and pid <> pg_backend_pid()"
                    )
                )
            elif engine.dialect.name in ("mysql", "mariadb"):
                own = connection.scalar(sa.text("select connection_id()"))
                for row in connection.execute(sa.text("show processlist")).all():
                    if row[0] != own and row[1] != "system user":
                        try:
                            connection.execute(sa.text(f"kill {int(row[0])}"))
                        except sa.exc.DBAPIError:
                            continue  # it ended by itself meanwhile
            else:
                return  # SQLite has no connections to cut
        engine.dispose()
        self.faults["database cuts"] += 1

    def hurt(self, plan: Plan) -> None:
        """All faults of the plan, at random moments."""
        acts: list[Callable[[], None]] = [
            *[lambda: self.kill(plan.whole)] * plan.kills,
            *[self.flush] * plan.flushes,
            *[self.stop_redis] * plan.stops,
            *[self.cut_database] * plan.cuts,
        ]
        moments = sorted(self.chance.uniform(0, plan.seconds) for _ in acts)
        self.chance.shuffle(acts)
        started = time.monotonic()
        for moment, act in zip(moments, acts, strict=True):
            time.sleep(max(0.0, started + moment - time.monotonic()))
            act()
            self.last_fault = time.monotonic()

    # -- the host at work ----------------------------------------------------------------------

    def record(self, plan: Plan) -> None:
        """Record results in transactions; only what the host committed counts as promised."""
        started = time.monotonic()
        for first in range(0, plan.statements, _TRANSACTION):
            due = started + plan.seconds * 0.9 * first / plan.statements
            time.sleep(max(0.0, due - time.monotonic()))
            ids = range(first, min(first + _TRANSACTION, plan.statements))
            while not self._record(plan, ids):
                time.sleep(0.2)

    def _record(self, plan: Plan, ids: range) -> bool:
        with self.host.app.app_context():
            try:
                self.host.lms.record_many(
                    [
                        result(
                            f"r{n}",
                            objective=Objective(id=f"o{n % plan.destinations}", name="Fire Safety"),
                        )
                        for n in ids
                    ]
                )
            except (sa.exc.DBAPIError, sa.exc.InvalidRequestError):
                self.host.db.session.rollback()
                return False
            self.recorded.update(f"r{n}" for n in ids)
            return True

    def waiting(self) -> int:
        query = sa.select(sa.func.count(Delivery.id)).where(Delivery.state == DeliveryState.PENDING)
        for _ in range(10):
            with self.host.app.app_context():
                try:
                    return self.host.db.session.scalar(query) or 0
                except sa.exc.DBAPIError:
                    continue  # this connection was cut too; the next one is new
        raise RuntimeError("the database does not come back")


def run(database_url: str, plan: Plan, say: Callable[[str], None] = lambda text: None) -> Outcome:
    """Carry out a plan.

    :param say: told what goes on.
    """
    seed = plan.seed if plan.seed is not None else random.SystemRandom().randrange(10**6)
    started = time.monotonic()
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey())
        host = stack.enter_context(make_world(database_url, redis_url=valkey.url))
        enable_wal(host.db.engine)
        lrss = [stack.enter_context(FakeLRS()) for _ in range(plan.destinations)]
        world = _World(host=host, valkey=valkey, lrss=lrss, chance=random.Random(seed))
        for number, lrs in enumerate(lrss):
            host.attach(**lrs.settings, name=f"LMS {number}", objective_id=f"o{number}")
            _misbehave(lrs, number)
        for _ in range(plan.workers):
            world.start_worker()
        stack.callback(lambda: [stop(process) for process in world.processes])
        say(f"seed {seed}: {plan.statements:,} results, {plan.kills} kills in {plan.seconds:g} s")
        host.db.session.remove()  # its connection is cut, too
        recording = threading.Thread(target=world.record, args=(plan,))
        recording.start()
        world.hurt(plan)  # here, as a server ends with the thread that started it
        recording.join()
        say(f"all recorded, {world.waiting():,} wait after the last fault")
        recovery = _until_nothing_waits(world, say)
        return _read_back(world, seed, recovery, time.monotonic() - started)


def _misbehave(lrs: FakeLRS, number: int) -> None:
    """LMSs are not all well: slow ones, ones that fail, ones whose answers get lost."""
    if number % 4 == 1:
        lrs.delay_seconds = 0.05
    if number % 4 == 2:
        lrs.answer(FakeAnswer(500), FakeAnswer(503, stores=True))
    if number % 4 == 3:
        lrs.answer(
            FakeAnswer(200, cut="before", stores=True), FakeAnswer(429, {"Retry-After": "2"})
        )


def _until_nothing_waits(world: _World, say: Callable[[str], None]) -> float:
    said = time.monotonic()
    deadline = said + _PATIENCE_SECONDS
    while waiting := world.waiting():
        if time.monotonic() > deadline:
            say(f"gave up waiting: {waiting:,} still wait")
            break
        if time.monotonic() - said > 5:
            said = time.monotonic()
            say(f"{waiting:,} wait")
        time.sleep(0.1)
    return time.monotonic() - world.last_fault


def _read_back(world: _World, seed: int, recovery: float, total: float) -> Outcome:
    """Every id of every result that the host committed, at the LRS of its objective."""
    session = world.host.db.session
    rows = session.execute(sa.select(Delivery.result_id, Delivery.statement_id)).all()
    stored = {statement["id"] for lrs in world.lrss for statement in lrs.statements}
    known = {row.result_id for row in rows}
    lost = sum(str(row.statement_id) not in stored for row in rows)
    lost += len(world.recorded - known)
    return Outcome(
        database=session.get_bind().dialect.name,
        faults=dict(world.faults),
        statements=len(rows),
        lost=lost,
        twice=sum(lrs.resent for lrs in world.lrss),
        recovery_seconds=max(recovery, 0.0),
        total_seconds=total,
        seed=seed,
    )
