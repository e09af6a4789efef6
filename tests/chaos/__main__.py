"""``./run chaos``: everything dies at random moments; then every id is read back.

The big one, on PostgreSQL, in about a quarter of an hour on two cores:

    ./run chaos --million --own-postgres
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from tests.chaos.postgres import Postgres
from tests.chaos.run import Plan, run

_TOP = Path(__file__).parent.parent.parent
#: More of everything; few workers die whole, as what they leave waits 90 s for its lease to end.
_MILLION = {
    "statements": 1_000_000,
    "destinations": 64,
    "kills": 1000,
    "whole": 0.03,
    "seconds": 600.0,
    "transaction": 1000,
    "flushes": 10,
    "stops": 3,
    "full": 3,
    "read_only": 3,
    "passwords": 3,
    "cuts": 5,
    "commits": 50,
    "restarts": 3,
    "pauses": 3,
    "pause_seconds": 150.0,
    "hangs": 4,
    "answers": 100,
    "edits": 100,
    "others": 10_000,
}


def _folder_of(revision: str, folder: Path) -> str:
    """Flask-LMS of another revision, for the host of these tests."""
    packed = subprocess.run(
        ["git", "archive", revision, "flask_lms"], cwd=_TOP, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    return str(folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.add_argument("--million", action="store_true", help="1,000,000 statements, 1,000 kills")
    parser.add_argument("--statements", type=int, default=20_000)
    parser.add_argument("--destinations", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seconds", type=float, help="over which it all happens")
    parser.add_argument("--transaction", type=int, help="results in one transaction of the host")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--whole", type=float, help="share of kills of whole workers")
    parser.add_argument("--flushes", type=int, help="of Redis")
    parser.add_argument("--stops", type=int, help="of Redis")
    parser.add_argument("--full", type=int, help="times Redis has no memory left")
    parser.add_argument("--read-only", type=int, help="times Redis takes no writes")
    parser.add_argument("--passwords", type=int, help="times Redis has another password")
    parser.add_argument("--away-seconds", type=float, help="each of these takes")
    parser.add_argument("--cuts", type=int, help="of all database connections")
    parser.add_argument("--commits", type=int, help="without an answer, or that never arrive")
    parser.add_argument("--restarts", type=int, help="of the database, as a worker sees it")
    parser.add_argument("--pauses", type=int, help="of a worker with SIGSTOP")
    parser.add_argument("--pause-seconds", type=float, help="a lease lasts 90")
    parser.add_argument("--hangs", type=int, help="of a quarter of the LMSs")
    parser.add_argument("--answers", type=int, help="that are bad: 500, 503, 429, none")
    parser.add_argument("--edits", type=int, help="of configurations")
    parser.add_argument("--clock-seconds", type=float, help="by which two clocks are wrong")
    parser.add_argument("--others", type=int, help="results of another host on the same Redis")
    parser.add_argument("--beside", help="a git revision of which one worker runs")
    parser.add_argument("--seed", type=int, help="of chance")
    parser.add_argument("--database", help="URL; default: SQLite in a folder")
    parser.add_argument("--own-postgres", action="store_true", help="one that crashes in COMMITs")
    parser.add_argument("--log", default="tests/output/chaos.log", help="where it is written")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    given = vars(parser.parse_args())
    as_json, database, log = given.pop("json"), given.pop("database"), _TOP / given.pop("log")
    own_postgres = given.pop("own_postgres")
    preset = _MILLION if given.pop("million") else {}
    options = {**{k: v for k, v in given.items() if v is not None}, **preset}
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="lms-chaos-") as folder,
        Postgres() if own_postgres else nullcontext() as postgres,
        log.open("w") as file,
        log.with_suffix(".workers.log").open("wb") as workers,
    ):
        if options.get("beside"):
            options["beside"] = _folder_of(options["beside"], Path(folder))

        def say(text: str) -> None:
            line = f"{time.monotonic() - started:7.1f} s  {text}"
            print(line, file=sys.stderr, flush=True)
            print(line, file=file, flush=True)

        say(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
        url = database or f"sqlite:///{Path(folder) / 'chaos.db'}"
        url = postgres.url if postgres else url
        outcome = run(url, Plan(**options), say, workers, postgres)
        print(f"\n{outcome.as_table()}", file=file)
    print(json.dumps(outcome.as_dict(), indent=2) if as_json else outcome.as_table())
    print(f"The log is {log.relative_to(_TOP)}.", file=sys.stderr)
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
