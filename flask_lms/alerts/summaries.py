"""Results that were rejected or not sent: one mail a day for a configuration, counts only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..database.models import Configuration, Delivery, DeliveryState, Incident, Mail
from . import incidents, queue, rules
from .rules import Kind

KIND = "results"
_NEWS = (DeliveryState.REJECTED, DeliveryState.NOT_SENT)
_MOST_REASONS = 5


def look_for_results(
    state: AppState, session: Session, window: incidents.Window, now: datetime
) -> None:
    """Open an incident for each configuration with news; what it tells is collected for a while."""
    news = session.execute(
        sa.select(Delivery.configuration_id, sa.func.min(Delivery.settled_at))
        .join(Configuration, Configuration.id == Delivery.configuration_id)
        .where(
            Configuration.deleted_at.is_(None),
            Delivery.settled_at > window.since,
            Delivery.settled_at <= window.until,
            Delivery.state.in_(_NEWS),
        )
        .group_by(Delivery.configuration_id)
    ).all()
    for configuration_id, first_at in news:
        configuration = session.get(Configuration, configuration_id)
        assert configuration is not None
        if incidents.find_open(session, incidents.key_of(configuration, KIND)) is None:
            incidents.open_for(
                session,
                configuration,
                KIND,
                first_at or now,
                facts={"until": window.since.isoformat()},
                next_mail_at=now + rules.RESULTS_PATIENCE,
            )


def decide(
    state: AppState,
    session: Session,
    configuration: Configuration,
    incident: Incident,
    now: datetime,
) -> None:
    """Tell what came since the last mail, or end the incident when a day brought nothing new."""
    since = datetime.fromisoformat(incident.facts["until"])
    until = now - incidents.LAG
    counts = _counts(session, configuration, since, until)
    if not counts:
        incidents.close(session, incident, now)
        return
    incident.facts = {**incident.facts, "until": until.isoformat()}
    incident.announced_at = incident.announced_at or now
    incident.next_mail_at = now + rules.DAY
    queue.queue(
        state,
        session,
        kind=Kind.RESULTS,
        facts={
            "configuration_id": str(configuration.id),
            "name": configuration.name,
            "type": configuration.type,
            "since": max(since, incident.opened_at).isoformat(),
            "rejected": sum(n for state, _, n in counts if state == DeliveryState.REJECTED.value),
            "not_sent": sum(n for state, _, n in counts if state == DeliveryState.NOT_SENT.value),
            "reasons": counts[:_MOST_REASONS],
            "at": now.isoformat(),
        },
        now=now,
        configuration=configuration,
        incident=incident,
    )


def _counts(
    session: Session, configuration: Configuration, since: datetime, until: datetime
) -> list[list[Any]]:
    """``[state, reason, how many]``, the most frequent first."""
    found = session.execute(
        sa.select(Delivery.state, Delivery.reason, sa.func.count())
        .where(
            Delivery.configuration_id == configuration.id,
            Delivery.settled_at > since,
            Delivery.settled_at <= until,
            Delivery.state.in_(_NEWS),
        )
        .group_by(Delivery.state, Delivery.reason)
    ).all()
    counts = [[state.value, reason or "", n] for state, reason, n in found]
    return sorted(counts, key=lambda row: (-row[2], row[1]))


# -- What had no room under the day's caps is told in one mail as soon as there is room.

CAPPED = ("cap_address", "cap_configuration")
#: Collected for so long, and no longer told after so long.
_PATIENCE = timedelta(minutes=10)
_OLDEST = timedelta(days=8)
_MOST_ITEMS = 40


def look_for_digests(
    state: AppState, session: Session, window: incidents.Window, now: datetime
) -> None:
    """Send each address whose mails had no room a digest of them, at most one a day."""
    waiting = session.scalars(
        sa.select(Mail)
        .where(
            Mail.state == "skipped",
            Mail.due_at > now - _OLDEST,
            Mail.due_at <= now - _PATIENCE,
            Mail.reason.in_(CAPPED),
        )
        .order_by(Mail.id)
        .limit(2000)
    ).all()
    groups: dict[tuple[str, str | None], list[Mail]] = {}
    for mail in waiting:
        groups.setdefault((mail.recipient, mail.organization_id), []).append(mail)
    for (recipient, organization_id), mails in groups.items():
        if _had_digest(session, recipient, organization_id, now):
            continue
        told = [mail for mail in mails if _may_tell(session, mail, now)]
        if told and queue.room(session, told[0], now).refusal(Kind.DIGEST) is None:
            _queue(state, session, recipient, organization_id, told, now)


def _had_digest(
    session: Session, recipient: str, organization_id: str | None, now: datetime
) -> bool:
    return bool(
        session.scalar(
            sa.select(sa.func.count()).where(
                Mail.recipient == recipient,
                Mail.organization_id == organization_id,
                Mail.kind == Kind.DIGEST.value,
                Mail.created_at > now - rules.DAY,
            )
        )
    )


def _may_tell(session: Session, mail: Mail, now: datetime) -> bool:
    """Whether there is room again, and the address may still be told."""
    if mail.configuration_id is None:
        return True
    configuration = session.get(Configuration, mail.configuration_id)
    reason = queue.objection(configuration, mail.recipient)
    if reason is not None:
        mail.reason = reason
        return False
    if mail.reason == "cap_address":
        return True
    return queue.room(session, mail, now).configuration < rules.CONFIGURATION_CAP


def _queue(
    state: AppState,
    session: Session,
    recipient: str,
    organization_id: str | None,
    mails: Iterable[Mail],
    now: datetime,
) -> None:
    mails = list(mails)
    items = [
        [mail.facts.get("name") or "", mail.subject, mail.created_at.isoformat()]
        for mail in mails[-_MOST_ITEMS:]
    ]
    queue.queue(
        state,
        session,
        kind=Kind.DIGEST,
        facts={
            "items": items,
            "count": len(mails),
            "since": mails[0].created_at.isoformat(),
            "at": now.isoformat(),
        },
        now=now,
        recipients=[recipient],
        organization_id=organization_id,
        language=mails[0].language,
    )
    for mail in mails:
        mail.reason = "in_digest"
