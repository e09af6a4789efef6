"""Connections that go only where the gate lets them, and end in time.

http.client knows a limit between two bytes only, so a server that sends one byte a minute would
hold it for ever. Here the sockets themselves know when the whole exchange must be over.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any, cast

import ssrfguard
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from ssrfguard import Address
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util.connection import create_connection

from .faults import TooMuchHeader, Unreachable, of_connecting, of_tls
from .gate import Gate

#: More than any LMS sends before its body; 100 headers of 64 kB would pass http.client.
MOST_HEADER_BYTES = 64_000
#: A connection that idled longer is not used again: servers close theirs after 2 s and more, and
#: a request sent into that moment looks like a failure.
MOST_IDLE_SECONDS = 1.5


class Budget:
    """What one exchange may take.

    :param seconds: for all of it.
    :param connect_seconds: for opening the connection.
    :param read_seconds: between two bytes.
    """

    def __init__(self, seconds: float, connect_seconds: float, read_seconds: float) -> None:
        self.seconds = seconds
        self.connect_seconds = connect_seconds
        self.read_seconds = read_seconds
        self.started = time.monotonic()
        self.is_sending = False
        self.is_reused = False
        self.header_bytes: int | None = 0

    @property
    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self.started) * 1000)

    @property
    def is_closed_meanwhile(self) -> bool:
        """Whether a kept connection was used and not one byte came back."""
        return self.is_reused and self.header_bytes == 0

    @property
    def patience(self) -> float:
        """The limit that was reached, when one was, in seconds."""
        is_over = time.monotonic() >= self.started + self.seconds
        return self.seconds if is_over else min(self.read_seconds, self.seconds)

    def left(self, most: float) -> float:
        """Seconds for the next step, at most ``most``.

        :raises TimeoutError: nothing is left.
        """
        left = self.started + self.seconds - time.monotonic()
        if left <= 0:
            raise TimeoutError("the exchange took too long")
        return min(left, most)

    def received(self, count: int) -> None:
        """Count bytes of the head; :meth:`head_is_read` ends that."""
        if self.header_bytes is not None:
            self.header_bytes += count
            if self.header_bytes > MOST_HEADER_BYTES:
                raise TooMuchHeader("the answer's header is too large")

    def head_is_read(self) -> None:
        self.header_bytes = None


class _Timed:
    """Mixin of both socket classes: each step asks the budget how long it may take."""

    budget: Budget | None = None

    def recv_into(self, *args: Any, **kw: Any) -> int:
        budget = self.budget
        if budget is not None:
            self.settimeout(budget.left(budget.read_seconds))  # type: ignore[attr-defined]
        count: int = super().recv_into(*args, **kw)  # type: ignore[misc]
        if budget is not None:
            budget.received(count)
        return count

    def send(self, *args: Any, **kw: Any) -> int:
        if self.budget is not None:
            self.settimeout(self.budget.left(self.budget.read_seconds))  # type: ignore[attr-defined]
        return cast(int, super().send(*args, **kw))  # type: ignore[misc]

    def sendall(self, *args: Any, **kw: Any) -> None:
        if self.budget is not None:
            self.settimeout(self.budget.left(self.budget.read_seconds))  # type: ignore[attr-defined]
        super().sendall(*args, **kw)  # type: ignore[misc]


class TimedSocket(_Timed, socket.socket):
    """A plain socket with a budget."""


class TimedTLSSocket(_Timed, ssl.SSLSocket):
    """A TLS socket with a budget. One handshake is timed as a whole by CPython."""


def open_socket(addresses: tuple[Address, ...], gate: Gate, budget: Budget) -> TimedSocket:
    """Connect to the first of these checked addresses that answers.

    :raises Unreachable: ``refused``, ``unreachable``, ``connect_timeout``, ``blocked``.
    """
    policy = gate.policy(addresses[0].hostname)
    facts: dict[str, Any] = {"host": addresses[0].hostname, "port": addresses[0].port}
    tried = min(len(addresses), policy.max_connection_attempts)
    try:
        sock = ssrfguard.connect(
            addresses,
            policy=policy,
            timeout=budget.left(budget.connect_seconds) / tried,
            socket_options=HTTPConnection.default_socket_options,
        )
    except ssrfguard.SSRFGuardError:
        raise Unreachable("blocked", {**facts, "reason": "address"}) from None
    except OSError as error:
        cause = of_connecting(error)
        if cause == "connect_timeout":
            facts["seconds"] = budget.connect_seconds
        raise Unreachable(cause, facts) from None
    return _timed(sock)


def _timed(sock: socket.socket) -> TimedSocket:
    timeout = sock.gettimeout()
    timed = TimedSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
    timed.settimeout(timeout)
    return timed


class Dialer:
    """Opens the sockets of one adapter; the exchange of each thread has its own budget."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._local = threading.local()

    @property
    def budget(self) -> Budget:
        return cast(Budget, self._local.budget)

    @budget.setter
    def budget(self, budget: Budget) -> None:
        self._local.budget = budget

    def open(self, connection: HTTPConnection, scheme: str) -> socket.socket:
        """A socket to where this connection is to go, or to the proxy."""
        budget = self.budget
        host = connection._dns_host  # ``host`` without its last dot
        if connection.proxy is not None:
            return self._open_proxy(connection, host)
        literal = f"[{host}]" if ":" in host else host
        target = self.gate.check(f"{scheme}://{literal}:{connection.port}/")
        addresses = self.gate.look_up(target, budget.left(budget.seconds))
        return open_socket(addresses, self.gate, budget)

    def _open_proxy(self, connection: HTTPConnection, host: str) -> socket.socket:
        # The operator's own proxy may well be in the private network.
        budget = self.budget
        try:
            return _timed(
                create_connection(
                    (host, connection.port), timeout=budget.left(budget.connect_seconds)
                )
            )
        except OSError:
            raise Unreachable("proxy", {"proxy": host}) from None


