"""The LMS type webhook: what arrives, proved by the library that receivers use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from flask_lms import LMS, Administrator
from flask_lms.connectors.replies import CODES
from flask_lms.connectors.webhook import WebhookConnector
from flask_lms.database.models import Configuration, Status
from flask_lms.testing import FakeAnswer, FakeReceiver, ReceivedRequest
from flask_lms.values import Score
from tests.pages.support import form_of
from tests.world import World, make_world, result

SCHEMA = json.loads(WebhookConnector().schema())


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    lms = LMS(connectors=[WebhookConnector()])
    with make_world(f"sqlite:///{tmp_path / 'hook.db'}", lms=lms) as made:
        made.who = Administrator(id="1", organization_id="acme", name="Ana")
        yield made


def attached(world: World, receiver: FakeReceiver) -> Configuration:
    made = world.lms.configurations.create(
        "acme", "Zapier", ["ana@acme.example"], type="webhook", settings=receiver.settings
    )
    world.lms.configurations.attach(made.id, "ppe")
    return made


def verified(request: ReceivedRequest, secret: str) -> object:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Webhook(secret).verify(request.body.decode(), headers)


def test_a_result_arrives_signed_and_as_the_schema_says(
    world: World, receiver: FakeReceiver
) -> None:
    one = attached(world, receiver)
    secret = world.lms.configurations.show_secret(one.id, "signing").reveal()
    receiver.secret = secret
    world.lms.record(result("r1", score=Score(scaled=0.9), duration_ms=1000))
    world.lms.record(result("r1", revision=1, success=False))
    world.deliver(one)
    assert world.states() == {"delivered": 2}
    recorded, corrected = receiver.messages
    for message in (recorded, corrected):
        jsonschema.validate(message, SCHEMA)
    assert (recorded["type"], recorded["data"]["score"]["scaled"]) == ("result.recorded", 0.9)
    assert recorded["data"]["objective"]["id"] == "ppe"
    assert (corrected["type"], corrected["data"]["revision"]) == ("result.corrected", 1)
    first, second = receiver.received
    assert verified(first, secret) == recorded
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    with pytest.raises(WebhookVerificationError):
        verified(first, "whsec_" + "A" * 43 + "=")


def test_while_one_secret_replaces_another_both_are_good(
    world: World, receiver: FakeReceiver
) -> None:
    one = attached(world, receiver)
    old = world.lms.configurations.show_secret(one.id, "signing").reveal()
    world.lms.configurations.renew_secret(one.id, "signing")
    new = world.lms.configurations.show_secret(one.id, "signing").reveal()
    world.lms.record(result("r1"))
    world.deliver(one)
    [request] = receiver.received
    assert verified(request, old) == verified(request, new)
    assert old != new


def test_a_resend_has_the_same_id_and_counts_once(world: World, receiver: FakeReceiver) -> None:
    one, clock = attached(world, receiver), world.freeze()
    receiver.answer(FakeAnswer(stores=True, cut="before"))
    world.lms.record(result("r1"))
    world.deliver(one)
    clock.advance(seconds=30)
    world.deliver(one)
    assert world.states() == {"delivered": 1}
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert (len(receiver.received), len(receiver.messages)) == (2, 1)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_delivered(status: int, world: World, receiver: FakeReceiver) -> None:
    one = attached(world, receiver)
    receiver.answer_always(FakeAnswer(status, body=b"<h1>ok</h1>"))
    world.lms.record(result("r1"))
    world.deliver(one)
    assert world.states() == {"delivered": 1}


@pytest.mark.parametrize(
    ("status", "cause"),
    [(410, "address"), (404, "address"), (401, "credentials"), (302, "redirect"), (507, "internal"),
     (418, "unexpected"), (429, "rate"), (408, "busy"), (511, "gateway")],
)  # fmt: skip
def test_what_fails_says_so_and_loses_nothing(
    status: int, cause: str, world: World, receiver: FakeReceiver
) -> None:
    one = attached(world, receiver)
    headers = {"Location": "https://new.example/hook?token=x"} if status == 302 else {}
    receiver.answer_always(FakeAnswer(status, headers))
    world.lms.record(result("r1"))
    for _ in range(3):
        world.deliver(one)
        world.lms.configurations.send_waiting(one.id)
    health = world.health(one)
    assert (health.status, health.cause) == (Status.SERVER_ERROR, cause)
    assert world.states() == {"pending": 1}
    assert "token=x" not in str(health.facts)
    assert health.facts.get("target") == ("https://new.example/hook" if status == 302 else None)


@pytest.mark.parametrize(("status", "reason"), [(400, "rejected"), (413, "too_large")])
def test_one_that_is_refused_is_tried_again(
    status: int, reason: str, world: World, receiver: FakeReceiver
) -> None:
    one = attached(world, receiver)
    receiver.answer(FakeAnswer(status, body=b"no such course"))
    world.lms.record(result("r1"))
    world.deliver(one)
    [row] = world.rows()
    assert (row.state.value, row.reason, row.reason_words) == ("pending", reason, "no such course")


def test_every_cause_has_words() -> None:
    causes = WebhookConnector.causes
    assert set(CODES) | {"settings"} == causes.keys()
    assert all(one.sentence_for({}) and one.remedies_for({}) for one in causes.values())


def test_the_form_the_secret_the_test_and_the_schema(world: World, receiver: FakeReceiver) -> None:
    client = world.client()
    page = client.get("/lms/new")
    assert "Zapier, Make, Power Automate" in page.text
    first = {"name": "Zapier", "type": "webhook", "contact_emails": "ana@acme.example"}
    page = client.post("/lms/new", data={**form_of(page), **first})
    assert "Webhook URL" in page.text
    assert "result.recorded" in page.text  # the preview
    data = {**form_of(page), **receiver.settings, "act": "save"}
    made = client.post("/lms/new/webhook", data=data, follow_redirects=True)
    assert "Signing secret" in made.text
    [one] = world.lms.configurations.list("acme")
    form = form_of(made)
    shown = client.post(
        f"/lms/{one.id}/secrets", data={**form, "secret": "signing", "act": "show"}
    ).text
    [receiver.secret] = re.findall(r"whsec_[\w+/=]+", shown)
    report = world.lms.configurations.test(one.id)
    assert report.is_connected
    assert [message["type"] for message in receiver.messages] == ["ping"]
    jsonschema.validate(receiver.messages[0], SCHEMA)
    world.lms.configurations.attach(one.id, "ppe")
    world.lms.record(result("r1"))
    [row] = world.rows()
    page = client.get(f"/lms/deliveries/{row.id}").text
    assert "A signature of each message" in page
    assert "Basic" not in page
    receiver.answer_always(FakeAnswer(410))
    assert world.lms.configurations.test(one.id).cause == "address"
    world.who = None
    answer = client.get("/lms/types/webhook/schema.json")
    assert answer.json == SCHEMA
    assert client.get("/lms/types/xapi/schema.json").status_code == 404
