"""The one place where a change of a configuration's status is noted.

An answer of the LMS (``delivery.settle``) and a connection test (``services.configurations``)
both end here, in the transaction that changes the status.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from . import audit
from .alerts import outages
from .app_state import AppState
from .database.models import Configuration, Status
from .events import StatusChanged


def changed(
    state: AppState, session: Session, configuration: Configuration, old: Status, at: datetime
) -> StatusChanged | None:
    """Write what belongs to a change: the history's row, and the outage with its mails.

    :param configuration: with its health as it is from now on.
    :param old: the status before; the same as now: there was no change.
    :param at: aware UTC.
    :returns: the event, to be told after the commit.
    """
    health = configuration.health
    if health.status is old:
        return None
    event = StatusChanged(
        organization_id=configuration.organization_id,
        configuration_id=configuration.id,
        name=configuration.name,
        old=old.value,
        new=health.status.value,
        cause=health.cause,
        at=at,
    )
    audit.status_changed(session, configuration, event)
    outages.status_changed(state, session, configuration, event)
    return event
