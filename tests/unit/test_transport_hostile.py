"""Servers that are slow, endless, torn or no web servers: bounded in time and memory, and named."""

from __future__ import annotations

import gzip
import itertools
import socket
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_lms.transport import MOST_BODY_BYTES, MOST_HEADER_BYTES, Reply, Unreachable

from ..transport_support import Behaviour, answering, read_request, serving, transport

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#: Far above what a request needs, far below what these servers would like to fill.
_MOST_MEMORY = 2_000_000


def _exchange(behaviour: Behaviour, body: bytes = b"[]", **limits: float) -> Reply:
    with serving(behaviour) as server:
        return transport(**limits).request("POST", server.url(), headers={}, body=body)


def _fault(behaviour: Behaviour, body: bytes = b"[]", **limits: float) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        _exchange(behaviour, body, **limits)
    assert caught.value.facts["host"] == "127.0.0.1"
    return caught.value


@pytest.fixture
def bounded() -> Iterator[None]:
    """Two seconds and two megabytes are enough for anything a server does."""
    started = time.monotonic()
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.monotonic() - started < 2.5
    assert peak < _MOST_MEMORY


def _drip(first: bytes, drop: bytes) -> Behaviour:
    def behave(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(first)
        while True:  # until the caller hangs up
            caller.sendall(drop)
            time.sleep(0.05)

    return behave


def _flood(first: bytes, pieces: Callable[[], Iterator[bytes]]) -> Behaviour:
    def behave(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(first)
        for piece in pieces():
            caller.sendall(piece)

    return behave


# -- slow ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Y: z\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_head_that_drips_is_cut_at_the_total_limit(first: bytes, drop: bytes) -> None:
    fault = _fault(_drip(first, drop), total_timeout_seconds=0.6)
    assert fault.cause == "timeout"
    assert fault.facts["seconds"] == 0.6
    assert fault.was_sent


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "first",
    [
        _HEAD + b"\r\n",
        _HEAD + b"Content-Length: 9999\r\n\r\n",
        _HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n["a",\r\nff\r\n',
    ],
)
def test_a_body_that_drips_is_cut_at_the_total_limit_and_what_came_is_kept(first: bytes) -> None:
    reply = _exchange(_drip(first, b"x"), total_timeout_seconds=0.6)
    assert reply.status == 200
    assert not reply.is_complete
    assert b"xxx" in reply.body
    assert 500 <= reply.duration_ms < 1500


@pytest.mark.usefixtures("bounded")
def test_a_server_that_takes_the_request_and_says_nothing_is_a_timeout() -> None:
    fault = _fault(lambda caller: (read_request(caller), caller.recv(1)) and None)  # noqa: SIM223
    assert fault.cause == "timeout"
    assert fault.facts["seconds"] == 0.3
    assert fault.was_sent


def test_a_server_that_never_reads_is_a_timeout() -> None:
    def ignore(caller: socket.socket) -> None:
        time.sleep(1)

    with pytest.raises(Unreachable) as caught:
        _exchange(ignore, body=bytes(1_000_000) * 8)
    assert caught.value.cause == "timeout"
    assert caught.value.was_sent


@pytest.mark.usefixtures("bounded")
def test_a_slow_look_up_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: time.sleep(1) or [])
    with pytest.raises(Unreachable) as caught:
        transport(connect_timeout_seconds=0.1).request(
            "GET", "https://lms.example.com/", headers={}
        )
    assert caught.value.cause == "dns"


@pytest.mark.parametrize(
    "limits",
    [
        {"connect_timeout_seconds": 0.1},
        {"connect_timeout_seconds": 5, "total_timeout_seconds": 0.2},
    ],
)
def test_a_look_up_ends_with_either_limit(
    limits: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: time.sleep(3) or [])
    started = time.monotonic()
    with pytest.raises(Unreachable):
        transport(**limits).request("GET", "https://lms.example.com/", headers={})
    assert time.monotonic() - started < 1.5


def test_silence_ends_with_the_total_limit_when_that_comes_first() -> None:
    def stay_silent(caller: socket.socket) -> None:
        read_request(caller)
        caller.recv(1)

    started = time.monotonic()
    fault = _fault(stay_silent, read_timeout_seconds=5, total_timeout_seconds=0.3)
    assert time.monotonic() - started < 2
    assert (fault.cause, fault.facts["seconds"]) == ("timeout", 0.3)


# -- endless ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "first",
    [
        _HEAD + b"\r\n",
        _HEAD + b"Content-Length: 99999999999\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\n\r\n",
    ],
)
def test_an_endless_body_is_read_up_to_the_cap(first: bytes) -> None:
    reply = _exchange(_flood(first, lambda: itertools.repeat(b"x" * 65536)))
    assert reply.is_truncated
    assert len(reply.body) == MOST_BODY_BYTES == 16_384
    assert reply.is_complete


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "answer",
    [
        _HEAD + b"X-Long: " + b"x" * 10_000_000 + b"\r\n\r\n",
        _HEAD + b"".join(b"X-%d: " % i + b"x" * 60_000 + b"\r\n" for i in range(90)) + b"\r\n",
        _HEAD + b"X: y\r\n" * 200_000 + b"\r\n",
        b"HTTP/1.1 200 " + b"O" * 10_000_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 400_000,
    ],
    ids=["one line", "long headers", "many headers", "status line", "continues"],
)
def test_ten_megabytes_of_header_are_no_http(answer: bytes) -> None:
    fault = _fault(answering(answer))
    assert fault.cause == "not_http"
    assert fault.was_sent


