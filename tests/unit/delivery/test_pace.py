"""How much goes out at once, and what goes together in one request."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from flask_lms.connectors.base import Verdict
from flask_lms.delivery.decide import Pace, is_patient, is_well
from flask_lms.delivery.deliver import fitting

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=timezone.utc)


def pace(**changes: Any) -> Pace:
    values = {"most_at_once": 4, "most_statements": 200, "is_well": True, **changes}
    return Pace.begin(**values)


def test_one_that_is_well_begins_wide_and_any_other_one_alone() -> None:
    assert (pace().at_once, pace().statements) == (4, 50)
    assert pace(is_well=False).at_once == 1
    assert pace(most_statements=20).statements == 20


def test_requests_grow_while_full_ones_are_accepted_quickly() -> None:
    now = pace()
    sizes = []
    for _ in range(4):
        now = now.after(Verdict.ACCEPTED, now.statements, 300)
        sizes.append(now.statements)
    assert sizes == [100, 200, 200, 200]
    assert pace(most_statements=70).after(Verdict.ACCEPTED, 50, 10).statements == 70


@pytest.mark.parametrize(("statements", "took_ms"), [(49, 10), (50, 1001)])
def test_small_or_slow_requests_don_t_grow(statements: int, took_ms: int) -> None:
    assert pace().after(Verdict.ACCEPTED, statements, took_ms).statements == 50
    assert pace().after(Verdict.ACCEPTED, 50, 1000).statements == 100


#: The LMS took it or has newer; nothing was asked of it.
WELL = (Verdict.ACCEPTED, Verdict.SUPERSEDED, Verdict.WAITS)


@pytest.mark.parametrize("verdict", [one for one in Verdict if one not in WELL])
def test_after_anything_else_one_at_a_time_until_two_in_a_row(verdict: Verdict) -> None:
    now = pace().after(Verdict.ACCEPTED, 50, 10).after(verdict, 100, 10)
    assert (now.at_once, now.statements) == (1, 50)
    now = now.after(Verdict.ACCEPTED, 5, 10)
    assert now.at_once == 1
    assert now.after(verdict, 5, 10).after(Verdict.ACCEPTED, 5, 10).at_once == 1
    assert now.after(Verdict.ACCEPTED, 5, 10).at_once == 4


def test_who_answered_within_the_hour_and_did_not_fail_is_well() -> None:
    assert is_well(0, NOW - timedelta(hours=1), NOW)
    assert not is_well(0, NOW - timedelta(hours=1, seconds=1), NOW)
    assert not is_well(1, NOW, NOW)
    assert not is_well(0, None, NOW)


def test_each_sixth_try_has_the_full_time() -> None:
    assert [failures for failures in range(13) if is_patient(failures)] == [5, 11]


def row(size: int = 10, is_single: bool = False) -> Any:
    return SimpleNamespace(size=size, is_single=is_single, refusals=0)


def test_what_fits_goes_together_and_a_single_one_alone() -> None:
    rows = [row(), row(), row(is_single=True), row()]
    keys = [["a"], ["b"], ["c"], ["d"]]
    assert fitting(rows, keys, set(), 9, 10**6) == [0, 1]
    assert fitting(rows[2:], keys, set(), 9, 10**6) == [0]
    assert fitting(rows, keys, set(), 1, 10**6) == [0]
    assert fitting([row(100), row(100)], keys, set(), 9, 50) == [0]
    assert fitting([row(10), row(10)], keys, set(), 9, 24) == [0, 1]
    assert fitting([row(10), row(10)], keys, set(), 9, 23) == [0]


def test_a_busy_key_keeps_its_rows_back_and_later_ones_of_their_keys() -> None:
    rows = [row() for _ in range(4)]
    keys = [["a", "x"], ["b"], ["x"], ["c"]]
    assert fitting(rows, keys, {"a"}, 9, 10**6) == [1, 3]
    assert fitting(rows, keys, {"a", "b", "c"}, 9, 10**6) == []
