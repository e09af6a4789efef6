"""Streams at work: what is under way at a time, by counts; never by the clock on the wall."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import Objective
from flask_lms.connectors.base import Answer, Statement, Verdict
from flask_lms.database.models import ConfigurationHealth, Status
from flask_lms.delivery.streams import Streams
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.support import assert_everything_arrived, drain, health, record, states
from tests.host import Host, make_host, result
from tests.worker_app import until


class Gate:
    """Stands in front of the connector: counts what is under way, and holds it when told to."""

    def __init__(self, host: Host) -> None:
        connector = host.state.registry.get("xapi")
        assert connector is not None
        self._send, self._host = connector.send, host
        self.lock = threading.Condition()
        self.held: set[str] = set()
        self.under_way: list[tuple[str, list[Statement]]] = []
        self.most = 0
        self.together: list[list[list[Statement]]] = []
        self.limits: list[float] = []
        connector.send = self.send  # type: ignore[method-assign]
        self.connector = connector

    def send(self, statements: Any, settings: Any, secrets: Any, transport: Any) -> Answer:
        assert not self._host.db.session().in_transaction()
        mine = (settings["url"], list(statements))
        with self.lock:
            self.under_way.append(mine)
            self.limits.append(transport._settings.read_timeout_seconds)
            self.most = max(self.most, len(self.under_way))
            self.together.append([rows for _, rows in self.under_way])
            self.lock.notify_all()
            self.lock.wait_for(lambda: settings["url"] not in self.held, 20)
        try:
            return self._send(statements, settings, secrets, transport)
        finally:
            with self.lock:
                self.under_way.remove(mine)

    def hold(self, *urls: str) -> None:
        self.held.update(urls)

    def let_go(self) -> None:
        with self.lock:
            self.held.clear()
            self.lock.notify_all()

    def wait(self, count: int) -> bool:
        """Until so many are under way."""
        with self.lock:
            return self.lock.wait_for(lambda: len(self.under_way) >= count, 10)


@contextmanager
def running(host: Host) -> Iterator[Streams]:
    streams = Streams(host.app)
    try:
        yield streams
    finally:
        streams.close(1.0)
        host.db.session.rollback()


def make_well(host: Host, *configurations: Any) -> None:
    """They answered a moment ago."""
    now = host.state.clock.now(host.db.session())
    for one in configurations:
        row = host.db.session.get(ConfigurationHealth, one.id)
        assert row is not None
        row.last_success_at, row.status = now, Status.CONNECTED
    host.db.session.commit()


def test_four_requests_of_one_configuration_under_one_lease(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings, batch_statements=10)
    make_well(host, configuration)
    record(host, *(f"r{n}" for n in range(100)))
    gate = Gate(host)
    gate.hold(lrs.url)
    with running(host) as streams:
        streams.put(configuration.id)
        assert gate.wait(4)
        host.db.session.rollback()
        row = health(host, configuration)
        assert (row.lease_token, row.lease_holder is not None) == (1, True)
        host.db.session.rollback()
        gate.let_go()
        assert streams.wait()
    assert gate.most == 4
    assert lrs.requests == 10
    assert lrs.resent == 0
    row = health(host, configuration)
    assert row.lease_holder is None
    assert_everything_arrived(host, lrs)


@pytest.mark.parametrize("how", ["new", "asks for order", "one by one"])
def test_one_at_a_time_where_it_must_be(host: Host, lrs: FakeLRS, how: str) -> None:
    one_by_one = {"one_by_one": True} if how == "one by one" else {"batch_statements": 5}
    configuration = host.attach(**lrs.settings, **one_by_one)
    if how != "new":
        make_well(host, configuration)
    gate = Gate(host)
    if how == "asks for order":
        gate.connector.requests_at_once = lambda settings: 1  # type: ignore[attr-defined]
    record(host, *(f"r{n}" for n in range(10)))
    with running(host) as streams:
        streams.put(configuration.id)
        assert streams.wait()
    assert gate.most == 1
    assert_everything_arrived(host, lrs)


def test_what_voids_a_statement_is_never_under_way_beside_it(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings, batch_statements=5)
    make_well(host, configuration)
    record(host, *(f"r{n}" for n in range(20)))
    record(host, *(f"r{n}" for n in range(20)), revision=1, success=False)
    gate = Gate(host)
    with running(host) as streams:
        streams.put(configuration.id)
        assert streams.wait()
    assert gate.most > 1
    order = [statement["id"] for statement in lrs.statements]
    results = {str(one.statement_id): one.result_id for one in host.deliveries()}
    for requests in gate.together:
        keys = [{results[str(row.id)] for row in rows} for rows in requests]
        assert sum(map(len, keys)) == len(set().union(*keys))
    for void in (s for s in lrs.statements if s["verb"]["id"].endswith("voided")):
        assert order.index(void["object"]["id"]) < order.index(void["id"])
    assert len(lrs.voided) == 20
    assert_everything_arrived(host, lrs)


def test_two_of_a_connectors_own_key_are_never_under_way_together(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings, batch_statements=3)
    make_well(host, configuration)
    record(host, *(f"r{n}" for n in range(30)))
    numbers = {str(one.statement_id): int(one.result_id[1:]) for one in host.deliveries()}
    gate = Gate(host)

    def key(statement: Statement, settings: Any = None) -> str:
        return str(numbers[str(statement.id)] % 5)

    gate.connector.order_key = key  # type: ignore[attr-defined]
    with running(host) as streams:
        streams.put(configuration.id)
        assert streams.wait()
    for requests in gate.together:
        keys = [{key(row) for row in rows} for rows in requests]
        assert sum(map(len, keys)) == len(set().union(*keys))
    for remainder in range(5):
        arrived = [numbers[s["id"]] for s in lrs.statements if numbers[s["id"]] % 5 == remainder]
        assert arrived == sorted(arrived)
    assert_everything_arrived(host, lrs)


def test_an_origin_that_many_share_has_four_under_way_and_one_that_is_new_one(
    host: Host, lrs: FakeLRS
) -> None:
    made = [host.attach(**lrs.settings, name=f"LMS {number}") for number in range(12)]
    record(host, "r1")
    gate = Gate(host)
    gate.hold(lrs.url)
    with running(host) as streams:
        for one in made:
            streams.put(one.id)
        assert gate.wait(1)
        assert not gate.lock.acquire(timeout=0) or gate.lock.release() is None
        assert len(gate.under_way) == 1
        gate.let_go()
        assert streams.wait()
        make_well(host, *made)
        gate.hold(lrs.url)
        gate.most = 0
        record(host, "r2")
        for one in made:
            streams.put(one.id)
        assert gate.wait(4)
        gate.let_go()
        assert streams.wait()
    assert gate.most == 4
    assert set(states(host)) == {"delivered"}


def test_hanging_lmss_hold_up_nobody(database_url: str, lrs: FakeLRS) -> None:
    """Forty that were well a moment ago hang, on four streams; then the healthy one is recorded."""
    with make_host(database_url, LMS_WORKER_STREAMS=4) as host:
        urls = [f"http://127.0.0.1:{port}/xapi" for port in range(20001, 20041)]
        hanging = [host.attach(url, name=url, objective_id="fire") for url in urls]
        healthy = host.attach(**lrs.settings)
        make_well(host, healthy, *hanging)
        host.lms.record(result("hangs", objective=Objective(id="fire", name="Fire Safety")))
        record(host, "healthy")
        gate = Gate(host)
        gate.hold(*urls)
        with running(host) as streams:
            for one in hanging:
                streams.put(one.id)
            streams.put(healthy.id)
            assert gate.wait(40)
            until(lambda: len(lrs.statements) == 1)
            assert len(gate.under_way) == 40
            gate.let_go()
            assert streams.wait()


def test_those_that_did_not_answer_of_late_have_short_limits(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings)
    gate = Gate(host)
    record(host, "r1")
    drain(host, configuration)
    record(host, "r2")
    drain(host, configuration)
    assert gate.limits == [10.0, 60.0]
    row = health(host, configuration)
    row.failures = 5
    host.db.session.commit()
    record(host, "r3")
    drain(host, configuration)
    assert gate.limits[-1] == 60.0


def test_requests_that_fail_together_are_one_failure(host: Host, lrs: FakeLRS) -> None:
    configuration = host.attach(**lrs.settings, batch_statements=5)
    make_well(host, configuration)
    record(host, *(f"r{n}" for n in range(20)))
    gate = Gate(host)
    gate.hold(lrs.url)
    lrs.answer_always(FakeAnswer(500))
    with running(host) as streams:
        streams.put(configuration.id)
        assert gate.wait(4)
        gate.let_go()
        assert streams.wait()
    row = health(host, configuration)
    assert (row.failures, row.status) == (1, Status.CONNECTED)
    assert lrs.requests == 4


def test_an_answer_is_charged_to_what_was_sent_not_to_what_was_saved_since(
    host: Host, lrs: FakeLRS
) -> None:
    configuration = host.attach(**{**lrs.settings, "secret": "wrong"})
    record(host, "r1", "r2")
    gate = Gate(host)
    gate.hold(lrs.url)
    id = configuration.id
    with running(host) as streams:
        streams.put(id)
        assert gate.wait(1)
        host.lms.configurations.update(id, settings={"secret": lrs.secret})
        host.db.session.rollback()
        gate.let_go()
        assert streams.wait()
    row = health(host, host.lms.configurations.get(id))
    assert (row.status, row.failures) == (Status.CONNECTED, 0)
    assert [one.status for one in lrs.received] == [401, 200]
    assert_everything_arrived(host, lrs)


def test_one_refused_under_settings_that_were_edited_is_not_counted(
    host: Host, lrs: FakeLRS
) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    id = configuration.id
    lrs.answer(FakeAnswer(400, {"Content-Type": "text/plain"}, b"no"))
    gate = Gate(host)
    gate.hold(lrs.url)
    with running(host) as streams:
        streams.put(id)
        assert gate.wait(1)
        host.lms.configurations.update(id, settings={"batch_statements": 7})
        host.db.session.rollback()
        gate.let_go()
        assert streams.wait()
    [one] = host.deliveries()
    assert (one.state.value, one.refusals, one.attempts) == ("delivered", 0, 2)


def test_told_to_stop_leases_are_given_back_and_a_late_answer_is_not_written(
    host: Host, lrs: FakeLRS
) -> None:
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    gate = Gate(host)
    gate.hold(lrs.url)
    streams = Streams(host.app)
    streams.put(configuration.id)
    assert gate.wait(1)
    streams.close(0.1)
    row = health(host, configuration)
    assert (row.lease_holder, row.lease_expires_at) == (None, None)
    host.db.session.rollback()
    gate.let_go()
    streams._deliverer.state.is_stopping = lambda: True
    assert streams.wait()
    assert len(lrs.statements) == 1
    [one] = host.deliveries()
    assert (one.state.value, one.attempts) == ("pending", 0)
    row = health(host, configuration)
    assert row.lease_holder is None


def test_the_hosts_own_pool_is_respected(database_url: str, lrs: FakeLRS) -> None:
    options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 5}
    with make_host(database_url, SQLALCHEMY_ENGINE_OPTIONS=options) as host:
        made = [host.attach(**lrs.settings, name=f"LMS {n}") for n in range(20)]
        make_well(host, *made)
        record(host, *(f"r{n}" for n in range(10)))
        most = 0

        def checked_out(*args: object) -> None:
            nonlocal most
            most = max(most, host.db.engine.pool.checkedout())  # type: ignore[attr-defined]

        ids = [one.id for one in made]
        host.db.session.remove()
        sa.event.listen(host.db.engine, "checkout", checked_out)
        with running(host) as streams:
            for id in ids:
                streams.put(id)
                host.db.session.remove()
            assert streams.wait()
        assert most <= 2
        assert set(states(host)) == {"delivered"}


def test_a_request_costs_the_same_number_of_statements_however_large_it_is(
    host: Host, lrs: FakeLRS
) -> None:
    counts = []
    for size in (10, 50):
        configuration = host.attach(
            **lrs.settings, name=f"LMS {size}", objective_id=f"o{size}", batch_statements=size
        )
        make_well(host, configuration)
        ids = [f"{size}-{n}" for n in range(size * 4)]
        record(host, *ids, objective=Objective(id=f"o{size}", name="One"))
        seen: list[str] = []

        def note(*args: Any, seen: list[str] = seen) -> None:
            seen.append(args[2])

        sa.event.listen(host.db.engine, "before_cursor_execute", note)
        with running(host) as streams:
            streams.put(configuration.id)
            assert streams.wait()
        sa.event.remove(host.db.engine, "before_cursor_execute", note)
        counts.append(len(seen) / 4)
    assert counts[0] < 16
    assert abs(counts[0] - counts[1]) <= 2


def test_one_that_is_held_back_takes_no_stream(host: Host, lrs: FakeLRS) -> None:
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    row = health(host, configuration)
    row.failures, row.next_attempt_at = 4, clock.time.replace(year=2027)
    host.db.session.commit()
    with running(host) as streams:
        streams.put(configuration.id)
        assert streams.wait()
    row = health(host, configuration)
    assert (row.lease_token, lrs.requests) == (0, 0)


def test_a_connector_that_raises_says_nothing_of_those_that_share_its_lms(
    host: Host, lrs: FakeLRS
) -> None:
    broken = host.attach(**lrs.settings)
    record(host, "r1")
    gate = Gate(host)

    def send(*args: Any) -> Answer:
        raise RuntimeError("out of order")

    gate.connector.send = send  # type: ignore[method-assign]
    with running(host) as streams:
        streams.put(broken.id)
        assert streams.wait()
        assert not streams._turns._failed_at
    assert health(host, broken).failures == 1


def test_an_answer_that_is_no_success_makes_requests_small_and_lonely_again(
    host: Host, lrs: FakeLRS
) -> None:
    configuration = host.attach(**lrs.settings)
    make_well(host, configuration)
    record(host, *(f"r{n}" for n in range(450)))
    gate = Gate(host)
    sizes: list[int] = []
    send = gate.connector.send

    def one_is_refused(statements: Any, *args: Any) -> Answer:
        sizes.append(len(statements))
        if len(sizes) == 3:
            return Answer(verdict=Verdict.TOO_LARGE, cause="too_large", http_status=413)
        return send(statements, *args)

    gate.connector.send = one_is_refused  # type: ignore[method-assign]
    drain(host, configuration)
    assert sizes[:3] == [50, 100, 200]
    assert max(sizes[3:5]) <= 100
    assert_everything_arrived(host, lrs)


def test_a_connector_whose_comparison_raises_is_an_attempt_like_any_other(
    host: Host, lrs: FakeLRS
) -> None:
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    gate = Gate(host)
    compare = gate.connector.compare

    def broken(*args: Any) -> bool | None:
        raise RuntimeError("out of order")

    gate.connector.compare = broken  # type: ignore[method-assign]
    lrs.answer(FakeAnswer(409))
    drain(host, configuration)
    row = health(host, configuration)
    assert (row.cause, row.failures) == ("connector_failed", 1)
    [one] = host.deliveries()
    assert (one.state.value, one.attempts) == ("pending", 1)
    gate.connector.compare = compare  # type: ignore[method-assign]
    clock.advance(minutes=1)
    drain(host, configuration)
    assert_everything_arrived(host, lrs)
