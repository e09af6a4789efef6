"""The kill test in small; ``./run chaos`` is the large one."""

from __future__ import annotations

import pytest

from tests.chaos.run import Plan, run


@pytest.mark.timeout(200)
def test_kills_flushes_and_cuts_at_random_lose_nothing(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(
        statements=800, destinations=4, workers=2, kills=10, flushes=1, stops=0, seconds=8, whole=0
    )
    outcome = run(database_url, plan)
    with capsys.disabled():
        print(f"\n{outcome.as_table()}")
    assert outcome.statements == 800
    assert outcome.lost == 0
