"""What the address of a page asks for: filters, pages of lists, dates."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

from flask import request

from ..clock import UTC
from ..models import State as DeliveryState
from ..services.deliveries import Filters


def page_number(name: str) -> int:
    """A whole number of the query, 0 when it isn't one."""
    text = request.args.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 8 else 0


def as_uuid(text: str | None) -> uuid.UUID | None:
    """An id, None when it isn't one."""
    try:
        return uuid.UUID(text or "")
    except ValueError:
        return None


def day(text: str | None) -> datetime | None:
    """Midnight UTC of an ISO date, None when it isn't one."""
    try:
        return datetime.combine(date.fromisoformat(text or ""), time(), UTC)
    except ValueError:
        return None


#: The filters that a list of deliveries carries in its address.
NAMES = (
    "configuration_id", "state", "objective_id", "participant", "reason", "since", "until",
)  # fmt: skip


def filters(values: Mapping[str, str], configuration_id: uuid.UUID | None = None) -> Filters:
    """The filters of a list of deliveries; what is malformed is left out."""
    state = values.get("state", "")
    states: tuple[DeliveryState, ...] = ()
    if state == "attention":
        states = (DeliveryState.REJECTED, DeliveryState.NOT_SENT)
    elif state in {one.value for one in DeliveryState}:
        states = (DeliveryState(state),)
    until = day(values.get("until"))
    return Filters(
        configuration_id=configuration_id or as_uuid(values.get("configuration_id")),
        states=states,
        objective_id=values.get("objective_id", "").strip()[:255] or None,
        participant=values.get("participant", "").strip()[:255] or None,
        reason=values.get("reason", "").strip()[:40] or None,
        since=day(values.get("since")),
        until=until and until + timedelta(days=1),
    )


def kept(values: Mapping[str, str]) -> dict[str, str]:
    """The filters as they were given, to be carried on."""
    return {name: values[name] for name in NAMES if values.get(name)}
