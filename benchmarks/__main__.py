"""``./run bench [engine|lists] [options]``: both without a name; with options and no name, the
engine's (``./run bench --write-docs``). Databases by URL: ``LMS_TEST_POSTGRES_URL``; SQLite
otherwise, where that makes sense."""

from __future__ import annotations

import sys

from benchmarks import engine, lists

BENCHMARKS = {"engine": engine.main, "lists": lists.main}


def main() -> None:
    names, options = sys.argv[1:2], sys.argv[2:]
    if names and names[0].startswith("-"):
        names, options = ["engine"], sys.argv[1:]
    if names and names[0] not in BENCHMARKS:
        sys.exit(f"{__doc__}\nThere is no benchmark {names[0]!r}.")
    for name in names or BENCHMARKS:
        print(f"\n== {name}")
        BENCHMARKS[name](options)


if __name__ == "__main__":
    main()
