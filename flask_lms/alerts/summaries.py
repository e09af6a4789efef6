"""What is told in sums, at most once a day: results with a problem, and mails over the quota."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..database.models import Configuration, Delivery, DeliveryState, Incident, Mail
from . import incidents, queue, rules
from .rules import Kind

#: The kind of an incident: results of a configuration were rejected or not sent.
KIND = "results"
_NEWS = (DeliveryState.REJECTED, DeliveryState.NOT_SENT)
_MOST_REASONS = 5
#: Mails over the quota are collected for so long, and no longer told after so long.
_PATIENCE = timedelta(minutes=10)
_OLDEST = timedelta(days=8)
_MOST_ITEMS = 40


def _is_news(state: AppState) -> sa.ColumnElement[bool]:
    """What waits for an event is in order, and nobody is mailed about it."""
    is_in_order = Delivery.reason.in_(state.registry.waiting())
    return sa.and_(
        Delivery.state.in_(_NEWS), sa.or_(Delivery.reason.is_(None), sa.not_(is_in_order))
    )


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
            _is_news(state),
        )
        .group_by(Delivery.configuration_id)
    ).all()
    for configuration_id, first_at in news:
        configuration = session.get(Configuration, configuration_id)
        assert configuration is not None
        key = incidents.key_of(configuration, KIND)
        if incidents.find_open(session, key) is None:
            incidents.open_once(
                session,
                key,
                configuration,
                kind=KIND,
                opened_at=first_at or now,
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
    found = session.execute(
        sa.select(Delivery.state, Delivery.reason, sa.func.count())
        .where(
            Delivery.configuration_id == configuration.id,
            Delivery.settled_at > since,
            Delivery.settled_at <= until,
            _is_news(state),
        )
        .group_by(Delivery.state, Delivery.reason)
    ).all()
    if not found:
        incidents.close(session, incident, now)
        return
    most_first = sorted(found, key=lambda row: (-row[2], row[1] or ""))
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
            "rejected": sum(n for what, _, n in found if what is DeliveryState.REJECTED),
            "not_sent": sum(n for what, _, n in found if what is DeliveryState.NOT_SENT),
            "reasons": [
                [what.value, reason or "", n] for what, reason, n in most_first[:_MOST_REASONS]
            ],
            "at": now.isoformat(),
        },
        now=now,
        configuration=configuration,
        incident=incident,
    )


def look_for_digests(state: AppState, session: Session, now: datetime) -> None:
    """Send each address whose mails were over the quota a digest of them, at most one a day."""
    over = session.scalars(
        sa.select(Mail)
        .where(
            Mail.state == "skipped",
            Mail.due_at > now - _OLDEST,
            Mail.due_at <= now - _PATIENCE,
            Mail.reason.in_(("cap_address", "cap_configuration")),
        )
        .order_by(Mail.id)
        .limit(2000)
    ).all()
    groups: dict[tuple[str, str | None], list[Mail]] = {}
    for mail in over:
        groups.setdefault((mail.recipient, mail.organization_id), []).append(mail)
    for (recipient, organization_id), mails in groups.items():
        had_one = session.scalar(
            sa.select(sa.func.count()).where(
                Mail.recipient == recipient,
                Mail.organization_id == organization_id,
                Mail.kind == Kind.DIGEST.value,
                Mail.created_at > now - rules.DAY,
            )
        )
        if had_one:
            continue
        told = []
        for mail in mails:
            objection = None
            if mail.configuration_id is not None:
                configuration = session.get(Configuration, mail.configuration_id)
                objection = queue.objection(configuration, mail.recipient)
            if objection is not None:
                mail.reason = objection
            elif (
                mail.configuration_id is None
                or mail.reason == "cap_address"
                or queue.quota(session, mail, now).configuration < rules.CONFIGURATION_CAP
            ):
                told.append(mail)
        if not told or queue.quota(session, told[0], now).refusal(Kind.DIGEST) is not None:
            continue
        queue.queue(
            state,
            session,
            kind=Kind.DIGEST,
            facts={
                "items": [
                    [mail.facts.get("name") or "", mail.subject, mail.created_at.isoformat()]
                    for mail in told[-_MOST_ITEMS:]
                ],
                "count": len(told),
                "since": told[0].created_at.isoformat(),
                "at": now.isoformat(),
            },
            now=now,
            recipients=[recipient],
            organization_id=organization_id,
            language=told[0].language,
        )
        for mail in told:
            mail.reason = "in_digest"
