"""What an HTTP answer means where the LMS type says nothing else: pure. Who has an API of its own
reads that first, and asks here for the rest.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from ..checks import CONTROL
from ..transport import Reply
from ..transport.faults import Unreachable
from .base import Answer, Verdict
from .causes import place

#: Longest wait that an LMS may ask for, seconds.
LONGEST_WAIT_SECONDS = 6 * 3600.0
_MOST_CHARACTERS = 2000
_REFUSED = {
    **dict.fromkeys((400, 422), (Verdict.REFUSED, "rejected")),
    409: (Verdict.CONFLICT, "conflict"),
    413: (Verdict.TOO_LARGE, "too_large"),
}
_FAILED = {
    **dict.fromkeys((401, 403), "credentials"),
    **dict.fromkeys((404, 405, 410), "address"),
    **dict.fromkeys((407, 511), "gateway"),
    **dict.fromkeys((408, 425), "busy"),
}
#: The codes of the causes that :func:`read_reply` names; a type that uses it describes each.
CODES = (
    "rejected", "conflict", "too_large", "rate", "credentials", "address", "gateway", "busy",
    "redirect", "internal", "unexpected",
)  # fmt: skip


def read_reply(reply: Reply, url: str, words: str | None) -> Answer:
    """An answer by its status alone; any 2xx is accepted.

    :param url: where the request went.
    :param words: what it says, without secrets (:func:`said`).
    """
    status = reply.status
    facts: dict[str, Any] = {**place(url), "http_status": status, "words": words}
    if 200 <= status < 300:
        return Answer(verdict=Verdict.ACCEPTED, http_status=status)
    verdict, cause, wait = Verdict.FAILED, "unexpected", None
    if status in _REFUSED:
        verdict, cause = _REFUSED[status]
    elif status == 429 or (status == 503 and reply.headers.get("Retry-After")):
        wait = retry_after(reply.headers.get("Retry-After"), reply.headers.get("Date"))
        verdict, cause = Verdict.SLOW_DOWN, "rate"
    elif status in _FAILED:
        cause = _FAILED[status]
    elif 300 <= status < 400:
        cause = "redirect"
        facts["target"] = None if reply.is_private else redirect_target(reply.headers, url)
    elif 500 <= status < 600:
        cause = "internal"
    return Answer(
        verdict=verdict,
        cause=cause,
        http_status=status,
        words=words,
        facts=facts,
        retry_after_seconds=wait,
    )


def read_unreachable(error: Unreachable, url: str) -> Answer:
    """What it means that no status line came back."""
    return Answer(verdict=Verdict.FAILED, cause=error.cause, facts={**place(url), **error.facts})


def said(reply: Reply, secrets: Mapping[str, Any]) -> str | None:
    """What an answer says in one line, for people; None: nothing, or a secret stands in it.

    :param secrets: those that were sent.
    """
    text = reply.body.decode("utf-8", "replace")
    text = " ".join(CONTROL.sub(" ", text).split())[:_MOST_CHARACTERS]
    is_page = text.startswith("<")
    is_told = any(one.reveal() and one.reveal() in text for one in secrets.values())
    return None if not text or is_page or is_told or reply.is_private else text


def redirect_target(headers: Mapping[str, str], url: str) -> str | None:
    """Where a redirect leads, without user, query and fragment: those may hold a session. None:
    nowhere.

    :param headers: with any spelling of their names.
    :param url: where the request went.
    """
    location = next((value for name, value in headers.items() if name.lower() == "location"), "")
    try:
        parts = urlsplit(urljoin(url, location))
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return None
    is_told = location and host
    return urlunsplit((parts.scheme, host, parts.path, "", "")) if is_told else None


def retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds to wait (RFC 9110 10.2.3), at most six hours; None: not given, unreadable, or past.

    :param value: ``Retry-After``: seconds, or a date, which counts from the answer's own ``Date``
        so that no clock but the LMS's matters.
    """
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        seconds = float(text)
    else:
        until, since = http_date(text), http_date(date or "")
        if until is None or since is None:
            return None
        seconds = (until - since).total_seconds()
    return min(seconds, LONGEST_WAIT_SECONDS) if seconds > 0 else None


def http_date(text: str) -> datetime | None:
    """A date of a header (RFC 9110 5.6.7), aware; None: it is none."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment
