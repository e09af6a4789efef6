"""What goes wrong in the kill test, one method for each fault."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import redis as redis_py
import sqlalchemy as sa

from benchmarks.stub import Stub
from demo.valkey import Valkey
from flask_lms.database.models import Attempt, ConfigurationHealth, Worker
from flask_lms.errors import LMSError
from tests.chaos.postgres import Postgres
from tests.chaos.relay import Relay
from tests.worker_app import children, start_worker
from tests.world import World

_TOP = Path(__file__).parent.parent.parent
#: What happens more often than so is told in sums.
_OFTEN = 20
_TELL_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A host with its own tables, on a Redis that it may share.

    :ivar first: number of its first LMS; the others follow.
    """

    world: World
    database_url: str
    config: dict[str, str]
    first: int
    destinations: int
    configurations: list[uuid.UUID]


@dataclass(kw_only=True)
class Sleep:
    """A worker that was stopped with leases in its hands.

    :ivar held: configuration → fencing token.
    :ivar taken: configurations whose lease others took meanwhile.
    :ivar written: attempts that it had written when it was woken.
    """

    process: subprocess.Popen[bytes]
    parts: list[int]
    at: datetime
    held: dict[uuid.UUID, int]
    taken: set[uuid.UUID] = field(default_factory=set)
    written: set[uuid.UUID] = field(default_factory=set)
    patience: int = 15


