"""Mail rows: one for each recipient of a notice, written in the transaction that decided it.

Whoever must not or can not get it now has a row too, ``skipped`` with the reason, so that the
Alerts page shows everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import i18n
from ..app_state import AppState
from ..database.models import Configuration, Incident, Mail
from ..database.types import new_id
from . import texts
from .rules import DAY, Kind, Quota


def queue(
    state: AppState,
    session: Session,
    *,
    kind: Kind,
    facts: Mapping[str, Any],
    now: datetime,
    configuration: Configuration | None = None,
    incident: Incident | None = None,
    recipients: Sequence[str] | None = None,
    organization_id: str | None = None,
    language: str | None = None,
) -> int:
    """Write a notice's mails; returns how many will be sent.

    :param recipients: default: the configuration's contacts, or the operators without one.
    """
    if recipients is None:
        recipients = (
            configuration.contact_emails if configuration else state.settings.operator_emails
        )
    recipients = list({address.casefold(): address for address in recipients}.values())
    language = configuration.language if configuration else language or "en"
    with i18n.using(language):
        subject = texts.subject(kind, facts, state.settings.platform_name)
    host = urlsplit(state.settings.public_url).hostname or "localhost"
    host = host if host.isascii() else host.encode("idna").decode()
    rows = []
    for address in recipients:
        references: list[str] = []
        if incident is not None and incident.thread is not None:
            # The episode's first mail, then the first one that this address got.
            own = session.scalar(
                sa.select(Mail.message_id)
                .where(
                    Mail.incident_id == incident.id,
                    Mail.recipient == address,
                    Mail.state.in_(("waiting", "sent")),
                )
                .order_by(Mail.created_at, Mail.id)
                .limit(1)
            )
            references = list(dict.fromkeys(filter(None, (incident.thread, own))))
        id = new_id()
        row = Mail(
            id=id,
            # RFC 5322, 3.6.4; it stays the same in every attempt to send
            message_id=f"<{id.hex}.lms@{host}>",
            incident_id=incident.id if incident else None,
            configuration_id=configuration.id if configuration else None,
            organization_id=configuration.organization_id if configuration else organization_id,
            kind=kind.value,
            recipient=address,
            language=language,
            subject=subject,
            facts={
                **facts,
                "others": [other for other in recipients if other != address],
                "references": references,
            },
            created_at=now,
            due_at=now,
            attempts=0,
        )
        if configuration is not None and configuration.is_muted(address):
            row.reason = "muted"
        else:
            row.reason = quota(session, row, now).refusal(kind)
        row.state = "skipped" if row.reason else "waiting"
        rows.append(row)
    session.add_all(rows)
    sent = [row for row in rows if row.state == "waiting"]
    if incident is not None:
        incident.mails = (incident.mails or 0) + 1
        if incident.thread is None and sent:
            incident.thread = sent[0].message_id
    session.flush()
    return len(sent)


def objection(configuration: Configuration | None, address: str) -> str | None:
    """Why an address must not be mailed about a configuration; None: it may."""
    if configuration is None or configuration.deleted_at is not None:
        return "deleted"
    if address.casefold() not in {one.casefold() for one in configuration.contact_emails}:
        return "no_contact"
    return "muted" if configuration.is_muted(address) else None


def quota(session: Session, mail: Mail, now: datetime, *, only_sent: bool = False) -> Quota:
    """What left (or will leave) in the 24 hours before ``now``, without ``mail`` itself.

    :param only_sent: count by the time of sending: a mail server that was away for long must not
        turn two days' mails into one flood.
    """
    when = Mail.sent_at if only_sent else Mail.created_at
    counts = [
        Mail.id != mail.id,
        Mail.kind != Kind.TEST.value,
        Mail.created_at > now - 6 * DAY,
        when > now - DAY,
        Mail.state == "sent" if only_sent else Mail.state != "skipped",
    ]
    address = session.scalar(
        sa.select(sa.func.count()).where(Mail.recipient == mail.recipient, *counts)
    )
    notices: set[tuple[object, ...]] = set()
    if mail.configuration_id is not None:
        notices = {
            tuple(row)
            for row in session.execute(
                sa.select(Mail.incident_id, Mail.kind, Mail.created_at)
                .where(Mail.configuration_id == mail.configuration_id, *counts)
                .distinct()
            )
        }
        notices.discard((mail.incident_id, mail.kind, mail.created_at))
    return Quota(configuration=len(notices), address=address or 0)
