"""Services run on every database there is a URL for; what they tell and wake is kept in lists."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world import World, make_world

__all__ = ["world"]


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with make_world(database_url) as made:
        made.freeze()
        with made.listening():
            yield made
