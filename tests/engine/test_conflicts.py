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
from flask_lms.services.deliveries import Filters
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.support import drain, health, record, states
from tests.host import Host

JSON = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}
CONFLICT = FakeAnswer(409, JSON, b'{"error": "exists"}')
LOST = FakeAnswer(200, cut="before")


@pytest.fixture
def configuration(host: Host, lrs: FakeLRS) -> Configuration:
    host.freeze()
    made = host.attach(**lrs.settings)
    record(host, "r1")
    return made


def once_more(host: Host, configuration: Configuration, *, minutes: float = 1) -> None:
    host.state.clock.advance(minutes=minutes)  # type: ignore[attr-defined]
    drain(host, configuration)


@pytest.mark.parametrize("found", [FakeAnswer(404), FakeAnswer(401), FakeAnswer(500), LOST])
def test_one_that_was_never_sent_is_never_called_delivered(
    host: Host, lrs: FakeLRS, configuration: Configuration, found: FakeAnswer
) -> None:
    for minutes in (0, 1, 10, 60, 240, 720):
        [delivery] = host.deliveries()
        assert delivery.state.value == "pending"
        lrs.answer(CONFLICT, found)
        once_more(host, configuration, minutes=minutes)
        assert not health(host, configuration).status.is_error
    [delivery] = host.deliveries()
    assert (delivery.state.value, delivery.reason) == ("rejected", "rejected")
    assert delivery.reason_words == "exists"
    assert lrs.statements == []


def test_one_that_was_refused_clearly_before_was_not_stored_then(
    host: Host, lrs: FakeLRS, configuration: Configuration
) -> None:
    lrs.answer(FakeAnswer(401), FakeAnswer(400, JSON, b'{"error": "no"}'))
    drain(host, configuration)
    once_more(host, configuration, minutes=40)
    lrs.answer(CONFLICT, FakeAnswer(403))
    once_more(host, configuration)
    assert states(host) == {"pending": 1}
    assert host.deliveries()[0].refusals == 2


@pytest.mark.parametrize("wrap", ["%s", "[%s]", '{"statements": [%s], "more": ""}'])
@pytest.mark.parametrize("was_sent", [True, False])
def test_what_the_lms_has_alike_is_delivered(
    host: Host, lrs: FakeLRS, configuration: Configuration, wrap: str, was_sent: bool
) -> None:
    if was_sent:
        lrs.answer(LOST)
        drain(host, configuration)
    text = str(host.deliveries()[0].statement)
    lrs.answer(CONFLICT, FakeAnswer(200, JSON, (wrap % text).encode()))
    once_more(host, configuration)
    [delivery] = host.deliveries()
    assert (delivery.state.value, delivery.reason) == ("delivered", None)
    assert health(host, configuration).status is Status.CONNECTED


@pytest.mark.parametrize("was_sent", [True, False])
def test_what_the_lms_has_otherwise_is_rejected(
    host: Host, lrs: FakeLRS, configuration: Configuration, was_sent: bool
) -> None:
    if was_sent:
        lrs.answer(LOST)
        drain(host, configuration)
    other = json.loads(str(host.deliveries()[0].statement))
    other["result"]["success"] = False
    lrs.answer(CONFLICT, FakeAnswer(200, JSON, json.dumps(other).encode()))
    once_more(host, configuration)
    [delivery] = host.deliveries()
    assert (delivery.state.value, delivery.reason) == ("rejected", "conflict")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "before", [LOST, FakeAnswer(502), FakeAnswer(200, JSON, b'["', cut="after")]
)
def test_one_that_may_be_stored_and_cannot_be_read_is_delivered_but_not_verified(
    host: Host, lrs: FakeLRS, configuration: Configuration, before: FakeAnswer, status: int
) -> None:
    lrs.answer(before)
    drain(host, configuration)
    lrs.answer(CONFLICT, FakeAnswer(status))
    once_more(host, configuration)
    [delivery] = host.deliveries()
    assert (delivery.state.value, delivery.reason) == ("delivered", "not_verified")
    assert host.lms.deliveries.count(Filters(reason="not_verified")) == 1
    host.administrator.append(Administrator(id="1", organization_id="acme"))
    client = host.app.test_client()
    page = client.get(f"/lms/deliveries/{delivery.id}")
    assert "Not verified: your LMS says that it has this result" in page.text
    assert str(delivery.id) in client.get("/lms/deliveries?reason=not_verified").text
    # Sent again it is known to have been there; when the LMS lets us read it, it is verified.
    host.lms.deliveries.send_again(Filters(configuration_id=configuration.id))
    lrs.answer(CONFLICT, FakeAnswer(200, JSON, str(delivery.statement).encode()))
    drain(host, configuration)
    assert host.deliveries()[0].reason is None


