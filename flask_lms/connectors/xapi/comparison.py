"""Whether a stored statement is the one that was sent (xAPI 1.0.3 Data 2.3.1): pure.

An LRS may add ``stored``, ``authority`` and ``version``, spell times, numbers and ids otherwise,
make lists of what may stand alone, and merge names and descriptions of activities, verbs and
people: none of that is a difference.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?"
    r"(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d+)?)S)?)?"
)
#: Seconds of each part; months and years only compare with their like.
_SECONDS = (31_557_600, 2_629_800, 604_800, 86_400, 3_600, 60, 1)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field in which the two differ.

    :param name: such as ``result.success``.
    :param sent: what was sent; None: nothing.
    :param stored: what is stored; None: nothing.
    :param is_core: it says who did what, when, and with which success.
    """

    name: str
    sent: Any
    stored: Any
    is_core: bool


def is_same(ours: Any, stored: Any) -> bool | None:
    """Whether it is what matters to a learner's record; an LRS may rewrite the rest.

    :returns: None when ``stored`` is no statement with our id.
    """
    if not isinstance(ours, dict) or not has_id(stored, ours.get("id")):
        return None
    return not any(one.is_core for one in differences(ours, stored))


def has_id(stored: Any, id: object) -> bool:
    """Whether it is a statement with this id."""
    return isinstance(stored, dict) and str(stored.get("id", "")).lower() == str(id).lower()


def differences(ours: Mapping[str, Any], stored: Mapping[str, Any]) -> list[Difference]:
    """The fields in which a stored statement differs from what was sent.

    Only what was sent is looked for, but in ``result``, to which nothing may be added.
    """
    left, right = dict(_fields(ours)), dict(_fields(stored))
    found = []
    for name in {**left, **right}:
        (mine, shown, is_core), (other, seen, _) = (
            side.get(name, (None, None, _is_core(name))) for side in (left, right)
        )
        is_added = name not in left and not name.startswith("result.")
        if mine != other and not is_added:
            found.append(Difference(name=name, sent=shown, stored=seen, is_core=is_core))
    return found


def likeness(statement: Mapping[str, Any]) -> str:
    """The same for two statements that tell of the same, whatever their ids."""
    core = {
        name: repr(value)
        for name, (value, _, is_core) in _fields(statement)
        if is_core or name == "context.registration"
    }
    return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()[:32]


def _is_core(name: str) -> bool:
    return (
        not name.startswith("context.")
        and name.count("extensions.") == 0
        and name
        not in (
            "result.duration",
            "result.response",
        )
    )


def _fields(statement: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any, bool]]]:
    """Name → (what is compared, what is shown, whether it is of the core), of what is there."""
    actor, context = _object(statement.get("actor")), _object(statement.get("context"))
    result = _object(statement.get("result"))
    person = _person(actor)
    found: dict[str, tuple[Any, Any]] = {"actor": (person, " ".join(filter(None, person)))}
    for part in ("verb", "object"):
        id = _object(statement.get(part)).get("id")
        # A reference to a statement is an id, which has no case.
        is_reference = _object(statement.get(part)).get("objectType") == "StatementRef"
        found[part] = (str(id).lower() if is_reference else str(id), id)
    at, spent = statement.get("timestamp"), result.get("duration")
    found["timestamp"] = (moment(at) or at, at)
    found["result.duration"] = (_seconds(spent), spent)
    for name in ("success", "completion", "response"):
        # As 1 is equal to True.
        found[f"result.{name}"] = (repr(result.get(name)), result.get(name))
    for name, value in _object(result.get("score")).items():
        found[f"result.score.{name}"] = (_number(value), value)
    for name in ("registration", "platform", "language", "revision"):
        value = context.get(name)
        found[f"context.{name}"] = (
            str(value).lower() if name == "registration" else value,
            value,
        )
    reference = _object(context.get("statement")).get("id")
    found["context.statement"] = (str(reference).lower(), reference)
    for name, value in _object(context.get("contextActivities")).items():
        activities = value if isinstance(value, list) else [value]
        ids = sorted(str(_object(one).get("id")) for one in activities)
        found[f"context.contextActivities.{name}"] = (ids, ", ".join(ids))
    for part, whole in (("result", result), ("context", context)):
        for iri, value in _object(whole.get("extensions")).items():
            # null is a value, and differs from none.
            found[f"{part}.extensions.{iri}"] = ([value], "null" if value is None else value)
    for name, (compared, shown) in found.items():
        if shown is not None:
            yield name, (compared, shown, _is_core(name))


def _number(value: Any) -> Any:
    """As some store it in decimals."""
    try:
        return value if isinstance(value, bool) else round(float(value), 9)
    except (TypeError, ValueError, OverflowError):
        return value


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


def moment(text: Any) -> datetime | None:
    """A time in milliseconds, however it is spelled; None: it is none."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:?\d\d)?", str(text)
    )
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        found = datetime.fromisoformat(f"{day}T{clock}+00:00")
        if zone and zone not in "Zz":
            hours, minutes = int(zone[1:3]), int(zone[-2:])
            offset = timedelta(hours=hours, minutes=minutes)
            found -= offset if zone[0] == "+" else -offset
        return found + timedelta(milliseconds=int(((fraction or "") + "000")[:3]))
    except (ValueError, OverflowError):
        return None


def _seconds(text: Any) -> Any:
    """A duration in hundredths of a second (Data 4.6); the text itself if it can't be read."""
    match = _DURATION.fullmatch(str(text))
    if match is None or str(text) in ("P", "PT"):
        return text
    parts = [float((part or "0").replace(",", ".")) for part in match.groups()]
    return round(sum(part * size for part, size in zip(parts, _SECONDS, strict=True)) * 100)
