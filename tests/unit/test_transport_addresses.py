"""The table of addresses against the transport itself."""

from __future__ import annotations

import socket

import pytest

from flask_lms.settings import Settings
from flask_lms.transport import Transport, Unreachable
from flask_lms.transport.policy import AddressPolicy

from ..address_cases import ALLOWED, BLOCKED, AddressCase, Names, Tripwire


def _transport(case: AddressCase, **settings: object) -> Transport:
    settings.setdefault("connect_timeout_seconds", 1.0)
    return Transport(Settings(allowed_networks=case.allowed_networks, **settings))  # type: ignore[arg-type]


def _by_name(case: AddressCase) -> str:
    return case.name[:60].encode("ascii", "backslashreplace").decode()


def test_the_table_is_long_enough() -> None:
    assert len(BLOCKED) >= 60
    assert len({case.name for case in BLOCKED + ALLOWED}) == len(BLOCKED + ALLOWED)


@pytest.mark.parametrize("allow_http", [False, True])
@pytest.mark.parametrize("case", BLOCKED, ids=_by_name)
def test_a_forbidden_address_is_never_connected_to(
    case: AddressCase,
    allow_http: bool,
    tripwire: Tripwire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(case.answers))
    transport = _transport(case, allow_http=allow_http)
    url = case.url.replace("{port}", str(tripwire.port))
    with pytest.raises(Unreachable) as caught:
        transport.request("POST", url, headers={}, body=b"[]", auth=("key", "secret"))
    assert caught.value.cause == case.cause
    assert not caught.value.was_sent
    assert "secret" not in str(caught.value.facts)
    with pytest.raises(Unreachable) as caught:
        list(transport.connect_stages(url))
    assert caught.value.cause == case.cause
    assert tripwire.touched == []


@pytest.mark.parametrize("case", ALLOWED, ids=_by_name)
def test_a_listed_private_host_is_called(
    case: AddressCase,
    tripwire: Tripwire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(case.answers))
    url = case.url.replace("{port}", str(tripwire.port))
    reply = _transport(case, allow_http=True).request("POST", url, headers={}, body=b"[]")
    assert reply.status == 204
    assert {address[0] for address in tripwire.touched} <= {"127.0.0.1", "::1"}


def test_a_public_address_is_tried(tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def connect(self: socket.socket, address: object) -> None:
        tried.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    answers = {"lms.example.com": (("93.184.215.14", "2606:2800:21f:cb07::1"),)}
    monkeypatch.setattr(socket, "getaddrinfo", Names(answers))
    with pytest.raises(Unreachable) as caught:
        Transport(Settings()).request("GET", "https://lms.example.com:8443/xapi", headers={})
    assert caught.value.cause == "refused"
    assert tried == [("93.184.215.14", 8443), ("2606:2800:21f:cb07::1", 8443, 0, 0)]


def test_a_name_is_looked_up_once_so_that_its_answer_cannot_change_in_between(
    tripwire: Tripwire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names({"lms.example.com": (("127.0.0.1",), ("10.0.0.1",), ("169.254.169.254",))})
    monkeypatch.setattr(socket, "getaddrinfo", names)
    transport = Transport(Settings(allow_http=True, allowed_networks=("127.0.0.1",)))
    url = f"http://lms.example.com:{tripwire.port}/"
    assert transport.request("GET", url, headers={}).status == 204
    assert names.asked == ["lms.example.com"]
    with pytest.raises(Unreachable) as caught:
        transport.request("GET", url, headers={})
    assert caught.value.cause == "blocked"
    assert {address[0] for address in tripwire.touched} == {"127.0.0.1"}


def test_a_literal_private_address_is_refused_without_a_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    policy = AddressPolicy.of(Settings())
    for url in (
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "https://127.1/",
    ):
        with pytest.raises(Unreachable) as caught:
            policy.check(url)
        assert caught.value.cause == "blocked"
    policy.check("https://lms.example.com:8443/xapi")


def test_a_metadata_address_is_called_when_that_very_address_is_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = AddressPolicy.of(Settings(allowed_networks=("169.254.169.254",)))
    policy.check("https://169.254.169.254/")
    with pytest.raises(Unreachable):
        policy.check("https://169.254.169.253/")


def test_the_tripwire_hears_every_connection(tripwire: Tripwire) -> None:
    with socket.create_connection(("127.0.0.1", tripwire.port), 5):
        assert tripwire.touched == [("127.0.0.1", tripwire.port)]
