"""Commands are run against the same world as the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from tests.unit.services.conftest import world
from tests.world import World

__all__ = ["run", "world"]

Run = Callable[..., Result]


@pytest.fixture
def run(world: World) -> Run:
    """Runs ``flask lms ARGUMENTS``; unexpected errors are raised."""

    def invoke(*arguments: str, **options: Any) -> Result:
        runner = world.app.test_cli_runner(catch_exceptions=False)
        return runner.invoke(args=["lms", *arguments], **options)

    return invoke
