"""Whether a stored statement is the one we sent (xAPI 1.0.3 Data 2.3.1): pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any


def is_same(ours: Any, stored: Any) -> bool | None:
    """Compare what matters to a learner's record; an LRS may add to or rewrite the rest.

    :returns: None when ``stored`` is no statement with our id.
    """
    if not isinstance(ours, dict) or not isinstance(stored, dict):
        return None
    if str(stored.get("id", "")).lower() != str(ours.get("id", "")).lower():
        return None
    return _core(ours) == _core(stored)


def _core(statement: dict[str, Any]) -> tuple[Any, ...]:
    result = _object(statement.get("result"))
    score = _object(result.get("score"))
    return (
        _person(_object(statement.get("actor"))),
        _object(statement.get("verb")).get("id"),
        str(_object(statement.get("object")).get("id")),
        result.get("success"),
        result.get("completion"),
        tuple(score.get(name) for name in ("scaled", "raw", "min", "max")),
        _instant(statement.get("timestamp")),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _person(actor: dict[str, Any]) -> tuple[str, ...]:
    account = _object(actor.get("account"))
    return (
        str(actor.get("mbox", "")).lower(),
        str(actor.get("mbox_sha1sum", "")).lower(),
        str(account.get("homePage", "")),
        str(account.get("name", "")),
    )


def _instant(text: Any) -> Any:
    """The moment in milliseconds, however it is spelled; the text itself if it can't be read."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:?\d\d)?", str(text)
    )
    if match is None:
        return text
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
        if zone and zone not in "Zz":
            hours, minutes = int(zone[1:3]), int(zone[-2:])
            offset = timedelta(hours=hours, minutes=minutes)
            moment -= offset if zone[0] == "+" else -offset
    except (ValueError, OverflowError):
        return text
    milliseconds = int(((fraction or "") + "000")[:3])
    return moment.astimezone(timezone.utc), milliseconds
