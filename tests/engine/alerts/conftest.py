from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world import World, make_world


@pytest.fixture
def world() -> Iterator[World]:
    """In memory, with a clock that stands still."""
    with make_world("sqlite://", LMS_OPERATOR_EMAILS=["ops@harbor.example"]) as made:
        made.freeze()
        yield made
