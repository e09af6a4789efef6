"""Requests that go only where the policy lets them, and end in time.

http.client knows a limit between two bytes only, so a server that sends one byte a minute would
hold it for ever. Here the sockets themselves know when the whole exchange must be over.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import logging
import math
import os
import queue
import socket
import ssl
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import lru_cache, partial
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import requests
import ssrfguard
from cryptography import x509
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from ssrfguard import Address, Decision, Policy, SSRFGuardError, Target
from ssrfguard.requests import SafeAdapter
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.poolmanager import PoolManager
from urllib3.response import HTTPResponse

from ..encryption import Secret
from ..settings import Settings
from ..store import Store
from .faults import Phase, TooMuchHeader, Unreachable, cause_of
from .policy import AddressPolicy, is_public

_log = logging.getLogger(__name__)

#: Bytes of a decoded body that are read: enough for 400 statement ids or any error text.
MOST_BODY_BYTES = 16_384
_MOST_WIRE_BYTES = 262_144
#: More than any LMS sends before its body; 100 headers of 64 kB would pass http.client.
MOST_HEADER_BYTES = 64_000
#: A connection that idled longer is not used again: servers close theirs after 2 s and more, and
#: a request sent into that moment looks like a failure.
MOST_IDLE_SECONDS = 1.5
_MOST_DESTINATIONS = 64
_MOST_KEPT = 4
_UNVERIFIED_PEEK_SECONDS = 2.0

#: What ssrfguard, requests, urllib3 and the sockets raise.
_FAULTS = (SSRFGuardError, requests.RequestException, HTTPError, OSError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An HTTP answer.

    :param status: the HTTP status.
    :param headers: case-insensitive.
    :param body: at most 16 kB of the decoded body, or as many bytes as were asked for.
    :param is_truncated: there was more than that.
    :param is_complete: False: the connection was lost, or time ran out, after the headers.
    :param duration_ms: of the whole exchange, milliseconds.
    :param is_private: it came from inside the operator's network: show its status and what it
        means, and none of its words.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    is_truncated: bool
    is_complete: bool
    duration_ms: int
    is_private: bool = False


class Transport:
    """Sends requests to LMSs. Safe to share between threads, and after a fork.

    :param settings: time limits, ``allowed_networks``, ``allow_http``, ``proxy_url``,
        ``ca_bundle``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._policy = AddressPolicy.of(settings)
        self._deadline = math.inf
        self._store: Store | None = None
        self._proxies = (
            {"http": settings.proxy_url, "https": settings.proxy_url} if settings.proxy_url else {}
        )
        self._open()

    def __repr__(self) -> str:
        return "<Transport>"

    @property
    def store(self) -> Store:
        """What the connector keeps of the configuration that this call is about.

        :raises RuntimeError: it is about none.
        """
        if self._store is None:
            raise RuntimeError("this transport belongs to no configuration: use with_store()")
        return self._store

    def with_store(self, store: Store) -> Transport:
        """The same connections, for a configuration.

        :param store: its own.
        """
        if self._pid != os.getpid():
            self._open()
        limited = copy.copy(self)
        limited._store = store
        return limited

    def limited_to(self, seconds: float) -> Transport:
        """The same connections, for requests that all together take no longer than this, nor
        longer than what this one is limited to.

        :param seconds: from now on.
        """
        if self._pid != os.getpid():
            self._open()
        limited = copy.copy(self)
        limited._deadline = min(self._deadline, time.monotonic() + seconds)
        return limited

    def within(
        self, connect_seconds: float, read_seconds: float, total_seconds: float
    ) -> Transport:
        """The same connections, with limits of time that are at most these.

        :param connect_seconds: for connecting.
        :param read_seconds: for each silence.
        :param total_seconds: for the whole exchange.
        """
        if self._pid != os.getpid():
            self._open()
        settings = self._settings
        limited = copy.copy(self)
        limited._settings = replace(
            settings,
            connect_timeout_seconds=min(settings.connect_timeout_seconds, connect_seconds),
            read_timeout_seconds=min(settings.read_timeout_seconds, read_seconds),
            total_timeout_seconds=min(settings.total_timeout_seconds, total_seconds),
        )
        return limited

    def now(self) -> datetime:
        """The time of day as others know it, aware UTC: for what is signed or expires there."""
        return datetime.now(timezone.utc)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str | Secret],
        body: bytes | Secret | None = None,
        auth: tuple[str, Secret | str] | None = None,
        ca_pem: str | None = None,
        most_bytes: int = MOST_BODY_BYTES,
    ) -> Reply:
        """Send one request. Redirects are returned, not followed.

        :param method: such as ``POST``.
        :param url: absolute, http or https.
        :param headers: an ``Authorization`` of your own goes here, best as a :class:`Secret`.
        :param body: as it is sent; a secret one as UTF-8.
        :param auth: user and password for Basic, sent as UTF-8 (RFC 7617, section 2.1).
        :param ca_pem: certificates of authorities to trust besides the usual ones.
        :param most_bytes: of the decoded body that are read.
        :raises Unreachable: no status line came back.
        """
        plain = {"Accept-Encoding": "identity"} | {
            name: _Hidden(value.reveal()) if isinstance(value, Secret) else value
            for name, value in headers.items()
        }
        if isinstance(body, Secret):
            body = _HiddenBytes(body.reveal().encode())
        if auth is not None:
            plain["Authorization"] = _Hidden(
                "Basic "
                + base64.b64encode(f"{auth[0]}:{Secret(auth[1]).reveal()}".encode()).decode("ascii")
            )
        exchange = _Exchange(self._settings, self._deadline, most_bytes=most_bytes)
        return self._carry(exchange, method, url, plain, body, ca_pem)

    def connect_stages(self, url: str, *, ca_pem: str | None = None) -> Iterator[tuple[str, int]]:
        """Connect as a request would, send nothing, hang up.

        Through a proxy only ``address`` and ``connect`` are known.

        :param url: absolute, http or https.
        :param ca_pem: certificates of authorities to trust besides the usual ones.
        :returns: ``("address" | "dns" | "connect" | "tls", milliseconds)`` of each that ends well,
            as it ends.
        :raises Unreachable: the next stage failed.
        """
        told: queue.SimpleQueue[tuple[str, int] | Future[Reply]] = queue.SimpleQueue()
        exchange = _Exchange(
            self._settings, self._deadline, on_stage=lambda *stage: told.put(stage)
        )
        # In a thread of its own, as what connects can't wait for whoever reads this.
        pool = ThreadPoolExecutor(1, "lms-connect")
        pool.submit(self._carry, exchange, "GET", url, {}, None, ca_pem).add_done_callback(told.put)
        pool.shutdown(wait=False)
        while isinstance(stage := told.get(), tuple):
            yield stage
        with contextlib.suppress(_Connected):
            stage.result()

    def under(self, entries: Sequence[str]) -> Transport:
        """The same, with other private addresses that may be called.

        :param entries: in place of ``LMS_ALLOWED_NETWORKS``.
        """
        if self._pid != os.getpid():
            self._open()
        limited = copy.copy(self)
        limited._policy = AddressPolicy.of(self._settings, entries)
        return limited

    def close(self) -> None:
        """Close idle connections. The next request opens new ones."""
        for adapter in list(self._adapters.values()):
            adapter.close()

    # -- inside --------------------------------------------------------------------------------

    def _open(self) -> None:
        self._context = lru_cache(_MOST_DESTINATIONS)(partial(_context, self._settings.ca_bundle))
        #: A kept connection is used again only under the policy that opened it.
        self._adapters: dict[AddressPolicy, _Adapter] = {}
        self._pid = os.getpid()

    def _carry(
        self,
        exchange: _Exchange,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        ca_pem: str | None,
    ) -> Reply:
        """One exchange from the first check to the last byte.

        :raises _Connected: it was to go no further.
        :raises Unreachable: no status line came back.
        """
        if self._pid != os.getpid():
            # A child must not write into its parent's connections, nor wait for a lock that a
            # thread of the parent held.
            self._open()
        policy = self._policy.toward(url)
        target = policy.check(url)
        exchange.ended("address")
        adapter = self._adapters.get(policy)
        if adapter is None:
            if len(self._adapters) >= _MOST_DESTINATIONS:
                self._adapters.pop(next(iter(self._adapters)), None)
            adapter = self._adapters.setdefault(policy, _Adapter(policy))
        reset = _current.set(exchange)
        try:
            exchange.context, exchange.policy = self._context(ca_pem), adapter.policy
            if self._proxies:
                # A name that this machine can't look up is the proxy's to refuse.
                with contextlib.suppress(OSError, ValueError):
                    ssrfguard.resolve(
                        target,
                        policy=policy,
                        resolver=exchange.look_up,
                        observer=exchange.observe,
                    )
            # The URL with its host as it was checked, so that nothing can read it another way.
            host = f"[{target.host}]" if ":" in target.host else target.host
            usual = {"http": 80, "https": 443}[target.scheme]
            netloc = host if target.port == usual else f"{host}:{target.port}"
            parts = urlsplit(url)
            checked = urlunsplit((target.scheme, netloc, parts.path, parts.query, ""))
            request = requests.Request(method, checked, data=body).prepare()
            request.headers.update(headers)
            timeout = (self._settings.connect_timeout_seconds, self._settings.read_timeout_seconds)
            raw: HTTPResponse | None = None
            while raw is None:
                try:
                    raw = adapter.send(
                        request, stream=True, timeout=timeout, proxies=self._proxies
                    ).raw
                except _FAULTS as error:
                    # A kept connection may be closed by the server at the moment a request goes
                    # out. Nothing came back then, and the same request goes once over a new one
                    # (RFC 9112, 9.3.1): an LMS that has it already knows the statements by their
                    # ids.
                    is_silent = exchange.is_reused and exchange.header_bytes == 0
                    if not is_silent or cause_of(error, exchange.phase) != "reset":
                        raise
                    exchange.must_connect, exchange.is_reused = True, False
            return _read(raw, exchange)
        except _Connected:
            raise
        except (Unreachable, *_FAULTS) as error:
            fault: Exception = self._fault(error, target, policy, exchange)
        except Exception as error:
            # A mistake of ours or of the layers below. Told without their variables, among which
            # the header stands.
            _log.error("a request failed\n%s", "".join(traceback.format_exception(error)))
            fault = RuntimeError(f"a request failed: {type(error).__name__}")
        finally:
            _current.reset(reset)
        raise fault

    def _fault(
        self, error: Exception, target: Target, policy: AddressPolicy, exchange: _Exchange
    ) -> Unreachable:
        """What a failed exchange means, with the facts that its sentence needs."""
        facts: dict[str, Any] = {"host": target.host, "port": target.port}
        if isinstance(error, Unreachable):
            cause = error.cause
            facts.update(error.facts)
        elif isinstance(error, SSRFGuardError):
            cause = "blocked"
            is_mixed = exchange.outcomes == {"permitted", "refused"}
            facts["reason"] = "mixed" if is_mixed else "address"
        else:
            cause = cause_of(error, exchange.phase, is_proxied=bool(self._proxies))
        if cause == "connect_timeout" or (cause == "timeout" and exchange.phase != "sent"):
            facts["seconds"] = exchange.patience(self._settings.connect_timeout_seconds)
        elif cause == "timeout":
            facts["seconds"] = exchange.patience(self._settings.read_timeout_seconds)
        elif cause == "proxy":
            facts["proxy"] = urlsplit(self._settings.proxy_url or "").hostname
        elif cause == "tls_expired" and exchange.peer is not None:
            # When it ended (ISO 8601), by a second handshake with the same address: that one isn't
            # verified, and nothing is sent over it.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with contextlib.suppress(SSRFGuardError, OSError, ValueError):
                seconds = exchange.left(_UNVERIFIED_PEEK_SECONDS)
                with ssrfguard.connect([exchange.peer], policy=policy, timeout=seconds) as sock:
                    sock.settimeout(exchange.left(_UNVERIFIED_PEEK_SECONDS))
                    with context.wrap_socket(sock, server_hostname=target.host.rstrip(".")) as tls:
                        der = tls.getpeercert(binary_form=True)
                ended = x509.load_der_x509_certificate(der or b"").not_valid_after_utc
                # An intermediate one may be what expired.
                if ended.timestamp() < time.time():
                    facts["expired_at"] = ended.isoformat()
        return Unreachable(cause, facts, was_sent=exchange.was_sent)


