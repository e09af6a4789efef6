"""What an entry opens: a network or a host, with one port or all of them."""

from __future__ import annotations

import socket

import pytest

from flask_lms import SetupError
from flask_lms.callbacks import Callbacks
from flask_lms.settings import Settings
from flask_lms.transport import Transport, Unreachable
from flask_lms.transport.policy import ADMIN_PORTS, BAD_PORTS, PORTS
from tests.address_cases import Names, Tripwire

INSIDE = {"lms.intranet": (("127.0.0.1",),), "lms.example.com": (("127.0.0.1",),)}


def is_called(
    entries: tuple[str, ...],
    host: str,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    address: str = "127.0.0.1",
) -> bool:
    """Whether a connection to that port would be opened."""
    tried: list[object] = []

    def connect(self: socket.socket, place: object) -> None:
        tried.append(place)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", Names({host: ((address,),)}))
    transport = Transport(Settings(allowed_networks=entries))
    with pytest.raises(Unreachable) as caught:
        transport.request("GET", f"https://{host}:{port}/", headers={})
    assert caught.value.cause in ("blocked", "refused")
    assert bool(tried) == (caught.value.cause == "refused")
    return bool(tried)


@pytest.mark.parametrize(
    ("entry", "host", "port", "opens"),
    [
        ("127.0.0.0/8:8443", "127.0.0.1", 8443, True),
        ("127.0.0.0/8:8443", "127.0.0.1", 8444, False),
        ("127.0.0.0/8:8443", "lms.example.com", 8443, True),
        ("127.0.0.0/8:8443", "lms.example.com", 443, False),
        ("127.0.0.1:8443", "127.0.0.1", 8443, True),
        ("lms.intranet:8443", "lms.intranet", 8443, True),
        ("LMS.intranet.:8443", "lms.intranet", 8443, True),
        ("lms.intranet:8443", "lms.intranet", 443, False),
        ("lms.intranet:8443", "lms.example.com", 8443, False),
        ("lms.intranet", "lms.intranet", 8443, True),
        # databases and what administers: only by an entry with the port
        ("127.0.0.0/8", "127.0.0.1", 9200, False),
        ("127.0.0.1", "127.0.0.1", 9200, False),
        ("lms.intranet", "lms.intranet", 5984, False),
        ("127.0.0.0/8:9200", "127.0.0.1", 9200, True),
        ("127.0.0.0/8:9200", "lms.example.com", 9200, True),
        ("10.0.0.0/8:9200", "lms.example.com", 9200, False),
        ("lms.intranet:9200", "lms.intranet", 9200, True),
        ("lms.intranet:9200", "lms.example.com", 9200, False),
        # what speaks no HTTP: by none
        ("127.0.0.0/8:6379", "127.0.0.1", 6379, False),
        ("lms.intranet:22", "lms.intranet", 22, False),
    ],
)
def test_an_entry_opens_what_it_names_and_no_more(
    entry: str, host: str, port: int, opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_called((entry,), host, port, monkeypatch) is opens


def test_a_network_with_an_admin_port_opens_that_port_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    public = "93.184.215.14"
    for entries, opens in (((), False), (("10.0.0.0/8:9200",), False), (("a.example:9200",), True)):
        assert is_called(entries, "a.example", 9200, monkeypatch, public) is opens
    assert is_called((), "a.example", 8443, monkeypatch, public)


def test_the_ports_of_databases_are_known() -> None:
    assert {5984, 8086, 8500, 9200, 10255, 15672} <= ADMIN_PORTS
    assert not ADMIN_PORTS & BAD_PORTS
    assert not (ADMIN_PORTS | BAD_PORTS) & PORTS
    assert max(ADMIN_PORTS) < 32768  # where the ports of tests' own servers begin


def test_entries_of_one_open_nothing_for_another_not_even_a_kept_connection(
    tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(INSIDE))
    everybody = Transport(Settings(allow_http=True))
    one, other = everybody.under([f"lms.intranet:{tripwire.port}"]), everybody.under([])
    url = f"http://lms.intranet:{tripwire.port}/"
    for _ in range(2):
        assert one.request("GET", url, headers={}).status == 204
        for refused in (other, everybody):
            with pytest.raises(Unreachable) as caught:
                refused.request("GET", url, headers={})
            assert caught.value.cause == "blocked"


def test_an_answer_from_inside_says_that_it_is(
    tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(INSIDE))
    settings = {"allow_http": True, "allowed_networks": ("127.0.0.0/8",)}
    url = f"http://lms.example.com:{tripwire.port}/"
    hiding = Transport(Settings(**settings))  # type: ignore[arg-type]
    for _ in range(2):  # the second goes over the kept connection
        assert hiding.request("GET", url, headers={}).is_private
    shown = Transport(Settings(**settings, show_private_answers=True))  # type: ignore[arg-type]
    assert not shown.request("GET", url, headers={}).is_private


@pytest.mark.parametrize("returned", ["10.0.0.1/8", ["?"], 7, ["lms.intranet:0"]])
def test_what_is_no_list_of_entries_is_the_hosts_mistake(returned: object) -> None:
    callbacks = Callbacks()
    callbacks.register("egress_policy", lambda organization_id: returned)
    with pytest.raises(SetupError, match="egress_policy returned"):
        callbacks.egress("acme")


def test_a_host_may_leave_it_to_the_setting() -> None:
    callbacks = Callbacks()
    assert callbacks.egress("acme") is None
    given = {"acme": None, "dock": [], "harbor": "10.0.0.0/8, lms.intranet:8443"}
    callbacks.register("egress_policy", lambda organization_id: given[organization_id])
    found = [callbacks.egress(one) for one in given]
    assert found == [None, (), ("10.0.0.0/8", "lms.intranet:8443")]
