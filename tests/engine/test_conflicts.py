"""409 on one statement: what the LMS has under its id decides, and whether it was sent before."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from rq.timeouts import JobTimeoutException

from flask_lms import Administrator
from flask_lms.database.models import Configuration, Status
from flask_lms.delivery import deliver, lease
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.world import World

JSON = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}
CONFLICT = FakeAnswer(409, JSON, b'{"error": "exists"}')
LOST = FakeAnswer(200, cut="before")


@pytest.fixture
def configuration(world: World, lrs: FakeLRS) -> Configuration:
    world.freeze()
    made = world.attach(**lrs.settings)
    world.record("r1")
    return made


def once_more(world: World, configuration: Configuration, *, minutes: float = 1) -> None:
    world.state.clock.advance(minutes=minutes)  # type: ignore[attr-defined]
    world.deliver(configuration)


@pytest.mark.parametrize("found", [FakeAnswer(404), FakeAnswer(401), FakeAnswer(500), LOST])
def test_one_that_was_never_sent_is_never_called_delivered(
    world: World, lrs: FakeLRS, configuration: Configuration, found: FakeAnswer
) -> None:
    for minutes in (0, 1, 10, 60, 240, 720):
        [delivery] = world.rows()
        assert delivery.state.value == "pending"
        lrs.answer(CONFLICT, found)
        once_more(world, configuration, minutes=minutes)
        assert not world.health(configuration).status.is_error
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.reason) == ("rejected", "rejected")
    assert delivery.reason_words == "exists"
    assert lrs.statements == []


def test_one_that_was_refused_clearly_before_was_not_stored_then(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    lrs.answer(FakeAnswer(401), FakeAnswer(400, JSON, b'{"error": "no"}'))
    world.deliver(configuration)
    once_more(world, configuration, minutes=40)
    lrs.answer(CONFLICT, FakeAnswer(403))
    once_more(world, configuration)
    assert world.states() == {"pending": 1}
    assert world.rows()[0].refusals == 2


@pytest.mark.parametrize("wrap", ["%s", "[%s]", '{"statements": [%s], "more": ""}'])
@pytest.mark.parametrize("was_sent", [True, False])
def test_what_the_lms_has_alike_is_delivered(
    world: World, lrs: FakeLRS, configuration: Configuration, wrap: str, was_sent: bool
) -> None:
    if was_sent:
        lrs.answer(LOST)
        world.deliver(configuration)
    text = str(world.rows()[0].statement)
    lrs.answer(CONFLICT, FakeAnswer(200, JSON, (wrap % text).encode()))
    once_more(world, configuration)
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.reason) == ("delivered", None)
    assert world.health(configuration).status is Status.CONNECTED


@pytest.mark.parametrize("was_sent", [True, False])
def test_what_the_lms_has_otherwise_is_rejected(
    world: World, lrs: FakeLRS, configuration: Configuration, was_sent: bool
) -> None:
    if was_sent:
        lrs.answer(LOST)
        world.deliver(configuration)
    other = json.loads(str(world.rows()[0].statement))
    other["result"]["success"] = False
    lrs.answer(CONFLICT, FakeAnswer(200, JSON, json.dumps(other).encode()))
    once_more(world, configuration)
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.reason) == ("rejected", "conflict")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "before", [LOST, FakeAnswer(502), FakeAnswer(200, JSON, b'["', cut="after")]
)
def test_one_that_may_be_stored_and_cannot_be_read_is_delivered_but_not_verified(
    world: World, lrs: FakeLRS, configuration: Configuration, before: FakeAnswer, status: int
) -> None:
    lrs.answer(before)
    world.deliver(configuration)
    lrs.answer(CONFLICT, FakeAnswer(status))
    once_more(world, configuration)
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.reason) == ("delivered", "not_verified")
    assert world.lms.deliveries.count(reason="not_verified") == 1
    world.who = Administrator(id="1", organization_id="acme")
    client = world.app.test_client()
    page = client.get(f"/lms/deliveries/{delivery.id}")
    assert "Not verified: your LMS says that it has this result" in page.text
    assert str(delivery.id) in client.get("/lms/deliveries?reason=not_verified").text
    # Sent again it is known to have been there; when the LMS lets us read it, it is verified.
    world.lms.deliveries.send_again(configuration_id=configuration.id)
    lrs.answer(CONFLICT, FakeAnswer(200, JSON, str(delivery.statement).encode()))
    world.deliver(configuration)
    assert world.rows()[0].reason is None


@pytest.mark.parametrize("way", ["its lease ran out", "it is known to be dead"])
def test_one_whose_worker_died_after_sending_may_be_stored(
    world: World,
    lrs: FakeLRS,
    configuration: Configuration,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    class Killed(BaseException):
        pass

    def die(*args: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched:  # after POST, before anything is written
        patched.setattr(deliver, "settle", die)
        patched.setattr(deliver.Deliverer, "end", lambda *args: None)
        with pytest.raises(Killed):
            world.deliver(configuration)
    world.db.session.rollback()
    assert len(lrs.statements) == 1
    if way == "it is known to be dead":
        session, now = world.db.session(), world.state.clock.now(world.db.session())
        assert lease.release_dead(session, "", lambda holder: False, now) == 1
        session.commit()
    world.record("recorded later")
    lrs.answer(CONFLICT, CONFLICT, FakeAnswer(401), CONFLICT, FakeAnswer(401))
    once_more(world, configuration, minutes=2)
    [first, later] = world.rows()
    assert (first.state.value, first.reason) == ("delivered", "not_verified")
    attempts = [(one.verdict, one.cause) for one in world.lms.deliveries.attempts(first)]
    assert ("failed", "interrupted") in attempts
    if way == "it is known to be dead":
        assert later.state.value == "pending"


def test_while_an_lms_refuses_everything_its_word_is_not_enough(world: World, lrs: FakeLRS) -> None:
    """Sent once without a clear answer, then 409 to everything, and the key may not read."""
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("lost")
    lrs.answer(LOST)
    world.deliver(configuration)
    world.record(*(f"r{n}" for n in range(9)))
    own, lost = lrs._respond, str(world.rows()[0].statement_id)
    lrs._respond = lambda method, *rest: (  # type: ignore[method-assign, assignment]
        CONFLICT if method == "POST" else FakeAnswer(401)
    )
    row = world.rows()[0]
    row.due_at = clock.time + timedelta(minutes=30)
    world.db.session.commit()
    for _ in range(40):
        once_more(world, configuration, minutes=5)
    assert world.health(configuration).cause == "settings"
    assert world.states() == {"pending": 10}
    lrs._respond = own  # type: ignore[method-assign]
    once_more(world, configuration, minutes=35)
    assert world.states() == {"delivered": 10}
    assert lost in {statement["id"] for statement in lrs.statements}


@pytest.mark.parametrize(
    ("failure", "cause"), [(FakeAnswer(500), "internal"), (FakeAnswer(409), "unexpected")]
)
def test_one_that_may_be_stored_stays_as_long_as_the_lms_cannot_be_asked(
    world: World, lrs: FakeLRS, configuration: Configuration, failure: FakeAnswer, cause: str
) -> None:
    lrs.answer(LOST)
    world.deliver(configuration)
    for _ in range(8):
        lrs.answer(CONFLICT, failure)
        once_more(world, configuration, minutes=15)
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.refusals) == ("pending", 0)
    now = world.health(configuration)
    assert (now.status, now.cause) == (Status.SERVER_ERROR, cause)
    lrs.answer(CONFLICT, FakeAnswer(200, JSON, str(delivery.statement).encode()))
    once_more(world, configuration, minutes=15)
    assert world.states() == {"delivered": 1}


@pytest.mark.parametrize("was_sent", [True, False])
def test_a_connector_that_raises_while_comparing_is_an_attempt_like_any_other(
    world: World,
    lrs: FakeLRS,
    configuration: Configuration,
    was_sent: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if was_sent:
        lrs.answer(LOST)
        world.deliver(configuration)

    def broken(*args: Any) -> Any:
        raise KeyError("id")

    with monkeypatch.context() as patched:
        patched.setattr(world.state.registry.get("xapi"), "compare", broken, raising=False)
        lrs.answer(CONFLICT)
        once_more(world, configuration)
    now = world.health(configuration)
    assert now.next_attempt_at is not None
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.refusals) == ("pending", 0)
    assert world.lms.deliveries.attempts(delivery)[-1].cause == "connector_failed"
    assert now.lease_holder is None
    once_more(world, configuration)
    assert world.states() == {"delivered": 1}


@pytest.mark.parametrize("method", ["send", "compare"])
def test_a_time_out_of_the_job_is_no_fault_of_the_connector(
    world: World,
    lrs: FakeLRS,
    configuration: Configuration,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(*args: Any) -> Any:
        raise JobTimeoutException

    lrs.answer(CONFLICT)
    monkeypatch.setattr(world.state.registry.get("xapi"), method, late, raising=False)
    with pytest.raises(JobTimeoutException):
        world.deliver(configuration)
    now = world.health(configuration)
    assert (now.status, now.failures, now.lease_holder) == (Status.NOT_TESTED, 0, None)
    assert world.states() == {"pending": 1}
