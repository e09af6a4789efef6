"""How fast one destination is drained: statements a second, and the requests they took."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from flask_lms.delivery.deliver import Deliverer
from flask_lms.testing import FakeLRS
from tests.world import make_world, result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="./run bench drain", description=__doc__)
    parser.add_argument("--database", default=os.environ.get("LMS_TEST_POSTGRES_URL"))
    parser.add_argument("--statements", type=int, default=5000)
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lms-bench-"))
        url = options.database or f"sqlite:///{Path(folder) / 'bench.db'}"
        lrs = stack.enter_context(FakeLRS())
        host = stack.enter_context(make_world(url))
        print(f"one destination, one sender, {options.statements:,} statements, ", end="")
        print(host.db.engine.dialect.name)
        for delay_ms in (0, 50):
            lrs.reset()
            lrs.delay_seconds = delay_ms / 1000
            made = host.attach(**lrs.settings, name=f"LMS {delay_ms}")
            started = time.perf_counter()
            for first in range(0, options.statements, 100):
                host.lms.record_many([result(f"{delay_ms}-{first + n}") for n in range(100)])
            recorded = time.perf_counter() - started
            started, requests = time.perf_counter(), 0
            while done := Deliverer(host.state).deliver(made.id).requests:
                requests += done
            sent = time.perf_counter() - started
            host.lms.configurations.delete(made.id)
            rates = [options.statements / span for span in (recorded, sent)]
            print(f"LMS answers after {delay_ms:>2} ms: recorded {rates[0]:,.0f}/s, ", end="")
            print(f"delivered {rates[1]:,.0f}/s in {requests} requests")


if __name__ == "__main__":
    main()
