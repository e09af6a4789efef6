"""Engine tests run on every database there is a URL for, with a real LRS and real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_lms.testing import FakeLRS
from tests.host import Host, make_host
from tests.requirements_support import need


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def database_url(request: Any, tmp_path: Path) -> str:
    """Each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'engine.db'}"
    return need(request.param)


@pytest.fixture
def host(database_url: str) -> Iterator[Host]:
    """A host whose Redis is away."""
    with make_host(database_url) as made:
        yield made


@pytest.fixture
def lrs() -> Iterator[FakeLRS]:
    """A conforming LRS with switches."""
    with FakeLRS() as server:
        yield server
