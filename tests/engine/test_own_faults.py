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
from tests.world import World


@pytest.fixture
def nothing_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def fail(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "127.0.0.1":
            return real(host, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def tick(world: World, minutes: float) -> None:
    """What a worker does: it looks each five seconds for what is due, also for mails to decide."""
    for _ in range(round(minutes * 12)):
        world.deliver_due()
        outages.tick(world.state, world.state.clock.now(world.db.session()))
        world.state.clock.advance(seconds=5)  # type: ignore[attr-defined]


def told(world: World) -> list[str]:
    world.db.session.rollback()
    query = sa.select(Mail.configuration_id).where(Mail.kind == "error")
    return sorted(str(id) for id in world.db.session.scalars(query))


def attach(world: World, n: int) -> list[Any]:
    return [
        world.attach(f"http://mistyped{i}.acme.example/xapi", name=f"LMS {i}") for i in range(n)
    ]


@pytest.mark.usefixtures("nothing_resolves")
def test_three_mistyped_names_are_three_customers_to_tell_within_three_minutes(
    world: World,
) -> None:
    world.freeze()
    made = attach(world, 3)
    world.record("r1")
    tick(world, 3)
    for configuration in made:
        now = world.health(configuration)
        assert (now.status, now.cause) == (Status.CANT_CONNECT, "dns")
    assert told(world) == sorted(str(one.id) for one in made)
    assert not world.db.session.scalar(sa.select(Incident.id).where(Incident.kind == "operator"))


@pytest.mark.usefixtures("nothing_resolves")
def test_when_those_fail_that_worked_nobody_is_told_for_ten_minutes_but_the_operator(
    world: World,
) -> None:
    clock = world.freeze()
    made = attach(world, 3)
    for configuration in made:
        row = world.health(configuration)
        row.last_success_at = clock.time - timedelta(hours=3)
        row.status, row.since = Status.CONNECTED, row.last_success_at
    world.db.session.commit()
    world.record("r1")
    tick(world, 9.5)
    assert {world.health(one).status for one in made} == {Status.CONNECTED}
    assert told(world) == []
    [fault] = world.db.session.scalars(sa.select(Incident).where(Incident.kind == "operator"))
    assert fault.cause == "dns"
    tick(world, 5)
    assert {world.health(one).status for one in made} == {Status.CANT_CONNECT}
    assert told(world) == sorted(str(one.id) for one in made)
    assert world.states() == {"pending": 3}
    world.db.session.refresh(fault)
    assert fault.closed_at is None


@pytest.mark.usefixtures("nothing_resolves")
def test_as_long_as_one_answers_it_is_not_our_network(world: World, lrs: FakeLRS) -> None:
    clock = world.freeze()
    made = attach(world, 3)
    for configuration in made:
        world.health(configuration).last_success_at = clock.time - timedelta(hours=3)
    world.db.session.commit()
    world.attach(**lrs.settings, name="Well")
    world.record("r1")
    tick(world, 1.5)
    assert {world.health(one).status for one in made} == {Status.CANT_CONNECT}
