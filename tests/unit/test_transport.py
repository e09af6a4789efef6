"""Connections: kept, shared, limited; nothing of the environment; proxies."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import LocationParseError

from flask_lms.settings import Settings
from flask_lms.transport import Transport, Unreachable
from flask_lms.transport.faults import Phase, cause_of
from flask_lms.transport.policy import BAD_PORTS, AddressPolicy

from ..transport_support import Authority, Server, read_request, serving, transport

_OK = b"HTTP/1.1 204 No Content\r\n\r\n"
_PUBLIC_ONLY = AddressPolicy.of(Settings())


class KeepAlive:
    """Answers every request on a connection, and keeps what it read."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.answer = _OK

    def __call__(self, caller: socket.socket) -> None:
        while True:
            request = read_request(caller)
            if not request:
                return
            self.heads.append(request)
            caller.sendall(self.answer)


@pytest.fixture
def lms() -> Iterator[Server]:
    with serving(KeepAlive()) as server:
        yield server


def _heads(server: Server) -> list[bytes]:
    assert isinstance(server.behaviour, KeepAlive)
    return server.behaviour.heads


def test_what_is_sent(lms: Server) -> None:
    transport().request(
        "POST",
        lms.url(path="/xapi/statements?a=b%20c"),
        headers={"Content-Type": "application/json", "User-Agent": "Flask-LMS/1"},
        body="[“é”]".encode(),
        auth=("clé", "sécret:☃"),
    )
    head, _, body = _heads(lms)[0].partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert lines[0] == "POST /xapi/statements?a=b%20c HTTP/1.1"
    token = base64.b64encode("clé:sécret:☃".encode()).decode()
    assert sorted(lines[1:]) == [
        "Accept-Encoding: identity",
        f"Authorization: Basic {token}",
        "Content-Length: 10",
        "Content-Type: application/json",
        f"Host: 127.0.0.1:{lms.port}",
        "User-Agent: Flask-LMS/1",
    ]
    assert body.decode() == "[“é”]"


def test_one_connection_carries_many_requests(lms: Server) -> None:
    sender = transport()
    for _ in range(5):
        assert sender.request("POST", lms.url(), headers={}, body=b"[]").status == 204
    assert lms.connections == 1
    sender.close()
    sender.request("POST", lms.url(), headers={}, body=b"[]")
    assert lms.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
def test_a_connection_is_kept_after_an_answer_that_was_read_to_its_end(
    lms: Server, answer: bytes
) -> None:
    lms.behaviour.answer = answer  # type: ignore[attr-defined]
    sender = transport()
    for _ in range(3):
        assert sender.request("POST", lms.url(), headers={}, body=b"[]").is_complete
    assert lms.connections == 1