@dataclass(kw_only=True)
class Faults:
    """Everything that runs, so that it can be hurt."""

    host: Installation
    other: Installation
    plan: Any
    valkey: Valkey
    stub: Stub
    relay: Relay | None
    postgres: Postgres | None
    chance: random.Random
    say: Callable[[str], None]
    log: IO[bytes] | None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    sleeping: set[int] = field(default_factory=set)
    sleeps: list[Sleep] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    is_redis_ill: bool = False
    last_fault: float = 0.0
    other_worker: subprocess.Popen[bytes] = field(init=False)
    _started: int = 0
    _later: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: Any = field(default_factory=itertools.count)

    # -- workers -------------------------------------------------------------------------------

    def start(self) -> None:
        for _ in range(self.plan.workers):
            self._start_worker(self._started)
        self.other_worker = start_worker(
            self.other.database_url,
            self.valkey.url,
            *("--processes", "1"),
            stderr=self.log,
            **self.other.config,
        )

    def are_ready(self) -> bool:
        """Whether each worker has beaten once."""
        for host, count in ((self.host, self.plan.workers), (self.other, 1)):
            with host.world.app.app_context():
                found = host.world.db.session.scalar(sa.select(sa.func.count(Worker.id)))
            if (found or 0) < count:
                return False
        return True

    def _start_worker(self, number: int) -> None:
        """The first has the relay before its database, the second and third have wrong clocks, the
        last one may be of another version.
        """
        number %= self.plan.workers
        url = sa.engine.make_url(self.host.database_url)
        config: dict[str, Any] = dict(self.host.config)
        folder = _TOP
        if number == 0 and self.relay is not None:
            url = url.set(host="127.0.0.1", port=self.relay.port)
            if "postgresql" in url.drivername:
                url = url.update_query_dict({"sslmode": "disable"})
        if number == self.plan.workers - 1 and self.plan.beside:
            folder = Path(self.plan.beside)
        elif number in (1, 2) and self.plan.clock_seconds:
            config["CLOCK_AHEAD_SECONDS"] = self.plan.clock_seconds * (1 if number == 1 else -1)
            self.counts["workers with a wrong clock"] += 1
        process = start_worker(
            url.render_as_string(hide_password=False),
            self.valkey.url,
            *("--processes", "2"),
            folder=folder,
            stderr=self.log,
            **config,
        )
        self.workers.append(process)
        self._started += 1

    # -- when ----------------------------------------------------------------------------------

    def hurt(self, how_far: Callable[[], str]) -> None:
        """All faults of the plan, at random moments.

        :param how_far: told every ten seconds, with what happened so far.
        """
        plan = self.plan
        acts: list[Callable[[], None]] = [
            *[self.kill] * plan.kills,
            *[self.flush] * plan.flushes,
            *[self.stop_redis] * plan.stops,
            *[self.fill_redis] * plan.full,
            *[self.freeze_redis] * plan.read_only,
            *[self.lock_redis] * plan.passwords,
            *[self.cut_database] * plan.cuts,
            *[self.break_commit] * plan.commits,
            *[self.hang] * plan.hangs,
            *[self.answer_badly] * plan.answers,
            *[self.edit] * plan.edits,
        ]
        started = time.monotonic()
        for act in acts:
            self._at(started + self.chance.uniform(0, plan.seconds), act)
        for _ in range(plan.restarts):  # while there are COMMITs
            moment = started + self.chance.uniform(0, 0.8) * plan.seconds
            self._at(moment, self.restart_database)
        for _ in range(plan.pauses):  # early: it takes a while
            self._at(started + self.chance.uniform(0.2, 0.4) * plan.seconds, self.pause)
        told = started
        while self._later:
            moment, _, act = heapq.heappop(self._later)
            time.sleep(max(0.0, moment - time.monotonic()))
            act()
            self.last_fault = time.monotonic()
            if self.last_fault - told > _TELL_SECONDS:
                told = self.last_fault
                often = [f"{n:,} {name}" for name, n in self.counts.items() if n > _OFTEN]
                self.say(", ".join([how_far(), *often]))

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._later, (moment, next(self._order), act))

    def _note(self, name: str, more: str = "") -> None:
        self.counts[name] += 1
        if self.counts[name] <= _OFTEN:
            self.say(f"{name} ({self.counts[name]}){more}")

    # -- workers -------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL of a random part of a random worker, or of the worker whole."""
        awake = [p for p in self.workers if p.pid not in self.sleeping and children(p.pid)]
        if not awake:  # all are just beginning
            return self._at(time.monotonic() + 0.5, self.kill)
        process = self.chance.choice(awake)
        if self.chance.random() < self.plan.whole:
            process.kill()
            process.wait()
            number = self.workers.index(process)
            self._start_worker(number)
            self.workers[number] = self.workers.pop()
            self._note("workers killed whole")
        elif parts := children(process.pid):
            os.kill(self.chance.choice(parts), signal.SIGKILL)
            self._note("parts of workers killed")
        return None

    def pause(self, tries_left: int = 3) -> None:
        """SIGSTOP of a worker with requests under way, for longer than its leases. Somebody stays
        awake, to take these.

        :param tries_left: while nobody has any, as their LMSs have just failed.
        """
        awake = [p for p in self.workers if p.pid not in self.sleeping]
        if len(awake) < 2:
            return self._at(time.monotonic() + 5, self.pause)
        self.stub.set(0, self.host.destinations - 1, 300)
        try:
            for _ in range(100):
                process = self.chance.choice(awake)
                parts = children(process.pid)
                if self._held(parts):
                    for id in [process.pid, *parts]:
                        os.kill(id, signal.SIGSTOP)
                    time.sleep(0.2)
                    if (held := self._held(parts)) and not self._are_locked(held):
                        break
                    for id in [process.pid, *parts]:
                        os.kill(id, signal.SIGCONT)
                time.sleep(0.05)
            else:
                if tries_left:
                    again = partial(self.pause, tries_left - 1)
                    self._at(time.monotonic() + 1, again)
                return None
        finally:
            self.stub.set(0, self.host.destinations - 1, 0)
        sleep = Sleep(process=process, parts=parts, at=self._now(), held=held)
        self.sleeps.append(sleep)
        self.sleeping.add(process.pid)
        self._note("workers stopped beyond their lease", f": {len(held)} leases held")
        if self.plan.is_quick:
            self.run_out()
        return self._at(time.monotonic() + self.plan.pause_seconds, lambda: self._wake(sleep))

    def _are_locked(self, held: dict[uuid.UUID, int]) -> bool:
        """Whether it was stopped in the middle of a transaction: until it is woken, or its
        database loses patience, nobody can take what that has locked. That says nothing of leases.
        """
        with self.host.world.app.app_context():
            session = self.host.world.db.session
            if self.host.world.db.engine.dialect.name == "sqlite":  # locks the whole file
                path = self.host.world.db.engine.url.database
                with closing(sqlite3.connect(path or "", timeout=0)) as alone:
                    try:
                        alone.execute("BEGIN IMMEDIATE")
                    except sqlite3.OperationalError:
                        return True
                    return False
            query = sa.select(ConfigurationHealth.lease_token).where(
                ConfigurationHealth.configuration_id.in_(held)
            )
            try:
                session.execute(query.with_for_update(nowait=True)).all()
            except sa.exc.DBAPIError:
                return True
            finally:
                session.rollback()
        return False

    def run_out(self) -> None:
        """End all leases, as if their 90 seconds had passed."""
        with self.host.world.app.app_context():
            session = self.host.world.db.session
            try:
                session.execute(
                    sa.update(ConfigurationHealth)
                    .where(ConfigurationHealth.lease_expires_at.is_not(None))
                    .values(lease_expires_at=self.host.world.now)
                )
                session.commit()
            except sa.exc.DBAPIError:
                session.rollback()

    def _wake(self, sleep: Sleep) -> None:
        with self.host.world.app.app_context():
            for id, token in self.host.world.db.session.execute(
                sa.select(ConfigurationHealth.configuration_id, ConfigurationHealth.lease_token)
            ):
                if id in sleep.held and token > sleep.held[id]:
                    sleep.taken.add(id)
        if self.plan.is_quick and not sleep.taken and sleep.patience:
            sleep.patience -= 1
            self._at(time.monotonic() + 1, lambda: self._wake(sleep))
            return
        sleep.written = self._written(sleep)
        for id in [*sleep.parts, sleep.process.pid]:
            os.kill(id, signal.SIGCONT)
        self.sleeping.discard(sleep.process.pid)
        self.say(f"woken; {len(sleep.taken)} of its {len(sleep.held)} leases are others'")

    def woken_wrote(self, sleep: Sleep) -> int:
        """Answers to requests of before its sleep that it wrote after it, though fenced."""
        return len(self._written(sleep) - sleep.written)

    def _written(self, sleep: Sleep) -> set[uuid.UUID]:
        query = sa.select(Attempt.id).where(
            Attempt.configuration_id.in_(sleep.taken),
            Attempt.started_at <= sleep.at,
            sa.or_(*(Attempt.worker.endswith(f"/{pid}") for pid in sleep.parts)),
        )
        with self.host.world.app.app_context():
            return set(self.host.world.db.session.scalars(query))

    def _held(self, parts: list[int]) -> dict[uuid.UUID, int]:
        """Leases of these processes."""
        with self.host.world.app.app_context():
            rows = self.host.world.db.session.execute(
                sa.select(
                    ConfigurationHealth.configuration_id,
                    ConfigurationHealth.lease_token,
                    ConfigurationHealth.lease_holder,
                ).where(ConfigurationHealth.lease_holder.is_not(None))
            ).all()
        return {id: token for id, token, by in rows if int(str(by).split("/")[-1]) in parts}

    def _now(self) -> datetime:
        with self.host.world.app.app_context():
            return self.host.world.now

    # -- Redis ---------------------------------------------------------------------------------

    def _redis(self, **options: Any) -> Any:
        return redis_py.Redis.from_url(self.valkey.url, **options)

    def flush(self) -> None:
        redis = self._redis()
        self._sicken("Redis flushed", redis.flushall, lambda: None)

    def _sicken(self, name: str, act: Callable[[], object], cure: Callable[[], object]) -> None:
        """One illness of Redis at a time."""
        if self.is_redis_ill:
            self._at(time.monotonic() + 0.5, lambda: self._sicken(name, act, cure))
            return

        def end() -> None:
            cure()
            self.is_redis_ill = False

        self.is_redis_ill = True
        self._note(name)
        act()
        self._at(time.monotonic() + self.plan.away_seconds, end)

    def stop_redis(self) -> None:
        self._sicken("Redis stopped", self.valkey.stop, self.valkey.start)

    def fill_redis(self) -> None:
        """No memory is left, and nothing may be evicted: each write fails."""
        redis = self._redis()
        self._sicken(
            "Redis full",
            lambda: redis.config_set("maxmemory", "1"),
            lambda: redis.config_set("maxmemory", "0"),
        )

    def freeze_redis(self) -> None:
        """A replica takes no writes."""
        redis = self._redis()
        self._sicken(
            "Redis read-only",
            lambda: redis.execute_command("REPLICAOF", "127.0.0.1", "1"),
            lambda: redis.execute_command("REPLICAOF", "NO", "ONE"),
        )

    def lock_redis(self) -> None:
        """The workers' password is wrong now."""

        def lock() -> None:
            with self._redis() as client:
                client.config_set("requirepass", "another one")
                client.client_kill_filter(_type="normal", skipme=True)

        self._sicken(
            "Redis with another password",
            lock,
            lambda: self._redis(password="another one").config_set("requirepass", ""),
        )

    # -- the database --------------------------------------------------------------------------

    def cut_database(self) -> None:
        """End every other connection to the database, whatever it is doing."""
        engine = sa.create_engine(self.host.database_url)
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
        self._note("database connections cut")

    def break_commit(self) -> None:
        """Of the next COMMIT the answer never comes, or it never arrives itself."""
        if self.relay is not None:
            self.relay.order(f"commit {self.chance.choice(['answer', 'request'])}")

    def restart_database(self) -> None:
        """A crash in the middle of COMMITs, if the server is ours. Else as a worker sees it: in the
        middle of a COMMIT the line breaks, and nobody answers for three seconds.
        """
        if self.postgres is not None:
            under_way = self.postgres.crash_in_commit()
            self._note("database crashed and recovered", f": {under_way} COMMITs were under way")
            self.counts["COMMITs under way then"] += under_way
        elif self.relay is not None:
            self.relay.order("commit answer")
            self.relay.order("away 3")

    # -- LMSs and people -----------------------------------------------------------------------

    def hang(self) -> None:
        """A quarter of the LMSs take requests and don't answer; when well again, they do."""
        last = max(self.host.destinations // 4, 1) - 1
        self._note("hanging LMSs", f": {last + 1} of them")
        self.stub.set(0, last, -1)
        self._at(time.monotonic() + self.plan.away_seconds * 2, lambda: self.stub.set(0, last, 0))

    def answer_badly(self) -> None:
        number = self.chance.randrange(self.host.destinations)
        how = self.chance.choice(["500", "503s", "cut", "429"])
        self.stub.ask(f"/script?port={number}&answers={how}")
        self._note("bad answers")

    def edit(self) -> None:
        """An administrator saves a configuration while its requests are under way."""
        id = self.chance.choice(self.host.configurations)
        with self.host.world.app.app_context():
            try:
                self.host.world.lms.configurations.update(
                    id, settings={"batch_statements": self.chance.randrange(20, 200)}
                )
                self._note("configurations edited")
            except (sa.exc.DBAPIError, LMSError) as error:
                self.host.world.db.session.rollback()
                self.say(f"an edit failed: {type(error).__name__}")
