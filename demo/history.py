"""Sixty days of history for two organizations, the same at each reset but for today's date.

All is told in the order in which it happened, through what a host and its administrators use:
statuses, alerts, mails and audit are what they would have been. Only the clock, and what an LMS
took on ordinary days, are made (``inside``).
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any
from unittest import mock

import sqlalchemy as sa
from flask import Flask

from example_app import lms_adapter
from example_app.lms_adapter import lms
from example_app.models import Objective, Organization, User, db
from flask_lms import Administrator
from flask_lms.testing import deliver

from . import inside
from .lms import DemoLMS
from .past import played
from .plans import DAY, DAYS, HOUR, MINUTE, Plan, plans


def fill(app: Flask, demo_lms: DemoLMS, now: datetime | None = None) -> None:
    """Add the history to a database that has people and objectives only; commits.

    :param app: one that serves nobody, as its clock goes through the past.
    :param demo_lms: listens; is left with what it was sent.
    :param now: when the history ends, aware.
    """
    now = (now or datetime.now(timezone.utc)).replace(microsecond=0)
    with inside.past(app) as go_to, mock.patch("socket.getaddrinfo", _no_such_name):
        Story(app, demo_lms, now, go_to).tell()


def _no_such_name(
    host: str, *rest: Any, ask: Callable[..., Any] = socket.getaddrinfo, **options: Any
) -> Any:
    """No network is asked for the invented names of LMSs."""
    if str(host).endswith(".example"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return ask(host, *rest, **options)


class Story:
    """What happened to each configuration, told from the beginning."""

    def __init__(
        self, app: Flask, demo_lms: DemoLMS, now: datetime, go_to: Callable[[datetime], None]
    ) -> None:
        self.app, self.demo_lms, self.now, self.go_to = app, demo_lms, now, go_to
        self.random = Random(60)
        self.plans = plans(demo_lms, now)
        organizations = db.session.scalars(
            sa.select(Organization)
            .where(Organization.name.in_({plan.organization for plan in self.plans}))
            .order_by(Organization.id)
        ).all()
        attempts = [one for each in organizations for one in played(each, now, self.random)]
        self.results = deque(
            sorted(
                (lms_adapter.result(app, one) for one in attempts),
                key=lambda result: result.finished_at,
            )
        )
        db.session.bulk_save_objects(attempts)
        db.session.bulk_save_objects([step for one in attempts for step in one.played])
        db.session.commit()
        self.events: list[tuple[datetime, Callable[[], object]]] = []

    def tell(self) -> None:
        """All of it, oldest first."""
        for plan in self.plans:
            self._plan(plan)
        for days in range(DAYS):  # each morning: mails about what was rejected or not sent
            self.at(self.now - days * DAY - HOUR, self._work)
        self.at(self.now - 4 * MINUTE, self._work)
        for when, act in sorted(self.events, key=lambda event: event[0]):
            if when < self.now:
                self._play_until(when)
                act()
        self._play_until(self.now)
        purged = self.app.test_cli_runner().invoke(args=["lms", "purge", "--yes"])
        assert purged.exit_code == 0, purged.output

    def at(self, when: datetime, act: Callable[[], object]) -> None:
        self.events.append((when, act))

    def _plan(self, plan: Plan) -> None:
        self.at(plan.created, lambda: self._create(plan))
        if plan.paused:
            self.at(plan.paused, lambda: lms.configurations.pause(_id(plan), by=_admin(plan)))
        if plan.edited:
            fewer = plan.contacts[:1]
            self.at(plan.edited - DAY, lambda: _update(plan, contact_emails=fewer))
            self.at(plan.edited, lambda: _update(plan, contact_emails=plan.contacts))
        if plan.rekeyed:
            secret = {"secret": plan.settings["secret"]}
            self.at(plan.rekeyed, lambda: _update(plan, settings=secret))
        for outage in plan.outages:
            self.at(outage.began, lambda outage=outage: self._turn(plan, outage.mode))  # type: ignore[misc]
            # Moments at which somebody is told or reminded.
            for later in (6 * MINUTE, DAY + MINUTE, 3 * DAY + MINUTE):
                if outage.covers(outage.began + later):
                    self.at(outage.began + later, self._work)
            if outage.ended is not None:
                self.at(outage.ended, lambda: self._turn(plan, "answers"))

    def _create(self, plan: Plan) -> None:
        by = _admin(plan)
        plan.id = lms.configurations.create(
            by.organization_id, plan.name, plan.contacts, settings=plan.settings, by=by
        ).id
        objectives = db.session.scalars(
            sa.select(Objective.id)
            .where(Objective.organization_id == int(by.organization_id))
            .order_by(Objective.id)
        ).all()
        for number in plan.objectives:
            if number < len(objectives):
                lms.configurations.attach(plan.id, str(objectives[number]), by=by)

    def _turn(self, plan: Plan, mode: str) -> None:
        """From now on its LMS behaves so, which a test notices."""
        self.demo_lms.switch(mode)
        lms.configurations.test(_id(plan))
        deliver(self.app)

    def _work(self) -> None:
        """What a worker does: send, and tell."""
        deliver(self.app)

    def _play_until(self, when: datetime) -> None:
        """People play, and what they did is delivered where nothing is wrong."""
        with db.session.begin_nested():  # recording joins it, so that not each commits
            while self.results and self.results[0].finished_at < when:
                result = self.results.popleft()
                self.go_to(result.finished_at + timedelta(milliseconds=self.random.randrange(40)))
                lms.record(result)
        db.session.commit()
        self.go_to(when)
        for plan in self.plans:
            # An outage begins after this moment, and ends with it.
            if plan.id is not None and plan.takes(when - timedelta(milliseconds=1)):
                inside.settle(plan.id, self.random, lambda at, plan=plan: self._outcome(plan, at))  # type: ignore[misc]

    def _outcome(self, plan: Plan, recorded: datetime) -> dict[str, Any] | None:
        if plan.cancelled and plan.cancelled < recorded < plan.cancelled + 2 * HOUR:
            return inside.cancelled(plan.cancelled + 3 * HOUR, "Ana Ruiz")
        if self.random.random() < plan.rejects and self.now - recorded > 18 * HOUR:
            return inside.rejected(recorded + 17 * HOUR + 11 * MINUTE)
        return None


def _id(plan: Plan) -> Any:
    assert plan.id is not None
    return plan.id


def _update(plan: Plan, **values: Any) -> None:
    lms.configurations.update(_id(plan), by=_admin(plan), **values)


def _admin(plan: Plan) -> Administrator:
    user = db.session.scalars(
        sa.select(User)
        .join(User.organization)
        .where(Organization.name == plan.organization, User.is_admin)
    ).one()
    return Administrator(
        id=user.id, name=user.name, email=user.login, organization_id=user.organization_id
    )
