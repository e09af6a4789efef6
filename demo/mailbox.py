"""A real SMTP server in this process that keeps what it is sent."""

from __future__ import annotations

import email
import email.policy
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from itertools import islice

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True)
class Received:
    recipient: str
    subject: str
    date: str
    text: str
    message: EmailMessage


class Mailbox:
    """Keeps the newest 200 mails. Listens on loopback only."""

    def __init__(self) -> None:
        self._mails: deque[Received] = deque(maxlen=200)
        self.count = 0
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    def clear(self) -> None:
        self._mails.clear()
        self.count = 0

    def newest(self, most: int) -> Iterator[Received]:
        return islice(tuple(self._mails), most)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        message = email.message_from_bytes(
            bytes(envelope.original_content or b""), policy=email.policy.default
        )
        plain = message.get_body(("plain",))
        self._mails.appendleft(
            Received(
                recipient=", ".join(envelope.rcpt_tos),
                subject=str(message["Subject"]),
                date=str(message["Date"]),
                text=plain.get_content() if plain else "",
                message=message,
            )
        )
        self.count += 1
        return "250 kept"


def free_port(wanted: int = 0) -> int:
    """A port on loopback that nobody listens on: ``wanted`` or the next ones, 0 for any."""
    for port in range(wanted, wanted + 50) if wanted else [0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeError(f"no port is free from {wanted} to {wanted + 49}")