@pytest.mark.parametrize("way", ["its lease ran out", "it is known to be dead"])
def test_one_whose_worker_died_after_sending_may_be_stored(
    host: Host,
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
        patched.setattr(deliver.Deliverer, "_give_back", lambda *args: None)
        with pytest.raises(Killed):
            drain(host, configuration)
    host.db.session.rollback()
    assert len(lrs.statements) == 1
    if way == "it is known to be dead":
        session, now = host.db.session(), host.state.clock.now(host.db.session())
        assert lease.release_dead(session, "", lambda holder: False, now) == 1
        session.commit()
    record(host, "recorded later")
    lrs.answer(CONFLICT, CONFLICT, FakeAnswer(401), CONFLICT, FakeAnswer(401))
    once_more(host, configuration, minutes=2)
    [first, later] = host.deliveries()
    assert (first.state.value, first.reason) == ("delivered", "not_verified")
    attempts = [(one.verdict, one.cause) for one in host.lms.deliveries.attempts(first)]
    assert ("failed", "interrupted") in attempts
    if way == "it is known to be dead":
        assert later.state.value == "pending"


def test_while_an_lms_refuses_everything_its_word_is_not_enough(host: Host, lrs: FakeLRS) -> None:
    """Sent once without a clear answer, then 409 to everything, and the key may not read."""
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, "lost")
    lrs.answer(LOST)
    drain(host, configuration)
    record(host, *(f"r{n}" for n in range(9)))
    own, lost = lrs._respond, str(host.deliveries()[0].statement_id)
    lrs._respond = lambda method, *rest: (  # type: ignore[method-assign, assignment]
        CONFLICT if method == "POST" else FakeAnswer(401)
    )
    row = host.deliveries()[0]
    row.due_at = clock.time + timedelta(minutes=30)
    host.db.session.commit()
    for _ in range(40):
        once_more(host, configuration, minutes=5)
    assert health(host, configuration).cause == "settings"
    assert states(host) == {"pending": 10}
    lrs._respond = own  # type: ignore[method-assign]
    once_more(host, configuration, minutes=35)
    assert states(host) == {"delivered": 10}
    assert lost in {statement["id"] for statement in lrs.statements}


@pytest.mark.parametrize(
    ("failure", "cause"), [(FakeAnswer(500), "internal"), (FakeAnswer(409), "unexpected")]
)
def test_one_that_may_be_stored_stays_as_long_as_the_lms_cannot_be_asked(
    host: Host, lrs: FakeLRS, configuration: Configuration, failure: FakeAnswer, cause: str
) -> None:
    lrs.answer(LOST)
    drain(host, configuration)
    for _ in range(8):
        lrs.answer(CONFLICT, failure)
        once_more(host, configuration, minutes=15)
    [delivery] = host.deliveries()
    assert (delivery.state.value, delivery.refusals) == ("pending", 0)
    now = health(host, configuration)
    assert (now.status, now.cause) == (Status.SERVER_ERROR, cause)
    lrs.answer(CONFLICT, FakeAnswer(200, JSON, str(delivery.statement).encode()))
    once_more(host, configuration, minutes=15)
    assert states(host) == {"delivered": 1}


@pytest.mark.parametrize("was_sent", [True, False])
def test_a_connector_that_raises_while_comparing_is_an_attempt_like_any_other(
    host: Host,
    lrs: FakeLRS,
    configuration: Configuration,
    was_sent: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if was_sent:
        lrs.answer(LOST)
        drain(host, configuration)

    def broken(*args: Any) -> Any:
        raise KeyError("id")

    with monkeypatch.context() as patched:
        patched.setattr(host.state.registry.get("xapi"), "compare", broken, raising=False)
        lrs.answer(CONFLICT)
        once_more(host, configuration)
    now = health(host, configuration)
    assert now.next_attempt_at is not None
    [delivery] = host.deliveries()
    assert (delivery.state.value, delivery.refusals) == ("pending", 0)
    assert host.lms.deliveries.attempts(delivery)[-1].cause == "connector_failed"
    assert now.lease_holder is None
    once_more(host, configuration)
    assert states(host) == {"delivered": 1}


@pytest.mark.parametrize("method", ["send", "compare"])
def test_a_time_out_of_the_job_is_no_fault_of_the_connector(
    host: Host,
    lrs: FakeLRS,
    configuration: Configuration,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(*args: Any) -> Any:
        raise JobTimeoutException

    lrs.answer(CONFLICT)
    monkeypatch.setattr(host.state.registry.get("xapi"), method, late, raising=False)
    with pytest.raises(JobTimeoutException):
        drain(host, configuration)
    now = health(host, configuration)
    assert (now.status, now.failures, now.lease_holder) == (Status.NOT_TESTED, 0, None)
    assert states(host) == {"pending": 1}
