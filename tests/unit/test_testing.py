"""What hosts' own tests rely on: ``flask_lms.testing`` behaves as an LMS does."""

from __future__ import annotations

import doctest
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from flask_lms import testing
from flask_lms.testing import CONFIG, FakeAnswer, FakeLRS, deliver
from tests.world import World, make_world, result

HEADERS = {"X-Experience-API-Version": "1.0.3"}


@pytest.fixture
def lrs() -> Iterator[FakeLRS]:
    with FakeLRS() as server:
        yield server


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


class Client:
    """Sends as a Learning Record Provider does, on one kept connection."""

    def __init__(self, lrs: FakeLRS, http: requests.Session) -> None:
        self.lrs, self.http, self.auth = lrs, http, (lrs.key, lrs.secret)

    def post(self, body: object, **options: Any) -> requests.Response:
        options = {"auth": self.auth, "headers": HEADERS, "timeout": 5, **options}
        return self.http.post(f"{self.lrs.url}/statements", json=body, **options)

    def get(self, **query: str) -> requests.Response:
        url = f"{self.lrs.url}/statements"
        return self.http.get(url, params=query, auth=self.auth, headers=HEADERS, timeout=5)


@pytest.fixture
def client(lrs: FakeLRS, http: requests.Session) -> Client:
    return Client(lrs, http)


def statement(**changes: Any) -> dict[str, Any]:
    made = {
        "id": str(uuid.uuid4()),
        "actor": {"mbox": "mailto:jane@acme.example"},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/passed"},
        "object": {"id": "https://host.example/xapi/objectives/1"},
    }
    return {**made, **changes}


def test_the_docstrings_example_works_as_it_stands(world: World) -> None:
    names = {"app": world.app, "lms": world.lms, "result": result(objective="fire")}
    parser = doctest.DocTestParser()
    text = (testing.__doc__ or "").replace('"fire-safety"', '"fire"')
    example = parser.get_doctest(text, names, "testing", None, 0)
    said: list[str] = []
    outcome = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert outcome.attempted >= 3
    assert not outcome.failed, "".join(said)


def test_the_given_configuration_is_all_that_a_host_needs(tmp_path: Any) -> None:
    assert set(CONFIG) == {
        "LMS_ALLOW_HTTP",
        "LMS_ALLOWED_NETWORKS",
        "LMS_SHOW_PRIVATE_ANSWERS",
    }
    with make_world(f"sqlite:///{tmp_path / 'h.db'}", **CONFIG) as world, FakeLRS() as lrs:
        world.attach(lrs.url, key=lrs.key, secret=lrs.secret)
        world.lms.record(result())
        assert deliver(world.app).delivered == 1
        assert len(lrs.statements) == 1


def test_the_same_statement_again_is_stored_once_and_answered_alike(
    lrs: FakeLRS, client: Client
) -> None:
    one, two = statement(), statement()
    first, second = client.post([one, two]), client.post([two, one])
    assert (first.status_code, first.json()) == (200, [one["id"], two["id"]])
    assert (second.status_code, second.json()) == (200, [two["id"], one["id"]])
    assert [kept["id"] for kept in lrs.statements] == [one["id"], two["id"]]
    assert (lrs.resent, lrs.requests) == (2, 2)


def test_another_content_under_a_stored_id_is_a_conflict_and_nothing_is_stored(
    lrs: FakeLRS, client: Client
) -> None:
    kept = statement()
    client.post([kept])
    other = {**kept, "verb": {"id": "http://adlnet.gov/expapi/verbs/failed"}}
    assert client.post([statement(), other]).status_code == 409
    assert len(lrs.statements) == 1


@pytest.mark.parametrize(
    "wrong", [{"actor": None}, {"id": "1"}, {"verb": {}}, {"object": "x"}], ids=str
)
def test_one_bad_statement_refuses_the_batch_with_its_index(
    lrs: FakeLRS, client: Client, wrong: dict[str, Any]
) -> None:
    answer = client.post([statement(), statement(**wrong)])
    assert (answer.status_code, answer.json()["index"]) == (400, 1)
    assert lrs.statements == []


