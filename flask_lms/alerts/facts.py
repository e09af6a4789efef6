"""What a mail may tell of a cause: names and numbers, never an answer's words or a learner."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

#: Facts that quote an answer or name a participant.
_NEVER = {"words", "body", "email", "participant", "participant_id", "name"}
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_LONGEST = 200


def clean(text: str) -> str:
    """One line without control characters, at most 200 long."""
    text = _UNSEEN.sub(" ", text.encode("utf-8", "replace").decode()).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def plain(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """The facts of a cause as they go into a mail row.

    An address loses its user name, query and fragment: they may hold a secret.
    """
    kept: dict[str, Any] = {}
    for name, value in (facts or {}).items():
        if name in _NEVER or isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            kept[name] = value
        elif isinstance(value, str):
            kept[name] = clean(_without_secrets(value))
    return kept


def _without_secrets(text: str) -> str:
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return text.split("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
