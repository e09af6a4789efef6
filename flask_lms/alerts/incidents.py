"""Incident rows: opened once, claimed by one process, closed by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..database.models import Configuration, Incident
from ..database.types import update

#: The kind of the one row that remembers the last look at everything: it is taken once a minute,
#: whatever the number of workers.
SCAN = "scan"
#: What was settled in the last minute is left to the next look: its transaction may still be open.
LAG = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one look is about: what was settled after ``since``, up to ``until``.

    :param last_at: when the look before was; None: there was none.
    """

    since: datetime
    until: datetime
    last_at: datetime | None


def key_of(configuration: Configuration, kind: str) -> str:
    """``Incident.open_key`` of a configuration's open incident of a kind."""
    return f"{configuration.id.hex}:{kind}"


def find_open(session: Session, key: str, *, is_for_update: bool = False) -> Incident | None:
    """The open incident of a key as it is now.

    :param is_for_update: nobody else decides on it until this transaction ends.
    """
    query = sa.select(Incident).where(Incident.open_key == key)
    if is_for_update:
        query = query.with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def open_once(
    session: Session, key: str, configuration: Configuration | None = None, **values: Any
) -> tuple[Incident, bool]:
    """A new open incident and True, or the one that another process opened just now and False."""
    incident = Incident(open_key=key, mails=0, **values)
    if configuration is not None:
        incident.configuration_id = configuration.id
        incident.organization_id = configuration.organization_id
    try:
        with session.begin_nested():
            session.add(incident)
    except IntegrityError:
        # A locking read sees what was committed since; MariaDB's snapshot is older than that.
        found = find_open(session, key, is_for_update=True)
        if found is None:  # closed again in between
            raise
        return found, False
    return incident, True


def close(session: Session, incident: Incident, now: datetime, **facts: Any) -> bool:
    """Close it; False: somebody else did. Afterwards the object is as the row.

    :param facts: added to the incident's own.
    """
    session.flush()
    done = update(
        session,
        sa.update(Incident)
        .where(Incident.id == incident.id, Incident.closed_at.is_(None))
        .values(closed_at=now, open_key=None, next_mail_at=None),
    )
    session.refresh(incident)
    if not done:
        return False
    if facts:
        incident.facts = {**incident.facts, **facts}
    return True


def claim(session: Session, incident: Incident, next_mail_at: datetime | None) -> bool:
    """Take the decision that is due on it; False: another process did, or it is closed."""
    session.flush()
    old = incident.next_mail_at
    done = update(
        session,
        sa.update(Incident)
        .where(
            Incident.id == incident.id,
            Incident.closed_at.is_(None),
            Incident.next_mail_at.is_(None) if old is None else Incident.next_mail_at == old,
        )
        .values(next_mail_at=next_mail_at),
    )
    session.refresh(incident)
    return bool(done)


def take_scan(session: Session, now: datetime) -> Window | None:
    """The look that is due, claimed for this transaction; None: not due, or another worker's."""
    key = f"installation:{SCAN}"
    row = find_open(session, key)
    if row is None:
        facts = {"until": (now - LAG).isoformat(), "at": None}
        row, _ = open_once(session, key, kind=SCAN, opened_at=now, next_mail_at=now, facts=facts)
    if row.next_mail_at is not None and row.next_mail_at > now:
        return None
    if not claim(session, row, now + timedelta(minutes=1)):
        return None
    last_at = row.facts.get("at")
    window = Window(
        since=datetime.fromisoformat(row.facts["until"]),
        until=now - LAG,
        last_at=datetime.fromisoformat(last_at) if last_at else None,
    )
    row.facts = {"until": window.until.isoformat(), "at": now.isoformat()}
    return window
