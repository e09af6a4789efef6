"""Fixtures that every kind of test uses. Hosts are made by ``tests.host``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.valkey import Valkey
from tests.host import Host, make_host

pytest_plugins = ["tests.address_cases"]


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """pytest-flask would push a request context around each test, so that a view shares the test's
    session and a forgotten commit passes."""


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A real server that speaks Redis."""
    with Valkey() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A small host on SQLite whose Redis is away."""
    with make_host(f"sqlite:///{tmp_path / 'host.db'}") as made:
        yield made