def _context(ca_bundle: str | None, ca_pem: str | None) -> ssl.SSLContext:
    """TLS that always verifies.

    :raises Unreachable: ``tls``: the authorities can't be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_bundle or DEFAULT_CA_BUNDLE_PATH)
    except OSError as error:
        _log.error("LMS_CA_BUNDLE %s can't be read: %s", ca_bundle, error)
        raise Unreachable("tls", {"reason": "ca_bundle"}) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A certificate that was entered is trusted itself, as in Python 3.13's own default.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.sslsocket_class = _TimedTLSSocket
    if ca_pem is not None:
        try:
            context.load_verify_locations(cadata=ca_pem)
        except (ssl.SSLError, ValueError):
            raise Unreachable("tls", {"reason": "ca_pem"}) from None
    return context


def _read(raw: HTTPResponse, exchange: _Exchange) -> Reply:
    """The body, as far as it is wanted.

    gzip and deflate are unpacked, never more than asked for, so that nothing can explode. We ask
    for neither; some send it.
    """
    encoding = raw.headers.get("Content-Encoding", "").strip().lower()
    is_packed = encoding in ("gzip", "x-gzip", "deflate")
    # 47: zlib finds out whether the header is gzip's or its own.
    unpack = zlib.decompressobj(wbits=47) if is_packed else None
    body = bytearray()
    wire_bytes, is_complete, most = 0, True, exchange.most_bytes
    most_wire = max(_MOST_WIRE_BYTES, most + 1)
    try:
        while len(body) <= most and wire_bytes < most_wire:
            piece = raw.read1(8192, decode_content=False)
            if not piece:
                break
            wire_bytes += len(piece)
            room = most + 1 - len(body)
            if unpack is not None:
                piece = unpack.decompress(unpack.unconsumed_tail + piece, room)
            body += piece[:room]
    except (HTTPError, OSError, ValueError, zlib.error):
        is_complete = False
    is_truncated = len(body) > most or wire_bytes >= most_wire
    if is_truncated or not is_complete:
        # urllib3 keeps a connection whose answer was read to its end, and no other.
        raw.close()
    return Reply(
        status=raw.status,
        headers=CaseInsensitiveDict(raw.headers.items()),
        body=bytes(body[:most]),
        is_truncated=is_truncated,
        is_complete=is_complete,
        duration_ms=round((time.monotonic() - exchange.began) * 1000),
        is_private=exchange.is_private and not exchange.settings.show_private_answers,
    )


class _Hidden(str):
    """The value of a header that shows itself to nobody but the other end."""

    def __repr__(self) -> str:
        return "'•••'"


class _HiddenBytes(bytes):
    """A body that shows itself to nobody but the other end."""

    def __repr__(self) -> str:
        return "b'•••'"


class _Connected(Exception):
    """A connection test ends here, where a request would be sent."""


class _Exchange:
    """What one exchange may take, and how far it has come.

    :param settings: the time limits: in all, for connecting, and between two bytes.
    :param deadline: it ends then at the latest (monotonic).
    :param on_stage: it is a test: connect anew, send nothing, and tell each stage of connecting
        that ended well, with its milliseconds.
    :param most_bytes: of the body that are read.
    """

    def __init__(
        self,
        settings: Settings,
        deadline: float,
        *,
        on_stage: Callable[[str, int], None] | None = None,
        most_bytes: int = MOST_BODY_BYTES,
    ) -> None:
        self.settings = settings
        self.on_stage = on_stage
        self.most_bytes = most_bytes
        self.must_connect = on_stage is not None
        self.began = self.stage_began = time.monotonic()
        self.ends = min(self.began + settings.total_timeout_seconds, deadline)
        self.phase: Phase = "connect"
        self.was_sent = self.is_reused = False
        #: None: the head is read.
        self.header_bytes: int | None = 0
        self.context: ssl.SSLContext | None = None
        self.policy: Policy | None = None
        self.connection: HTTPConnection | None = None
        #: What the policy said of the addresses.
        self.outcomes: set[str] = set()
        #: Some address of the host is the operator's own.
        self.is_private = False
        self.peer: Address | None = None

    def patience(self, limit: float) -> float:
        """The limit that was reached, in seconds: ``limit``, or what was given to the whole."""
        total = self.settings.total_timeout_seconds
        if time.monotonic() < self.ends:
            return min(limit, total)
        # A deadline leaves some odd time.
        return total if self.ends == self.began + total else max(1, round(self.ends - self.began))

    def left(self, most: float) -> float:
        """Seconds for the next step, at most ``most``.

        :raises TimeoutError: nothing is left.
        """
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the exchange took too long")
        return min(left, most)

    def ended(self, stage: str) -> None:
        """A stage of connecting ended well, and the next one begins."""
        now = time.monotonic()
        if self.on_stage is not None:
            self.on_stage(stage, round((now - self.stage_began) * 1000))
        self.stage_began = now

    def look_up(self, *question: Any) -> list[Any]:
        """The resolver for ssrfguard: getaddrinfo within a limit, as it has none of its own.

        :raises OSError: no such name, or it took too long.
        """
        answer: list[list[Any]] = []
        failure: list[Exception] = []

        def ask() -> None:
            try:
                answer.append(socket.getaddrinfo(*question))
            except (OSError, ValueError) as error:
                failure.append(error)

        self.outcomes.clear()
        thread = threading.Thread(target=ask, name="lms-look-up", daemon=True)
        thread.start()
        thread.join(self.left(2 * self.settings.connect_timeout_seconds))
        if failure:
            raise failure[0]
        if not answer:
            raise socket.gaierror(socket.EAI_AGAIN, "the look-up took too long")
        if self.connection is not None:
            if not question[5] & socket.AI_NUMERICHOST and self._are_allowed(answer[0]):
                self.ended("dns")
            # ssrfguard waits that long for each address it tries; they share one limit.
            tried = min(len(answer[0]), AddressPolicy.max_connection_attempts)
            seconds = self.left(self.settings.connect_timeout_seconds)
            self.connection.timeout = seconds / max(tried, 1)
        return answer[0]

    def _are_allowed(self, answer: list[Any]) -> bool:
        """A look-up that leads to a forbidden address has not ended well."""
        assert self.policy is not None
        try:
            for row in answer:
                self.policy.check_address(row[4][0])
        except (SSRFGuardError, ValueError):
            return False
        return True

    def observe(self, decision: Decision) -> None:
        """The observer for ssrfguard: what it decided about addresses, and who answered."""
        if decision.stage == "address":
            self.outcomes.add(decision.outcome)
        elif decision.stage == "peer" and decision.address is not None:
            ip, port = decision.address, decision.port
            family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
            self.peer = Address(family, (str(ip), port), ip, decision.host or "")
            self.ended("connect")
        if decision.outcome == "permitted" and decision.address is not None:
            self.is_private = self.is_private or not is_public(decision.address)


#: The exchange that this thread is in: sockets and connections are urllib3's to make.
_current: ContextVar[_Exchange] = ContextVar("flask_lms_exchange")


class _Timed:
    """Mixin of both socket classes: each step asks the exchange how long it may take."""

    def _limit(self) -> _Exchange:
        exchange = _current.get()
        self.settimeout(exchange.left(exchange.settings.read_timeout_seconds))  # type: ignore[attr-defined]
        return exchange

    def recv_into(self, *args: Any, **kw: Any) -> int:
        exchange = self._limit()
        count: int = super().recv_into(*args, **kw)  # type: ignore[misc]
        if exchange.header_bytes is not None:
            exchange.header_bytes += count
            if exchange.header_bytes > MOST_HEADER_BYTES:
                raise TooMuchHeader("the answer's header is too large")
        return count

    def send(self, *args: Any, **kw: Any) -> int:
        self._limit()
        return cast(int, super().send(*args, **kw))  # type: ignore[misc]

    def sendall(self, *args: Any, **kw: Any) -> None:
        self._limit()
        super().sendall(*args, **kw)  # type: ignore[misc]


class _TimedSocket(_Timed, socket.socket):
    """A plain socket in an exchange."""


class _TimedTLSSocket(_Timed, ssl.SSLSocket):
    """A TLS socket in an exchange."""

    def do_handshake(self, block: bool = False) -> None:
        """CPython times it as a whole."""
        exchange = _current.get()
        exchange.phase = "tls"
        self.settimeout(exchange.left(exchange.settings.connect_timeout_seconds))
        super().do_handshake(block)


class _TimedConnection(HTTPConnection):
    """What ours add to ssrfguard's connections, and to urllib3's to a proxy."""

    _used_at = 0.0
    _is_private = False

    def connect(self) -> None:
        exchange = _current.get()
        exchange.phase, exchange.connection = "connect", self
        exchange.stage_began = time.monotonic()
        self._used_at = 0.0
        # http.client has no timeout of its own for a tunnel.
        self.timeout = exchange.left(exchange.settings.connect_timeout_seconds)
        super().connect()
        sock = self.sock
        if self.proxy is not None:
            exchange.ended("connect")
        elif isinstance(sock, ssl.SSLSocket):
            exchange.ended("tls")
        if sock is not None and not isinstance(sock, ssl.SSLSocket):
            self.sock = _TimedSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())

    def request(self, *args: Any, **kw: Any) -> None:
        exchange = _current.get()
        if self.sock is None:
            self.connect()
        if exchange.on_stage is not None:
            raise _Connected
        exchange.is_reused = self._used_at > 0
        self._is_private = exchange.is_private = self._is_private or exchange.is_private
        exchange.phase, exchange.was_sent = "sent", True
        super().request(*args, **kw)

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._used_at = time.monotonic()
        _current.get().header_bytes = None
        return response

    @property
    def is_connected(self) -> bool:
        """Whether it may be used again."""
        is_fresh = time.monotonic() - self._used_at < MOST_IDLE_SECONDS
        return is_fresh and not _current.get().must_connect and super().is_connected


class _Adapter(SafeAdapter):
    """ssrfguard's adapter, used without a ``Session``: that parses the ``Location`` of redirects
    which it is told not to follow, reads their bodies whole into memory, and keeps cookies.
    """

    def __init__(self, policy: AddressPolicy) -> None:
        super().__init__(
            policy=policy,
            resolver=lambda *question: _current.get().look_up(*question),
            observer=lambda decision: _current.get().observe(decision),
            pool_connections=_MOST_DESTINATIONS,
            pool_maxsize=_MOST_KEPT,
            max_retries=0,
        )

    def init_poolmanager(self, *args: Any, **kw: Any) -> None:
        super().init_poolmanager(*args, **kw)
        _limit_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kw: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kw)
        _limit_pools(manager)
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        is_secure = host["scheme"] == "https"
        return host, {"ssl_context": _current.get().context} if is_secure else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the context's authorities alone: requests would add certifi's to them."""
        conn.cert_reqs = "CERT_REQUIRED"

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Without parsing cookies."""
        response = requests.Response()
        response.status_code, response.raw, response.request = resp.status, resp, req
        return response


def _limit_pools(manager: PoolManager) -> None:
    """Make a manager's connections ours; ``pool_classes_by_scheme`` is ssrfguard's hook too."""
    pools: Mapping[str, Any] = manager.pool_classes_by_scheme
    limited: dict[str, Any] = {}
    for scheme, pool in pools.items():
        if issubclass(pool.ConnectionCls, _TimedConnection):
            return
        connection = type("Connection", (_TimedConnection, pool.ConnectionCls), {})
        limited[scheme] = type("Pool", (pool,), {"ConnectionCls": connection})
    manager.pool_classes_by_scheme = limited
