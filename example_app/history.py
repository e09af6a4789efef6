"""Sixty days of history for two organizations, the same at each reset but for today's date.

What people played is written as rows, thousands at a time (``past``). All else is told in the order
in which it happened, by the services and by the very functions that the worker calls, under a clock
of the past: so audit, incidents and mails are what they would have been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_lms import Administrator, ObjectiveResult, status
from flask_lms import Objective as HandedIn
from flask_lms.alerts import outages
from flask_lms.app_state import AppState as LMSState
from flask_lms.database.models import (
    Attempt,
    Audit,
    Configuration,
    Delivery,
    DeliveryState,
    Mail,
    Status,
)
from flask_lms.database.types import DatabaseClock, FixedClock

from .demo_lms import DemoLMS
from .lms_adapter import lms
from .models import Objective, Organization, User, db
from .past import id_of, play, request, row
from .plans import DAY, DAYS, HOUR, MINUTE, Outage, Plan, plans


def fill(app: Flask, demo_lms: DemoLMS) -> None:
    """Add the history to a database that has people and objectives only; commits.

    :param app: one that serves nobody, as its clock goes through the past.
    """
    state: LMSState = app.extensions["lms_state"]
    state.wake.now = lambda ids: None  # nothing of the past is to be sent
    now = state.clock.now(db.session()).replace(microsecond=0)
    random = Random(60)
    made = plans(demo_lms, now)
    organizations = db.session.scalars(
        sa.select(Organization)
        .where(Organization.name.in_({plan.organization for plan in made}))
        .order_by(Organization.id)
    ).all()
    results = {one.name: play(one, now, random) for one in organizations}
    db.session.commit()
    teller = Teller(state, now)
    for plan in made:
        teller.prepare(plan, results[plan.organization], random)
    teller.tell()


class Teller:
    """Puts what happened to each configuration into one story, and tells it from the beginning.

    :param now: when the demo starts, aware.
    """

    def __init__(self, state: LMSState, now: datetime) -> None:
        self.state, self.now = state, now
        self.story: list[tuple[datetime, Callable[[], object]]] = []
        # Each morning there is the mail about results that were rejected or not sent.
        for days in range(DAYS):
            self.at(now - days * DAY - HOUR, lambda: None)

    def at(self, when: datetime, act: Callable[[], object]) -> None:
        self.story.append((when, act))

    def prepare(self, plan: Plan, results: Sequence[ObjectiveResult], random: Random) -> None:
        """Make the configuration and its deliveries, and plan the rest."""
        configuration, attached = self._create(plan)
        deliveries = [
            row(self.state, configuration, plan, result, self.now, random)
            for result in results
            if result.finished_at > plan.created
            and isinstance(result.objective, HandedIn)
            and result.objective.id in attached
        ]
        tried = [one for one in deliveries if one["attempts"]]
        if deliveries:
            db.session.execute(sa.insert(Delivery), deliveries)
            db.session.execute(sa.insert(Attempt), [request(one, random) for one in tried])
        last = max((one["settled_at"] for one in tried), default=None)
        configuration.health.last_success_at = configuration.health.last_attempt_at = last
        db.session.commit()
        self._plan(plan, _administrator(configuration.organization_id))

    def tell(self) -> None:
        """All of it, oldest first; then the clock is the database's again."""
        for when, act in sorted(self.story, key=lambda item: item[0]):
            if when < self.now:
                self.state.clock = FixedClock(when)
                act()
                outages.tick(self.state, when)
        self.state.clock = DatabaseClock()
        _put_in_order()

    def _create(self, plan: Plan) -> tuple[Configuration, set[str]]:
        organization_id = db.session.scalars(
            sa.select(Organization.id).where(Organization.name == plan.organization)
        ).one()
        by = _administrator(organization_id)
        self.state.clock = FixedClock(plan.created)
        configuration = lms.configurations.create(
            str(organization_id), plan.name, plan.contacts, settings=plan.settings, by=by
        )
        plan.id = configuration.id
        objectives = db.session.scalars(
            sa.select(Objective.id)
            .where(Objective.organization_id == organization_id)
            .order_by(Objective.id)
        ).all()
        attached = {str(id) for number, id in enumerate(objectives) if number in plan.objectives}
        self.state.clock = FixedClock(plan.created + MINUTE)
        if attached:
            lms.configurations.attach_many(configuration.id, sorted(attached), by)
        if plan.is_tested:
            configuration.health.status = Status.CONNECTED
            configuration.health.since = plan.created
        db.session.commit()
        return configuration, attached

    def _plan(self, plan: Plan, by: Administrator) -> None:
        if plan.paused:
            self.at(plan.paused, lambda: lms.configurations.pause(_id(plan), by=by))
        if plan.edited:
            fewer = plan.contacts[:1]
            self.at(plan.edited - DAY, lambda: _update(plan, by, contact_emails=fewer))
            self.at(plan.edited, lambda: _update(plan, by, contact_emails=plan.contacts))
        if plan.rekeyed:
            secret = {"secret": plan.settings["secret"]}
            self.at(plan.rekeyed, lambda: _update(plan, by, settings=secret))
        for outage in plan.outages:
            self._plan_outage(plan, outage)

    def _plan_outage(self, plan: Plan, outage: Outage) -> None:
        """Its beginning, the moments at which somebody is told or reminded, and its end."""
        self.at(outage.began, lambda: self._fall(plan, outage))
        for later in (6 * MINUTE, DAY + MINUTE, 3 * DAY + MINUTE):
            when = outage.began + later
            if outage.covers(when):
                self.at(when, lambda when=when: _wait(plan, outage, when))  # type: ignore[misc]
        if outage.ended is not None:
            self.at(outage.ended, lambda: self._recover(plan, outage))

    def _fall(self, plan: Plan, outage: Outage) -> None:
        _wait(plan, outage, outage.began + 6 * MINUTE)
        health = _configuration(plan).health
        health.facts, health.failures, health.failing_since = outage.facts, 3, outage.began
        self._turn(plan, outage.status, outage.cause, outage.began)
        if outage.ended is None:
            health.failures = 40
            health.last_attempt_at = self.now - 4 * MINUTE
            health.next_attempt_at = self.now + 6 * MINUTE
            health.last_success_at = outage.began - 3 * MINUTE
            db.session.commit()

    def _recover(self, plan: Plan, outage: Outage) -> None:
        assert outage.ended is not None
        _wait(plan, outage, outage.ended)
        health = _configuration(plan).health
        health.facts, health.failures, health.failing_since = {}, 0, None
        self._turn(plan, Status.CONNECTED, None, outage.ended)
        db.session.execute(
            sa.update(Delivery)
            .where(_during(plan, outage, outage.ended), Delivery.state == DeliveryState.PENDING)
            .values(state=DeliveryState.DELIVERED)
        )
        db.session.commit()

    def _turn(self, plan: Plan, to: Status, cause: str | None, at: datetime) -> None:
        configuration = _configuration(plan)
        health = configuration.health
        old = health.status
        health.status, health.cause, health.since = to, cause, at
        status.changed(self.state, db.session(), configuration, old, at)
        db.session.commit()


