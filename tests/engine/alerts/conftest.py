from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.alerts_support import Stage
from tests.host import make_host


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A host in memory whose clock stands still."""
    with make_host("sqlite://", LMS_OPERATOR_EMAILS=["ops@harbor.example"]) as host:
        yield Stage(host=host)
