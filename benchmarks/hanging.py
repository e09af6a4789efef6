"""A hundred destinations, then one of them hangs: what does that cost the others?

Prints the time from the host's commit until the LMS has stored the statement, median and 95th
percentile, without and with one destination that takes connections and never answers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from demo.valkey import Valkey
from flask_lms import Objective
from flask_lms.database.models import Worker
from flask_lms.testing import FakeLRS
from tests.worker_app import enable_wal, until, worker
from tests.world import World, make_world, result

_HANGS_SECONDS = 300.0


class _TimedLRS(FakeLRS):
    """Notes when each statement was stored."""

    def reset(self) -> None:
        super().reset()
        self.stored_at: dict[str, float] = {}

    def _store(self, sent: list[dict[str, object]]) -> object:  # type: ignore[override]
        answer = super()._store(sent)
        for statement in sent:
            self.stored_at.setdefault(str(statement["id"]), time.monotonic())
        return answer


def measure(host: World, lrss: list[_TimedLRS], name: str, rounds: int, rate: float) -> list[float]:
    """Record for every destination in turn; milliseconds of all but the first destination."""
    recorded: dict[str, float] = {}
    queued = host.state.session
    started = time.monotonic()
    for number in range(rounds * len(lrss)):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        index = number % len(lrss)
        id = f"{name}-{number}"
        host.lms.record(result(id, objective=Objective(id=f"o{index}", name="Fire Safety")))
        recorded[id] = time.monotonic()
        queued.remove()
    wanted = {id for n, id in enumerate(recorded) if n % len(lrss)}
    by_statement = {str(d.statement_id): d.result_id for d in host.rows()}

    def took() -> dict[str, float]:
        found = {}
        for lrs in lrss[1:]:
            for statement, at in list(lrs.stored_at.items()):
                id = by_statement.get(statement)
                if id in wanted:
                    found[id] = max(0.0, at - recorded[id]) * 1000
        return found

    until(lambda: len(took()) == len(wanted), 120, "all others stored")
    return sorted(took().values())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", default=os.environ.get("LMS_TEST_POSTGRES_URL"))
    parser.add_argument("--destinations", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rate", type=float, default=20, help="results a second")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lms-bench-"))
        url = options.database or f"sqlite:///{Path(folder) / 'bench.db'}"
        valkey = stack.enter_context(Valkey())
        host = stack.enter_context(make_world(url, redis_url=valkey.url))
        enable_wal(host.db.engine)
        lrss = [stack.enter_context(_TimedLRS()) for _ in range(options.destinations)]
        for number, lrs in enumerate(lrss):
            host.attach(**lrs.settings, name=f"LMS {number}", objective_id=f"o{number}")
        stack.enter_context(worker(url, valkey.url))
        until(lambda: host.db.session.rollback() or host.db.session.query(Worker).count(), 30)
        measure(host, lrss, "warm-up", 1, options.rate)
        print(f"{'':<28}{'median':>10}{'p95':>10}   ({host.db.engine.dialect.name})")
        for name, hangs in (("all answer", 0.0), ("one of them hangs", _HANGS_SECONDS)):
            lrss[0].delay_seconds = hangs
            times = measure(host, lrss, name, options.rounds, options.rate)
            p95 = statistics.quantiles(times, n=20)[-1]
            print(f"{name:<28}{statistics.median(times):>7.0f} ms{p95:>7.0f} ms")
        lrss[0].delay_seconds = 0.0


if __name__ == "__main__":
    main()