def test_the_same_id_twice_in_a_batch_is_refused(lrs: FakeLRS, client: Client) -> None:
    one = statement()
    assert client.post([one, one]).status_code == 400
    assert lrs.statements == []


def test_key_and_secret_are_asked_for_by_all_but_about(
    lrs: FakeLRS, client: Client, http: requests.Session
) -> None:
    assert http.get(f"{lrs.url}/about", timeout=5).json() == {"version": ["1.0.3"]}
    assert client.post([], auth=(lrs.key, "wrong")).status_code == 401
    assert client.post([]).json() == []
    assert client.post([], headers={}).status_code == 400
    assert http.get(f"{lrs.url}/none", auth=client.auth, timeout=5).status_code == 404


def test_a_stored_statement_can_be_read_back(client: Client) -> None:
    one = statement()
    assert client.get(statementId=one["id"]).status_code == 404
    client.post(one)
    assert client.get(statementId=one["id"]).json()["verb"] == one["verb"]


def test_scripted_answers_come_in_order_then_its_own(lrs: FakeLRS, client: Client) -> None:
    lrs.answer(FakeAnswer(503, {"Retry-After": "7"}), FakeAnswer(200, {}, b"<h1>Hello</h1>"))
    first, second, third = (client.post([statement()]) for _ in range(3))
    assert (first.status_code, first.headers["Retry-After"]) == (503, "7")
    assert second.text == "<h1>Hello</h1>"
    assert third.status_code == 200
    assert len(lrs.statements) == 1
    assert [one.status for one in lrs.received] == [503, 200, 200]


def test_an_answer_for_all_holds_until_it_is_taken_back(lrs: FakeLRS, client: Client) -> None:
    lrs.answer_always(FakeAnswer(401))
    assert [client.post([]).status_code for _ in range(3)] == [401] * 3
    lrs.answer_always(None)
    assert client.post([]).status_code == 200


@pytest.mark.parametrize("cut", ["before", "after"])
def test_an_answer_that_gets_lost_may_have_stored(lrs: FakeLRS, client: Client, cut: str) -> None:
    lrs.answer(FakeAnswer(200, {"Content-Length": "40"}, stores=True, cut=cut))
    with pytest.raises(requests.RequestException):
        client.post([statement()])
    assert len(lrs.statements) == 1


def test_it_refuses_connections_and_comes_back_on_the_same_port(
    lrs: FakeLRS, client: Client
) -> None:
    assert client.post([]).status_code == 200
    port = lrs.port
    lrs.refuse()
    with pytest.raises(requests.ConnectionError):
        client.post([])
    lrs.accept()
    assert (lrs.port, client.post([]).status_code) == (port, 200)


def test_it_answers_late_when_told(lrs: FakeLRS, client: Client) -> None:
    lrs.answer(FakeAnswer(200, body=b"[]", delay_seconds=0.2))
    with pytest.raises(requests.ReadTimeout):
        client.post([], timeout=0.05)


def test_what_came_can_be_looked_at_and_forgotten(lrs: FakeLRS, client: Client) -> None:
    voiding = statement(
        verb={"id": "http://adlnet.gov/expapi/verbs/voided"},
        object={"objectType": "StatementRef", "id": "7"},
    )
    client.post([voiding])
    [request] = lrs.received
    assert (request.method, request.path) == ("POST", "/xapi/statements")
    assert request.json() == [voiding]
    assert request.headers["X-Experience-API-Version"] == "1.0.3"
    assert lrs.voided == {"7"}
    lrs.reset()
    assert (lrs.statements, lrs.received, lrs.requests) == ([], [], 0)


def test_it_is_quick_enough_for_thousands(lrs: FakeLRS, client: Client) -> None:
    """Nagle and delayed acknowledgements would make each request take 40 ms."""
    taken = [client.post([]).elapsed.total_seconds() for _ in range(50)]
    assert sorted(taken)[25] < 0.02
