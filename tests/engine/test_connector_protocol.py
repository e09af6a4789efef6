"""What a connector may ask of the engine and the pages, shown by a gradebook made of lists."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from flask import jsonify, request
from flask_wtf import CSRFProtect

from flask_lms import LMS, Administrator
from flask_lms.connectors.base import Answer, BuildContext, Built, Connector, Statement, Verdict
from flask_lms.connectors.causes import Cause
from flask_lms.connectors.fields import Field, GeneratedSecret, valid
from flask_lms.connectors.registry import Registry
from flask_lms.connectors.routes import Call, Route
from flask_lms.database.models import Configuration, OrderHold, Status
from flask_lms.delivery.deliver import Deliverer
from flask_lms.encryption import Secret
from flask_lms.errors import NotFound, SetupError
from flask_lms.services import waiting
from flask_lms.store import Kept
from flask_lms.transport import Transport
from flask_lms.values import ObjectiveResult, Participant
from tests.pages.support import form_of
from tests.world import World, make_world, result

ANA = Administrator(id="1", organization_id="acme", name="Ana")
BEN = Administrator(id="2", organization_id="dock", name="Ben")


def launch(call: Call) -> Any:
    who = request.args["who"]
    call.transport.store.put("user", who, Kept(values={"id": f"lms-{who}"}))
    return jsonify(released=call.release(who), address=call.address("launch"))


def rename(call: Call) -> Any:
    assert call.administrator is not None
    if request.method == "POST":
        call.save({"book": request.form["book"]})
    return jsonify(
        by=call.administrator.name, book=call.settings["book"], objectives=call.objectives()
    )


class Gradebook(Connector):
    """Sends one score a request, to an address of its objective, in order for each learner."""

    type = "gradebook"
    label = "Gradebook"
    fields = (Field(name="book", label="Book", required="Enter the book."),)
    generated = (
        GeneratedSecret(
            name="key", label="Key", make=lambda: uuid.uuid4().hex, hint="Enter it in the book."
        ),
        GeneratedSecret(name="inner", label="Inner key", make=lambda: uuid.uuid4().hex),
    )
    causes = MappingProxyType(
        {
            "not_opened": Cause(
                code="not_opened",
                status=None,
                sentence="%(who)s hasn't opened it yet.",
                is_waiting=True,
            )
        }
    )
    routes = (
        Route(
            path="launch",
            view=launch,
            methods=("GET", "POST"),
            is_public=True,
            frames=lambda settings: [f"https://{settings['book']}.example", "bad; value"],
        ),
        Route(path="rename", view=rename, methods=("GET", "POST")),
    )
    most = 1

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.secrets: Mapping[str, Secret] = {}
        self.answers: dict[str, Answer] = {}
        self.during: Callable[[], None] = lambda: None

    def build(
        self, result: ObjectiveResult, settings: Mapping[str, Any], context: BuildContext
    ) -> Built:
        assert isinstance(result.participant, Participant)
        text = json.dumps([result.participant.id, result.id])
        id = uuid.uuid5(uuid.NAMESPACE_URL, result.id)
        return Built(statements=[Statement(id=id, kind="result", text=text)])

    def limits(self, settings: Mapping[str, Any]) -> tuple[int | None, int | None]:
        return self.most, None

    def order_key(self, statement: Statement, settings: Mapping[str, Any]) -> str:
        return str(json.loads(statement.text)[0])

    def destination_key(self, statement: Statement, settings: Mapping[str, Any]) -> str:
        return str(json.loads(statement.text)[1][0])

    def send(
        self,
        statements: Sequence[Statement],
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        transport: Transport,
    ) -> Answer:
        self.secrets = secrets
        who = json.loads(statements[0].text)[0]
        if settings["book"] == "closed" and transport.store.get("user", who) is None:
            self.during()
            return Answer(verdict=Verdict.WAITS, cause="not_opened", facts={"who": who})
        ids = [json.loads(one.text)[1] for one in statements]
        self.sent.append(ids)
        return self.answers.get(ids[0], Answer(verdict=Verdict.ACCEPTED, http_status=201))


@pytest.fixture
def book() -> Gradebook:
    return Gradebook()


@pytest.fixture
def world(tmp_path: Path, book: Gradebook) -> Iterator[World]:
    with make_world(f"sqlite:///{tmp_path / 'book.db'}", lms=LMS(connectors=[book])) as made:
        made.who = ANA
        yield made


def opened(world: World, name: str = "open") -> Configuration:
    made = world.lms.configurations.create(
        "acme", "Book", ["ana@acme.example"], type="gradebook", settings={"book": name}
    )
    world.lms.configurations.attach(made.id, "ppe")
    return made


def record(world: World, *ids: str, who: str = "sam@acme.example") -> None:
    world.lms.record_many([result(id, participant=Participant(id=who)) for id in ids])


# -- what an answer may mean -----


def test_superseded_is_done_and_not_called_sent(world: World, book: Gradebook) -> None:
    one = opened(world)
    book.answers["r1"] = Answer(verdict=Verdict.SUPERSEDED, http_status=400, words="older")
    record(world, "r1", "r2")
    world.deliver(one)
    assert world.states() == {"superseded": 1, "delivered": 1}
    assert world.health(one).status is Status.CONNECTED
    client = world.client()
    page = client.get("/lms/deliveries")
    assert "Superseded" in page.text
    [row] = [row for row in world.rows() if row.state.value == "superseded"]
    text = client.get(f"/lms/deliveries/{row.id}").text
    assert "has a newer result in place of this one and didn’t store it" in text or (
        "has a newer result in place of this one and didn&#39;t store it" in text
    )
    assert "superseded" in client.get("/lms/deliveries.csv").text.lower()
    assert client.get("/lms/deliveries?state=superseded").text.count(str(row.id)) >= 1


def test_a_conflict_out_of_a_400_is_looked_up(world: World, book: Gradebook) -> None:
    one = opened(world)
    clock = world.freeze()
    book.answers["r1"] = Answer(verdict=Verdict.CONFLICT, http_status=400, words="exists")
    record(world, "r1")
    world.deliver(one)  # compare() says by default that it can't be read
    assert [(row.state.value, row.refusals) for row in world.rows()] == [("pending", 1)]
    book.answers.clear()
    clock.advance(seconds=90)
    world.deliver(one)
    assert world.states() == {"delivered": 1}


# -- what waits for a learner -----


def test_what_waits_for_an_event_is_not_sent_until_it_comes(world: World, book: Gradebook) -> None:
    one = opened(world, "closed")
    record(world, "r1", "r2")
    record(world, "r3", who="kim@acme.example")
    world.deliver(one)
    assert world.states() == {"not_sent": 3}
    assert {(row.reason, row.attempts) for row in world.rows()} == {("not_opened", 0)}
    assert world.health(one).status is Status.NOT_TESTED  # nothing was asked of it
    assert book.sent == []
    assert "sam@acme.example hasn" in world.client().get("/lms/deliveries").text
    answer = world.client().get(
        f"/lms/types/gradebook/{one.id}/launch", query_string={"who": "sam@acme.example"}
    )
    assert answer.json["released"] == 2
    assert answer.json["address"].endswith(f"/lms/types/gradebook/{one.id}/launch")
    world.deliver(one)
    assert book.sent == [["r1"], ["r2"]]  # in their old turn
    assert world.states() == {"delivered": 2, "not_sent": 1}


def test_an_event_in_the_middle_of_the_look_is_not_missed(world: World, book: Gradebook) -> None:
    one = opened(world, "closed")
    record(world, "r1")

    def arrives() -> None:
        book.during = lambda: None
        world.state.store_of(one.id, "gradebook", one.settings).put(
            "user", "sam@acme.example", Kept(values={"id": "x"})
        )
        assert waiting.release(world.state, world.get(one.id), "sam@acme.example") == 0

    book.during = arrives
    world.deliver(one)
    assert book.sent == [["r1"]]
    assert world.states() == {"delivered": 1}


def test_many_are_released_in_transactions_of_some_hundred(
    world: World, book: Gradebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened(world, "closed")
    record(world, *(f"r{n}" for n in range(7)))
    world.deliver(one)
    monkeypatch.setattr(waiting, "STEP", 3)
    assert waiting.release(world.state, world.get(one.id)) == 7
    assert world.states() == {"pending": 7}


def test_nobody_is_mailed_about_what_waits(world: World, book: Gradebook) -> None:
    world.freeze()
    one = opened(world, "closed")
    record(world, "r1")
    world.deliver(one)
    for _ in range(4):
        world.tick(minutes=30)
    assert world.mails() == []


def test_checked_again_it_is_looked_at_again(world: World, book: Gradebook) -> None:
    one = opened(world, "closed")
    record(world, "r1")
    world.deliver(one)
    world.state.store_of(one.id, "gradebook", one.settings).put(
        "user", "sam@acme.example", Kept(values={"id": "x"})
    )
    world.lms.deliveries.check_again(state="not_sent")
    world.deliver(one)
    assert world.states() == {"delivered": 1}


# -- order and places -----


def test_one_request_goes_to_one_place(world: World, book: Gradebook) -> None:
    book.most = 50
    one = opened(world)
    for n, id in enumerate(("a1", "b1", "a2", "b2", "a3")):
        record(world, id, who=f"p{n}@acme.example")
    world.deliver(one)
    assert book.sent == [["a1", "a2", "a3"], ["b1", "b2"]]


def test_one_that_is_refused_holds_back_its_key_and_no_other(world: World, book: Gradebook) -> None:
    one, clock = opened(world), world.freeze()
    book.answers["s1"] = Answer(verdict=Verdict.REFUSED, http_status=400, words="no")
    record(world, "s1", "s2", "s3")
    record(world, "k1", "k2", who="kim@acme.example")
    world.deliver(one)
    assert book.sent == [["s1"], ["k1"], ["k2"]]
    clock.advance(seconds=90)  # due again, and younger ones of its key are due for longer
    record(world, "k3", who="kim@acme.example")
    world.deliver(one)
    assert book.sent[3:] == [["s1"], ["k3"]]
    book.answers.clear()
    clock.advance(seconds=900)
    world.deliver(one)
    assert book.sent[5:] == [["s1"], ["s2"], ["s3"]]
    assert world.states() == {"delivered": 6}
    world.state.session.rollback()


def test_behind_many_that_wait_others_are_found(
    world: World, book: Gradebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_lms.delivery.deliver._LOOKED_AT", 3)
    one = opened(world)
    world.freeze()
    book.answers["s0"] = Answer(verdict=Verdict.REFUSED, http_status=400, words="no")
    record(world, *(f"s{n}" for n in range(11)))
    record(world, "k1", who="kim@acme.example")
    world.deliver(one)
    assert book.sent == [["s0"], ["k1"]]
    assert world.state.session.query(OrderHold).count() == 1


def test_two_of_one_key_are_never_under_way_together(world: World, book: Gradebook) -> None:
    one = opened(world)
    record(world, "s1", "s2")
    record(world, "k1", who="kim@acme.example")
    deliverer = Deliverer(world.state)
    walk = deliverer.begin(one.id)
    assert walk is not None
    first, second = deliverer.read(walk), deliverer.read(walk)
    assert first is not None
    assert second is not None
    assert deliverer.read(walk) is None
    texts = [json.loads(load.statements[0].text)[1] for load in (first, second)]
    assert texts == ["s1", "k1"]
    deliverer.send(walk, second)
    assert deliverer.read(walk) is None
    deliverer.end(walk)  # killed with one under way: that goes out again, first
    world.deliver(one)
    assert book.sent == [["k1"], ["s1"], ["s2"]]


# -- secrets that are made here -----


def test_a_secret_that_is_made_is_shown_once_and_renewed_with_an_overlap(
    world: World, book: Gradebook
) -> None:
    world.freeze()
    client = world.client()
    page = client.post(
        "/lms/new",
        data={
            **form_of(client.get("/lms/new")),
            "name": "Book",
            "type": "gradebook",
            "contact_emails": "ana@acme.example",
        },
    )
    data = {**form_of(page), "book": "open", "act": "save"}
    made = client.post("/lms/new/gradebook", data=data)
    assert made.headers["Location"].endswith("/secrets")
    [one] = world.lms.configurations.list("acme")
    address = f"/lms/{one.id}/secrets"
    form = form_of(client.get(address))
    shown = client.post(address, data={**form, "secret": "key", "act": "show"}).text
    found = re.search(r"<code[^>]*>(\w{32})</code>", shown)
    assert found
    again = client.post(
        address, data={**form, "secret": "key", "act": "show"}, follow_redirects=True
    )
    assert found[1] not in again.text
    assert found[1] not in client.get(f"/lms/{one.id}/edit").text
    assert found[1] not in str(world.get(one.id).secrets)
    with pytest.raises(NotFound):  # that is never shown
        world.lms.configurations.show_secret(one.id, "inner")

    world.lms.configurations.attach(one.id, "ppe")
    record(world, "r1")
    world.deliver(one)
    assert [key.reveal() for key in valid(book.secrets, "key", world.now)] == [found[1]]
    client.post(address, data={**form, "secret": "key", "act": "renew"})
    record(world, "r2")
    world.deliver(one)
    new, old = valid(book.secrets, "key", world.now)
    assert old.reveal() == found[1] != new.reveal()
    assert valid(book.secrets, "key", world.now + timedelta(hours=25)) == [new]
    assert [row.action for row in world.history() if row.action.startswith("secret")] == [
        "secret_shown",
        "secret_renewed",
    ]
    # Another address: what proves who sends moves along.
    world.lms.configurations.update(one.id, settings={"book": "other"})
    record(world, "r3")
    world.deliver(one)
    assert book.secrets["key"].reveal() == new.reveal()


# -- routes -----


@pytest.mark.parametrize("is_guarded", [False, True], ids=["alone", "with CSRFProtect"])
def test_a_route_for_administrators_is_guarded_as_every_page(
    world: World, is_guarded: bool
) -> None:
    world.app.config["WTF_CSRF_ENABLED"] = True
    if is_guarded:
        CSRFProtect(world.app)
    one = opened(world)
    address, client = f"/lms/types/gradebook/{one.id}/rename", world.client()
    assert client.get(address).json == {"by": "Ana", "book": "open", "objectives": ["ppe"]}
    assert client.post(address, data={"book": "mine"}).status_code == 400
    assert world.get(one.id).settings["book"] == "open"
    token = form_of(client.get(f"/lms/{one.id}/secrets"))["csrf_token"]
    assert client.post(address, data={"book": "mine", "csrf_token": token}).status_code == 200
    assert world.get(one.id).settings["book"] == "mine"
    world.who = BEN
    assert client.get(address).status_code == 404
    world.who = None
    assert client.get(address).status_code == 403


@pytest.mark.parametrize("is_guarded", [False, True], ids=["alone", "with CSRFProtect"])
def test_a_public_route_needs_no_sign_in_and_ends_with_its_configuration(
    world: World, is_guarded: bool
) -> None:
    world.app.config["WTF_CSRF_ENABLED"] = True
    if is_guarded:
        CSRFProtect(world.app)

    @world.app.after_request
    def of_the_host(response: Any) -> Any:
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        return response

    one = opened(world)
    world.who = None
    address = f"/lms/types/gradebook/{one.id}/launch?who=x"
    answer = world.client().post(address)
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert "X-Frame-Options" not in answer.headers
    assert answer.headers.getlist("Content-Security-Policy") == [
        "default-src 'self'",
        "frame-ancestors https://open.example",
    ]
    closed = world.client().get("/lms/deliveries")
    assert closed.headers["X-Frame-Options"] == "DENY"
    assert world.client().get(f"/lms/types/gradebook/{uuid.uuid4()}/launch").status_code == 404
    world.lms.configurations.delete(one.id)
    assert world.client().post(address).status_code == 404


def test_a_configuration_of_another_type_has_no_such_route(world: World) -> None:
    other = world.configuration()
    path = f"/lms/types/gradebook/{other.id}/launch?who=x"
    assert world.client().get(path).status_code == 404


def test_a_route_or_secret_that_can_t_be_is_refused_in_words() -> None:
    class Odd(Gradebook):
        routes = (Route(path="../deliveries", view=launch),)

    class Twice(Gradebook):
        generated = (GeneratedSecret(name="book", label="Book", make=str),)

    for wrong, says in ((Odd, "Odd.routes has '../deliveries'"), (Twice, "Twice.generated has")):
        with pytest.raises(SetupError, match=re.escape(says)):
            Registry([wrong()])
