"""The table of addresses through every way in: saving, both tests, and the worker's drain.

A configuration may also be older than a rule, or written into the database by somebody else, so
each address is put there past all checks, too.
"""

from __future__ import annotations

import dataclasses
import itertools
import socket
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from flask_lms.database.models import Attempt, Configuration, Delivery, DeliveryState, Status
from flask_lms.delivery.deliver import Deliverer
from flask_lms.encryption import binding
from flask_lms.errors import InvalidConfiguration
from flask_lms.transport import Transport
from tests.address_cases import ALLOWED, BLOCKED, AddressCase, Names, Tripwire
from tests.world import World, make_world, result

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path = tmp_path_factory.mktemp("addresses") / "host.db"
    with make_world(f"sqlite:///{path}") as made:
        yield made


def _by_name(case: AddressCase) -> str:
    return case.name[:60].encode("ascii", "backslashreplace").decode()


def _prepare(world: World, case: AddressCase, tripwire: Tripwire, *, allow_http: bool) -> str:
    settings = dataclasses.replace(
        world.state.settings,
        allowed_networks=case.allowed_networks,
        allow_http=allow_http,
        connect_timeout_seconds=1.0,
    )
    world.state.settings, world.state.transport = settings, Transport(settings)
    return case.url.replace("{port}", str(tripwire.port))


def _values(url: str) -> dict[str, str]:
    return {"url": url, "key": "key", "secret": "s3cret-canary"}


def _touched(tripwire: Tripwire) -> list[object]:
    """Without the Redis of the host, at port 1, which is away."""
    return [address for address in tripwire.touched if address[1] != 1]


@pytest.mark.parametrize("case", BLOCKED, ids=_by_name)
def test_an_address_that_is_entered_is_never_connected_to(
    shared: World, case: AddressCase, tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _prepare(shared, case, tripwire, allow_http=False)
    monkeypatch.setattr(socket, "getaddrinfo", Names(case.answers))
    services = shared.lms.configurations
    outcomes: list[str | None] = []
    refused: set[str] = set()
    try:
        outcomes.append(services.test_settings("xapi", _values(url)).cause)
        made = services.create(
            "acme", f"LMS {next(_NUMBERS)}", ["ana@acme.example"], settings=_values(url)
        )
        outcomes.append(services.test(made.id).cause)
    except InvalidConfiguration as error:
        refused = set(error.errors)
    assert refused <= {"url"}
    assert None not in outcomes  # never connected
    assert _touched(tripwire) == []


@pytest.mark.parametrize("case", BLOCKED, ids=_by_name)
def test_an_address_that_is_in_the_database_is_never_connected_to(
    shared: World, case: AddressCase, tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _prepare(shared, case, tripwire, allow_http=True)
    monkeypatch.setattr(socket, "getaddrinfo", Names(case.answers))
    made = shared.attach("https://lms.example.com/xapi", f"LMS {next(_NUMBERS)}")
    session = shared.db.session
    # Whoever can write to the database has the keys too: else the secret is bound to the address.
    connector = shared.state.registry.get("xapi")
    assert connector is not None
    settings = {**made.settings, "url": url}
    token = shared.state.encryption.encrypt(
        {"secret": "s3cret-canary"}, binding(made.id, connector.origin(settings))
    )
    session.execute(
        sa.update(Configuration)
        .where(Configuration.id == made.id)
        .values(settings=settings, secrets=token)
    )
    session.commit()
    shared.lms.record(result(f"r{next(_NUMBERS)}"))
    session.commit()
    Deliverer(shared.state).deliver(made.id)
    report = shared.lms.configurations.test(made.id)
    assert _touched(tripwire) == []
    assert report.cause in ("blocked", "dns")
    session.expire_all()
    assert shared.lms.configurations.get(made.id).health.status is not Status.CONNECTED
    (attempt,) = session.scalars(sa.select(Attempt).where(Attempt.configuration_id == made.id))
    assert attempt.cause in ("blocked", "dns")
    states = session.scalars(
        sa.select(Delivery.state).where(Delivery.configuration_id == made.id)
    ).all()
    assert states == [DeliveryState.PENDING]
    shared.lms.configurations.delete(made.id)


@pytest.mark.parametrize("case", ALLOWED, ids=_by_name)
def test_a_listed_host_is_reached_by_test_and_worker(
    shared: World, case: AddressCase, tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _prepare(shared, case, tripwire, allow_http=True)
    monkeypatch.setattr(socket, "getaddrinfo", Names(case.answers))
    made = shared.attach(url, f"LMS {next(_NUMBERS)}")
    shared.lms.configurations.test(made.id)
    assert tripwire.requests
    tripwire.requests.clear()
    shared.lms.configurations.resume(made.id)
    shared.lms.configurations.send_waiting(made.id)
    shared.lms.record(result(f"r{next(_NUMBERS)}"))
    shared.db.session.commit()
    Deliverer(shared.state).deliver(made.id)
    assert any(request.startswith(b"POST") for request in tripwire.requests)
    shared.lms.configurations.delete(made.id)
