"""``./run chaos``: kill, flush, stop and cut at random, then read every id back."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Plan, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.add_argument("--statements", type=int, default=20_000)
    parser.add_argument("--destinations", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--flushes", type=int, default=2, help="of Redis")
    parser.add_argument("--stops", type=int, default=1, help="of Redis, for 8 s each")
    parser.add_argument("--cuts", type=int, default=1, help="of all database connections")
    parser.add_argument("--seconds", type=float, default=90, help="over which it all happens")
    parser.add_argument("--whole", type=float, default=0.2, help="share of kills of whole workers")
    parser.add_argument("--seed", type=int, default=None, help="of chance")
    parser.add_argument("--database", default=None, help="URL; default: SQLite in a folder")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    options = vars(parser.parse_args())
    as_json, database = options.pop("json"), options.pop("database")
    with tempfile.TemporaryDirectory(prefix="lms-chaos-") as folder:
        url = database or f"sqlite:///{Path(folder) / 'chaos.db'}"
        outcome = run(url, Plan(**options), say=lambda text: print(text, file=sys.stderr))
    print(json.dumps(outcome.as_dict(), indent=2) if as_json else outcome.as_table())
    return 0 if outcome.lost == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
