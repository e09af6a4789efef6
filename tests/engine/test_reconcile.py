"""Check in your LMS: what it has of what was sent, without a false alarm, and what then."""

from __future__ import annotations

from flask_lms.testing import FakeLRS
from tests.planted_support import plant
from tests.world import World

SPOILT = {"missing": 10, "different": 5, "doubled": 3}


def test_all_that_was_planted_is_found_and_nothing_else(world: World, lrs: FakeLRS) -> None:
    planted = plant(world, lrs.settings, 600, **SPOILT)
    before, lrs_before = lrs.requests, lrs.statements
    assert planted.check() == {"confirmed": 582, **SPOILT}
    assert planted.found == planted.by
    # Few requests: the list, and two for each that is missing there.
    assert lrs.requests - before == 3 + 2 * SPOILT["missing"]
    assert lrs.statements == lrs_before
    assert {one.method for one in list(lrs.received)[-(lrs.requests - before) :]} == {"GET"}