@pytest.mark.parametrize("size", [MOST_HEADER_BYTES, MOST_HEADER_BYTES + 1])
def test_a_header_may_have_64_kilobytes(size: int) -> None:
    head = b"HTTP/1.1 204 No Content\r\nX-Long: "
    behaviour = answering(head + b"x" * (size - len(head) - 4) + b"\r\n\r\n")
    if size > MOST_HEADER_BYTES:
        assert _fault(behaviour).cause == "not_http"
    else:
        assert _exchange(behaviour).status == 204


@pytest.mark.parametrize("size", [MOST_BODY_BYTES - 1, MOST_BODY_BYTES, MOST_BODY_BYTES + 1])
def test_a_body_up_to_the_cap_is_whole(size: int) -> None:
    head = _HEAD + b"Content-Length: %d\r\n\r\n" % size
    reply = _exchange(answering(head + b"x" * size))
    assert len(reply.body) == min(size, MOST_BODY_BYTES)
    assert reply.is_truncated is (size > MOST_BODY_BYTES)


def _packed(encoding: str, size: int) -> bytes:
    if encoding == "gzip":
        return gzip.compress(bytes(size))
    return zlib.compress(bytes(size))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_bomb_does_not_go_off(
    encoding: str, is_chunked: bool, request: pytest.FixtureRequest
) -> None:
    bomb = _packed(encoding, 50_000_000)
    head = _HEAD + b"Content-Encoding: %s\r\n" % encoding.encode()
    if is_chunked:
        answer = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
            len(bomb), bomb,
        )  # fmt: skip
    else:
        answer = head + b"Content-Length: %d\r\n\r\n" % len(bomb) + bomb
    request.getfixturevalue("bounded")
    reply = _exchange(answering(answer))
    assert reply.is_truncated
    assert reply.body == bytes(MOST_BODY_BYTES)


@pytest.mark.usefixtures("bounded")
def test_a_bomb_in_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(gzip.compress(bytes(1_000_000)))
    head = _HEAD + b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    assert _exchange(answering(head + bomb)).body == bomb[:MOST_BODY_BYTES]


@pytest.mark.usefixtures("bounded")
def test_packed_nothing_without_end_is_cut() -> None:
    nothing = zlib.compressobj(wbits=31)
    start = nothing.flush(zlib.Z_FULL_FLUSH)
    more = nothing.flush(zlib.Z_FULL_FLUSH) or b"\x00\x00\x00\xff\xff"
    reply = _exchange(
        _flood(
            _HEAD + b"Content-Encoding: gzip\r\n\r\n" + start, lambda: itertools.repeat(more * 9000)
        )
    )
    assert reply.is_truncated
    assert reply.is_complete  # by its size, not by the clock
    assert reply.body == b""


def test_a_small_packed_body_is_unpacked() -> None:
    packed = gzip.compress(b'["id"]')
    head = _HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    reply = _exchange(answering(head + packed))
    assert (reply.body, reply.is_complete, reply.is_truncated) == (b'["id"]', True, False)


