"""Why no answer came: every exception of the layers below as one :class:`Unreachable`."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Literal

from urllib3 import exceptions as urllib3_errors

from ..errors import LMSError

#: How far an exchange has come: until the socket is up (a proxy's tunnel too), the handshake, and
#: what comes after.
Phase = Literal["connect", "tls", "sent"]

# OpenSSL's X509_V_ERR_* numbers, as in ``SSLCertVerificationError.verify_code``.
_HAS_EXPIRED = 10
_WRONG_NAME = frozenset({62, 64})
_NOT_YET_VALID = 9


class Unreachable(LMSError):
    """No HTTP status line came back.

    :param cause: a code of ``connectors.causes.TRANSPORT_CAUSES``.
    :param facts: ``host``, ``port`` and what else is known; plain JSON values.
    :param was_sent: the request may have reached the LMS.
    """

    def __init__(
        self, cause: str, facts: dict[str, Any] | None = None, *, was_sent: bool = False
    ) -> None:
        self.cause = cause
        self.facts = dict(facts or {})
        self.was_sent = was_sent
        where = self.facts.get("host", "the LMS")
        super().__init__(f"no answer from {where}: {cause}")


class TooMuchHeader(http.client.HTTPException):
    """The head of an answer is larger than any LMS's."""


def cause_of(error: BaseException, phase: Phase, *, is_proxied: bool = False) -> str:
    """The cause in whatever an exchange raised.

    :param phase: how far it had come.
    :param is_proxied: what is connected to is the operator's own proxy.
    """
    links = list(_chain(error))

    def has(*types: type[BaseException]) -> bool:
        return any(isinstance(link, types) for link in links)

    if phase == "connect" and is_proxied:
        # What it doesn't let through, and that it is down. A tunnel may also lead to a slow LMS.
        return "timeout" if has(urllib3_errors.ReadTimeoutError) else "proxy"
    if phase == "connect":
        if has(socket.gaierror, urllib3_errors.LocationValueError, UnicodeError):
            return "dns"
        # What the last address tried said is innermost.
        last = next((link for link in reversed(links) if isinstance(link, OSError)), OSError())
        if isinstance(last, TimeoutError):
            return "connect_timeout"
        if isinstance(last, ConnectionRefusedError):
            return "refused"
        # ENOTCONN: it was closed again before it could be looked at.
        is_cut = isinstance(last, ConnectionError) or last.errno == errno.ENOTCONN
        return "reset" if is_cut else "unreachable"
    if phase == "tls":
        for link in links:
            if isinstance(link, ssl.SSLCertVerificationError):
                if link.verify_code == _HAS_EXPIRED:
                    return "tls_expired"
                if link.verify_code in _WRONG_NAME:
                    return "tls_name"
                return "tls" if link.verify_code == _NOT_YET_VALID else "tls_untrusted"
        return "timeout" if has(TimeoutError) else "tls"
    if has(TimeoutError, urllib3_errors.TimeoutError):
        return "timeout"
    # RemoteDisconnected is a BadStatusLine as well as a ConnectionError, so this comes first.
    if has(ConnectionError, http.client.IncompleteRead):
        return "reset"
    if has(ssl.SSLError, urllib3_errors.SSLError):
        return "tls"
    if has(http.client.HTTPException, urllib3_errors.InvalidHeader, UnicodeError):
        return "not_http"
    return "reset" if has(OSError) else "not_http"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that are inside it; requests and urllib3 wrap in several ways."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inside = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        waiting.extend(item for item in inside if isinstance(item, BaseException))
