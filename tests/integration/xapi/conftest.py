from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node_support import RealLRS, real_lrs


@pytest.fixture
def lrs() -> Iterator[RealLRS]:
    """A real LRS that isn't ours, empty."""
    with real_lrs() as running:
        yield running
