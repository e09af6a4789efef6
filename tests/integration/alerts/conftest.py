from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.world import World, make_world

from .smtp_server import Inbox, smtp_server


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with smtp_server() as server:
        yield server


@pytest.fixture
def make_sending(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes a host that really sends, to a port."""
    with ExitStack() as stack:

        def make(port: int, **config: Any) -> World:
            values: dict[str, Any] = {
                "MAIL_SERVER": "localhost",
                "MAIL_PORT": port,
                "MAIL_SUPPRESS_SEND": False,
                "LMS_OPERATOR_EMAILS": ["ops@harbor.example"],
                "LMS_MAIL_TIMEOUT_SECONDS": 2,
                **config,
            }
            made = stack.enter_context(make_world(f"sqlite:///{tmp_path / 'mails.db'}", **values))
            made.freeze()
            return made

        yield make


@pytest.fixture
def world(inbox: Inbox, make_sending: Callable[..., World]) -> World:
    return make_sending(inbox.port)