class _Guarded(HTTPConnection):
    """What both kinds of connection add to urllib3's."""

    dialer: Dialer
    _used_at = 0.0

    def request(self, *args: Any, **kw: Any) -> None:
        if self.sock is None:
            self.connect()
        budget = self.dialer.budget
        budget.is_reused = self._used_at > 0
        self.sock.budget = budget  # type: ignore[union-attr]
        budget.is_sending = True
        super().request(*args, **kw)

    def connect(self) -> None:
        self._used_at = 0.0
        super().connect()

    @property
    def is_connected(self) -> bool:
        is_fresh = time.monotonic() - self._used_at < MOST_IDLE_SECONDS
        return is_fresh and super().is_connected

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._used_at = time.monotonic()
        self.dialer.budget.head_is_read()
        return response


class _Plain(_Guarded):
    def _new_conn(self) -> socket.socket:
        return self.dialer.open(self, "http")


class _Secure(_Guarded, HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return self.dialer.open(self, "https")

    def connect(self) -> None:
        budget = self.dialer.budget
        # http.client has no timeout of its own for a tunnel, and urllib3's handshake uses this.
        self.timeout = budget.left(budget.connect_seconds)
        facts: dict[str, Any] = {
            "host": self._tunnel_host or self.host,
            "port": self._tunnel_port or self.port,
        }
        try:
            super().connect()
        except OSError as error:
            if "Tunnel connection failed" in str(error):
                raise Unreachable("proxy", facts) from None
            raise tls_fault(error, facts, budget) from None


def tls_fault(error: OSError, facts: dict[str, Any], budget: Budget) -> Unreachable:
    """What a failed handshake with the host in ``facts`` means."""
    cause = of_tls(error)
    if cause == "timeout":
        facts["seconds"] = budget.connect_seconds
    return Unreachable(cause, facts)


class GuardedAdapter(HTTPAdapter):
    """requests' adapter for one destination, used without its ``Session``: that parses the
    ``Location`` of redirects which it is told not to follow, reads their bodies whole into memory,
    and keeps cookies.

    :param context: for TLS; it always verifies.
    """

    def __init__(self, gate: Gate, context: ssl.SSLContext) -> None:
        self.dialer = Dialer(gate)
        self.context = context
        super().__init__(pool_connections=1, pool_maxsize=4, max_retries=0)

    def init_poolmanager(self, *args: Any, **kw: Any) -> None:
        super().init_poolmanager(*args, **kw)
        self._guard(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **kw: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kw)
        self._guard(manager)
        return manager

    def _guard(self, manager: PoolManager) -> None:
        class Plain(_Plain):
            dialer = self.dialer

        class Secure(_Secure):
            dialer = self.dialer

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self.context} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the context's authorities alone: requests would add certifi's to them."""
        conn.cert_reqs = "CERT_REQUIRED"

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """Without parsing cookies."""
        response = Response()
        response.status_code, response.raw, response.request = resp.status, resp, req
        return response
