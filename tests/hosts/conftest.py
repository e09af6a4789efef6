"""Fixtures of the odd hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_lms.testing import FakeLRS


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file: what is read back was stored."""
    return f"sqlite:///{tmp_path / 'host.db'}"


@pytest.fixture
def lrs() -> Iterator[FakeLRS]:
    """A conforming LRS."""
    with FakeLRS() as server:
        yield server
