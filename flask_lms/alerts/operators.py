"""Faults of the installation itself, told to ``LMS_OPERATOR_EMAILS``, never to customers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..database.models import (
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
    Incident,
    Status,
    Worker,
)
from . import incidents, queue, rules
from .rules import Kind
from .texts import plain

_log = logging.getLogger(__name__)
KIND = "operator"
#: A worker that was not seen for so long is gone; shorter gaps are restarts.
WORKER_GONE = timedelta(minutes=2)
REDIS_PATIENCE = timedelta(minutes=5)
#: A destination that still fails by our fault shows it each minute.
SEEN = timedelta(minutes=5)


def find_fault(session: Session, cause: str) -> Incident | None:
    """The incident of a fault that isn't over."""
    return incidents.find_open(session, f"installation:{cause}")


def operator_fault(
    state: AppState,
    session: Session,
    cause: str,
    facts: Mapping[str, Any],
    now: datetime,
    *,
    patience: timedelta | None = timedelta(0),
) -> None:
    """A fault of the installation: told once, until :func:`operator_ok`.

    :param cause: ``local``, ``redis``, ``secret_unreadable``, ``mail``, or a cause of a connector.
    :param facts: names and numbers.
    :param patience: told when it lasts longer; None: not by mail.
    """
    told = {**plain(facts), "seen_at": now.isoformat(timespec="minutes")}
    incident = find_fault(session, cause)
    if incident is None:
        incident, is_new = incidents.open_once(
            session,
            f"installation:{cause}",
            kind=KIND,
            cause=cause,
            facts=told,
            opened_at=now,
            next_mail_at=None if patience is None else now + patience,
        )
        if is_new:
            _log.error("the installation has a fault: %s", cause, extra={"lms_facts": told})
        if patience == timedelta(0) and is_new:
            _tell(state, session, incident, "error", now)
    elif incident.facts != told:
        incident.facts = told
    session.flush()


def operator_ok(state: AppState, session: Session, cause: str, now: datetime) -> None:
    """The fault is over; who was told of it is told so."""
    incident = find_fault(session, cause)
    if incident is None or not incidents.close(session, incident, now):
        return
    _log.warning("the installation's fault is over: %s", cause)
    if incident.announced_at is not None:
        _tell(state, session, incident, "over", now)
    session.flush()


def tell_past(
    state: AppState,
    session: Session,
    cause: str,
    facts: Mapping[str, Any],
    began_at: datetime,
    now: datetime,
) -> None:
    """A fault that could only be told once it was over: a worker or mail server that was away."""
    incident = Incident(
        kind=KIND, cause=cause, facts=plain(facts), opened_at=began_at, closed_at=now, mails=0
    )
    session.add(incident)
    session.flush()
    _tell(state, session, incident, "past", now)


def decide(state: AppState, session: Session, incident: Incident, now: datetime) -> None:
    """Tell a fault that lasted, or that it still lasts."""
    stage = "error" if incident.announced_at is None else "still"
    _tell(state, session, incident, stage, now)


def _tell(state: AppState, session: Session, incident: Incident, stage: str, now: datetime) -> None:
    incident.announced_at = incident.announced_at or now
    if incident.closed_at is None:
        incident.next_mail_at = rules.next_reminder(incident.opened_at, now)
    queue.queue(
        state,
        session,
        kind=Kind.OPERATOR,
        facts={
            "stage": stage,
            "cause": incident.cause,
            "cause_facts": incident.facts,
            "since": incident.opened_at.isoformat(),
            "duration_seconds": int((now - incident.opened_at).total_seconds()),
            "at": now.isoformat(),
        },
        now=now,
        incident=incident,
    )


def look(state: AppState, session: Session, window: incidents.Window, now: datetime) -> None:
    """Once a minute: did no worker run, is Redis gone, can secrets not be read, is a fault over?"""
    # A dead worker can't tell that none runs, so the next one does, if anything waited meanwhile.
    minute_ago = now - timedelta(minutes=1)
    if window.last_at is not None and minute_ago - window.last_at >= WORKER_GONE:
        waited = session.scalar(
            sa.select(sa.func.count())
            .select_from(Delivery)
            .join(Configuration, Configuration.id == Delivery.configuration_id)
            .join(
                ConfigurationHealth,
                ConfigurationHealth.configuration_id == Delivery.configuration_id,
            )
            .where(
                Delivery.recorded_at <= minute_ago,
                sa.or_(
                    sa.and_(
                        Delivery.state == DeliveryState.PENDING,
                        Configuration.paused_at.is_(None),
                        Configuration.deleted_at.is_(None),
                        ConfigurationHealth.status.in_((Status.CONNECTED, Status.NOT_TESTED)),
                    ),
                    sa.and_(
                        Delivery.settled_at > minute_ago,
                        Delivery.state == DeliveryState.DELIVERED,
                        Delivery.recorded_at > window.last_at,
                    ),
                ),
            )
        )
        if waited:
            tell_past(state, session, "no_worker", {"waiting": waited}, window.last_at, now)

    has_redis = session.scalars(
        sa.select(Worker.has_redis).where(Worker.seen_at > now - WORKER_GONE)
    ).all()
    if has_redis and all(has_redis):
        operator_ok(state, session, "redis", now)
    elif has_redis:
        facts = {"workers": len(has_redis), "without": has_redis.count(False)}
        operator_fault(state, session, "redis", facts, now, patience=REDIS_PATIENCE)

    unreadable = session.scalar(
        sa.select(sa.func.count())
        .select_from(ConfigurationHealth)
        .join(Configuration, Configuration.id == ConfigurationHealth.configuration_id)
        .where(ConfigurationHealth.cause == "secret_unreadable", Configuration.deleted_at.is_(None))
    )
    if unreadable:
        operator_fault(state, session, "secret_unreadable", {"configurations": unreadable}, now)
    else:
        operator_ok(state, session, "secret_unreadable", now)

    # A fault of ours that no destination shows any more is over.
    for incident in session.scalars(
        sa.select(Incident).where(
            Incident.configuration_id.is_(None),
            Incident.kind == KIND,
            Incident.closed_at.is_(None),
            Incident.cause.not_in(("redis", "secret_unreadable", "mail")),
        )
    ).all():
        seen_at = datetime.fromisoformat(incident.facts["seen_at"])
        if now - seen_at > SEEN and incident.cause is not None:
            operator_ok(state, session, incident.cause, now)
