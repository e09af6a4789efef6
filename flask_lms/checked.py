"""How host values check themselves: one field at a time, each with its rule in words."""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from .errors import InvalidResult

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LANGUAGE = re.compile(
    r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-[A-Za-z0-9]{4,8})*"
)
#: A whole number beyond it would be no number to JSON readers; NaN isn't within it either.
_LARGEST = sys.float_info.max


class Checked:
    """Helpers that check one field and put its clean form in place."""

    def _refuse(self, name: str, rule: str) -> typing.NoReturn:
        raise InvalidResult(f"{type(self).__name__}.{name}", getattr(self, name), rule)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _id(self, name: str) -> None:
        value = getattr(self, name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self._refuse(name, "must be a str (an int is cast)")
        if not value.strip() or len(value) > 255 or _CONTROL.search(value):
            self._refuse(name, "must have 1 to 255 characters and no control characters")
        self._set(name, value)

    def _text(self, name: str, *, most: int = 255, required: bool = False) -> None:
        value = getattr(self, name)
        if value is None and not required:
            return
        if not isinstance(value, str):
            self._refuse(name, "must be a str")
        value = " ".join(_CONTROL.sub(" ", value).split())
        if required and not value:
            self._refuse(name, "must not be empty")
        self._set(name, value[:most] or None)

    def _flag(self, name: str, *, optional: bool = False) -> None:
        value = getattr(self, name)
        if not (isinstance(value, bool) or (optional and value is None)):
            self._refuse(
                name, "must be True, False or None" if optional else "must be True or False"
            )

    def _time(self, name: str, *, required: bool = False) -> None:
        value = getattr(self, name)
        if value is None and not required:
            return
        if not isinstance(value, datetime):
            self._refuse(name, "must be a datetime")
        if value.tzinfo is None or value.utcoffset() is None:
            self._refuse(name, "must be aware, such as datetime.now(timezone.utc), not naive")

    def _whole(self, name: str, least: int, most: int, *, required: bool = False) -> None:
        value = getattr(self, name)
        if value is None and not required:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            self._refuse(name, "must be an int")
        if not least <= value <= most:
            self._refuse(name, f"must be from {least} to {most}")

    def _number(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= _LARGEST:
            self._refuse(name, "must be a finite number")

    def _iri(self, name: str) -> None:
        value = getattr(self, name)
        if value is not None and not is_absolute_iri(value):
            self._refuse(
                name, "must be an absolute IRI without spaces, such as https://host.example/a"
            )

    def _language(self, name: str, *, required: bool = False) -> None:
        value = getattr(self, name)
        if value is None and not required:
            return
        if not isinstance(value, str) or not _LANGUAGE.fullmatch(value):
            self._refuse(name, "must be a BCP 47 language tag, such as en or en-US")

    def _many(self, name: str, kind: type) -> None:
        value = getattr(self, name)
        if isinstance(value, str) or not isinstance(value, Sequence):
            self._refuse(name, f"must be a list of {kind.__name__}")
        if any(not isinstance(item, kind) for item in value):
            self._refuse(name, f"must hold nothing but {kind.__name__}")
        self._set(name, tuple(value))


def is_absolute_iri(value: object) -> bool:
    """Whether ``value`` is an absolute IRI that an LRS accepts (RFC 3987, at most 2,000)."""
    if not isinstance(value, str) or not 3 < len(value) <= 2000:
        return False
    if re.search(r"[\s<>\"{}|\\^`]", value) or _CONTROL.search(value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", parts.scheme):
        return False
    is_web = parts.scheme in ("http", "https")
    return bool(parts.netloc or (parts.path and not is_web))


def is_json(value: object, depth: int = 0) -> bool:
    if depth > 20:
        return False
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST
    if isinstance(value, str):
        return not re.search(r"[\x00\ud800-\udfff]", value)
    if isinstance(value, list | tuple):
        return all(is_json(item, depth + 1) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and is_json((k, v), depth) for k, v in value.items())
    return value is None


def plain(value: object) -> Any:
    """A value as dicts and lists of its own, which nobody changes later; times as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
