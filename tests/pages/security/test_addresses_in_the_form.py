"""The table of addresses, typed into the form: tested unsaved, saved, and tested by its button."""

from __future__ import annotations

import dataclasses
import itertools
import socket
from collections.abc import Iterator

import pytest

from flask_lms.transport import Transport
from tests.address_cases import BLOCKED, AddressCase, Names, Tripwire
from tests.pages.site import make_site
from tests.world import World

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path = tmp_path_factory.mktemp("form") / "site.db"
    with make_site(f"sqlite:///{path}", WTF_CSRF_ENABLED=False, LMS_ALLOW_HTTP=False) as made:
        yield made


def _by_name(case: AddressCase) -> str:
    return case.name[:60].encode("ascii", "backslashreplace").decode()


@pytest.mark.parametrize("case", BLOCKED, ids=_by_name)
def test_an_address_in_the_form_is_never_connected_to(
    case: AddressCase, world: World, tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_lms.services.connection_test.MOST_A_MINUTE", 10**6)
    settings = dataclasses.replace(world.state.settings, allowed_networks=case.allowed_networks)
    world.state.settings, world.state.transport = settings, Transport(settings)
    monkeypatch.setattr(socket, "getaddrinfo", Names(case.answers))
    client = world.client()
    name = f"LMS {next(_NUMBERS)}"
    first = {"name": name, "type": "xapi", "contact_emails": "a@harbor.example", "language": "en"}
    url = case.url.replace("{port}", str(tripwire.port))
    typed = {**first, "url": url, "key": "key", "secret": "s3cret-canary"}
    tested = client.post("/lms/new/xapi", data={**typed, "act": "test"})
    assert tested.status_code == 200
    saved = client.post("/lms/new/xapi", data={**typed, "act": "save"})
    if saved.status_code == 303:
        again = client.post(f"{saved.headers['Location']}/test")
        assert again.status_code == 200
    else:
        assert saved.status_code == 200  # refused beside its field
    assert [address for address in tripwire.touched if address[1] != 1] == []
