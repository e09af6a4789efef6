"""A real SMTP server on loopback, which keeps what it gets and does as it is told."""

from __future__ import annotations

import email
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


class Inbox:
    """What arrived, and what to answer.

    :ivar on_recipient: called with an address; returns an answer or None for "fine".
    :ivar on_data: called after a mail was taken, before that is said.
    :ivar hangs_up: after taking a mail, without saying so.
    """

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.was_secure: list[bool] = []
        self.users: list[str] = []
        self.on_recipient: Callable[[str], str | None] = lambda address: None
        self.on_data: Callable[[], str | None] = lambda: None
        self.hangs_up = False
        self.port = 0

    @property
    def mails(self) -> list[EmailMessage]:
        parsed = [email.message_from_bytes(raw, policy=default) for raw in self.raw]
        assert all(isinstance(mail, EmailMessage) for mail in parsed)
        return parsed  # type: ignore[return-value]

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        answer = self.on_recipient(address)
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.raw.append(envelope.original_content)
        self.was_secure.append(session.ssl is not None)
        if self.hangs_up:
            server.transport.abort()
        return self.on_data() or "250 taken"

    def sign_in(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == b"right", handled=False)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def smtp_server(tls: ssl.SSLContext | None = None, *, auth: bool = False) -> Iterator[Inbox]:
    """An SMTP server; with ``tls`` it wants STARTTLS first. ``auth`` needs ``tls``."""
    inbox = Inbox()
    inbox.port = free_port()
    options: dict[str, Any] = {}
    if tls is not None:
        options = {"tls_context": tls, "require_starttls": True}
    if auth:
        options |= {"authenticator": inbox.sign_in, "auth_required": True}
    controller = Controller(inbox, hostname="127.0.0.1", port=inbox.port, **options)
    controller.start()
    try:
        yield inbox
    finally:
        controller.stop()
