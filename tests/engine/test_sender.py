"""The walk of a drain: batches, poison, fairness, the lease, pause and cancel."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from flask_lms import Participant, statement_delivered, status
from flask_lms.database.models import ConfigurationHealth, Status
from flask_lms.delivery import deliver, lease
from flask_lms.encryption import Encryption
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.support import PickyLRS
from tests.world import World, make_world, result


def poison(statement: Any) -> str | None:
    return "bad actor" if "poison" in statement["actor"]["mbox"] else None


def record_mixed(world: World, marks: str) -> None:
    """One result a letter: ``x`` is poison."""
    for number, mark in enumerate(marks):
        who = "poison" if mark == "x" else "jane"
        world.lms.record(
            result(f"r{number}", participant=Participant(id=f"{who}{number}@acme.example"))
        )


@pytest.mark.parametrize(
    "marks",
    ["." * 20 + "x" + "." * 29, "x." * 25, "x" * 25 + "." * 25, "." * 25 + "x" * 25],
    ids=["1 in 50", "25 in turn", "25 first", "25 last"],
)
def test_poison_never_holds_up_the_others(world: World, marks: str) -> None:
    world.freeze()
    with PickyLRS() as lrs:
        lrs.refuses = poison
        configuration = world.attach(**lrs.settings)
        record_mixed(world, marks)
        world.deliver(configuration)
        assert world.states() == {"delivered": marks.count("."), "pending": marks.count("x")}
        assert world.health(configuration).status is Status.CONNECTED


def test_an_lms_that_refuses_everything_is_a_fault_of_the_settings_and_loses_nothing(
    world: World,
) -> None:
    clock = world.freeze()
    with PickyLRS() as lrs:
        lrs.refuses = lambda statement: "the extension is missing"
        configuration = world.attach(**lrs.settings)
        world.record(*(f"r{n}" for n in range(30)))
        world.deliver(configuration)
        now = world.health(configuration)
        assert (now.status, now.cause) == (Status.SERVER_ERROR, "settings")
        assert world.states() == {"pending": 30}
        clock.advance(hours=20)
        world.deliver(configuration)
        assert world.states() == {"pending": 30}
        lrs.refuses = lambda statement: None
        clock.advance(hours=1)
        world.deliver(configuration)
        world.assert_everything_arrived(lrs)


def test_once_the_settings_are_mended_what_was_refused_goes_out_in_the_same_drain(
    world: World,
) -> None:
    clock = world.freeze()
    with PickyLRS() as lrs:
        lrs.refuses = lambda statement: "the extension is missing"
        configuration = world.attach(**lrs.settings)
        world.record(*(f"r{n}" for n in range(6)))
        for _ in range(12):
            world.deliver(configuration)
            clock.advance(minutes=32)
        assert max(delivery.refusals for delivery in world.rows()) > 1
        lrs.refuses = lambda statement: None
        world.deliver(configuration)
        world.assert_everything_arrived(lrs)


def test_batches_keep_to_statements_and_bytes(database_url: str, lrs: FakeLRS) -> None:
    with make_world(database_url, LMS_BATCH_STATEMENTS=7, LMS_BATCH_BYTES=4000) as world:
        configuration = world.attach(**lrs.settings)
        world.record(*(f"r{n}" for n in range(30)))
        world.deliver(configuration)
        bodies = [r.body for r in lrs.received if r.method == "POST"]
        assert max(len(json.loads(body)) for body in bodies) <= 7
        assert max(len(body) for body in bodies) <= 4000
        world.assert_everything_arrived(lrs)


@dataclass
class Row:
    size: int
    is_single: bool = False
    refusals: int = 0


@pytest.mark.parametrize("most_bytes", range(1, 60))
def test_commas_and_brackets_count_in_a_requests_bytes(most_bytes: int) -> None:
    rows = [Row(size) for size in (10, 1, 7, 12, 3)]
    taken = [rows[index] for index in deliver.fitting(rows, [()] * 5, set(), 9, most_bytes)]
    body = "[" + ",".join("x" * row.size for row in taken) + "]"
    assert len(body) <= most_bytes or len(taken) == 1


def test_a_void_goes_alone_and_after_what_it_voids(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1", "r2")
    world.record("r1", revision=1, success=False)
    world.deliver(configuration)
    world.assert_everything_arrived(lrs)
    [old] = lrs.voided
    order = [statement["id"] for statement in lrs.statements]
    void = next(s["id"] for s in lrs.statements if s["verb"]["id"].endswith("voided"))
    assert order.index(old) < order.index(void)
    for request in lrs.received:
        if void.encode() in request.body:
            assert request.body.count(b'"verb"') == 1


def test_no_transaction_is_open_while_the_request_is_under_way(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    seen: list[bool] = []
    send = world.state.registry.get("xapi").send  # type: ignore[union-attr]

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(world.db.session().in_transaction())
        return send(*args, **kwargs)

    world.state.registry.get("xapi").send = watched  # type: ignore[union-attr, method-assign]
    world.deliver(configuration)
    assert seen == [False]


def test_after_its_share_a_drain_gives_way_and_rings_again(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "FAIR_STATEMENTS", 100)
    configuration = world.attach(**lrs.settings, batch_statements=50)
    world.record(*(f"r{n}" for n in range(130)))
    rung: list[Any] = []
    world.state.wake.now = rung.extend
    assert world.deliver(configuration).delivered == 100
    assert rung == [configuration.id]
    world.deliver(configuration)
    world.assert_everything_arrived(lrs)


def test_what_is_recorded_during_a_drain_is_rung_for_after_it(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    rung: list[Any] = []
    world.state.wake.now = rung.extend
    [walk] = [deliver.Deliverer(world.state)]
    original = walk._read
    reads = iter(range(10))

    def read(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        if next(reads) == 1:
            world.record("late")
        return found

    walk._read = read  # type: ignore[method-assign]
    rung.clear()
    walk.deliver(configuration.id)
    assert configuration.id in rung


def test_after_a_failure_it_is_looked_at_again_when_the_next_attempt_is_planned(
    world: World, lrs: FakeLRS
) -> None:
    world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    rung: list[Any] = []
    planned: list[Any] = []
    world.state.wake.now = rung.extend
    world.state.wake.at = lambda id, at: planned.append((id, at))
    lrs.answer(FakeAnswer(500))
    world.deliver(configuration)
    assert (rung, planned) == (
        [],
        [(configuration.id, world.health(configuration).next_attempt_at)],
    )


def test_two_workers_never_send_to_one_destination_at_the_same_time(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record(*(f"r{n}" for n in range(20)))
    lrs.delay_seconds = 0.2
    id = configuration.id  # not read in the threads: it would be by this one's session
    results: list[Any] = []

    def work() -> None:
        with world.app.app_context():
            results.append(deliver.Deliverer(world.state).deliver(id))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done.is_leased for done in results) == [False, True]
    assert lrs.resent == 0
    world.assert_everything_arrived(lrs)


def test_whoever_lost_the_lease_writes_nothing(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    walk = deliver.Deliverer(world.state)
    post = walk._post

    def slow_post(load: Any) -> Any:
        answer = post(load)
        row = world.db.session.get(ConfigurationHealth, configuration.id)
        assert row is not None
        row.lease_token += 1  # another worker took over meanwhile
        world.db.session.commit()
        return answer

    walk._post = slow_post  # type: ignore[method-assign]
    assert walk.deliver(configuration.id).is_fenced
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.attempts) == ("pending", 0)
    assert world.lms.deliveries.attempts(delivery) == []


def test_an_answer_that_a_deadlock_undid_is_written_down_again_not_asked_for_again(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    changed, deadlocks = status.changed, [1, 2]

    def deadlock(*args: Any) -> Any:
        event = changed(*args)
        if deadlocks and deadlocks.pop():
            raise sa.exc.OperationalError("UPDATE", None, Exception("deadlock"))
        return event

    monkeypatch.setattr(status, "changed", deadlock)
    with world.listening():
        assert world.deliver(configuration).delivered == 1
    assert lrs.requests == 1
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.attempts) == ("delivered", 1)
    assert len(world.lms.deliveries.attempts(delivery)) == 1
    assert len(world.statuses) == len(world.history("status_changed")) == 1


def test_a_lease_that_ran_out_can_be_taken_and_its_token_only_grows(world: World) -> None:
    clock = world.freeze()
    configuration = world.attach("http://127.0.0.1:9/xapi")
    session = world.db.session()
    first = lease.acquire(session, configuration.id, "one", clock.time)
    assert first is not None
    assert lease.acquire(session, configuration.id, "two", clock.time) is None
    later = clock.advance(seconds=lease.LEASE_SECONDS)
    second = lease.acquire(session, configuration.id, "two", later)
    assert second == first + 1
    assert not lease.renew(session, configuration.id, first, later)
    lease.release(session, configuration.id, first)
    session.commit()
    assert world.health(configuration).lease_holder == "two"


def test_pause_keeps_and_resume_sends(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.lms.configurations.pause(configuration.id)
    world.record("r1", "r2")
    assert world.deliver(configuration).requests == 0
    assert world.states() == {"pending": 2}
    world.lms.configurations.resume(configuration.id)
    world.deliver_due()
    world.assert_everything_arrived(lrs)


def test_one_cancelled_while_under_way_is_shown_as_what_it_is(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    walk = deliver.Deliverer(world.state)
    post = walk._post

    def post_and_cancel(load: Any) -> Any:
        answer = post(load)
        world.lms.deliveries.cancel(configuration_id=configuration.id)
        return answer

    walk._post = post_and_cancel  # type: ignore[method-assign]
    walk.deliver(configuration.id)
    world.assert_everything_arrived(lrs)


def test_one_cancelled_before_is_never_sent(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    world.lms.deliveries.cancel(configuration_id=configuration.id)
    world.deliver(configuration)
    assert lrs.statements == []
    assert world.states() == {"cancelled": 1}


def test_send_again_sends_the_same_bytes(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    world.deliver(configuration)
    lrs.reset()
    assert world.lms.deliveries.send_again(configuration_id=configuration.id) == 1
    world.deliver(configuration)
    world.assert_everything_arrived(lrs)


def test_check_again_sends_a_result_whose_address_was_corrected(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.lms.record(result(participant=Participant(id="E001")))
    assert world.states() == {"not_sent": 1}
    checked = world.lms.deliveries.check_again(configuration_id=configuration.id)
    assert (checked.queued, checked.still_not_sent) == (0, 1)
    world.participants["E001"] = Participant(id="E001", email="mo@acme.example")
    checked = world.lms.deliveries.check_again(configuration_id=configuration.id)
    assert (checked.queued, checked.still_not_sent) == (1, 0)
    world.deliver(configuration)
    world.assert_everything_arrived(lrs)


def test_a_secret_that_cant_be_decrypted_stops_with_a_remedy_and_sends_nothing(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    world.state.encryption = Encryption([Fernet.generate_key()])
    world.deliver(configuration)
    now = world.health(configuration)
    assert (now.status, now.cause) == (Status.CANT_CONNECT, "secret_unreadable")
    assert lrs.requests == 0
    assert world.states() == {"pending": 1}


def test_hosts_are_told_of_each_delivered_statement_after_the_commit(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1", "r2")
    told: list[Any] = []

    def receive(sender: object, event: Any) -> None:
        assert not world.db.session().in_transaction()
        told.append(event.result_id)

    with statement_delivered.connected_to(receive):
        world.deliver(configuration)
    assert told == ["r1", "r2"]


def test_our_own_broken_network_charges_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = world.freeze()
    made = []
    for number in range(4):
        made.append(
            world.attach(
                f"http://lms{number}.acme.example/xapi",
                name=f"LMS {number}",
                objective_id="ppe",
            )
        )
    world.record("r1")
    for configuration in made[:2]:
        world.health(configuration).last_success_at = clock.time
    world.db.session.commit()

    def no_dns(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    for _ in range(6):
        for configuration in made:
            world.deliver(configuration)
        clock.advance(seconds=61)
    assert {world.health(c).status for c in made} == {Status.NOT_TESTED}
    for _ in range(8):  # more than ten minutes: whoever is to blame, they are told
        for configuration in made:
            world.deliver(configuration)
        clock.advance(seconds=61)
    assert {world.health(c).status for c in made} == {Status.CANT_CONNECT}
    assert world.states() == {"pending": 4}


def test_the_answer_is_kept_for_the_pages(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer(FakeAnswer(500, {"Content-Type": "text/plain"}, b"disk full"))
    world.deliver(configuration)
    [delivery] = world.rows()
    [attempt] = world.lms.deliveries.attempts(delivery)
    assert (attempt.verdict, attempt.http_status, attempt.cause) == ("failed", 500, "internal")
    assert "disk full" in str(attempt.words)
    assert "s3cret" not in str(attempt.words)


def test_one_cancelled_while_its_batch_is_halved_is_not_sent(world: World) -> None:
    world.freeze()
    with PickyLRS() as lrs:
        lrs.refuses = poison
        configuration = world.attach(**lrs.settings)
        record_mixed(world, "x.......")
        walk = deliver.Deliverer(world.state, chance=lambda: 0.5)
        post, last = walk._post, world.rows()[-1]

        def post_and_cancel(load: Any) -> Any:
            answer = post(load)
            world.lms.deliveries.cancel(ids=[last.id])
            return answer

        walk._post = post_and_cancel  # type: ignore[method-assign]
        walk.deliver(configuration.id)
        assert world.states() == {"cancelled": 1, "delivered": 6, "pending": 1}
        assert len(lrs.statements) == 6


def test_a_receiver_that_leaves_the_session_broken_does_not_stop_a_drain(
    database_url: str, lrs: FakeLRS, caplog: pytest.LogCaptureFixture
) -> None:
    with make_world(database_url, LMS_BATCH_STATEMENTS=1) as world:
        configuration = world.attach(**lrs.settings)
        world.record("r1", "r2", "r3")
        session = world.db.session

        def receive(sender: object, event: Any) -> None:
            session.add_all([world.note(id=1, text="one"), world.note(id=1, text="two")])
            session.flush()

        with statement_delivered.connected_to(receive):
            assert world.deliver(configuration).delivered == 3
        assert "a receiver of lms-statement-delivered raised" in caplog.text
        assert session.query(world.note).count() == 0
        world.assert_everything_arrived(lrs)


def test_to_ask_what_is_stored_after_a_conflict_the_lease_begins_anew(
    world: World, lrs: FakeLRS
) -> None:
    """Two slow requests may take longer than a lease, which must not run out in between."""
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer(FakeAnswer(200, stores=True, cut="before"), FakeAnswer(409))
    world.deliver(configuration)
    clock.advance(minutes=1)
    connector = world.state.registry.get("xapi")
    assert connector is not None
    send, compare = connector.send, connector.compare
    left: list[float] = []

    def slow_send(*args: Any, **kwargs: Any) -> Any:
        answer = send(*args, **kwargs)
        clock.advance(seconds=75)
        return answer

    def slow_compare(*args: Any, **kwargs: Any) -> Any:
        expires = world.health(configuration).lease_expires_at
        world.db.session.rollback()
        left.append((expires - clock.time).total_seconds())
        return compare(*args, **kwargs)

    connector.send, connector.compare = slow_send, slow_compare  # type: ignore[method-assign]
    world.deliver(configuration)
    assert left == [lease.LEASE_SECONDS]
    world.assert_everything_arrived(lrs)


def test_those_that_were_never_tried_come_first(world: World) -> None:
    clock = world.freeze()
    tried = world.attach("http://127.0.0.1:9/xapi", name="Tried")
    new = world.attach("http://127.0.0.1:9/xapi", name="New")
    world.record("r1")
    row = world.db.session.get(ConfigurationHealth, tried.id)
    assert row is not None
    row.last_attempt_at = clock.time
    world.db.session.commit()
    assert lease.due(world.db.session(), clock.time, limit=1) == [new.id]


def test_a_request_to_slow_down_is_kept_where_the_database_knows_full_seconds_only(
    world: World, lrs: FakeLRS
) -> None:
    clock = world.freeze()
    clock.advance(microseconds=900_000)
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer(FakeAnswer(429, {"Retry-After": "90"}))
    world.deliver(configuration)
    planned = world.health(configuration).next_attempt_at
    assert timedelta(seconds=90) <= planned - clock.time < timedelta(seconds=91)
