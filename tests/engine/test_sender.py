"""The walk of a drain: batches, poison, fairness, the lease, pause and cancel."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from flask_lms import statement_delivered
from flask_lms.database.models import ConfigurationHealth, Status
from flask_lms.delivery import deliver, lease
from flask_lms.services.deliveries import Filters
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.support import (
    PickyLRS,
    assert_everything_arrived,
    drain,
    drain_due,
    health,
    record,
    states,
)
from tests.host import Host, result


def poison(statement: Any) -> str | None:
    return "bad actor" if "poison" in statement["actor"]["mbox"] else None


def record_mixed(host: Host, marks: str) -> None:
    """One result a letter: ``x`` is poison."""
    from flask_lms import Participant

    for number, mark in enumerate(marks):
        who = "poison" if mark == "x" else "jane"
        host.lms.record(
            result(f"r{number}", participant=Participant(id=f"{who}{number}@acme.example"))
        )


@pytest.mark.parametrize(
    "marks",
    ["." * 20 + "x" + "." * 29, "x." * 25, "x" * 25 + "." * 25, "." * 25 + "x" * 25],
    ids=["1 in 50", "25 in turn", "25 first", "25 last"],
)
def test_poison_never_holds_up_the_others(host: Host, marks: str) -> None:
    host.freeze()
    with PickyLRS() as lrs:
        lrs.refuses = poison
        configuration = host.attach(**lrs.settings)
        record_mixed(host, marks)
        drain(host, configuration)
        assert states(host) == {"delivered": marks.count("."), "pending": marks.count("x")}
        assert health(host, configuration).status is Status.CONNECTED


def test_an_lms_that_refuses_everything_is_a_fault_of_the_settings_and_loses_nothing(
    host: Host,
) -> None:
    clock = host.freeze()
    with PickyLRS() as lrs:
        lrs.refuses = lambda statement: "the extension is missing"
        configuration = host.attach(**lrs.settings)
        record(host, *(f"r{n}" for n in range(30)))
        drain(host, configuration)
        now = health(host, configuration)
        assert (now.status, now.cause) == (Status.SERVER_ERROR, "settings")
        assert states(host) == {"pending": 30}
        clock.advance(hours=20)
        drain(host, configuration)
        assert states(host) == {"pending": 30}
        lrs.refuses = lambda statement: None
        clock.advance(hours=1)
        drain(host, configuration)
        assert_everything_arrived(host, lrs)


def test_batches_keep_to_statements_and_bytes(database_url: str, lrs: FakeLRS) -> None:
    from tests.host import make_host

    with make_host(database_url, LMS_BATCH_STATEMENTS=7, LMS_BATCH_BYTES=4000) as host:
        configuration = host.attach(**lrs.settings)
        record(host, *(f"r{n}" for n in range(30)))
        drain(host, configuration)
        bodies = [r.body for r in lrs.received if r.method == "POST"]
        assert max(len(json.loads(body)) for body in bodies) <= 7
        assert max(len(body) for body in bodies) <= 4000
        assert_everything_arrived(host, lrs)


def test_a_void_goes_alone_and_after_what_it_voids(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1", "r2")
    record(host, "r1", revision=1, success=False)
    drain(host, configuration)
    assert_everything_arrived(host, lrs)
    [old] = lrs.voided
    order = [statement["id"] for statement in lrs.statements]
    void = next(s["id"] for s in lrs.statements if s["verb"]["id"].endswith("voided"))
    assert order.index(old) < order.index(void)
    for request in lrs.received:
        if void.encode() in request.body:
            assert request.body.count(b'"verb"') == 1


def test_no_transaction_is_open_while_the_request_is_under_way(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    seen: list[bool] = []
    send = host.state.registry.get("xapi").send  # type: ignore[union-attr]

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(host.db.session().in_transaction())
        return send(*args, **kwargs)

    host.state.registry.get("xapi").send = watched  # type: ignore[union-attr, method-assign]
    drain(host, configuration)
    assert seen == [False]


def test_after_its_share_a_drain_gives_way_and_rings_again(
    host: Host, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "FAIR_STATEMENTS", 100)
    configuration = host.attach(**lrs.settings, batch_statements=50)
    record(host, *(f"r{n}" for n in range(130)))
    rung: list[Any] = []
    host.state.wake.now = rung.extend
    assert drain(host, configuration).delivered == 100
    assert rung == [configuration.id]
    drain(host, configuration)
    assert_everything_arrived(host, lrs)


def test_what_is_recorded_during_a_drain_is_rung_for_after_it(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    rung: list[Any] = []
    host.state.wake.now = rung.extend
    [walk] = [deliver.Deliverer(host.state)]
    original = walk._read
    reads = iter(range(10))

    def read(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        if next(reads) == 1:
            record(host, "late")
        return found

    walk._read = read  # type: ignore[method-assign]
    rung.clear()
    walk.deliver(configuration.id)
    assert configuration.id in rung


def test_two_workers_never_send_to_one_destination_at_the_same_time(
    host: Host, lrs: FakeLRS
) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, *(f"r{n}" for n in range(20)))
    lrs.delay_seconds = 0.2
    id = configuration.id  # not read in the threads: it would be by this one's session
    results: list[Any] = []

    def work() -> None:
        with host.app.app_context():
            results.append(deliver.Deliverer(host.state).deliver(id))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done.is_leased for done in results) == [False, True]
    assert lrs.resent == 0
    assert_everything_arrived(host, lrs)


def test_whoever_lost_the_lease_writes_nothing(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    walk = deliver.Deliverer(host.state)
    post = walk._post

    def slow_post(load: Any) -> Any:
        answer = post(load)
        row = host.db.session.get(ConfigurationHealth, configuration.id)
        assert row is not None
        row.lease_token += 1  # another worker took over meanwhile
        host.db.session.commit()
        return answer

    walk._post = slow_post  # type: ignore[method-assign]
    assert walk.deliver(configuration.id).is_fenced
    [delivery] = host.deliveries()
    assert (delivery.state.value, delivery.attempts) == ("pending", 0)
    assert host.lms.deliveries.attempts(delivery) == []


def test_a_lease_that_ran_out_can_be_taken_and_its_token_only_grows(host: Host) -> None:
    clock = host.freeze()
    configuration = host.attach("http://127.0.0.1:9/xapi")
    session = host.db.session()
    first = lease.acquire(session, configuration.id, "one", clock.time)
    assert first is not None
    assert lease.acquire(session, configuration.id, "two", clock.time) is None
    later = clock.advance(seconds=lease.LEASE_SECONDS)
    second = lease.acquire(session, configuration.id, "two", later)
    assert second == first + 1
    assert not lease.renew(session, configuration.id, first, later)
    lease.release(session, configuration.id, first)
    session.commit()
    assert health(host, configuration).lease_holder == "two"


def test_pause_keeps_and_resume_sends(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    host.lms.configurations.pause(configuration.id)
    record(host, "r1", "r2")
    assert drain(host, configuration).requests == 0
    assert states(host) == {"pending": 2}
    host.lms.configurations.resume(configuration.id)
    drain_due(host)
    assert_everything_arrived(host, lrs)


def test_one_cancelled_while_under_way_is_shown_as_what_it_is(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    walk = deliver.Deliverer(host.state)
    post = walk._post

    def post_and_cancel(load: Any) -> Any:
        answer = post(load)
        host.lms.deliveries.cancel(Filters(configuration_id=configuration.id))
        return answer

    walk._post = post_and_cancel  # type: ignore[method-assign]
    walk.deliver(configuration.id)
    assert_everything_arrived(host, lrs)


def test_one_cancelled_before_is_never_sent(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    host.lms.deliveries.cancel(Filters(configuration_id=configuration.id))
    drain(host, configuration)
    assert lrs.statements == []
    assert states(host) == {"cancelled": 1}


def test_send_again_sends_the_same_bytes(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    drain(host, configuration)
    lrs.reset()
    assert host.lms.deliveries.send_again(Filters(configuration_id=configuration.id)) == 1
    drain(host, configuration)
    assert_everything_arrived(host, lrs)


def test_check_again_sends_a_result_whose_address_was_corrected(host: Host, lrs: FakeLRS) -> None:
    from flask_lms import Participant

    configuration = host.attach(**lrs.settings)
    host.lms.record(result(participant=Participant(id="E001")))
    assert states(host) == {"not_sent": 1}
    checked = host.lms.deliveries.check_again(Filters(configuration_id=configuration.id))
    assert (checked.queued, checked.still_not_sent) == (0, 1)
    host.participants["E001"] = Participant(id="E001", email="mo@acme.example")
    checked = host.lms.deliveries.check_again(Filters(configuration_id=configuration.id))
    assert (checked.queued, checked.still_not_sent) == (1, 0)
    drain(host, configuration)
    assert_everything_arrived(host, lrs)


def test_a_secret_that_cant_be_decrypted_stops_with_a_remedy_and_sends_nothing(
    host: Host, lrs: FakeLRS
) -> None:
    from cryptography.fernet import Fernet

    from flask_lms.encryption import Encryption

    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    host.state.encryption = Encryption([Fernet.generate_key()])
    drain(host, configuration)
    now = health(host, configuration)
    assert (now.status, now.cause) == (Status.CANT_CONNECT, "secret_unreadable")
    assert lrs.requests == 0
    assert states(host) == {"pending": 1}


def test_hosts_are_told_of_each_delivered_statement_after_the_commit(
    host: Host, lrs: FakeLRS
) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1", "r2")
    told: list[Any] = []

    def receive(sender: object, event: Any) -> None:
        assert not host.db.session().in_transaction()
        told.append(event.result_id)

    with statement_delivered.connected_to(receive):
        drain(host, configuration)
    assert told == ["r1", "r2"]


def test_our_own_broken_network_charges_nobody(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = host.freeze()
    made = []
    for number in range(4):
        made.append(
            host.attach(
                f"http://lms{number}.acme.example/xapi",
                name=f"LMS {number}",
                objective_id="ppe",
            )
        )
    record(host, "r1")
    import socket

    def no_dns(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    for _ in range(6):
        for configuration in made:
            drain(host, configuration)
        clock.advance(seconds=61)
    assert {health(host, c).status for c in made} == {Status.NOT_TESTED}
    assert states(host) == {"pending": 4}


def test_the_answer_is_kept_for_the_pages(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    lrs.answer(FakeAnswer(500, {"Content-Type": "text/plain"}, b"disk full"))
    drain(host, configuration)
    [delivery] = host.deliveries()
    [attempt] = host.lms.deliveries.attempts(delivery)
    assert (attempt.verdict, attempt.http_status, attempt.cause) == ("failed", 500, "internal")
    assert "disk full" in str(attempt.words)
    assert "s3cret" not in str(attempt.words)


def test_one_cancelled_while_its_batch_is_halved_is_not_sent(host: Host) -> None:
    host.freeze()
    with PickyLRS() as lrs:
        lrs.refuses = poison
        configuration = host.attach(**lrs.settings)
        record_mixed(host, "x.......")
        walk = deliver.Deliverer(host.state, chance=lambda: 0.5)
        post, last = walk._post, host.deliveries()[-1]

        def post_and_cancel(load: Any) -> Any:
            answer = post(load)
            host.lms.deliveries.cancel(Filters(ids=[last.id]))
            return answer

        walk._post = post_and_cancel  # type: ignore[method-assign]
        walk.deliver(configuration.id)
        assert states(host) == {"cancelled": 1, "delivered": 6, "pending": 1}
        assert len(lrs.statements) == 6


def test_a_receiver_that_leaves_the_session_broken_does_not_stop_a_drain(
    database_url: str, lrs: FakeLRS, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.host import make_host

    with make_host(database_url, LMS_BATCH_STATEMENTS=1) as host:
        configuration = host.attach(**lrs.settings)
        record(host, "r1", "r2", "r3")
        session = host.db.session

        def receive(sender: object, event: Any) -> None:
            session.add_all([host.note(id=1, text="one"), host.note(id=1, text="two")])
            session.flush()

        with statement_delivered.connected_to(receive):
            assert drain(host, configuration).delivered == 3
        assert "a receiver of lms-statement-delivered raised" in caplog.text
        assert session.query(host.note).count() == 0
        assert_everything_arrived(host, lrs)


def test_to_ask_what_is_stored_after_a_conflict_the_lease_begins_anew(
    host: Host, lrs: FakeLRS
) -> None:
    """Two slow requests may take longer than a lease, which must not run out in between."""
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    lrs.answer(FakeAnswer(200, stores=True, cut="before"), FakeAnswer(409))
    drain(host, configuration)
    clock.advance(minutes=1)
    connector = host.state.registry.get("xapi")
    assert connector is not None
    send, compare = connector.send, connector.compare
    left: list[float] = []

    def slow_send(*args: Any, **kwargs: Any) -> Any:
        answer = send(*args, **kwargs)
        clock.advance(seconds=75)
        return answer

    def slow_compare(*args: Any, **kwargs: Any) -> Any:
        expires = health(host, configuration).lease_expires_at
        host.db.session.rollback()
        left.append((expires - clock.time).total_seconds())
        return compare(*args, **kwargs)

    connector.send, connector.compare = slow_send, slow_compare  # type: ignore[method-assign]
    drain(host, configuration)
    assert left == [lease.LEASE_SECONDS]
    assert_everything_arrived(host, lrs)


def test_those_that_were_never_tried_come_first(host: Host) -> None:
    from flask_lms.delivery import lease

    clock = host.freeze()
    tried = host.attach("http://127.0.0.1:9/xapi", name="Tried")
    new = host.attach("http://127.0.0.1:9/xapi", name="New")
    record(host, "r1")
    row = host.db.session.get(ConfigurationHealth, tried.id)
    assert row is not None
    row.last_attempt_at = clock.time
    host.db.session.commit()
    assert lease.due(host.db.session(), clock.time, limit=1) == [new.id]


def test_a_request_to_slow_down_is_kept_where_the_database_knows_full_seconds_only(
    host: Host, lrs: FakeLRS
) -> None:
    from datetime import timedelta

    clock = host.freeze()
    clock.advance(microseconds=900_000)
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    lrs.answer(FakeAnswer(429, {"Retry-After": "90"}))
    drain(host, configuration)
    planned = health(host, configuration).next_attempt_at
    assert timedelta(seconds=90) <= planned - clock.time < timedelta(seconds=91)
