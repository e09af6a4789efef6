"""Fixtures of the page tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages.site import make_site
from tests.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A host with two organizations and no configuration."""
    with make_site(f"sqlite:///{tmp_path / 'site.db'}") as made:
        yield made