def test_a_connection_is_not_kept_after_an_answer_that_was_cut(lms: Server) -> None:
    lms.behaviour.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30000  # type: ignore[attr-defined]
    sender = transport()
    for _ in range(2):
        reply = sender.request("POST", lms.url(), headers={}, body=b"[]")
        assert (reply.status, reply.is_truncated) == (200, True)
    assert lms.connections == 2


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    def once(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(_OK)

    with serving(once) as server:
        sender = transport()
        for _ in range(3):
            assert sender.request("GET", server.url(), headers={}).status == 204
            time.sleep(0.02)
        assert server.connections == 3


def test_a_kept_connection_that_closes_under_a_request_is_replaced_once() -> None:
    """The server's FIN and our next request may cross on the way."""

    def close_at_the_second(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(_OK)
        caller.settimeout(1)
        read_request(caller)

    with serving(close_at_the_second) as server:
        sender = transport()
        for _ in range(4):
            assert sender.request("POST", server.url(), headers={}, body=b"[]").status == 204
        assert server.connections == 4


def test_a_new_connection_that_closes_under_a_request_is_a_reset() -> None:
    with serving(lambda caller: read_request(caller) and None) as server:
        with pytest.raises(Unreachable) as caught:
            transport().request("POST", server.url(), headers={}, body=b"[]")
        assert (caught.value.cause, server.connections) == ("reset", 1)


def test_a_kept_connection_that_breaks_in_the_answer_is_not_repeated() -> None:
    def break_in_the_second(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(_OK)
        read_request(caller)
        caller.sendall(b"HTTP/1.1 2")

    with serving(break_in_the_second) as server:
        sender = transport()
        sender.request("POST", server.url(), headers={}, body=b"[]")
        with pytest.raises(Unreachable):
            sender.request("POST", server.url(), headers={}, body=b"[]")
        assert server.connections == 1


def test_a_kept_connection_that_is_reset_in_the_answer_is_not_repeated() -> None:
    def reset_in_the_second(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(_OK)
        read_request(caller)
        caller.sendall(b"HTTP/1.1 200 OK\r\nX-")
        time.sleep(0.1)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(reset_in_the_second) as server:
        sender = transport()
        sender.request("POST", server.url(), headers={}, body=b"[]")
        with pytest.raises(Unreachable) as caught:
            sender.request("POST", server.url(), headers={}, body=b"[]")
        assert (caught.value.cause, server.connections) == ("reset", 1)


def test_a_kept_connection_that_stays_silent_is_a_timeout_and_not_repeated() -> None:
    def be_silent_at_the_second(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(_OK)
        read_request(caller)
        caller.recv(1)

    with serving(be_silent_at_the_second) as server:
        sender = transport()
        sender.request("POST", server.url(), headers={}, body=b"[]")
        with pytest.raises(Unreachable) as caught:
            sender.request("POST", server.url(), headers={}, body=b"[]")
        assert (caught.value.cause, server.connections) == ("timeout", 1)


def test_a_new_connection_in_place_of_a_kept_one_is_a_new_one() -> None:
    def hang_up(caller: socket.socket) -> None:
        read_request(caller)
        if server.connections == 1:
            caller.sendall(_OK)

    with serving(hang_up) as server:
        sender = transport()
        sender.request("POST", server.url(), headers={}, body=b"[]")
        time.sleep(0.05)
        with pytest.raises(Unreachable) as caught:
            sender.request("POST", server.url(), headers={}, body=b"[]")
        assert (caught.value.cause, server.connections) == ("reset", 2)


def test_the_second_try_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def close_at_the_second(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(_OK)
        caller.settimeout(1)
        read_request(caller)

    tried: list[object] = []

    def connect(self: socket.socket, address: object) -> None:
        tried.append(address)
        raise ConnectionResetError

    with serving(close_at_the_second) as server:
        sender = transport()
        sender.request("POST", server.url(), headers={}, body=b"[]")
        monkeypatch.setattr(socket.socket, "connect", connect)
        with pytest.raises(Unreachable) as caught:
            sender.request("POST", server.url(), headers={}, body=b"[]")
    assert (caught.value.cause, caught.value.was_sent, len(tried)) == ("reset", True, 1)


def test_a_server_that_is_gone_at_the_second_try_may_have_the_request() -> None:
    def last_words(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(_OK)
        caller.settimeout(1)
        read_request(caller)
        server.close_door()

    with serving(last_words) as server:
        sender = transport()
        sender.request("POST", server.url(), headers={}, body=b"[]")
        with pytest.raises(Unreachable) as caught:
            sender.request("POST", server.url(), headers={}, body=b"[]")
    assert caught.value.cause == "refused"
    assert caught.value.was_sent


def test_a_connection_that_idled_is_not_used_again(
    lms: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = transport()
    sender.request("GET", lms.url(), headers={})
    monkeypatch.setattr("flask_lms.transport.http.MOST_IDLE_SECONDS", 0.0)
    sender.request("GET", lms.url(), headers={})
    assert lms.connections == 2


def test_cookies_are_not_kept(lms: Server) -> None:
    lms.behaviour.answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"  # type: ignore[attr-defined]
    sender = transport()
    for _ in range(2):
        sender.request("GET", lms.url(), headers={})
    assert all(b"ookie" not in head for head in _heads(lms))


def test_threads_share_a_transport(lms: Server) -> None:
    sender = transport(read_timeout_seconds=5, total_timeout_seconds=10)
    replies: list[int] = []

    def work() -> None:
        for _ in range(10):
            replies.append(sender.request("POST", lms.url(), headers={}, body=b"[]").status)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert replies == [204] * 80
    assert len(_heads(lms)) == 80


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own(lms: Server) -> None:
    sender = transport()
    sender.request("GET", lms.url(), headers={})
    held = next(iter(sender._adapters.values())).poolmanager.pools.lock
    held.acquire()  # as if another thread were inside at the moment of the fork
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if sender.request("GET", lms.url(), headers={}).status == 204:
                status = 0
        finally:
            os._exit(status)
    held.release()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert sender.request("GET", lms.url(), headers={}).status == 204
    assert lms.connections == 2


def test_many_destinations_do_not_pile_up(lms: Server) -> None:
    sender = transport(allowed_networks=("127.0.0.0/8",))
    for port in range(20000, 20100):
        with pytest.raises(Unreachable):
            sender.request("GET", f"http://127.0.0.1:{port}/", headers={})
    assert len(next(iter(sender._adapters.values())).poolmanager.pools) == 64


def test_the_environment_changes_nothing(
    lms: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password loot\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    reply = transport().request("GET", lms.url(), headers={}, auth=("key", "secret"))
    assert reply.status == 204
    assert base64.b64encode(b"key:secret") in _heads(lms)[0]
    transport().request("GET", lms.url(), headers={})
    assert b"uthorization" not in _heads(lms)[1]


def test_nothing_listens_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        transport().request("GET", f"http://127.0.0.1:{port}/", headers={})
    assert caught.value.cause == "refused"
    assert caught.value.facts == {"host": "127.0.0.1", "port": port}
    assert not caught.value.was_sent


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (TimeoutError("timed out"), "connect_timeout"),
        (OSError(110, "Connection timed out"), "connect_timeout"),
        (OSError(101, "Network is unreachable"), "unreachable"),
        (OSError(113, "No route to host"), "unreachable"),
        (PermissionError(13, "Permission denied"), "unreachable"),
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
    ],
)
def test_why_no_connection_could_be_made(
    error: OSError, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(self: socket.socket, address: object) -> None:
        raise error

    monkeypatch.setattr(socket.socket, "connect", connect)
    for attempt in (
        lambda: transport().request("GET", "https://93.184.215.14/", headers={}),
        lambda: list(transport().connect_stages("https://93.184.215.14/")),
    ):
        with pytest.raises(Unreachable) as caught:
            attempt()
        assert caught.value.cause == cause
        assert caught.value.facts["host"] == "93.184.215.14"
        assert caught.value.facts.get("seconds") == (1.0 if cause == "connect_timeout" else None)


def _not_yet_valid() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_code = 9
    return error


@pytest.mark.parametrize(
    ("error", "phase", "cause"),
    [
        (OSError(107, "Transport endpoint is not connected"), "connect", "reset"),
        (UnicodeError("label too long"), "connect", "dns"),
        (LocationParseError("http://[/"), "connect", "dns"),
        (_not_yet_valid(), "tls", "tls"),
        (ssl.SSLError("bad record"), "sent", "tls"),
        (OSError("odd"), "sent", "reset"),
        (ValueError("odd"), "sent", "not_http"),
    ],
)
def test_rare_faults_have_a_cause_by_how_far_the_exchange_was(
    error: Exception, phase: Phase, cause: str
) -> None:
    assert cause_of(error, phase) == cause


def test_many_dead_addresses_share_one_connect_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []

    def connect(self: socket.socket, address: object) -> None:
        waited.append(self.gettimeout())
        raise TimeoutError

    monkeypatch.setattr(socket.socket, "connect", connect)
    rows = [(socket.AF_INET, 1, 6, "", (f"93.184.215.{n}", 443)) for n in range(1, 60)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: rows)
    with pytest.raises(Unreachable) as caught:
        transport().request("GET", "https://lms.example.com/", headers={})
    assert caught.value.cause == "connect_timeout"
    assert sum(seconds or 99 for seconds in waited) <= 1.0


def test_the_stages_of_a_connection_come_one_by_one(lms: Server) -> None:
    stages = list(transport().connect_stages(lms.url("localhost")))
    assert [name for name, _ in stages] == ["address", "dns", "connect"]
    assert all(milliseconds >= 0 for _, milliseconds in stages)
    assert _heads(lms) == []


def test_the_stages_are_those_of_a_connection_of_its_own() -> None:
    authority = Authority()
    with serving(KeepAlive(), authority.server_context("localhost")) as lms:
        sender = transport()
        sender.request("GET", lms.url("localhost"), headers={}, ca_pem=authority.pem)
        stages = list(sender.connect_stages(lms.url("localhost"), ca_pem=authority.pem))
        assert [name for name, _ in stages] == ["address", "dns", "connect", "tls"]
        assert (lms.connections, len(_heads(lms))) == (2, 1)
        sender.close()


def test_a_look_up_that_leads_to_a_forbidden_address_has_not_ended_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [(socket.AF_INET, 1, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: rows)
    ended: list[str] = []
    with pytest.raises(Unreachable):
        ended.extend(name for name, _ in transport().connect_stages("https://lms.example.com/"))
    assert ended == ["address"]


def test_a_literal_address_has_no_look_up(lms: Server) -> None:
    assert [name for name, _ in transport().connect_stages(lms.url())] == ["address", "connect"]


def test_ports_of_other_services_are_not_called_and_all_others_are() -> None:
    policy = AddressPolicy.of(Settings())
    for port in BAD_PORTS:
        with pytest.raises(Unreachable) as caught:
            policy.check(f"https://lms.example.com:{port}/")
        assert caught.value.facts["reason"] == "port"
    for port in (80, 443, 3000, 5000, 8000, 8080, 8081, 8443, 9000, 65535):
        policy.check(f"https://lms.example.com:{port}/")


def test_http_is_refused_unless_the_platform_allows_it() -> None:
    with pytest.raises(Unreachable) as caught:
        AddressPolicy.of(Settings()).check("http://lms.example.com/")
    assert caught.value.facts["reason"] == "scheme"
    AddressPolicy.of(Settings(allow_http=True)).check("http://lms.example.com/")


def test_a_transport_shows_nothing_of_itself(lms: Server) -> None:
    sender = transport()
    sender.request("GET", lms.url(), headers={}, auth=("key", "canary"))
    assert "canary" not in repr(sender) + repr(vars(sender))


@pytest.mark.parametrize(
    ("url", "cause", "reason"),
    [
        ("https://[::1", "blocked", "url"),
        ("https:///xapi", "blocked", "url"),
        ("https://lms.example.com\n/", "blocked", "url"),
        ("https://lms.example.com/\x7f", "blocked", "url"),
        ("https://lms%2eexample.com/", "blocked", "url"),
        ("https://" + "a." * 130 + "com/", "blocked", "url"),
        ("https://lms.example.com/" + "a" * 9000, "blocked", "url"),
        ("lms.example.com/xapi", "blocked", "scheme"),
        ("ftp://lms.example.com/", "blocked", "scheme"),
        ("https://key:secret@lms.example.com/", "blocked", "userinfo"),
        ("https://lms.example.com:22/", "blocked", "port"),
        ("https://lms.example.com:0/", "blocked", "port"),
        ("https://lms.example.com:8o/", "blocked", "port"),
        ("https://127.1/", "blocked", "encoded"),
        ("https://127..1/", "blocked", "encoded"),
        ("https://①②⑦.1/", "blocked", "encoded"),
        ("https://127.0.0.1/", "blocked", "address"),
        ("https://lms..example.com/", "dns", "name"),
        ("https://lms!.example.com/", "dns", "name"),
        (f"https://{'a' * 64}.example.com/", "dns", "name"),
        (f"https://{'ü' * 64}.example.com/", "dns", "name"),
        ("https://-my_lms.example.com/", "dns", "name"),
    ],
)
def test_the_part_of_a_url_that_is_refused_is_named(url: str, cause: str, reason: str) -> None:
    with pytest.raises(Unreachable) as caught:
        AddressPolicy.of(Settings()).check(url)
    assert (caught.value.cause, caught.value.facts["reason"]) == (cause, reason)
    assert "secret" not in str(caught.value.facts)


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (("93.184.215.14", "10.0.0.1"), "mixed"),
        (("10.0.0.1", "10.0.0.2"), "address"),
        (("10.0.0.1",), "address"),
    ],
)
def test_a_name_of_allowed_and_forbidden_addresses_is_told_from_a_forbidden_one(
    addresses: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(socket.AF_INET, 1, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: rows)
    with pytest.raises(Unreachable) as caught:
        transport().request("GET", "https://lms.example.com/", headers={})
    assert (caught.value.cause, caught.value.facts["reason"]) == ("blocked", reason)


@given(
    st.text(max_size=60), st.sampled_from(["", "https://", "https://[", "http://a@", "https://x:"])
)
def test_no_url_raises_anything_but_ours(text: str, before: str) -> None:
    cause, host = "none", ""
    try:
        _PUBLIC_ONLY.check(before + text)
    except Unreachable as fault:
        cause, host = fault.cause, fault.facts["host"]
    assert cause in ("none", "blocked", "dns")
    assert isinstance(host, str)


# -- proxies ---------------------------------------------------------------------------------------


class Proxy:
    """A forwarding and tunnelling proxy to loopback, whatever the name."""

    def __init__(self, port: int, refusal: bytes | None = None) -> None:
        self.port = port
        self.refusal = refusal
        self.first_lines: list[bytes] = []

    def __call__(self, caller: socket.socket) -> None:
        head = read_request(caller)
        if not head:
            return
        self.first_lines.append(head.split(b"\r\n")[0])
        if self.refusal:
            caller.sendall(self.refusal)
            return
        with socket.create_connection(("127.0.0.1", self.port), 5) as there:
            if head.startswith(b"CONNECT"):
                caller.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_copy, args=(there, caller), daemon=True)
                back.start()
                _copy(caller, there)
                back.join(5)
            else:
                there.sendall(head)
                caller.sendall(there.recv(65536))


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _by_proxy(proxy: Server, **more: Any) -> Transport:
    return transport(allowed_networks=(), proxy_url=f"http://127.0.0.1:{proxy.port}", **more)


def test_a_proxy_forwards_and_looks_names_up(lms: Server) -> None:
    with serving(Proxy(lms.port)) as proxy:
        sender = _by_proxy(proxy)
        reply = sender.request("POST", "http://lms.invalid:8080/xapi", headers={}, body=b"[]")
        assert reply.status == 204
        assert proxy.behaviour.first_lines == [b"POST http://lms.invalid:8080/xapi HTTP/1.1"]  # type: ignore[attr-defined]
        stages = [name for name, _ in sender.connect_stages("http://lms.invalid:8080/xapi")]
        assert stages == ["address", "connect"]


def test_tls_goes_through_a_proxy_end_to_end() -> None:
    authority = Authority()
    with (
        serving(KeepAlive(), authority.server_context("lms.invalid")) as lms,
        serving(Proxy(lms.port)) as proxy,
    ):
        sender = _by_proxy(proxy)
        url = "https://lms.invalid:8443/xapi"
        assert sender.request("GET", url, headers={}, ca_pem=authority.pem).status == 204
        assert proxy.behaviour.first_lines[0].startswith(b"CONNECT lms.invalid:8443 ")  # type: ignore[attr-defined]
        stages = list(sender.connect_stages(url, ca_pem=authority.pem))
        assert [name for name, _ in stages] == ["address", "connect"]
        with pytest.raises(Unreachable) as caught:
            sender.request("GET", "https://other.invalid:8443/", headers={}, ca_pem=authority.pem)
        assert caught.value.cause == "tls_name"
        assert caught.value.facts["host"] == "other.invalid"
        sender.close()


def test_a_proxy_that_refuses_is_named() -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with serving(Proxy(1, refusal)) as proxy:
        sender = _by_proxy(proxy)
        for attempt in (
            lambda: sender.request("GET", "https://lms.invalid/", headers={}),
            lambda: list(sender.connect_stages("https://lms.invalid/")),
        ):
            with pytest.raises(Unreachable) as caught:
                attempt()
            assert caught.value.cause == "proxy"
            assert caught.value.facts["host"] == "lms.invalid"
            assert not caught.value.was_sent


def test_a_proxy_that_is_down_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sender = transport(allowed_networks=(), proxy_url=f"http://127.0.0.1:{port}")
    for url in ("http://lms.invalid/", "https://lms.invalid/"):
        with pytest.raises(Unreachable) as caught:
            sender.request("GET", url, headers={})
        assert caught.value.cause == "proxy"
        with pytest.raises(Unreachable) as caught:
            list(sender.connect_stages(url))
        assert caught.value.cause == "proxy"


def test_a_tunnel_that_stays_silent_is_a_timeout_and_one_that_closes_is_the_proxys() -> None:
    def stay_silent(caller: socket.socket) -> None:
        read_request(caller)
        caller.recv(1)

    with serving(stay_silent) as proxy, pytest.raises(Unreachable) as caught:
        _by_proxy(proxy, connect_timeout_seconds=0.2).request(
            "GET", "https://lms.invalid/", headers={}
        )
    assert (caught.value.cause, caught.value.facts["seconds"]) == ("timeout", 0.2)
    with serving(lambda caller: None) as proxy, pytest.raises(Unreachable) as caught:
        _by_proxy(proxy).request("GET", "https://lms.invalid/", headers={})
    assert (caught.value.cause, caught.value.facts["proxy"]) == ("proxy", "127.0.0.1")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_that_drips_through_a_proxy_is_cut_at_the_total_limit(scheme: str) -> None:
    def drip(caller: socket.socket) -> None:
        read_request(caller)
        while True:  # until the caller hangs up
            caller.sendall(b"H")
            time.sleep(0.05)

    authority = Authority()
    context = authority.server_context("lms.invalid") if scheme == "https" else None
    with serving(drip, context) as lms, serving(Proxy(lms.port)) as proxy:
        if scheme == "http":
            proxy.behaviour = drip
        started = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            _by_proxy(proxy, total_timeout_seconds=0.6).request(
                "GET", f"{scheme}://lms.invalid:8443/", headers={}, ca_pem=authority.pem
            )
        assert time.monotonic() - started < 2
    assert (caught.value.cause, caught.value.facts["seconds"]) == ("timeout", 0.6)


def test_private_addresses_are_refused_before_a_proxy_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(Proxy(1)) as proxy:
        sender = _by_proxy(proxy)
        rows = [(socket.AF_INET, 1, 6, "", ("10.0.0.1", 443))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a: rows)
        for url in ("https://169.254.169.254/", "https://127.0.0.1/", "https://lms.example.com/"):
            with pytest.raises(Unreachable) as caught:
                sender.request("GET", url, headers={})
            assert caught.value.cause == "blocked"
        assert proxy.connections == 0
