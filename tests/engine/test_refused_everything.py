"""An LMS, or what stands before it, gives one answer to everything: nothing is lost, nothing is
given up, nothing is called delivered that isn't there, and few requests go out.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from flask_lms.database.models import Status
from flask_lms.database.types import FixedClock
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.support import PickyLRS
from tests.engine.test_sender import poison, record_mixed
from tests.world import World

JSON = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}
WAITING = 300


class Wall(FakeLRS):
    """An LRS before which something gives one answer to everything, as long as it stands.

    :ivar wall: the answer, or ``partial``: 200 with an error for each statement.
    :ivar has_memory: a statement that is stored is answered as usual.
    """

    wall: FakeAnswer | str | None = None
    has_memory = False

    def _respond(self, method: str, target: str, headers: Any, body: bytes) -> FakeAnswer:
        if self.has_memory and method == "POST":
            sent = json.loads(body)
            known = {statement["id"] for statement in self.statements}
            if {one["id"] for one in (sent if isinstance(sent, list) else [sent])} <= known:
                self._always = None
                return super()._respond(method, target, headers, body)
        self._always = self.wall if isinstance(self.wall, FakeAnswer) else None
        if self.wall == "partial" and method == "POST":
            sent = json.loads(body)
            n = len(sent) if isinstance(sent, list) else 1
            errors = [{"index": index, "message": "unknown verb"} for index in range(n)]
            self._always = FakeAnswer(200, JSON, json.dumps({"errors": errors}).encode())
        return super()._respond(method, target, headers, body)


def error(status: int) -> FakeAnswer:
    return FakeAnswer(status, JSON, b'{"error": "no such thing"}')


#: Answer, cause shown, most requests in the first minute, most in an hour.
ANSWERS: dict[str, tuple[FakeAnswer | str, str, int, int]] = {
    "400": (error(400), "settings", 18, 26),
    "409": (error(409), "settings", 18, 34),
    "413": (error(413), "settings", 18, 26),
    "422": (error(422), "settings", 18, 26),
    "partial": ("partial", "settings", 5, 12),
    "401": (error(401), "credentials", 1, 3),
    "404": (error(404), "address", 1, 3),
    "500": (error(500), "internal", 6, 14),
    "503 with a pause": (
        FakeAnswer(503, {**JSON, "Retry-After": "20"}, b"later"),
        "rate",
        4,
        181,
    ),
    "503 with a pause of 0": (
        FakeAnswer(503, {**JSON, "Retry-After": "0"}, b"later"),
        "rate",
        1,
        6,
    ),
    "a page": (FakeAnswer(200, {"Content-Type": "text/html"}, b"<h1>Hi</h1>"), "not_lrs", 1, 3),
}


def work(world: World, clock: FixedClock, *, minutes: float) -> None:
    """What a worker does in this time: a tick each five seconds."""
    for _ in range(round(minutes * 12)):
        world.deliver_due()
        clock.advance(seconds=5)


def stand(
    world: World, lrs: Wall, case: str, *, has_worked: bool, minutes: float, waiting: int = WAITING
) -> tuple[FixedClock, Any, int]:
    """A configuration with what waits before a wall; how many requests went out meanwhile."""
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    if has_worked:
        world.record(*(f"before{n}" for n in range(7)))
        world.deliver(configuration)
        assert world.states() == {"delivered": 7}
        clock.advance(seconds=30)
    world.record(*(f"r{n}" for n in range(waiting)))
    lrs.wall = ANSWERS[case][0]
    before = lrs.requests
    work(world, clock, minutes=minutes)
    return clock, configuration, lrs.requests - before


def assert_kept(world: World, has_worked: bool) -> None:
    expected = {"pending": WAITING, **({"delivered": 7} if has_worked else {})}
    assert world.states() == expected


def assert_soon_well(
    world: World, lrs: Wall, clock: FixedClock, configuration: Any, *, minutes: int = 32
) -> None:
    """The wall is gone: after the next probe all is sent, in full batches, and read back."""
    lrs.wall = None
    before = lrs.requests
    for _ in range(minutes * 12):
        world.deliver_due()
        if not world.states()["pending"]:
            break
        clock.advance(seconds=5)
    world.assert_everything_arrived(lrs)
    assert world.health(configuration).status is Status.CONNECTED
    assert lrs.requests - before <= 9


@pytest.mark.parametrize("has_worked", [False, True], ids=["new", "worked before"])
@pytest.mark.parametrize("case", ANSWERS)
def test_one_answer_to_everything_for_a_minute(
    world: World, case: str, has_worked: bool, record_property: Any
) -> None:
    if world.db.engine.dialect.name != "sqlite" and case not in ("400", "409", "413", "partial"):
        pytest.skip("one path for all of these: SQLite stands for all databases")
    with Wall() as lrs:
        clock, configuration, requests = stand(world, lrs, case, has_worked=has_worked, minutes=1)
        _, cause, most, _ = ANSWERS[case]
        print(f"requests in a minute | {case} | {has_worked=} | {requests}")
        assert 1 <= requests <= most
        assert world.health(configuration).cause == cause
        assert world.health(configuration).status is Status.SERVER_ERROR
        assert_kept(world, has_worked)
        minutes = 2 if cause in ("settings", "internal", "rate") else 32
        assert_soon_well(world, lrs, clock, configuration, minutes=minutes)


@pytest.mark.parametrize("case", ANSWERS)
def test_one_answer_to_everything_for_an_hour(world: World, case: str) -> None:
    if world.db.engine.dialect.name != "sqlite":
        pytest.skip("the clock is the same on every database, SQLite stands for all")
    with Wall() as lrs:
        clock, configuration, requests = stand(world, lrs, case, has_worked=True, minutes=60)
        print(f"requests in an hour | {case} | {requests}")
        assert 1 <= requests <= ANSWERS[case][3]
        assert_kept(world, has_worked=True)
        assert_soon_well(world, lrs, clock, configuration)


@pytest.mark.parametrize("case", ["400", "409", "413", "partial"])
def test_nothing_is_given_up_in_three_days(world: World, case: str) -> None:
    """So few wait that each is tried, and refused, more than twenty times."""
    if world.db.engine.dialect.name != "sqlite":
        pytest.skip("the clock is the same on every database, SQLite stands for all")
    with Wall() as lrs:
        clock, configuration, _ = stand(world, lrs, case, has_worked=False, minutes=5, waiting=6)
        for _ in range(3 * 24 * 2):
            clock.advance(minutes=32)
            world.deliver_due()
        assert world.states() == {"pending": 6}
        assert min(delivery.attempts for delivery in world.rows()) > 20
        assert world.health(configuration).cause == "settings"
        assert_soon_well(world, lrs, clock, configuration)


@pytest.mark.parametrize("has_worked", [False, True], ids=["new", "worked before"])
@pytest.mark.parametrize("case", ["400", "409", "413", "partial"])
def test_at_most_two_requests_a_minute_once_it_is_known(
    world: World, case: str, has_worked: bool
) -> None:
    if world.db.engine.dialect.name != "sqlite":
        pytest.skip("the clock is the same on every database, SQLite stands for all")
    with Wall() as lrs:
        clock, _, _ = stand(world, lrs, case, has_worked=has_worked, minutes=0.1)
        for _ in range(90):
            before = lrs.requests
            work(world, clock, minutes=1)
            assert lrs.requests - before <= 2


def test_an_lms_that_knows_old_statements_and_refuses_all_new_ones_rejects_none(
    world: World,
) -> None:
    """Each witness speaks for it, and yet nothing new is accepted."""
    clock = world.freeze()
    with Wall() as lrs:
        configuration = world.attach(**lrs.settings)
        world.record(*(f"before{n}" for n in range(7)))
        world.deliver(configuration)
        world.record(*(f"r{n}" for n in range(100)))
        lrs.wall, lrs.has_memory = error(400), True
        for minutes in (0, 2, 12, 70, 300, 900, 900, 900):
            clock.advance(minutes=minutes)
            for _ in range(5):
                world.deliver_due()
                clock.advance(seconds=5)
        assert world.health(configuration).cause == "settings"
        assert world.states() == {"delivered": 7, "pending": 100}
        lrs.wall = None
        clock.advance(minutes=40)
        world.deliver_due()
        world.assert_everything_arrived(lrs)


def test_one_of_yesterday_does_not_speak_against_an_lms_that_knows_it(world: World) -> None:
    """409 is a right answer to what it has; so one that waits decides."""
    clock = world.freeze()
    with PickyLRS() as lrs:
        configuration = world.attach(**lrs.settings)
        world.record("before")
        world.deliver(configuration)
        clock.advance(hours=1)
        lrs.refuses = poison
        record_mixed(world, "xxxxx" + "." * 5)
        known = json.dumps(lrs.statements[0]["id"])
        own = lrs._store

        def store(sent: list[Any]) -> FakeAnswer:
            return error(409) if known in json.dumps(sent) else own(sent)

        lrs._store = store  # type: ignore[method-assign]
        world.deliver(configuration)
        assert world.states() == {"delivered": 6, "pending": 5}
        assert world.health(configuration).status is Status.CONNECTED


@pytest.mark.parametrize("has_worked", [False, True], ids=["new", "worked before"])
@pytest.mark.parametrize(
    "marks",
    [
        "." * 20 + "x" + "." * 29,
        "x" + "." * 49,
        "." * 49 + "x",
        "x." * 25,
        "x" * 25 + "." * 25,
        "." * 25 + "x" * 25,
    ],
    ids=["1 of 50", "1 first", "1 last", "25 in turn", "25 first", "25 last"],
)
@pytest.mark.parametrize("names", ["nobody", "its index", "in part"])
def test_poison_turns_no_healthy_lms_red_and_is_rejected_with_its_own_words(
    world: World, marks: str, has_worked: bool, names: str
) -> None:
    if world.db.engine.dialect.name != "sqlite" and (names != "nobody" or not has_worked):
        pytest.skip("SQLite stands for all databases")
    clock = world.freeze()
    with PickyLRS() as lrs:
        configuration = world.attach(**lrs.settings)
        if has_worked:
            world.record("before")
            world.deliver(configuration)
            clock.advance(minutes=5)
        own = lrs._store

        def store(sent: list[Any]) -> FakeAnswer:
            bad = [n for n, statement in enumerate(sent) if poison(statement)]
            who = [sent[n]["actor"]["mbox"] for n in bad]
            errors = [
                {"index": n, "message": f"bad actor '{one}'"}
                for n, one in zip(bad, who, strict=True)
            ]
            body = json.dumps({"errors": errors}).encode()
            if not bad or names == "nobody":
                return own(sent)
            if names == "its index":
                return FakeAnswer(400, JSON, body)
            own([statement for statement in sent if not poison(statement)])
            return FakeAnswer(200, JSON, body)

        lrs.refuses = poison
        lrs._store = store  # type: ignore[method-assign]
        record_mixed(world, marks)
        world.deliver(configuration)
        good, bad = marks.count(".") + has_worked, marks.count("x")
        assert world.states() == {"delivered": good, "pending": bad}
        assert not world.health(configuration).status.is_error
        # Other results come and are taken, as on any day.
        for number, minutes in enumerate((2, 12, 70, 300, 900)):
            clock.advance(minutes=minutes - 1)
            world.record(f"other{number}")
            world.deliver_due()
            clock.advance(minutes=1)
            world.deliver_due()
            assert not world.health(configuration).status.is_error
        clock.advance(minutes=1)  # some waited for a witness
        world.deliver_due()
        assert world.states() == {"delivered": good + 5, "rejected": bad}
        assert len(lrs.statements) == good + 5
        assert_alone(lrs)
        for delivery in world.rows():
            if delivery.state.value == "rejected" and names != "nobody":
                assert delivery.reason_words == f"bad actor '{mbox(delivery)}'"


def assert_alone(lrs: FakeLRS) -> None:
    """What was refused alone goes alone from then on."""
    refused: set[str] = set()
    for request in lrs.received:
        sent = request.json()
        if isinstance(sent, list):
            assert not refused & {statement["id"] for statement in sent}
        elif request.status == 400:
            refused.add(sent["id"])


def mbox(delivery: Any) -> str:
    return str(json.loads(delivery.statement)["actor"]["mbox"])


def test_a_void_is_never_sent_to_find_out(world: World) -> None:
    clock = world.freeze()
    with Wall() as lrs:
        configuration = world.attach(**lrs.settings)
        world.record("r1")
        world.deliver(configuration)
        world.record("r1", revision=1)
        world.deliver(configuration)
        [void] = [d for d in world.rows() if d.kind == "void"]
        void.settled_at = clock.advance(minutes=1)  # the last that was taken
        world.db.session.commit()
        lrs.wall = error(400)
        world.record(*(f"n{n}" for n in range(20)))
        world.record("n19", revision=1)  # the newest that wait are a void and its successor
        before = len(lrs.received)
        work(world, clock, minutes=10)
        singles = [r.json() for r in lrs.received[before:] if r.method == "POST"]
        sent = Counter(s["id"] for s in singles if isinstance(s, dict))
        assert str(void.statement_id) not in sent
        voids = {str(d.statement_id) for d in world.rows() if d.kind == "void"}
        assert not voids & sent.keys()
        lrs.wall = None
        clock.advance(minutes=31)
        world.deliver_due()
        world.assert_everything_arrived(lrs)
        order = [s["id"] for s in lrs.statements]
        for statement in lrs.statements:
            if statement["verb"]["id"].endswith("voided"):
                assert order.index(statement["object"]["id"]) < order.index(statement["id"])
