"""Results that were rejected or not sent: one mail a day for a configuration, counts only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..models import Configuration, Delivery, Incident, State
from ..state import State as AppState
from . import outbox, rows, rules, scan
from .rules import Kind

KIND = "results"
_NEWS = (State.REJECTED, State.NOT_SENT)
_MOST_REASONS = 5


def look(state: AppState, session: Session, window: scan.Window, now: datetime) -> None:
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
        if rows.find_open(session, rows.key_of(configuration, KIND)) is None:
            rows.open_for(
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
    until = now - scan.LAG
    counts = _counts(session, configuration, since, until)
    if not counts:
        rows.close(session, incident, now)
        return
    incident.facts = {**incident.facts, "until": until.isoformat()}
    incident.announced_at = incident.announced_at or now
    incident.next_mail_at = now + rules.DAY
    outbox.queue(
        state,
        session,
        kind=Kind.RESULTS,
        facts={
            "configuration_id": str(configuration.id),
            "name": configuration.name,
            "type": configuration.type,
            "since": max(since, incident.opened_at).isoformat(),
            "rejected": sum(n for state, _, n in counts if state == State.REJECTED.value),
            "not_sent": sum(n for state, _, n in counts if state == State.NOT_SENT.value),
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
