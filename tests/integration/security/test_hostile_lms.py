"""Slow, endless, torn and falsely certified LMSs, from the worker's side: each ends soon, as a
status with a cause that an administrator can read, and no result is lost or taken for sent."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import socket
from ssl import SSLContext
from typing import Any

import pytest

from flask_lms.database.models import ConfigurationHealth, DeliveryState, Status
from flask_lms.delivery.deliver import Deliverer
from flask_lms.transport import Transport
from tests.transport_support import Authority, Behaviour, answering, read_request, serving
from tests.world import World, make_world, result

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_BOMB = gzip.compress(bytes(20_000_000))


def _drip(first: bytes) -> Behaviour:
    def behave(caller: socket) -> None:
        read_request(caller)
        caller.sendall(first)
        while True:
            caller.sendall(b"x")
            time.sleep(0.05)

    return behave


def _flood(first: bytes) -> Behaviour:
    def behave(caller: socket) -> None:
        read_request(caller)
        caller.sendall(first)
        for piece in itertools.repeat(b"[" * 65536):
            caller.sendall(piece)

    return behave


def _say_nothing(caller: socket) -> None:
    read_request(caller)
    caller.recv(1)


def _hang_up(caller: socket) -> None:
    read_request(caller)


HOSTILE: dict[str, tuple[Behaviour, str, Status]] = {
    "a dripping head": (_drip(b"HTTP/1.1 200"), "timeout", Status.CANT_CONNECT),
    "silence": (_say_nothing, "timeout", Status.CANT_CONNECT),
    "hangs up": (_hang_up, "reset", Status.CANT_CONNECT),
    "10 MB of header": (
        answering(_HEAD + b"X: " + b"x" * 10_000_000), "not_http", Status.CANT_CONNECT),
    "another protocol": (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "not_http", Status.CANT_CONNECT),
    "a dripping body": (
        _drip(_HEAD + b"\r\n[\""), "cut_off", Status.SERVER_ERROR),
    "an endless body": (_flood(_HEAD + b"\r\n"), "cut_off", Status.SERVER_ERROR),
    "a cut body": (
        answering(_HEAD + b"Content-Length: 99\r\n\r\n[\"4f"), "cut_off",
        Status.SERVER_ERROR),
    "a bomb": (
        answering(_HEAD + b"Content-Encoding: gzip\r\n\r\n" + _BOMB), "not_lrs",
        Status.SERVER_ERROR),
    "an endless redirect": (
        _flood(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n"), "redirect",
        Status.SERVER_ERROR),
    "an endless error": (
        _flood(b"HTTP/1.1 500 Oops\r\n\r\n"), "internal", Status.SERVER_ERROR),
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A host whose transport is short of patience."""
    with make_world(f"sqlite:///{tmp_path / 'host.db'}") as made:
        settings = dataclasses.replace(
            made.state.settings,
            connect_timeout_seconds=0.5,
            read_timeout_seconds=0.3,
            total_timeout_seconds=0.6,
            allowed_networks=("127.0.0.0/8", "localhost"),
        )
        made.state.settings, made.state.transport = settings, Transport(settings)
        yield made


def _deliver(world: World, url: str, **settings: Any) -> ConfigurationHealth:
    """Record one result and let the worker try as often as it takes to call it down."""
    clock = world.freeze()
    made = world.attach(url, **settings)
    world.lms.record(result())
    world.db.session.commit()
    for _ in range(3):
        started = time.monotonic()
        Deliverer(world.state).deliver(made.id)
        assert time.monotonic() - started < 3
        clock.advance(minutes=40)
    world.db.session.expire_all()
    return world.lms.configurations.get(made.id).health


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_lms_ends_as_a_status_with_a_cause(name: str, world: World) -> None:
    behaviour, cause, status = HOSTILE[name]
    with serving(behaviour) as lms:
        health = _deliver(world, lms.url(path="/xapi"))
        assert (health.status, health.cause) == (status, cause)
        assert world.state.registry.cause("xapi", health.cause) is not None
        report = world.lms.configurations.test(health.configuration_id)
    assert not report.is_connected
    assert [row.state for row in world.rows()] == [DeliveryState.PENDING]


def _context(authority: Authority, kind: str) -> SSLContext:
    if kind == "tls_expired":
        return authority.expired_context("localhost")[0]
    return authority.server_context("other.example" if kind == "tls_name" else "localhost")


@pytest.mark.parametrize("cause", ["tls_expired", "tls_name", "tls_untrusted"])
def test_a_false_certificate_ends_as_a_status_with_a_cause(cause: str, world: World) -> None:
    authority = Authority()
    trusted = None if cause == "tls_untrusted" else authority.pem
    with serving(answering(b""), _context(authority, cause)) as lms:
        health = _deliver(world, lms.url("localhost", "/xapi"), ca_pem=trusted)
        assert (health.status, health.cause) == (Status.CANT_CONNECT, cause)
        assert world.lms.configurations.test(health.configuration_id).cause == cause
    assert [row.state for row in world.rows()] == [DeliveryState.PENDING]


def test_an_authority_of_the_configuration_is_enough(world: World) -> None:
    authority = Authority()
    with ExitStack() as stack:
        ok = answering(b"HTTP/1.1 204 No Content\r\n\r\n")
        lms = stack.enter_context(serving(ok, authority.server_context("localhost")))
        health = _deliver(world, lms.url("localhost", "/xapi"), ca_pem=authority.pem)
        assert health.status is Status.CONNECTED
    assert [row.state for row in world.rows()] == [DeliveryState.DELIVERED]
