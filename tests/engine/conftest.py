"""Engine tests run on every database there is a URL for, with a real LRS and real Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world import World, make_world


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with make_world(database_url) as made:
        yield made
