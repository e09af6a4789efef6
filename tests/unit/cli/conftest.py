"""Commands are run against the same desk as the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from tests.unit.services.conftest import Desk, desk, lrs

__all__ = ["desk", "lrs", "run"]

Run = Callable[..., Result]


@pytest.fixture
def run(desk: Desk) -> Run:
    """Runs ``flask lms ARGUMENTS``; unexpected errors are raised."""

    def invoke(*arguments: str, **options: Any) -> Result:
        runner = desk.host.app.test_cli_runner(catch_exceptions=False)
        return runner.invoke(args=["lms", *arguments], **options)

    return invoke