def test_a_body_that_is_not_packed_as_it_says_is_incomplete() -> None:
    reply = _exchange(answering(_HEAD + b"Content-Encoding: gzip\r\n\r\nnot gzip"))
    assert reply.status == 200
    assert not reply.is_complete


# -- torn ------------------------------------------------------------------------------------------


def _reset(caller: socket.socket) -> None:
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _reset_at_once(caller: socket.socket) -> None:
    _reset(caller)


def _reset_after_request(caller: socket.socket) -> None:
    read_request(caller)
    _reset(caller)


def _read_and_close(caller: socket.socket) -> None:
    read_request(caller)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "behaviour", [lambda caller: None, _read_and_close, _reset_at_once, _reset_after_request],
    ids=["closed at once", "closed after the request", "reset at once", "reset after the request"],
)  # fmt: skip
def test_a_connection_cut_before_the_answer_is_a_reset(behaviour: Behaviour) -> None:
    assert _fault(behaviour).cause == "reset"


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "answer",
    [
        _HEAD + b'Content-Length: 100\r\n\r\n["4f',
        _HEAD + b'Transfer-Encoding: chunked\r\n\r\n40\r\n["4f',
        _HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\n["4f\r\nzz',
        _HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\n["4f\r\n',
    ],
)
def test_a_connection_cut_in_the_body_leaves_an_incomplete_reply(answer: bytes) -> None:
    reply = _exchange(answering(answer))
    assert reply.status == 200
    assert not reply.is_complete
    assert not reply.is_truncated
    assert reply.body == b'["4f'


@pytest.mark.usefixtures("bounded")
def test_an_answer_that_comes_before_the_request_was_read_is_seen() -> None:
    def refuse(caller: socket.socket) -> None:
        caller.recv(100)
        caller.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        while caller.recv(65536):
            pass

    assert _exchange(refuse, body=bytes(300_000)).status == 413


# -- no web servers --------------------------------------------------------------------------------


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "banner",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"-ERR unknown command\r\n",
        b"<html>hello</html>\n",
        bytes(range(256)) * 4,
        b"\r\n\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 20",
        b"HTTP/1.1 99999 OK\r\n\r\n",
    ],
)
def test_what_is_no_web_server_is_named_so(banner: bytes) -> None:
    assert _fault(answering(banner)).cause == "not_http"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -5\r\n",
        b"Content-Length: many\r\n",
        b"Transfer-Encoding: nonsense\r\n",
        b"Set-Cookie: \xff\xfe=1; Expires=never; Path=\r\n",
        b"Set-Cookie: a=b; Max-Age=nan; Version=x\r\n",
        b"Content-Type: \xc3\xa9;;;charset=\r\n",
        b"Location: http://[/\r\n",
        b"no colon in this line\r\n",
        b": no name\r\n",
    ],
)
def test_strange_headers_do_no_harm(head: bytes) -> None:
    reply = _exchange(answering(b"HTTP/1.1 302 Found\r\n" + head + b"\r\n"))
    assert reply.status == 302


def test_the_headers_of_a_reply_are_found_in_any_case() -> None:
    reply = _exchange(answering(b"HTTP/1.1 204 No\r\nX-Experience-API-Version: 1.0.3\r\n\r\n"))
    assert reply.headers["x-experience-api-version"] == "1.0.3"
    assert reply.is_complete


def test_a_redirect_is_returned_and_not_followed() -> None:
    with serving(answering(b"")) as second:
        second.behaviour = answering(b"HTTP/1.1 200 OK\r\n\r\n")
        location = second.url().encode()
        for status in (301, 302, 303, 307, 308):
            head = b"HTTP/1.1 %d Moved\r\nLocation: %s\r\n\r\n" % (status, location)
            reply = _exchange(answering(head))
            assert reply.status == status
            assert reply.headers["Location"] == location.decode()
        assert second.connections == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", _HEAD + b"\r\n"]),
)
def test_no_answer_raises_anything_but_ours(answer: bytes, before: bytes) -> None:
    try:
        found: object = _exchange(answering(before + answer)).status // 100
    except Unreachable as fault:
        found = fault.cause
    assert found in (1, 2, 3, 4, 5, 6, 7, 8, 9, "not_http", "reset")
