"""The kill test: real workers, a real Redis-protocol server, a real database and LMSs that count.

Results are recorded while parts of the system die. It ends when nothing waits any more, and then
every recorded id is read back from the receiving ends.
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from benchmarks.stub import Stub
from demo.valkey import Valkey
from flask_lms import Objective
from flask_lms.database.models import Attempt, Delivery, DeliveryState
from tests.chaos.faults import Faults, Installation
from tests.chaos.postgres import Postgres
from tests.chaos.relay import Relay
from tests.worker_app import enable_wal, stop, until
from tests.world import World, build_world, result

_PATIENCE_SECONDS = 300.0
#: Some databases round to full seconds.
_TOLERANCE = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of what; faults come at random moments of ``seconds``.

    :ivar transaction: results that the host records in one transaction.
    :ivar whole: share of the kills that take a worker whole; the others take one of its parts.
    :ivar clock_seconds: the clock of the second worker is ahead by so much, that of the third
        behind.
    :ivar others: results of a second installation on the same Redis.
    :ivar beside: a folder with another version of this project, of which one worker runs.
    """

    statements: int
    destinations: int = 8
    workers: int = 3
    seconds: float = 90.0
    transaction: int = 50
    kills: int = 60
    whole: float = 0.2
    flushes: int = 2
    stops: int = 1
    full: int = 1
    read_only: int = 1
    passwords: int = 1
    away_seconds: float = 8.0
    cuts: int = 1
    commits: int = 6
    restarts: int = 1
    pauses: int = 1
    pause_seconds: float = 100.0
    hangs: int = 2
    answers: int = 8
    edits: int = 10
    clock_seconds: float = 600.0
    others: int = 1000
    beside: str | None = None
    seed: int | None = None

    @property
    def is_quick(self) -> bool:
        """Leases are ended by hand, rather than waited for."""
        return self.pause_seconds < 90


@dataclass(kw_only=True)
class Outcome:
    """What happened.

    :ivar twice: statements that arrived again, with the same id and content.
    :ivar changed: with another content under the same id.
    :ivar settled_twice: delivered according to two answers: sent again without need.
    :ivar strays: at an LMS that is not theirs, or of nobody.
    :ivar woken_wrote: answers written by workers that slept while their lease ran out.
    :ivar taken_over: leases that others took meanwhile.
    :ivar off_time: rows whose time is not within the run, by the database's clock.
    """

    database: str
    faults: dict[str, int]
    statements: int
    others: int
    lost: int
    twice: int
    changed: int
    settled_twice: int
    strays: int
    taken_over: int
    woken_wrote: int
    off_time: int
    requests: int
    recording_seconds: float
    recovery_seconds: float
    total_seconds: float
    seed: int

    @property
    def is_good(self) -> bool:
        wrong = (self.lost, self.changed, self.settled_twice, self.strays)
        return not any((*wrong, self.woken_wrote, self.off_time))

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def as_table(self) -> str:
        faults = sorted(self.faults.items())
        rows = [
            ("database", self.database),
            ("faults injected", f"{sum(self.faults.values()):,}"),
            *((f"  {name}", f"{count:,}") for name, count in faults),
            ("statements recorded", f"{self.statements:,}"),
            ("of a second installation", f"{self.others:,}"),
            ("lost", f"{self.lost}"),
            ("sent twice (same id)", f"{self.twice:,}, under way or answered badly"),
            ("sent again when settled", f"{self.settled_twice}"),
            ("other content, same id", f"{self.changed}"),
            ("at an LMS not theirs", f"{self.strays}"),
            ("leases taken from sleepers", f"{self.taken_over}"),
            ("answers sleepers wrote", f"{self.woken_wrote}"),
            ("rows off the clock", f"{self.off_time}"),
            ("requests answered", f"{self.requests:,}"),
            ("recording took", f"{self.recording_seconds:.1f} s"),
            ("last fault, commit → all stored", f"{self.recovery_seconds:.1f} s"),
            ("whole run", f"{self.total_seconds:.1f} s (seed {self.seed})"),
        ]
        return "\n".join(f"{name:<36}{value}" for name, value in rows)


