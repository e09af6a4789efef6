"""Keeps secrets out of what people read: an LMS may send back whatever we sent to it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from ...checks import CONTROL
from ...encryption import Secret

#: Most characters kept of an answer.
MOST_CHARACTERS = 2000

_HIDDEN = "•••"
_INVISIBLE = re.compile(r"<(script|style|head)\b.*?(</\1\s*>|$)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[!/?a-zA-Z][^<>]*(>|$)")
_BASIC = re.compile(r"\b(basic|bearer)(\s+|%20|\+)[A-Za-z0-9+/=_.~-]{4,}", re.IGNORECASE)


class Redactor:
    """Turns an LMS's body into words without the key, the secrets and our Authorization header.

    :param key: user name of HTTP Basic.
    :param secret: its password.
    :param more: what else nobody may read.
    """

    def __init__(
        self,
        key: str = "",
        secret: Secret | str = "",  # nosec B107 # none given
        *more: Secret | str,
    ) -> None:
        found = _spellings(key, Secret(secret)).union(
            *(_spellings("", Secret(one)) for one in more)
        )
        self._forms = sorted(found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms)), re.IGNORECASE)

    def __repr__(self) -> str:
        return "<Redactor>"

    def words(self, body: bytes, *, is_cut: bool = False) -> str | None:
        """What a body says in one line, at most 2,000 characters; None: nothing.

        :param is_cut: its end is missing, so half a secret may stand there.
        """
        text = body.decode("utf-8", "replace")
        if is_cut:
            text = self._without_half_a_secret(text)
        text = self._hide(text)
        return self.clean(_said(text))

    def scrubbed(self, body: bytes) -> bytes:
        """The same bytes, with dots where a secret stood."""
        text = body.decode("utf-8", "surrogateescape")
        return self._pattern.sub(_HIDDEN, text).encode("utf-8", "surrogateescape")

    def clean(self, text: str, *, most: int = MOST_CHARACTERS) -> str | None:
        """One line of plain text without secrets; None when nothing can be kept."""
        text = " ".join(CONTROL.sub(" ", self._hide(text)).split())
        # Joining lines may have put a secret together again.
        text = self._hide(text)[:most].strip()
        lowered = text.lower()
        if not text or any(form.lower() in lowered for form in self._forms):
            return None
        return text

    def _hide(self, text: str) -> str:
        return _BASIC.sub(rf"\1 {_HIDDEN}", self._pattern.sub(_HIDDEN, text))

    def _without_half_a_secret(self, text: str) -> str:
        for form in self._forms:
            for length in range(min(len(form) - 1, len(text)), 3, -1):
                if text[-length:].lower() == form[:length].lower():
                    return text[:-length]
        return text


def _spellings(key: str, secret: Secret) -> set[str]:
    """How they, and our header, may look in an answer."""
    pair = Secret(f"{key}:{secret.reveal()}")
    packed = [one.reveal().encode("utf-8", "replace") for one in (pair, secret) if one]
    plain = [base64.b64encode(text).decode() for text in packed]
    plain += [base64.urlsafe_b64encode(text).decode() for text in packed]
    plain += [text for text in (secret.reveal(), key) if text]
    return {form for text in plain for form in _forms(text)}


def _forms(text: str) -> Iterator[str]:
    """A secret as an answer may spell it: raw, in JSON, in HTML, in a URL."""
    yield text
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield html.escape(text)
    yield html.escape(text, quote=False)
    encodable = text.encode("utf-8", "replace")
    yield quote(encodable)
    yield quote(encodable, safe="")
    yield quote_plus(encodable)


def _said(text: str) -> str:
    """The message in an error body: JSON's usual keys, a page's text, or all of it."""
    stripped = text.strip()
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict | list):
        found = list(dict.fromkeys(_messages(value)))
        return "; ".join(found) if found else stripped
    if isinstance(value, str):
        return value
    if stripped.startswith("<"):
        return html.unescape(_TAG.sub(" ", _INVISIBLE.sub(" ", stripped)))
    return stripped


def _messages(value: Any, depth: int = 0) -> Iterator[str]:
    """Texts under the keys in which servers put what is for people."""
    items: Iterable[Any] = value if isinstance(value, list) else ()
    if depth > 4:
        return
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            yield from _messages(item, depth + 1)
    if isinstance(value, dict):
        for key in ("message", "error_description", "detail", "msg", "title", "error", "reason"):
            said = value.get(key)
            if isinstance(said, str) and said.strip():
                yield said
                break
            if isinstance(said, dict | list):
                yield from _messages(said, depth + 1)
        for key in ("warnings", "errors"):
            if isinstance(value.get(key), list):
                yield from _messages(value[key], depth + 1)
