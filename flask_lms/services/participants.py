"""Erasing one participant, and handing out all that is kept of one (GDPR, articles 15 and 17)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..app_state import AppState
from ..audit import By, change
from ..database.models import (
    Attempt,
    Audit,
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
    Incident,
    Mail,
    ParticipantMapping,
    ReadBack,
)
from ..database.types import by_id, exactly, update
from ..errors import InvalidValue

_CHUNK = 500
_GONE = "•••"
#: Shorter words stand in too many texts that speak of somebody else.
_SHORTEST = 3


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What :func:`forget` did.

    :param deliveries: those that told of the participant.
    :param cancelled: those among them that waited, or could not be sent.
    :param copies: names of the configurations whose LMS may hold statements about the participant:
        ask there for their erasure.
    """

    deliveries: int
    cancelled: int
    copies: tuple[str, ...]


def forget(state: AppState, organization_id: str, participant_id: str, by: By = None) -> Forgotten:
    """Erase a participant from every row; what waits is cancelled.

    A row without the person stays, so that numbers keep being true and the same results, handed in
    once more, are not recorded again: ids are kept as keyed hashes. Can be run again at any time.

    :raises InvalidValue: the id is empty, which would be that of rows without a person.
    """
    if not participant_id:
        raise InvalidValue("participant_id", participant_id, "must not be empty")
    session = state.session
    of_them = sa.and_(
        exactly(Delivery.organization_id, organization_id),
        exactly(Delivery.participant_id, participant_id),
    )
    now = state.clock.now(session())
    [digest, *older] = state.encryption.digests(f"participant {participant_id}")
    needles, ids = {participant_id}, set[str]()
    # What they are mapped to goes; what stands for them keeps an upload from mapping them again.
    keys = {
        one: ParticipantMapping.key_of(organization_id, one)
        for one in (participant_id, digest, *older)
    }
    here = {
        row.participant_key: row
        for row in session.scalars(
            sa.select(ParticipantMapping).where(
                ParticipantMapping.participant_key.in_(keys.values())
            )
        )
    }
    if mapping := here.pop(keys[participant_id], None):
        named = (mapping.email, mapping.name, mapping.account_name)
        needles |= {one for one in named if one and len(one) >= _SHORTEST}
        session.delete(mapping)
    if not here:
        session.add(
            ParticipantMapping(
                organization_id=organization_id,
                participant_id=digest,
                participant_key=keys[digest],
                mapped_at=now,
                forgotten_at=now,
            )
        )
    session.commit()
    copies: dict[Any, str] = {}
    cancelled = 0
    query: Any = sa.select(Delivery, Configuration.name).join(
        Configuration, Configuration.id == Delivery.configuration_id
    )
    for rows in by_id(session, query.where(of_them), Delivery.id, _CHUNK):
        for row, name, _ in rows:
            needles |= _names(row)
            ids.add(row.id.hex)
            waits = row.state in (DeliveryState.PENDING, DeliveryState.NOT_SENT)
            if row.attempts or row.state is DeliveryState.DELIVERED:
                copies[row.configuration_id] = name
            values: dict[str, Any] = {
                "participant_id": digest,
                "participant_name": None,
                "outcome": None,
                "score": None,
                "result_id": state.encryption.digests(f"result {row.result_id}")[0],
                "statement": None,
                "result": None,
                "reason_words": None,
                "settled_by": None,
                "read_back_facts": sa.null(),
            }
            if waits:
                cancelled += 1
                values |= {
                    "state": DeliveryState.CANCELLED,
                    "reason": "forgotten",
                    "settled_at": now,
                }
            update(
                session,
                sa.update(Delivery).where(Delivery.id == row.id).values(**values),
            )
        session.commit()

    # What LMSs said about these requests may name the person; elsewhere, whatever does.
    of_organization = sa.select(Configuration.id).where(
        exactly(Configuration.organization_id, organization_id)
    )
    answers = sa.select(Attempt).where(
        Attempt.configuration_id.in_(of_organization), Attempt.words.is_not(None)
    )
    for rows in by_id(session, answers, Attempt.id, _CHUNK):
        for attempt, _ in rows:
            if ids & set(attempt.delivery_ids.split(",")) or _names_one(attempt.words, needles):
                attempt.words = None
        session.commit()
    owned: Sequence[tuple[Any, Any, tuple[str, ...]]] = (
        (Incident, Incident.id, ("facts",)),
        (Mail, Mail.id, ("facts", "reason", "subject")),
        (Audit, Audit.id, ("changes",)),
    )
    for model, key, columns in owned:
        found = sa.select(model).where(exactly(model.organization_id, organization_id))
        for rows in by_id(session, found, key, _CHUNK):
            for one, _ in rows:
                _scrub_columns(one, columns, needles)
            session.commit()
    for health in session.scalars(
        sa.select(ConfigurationHealth).where(
            ConfigurationHealth.configuration_id.in_(of_organization)
        )
    ):
        _scrub_columns(health, ("facts",), needles)
    others = sa.select(Delivery).where(
        exactly(Delivery.organization_id, organization_id),
        sa.or_(Delivery.reason_words.is_not(None), Delivery.read_back_facts.is_not(None)),
    )
    for rows in by_id(session, others, Delivery.id, _CHUNK):
        for one, _ in rows:
            _scrub_columns(one, ("reason_words", "read_back_facts"), needles)
        session.commit()
    report = Forgotten(
        deliveries=len(ids), cancelled=cancelled, copies=tuple(sorted(copies.values()))
    )
    with change(state, by) as made:
        facts = {"deliveries": report.deliveries, "cancelled": report.cancelled}
        made.note("participant_forgotten", None, facts, organization_id=organization_id)
    return report


