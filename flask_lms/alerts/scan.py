"""The look around, once a minute whatever the number of workers: one row remembers the last one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from . import rows

KIND = "scan"
_KEY = "installation:scan"
_EVERY = timedelta(minutes=1)
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


def take(session: Session, now: datetime) -> Window | None:
    """The look that is due, claimed for this transaction; None: not due, or another worker's."""
    row = rows.find_open(session, _KEY)
    if row is None:
        facts = {"until": (now - LAG).isoformat(), "at": None}
        row, _ = rows.open_once(
            session, _KEY, kind=KIND, opened_at=now, next_mail_at=now, facts=facts
        )
    if row.next_mail_at is not None and row.next_mail_at > now:
        return None
    if not rows.claim(session, row, now + _EVERY):
        return None
    last_at = row.facts.get("at")
    window = Window(
        since=datetime.fromisoformat(row.facts["until"]),
        until=now - LAG,
        last_at=datetime.fromisoformat(last_at) if last_at else None,
    )
    row.facts = {"until": window.until.isoformat(), "at": now.isoformat()}
    return window
