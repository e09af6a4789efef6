"""How requests show who sends them, and a token server that lies or dies in twenty ways."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import InvalidConfiguration, Status
from flask_lms.connectors.xapi.causes import CAUSES
from flask_lms.database.models import Configuration, StoreEntry
from flask_lms.encryption import binding
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.oauth_support import CLIENT_ID, CLIENT_SECRET, TokenServer
from tests.worker_app import enable_wal
from tests.world import World, make_world

JSON = {"Content-Type": "application/json"}
GOOD = {"access_token": "t0ken-canary", "token_type": "Bearer", "expires_in": 3600}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    config = {"LMS_READ_TIMEOUT_SECONDS": 0.4, "LMS_CONNECT_TIMEOUT_SECONDS": 1.0}
    with make_world(f"sqlite:///{tmp_path / 'host.db'}", **config) as made:
        made.freeze()
        yield made


@pytest.fixture
def tokens() -> Iterator[FakeLRS]:
    """A token server with a will of its own."""
    with FakeLRS() as server:
        server.answer_always(says(GOOD))
        yield server


def says(body: Any, status: int = 200, **headers: str) -> FakeAnswer:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FakeAnswer(status, {**JSON, **headers}, body)


def settings(tokens: FakeLRS, **changes: Any) -> dict[str, Any]:
    return {
        "key": None,
        "secret": "",
        "auth": "oauth2",
        "token_url": f"{tokens.url}/token",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        **changes,
    }


def sent_headers(lrs: FakeLRS) -> dict[str, str]:
    return {name.lower(): value for name, value in lrs.received[-1].headers.items()}


# -- twenty ways ---------------------------------------------------------------------------------

ANSWERS = {
    "refuses the client": (says({"error": "invalid_client"}, 401), "client"),
    "refuses the client with 400": (says({"error": "unauthorized_client"}, 400), "client"),
    "knows no such scope": (says({"error": "invalid_scope"}, 400), "scope"),
    "knows no such grant": (says({"error": "unsupported_grant_type"}, 400), "request"),
    "isn't there": (says({}, 404), "address"),
    "takes no POST": (says({}, 405), "address"),
    "leads elsewhere": (says(b"", 302, Location="http://127.0.0.1:1/token?s=1"), "redirect"),
    "is a web page": (FakeAnswer(200, {}, b"<!doctype html><p>Sign in"), "web_page"),
    "is no JSON": (FakeAnswer(200, {}, b"access_token=abc"), "web_page"),
    "has no token": (says({"expires_in": 3600}), "missing"),
    "has an empty token": (says({**GOOD, "access_token": ""}), "missing"),
    "has a token that is no header": (says({**GOOD, "access_token": "a\r\nX: y"}), "missing"),
    "has a list": (says([GOOD]), "missing"),
    "has another type": (says({**GOOD, "token_type": "mac"}), "type"),
    "is over at once": (says({**GOOD, "expires_in": 0}), "lifetime"),
    "was over before": (says({**GOOD, "expires_in": -60}), "lifetime"),
    "is over some day": (says({**GOOD, "expires_in": "soon"}), "lifetime"),
    "is over never": (says(b'{"access_token": "t0ken-canary", "expires_in": NaN}'), "lifetime"),
    "asks for a pause": (says({}, 429, **{"Retry-After": "120"}), "rate"),
    "asks for a pause with 503": (says({}, 503, **{"Retry-After": "120"}), "rate"),
    "fails": (says({}, 500), "internal"),
    "has an odd success": (says(GOOD, 202), "internal"),
    "breaks off": (FakeAnswer(200, JSON, b'{"access_token": "t0ke', cut="after"), "cut_off"),
    "is half an answer": (FakeAnswer(200, JSON, b'{"access_token": "t0ke'), "cut_off"),
    "never ends": (says(b'{"a": "' + b"x" * 300_000), "cut_off"),
    "hangs up": (FakeAnswer(cut="before"), "reset"),
    "hangs": (FakeAnswer(200, JSON, b"{}", delay_seconds=0.8), "timeout"),
}
ADDRESSES = {
    "http://10.1.2.3/token": "blocked",
    "http://169.254.169.254/latest/meta-data": "blocked",
    "http://[::ffff:10.0.0.1]/token": "blocked",
    "http://no-such-host.invalid/token": "dns",
    "": "refused",
}


def fails(world: World, made: Configuration, lrs: FakeLRS, cause: str) -> None:
    """A result waits, nothing was sent, and the test says the same."""
    world.record("r1")
    world.deliver(made)
    health = world.get(made.id).health
    assert lrs.received == []
    assert world.states() == {"pending": 1}
    [attempt] = world.attempts()
    assert attempt.cause == cause
    if cause == "token_rate":
        assert (health.next_attempt_at - world.now).total_seconds() == 120
    report = world.lms.configurations.test(made.id)
    assert (report.cause, report.stages[-3].name) == (cause, "Sign-in")
    told = CAUSES[cause].sentence_for(report.facts)
    assert "canary" not in f"{told} {report.words} {report.facts} {attempt.words}"
    if cause != "token_address":
        assert "127.0.0.1" in told or "10." in told or "169." in told or "invalid" in told
    assert [one.path for one in lrs.received] == []


@pytest.mark.parametrize("way", ANSWERS)
def test_a_token_server_that_lies_or_dies_has_its_cause_and_costs_nothing(
    world: World, lrs: FakeLRS, tokens: FakeLRS, way: str
) -> None:
    answer, cause = ANSWERS[way]
    made = world.attach(lrs.url, **settings(tokens))
    tokens.answer_always(answer)
    fails(world, made, lrs, f"token_{cause}")
    world.session.execute(sa.delete(StoreEntry))
    world.session.commit()
    tokens.answer_always(says(GOOD))
    lrs.answer_always(FakeAnswer(204))
    world.configurations.send_waiting(made.id)
    world.deliver(made)
    assert world.states() == {"delivered": 1}
    assert world.get(made.id).health.status is Status.CONNECTED


@pytest.mark.parametrize("url", ADDRESSES)
def test_a_token_server_is_called_through_the_same_guard(
    world: World, lrs: FakeLRS, tokens: FakeLRS, url: str
) -> None:
    if not url:
        tokens.refuse()
    made = world.attach(lrs.url, **settings(tokens, token_url=url or f"{tokens.url}/token"))
    fails(world, made, lrs, f"token_{ADDRESSES[url]}")


def test_a_failure_is_shared_and_a_token_too(world: World, lrs: FakeLRS, tokens: FakeLRS) -> None:
    lrs.answer_always(FakeAnswer(204))
    made = world.attach(lrs.url, **settings(tokens), batch_statements=1)
    world.record(*(f"r{n}" for n in range(5)))
    tokens.answer_always(says({}, 500))
    for _ in range(3):
        world.configurations.send_waiting(made.id)
        world.deliver(made)
    assert len(tokens.received) == 1
    world.clock.advance(seconds=6)
    tokens.answer_always(says(GOOD))
    world.configurations.send_waiting(made.id)
    world.deliver(made)
    assert world.states() == {"delivered": 5}
    assert len(tokens.received) == 2
    assert {one.headers["Authorization"] for one in lrs.received} == {"Bearer t0ken-canary"}
    world.clock.advance(seconds=3600 - 61)
    world.record("r9")
    world.deliver(made)
    assert len(tokens.received) == 2
    world.clock.advance(seconds=2)  # it would still be good for a minute
    world.record("r10")
    world.deliver(made)
    assert len(tokens.received) == 3


@pytest.mark.parametrize("way", ["basic", "body", "json"])
def test_three_ways_of_saying_who_the_client_is(
    world: World, lrs: FakeLRS, tokens: FakeLRS, way: str
) -> None:
    lrs.answer_always(FakeAnswer(204))
    made = world.attach(lrs.url, **settings(tokens, client_auth=way, scope="all", audience="a b"))
    world.lms.configurations.test(made.id)
    [asked] = tokens.received
    body = asked.body.decode()
    if way == "json":
        assert json.loads(body) == {
            "grantType": "client_credentials",
            "scope": "all",
            "audience": "a b",
            "clientId": CLIENT_ID,
            "clientSecret": CLIENT_SECRET,
        }
        return
    assert body.startswith("grant_type=client_credentials&scope=all&audience=a+b")
    is_in_body = way == "body"
    assert ("client_secret=cl1ent%2Fs3cret" in body) is is_in_body
    assert ("Authorization" in asked.headers) is not is_in_body
    if not is_in_body:  # RFC 6749, 2.3.1
        pair = base64.b64decode(asked.headers["Authorization"].split()[1]).decode()
        assert pair == "harbor:cl1ent%2Fs3cret%2Bcanary%20%C3%BC%3D"


# -- the other ways ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "headers", "cause"),
    [
        (
            {"auth": "bearer", "token": "Bearer t0ken"},
            {"authorization": "Bearer t0ken"},
            "bearer_refused",
        ),
        (
            {"auth": "header", "header_name": "X-API-Key", "header_value": "k 1"},
            {"x-api-key": "k 1"},
            "header_refused",
        ),
        (
            {
                "auth": "basic", "key": "k", "secret": "s",
                "header_1": "Ocp-Apim-Subscription-Key", "header_1_value": "one",
                "header_5": "X-Five", "header_5_value": "five",
            },
            {"authorization": "Basic azpz", "ocp-apim-subscription-key": "one", "x-five": "five"},
            "credentials",
        ),
    ],
    ids=["bearer", "header", "further headers"],
)  # fmt: skip
def test_a_token_a_header_and_further_headers_go_along(
    world: World, lrs: FakeLRS, given: dict[str, str], headers: dict[str, str], cause: str
) -> None:
    lrs.answer_always(FakeAnswer(204))
    made = world.attach(lrs.url, **{"key": None, "secret": "", **given})
    world.record("r1")
    world.deliver(made)
    assert world.states() == {"delivered": 1}
    assert headers.items() <= sent_headers(lrs).items()
    lrs.answer_always(FakeAnswer(401))
    assert world.lms.configurations.test(made.id).cause == cause


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"auth": "bearer"}, "token"),
        ({"auth": "bearer", "token": "two words"}, "token"),
        ({"auth": "header", "header_value": "v"}, "header_name"),
        ({"auth": "header", "header_name": "X-Key"}, "header_value"),
        ({"auth": "header", "header_name": "Host", "header_value": "v"}, "header_name"),
        ({"auth": "header", "header_name": "a b", "header_value": "v"}, "header_name"),
        ({"auth": "header", "header_name": "X", "header_value": "é"}, "header_value"),
        ({"header_1": "Content-Length", "header_1_value": "v"}, "header_1"),
        ({"header_1": "X-Experience-API-Version", "header_1_value": "v"}, "header_1"),
        ({"header_1": "authorization", "header_1_value": "v"}, "header_1"),
        ({"header_1": "X-A", "header_1_value": "v", "header_2": "x-a", "header_2_value": "v"},
         "header_2"),
        ({"header_3": "X-A"}, "header_3_value"),
        ({"auth": "oauth2", "client_id": "c", "client_secret": "s"}, "token_url"),
        ({"auth": "oauth2", "token_url": "https://t.example/", "client_id": "c"}, "client_secret"),
        ({"auth": "kerberos"}, "auth"),
    ],
)  # fmt: skip
def test_what_is_missing_or_reserved_is_said_at_its_field(
    world: World, given: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        world.configuration(
            settings={"url": "https://lrs.example", "key": "k", "secret": "s", **given}
        )
    assert set(refused.value.errors) == {field}


def stored(world: World, made: Configuration) -> dict[str, Any]:
    world.session.rollback()
    row = world.get(made.id)
    connector = world.state.registry.get("xapi")
    assert connector is not None
    bound_to = binding(row.id, connector.origin(row.settings))
    return dict(world.state.encryption.decrypt(row.secrets, bound_to))


def test_another_address_of_the_token_server_asks_for_the_secret_again(
    world: World, tokens: FakeLRS
) -> None:
    made = world.attach("https://lrs.example", **settings(tokens))
    with pytest.raises(InvalidConfiguration) as refused:
        world.configurations.update(made.id, settings={"token_url": "https://elsewhere.example/"})
    assert set(refused.value.errors) == {"client_secret"}
    world.configurations.update(made.id, settings={"token_url": f"{tokens.url}/other"})
    assert stored(world, made) == {"client_secret": CLIENT_SECRET}


def test_another_way_asks_for_its_secret_and_forgets_the_old_one(
    world: World, tokens: FakeLRS
) -> None:
    made = world.attach("https://lrs.example", header_1="X-A", header_1_value="v")
    with pytest.raises(InvalidConfiguration) as refused:
        world.configurations.update(made.id, settings={"auth": "bearer"})
    assert set(refused.value.errors) == {"token"}
    assert "the token" in str(refused.value)
    world.configurations.update(made.id, settings={"auth": "bearer", "token": "t"})
    assert stored(world, made) == {"token": "t", "header_1_value": "v"}
    entered = world.configurations.get(made.id).secret_set_at
    world.clock.advance(days=1)
    world.configurations.update(made.id, settings={"header_1": ""})
    assert stored(world, made) == {"token": "t"}
    assert world.configurations.get(made.id).secret_set_at == entered  # nobody entered one


def test_a_configuration_of_before_signs_in_as_it_did(world: World, lrs: FakeLRS) -> None:
    made = world.attach(**lrs.settings)
    kept = {"url", "key", "version", "ca_pem", "one_by_one", "batch_statements"}
    old = {name: value for name, value in made.settings.items() if name in kept}
    world.session.execute(sa.update(Configuration).values(settings=old))
    world.session.commit()
    assert world.lms.configurations.test(made.id).is_connected
    world.configurations.update(made.id, settings={"version": "2.0.0"})
    assert stored(world, made) == {"secret": lrs.secret}


# -- four processes ------------------------------------------------------------------------------


def test_of_four_processes_one_asks_for_each_token_in_its_lifetime(url: str) -> None:
    """200 destinations, two hours of a fake clock: three tokens each."""
    with TokenServer().running() as server, make_world(url) as world:
        enable_wal(world.db.engine)
        for number in range(200):
            own = {**server.settings, "client_id": f"{CLIENT_ID}-{number}"}
            world.configuration(f"LMS {number}", settings=own)
        world.db.session.remove()
        command = [sys.executable, "-m", "tests.oauth_support", url]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **pipes) for _ in range(4)]  # type: ignore[call-overload]
        try:
            for one in processes:
                assert one.stdout.readline() == "READY\n"
            for one in processes:
                one.stdin.write("\n")
                one.stdin.flush()
            assert [one.wait(120) for one in processes] == [0] * 4
        finally:
            for one in processes:
                one.kill()
                one.communicate()
        assert set(server.asked.values()) == {3}
        assert len(server.asked) == 200
