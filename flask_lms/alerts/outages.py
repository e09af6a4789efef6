"""Incidents of configurations: from the first evidence of an outage to its end, and who is told.

The walk: :func:`status_changed` opens, turns or closes an outage in the transaction of the change;
:func:`tick` does what only time decides. What to decide is in ``rules``, what to say in
``messages``; a mail is a row (``outbox``) that ``mailer`` sends.

An incident ends in one recovery. It may end silently when nobody was told of it, or merge into the
one that goes on telling its story (``facts["merged_into"]``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
)
from ..events import StatusChanged
from . import incidents, operators, queue, rules, summaries
from .operators import operator_fault, operator_ok
from .rules import Episode, Kind
from .texts import plain

__all__ = ["operator_fault", "operator_ok", "status_changed", "tick"]

#: An incident on which nothing can be decided now (paused, not tested) is looked at again after.
_AGAIN = timedelta(minutes=5)


@dataclass(kw_only=True)
class _Case:
    """A configuration on which a decision is due."""

    state: AppState
    session: Session
    configuration: Configuration
    now: datetime

    @property
    def health(self) -> ConfigurationHealth:
        return self.configuration.health

    def open_incident(self, kind: str) -> Incident | None:
        key = incidents.key_of(self.configuration, kind)
        return incidents.find_open(self.session, key, is_for_update=True)

    def is_settings(self, code: str | None) -> bool:
        cause = self.state.registry.cause(self.configuration.type, code)
        return cause is not None and cause.is_settings

    def waiting(self) -> int:
        return (
            self.session.scalar(
                sa.select(sa.func.count()).where(
                    Delivery.state == DeliveryState.PENDING,
                    Delivery.configuration_id == self.configuration.id,
                )
            )
            or 0
        )

    def episodes(self, since: datetime) -> list[Episode]:
        """Outages that began or ended after ``since``, and one that goes on."""
        return [
            Episode(
                opened_at=incident.opened_at,
                closed_at=incident.closed_at,
                was_announced=incident.announced_at is not None,
            )
            for incident in self.session.scalars(
                sa.select(Incident).where(
                    Incident.configuration_id == self.configuration.id,
                    Incident.kind == "outage",
                    sa.or_(
                        Incident.opened_at > since,
                        Incident.closed_at > since,
                        Incident.closed_at.is_(None),
                    ),
                )
            )
        ]

    def facts(self, **more: Any) -> dict[str, Any]:
        """What every mail about this configuration can tell: names, causes and counts."""
        health = self.health
        return {
            "configuration_id": str(self.configuration.id),
            "name": self.configuration.name,
            "type": self.configuration.type,
            "status": health.status.value,
            "cause": health.cause if health.status.is_error else None,
            "cause_facts": plain(health.facts) if health.status.is_error else {},
            "failures": health.failures or 0,
            "waiting": self.waiting(),
            "at": self.now.isoformat(),
            **more,
        }

    def mail(self, kind: Kind, incident: Incident, **facts: Any) -> None:
        queue.queue(
            self.state,
            self.session,
            kind=kind,
            facts=self.facts(**facts),
            now=self.now,
            configuration=self.configuration,
            incident=incident,
        )

    def mail_outage(self, kind: Kind, outage: Incident, **facts: Any) -> None:
        seconds = int((self.now - outage.opened_at).total_seconds())
        self.mail(
            kind, outage, since=outage.opened_at.isoformat(), duration_seconds=seconds, **facts
        )


# -- the transaction of a change -------------------------------------------------------------------


def status_changed(
    state: AppState, session: Session, configuration: Configuration, event: StatusChanged
) -> None:
    """Open, turn or close the configuration's outage. Called in the transaction of the change.

    "Not tested" after an edit proves nothing: an outage stays open until something is connected.
    """
    case = _Case(state=state, session=session, configuration=configuration, now=event.at)
    session.flush()
    outage = case.open_incident("outage")
    if Status(event.new).is_error:
        if outage is None:
            outage = incidents.open_for(
                session,
                configuration,
                "outage",
                event.at,
                status=event.new,
                cause=event.cause,
                facts={"cause_facts": plain(configuration.health.facts)},
                next_mail_at=event.at,
            )
        _turn(case, outage)
    elif event.new == Status.CONNECTED.value and outage is not None:
        _recover(case, outage)
    session.flush()


def _turn(case: _Case, outage: Incident) -> bool:
    """Bring an open outage up to date with its cause and tell it when that is due; True: told."""
    outage.status, outage.cause = case.health.status.value, case.health.cause
    if case.configuration.is_paused or case.configuration.deleted_at is not None:
        return False
    is_settings = case.is_settings(outage.cause)
    if outage.announced_at is None:
        return _announce_or_wait(case, outage, is_settings)
    if not rules.needs_update(bool(outage.facts.get("told_settings")), is_settings):
        return False
    outage.facts = {**outage.facts, "told_settings": True}
    case.mail_outage(Kind.ERROR, outage, is_update=True)
    return True


def _announce_or_wait(case: _Case, outage: Incident, is_settings: bool) -> bool:
    unstable = case.open_incident("unstable")
    at = rules.announce_at(
        outage.opened_at,
        failures=case.health.failures or 0,
        is_settings=is_settings,
        is_setup=case.health.last_success_at is None and not case.waiting(),
        is_unstable=unstable is not None,
    )
    if at > case.now:
        outage.next_mail_at = at
        return False
    _announce(case, outage, is_settings, unstable)
    return True


def _announce(case: _Case, outage: Incident, is_settings: bool, unstable: Incident | None) -> None:
    """Tell the contacts of an outage: for the first time, or with "unstable" in its place."""
    outage.announced_at = case.now
    case.session.flush()
    if unstable is not None and incidents.close(
        case.session, unstable, case.now, merged_into=outage.id.hex
    ):  # it no longer comes and goes, it is down
        outage.thread = unstable.thread
    elif rules.is_unstable(case.episodes(case.now - rules.DAY), case.now):
        outage.announced_at = None
        outage.next_mail_at = outage.opened_at + rules.UNSTABLE_PATIENCE
        _become_unstable(case)
        return
    outage.facts = {**outage.facts, "told_settings": is_settings}
    outage.next_mail_at = rules.next_reminder(outage.opened_at, case.now)
    is_old = case.now - outage.opened_at >= rules.DAY
    case.mail_outage(Kind.STILL_DOWN if is_old else Kind.ERROR, outage)


def _recover(case: _Case, outage: Incident) -> None:
    if not incidents.close(case.session, outage, case.now):
        return
    if case.open_incident("unstable") is None and rules.is_unstable(
        case.episodes(case.now - rules.DAY), case.now
    ):
        unstable = _become_unstable(case, outage.thread)
        if outage.announced_at is not None:
            outage.facts = {**outage.facts, "merged_into": unstable.id.hex}
    elif outage.announced_at is not None:
        case.mail_outage(Kind.RECOVERED, outage)


def _become_unstable(case: _Case, thread: str | None = None) -> Incident:
    since = case.now - rules.DAY
    unstable = incidents.open_for(
        case.session,
        case.configuration,
        "unstable",
        case.now,
        announced_at=case.now,
        next_mail_at=case.now + rules.DAY,
        facts={"told_at": case.now.isoformat()},
        thread=thread,
    )
    _mail_unstable(case, unstable, since)
    return unstable


def _mail_unstable(case: _Case, unstable: Incident, since: datetime) -> None:
    count, down = rules.summary(case.episodes(since), since, case.now)
    case.mail(
        Kind.UNSTABLE,
        unstable,
        since=since.isoformat(),
        interruptions=count,
        down_seconds=int(down.total_seconds()),
    )


# -- what time decides -----------------------------------------------------------------------------


def tick(state: AppState, now: datetime) -> None:
    """Decide what only time decides: five minutes, still down, digests, results. Commits itself.

    Every worker calls it every few seconds; each decision is claimed in the database, so any number
    of them may.
    """
    session = state.session()
    for incident_id in _due(session, now):
        _decide(state, session, incident_id, now)
        session.commit()
    window = incidents.take(session, now)
    if window is not None:
        summaries.look_for_results(state, session, window, now)
        summaries.look_for_digests(state, session, window, now)
        operators.look(state, session, window, now)
    session.commit()


def _due(session: Session, now: datetime) -> Sequence[Any]:
    """Open incidents whose time has come, or whose configuration went on without them."""
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
    return session.scalars(
        sa.select(Incident.id)
        .outerjoin(Configuration, Configuration.id == Incident.configuration_id)
        .outerjoin(
            ConfigurationHealth, ConfigurationHealth.configuration_id == Incident.configuration_id
        )
        .where(
            Incident.closed_at.is_(None),
            Incident.kind != incidents.KIND,
            sa.or_(
                Incident.next_mail_at <= now,
                sa.and_(Incident.kind == "outage", sa.or_(fails, differs)),
            ),
        )
        .order_by(Incident.next_mail_at)
        .limit(500)
    ).all()


def _decide(state: AppState, session: Session, incident_id: Any, now: datetime) -> None:
    incident = session.get(Incident, incident_id, populate_existing=True)
    if incident is None:
        return
    is_due = incident.next_mail_at is not None and incident.next_mail_at <= now
    planned = incident.next_mail_at
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
        return
    case = _Case(state=state, session=session, configuration=configuration, now=now)
    if incident.kind == "outage":
        _decide_outage(case, incident, is_due)
    elif incident.kind == "unstable":
        _decide_unstable(case, incident)
    elif incident.kind == summaries.KIND:
        summaries.decide(state, session, configuration, incident, now)


def _decide_outage(case: _Case, outage: Incident, is_due: bool) -> None:
    """Announce it, remind of it, or (when a process died in between) end it."""
    status = case.health.status
    if status is Status.CONNECTED:
        _recover(case, outage)
        return
    if not status.is_error:
        return
    was_announced = outage.announced_at is not None
    has_told = _turn(case, outage)
    if not was_announced or not is_due or case.configuration.is_paused:
        return
    outage.next_mail_at = rules.next_reminder(outage.opened_at, case.now)
    if not has_told:
        case.mail_outage(Kind.STILL_DOWN, outage)


def _decide_unstable(case: _Case, unstable: Incident) -> None:
    last = datetime.fromisoformat(unstable.facts["told_at"])
    unstable.next_mail_at = case.now + rules.DAY
    if case.configuration.is_paused:
        return
    decision = rules.unstable_digest(case.episodes(last), last, case.now)
    if decision is rules.Digest.MAIL:
        unstable.facts = {**unstable.facts, "told_at": case.now.isoformat()}
        _mail_unstable(case, unstable, last)
    elif decision is rules.Digest.STABLE and incidents.close(case.session, unstable, case.now):
        case.mail(Kind.RECOVERED, unstable, since=unstable.opened_at.isoformat(), is_stable=True)