@dataclass
class _Recorder:
    """A host at work: what it committed counts as promised."""

    installation: Installation
    statements: int
    transaction: int
    seconds: float
    committed: bytearray = field(init=False)
    took: float = 0.0
    ended_at: float = 0.0

    def __post_init__(self) -> None:
        self.committed = bytearray(self.statements)

    def run(self) -> None:
        started = time.monotonic()
        for first in range(0, self.statements, self.transaction):
            due = started + self.seconds * first / self.statements
            time.sleep(max(0.0, due - time.monotonic()))
            ids = range(first, min(first + self.transaction, self.statements))
            while not self._record(ids):
                time.sleep(0.2)
        self.ended_at = time.monotonic()
        self.took = self.ended_at - started

    def _record(self, ids: range) -> bool:
        world, of = self.installation.world, self.installation.destinations
        with world.app.app_context():
            try:
                world.lms.record_many(
                    [
                        result(f"r{n}", objective=Objective(id=f"o{n % of}", name="Fire Safety"))
                        for n in ids
                    ]
                )
            except (sa.exc.DBAPIError, sa.exc.InvalidRequestError):
                world.db.session.rollback()
                return False
        self.committed[ids.start : ids.stop] = b"\1" * len(ids)
        return True


def run(
    database_url: str,
    plan: Plan,
    say: Callable[[str], None] = lambda text: None,
    workers_log: IO[bytes] | None = None,
    postgres: Postgres | None = None,
) -> Outcome:
    """Carry out a plan.

    :param say: told what goes on.
    :param workers_log: for what workers say.
    :param postgres: the server of that database, which may crash.
    """
    seed = plan.seed if plan.seed is not None else random.SystemRandom().randrange(10**6)
    started = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lms-chaos-"))
        valkey = stack.enter_context(Valkey())
        stub = stack.enter_context(Stub(plan.destinations + 2))
        host = _install(stack, database_url, valkey.url, stub, 0, plan.destinations)
        other_url = f"sqlite:///{Path(folder) / 'other.db'}"
        other = _install(stack, other_url, valkey.url, stub, plan.destinations, 2, "other")
        url, relay = sa.engine.make_url(database_url), None
        if url.host:
            relay = Relay(url.host, url.port or (5432 if "postgresql" in url.drivername else 3306))
            stack.callback(relay.close)
        faults = Faults(
            host=host,
            other=other,
            plan=plan,
            valkey=valkey,
            stub=stub,
            relay=relay,
            postgres=postgres,
            chance=random.Random(seed),
            say=say,
            log=workers_log,
        )
        stack.callback(lambda: [stop(one) for one in [*faults.workers, faults.other_worker]])
        faults.start()
        until(lambda: faults.are_ready(), 60, "workers")
        say(f"seed {seed}: {json.dumps(asdict(plan))}")
        recorders = [
            _Recorder(host, plan.statements, plan.transaction, plan.seconds * 0.9),
            _Recorder(other, plan.others, 10, plan.seconds * 0.9),
        ]
        began = _now(host)
        threads = [threading.Thread(target=one.run) for one in recorders]
        for thread in threads:
            thread.start()

        def recorded() -> str:
            return f"{sum(one.committed.count(1) for one in recorders):,} recorded"

        faults.hurt(recorded)  # here, as a server ends with the thread that started it
        for thread in threads:
            while thread.is_alive():
                say(recorded())
                thread.join(10)
        say(f"all recorded, {_waiting(host) + _waiting(other):,} wait after the last fault")
        _until_nothing_waits((host, other), say, faults.run_out if plan.is_quick else None)
        last = max(faults.last_fault, *(one.ended_at for one in recorders))
        recovery = max(time.monotonic() - last, 0.0)
        if relay is not None:
            faults.counts["COMMITs cut, database away"] = relay.close()
        return Outcome(
            database=database_url.split(":")[0].split("+")[0],
            faults={name: count for name, count in faults.counts.items() if count},
            statements=plan.statements,
            others=plan.others,
            taken_over=sum(len(one.taken) for one in faults.sleeps),
            woken_wrote=sum(faults.woken_wrote(one) for one in faults.sleeps),
            off_time=_off_time(host, began),
            requests=int(stub.get("/count")["requests"]),
            recording_seconds=recorders[0].took,
            recovery_seconds=recovery,
            total_seconds=time.monotonic() - started,
            seed=seed,
            **_read_back(stub, recorders),
        )


