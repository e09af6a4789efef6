"""Servers that misbehave, and an authority that signs whatever a test wants."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flask_lms.settings import Settings
from flask_lms.transport import Transport

Behaviour = Callable[[socket.socket], None]


def transport(**settings: Any) -> Transport:
    """One that may call loopback by http, and is short of patience."""
    given = {
        "allow_http": True,
        "allowed_networks": ("127.0.0.0/8", "localhost"),
        "show_private_answers": True,
        "connect_timeout_seconds": 1.0,
        "read_timeout_seconds": 0.3,
        "total_timeout_seconds": 1.2,
    }
    return Transport(Settings(**{**given, **settings}))


def read_request(caller: socket.socket) -> bytes:
    """Head and body of one request; less when the caller hangs up."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = caller.recv(65536)
        if not piece:
            return got
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        piece = caller.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


def answering(answer: bytes) -> Behaviour:
    """Reads a request, sends these bytes, hangs up."""

    def behave(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(answer)

    return behave


class Server:
    """Listens on loopback; each connection gets ``behaviour`` in a thread of its own.

    ``connections`` counts them; ``stopping`` is set when a dripping behaviour has to end.
    """

    def __init__(self, behaviour: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour
        self.context = context
        self.connections = 0
        self.stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def url(self, host: str = "127.0.0.1", path: str = "/xapi/statements") -> str:
        return f"{'https' if self.context else 'http'}://{host}:{self.port}{path}"

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, caller)

    def _serve(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):
            caller.settimeout(10)
            if self.context is None:
                self.behaviour(caller)
                return
            with self.context.wrap_socket(caller, server_side=True) as secure:
                self.behaviour(secure)

    def close_door(self) -> None:
        """Take no more connections."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self) -> None:
        self.close_door()
        for thread in self._threads:
            thread.join(12)


@contextlib.contextmanager
def serving(behaviour: Behaviour, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(behaviour, context)
    try:
        yield server
    finally:
        server.close()


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes().decode()

    def server_context(self, *names: str, **options: Any) -> ssl.SSLContext:
        """A server's TLS with a certificate for ``names``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, **options).configure_cert(context)
        return context

    def expired_context(self, *names: str) -> tuple[ssl.SSLContext, dt.datetime]:
        ended = dt.datetime(2021, 3, 4, 5, 6, 7, tzinfo=dt.timezone.utc)
        began = ended - dt.timedelta(days=90)
        return self.server_context(*names, not_before=began, not_after=ended), ended


def self_signed(tmp_path: Any, name: str) -> tuple[ssl.SSLContext, str]:
    """A server's TLS with a certificate that nobody but itself signed, and its PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path / "self-signed.pem"
    path.write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, pem.decode()