def export(state: AppState, organization_id: str, participant_id: str) -> dict[str, Any]:
    """All that is kept of a participant, as JSON values."""
    session = state.session
    query = sa.select(Delivery).where(
        exactly(Delivery.organization_id, organization_id),
        exactly(Delivery.participant_id, participant_id),
    )
    deliveries = session.scalars(query.order_by(Delivery.id)).all()
    ids = {row.id.hex for row in deliveries}
    names = {
        one.id: one.name
        for one in session.scalars(
            sa.select(Configuration).where(exactly(Configuration.organization_id, organization_id))
        )
    }
    attempts = session.scalars(
        sa.select(Attempt)
        .where(Attempt.configuration_id.in_({row.configuration_id for row in deliveries}))
        .order_by(Attempt.id)
    )
    mapping = session.scalar(
        sa.select(ParticipantMapping).where(
            ParticipantMapping.participant_key
            == ParticipantMapping.key_of(organization_id, participant_id)
        )
    )
    told = [one for one in attempts if ids & set(one.delivery_ids.split(","))]
    return {
        "organization_id": organization_id,
        "participant_id": participant_id,
        "mapping": mapping
        and {
            "email": mapping.email,
            "name": mapping.name,
            "account_name": mapping.account_name,
            "account_home_page": mapping.account_home_page,
            "mapped_at": mapping.mapped_at.isoformat(),
            "mapped_by": mapping.mapped_by,
        },
        "deliveries": [
            {
                **_plain(row),
                "configuration": names.get(row.configuration_id),
                "statement": json.loads(row.statement) if row.statement else None,
            }
            for row in deliveries
        ],
        "answers": [
            {
                "configuration": names.get(one.configuration_id),
                "at": one.started_at.isoformat(),
                "http_status": one.http_status,
                "words": one.words,
            }
            for one in told
        ],
    }


def _plain(row: Delivery) -> dict[str, Any]:
    found = {column.key: getattr(row, column.key) for column in sa.inspect(Delivery).column_attrs}
    return {
        key: value.value
        if isinstance(value, DeliveryState | ReadBack)
        else value
        if value is None or isinstance(value, str | int | dict)
        else str(value)
        for key, value in found.items()
    }


def _names(row: Delivery) -> set[str]:
    """How a delivery names its participant: their name, addresses and accounts."""
    found: list[Any] = [row.participant_name]
    actor = (json.loads(row.statement) if row.statement else {}).get("actor") or {}
    found += [actor.get("name"), str(actor.get("mbox") or "").removeprefix("mailto:")]
    found.append((actor.get("account") or {}).get("name"))
    person = (row.result or {}).get("participant")
    if isinstance(person, Mapping):
        found += [person.get("name"), person.get("email"), person.get("account_name")]
    return {one for one in found if isinstance(one, str) and len(one) >= _SHORTEST}


def _names_one(text: str | None, needles: set[str]) -> bool:
    lowered = (text or "").casefold()
    return any(needle.casefold() in lowered for needle in needles)


def _scrub_columns(row: Any, columns: Sequence[str], needles: set[str]) -> None:
    for column in columns:
        old = getattr(row, column)
        if (new := _scrubbed(old, needles)) != old:
            setattr(row, column, new)


def _scrubbed(value: Any, needles: set[str]) -> Any:
    """A JSON value without the texts that name somebody."""
    if isinstance(value, str):
        return _GONE if _names_one(value, needles) else value
    if isinstance(value, Mapping):
        return {key: _scrubbed(one, needles) for key, one in value.items()}
    if isinstance(value, list):
        return [_scrubbed(one, needles) for one in value]
    return value