def _id(plan: Plan) -> Any:
    assert plan.id is not None
    return plan.id


def _configuration(plan: Plan) -> Configuration:
    found = db.session.get(Configuration, plan.id)
    assert found is not None
    return found


def _update(plan: Plan, by: Administrator, **values: Any) -> None:
    """An edit may ask for a new test; here it went as before."""
    before = _configuration(plan).health.status
    lms.configurations.update(_id(plan), by=by, **values)
    _configuration(plan).health.status = before
    db.session.commit()


def _administrator(organization_id: int | str) -> Administrator:
    user = db.session.scalars(
        sa.select(User).where(User.organization_id == int(organization_id), User.is_admin)
    ).one()
    return Administrator(
        id=str(user.id),
        name=user.name,
        email=user.login,
        organization_id=str(user.organization_id),
    )


def _during(plan: Plan, outage: Outage, until: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(
        Delivery.configuration_id == plan.id,
        Delivery.recorded_at > outage.began,
        Delivery.recorded_at < until,
        Delivery.state.in_([DeliveryState.PENDING, DeliveryState.DELIVERED]),
    )


def _wait(plan: Plan, outage: Outage, until: datetime) -> None:
    """So far nothing was delivered, so that mails tell the right number."""
    db.session.execute(
        sa.update(Delivery).where(_during(plan, outage, until)).values(state=DeliveryState.PENDING)
    )
    db.session.commit()


def _put_in_order() -> None:
    """Mails went out, and audit rows sort by their times."""
    random = Random(61)
    for mail in db.session.scalars(sa.select(Mail).where(Mail.state == "waiting")):
        mail.state, mail.attempts = "sent", 1
        mail.sent_at = mail.created_at + timedelta(seconds=2)
    for old, at in db.session.execute(sa.select(Audit.id, Audit.at)).all():
        new = id_of(at, random)
        db.session.execute(sa.update(Audit).where(Audit.id == old).values(id=new))
    db.session.commit()
