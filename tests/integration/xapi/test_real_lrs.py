"""The connector against a real LRS that isn't ours: strict xAPI 1.0.3."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from flask_lms.connectors.base import Answer, Statement, Stored, Verdict
from flask_lms.connectors.stages import StageState, TestReport
from flask_lms.transport import Transport
from tests.node_support import RealLRS
from tests.transport_support import transport as make_transport
from tests.xapi_support import built, connector, result, rich_result, sent
from tests.xapi_support import settings as make_settings

pytestmark = [pytest.mark.node, pytest.mark.timeout(500)]


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = make_transport(read_timeout_seconds=20.0, total_timeout_seconds=30.0)
    yield made
    made.close()


class Sender:
    def __init__(self, lrs: RealLRS, transport: Transport) -> None:
        self.lrs, self.transport = lrs, transport

    def settings(self, **values: Any) -> dict[str, Any]:
        return make_settings(**{"url": f"{self.lrs.url}/", "key": self.lrs.key, **values})

    def send(self, statements: Sequence[Statement], **values: Any) -> Answer:
        secrets = {"secret": self.lrs.secret}
        return connector.send(statements, self.settings(**values), secrets, self.transport)

    def compare(self, statement: Statement) -> Stored | Answer:
        secrets = {"secret": self.lrs.secret}
        return connector.compare(statement, self.settings(), secrets, self.transport)

    def test(self, secret: str | None = None, **values: Any) -> TestReport:
        secrets = {"secret": secret or self.lrs.secret}
        *_, report = connector.test(self.settings(**values), secrets, self.transport)
        assert isinstance(report, TestReport)
        return report

    def stored_ids(self) -> set[str]:
        return {statement["id"] for statement in self.lrs.stored()}


@pytest.fixture
def sender(lrs: RealLRS, transport: Transport) -> Sender:
    return Sender(lrs, transport)


def some(n: int, **values: Any) -> list[Statement]:
    return [built(rich_result(id=f"r{number}", **values))[0] for number in range(n)]


def ids(statements: Sequence[Statement]) -> set[str]:
    return {str(statement.id) for statement in statements}


def spoilt(statement: Statement) -> Statement:
    """The same with an actor that nobody can identify."""
    value = json.loads(statement.text)
    value["actor"] = {"objectType": "Agent", "name": "Somebody"}
    return dataclasses.replace(statement, text=json.dumps(value))


def changed(statement: Statement) -> Statement:
    """Another statement under the same id."""
    value = json.loads(statement.text)
    value["result"]["success"] = False
    return dataclasses.replace(statement, text=json.dumps(value))


def test_one_statement_is_stored_as_it_was_built(sender: Sender) -> None:
    [one] = some(1)
    assert sender.send([one]).verdict is Verdict.ACCEPTED
    [stored] = sender.lrs.stored()
    sent = json.loads(one.text)
    assert {name: stored[name] for name in sent} == sent


def test_a_batch_is_stored_and_a_resend_stores_nothing_twice(sender: Sender) -> None:
    batch = some(20)
    for _ in range(3):
        answer = sender.send(batch)
        assert (answer.verdict, answer.note) == (Verdict.ACCEPTED, None)
        assert sender.stored_ids() == ids(batch)
    half = sender.send([*batch[:5], *some(25)[20:]])
    assert half.verdict is Verdict.ACCEPTED
    assert len(sender.lrs.stored()) == 25


def test_every_statement_of_every_setting_is_taken(sender: Sender) -> None:
    chosen: list[dict[str, Any]] = [
        {},
        {"identify": "mbox_sha1sum"},
        {"identify": "account"},
        {"steps": "statements", "send_completed": True},
    ]
    for number, settings in enumerate(chosen):
        statements = built(rich_result(id=f"s{number}"), **settings)
        assert sender.send(statements).verdict is Verdict.ACCEPTED
        assert ids(statements) <= sender.stored_ids()


def test_another_statement_under_a_stored_id_is_a_conflict_and_is_told_apart(
    sender: Sender,
) -> None:
    [one] = some(1)
    sender.send([one])
    answer = sender.send([changed(one)])
    assert (answer.verdict, answer.http_status) == (Verdict.CONFLICT, 409)
    assert sender.compare(one) is Stored.SAME
    assert sender.compare(changed(one)) is Stored.DIFFERS
    assert sender.compare(some(2)[1]) is Stored.ABSENT


def test_one_invalid_statement_of_a_batch_is_blamed_and_nothing_is_stored(sender: Sender) -> None:
    batch = some(5)
    batch[3] = spoilt(batch[3])
    answer = sender.send(batch)
    assert (answer.verdict, answer.http_status) == (Verdict.REFUSED, 400)
    assert list(answer.rejected) == [3]
    assert "actor" in answer.rejected[3]
    assert sender.stored_ids() == set()
    assert sender.send([*batch[:3], batch[4]]).verdict is Verdict.ACCEPTED


def test_one_invalid_statement_alone_carries_the_lrss_words(sender: Sender) -> None:
    answer = sender.send([spoilt(some(1)[0])])
    assert (answer.verdict, answer.cause) == (Verdict.REFUSED, "rejected")
    assert "actor" in (answer.words or "")


def test_a_correction_replaces_the_old_statement(sender: Sender) -> None:
    [old] = built(result())
    sender.send([old])
    new, void = built(result(revision=1, success=False), sent([old]))
    assert sender.send([new]).verdict is Verdict.ACCEPTED
    assert sender.send([void]).verdict is Verdict.ACCEPTED
    assert sender.send([void]).verdict is Verdict.ACCEPTED
    assert sender.stored_ids() == ids([new, void])


def test_a_connection_test_leaves_nothing_behind(sender: Sender) -> None:
    sender.send(some(2))
    before = sender.lrs.stored()
    report = sender.test()
    assert report.is_connected
    assert report.stages[-2].words == "It offers xAPI 1.0.3."
    assert all(stage.state is not StageState.FAILED for stage in report.stages)
    assert sender.lrs.stored() == before


def test_a_key_that_may_only_write_is_connected_and_sends(sender: Sender) -> None:
    key = sender.lrs.write_only_key
    assert sender.test(key=key).is_connected
    assert sender.send(some(1), key=key).verdict is Verdict.ACCEPTED
    assert sender.stored_ids() == ids(some(1))


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"key": "nobody"}, "credentials"),
        ({"secret": "wrong"}, "credentials"),
        ({"version": "2.0.0"}, "settings"),
    ],
)
def test_what_is_wrong_is_found_by_test_and_by_sending(
    sender: Sender, values: dict[str, str], cause: str
) -> None:
    report = sender.test(**values)
    assert report.cause == cause
    assert report.stages[-1].state is StageState.FAILED
    if "secret" not in values:
        answer = sender.send(some(1), **values)
        assert (answer.verdict, answer.cause) == (Verdict.FAILED, cause)
    assert sender.stored_ids() == set()


def test_a_wrong_path_is_an_address_fault(sender: Sender) -> None:
    report = sender.test(url=f"{sender.lrs.url}/nowhere")
    assert report.cause == "address"
    assert sender.send(some(1), url=f"{sender.lrs.url}/nowhere").cause == "address"
