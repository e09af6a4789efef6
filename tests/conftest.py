"""Fixtures that every kind of test uses. Worlds are made by ``tests.world``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.valkey import Valkey
from flask_lms.testing import FakeLRS
from tests.requirements_support import need
from tests.world import World, make_world

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
def lrs() -> Iterator[FakeLRS]:
    """A conforming LRS with switches."""
    with FakeLRS() as server:
        yield server


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database in a file: what is read back was stored."""
    return _file(tmp_path)


def _file(folder: Path) -> str:
    return f"sqlite:///{folder / 'host.db'}"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def database_url(request: Any, tmp_path: Path) -> str:
    """Each database there is a URL for, in turn."""
    return _file(tmp_path) if request.param == "sqlite" else need(request.param)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """On SQLite, with its Redis away."""
    with make_world(_file(tmp_path)) as made:
        yield made
