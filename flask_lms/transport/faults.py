"""Why no answer came: every exception of the layers below as one :class:`Unreachable`."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from urllib3 import exceptions as urllib3_errors

from ..errors import LMSError

# OpenSSL's X509_V_ERR_* numbers, as in ``SSLCertVerificationError.verify_code``.
_HAS_EXPIRED = 10
_WRONG_NAME = frozenset({62, 64})
_NOT_YET_VALID = 9

_NOT_HTTP = (
    http.client.BadStatusLine,
    http.client.LineTooLong,
    http.client.UnknownProtocol,
    urllib3_errors.InvalidHeader,
    UnicodeError,
)
_CUT = (
    http.client.RemoteDisconnected,
    http.client.IncompleteRead,
    urllib3_errors.IncompleteRead,
    ConnectionError,
)


class Unreachable(LMSError):
    """No HTTP status line came back.

    :param cause: a code of ``connectors.base.TRANSPORT_CAUSES``.
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


def of_connecting(error: OSError) -> str:
    """The cause in a failed TCP connection, by what the last address tried said."""
    last = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(last, TimeoutError) or last.errno == errno.ETIMEDOUT:
        return "connect_timeout"
    if isinstance(last, ConnectionRefusedError):
        return "refused"
    # ENOTCONN: it was closed again before it could be looked at.
    is_cut = isinstance(last, ConnectionError) or last.errno == errno.ENOTCONN
    return "reset" if is_cut else "unreachable"


def of_tls(error: BaseException) -> str:
    """The cause in a failed TLS handshake."""
    for link in _chain(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            if link.verify_code == _HAS_EXPIRED:
                return "tls_expired"
            if link.verify_code in _WRONG_NAME:
                return "tls_name"
            return "tls" if link.verify_code == _NOT_YET_VALID else "tls_untrusted"
        if isinstance(link, TimeoutError):
            return "timeout"
    return "tls"


def of_exchange(error: BaseException) -> str:
    """The cause in whatever sending a request or reading the head of its answer raised."""
    links = list(_chain(error))
    kinds: list[tuple[str, tuple[type[BaseException], ...]]] = [
        ("timeout", (TimeoutError, urllib3_errors.TimeoutError)),
        ("proxy", (urllib3_errors.ProxyError,)),
        # RemoteDisconnected is a BadStatusLine as well as a ConnectionError.
        ("reset", _CUT),
        ("tls", (ssl.SSLError, urllib3_errors.SSLError)),
        ("not_http", (*_NOT_HTTP, http.client.HTTPException)),
        ("dns", (socket.gaierror, urllib3_errors.LocationValueError)),
    ]
    for cause, types in kinds:
        if any(isinstance(link, types) for link in links):
            return cause
    return "reset" if any(isinstance(link, OSError) for link in links) else "not_http"


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
