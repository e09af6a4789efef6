"""What had no room under the day's caps is told in one mail as soon as there is room."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..models import Configuration, Mail
from ..state import State
from . import outbox, rules, scan
from .rules import Kind

CAPPED = ("cap_address", "cap_configuration")
#: Collected for so long, and no longer told after so long.
_PATIENCE = timedelta(minutes=10)
_OLDEST = timedelta(days=8)
_MOST_ITEMS = 40


def look(state: State, session: Session, window: scan.Window, now: datetime) -> None:
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
        if told and outbox.room(session, told[0], now).refusal(Kind.DIGEST) is None:
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
    reason = outbox.objection(configuration, mail.recipient)
    if reason is not None:
        mail.reason = reason
        return False
    if mail.reason == "cap_address":
        return True
    return outbox.room(session, mail, now).configuration < rules.CONFIGURATION_CAP


def _queue(
    state: State,
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
    outbox.queue(
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
