"""Incidents of configurations: from the first evidence of an outage to its end, and who is told.

:func:`status_changed` opens, turns or closes an outage in the transaction of the change;
:func:`tick` does what only time decides. What to do is decided in ``rules`` and carried out here;
what to say is in ``texts``; a mail is a row (``queue``) that ``sending`` sends.

An incident ends in one recovery. It may end silently when nobody was told of it, or merge into the
one that goes on telling of it (``facts["merged_into"]``).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..database.models import (
    Audit,
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
    Incident,
    Status,
)
from ..events import StatusChanged
from . import incidents, operators, queue, rules, summaries
from .rules import Episode, Kind
from .texts import plain

#: An incident on which nothing can be decided now (paused, not tested) is looked at again after.
_AGAIN = timedelta(minutes=5)
#: A test is written down before the LMS is asked, and takes up to so long.
_TESTED_WITHIN = timedelta(seconds=30)


def status_changed(
    state: AppState, session: Session, configuration: Configuration, event: StatusChanged
) -> None:
    """Open, turn or close the configuration's outage. Called in the transaction of the change."""
    session.flush()
    key = incidents.key_of(configuration, "outage")
    is_error = Status(event.new).is_error
    # Where nothing is, MariaDB would lock the gap: two that have locked it can't insert into it.
    outage = incidents.find_open(session, key, is_for_update=not is_error)
    if outage is not None:
        outage = incidents.find_open(session, key, is_for_update=True)
    if outage is None and is_error:
        outage, _ = incidents.open_once(
            session,
            key,
            configuration,
            kind="outage",
            opened_at=event.at,
            status=event.new,
            cause=event.cause,
            facts={"cause_facts": plain(configuration.health.facts)},
            next_mail_at=event.at,
        )
    if outage is not None:
        _follow(state, session, configuration, outage, event.at)
    session.flush()


def _follow(
    state: AppState,
    session: Session,
    configuration: Configuration,
    outage: Incident,
    now: datetime,
    *,
    is_due: bool = False,
) -> None:
    """Bring an open outage up to date, and carry out what ``rules`` decides on it.

    "Not tested" after an edit proves nothing: an outage stays open until something is connected.

    :param is_due: its next mail was planned for now.
    """
    health = configuration.health
    is_over = health.status is Status.CONNECTED
    if is_over:
        if not incidents.close(session, outage, now):
            return
    elif health.status.is_error:
        outage.status, outage.cause = health.status.value, health.cause
    else:
        return

    cause = state.registry.cause(configuration.type, health.cause)
    is_settings = cause is not None and cause.is_settings
    told_settings = bool(outage.facts.get("told_settings"))
    key = incidents.key_of(configuration, "unstable")
    unstable = incidents.find_open(session, key, is_for_update=True)
    decision = rules.decide(
        rules.Outage(
            opened_at=outage.opened_at,
            was_announced=outage.announced_at is not None,
            told_settings=told_settings,
            is_over=is_over,
            is_silent=bool(configuration.paused_at or configuration.deleted_at),
            is_due=is_due,
            failures=health.failures or 0,
            is_settings=is_settings,
            is_watched=_is_watched(session, configuration, outage),
            is_unstable=unstable is not None,
            others=_episodes(session, configuration, now - rules.DAY, besides=outage),
        ),
        now,
    )

    if decision.look_at is not None:
        outage.next_mail_at = decision.look_at
    if decision.kind is None:
        return
    if decision.kind is Kind.UNSTABLE:
        unstable, _ = incidents.open_once(
            session,
            key,
            configuration,
            kind="unstable",
            opened_at=now,
            announced_at=now,
            next_mail_at=now + rules.DAY,
            facts={"told_at": now.isoformat()},
            thread=outage.thread,
        )
        if outage.announced_at is not None:
            outage.facts = {**outage.facts, "merged_into": unstable.id.hex}
        _mail_unstable(state, session, configuration, unstable, now - rules.DAY, now)
        return
    if not is_over:
        if outage.announced_at is None and unstable is not None:
            # it no longer comes and goes, it is down
            incidents.close(session, unstable, now, merged_into=outage.id.hex)
            outage.thread = unstable.thread
        outage.announced_at = outage.announced_at or now
        outage.facts = {**outage.facts, "told_settings": told_settings or is_settings}
    _mail(state, session, configuration, decision.kind, outage, now, is_update=decision.is_update)


def _is_watched(session: Session, configuration: Configuration, outage: Incident) -> bool:
    """Whether nothing waits, and it never worked or somebody has found the fault themselves."""
    if _waiting(session, configuration):
        return False
    if configuration.health.last_success_at is None:
        return True
    found = sa.select(Audit.id).where(
        Audit.configuration_id == configuration.id,
        Audit.administrator_id.is_not(None),
        Audit.action.in_(("tested", "sample_sent", "edited")),
        Audit.at <= outage.opened_at,
        Audit.at > outage.opened_at - _TESTED_WITHIN,
    )
    return session.scalar(found.limit(1)) is not None


def _waiting(session: Session, configuration: Configuration) -> int:
    count = session.scalar(
        sa.select(sa.func.count()).where(
            Delivery.state == DeliveryState.PENDING, Delivery.configuration_id == configuration.id
        )
    )
    return count or 0


