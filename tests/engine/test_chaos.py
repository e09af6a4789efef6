"""The kill test in small; ``./run chaos`` is the large one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.chaos.postgres import Postgres
from tests.chaos.run import Plan, run


@pytest.mark.timeout(200)
def test_whatever_dies_at_random_nothing_is_lost(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(
        statements=800,
        destinations=4,
        seconds=8,
        kills=10,
        whole=0,
        flushes=1,
        away_seconds=1,
        commits=3,
        pause_seconds=3,
        hangs=1,
        answers=2,
        edits=4,
        others=60,
    )
    # Of PostgreSQL a server of its own, which crashes in the middle of COMMITs.
    may_crash = database_url.startswith("postgresql") and Postgres.is_there()
    with (
        Postgres() if may_crash else nullcontext() as postgres,
        (tmp_path / "workers.log").open("wb") as log,
    ):
        url = postgres.url if postgres else database_url
        outcome = run(url, plan, print, log, postgres)
    with capsys.disabled():
        print(f"\n{outcome.as_table()}")
    assert outcome.is_good, outcome
    assert (outcome.statements, outcome.others) == (800, 60)
    # By chance nobody may have had a request under way when one was to be stopped.
    assert outcome.taken_over or not outcome.faults.get("workers stopped beyond their lease")
    if may_crash:
        assert outcome.faults["COMMITs under way then"]
