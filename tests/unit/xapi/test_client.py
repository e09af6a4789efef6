"""The client against a real server on loopback that answers as a script says."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from flask_lms.connectors.base import Answer, Statement, Stored, Verdict
from flask_lms.transport import Transport
from tests.transport_support import transport as make_transport
from tests.xapi_support import (
    KEY,
    SECRET,
    Script,
    ScriptedLRS,
    built,
    connector,
    result,
    scripted_lrs,
)
from tests.xapi_support import settings as make_settings

SECRETS = {"secret": SECRET}


@pytest.fixture
def lrs() -> Iterator[ScriptedLRS]:
    with scripted_lrs() as server:
        yield server


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = make_transport()
    yield made
    made.close()


def some(n: int) -> list[Statement]:
    return [built(result(id=f"r{number}"))[0] for number in range(n)]


def send(lrs: ScriptedLRS, transport: Transport, n: int = 1, **values: Any) -> Answer:
    settings = make_settings(url=lrs.url, **values)
    return connector.send(some(n), settings, SECRETS, transport)


def test_a_request_has_the_headers_that_xapi_asks_for(
    lrs: ScriptedLRS, transport: Transport
) -> None:
    lrs.script = Script(echoes_ids=True)
    assert send(lrs, transport).verdict is Verdict.ACCEPTED
    [asked] = lrs.asked
    assert (asked.method, asked.path) == ("POST", "/xapi/statements")
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["accept"] == "application/json"
    assert asked.headers["x-experience-api-version"] == "1.0.3"
    assert asked.headers["user-agent"].startswith("Flask-LMS/")
    pair = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
    assert asked.headers["authorization"] == f"Basic {pair}"


def test_version_2_is_sent_when_chosen(lrs: ScriptedLRS, transport: Transport) -> None:
    lrs.script = Script(echoes_ids=True)
    send(lrs, transport, version="2.0.0")
    assert lrs.asked[0].headers["x-experience-api-version"] == "2.0.0"


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_frozen_bytes_are_what_is_sent(lrs: ScriptedLRS, transport: Transport, n: int) -> None:
    lrs.script = Script(echoes_ids=True)
    assert send(lrs, transport, n).verdict is Verdict.ACCEPTED
    texts = [item.text for item in some(n)]
    body = lrs.asked[0].body
    assert body.decode() == (texts[0] if n == 1 else f"[{','.join(texts)}]")
    assert len(body) == connector.size(some(n))


@pytest.mark.parametrize(
    ("script", "verdict", "cause"),
    [
        (Script(status=204), Verdict.ACCEPTED, None),
        (Script(body=b"[]"), Verdict.FAILED, "not_lrs"),
        (Script(body=b"<html>"), Verdict.FAILED, "not_lrs"),
        (Script(status=302, headers={"Location": "/login"}), Verdict.FAILED, "redirect"),
        (Script(status=401), Verdict.FAILED, "credentials"),
        (Script(status=404), Verdict.FAILED, "address"),
        (Script(status=409), Verdict.CONFLICT, "conflict"),
        (Script(status=413), Verdict.TOO_LARGE, "too_large"),
        (Script(status=429, headers={"Retry-After": "7"}), Verdict.SLOW_DOWN, "rate"),
        (Script(status=500, body=b"oops"), Verdict.FAILED, "internal"),
        (Script(body=b'["0123456789"]', cut_after=5), Verdict.FAILED, "cut_off"),
        (Script(hangs_up=True), Verdict.FAILED, "reset"),
    ],
)
def test_what_comes_over_the_wire_is_read_as_the_table_says(
    lrs: ScriptedLRS, transport: Transport, script: Script, verdict: Verdict, cause: str | None
) -> None:
    lrs.script = script
    answer = send(lrs, transport)
    assert (answer.verdict, answer.cause) == (verdict, cause)


def test_a_redirect_is_not_followed(lrs: ScriptedLRS, transport: Transport) -> None:
    lrs.script = Script(status=307, headers={"Location": "/elsewhere"})
    answer = send(lrs, transport)
    assert len(lrs.asked) == 1
    assert answer.facts["target"] == lrs.url.replace("/xapi", "/elsewhere")


def test_a_refused_connection_is_an_answer_and_no_exception(transport: Transport) -> None:
    with scripted_lrs() as lrs:
        pass
    answer = send(lrs, transport)
    assert (answer.verdict, answer.cause, answer.http_status) == (Verdict.FAILED, "refused", None)
    assert answer.facts["host"] == "127.0.0.1"


def test_a_blocked_address_is_an_answer_and_no_exception() -> None:
    with scripted_lrs() as lrs:
        answer = send(lrs, make_transport(allowed_networks=()))
    assert answer.cause == "blocked"
    assert lrs.asked == []


def test_an_lms_that_sends_our_header_back_learns_us_nothing_secret(
    lrs: ScriptedLRS, transport: Transport
) -> None:
    pair = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
    lrs.script = Script(status=401, body=f"bad header: Basic {pair} for {KEY}/{SECRET}".encode())
    answer = send(lrs, transport)
    assert answer.words is not None
    for hidden in (pair, KEY, SECRET):
        assert hidden not in repr(answer)


def test_without_a_secret_nothing_is_sent(lrs: ScriptedLRS, transport: Transport) -> None:
    settings = make_settings(url=lrs.url)
    assert connector.send(some(1), settings, {}, transport).cause == "secret_unreadable"
    assert lrs.asked == []


class TestCompare:
    @pytest.fixture
    def statement(self) -> Statement:
        return some(1)[0]

    def compare(self, lrs: ScriptedLRS, transport: Transport, statement: Statement) -> Any:
        settings = make_settings(url=lrs.url)
        return connector.compare(statement, settings, SECRETS, transport)

    def test_it_asks_for_the_one_statement(
        self, lrs: ScriptedLRS, transport: Transport, statement: Statement
    ) -> None:
        lrs.script = Script(body=statement.text.encode())
        assert self.compare(lrs, transport, statement) is Stored.SAME
        [asked] = lrs.asked
        assert (asked.method, asked.path) == (
            "GET",
            f"/xapi/statements?statementId={statement.id}",
        )

    def test_another_statement_under_the_id_is_seen(
        self, lrs: ScriptedLRS, transport: Transport, statement: Statement
    ) -> None:
        other = json.loads(statement.text)
        other["result"]["success"] = False
        lrs.script = Script(body=json.dumps(other).encode())
        assert self.compare(lrs, transport, statement) is Stored.DIFFERS

    @pytest.mark.parametrize("form", ['{"statements": [%s], "more": ""}', "[%s]"])
    def test_one_in_a_list_is_unwrapped(
        self, lrs: ScriptedLRS, transport: Transport, statement: Statement, form: str
    ) -> None:
        lrs.script = Script(body=(form % statement.text).encode())
        assert self.compare(lrs, transport, statement) is Stored.SAME

    @pytest.mark.parametrize(
        ("script", "found"),
        [
            (Script(status=401), Stored.UNREADABLE),
            (Script(status=403), Stored.UNREADABLE),
            (Script(body=b" " * 20_000), Stored.UNREADABLE),
            (Script(status=404), Stored.ABSENT),
            (Script(status=204), Stored.ABSENT),
            (Script(body=b"{}"), Stored.ABSENT),
            (Script(body=b'{"statements": [], "more": ""}'), Stored.ABSENT),
            (Script(status=500), "internal"),
            (Script(body=b"nonsense"), "not_lrs"),
            (Script(body=b"<html>"), "not_lrs"),
            (Script(body=b"[" * 9000), "cut_off"),
            (Script(body=b'{"id"', cut_after=3), "cut_off"),
            (Script(hangs_up=True), "reset"),
        ],
    )
    def test_what_cannot_be_read_is_told_apart(
        self,
        lrs: ScriptedLRS,
        transport: Transport,
        statement: Statement,
        script: Script,
        found: Stored | str,
    ) -> None:
        lrs.script = script
        stored = self.compare(lrs, transport, statement)
        assert (stored.cause if isinstance(stored, Answer) else stored) == found


def test_ids_of_statements_are_uuids() -> None:
    assert all(isinstance(item.id, uuid.UUID) for item in some(3))
