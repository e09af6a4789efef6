from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.alerts_support import Stage
from tests.host import make_host

from .smtp_server import Inbox, smtp_server


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with smtp_server() as server:
        yield server


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes a host that really sends, to a port."""
    with ExitStack() as stack:

        def make(port: int, **config: Any) -> Stage:
            values: dict[str, Any] = {
                "MAIL_SERVER": "localhost",
                "MAIL_PORT": port,
                "MAIL_SUPPRESS_SEND": False,
                "LMS_OPERATOR_EMAILS": ["ops@harbor.example"],
                "LMS_MAIL_TIMEOUT_SECONDS": 2,
                **config,
            }
            host = stack.enter_context(make_host(f"sqlite:///{tmp_path / 'mails.db'}", **values))
            return Stage(host=host)

        yield make


@pytest.fixture
def stage(inbox: Inbox, make_stage: Callable[..., Stage]) -> Stage:
    return make_stage(inbox.port)
