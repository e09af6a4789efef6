"""The only outbound HTTP: guarded, timed, capped.

What holds for each request: its host's addresses were all checked and one of those is connected
to; TLS is verified against the name; redirects are returned, not followed; nothing of the
environment (proxies, ``.netrc``, CA variables) is used; it ends within
``LMS_TOTAL_TIMEOUT_SECONDS``; at most 64 kB of header and 16 kB of body are read.

With ``LMS_PROXY_URL`` the proxy looks names up and connects, so addresses can't be pinned here.
Literal private addresses are still refused, and names that this machine can look up are still
checked; the proxy has to do the rest.
"""

from __future__ import annotations

import base64
import copy
import logging
import os
import ssl
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlsplit, urlunsplit

import requests
from cryptography import x509
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from ssrfguard import Target
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from ..settings import Settings
from .faults import Unreachable, of_exchange
from .gate import Gate
from .wire import Budget, GuardedAdapter, TimedTLSSocket, open_socket, tls_fault

__all__ = ["Reply", "Transport", "Unreachable"]

_log = logging.getLogger(__name__)

#: Bytes of a decoded body that are read: enough for 400 statement ids or any error text.
MOST_BODY_BYTES = 16_384
_MOST_WIRE_BYTES = 262_144
_MOST_SESSIONS = 64
_UNVERIFIED_PEEK_SECONDS = 2.0