def _install(
    stack: ExitStack,
    database_url: str,
    redis_url: str,
    stub: Stub,
    first: int,
    destinations: int,
    namespace: str = "lms",
) -> Installation:
    """A host with its tables and a configuration for each of its LMSs."""
    config = {
        "LMS_REDIS_NAMESPACE": namespace,
        "LMS_ACTIVITY_BASE_URL": f"https://{namespace}.example/xapi",
    }
    options = {"pool_pre_ping": True}  # connections of the host are cut, too
    world = build_world(
        database_url, redis_url=redis_url, SQLALCHEMY_ENGINE_OPTIONS=options, **config
    )
    ids = []
    with world.app.app_context():
        world.db.drop_all()
        world.db.create_all()
        enable_wal(world.db.engine)
        for number in range(destinations):
            made = world.attach(
                stub.url(first + number), name=f"LMS {number}", objective_id=f"o{number}"
            )
            ids.append(made.id)

    def remove() -> None:
        with world.app.app_context():
            world.db.session.remove()
            world.db.drop_all()
            world.db.engine.dispose()
            world.state.transport.close()

    stack.callback(remove)
    return Installation(
        world=world,
        database_url=database_url,
        config=config,
        first=first,
        destinations=destinations,
        configurations=ids,
    )


def _now(host: Installation) -> datetime:
    with host.world.app.app_context():
        return host.world.now


def _waiting(host: Installation) -> int:
    query = sa.select(sa.func.count(Delivery.id)).where(Delivery.state == DeliveryState.PENDING)
    for _ in range(10):
        with host.world.app.app_context():
            try:
                return host.world.db.session.scalar(query) or 0
            except sa.exc.DBAPIError:
                continue  # this connection was cut too; the next one is new
    raise RuntimeError("the database does not come back")


def _until_nothing_waits(
    hosts: tuple[Installation, ...],
    say: Callable[[str], None],
    run_out: Callable[[], None] | None,
) -> None:
    said, moved, last = time.monotonic(), time.monotonic(), -1
    while True:
        asked = time.monotonic()
        waiting = sum(_waiting(host) for host in hosts)
        now = time.monotonic()
        if not waiting:
            return
        moved, last = (moved, last) if waiting == last else (now, waiting)
        if now - moved > _PATIENCE_SECONDS:
            say(f"gave up waiting: {waiting:,} still wait")
            return
        if now - said > 5:
            said = now
            say(f"{waiting:,} wait")
            if run_out and now - moved > 5:
                run_out()
        time.sleep(max(0.1, (now - asked) * 10))  # counting a million must not be what takes long


def _rows(
    world: World, query: sa.Select[tuple[object, ...]]
) -> Iterator[sa.Row[tuple[object, ...]]]:
    with world.app.app_context():
        yield from world.db.session.execute(query.execution_options(yield_per=5000))
        world.db.session.rollback()


def _read_back(stub: Stub, recorders: list[_Recorder]) -> dict[str, int]:
    """Every id of every result that a host committed, at the LMS of its objective."""
    stored = {(id, port): rest for id, port, *rest in stub.stored()}
    counts: Counter[str] = Counter(lost=0, twice=0, changed=0, settled_twice=0, strays=0)
    for recorder in recorders:
        host = recorder.installation
        ports = {id: host.first + n for n, id in enumerate(host.configurations)}
        promised = recorder.committed
        columns = sa.select(Delivery.result_id, Delivery.statement_id, Delivery.configuration_id)
        for result_id, statement_id, configuration_id in _rows(host.world, columns):  # type: ignore[arg-type]
            assert isinstance(statement_id, uuid.UUID)
            promised[int(str(result_id)[1:])] = 0
            found = stored.pop((statement_id.bytes, ports[configuration_id]), None)  # type: ignore[index]
            if found is None:
                counts["lost"] += 1
            else:
                times, is_different = found
                counts["twice"] += times - 1
                counts["changed"] += is_different
        counts["lost"] += sum(promised)

        settled: set[str] = set()
        accepted = sa.select(Attempt.delivery_ids).where(Attempt.verdict == "accepted")
        for (ids,) in _rows(host.world, accepted):  # type: ignore[arg-type]
            for id in str(ids).split(","):
                counts["settled_twice"] += id in settled
                settled.add(id)
    counts["strays"] = len(stored)
    return dict(counts)


def _off_time(host: Installation, began: datetime) -> int:
    """Rows whose time no right clock can have said."""
    with host.world.app.app_context():
        now = host.world.now
        out = 0
        for column in (Delivery.recorded_at, Delivery.settled_at, Attempt.started_at):
            wrong = sa.or_(column < began - _TOLERANCE, column > now + _TOLERANCE)
            query = sa.select(sa.func.count()).where(wrong)
            out += host.world.db.session.scalar(query) or 0
        return out
