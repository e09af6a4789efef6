"""The whole way, and the check, against LRSs that aren't ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.node_support import RealLRS, real_lrs
from tests.planted_support import plant
from tests.ralph_support import ralph_lrs
from tests.world import World, make_world

pytestmark = pytest.mark.timeout(500)

LRSS = [
    pytest.param(real_lrs, marks=pytest.mark.node, id="xapi-statements"),
    pytest.param(ralph_lrs, marks=pytest.mark.ralph, id="ralph"),
]


@pytest.fixture(params=LRSS)
def lrs(request: pytest.FixtureRequest) -> Iterator[RealLRS]:
    start: Callable[[], AbstractContextManager[RealLRS]] = request.param
    with start() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with make_world(f"sqlite:///{tmp_path / 'world.db'}") as made:
        yield made


def test_what_was_planted_is_found_and_nothing_else(world: World, lrs: RealLRS) -> None:
    settings = {"url": lrs.url, "key": lrs.key, "secret": lrs.secret}
    planted = plant(world, settings, 120, missing=4, different=3, doubled=2)
    assert planted.check() == {"confirmed": 111, "missing": 4, "different": 3, "doubled": 2}
    assert planted.found == planted.by
