"""Is it our network, or are there three customers with mistyped names?"""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms.alerts import outages
from flask_lms.database.models import Incident, Mail, Status
from flask_lms.testing import FakeLRS
from tests.engine.support import drain_due, health, record, states
from tests.host import Host


@pytest.fixture
def nothing_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def fail(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "127.0.0.1":
            return real(host, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def tick(host: Host, minutes: float) -> None:
    """What a worker does: it looks each five seconds for what is due, also for mails to decide."""
    for _ in range(round(minutes * 12)):
        drain_due(host)
        outages.tick(host.state, host.state.clock.now(host.db.session()))
        host.state.clock.advance(seconds=5)  # type: ignore[attr-defined]


def told(host: Host) -> list[str]:
    host.db.session.rollback()
    query = sa.select(Mail.configuration_id).where(Mail.kind == "error")
    return sorted(str(id) for id in host.db.session.scalars(query))


def attach(host: Host, n: int) -> list[Any]:
    return [host.attach(f"http://mistyped{i}.acme.example/xapi", name=f"LMS {i}") for i in range(n)]


@pytest.mark.usefixtures("nothing_resolves")
def test_three_mistyped_names_are_three_customers_to_tell_within_three_minutes(host: Host) -> None:
    host.freeze()
    made = attach(host, 3)
    record(host, "r1")
    tick(host, 3)
    for configuration in made:
        now = health(host, configuration)
        assert (now.status, now.cause) == (Status.CANT_CONNECT, "dns")
    assert told(host) == sorted(str(one.id) for one in made)
    assert not host.db.session.scalar(sa.select(Incident.id).where(Incident.kind == "operator"))


@pytest.mark.usefixtures("nothing_resolves")
def test_when_those_fail_that_worked_nobody_is_told_for_ten_minutes_but_the_operator(
    host: Host,
) -> None:
    clock = host.freeze()
    made = attach(host, 3)
    for configuration in made:
        row = health(host, configuration)
        row.last_success_at = clock.time - timedelta(hours=3)
        row.status, row.since = Status.CONNECTED, row.last_success_at
    host.db.session.commit()
    record(host, "r1")
    tick(host, 9.5)
    assert {health(host, one).status for one in made} == {Status.CONNECTED}
    assert told(host) == []
    [fault] = host.db.session.scalars(sa.select(Incident).where(Incident.kind == "operator"))
    assert fault.cause == "dns"
    tick(host, 5)
    assert {health(host, one).status for one in made} == {Status.CANT_CONNECT}
    assert told(host) == sorted(str(one.id) for one in made)
    assert states(host) == {"pending": 3}
    host.db.session.refresh(fault)
    assert fault.closed_at is None


@pytest.mark.usefixtures("nothing_resolves")
def test_as_long_as_one_answers_it_is_not_our_network(host: Host, lrs: FakeLRS) -> None:
    clock = host.freeze()
    made = attach(host, 3)
    for configuration in made:
        health(host, configuration).last_success_at = clock.time - timedelta(hours=3)
    host.db.session.commit()
    host.attach(**lrs.settings, name="Well")
    record(host, "r1")
    tick(host, 1.5)
    assert {health(host, one).status for one in made} == {Status.CANT_CONNECT}