def _episodes(
    session: Session,
    configuration: Configuration,
    since: datetime,
    *,
    besides: Incident | None = None,
) -> list[Episode]:
    """Outages that began or ended after ``since``, and one that goes on."""
    found = session.scalars(
        sa.select(Incident).where(
            Incident.configuration_id == configuration.id,
            Incident.kind == "outage",
            sa.or_(
                Incident.opened_at > since,
                Incident.closed_at > since,
                Incident.closed_at.is_(None),
            ),
        )
    )
    return [
        Episode(
            opened_at=incident.opened_at,
            closed_at=incident.closed_at,
            was_announced=incident.announced_at is not None,
        )
        for incident in found
        if incident is not besides
    ]


def _mail(
    state: AppState,
    session: Session,
    configuration: Configuration,
    kind: Kind,
    incident: Incident,
    now: datetime,
    **more: Any,
) -> None:
    """Queue a mail with what every one about a configuration tells: names, causes and counts."""
    health = configuration.health
    queue.queue(
        state,
        session,
        kind=kind,
        facts={
            "configuration_id": str(configuration.id),
            "name": configuration.name,
            "type": configuration.type,
            "status": health.status.value,
            "cause": health.cause if health.status.is_error else None,
            "cause_facts": plain(health.facts) if health.status.is_error else {},
            "failures": health.failures or 0,
            "waiting": _waiting(session, configuration),
            "since": incident.opened_at.isoformat(),
            "duration_seconds": int((now - incident.opened_at).total_seconds()),
            "at": now.isoformat(),
            **more,
        },
        now=now,
        configuration=configuration,
        incident=incident,
    )


def _mail_unstable(
    state: AppState,
    session: Session,
    configuration: Configuration,
    unstable: Incident,
    since: datetime,
    now: datetime,
) -> None:
    count, down = rules.summary(_episodes(session, configuration, since), since, now)
    _mail(
        state,
        session,
        configuration,
        Kind.UNSTABLE,
        unstable,
        now,
        since=since.isoformat(),
        interruptions=count,
        down_seconds=int(down.total_seconds()),
    )


def tick(state: AppState, now: datetime) -> None:
    """Decide what only time decides: five minutes, still down, digests, results. Commits itself.

    Every worker calls it every few seconds; each decision is claimed in the database, so any number
    of them may.
    """
    session = state.session()
    # Open incidents whose time has come, or whose configuration went on without them.
    fails = sa.and_(
        Incident.announced_at.is_(None),
        Incident.opened_at > now - rules.PATIENCE,
        ConfigurationHealth.failures >= rules.FAILURES_TO_TELL,
        Configuration.paused_at.is_(None),
    )
    differs = sa.or_(
        ConfigurationHealth.status == Status.CONNECTED,
        sa.and_(
            ConfigurationHealth.cause.is_not(None), ConfigurationHealth.cause != Incident.cause
        ),
    )
    due = session.scalars(
        sa.select(Incident.id)
        .outerjoin(Configuration, Configuration.id == Incident.configuration_id)
        .outerjoin(
            ConfigurationHealth, ConfigurationHealth.configuration_id == Incident.configuration_id
        )
        .where(
            Incident.closed_at.is_(None),
            Incident.kind != incidents.SCAN,
            sa.or_(
                Incident.next_mail_at <= now,
                sa.and_(Incident.kind == "outage", sa.or_(fails, differs)),
            ),
        )
        .order_by(Incident.next_mail_at)
        .limit(500)
    ).all()
    for incident_id in due:
        _decide(state, session, incident_id, now)
        session.commit()
    window = incidents.take_scan(session, now)
    if window is not None:
        summaries.look_for_results(state, session, window, now)
        summaries.look_for_digests(state, session, now)
        operators.look(state, session, window, now)
    session.commit()


def _decide(state: AppState, session: Session, incident_id: Any, now: datetime) -> None:
    """Claim an incident and do what is due on it."""
    incident = session.get(Incident, incident_id, populate_existing=True)
    if incident is None:
        return
    planned = incident.next_mail_at
    is_due = planned is not None and planned <= now
    if not incidents.claim(session, incident, now + _AGAIN):
        return
    if not is_due:
        incident.next_mail_at = planned
    if incident.configuration_id is None:
        operators.decide(state, session, incident, now)
        return
    configuration = session.get(Configuration, incident.configuration_id, populate_existing=True)
    if configuration is None or configuration.deleted_at is not None:
        incidents.close(session, incident, now, was_deleted=True)
    elif incident.kind == "outage":
        _follow(state, session, configuration, incident, now, is_due=is_due)
    elif incident.kind == summaries.KIND:
        summaries.decide(state, session, configuration, incident, now)
    elif incident.kind == "unstable":
        incident.next_mail_at = now + rules.DAY
        if configuration.is_paused:
            return
        last = datetime.fromisoformat(incident.facts["told_at"])
        decision = rules.unstable_digest(_episodes(session, configuration, last), last, now)
        if decision is rules.Digest.MAIL:
            incident.facts = {**incident.facts, "told_at": now.isoformat()}
            _mail_unstable(state, session, configuration, incident, last, now)
        elif decision is rules.Digest.STABLE and incidents.close(session, incident, now):
            _mail(state, session, configuration, Kind.RECOVERED, incident, now, is_stable=True)