#: What requests, urllib3 and the sockets raise.
_FAULTS = (requests.RequestException, HTTPError, OSError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An HTTP answer.

    :param headers: case-insensitive.
    :param body: at most 16 kB of the decoded body.
    :param is_truncated: there was more than that.
    :param is_complete: False: the connection was lost, or time ran out, after the headers.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_truncated: bool
    is_complete: bool
    duration_ms: int


class Transport:
    """Sends requests to LMSs. Safe to share between threads, and after a fork.

    :param settings: time limits, ``allowed_networks``, ``allow_http``, ``proxy_url``,
        ``ca_bundle``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gate = Gate(settings)
        self._proxies = (
            {"http": settings.proxy_url, "https": settings.proxy_url} if settings.proxy_url else {}
        )
        self._forget()

    def __repr__(self) -> str:
        return "<Transport>"

    def within(
        self, connect_seconds: float, read_seconds: float, total_seconds: float
    ) -> Transport:
        """The same connections, with limits of time that are at most these."""
        if self._pid != os.getpid():
            self._forget()
        settings = self._settings
        limited = copy.copy(self)
        limited._settings = replace(
            settings,
            connect_timeout_seconds=min(settings.connect_timeout_seconds, connect_seconds),
            read_timeout_seconds=min(settings.read_timeout_seconds, read_seconds),
            total_timeout_seconds=min(settings.total_timeout_seconds, total_seconds),
        )
        return limited

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        auth: tuple[str, str] | None = None,
        ca_pem: str | None = None,
    ) -> Reply:
        """Send one request.

        :param auth: user and password for Basic, sent as UTF-8 (RFC 7617, section 2.1).
        :param ca_pem: certificates of authorities to trust besides the usual ones.
        :raises Unreachable: no status line came back.
        """
        budget = self._budget()
        target = self._gate.check(url)
        if self._proxies:
            self._check_addresses(target, budget)
        adapter = self._adapter(target, ca_pem)
        adapter.dialer.budget = budget
        try:
            prepared = requests.Request(method, _spelled_out(url, target), data=body).prepare()
            prepared.headers.update({"Accept-Encoding": "identity", **headers})
            if auth is not None:
                prepared.headers["Authorization"] = _basic(*auth)
            raw = self._send(adapter, prepared, budget)
        except Unreachable as fault:
            raise self._explained(fault, target, budget) from None
        except _FAULTS as error:
            raise _exchange_fault(error, target, budget) from None
        return _read(raw, budget)

    def connect_stages(self, url: str, *, ca_pem: str | None = None) -> Iterator[tuple[str, int]]:
        """Connect step by step, send nothing, hang up.

        Through a proxy only ``address`` and ``connect`` are known.

        :returns: ``("address" | "dns" | "connect" | "tls", milliseconds)`` as each ends well.
        :raises Unreachable: the next stage failed.
        """
        budget = self._budget()
        target = self._gate.check(url)
        yield "address", budget.elapsed_ms
        if self._proxies:
            self._check_addresses(target, budget)
            yield from self._through_proxy(target, ca_pem, budget)
            return
        started = time.monotonic()
        addresses = self._gate.look_up(target, budget.seconds)
        if not target.is_literal_address:
            yield "dns", _since(started)
        started = time.monotonic()
        with open_socket(addresses, self._gate, budget) as sock:
            yield "connect", _since(started)
            if target.scheme != "https":
                return
            started = time.monotonic()
            context = self._context(ca_pem)
            sock.settimeout(budget.left(budget.connect_seconds))
            try:
                name = target.host.rstrip(".")
                with context.wrap_socket(sock, server_hostname=name):
                    pass
            except OSError as error:
                fault = tls_fault(error, {"host": target.host, "port": target.port}, budget)
                raise self._explained(fault, target, budget) from None
        yield "tls", _since(started)

    def check_url(self, url: str) -> None:
        """Refuse what can be refused without a look-up: private addresses, ports, spellings.

        :raises Unreachable: ``blocked`` or ``dns``.
        """
        self._gate.check(url)

    def close(self) -> None:
        """Close idle connections. The next request opens new ones."""
        with self._lock:
            sessions = list(self._sessions.values())
            self._sessions.clear()
        for session in sessions:
            session.close()

    def _send(
        self, adapter: GuardedAdapter, prepared: requests.PreparedRequest, budget: Budget
    ) -> HTTPResponse:
        """The head of the answer.

        A kept connection may be closed by the server at the moment a request goes out. Nothing
        came back then, and the same request goes once over a new one (RFC 9112, 9.3.1): an LMS
        that has it already knows the statements by their ids.
        """
        timeout = (self._settings.connect_timeout_seconds, budget.read_seconds)
        try:
            response = adapter.send(prepared, stream=True, timeout=timeout, proxies=self._proxies)
        except _FAULTS as error:
            if not budget.is_closed_meanwhile or of_exchange(error) != "reset":
                raise
            adapter.close()
            response = adapter.send(prepared, stream=True, timeout=timeout, proxies=self._proxies)
        return cast(HTTPResponse, response.raw)

    # -- inside --------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._sessions: OrderedDict[tuple[str, str, int, str | None], GuardedAdapter] = (
            OrderedDict()
        )
        self._usual_context: list[ssl.SSLContext] = []

    def _adapter(self, target: Target, ca_pem: str | None) -> GuardedAdapter:
        if self._pid != os.getpid():
            # A child must not write into its parent's connections, nor wait for a lock that a
            # thread of the parent held. Just after a fork there is only one thread.
            self._forget()
        key = (target.scheme, target.host, target.port, ca_pem)
        with self._lock:
            adapter = self._sessions.pop(key, None)
            if adapter is None:
                adapter = GuardedAdapter(self._gate, self._context(ca_pem))
            self._sessions[key] = adapter
            evicted = None
            if len(self._sessions) > _MOST_SESSIONS:
                evicted = self._sessions.popitem(last=False)[1]
        if evicted is not None:
            evicted.close()
        return adapter

    def _context(self, ca_pem: str | None) -> ssl.SSLContext:
        if ca_pem is None and self._usual_context:
            return self._usual_context[0]
        try:
            authorities = self._settings.ca_bundle or DEFAULT_CA_BUNDLE_PATH
            context = ssl.create_default_context(cafile=authorities)
        except OSError as error:
            _log.error("LMS_CA_BUNDLE %s can't be read: %s", self._settings.ca_bundle, error)
            raise Unreachable("tls", {"reason": "ca_bundle"}) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A certificate that was entered is trusted itself, as in Python 3.13's own default.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.sslsocket_class = TimedTLSSocket
        if ca_pem is None:
            self._usual_context.append(context)
            return context
        try:
            context.load_verify_locations(cadata=ca_pem)
        except (ssl.SSLError, ValueError):
            raise Unreachable("tls", {"reason": "ca_pem"}) from None
        return context

    def _budget(self) -> Budget:
        settings = self._settings
        return Budget(
            settings.total_timeout_seconds,
            settings.connect_timeout_seconds,
            settings.read_timeout_seconds,
        )

    def _check_addresses(self, target: Target, budget: Budget) -> None:
        try:
            self._gate.look_up(target, budget.left(budget.connect_seconds))
        except Unreachable as fault:
            if fault.cause == "blocked":
                raise

    def _through_proxy(
        self, target: Target, ca_pem: str | None, budget: Budget
    ) -> Iterator[tuple[str, int]]:
        started = time.monotonic()
        adapter = GuardedAdapter(self._gate, self._context(ca_pem))
        adapter.dialer.budget = budget
        try:
            manager = adapter.proxy_manager_for(self._settings.proxy_url)
            pool = manager.connection_from_host(
                target.host, target.port, target.scheme,
                {"ssl_context": adapter.context} if target.scheme == "https" else {},
            )  # fmt: skip
            connection = pool._get_conn()
            if target.scheme == "https":
                pool._prepare_proxy(connection)
            else:
                connection.connect()
            connection.close()
        except Unreachable as fault:
            raise self._explained(fault, target, budget) from None
        except (HTTPError, OSError, ValueError) as error:
            raise _exchange_fault(error, target, budget) from None
        finally:
            adapter.close()
        yield "connect", _since(started)

    def _explained(self, fault: Unreachable, target: Target, budget: Budget) -> Unreachable:
        """The fault with host and port, and with the date of an expired certificate."""
        facts = {"host": target.host, "port": target.port, **fault.facts}
        if fault.cause == "tls_expired" and not self._proxies:
            expired_at = self._expired_at(target, budget)
            if expired_at is not None:
                facts["expired_at"] = expired_at
        return Unreachable(fault.cause, facts, was_sent=budget.is_sending)

    def _expired_at(self, target: Target, budget: Budget) -> str | None:
        """When the certificate of a host ended (ISO 8601), by a second handshake.

        That one isn't verified, and nothing is sent over it.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            addresses = self._gate.look_up(target, budget.left(_UNVERIFIED_PEEK_SECONDS))
            with open_socket(addresses, self._gate, budget) as sock:
                sock.settimeout(budget.left(_UNVERIFIED_PEEK_SECONDS))
                with context.wrap_socket(sock, server_hostname=target.host.rstrip(".")) as tls:
                    der = tls.getpeercert(binary_form=True)
            ended = x509.load_der_x509_certificate(der or b"").not_valid_after_utc
        except (Unreachable, OSError, ValueError):
            return None
        # An intermediate one may be what expired.
        return ended.isoformat() if ended.timestamp() < time.time() else None


def _exchange_fault(error: Exception, target: Target, budget: Budget) -> Unreachable:
    cause = of_exchange(error)
    facts: dict[str, object] = {"host": target.host, "port": target.port}
    if cause == "timeout":
        facts["seconds"] = budget.patience
    return Unreachable(cause, facts, was_sent=budget.is_sending)


def _read(raw: HTTPResponse, budget: Budget) -> Reply:
    """The body, as far as it is wanted; counted as it is decoded, so that it can't explode."""
    decode = _Decoder(raw.headers.get("Content-Encoding", ""))
    body = bytearray()
    wire_bytes, is_complete = 0, True
    try:
        while len(body) <= MOST_BODY_BYTES and wire_bytes < _MOST_WIRE_BYTES:
            piece = raw.read1(8192, decode_content=False)
            if not piece:
                break
            wire_bytes += len(piece)
            body += decode(piece, MOST_BODY_BYTES + 1 - len(body))
    except (HTTPError, OSError, ValueError):
        is_complete = False
    is_truncated = len(body) > MOST_BODY_BYTES or wire_bytes >= _MOST_WIRE_BYTES
    if is_truncated or not is_complete:
        raw.close()
    raw.release_conn()
    return Reply(
        status=raw.status,
        headers=CaseInsensitiveDict(raw.headers.items()),
        body=bytes(body[:MOST_BODY_BYTES]),
        is_truncated=is_truncated,
        is_complete=is_complete,
        duration_ms=budget.elapsed_ms,
    )


class _Decoder:
    """Unpacks gzip and deflate, never more than asked for. We ask for neither; some send it."""

    def __init__(self, encoding: str) -> None:
        is_packed = encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
        # 47: zlib finds out whether the header is gzip's or its own.
        self._zlib = zlib.decompressobj(wbits=47) if is_packed else None

    def __call__(self, piece: bytes, most: int) -> bytes:
        """:raises ValueError: this is not what the header says."""
        if self._zlib is None:
            return piece[:most]
        try:
            return self._zlib.decompress(self._zlib.unconsumed_tail + piece, most)
        except zlib.error as error:
            raise ValueError(str(error)) from None


def _spelled_out(url: str, target: Target) -> str:
    """The URL with its host as it was checked, so that nothing can read it another way."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = {"http": 80, "https": 443}[target.scheme]
    netloc = host if target.port == usual else f"{host}:{target.port}"
    parts = urlsplit(url)
    return urlunsplit((target.scheme, netloc, parts.path, parts.query, ""))


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
