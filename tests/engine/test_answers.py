"""Each row of the answer table, from the wire to the rows, against a scripted server."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from flask_lms.database.models import Status
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.support import PickyLRS
from tests.world import World, make_world

JSON = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}
HTML = {"Content-Type": "text/html"}

FAILURES = [
    # name, answer, cause, shown after how many requests
    ("a web page", FakeAnswer(200, HTML, b"<!doctype html><h1>Welcome</h1>"), "not_lrs", 1),
    ("an empty page", FakeAnswer(200, HTML, b""), "not_lrs", 1),
    (
        "an empty list of no LRS",
        FakeAnswer(200, {"Content-Type": "application/json"}, b"[]"),
        "not_lrs",
        1,
    ),
    ("a result of a query", FakeAnswer(200, JSON, b'{"statements": [], "more": ""}'), "not_lrs", 1),
    ("a redirect", FakeAnswer(302, {"Location": "https://elsewhere.example/"}), "redirect", 1),
    ("401", FakeAnswer(401), "credentials", 1),
    ("403", FakeAnswer(403), "credentials", 1),
    ("404", FakeAnswer(404, HTML, b"Not here"), "address", 1),
    ("405", FakeAnswer(405), "address", 1),
    ("410", FakeAnswer(410), "address", 1),
    ("407", FakeAnswer(407), "gateway", None),
    ("511", FakeAnswer(511), "gateway", None),
    ("411", FakeAnswer(411), "protocol", None),
    ("415", FakeAnswer(415), "protocol", None),
    ("406", FakeAnswer(406), "protocol", None),
    ("501", FakeAnswer(501), "protocol", None),
    ("505", FakeAnswer(505), "protocol", None),
    ("408", FakeAnswer(408), "busy", 3),
    ("425", FakeAnswer(425), "busy", 3),
    ("500", FakeAnswer(500), "internal", 3),
    ("502", FakeAnswer(502), "internal", 3),
    ("503", FakeAnswer(503), "internal", 3),
    ("429", FakeAnswer(429), "rate", 1),
    ("429 for a while", FakeAnswer(429, {"Retry-After": "90"}), "rate", 1),
    ("503 for a while", FakeAnswer(503, {"Retry-After": "90"}), "rate", 1),
    (
        "400 about the version",
        FakeAnswer(400, JSON, b'{"error": "X-Experience-API-Version 1.0.3 is not supported"}'),
        "settings",
        1,
    ),
]


@pytest.mark.parametrize(
    ("answer", "cause", "shown_after"),
    [case[1:] for case in FAILURES],
    ids=[case[0] for case in FAILURES],
)
def test_a_refusing_server_keeps_every_result_and_shows_the_cause(
    world: World, lrs: FakeLRS, answer: FakeAnswer, cause: str, shown_after: int | None
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1", "r2")
    lrs.answer_always(answer)
    for number in range(1, 4):
        world.deliver(configuration)
        if shown_after is not None and number < shown_after:
            assert world.health(configuration).status is Status.NOT_TESTED
        clock.advance(hours=7)
    now = world.health(configuration)
    assert (now.status, now.cause) == (Status.SERVER_ERROR, cause)
    assert world.states() == {"pending": 2}
    lrs.answer_always(None)
    world.deliver(configuration)
    assert world.health(configuration).status is Status.CONNECTED
    world.assert_everything_arrived(lrs)


def _bodies(lrs: FakeLRS) -> list[bytes]:
    return [request.body for request in lrs.received if request.method == "POST"]


@pytest.mark.parametrize(
    "answer",
    [
        FakeAnswer(200, JSON, b'["', cut="after"),
        FakeAnswer(200, {**JSON, "Content-Length": "500"}, b'["00', cut="after"),
        FakeAnswer(200, cut="before"),
        FakeAnswer(500, stores=True),
    ],
    ids=["truncated JSON", "lost after the headers", "reset before a status line", "stored, 500"],
)
def test_the_same_bytes_go_out_again(world: World, lrs: FakeLRS, answer: FakeAnswer) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer(answer)
    world.deliver(configuration)
    assert world.states() == {"pending": 1}
    clock.advance(minutes=1)
    world.deliver(configuration)
    first, second = _bodies(lrs)
    assert first == second
    world.assert_everything_arrived(lrs)


@pytest.mark.parametrize("kind", ["all ids", "any order", "a subset", "none left", "204"])
def test_every_way_to_say_stored_is_understood(world: World, lrs: FakeLRS, kind: str) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1", "r2", "r3")
    ids = [str(delivery.statement_id) for delivery in world.rows()]
    body = {
        "all ids": ids,
        "any order": ids[::-1],
        "a subset": ids[1:2],
        "none left": [],
        "204": None,
    }[kind]
    lrs.answer(
        FakeAnswer(204, JSON) if body is None else FakeAnswer(200, JSON, json.dumps(body).encode())
    )
    world.deliver(configuration)
    assert world.states() == {"delivered": 3}
    assert world.health(configuration).status is Status.CONNECTED


def test_foreign_ids_count_as_delivered_with_a_note(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer(FakeAnswer(200, JSON, b'["7a9bb58f-6b5c-4ad7-9c3e-000000000000"]'))
    world.deliver(configuration)
    [delivery] = world.rows()
    assert delivery.state.value == "delivered"
    [attempt] = world.lms.deliveries.attempts(delivery)
    assert attempt.cause is not None
    assert attempt.verdict == "accepted"


def test_partial_success_refuses_what_it_names_alone(world: World, lrs: FakeLRS) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1", "r2", "r3")
    body = json.dumps({"errors": [{"index": 1, "message": "verb unknown"}]}).encode()
    lrs.answer(FakeAnswer(200, JSON, body))
    world.deliver(configuration)
    assert world.states() == {"delivered": 2, "pending": 1}
    refused = world.rows()[1]
    assert (refused.reason_words, refused.refusals) == ("verb unknown", 1)
    assert world.health(configuration).status is Status.CONNECTED
    clock.advance(minutes=1)
    world.deliver(configuration)
    assert world.states() == {"delivered": 3}
    assert [statement["id"] for statement in lrs.statements] == [str(refused.statement_id)]


def test_an_index_in_a_refusal_sets_only_that_one_aside(world: World, lrs: FakeLRS) -> None:
    world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record(*(f"r{n}" for n in range(10)))
    lrs.answer(FakeAnswer(400, JSON, b'{"error": "statements[3].actor is bad", "index": 3}'))
    done = world.deliver(configuration)
    assert done.requests == 2
    assert world.states() == {"delivered": 9, "pending": 1}
    assert world.health(configuration).status is Status.CONNECTED


@pytest.mark.parametrize("status", [400, 422])
def test_one_that_is_refused_alone_is_tried_for_a_day_and_then_rejected_with_the_words(
    world: World, lrs: FakeLRS, status: int
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer_always(FakeAnswer(status, JSON, b'{"error": "actor is unknown"}'))
    for minutes in (0, 1, 10, 60, 240, 720):
        assert world.states() == {"pending": 1}
        clock.advance(minutes=minutes)
        world.deliver(configuration)
        assert not world.health(configuration).status.is_error
    [delivery] = world.rows()
    assert delivery.state.value == "rejected"
    assert delivery.reason == "rejected"
    assert "actor is unknown" in str(delivery.reason_words)
    assert delivery.attempts == 6


def test_a_conflict_in_a_batch_goes_out_one_by_one(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1", "r2", "r3")
    lrs.answer(FakeAnswer(409, JSON, b'{"error": "exists"}'))
    assert world.deliver(configuration).requests == 4
    world.assert_everything_arrived(lrs)


def test_a_conflict_on_one_that_is_stored_alike_is_delivered(world: World, lrs: FakeLRS) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer(FakeAnswer(500, stores=True), FakeAnswer(409, JSON, b'{"error": "exists"}'))
    world.deliver(configuration)
    clock.advance(minutes=1)
    world.deliver(configuration)
    world.assert_everything_arrived(lrs)


def test_a_conflict_on_one_that_is_stored_differently_is_rejected(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    [delivery] = world.rows()
    other = json.loads(str(delivery.statement))
    other["verb"] = {"id": "http://example.org/other"}
    lrs._store([other])
    world.deliver(configuration)
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.reason) == ("rejected", "conflict")


def test_a_request_that_is_too_large_is_halved_and_the_limit_remembered(world: World) -> None:
    with PickyLRS() as lrs:
        lrs.most_bytes = 6000
        configuration = world.attach(**lrs.settings)
        world.record(*(f"r{n}" for n in range(40)))
        world.deliver(configuration)
        world.assert_everything_arrived(lrs)
        learnt = world.health(configuration).learnt_bytes
        assert learnt
        before = lrs.requests
        world.record(*(f"later{n}" for n in range(4)))
        world.deliver(configuration)
        assert lrs.requests - before <= 3
        assert 413 not in [r.status for r in lrs.received][-(lrs.requests - before) :]


def too_large(world: World, lrs: PickyLRS, *, takes_smaller: bool) -> list[str]:
    """What becomes of one that is too large in two days."""
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("large", session_name="x" * 200)
    lrs.most_bytes = len(str(world.rows()[0].statement)) - 1
    for minutes in (0, 1, 10, 60, 240, 720, 720, 720):
        clock.advance(minutes=minutes)
        world.deliver(configuration)
        assert not world.health(configuration).status.is_error
        if takes_smaller and minutes == 60:
            world.record("small")
            world.deliver(configuration)
    [large, *_] = world.rows()
    assert large.reason == "too_large"
    return [delivery.state.value for delivery in world.rows()]


def test_one_that_is_too_large_is_rejected_after_a_day_in_which_smaller_ones_were_taken(
    world: World,
) -> None:
    with PickyLRS() as lrs:
        assert too_large(world, lrs, takes_smaller=True) == ["rejected", "delivered"]


def test_one_that_is_too_large_waits_as_long_as_nothing_smaller_was_taken(world: World) -> None:
    with PickyLRS() as lrs:
        assert too_large(world, lrs, takes_smaller=False) == ["pending"]


def test_a_learnt_limit_grows_back_hour_by_hour(world: World) -> None:
    clock = world.freeze()
    with PickyLRS() as lrs:
        lrs.most_bytes = 6000
        configuration = world.attach(**lrs.settings)
        world.record(*(f"r{n}" for n in range(40)))
        world.deliver(configuration)
        learnt = world.health(configuration).learnt_bytes
        lrs.most_bytes = None
        limits = []
        for hour in range(11):
            clock.advance(minutes=61)
            world.record(f"h{hour}")
            world.deliver(configuration)
            limits.append(world.health(configuration).learnt_bytes)
        assert limits[:3] == [learnt * 2, learnt * 4, learnt * 8]
        assert limits[-1] is None
        world.assert_everything_arrived(lrs)


def test_half_of_what_was_too_large_is_the_limit_from_then_on(world: World) -> None:
    with PickyLRS() as lrs:
        lrs.most = 20
        configuration = world.attach(**lrs.settings)
        world.record(*(f"r{n}" for n in range(30)))
        world.deliver(configuration)
        refused, *stored = _bodies(lrs)
        assert [len(json.loads(body)) for body in stored] == [15, 15]
        assert world.health(configuration).learnt_bytes == len(refused) // 2


@pytest.mark.parametrize("asked", [90, 3600])
def test_a_request_to_slow_down_is_kept_to_the_second(
    world: World, lrs: FakeLRS, asked: int
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer(FakeAnswer(429, {"Retry-After": str(asked)}))
    world.deliver(configuration)
    clock.advance(seconds=asked - 1)
    assert world.deliver(configuration).requests == 0
    clock.advance(seconds=1)
    world.deliver(configuration)
    assert world.health(configuration).failures == 0
    world.assert_everything_arrived(lrs)


def test_a_refused_connection_shows_at_once(world: World, lrs: FakeLRS) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.refuse()
    world.deliver(configuration)
    now: Any = world.health(configuration)
    assert (now.status, now.cause) == (Status.CANT_CONNECT, "refused")
    assert now.facts["port"] == lrs.port
    lrs.accept()
    clock.advance(seconds=2)
    world.deliver(configuration)
    world.assert_everything_arrived(lrs)


def test_a_read_timeout_keeps_the_bytes_and_halves_the_second_time(
    database_url: str, lrs: FakeLRS
) -> None:
    with make_world(
        database_url, LMS_READ_TIMEOUT_SECONDS=0.3, LMS_TOTAL_TIMEOUT_SECONDS=5
    ) as world:
        clock = world.freeze()
        configuration = world.attach(**lrs.settings)
        world.record(*(f"r{n}" for n in range(8)))
        lrs.delay_seconds = 1.0
        for _ in range(3):
            world.deliver(configuration)
            clock.advance(seconds=10)
        now: Any = world.health(configuration)
        assert (now.status, now.cause) == (Status.CANT_CONNECT, "timeout")
        sizes = [len(json.loads(body)) for body in _bodies(lrs)]
        assert sizes == [8, 8, 4]
        lrs.delay_seconds = 0.0
        clock.advance(minutes=20)
        world.deliver(configuration)
        world.assert_everything_arrived(lrs)


def test_what_answers_without_http_is_cant_connect(world: World) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    configuration = world.attach(f"http://127.0.0.1:{listener.getsockname()[1]}/xapi")
    world.record("r1")
    world.deliver(configuration)
    thread.join(5)
    listener.close()
    now: Any = world.health(configuration)
    assert (now.status, now.cause) == (Status.CANT_CONNECT, "not_http")
    assert world.states() == {"pending": 1}


def test_no_delivery_shows_what_an_answer_said_of_its_neighbours(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1", "r2", "r3")
    errors = [{"index": n, "message": f"who is {who}@acme.example?"} for n, who in enumerate("abc")]
    lrs.answer(FakeAnswer(400, JSON, json.dumps({"errors": errors}).encode()))
    world.deliver(configuration)
    for n, delivery in enumerate(world.rows()):
        [attempt, *_] = world.lms.deliveries.attempts(delivery)
        shown = f"{delivery.reason_words} {attempt.words}"
        assert [who for who in "abc" if f"{who}@" in shown] == ["abc"[n]]
