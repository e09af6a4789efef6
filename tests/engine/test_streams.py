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
from flask_lms.delivery.worker import BurstReport, run
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.worker_app import until
from tests.world import World, make_world, result


class Gate:
    """Stands in front of the connector: counts what is under way, and holds it when told to."""

    def __init__(self, world: World) -> None:
        connector = world.state.registry.get("xapi")
        assert connector is not None
        self._send, self._world = connector.send, world
        self.lock = threading.Condition()
        self.held: set[str] = set()
        self.under_way: list[tuple[str, list[Statement]]] = []
        self.most = 0
        self.together: list[list[list[Statement]]] = []
        self.limits: list[float] = []
        connector.send = self.send  # type: ignore[method-assign]
        self.connector = connector

    def send(self, statements: Any, settings: Any, secrets: Any, transport: Any) -> Answer:
        assert not self._world.db.session().in_transaction()
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
def running(world: World) -> Iterator[Streams]:
    streams = Streams(world.app)
    try:
        yield streams
    finally:
        streams.close(1.0)
        world.db.session.rollback()


def make_well(world: World, *configurations: Any) -> None:
    """They answered a moment ago."""
    now = world.state.clock.now(world.db.session())
    for one in configurations:
        row = world.db.session.get(ConfigurationHealth, one.id)
        assert row is not None
        row.last_success_at, row.status = now, Status.CONNECTED
    world.db.session.commit()


def test_four_requests_of_one_configuration_under_one_lease(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings, batch_statements=10)
    make_well(world, configuration)
    world.record(*(f"r{n}" for n in range(100)))
    gate = Gate(world)
    gate.hold(lrs.url)
    with running(world) as streams:
        streams.put(configuration.id)
        assert gate.wait(4)
        world.db.session.rollback()
        row = world.health(configuration)
        assert (row.lease_token, row.lease_holder is not None) == (1, True)
        world.db.session.rollback()
        gate.let_go()
        assert streams.wait()
    assert gate.most == 4
    assert lrs.requests == 10
    assert lrs.resent == 0
    row = world.health(configuration)
    assert row.lease_holder is None
    world.assert_everything_arrived(lrs)


@pytest.mark.parametrize("how", ["new", "asks for order", "one by one", "set so"])
def test_one_at_a_time_where_it_must_be(world: World, lrs: FakeLRS, how: str) -> None:
    one_by_one = {"one_by_one": True} if how == "one by one" else {"batch_statements": 5}
    set_so = {"requests_at_once": 1} if how == "set so" else {}
    configuration = world.attach(**lrs.settings, **one_by_one, **set_so)
    if how != "new":
        make_well(world, configuration)
    gate = Gate(world)
    if how == "asks for order":
        gate.connector.requests_at_once = lambda settings: 1  # type: ignore[attr-defined]
    world.record(*(f"r{n}" for n in range(10)))
    with running(world) as streams:
        streams.put(configuration.id)
        assert streams.wait()
    assert gate.most == 1
    world.assert_everything_arrived(lrs)


def test_what_voids_a_statement_is_never_under_way_beside_it(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings, batch_statements=5)
    make_well(world, configuration)
    world.record(*(f"r{n}" for n in range(20)))
    world.record(*(f"r{n}" for n in range(20)), revision=1, success=False)
    gate = Gate(world)
    with running(world) as streams:
        streams.put(configuration.id)
        assert streams.wait()
    assert gate.most > 1
    order = [statement["id"] for statement in lrs.statements]
    results = {str(one.statement_id): one.result_id for one in world.rows()}
    for requests in gate.together:
        keys = [{results[str(row.id)] for row in rows} for rows in requests]
        assert sum(map(len, keys)) == len(set().union(*keys))
    for void in (s for s in lrs.statements if s["verb"]["id"].endswith("voided")):
        assert order.index(void["object"]["id"]) < order.index(void["id"])
    assert len(lrs.voided) == 20
    world.assert_everything_arrived(lrs)


def test_two_of_a_connectors_own_key_are_never_under_way_together(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings, batch_statements=3)
    make_well(world, configuration)
    world.record(*(f"r{n}" for n in range(30)))
    numbers = {str(one.statement_id): int(one.result_id[1:]) for one in world.rows()}
    gate = Gate(world)

    def key(statement: Statement, settings: Any = None) -> str:
        return str(numbers[str(statement.id)] % 5)

    gate.connector.order_key = key  # type: ignore[attr-defined]
    with running(world) as streams:
        streams.put(configuration.id)
        assert streams.wait()
    for requests in gate.together:
        keys = [{key(row) for row in rows} for rows in requests]
        assert sum(map(len, keys)) == len(set().union(*keys))
    for remainder in range(5):
        arrived = [numbers[s["id"]] for s in lrs.statements if numbers[s["id"]] % 5 == remainder]
        assert arrived == sorted(arrived)
    world.assert_everything_arrived(lrs)


def test_an_origin_that_many_share_has_four_under_way_and_one_that_is_new_one(
    world: World, lrs: FakeLRS
) -> None:
    made = [world.attach(**lrs.settings, name=f"LMS {number}") for number in range(12)]
    world.record("r1")
    gate = Gate(world)
    gate.hold(lrs.url)
    with running(world) as streams:
        for one in made:
            streams.put(one.id)
        assert gate.wait(1)
        assert not gate.lock.acquire(timeout=0) or gate.lock.release() is None
        assert len(gate.under_way) == 1
        gate.let_go()
        assert streams.wait()
        make_well(world, *made)
        gate.hold(lrs.url)
        gate.most = 0
        world.record("r2")
        for one in made:
            streams.put(one.id)
        assert gate.wait(4)
        gate.let_go()
        assert streams.wait()
    assert gate.most == 4
    assert set(world.states()) == {"delivered"}


def test_hanging_lmss_hold_up_nobody(database_url: str, lrs: FakeLRS) -> None:
    """Forty that were well a moment ago hang, on four streams; then the healthy one is recorded."""
    with make_world(database_url, LMS_WORKER_STREAMS=4) as world:
        urls = [f"http://127.0.0.1:{port}/xapi" for port in range(20001, 20041)]
        hanging = [world.attach(url, name=url, objective_id="fire") for url in urls]
        healthy = world.attach(**lrs.settings)
        make_well(world, healthy, *hanging)
        world.lms.record(result("hangs", objective=Objective(id="fire", name="Fire Safety")))
        world.record("healthy")
        gate = Gate(world)
        gate.hold(*urls)
        with running(world) as streams:
            for one in hanging:
                streams.put(one.id)
            streams.put(healthy.id)
            assert gate.wait(40)
            until(lambda: len(lrs.statements) == 1)
            until(lambda: len(gate.under_way) == 40)  # the healthy one's request has ended
            gate.let_go()
            assert streams.wait()


def test_an_lms_that_hangs_holds_up_nobody_in_a_burst(database_url: str, lrs: FakeLRS) -> None:
    with make_world(database_url) as world:
        urls = [f"http://127.0.0.1:{port}/xapi" for port in range(20001, 20004)]
        for url in urls:
            world.attach(url, name=url)
        world.attach(**lrs.settings)
        world.record("r1", "r2", "r3")
        gate = Gate(world)
        gate.hold(*urls)
        reports: list[object] = []
        burst = threading.Thread(target=lambda: reports.append(run(world.app, burst=True)))
        burst.start()
        until(lambda: len(lrs.statements) == 3)
        until(lambda: len(gate.under_way) == 3)  # those that hang, and nobody else
        gate.let_go()
        burst.join(30)
        assert reports == [BurstReport(delivered=3, requests=4)]


def test_those_that_did_not_answer_of_late_have_short_limits(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    gate = Gate(world)
    world.record("r1")
    world.deliver(configuration)
    world.record("r2")
    world.deliver(configuration)
    assert gate.limits == [10.0, 60.0]
    row = world.health(configuration)
    row.failures = 5
    world.db.session.commit()
    world.record("r3")
    world.deliver(configuration)
    assert gate.limits[-1] == 60.0


def test_requests_that_fail_together_are_one_failure(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings, batch_statements=5)
    make_well(world, configuration)
    world.record(*(f"r{n}" for n in range(20)))
    gate = Gate(world)
    gate.hold(lrs.url)
    lrs.answer_always(FakeAnswer(500))
    with running(world) as streams:
        streams.put(configuration.id)
        assert gate.wait(4)
        gate.let_go()
        assert streams.wait()
    row = world.health(configuration)
    assert (row.failures, row.status) == (1, Status.CONNECTED)
    assert lrs.requests == 4


def test_an_answer_is_charged_to_what_was_sent_not_to_what_was_saved_since(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**{**lrs.settings, "secret": "wrong"})
    world.record("r1", "r2")
    gate = Gate(world)
    gate.hold(lrs.url)
    id = configuration.id
    with running(world) as streams:
        streams.put(id)
        assert gate.wait(1)
        world.lms.configurations.update(id, settings={"secret": lrs.secret})
        world.db.session.rollback()
        gate.let_go()
        assert streams.wait()
    row = world.health(world.lms.configurations.get(id))
    assert (row.status, row.failures) == (Status.CONNECTED, 0)
    assert [one.status for one in lrs.received] == [401, 200]
    world.assert_everything_arrived(lrs)


def test_one_refused_under_settings_that_were_edited_is_not_counted(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    id = configuration.id
    lrs.answer(FakeAnswer(400, {"Content-Type": "text/plain"}, b"no"))
    gate = Gate(world)
    gate.hold(lrs.url)
    with running(world) as streams:
        streams.put(id)
        assert gate.wait(1)
        world.lms.configurations.update(id, settings={"batch_statements": 7})
        world.db.session.rollback()
        gate.let_go()
        assert streams.wait()
    [one] = world.rows()
    assert (one.state.value, one.refusals, one.attempts) == ("delivered", 0, 2)


def test_told_to_stop_leases_are_given_back_and_a_late_answer_is_not_written(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    gate = Gate(world)
    gate.hold(lrs.url)
    streams = Streams(world.app)
    streams.put(configuration.id)
    assert gate.wait(1)
    streams.close(0.1)
    row = world.health(configuration)
    assert (row.lease_holder, row.lease_expires_at) == (None, None)
    world.db.session.rollback()
    gate.let_go()
    streams._deliverer.state.is_stopping = lambda: True
    assert streams.wait()
    assert len(lrs.statements) == 1
    [one] = world.rows()
    assert (one.state.value, one.attempts) == ("pending", 0)
    row = world.health(configuration)
    assert row.lease_holder is None


def test_the_hosts_own_pool_is_respected(database_url: str, lrs: FakeLRS) -> None:
    options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 5}
    with make_world(database_url, SQLALCHEMY_ENGINE_OPTIONS=options) as world:
        made = [world.attach(**lrs.settings, name=f"LMS {n}") for n in range(20)]
        make_well(world, *made)
        world.record(*(f"r{n}" for n in range(10)))
        most = 0

        def checked_out(*args: object) -> None:
            nonlocal most
            most = max(most, world.db.engine.pool.checkedout())  # type: ignore[attr-defined]

        ids = [one.id for one in made]
        world.db.session.remove()
        sa.event.listen(world.db.engine, "checkout", checked_out)
        with running(world) as streams:
            for id in ids:
                streams.put(id)
                world.db.session.remove()
            assert streams.wait()
        assert most <= 2
        assert set(world.states()) == {"delivered"}


def test_a_request_costs_the_same_number_of_statements_however_large_it_is(
    world: World, lrs: FakeLRS
) -> None:
    counts = []
    for size in (10, 50):
        configuration = world.attach(
            **lrs.settings, name=f"LMS {size}", objective_id=f"o{size}", batch_statements=size
        )
        make_well(world, configuration)
        ids = [f"{size}-{n}" for n in range(size * 4)]
        world.record(*ids, objective=Objective(id=f"o{size}", name="One"))
        seen: list[str] = []

        def note(*args: Any, seen: list[str] = seen) -> None:
            seen.append(args[2])

        sa.event.listen(world.db.engine, "before_cursor_execute", note)
        with running(world) as streams:
            streams.put(configuration.id)
            assert streams.wait()
        sa.event.remove(world.db.engine, "before_cursor_execute", note)
        counts.append(len(seen) / 4)
    assert counts[0] < 16
    assert abs(counts[0] - counts[1]) <= 2


def test_one_that_is_held_back_takes_no_stream(world: World, lrs: FakeLRS) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    row = world.health(configuration)
    row.failures, row.next_attempt_at = 4, clock.time.replace(year=2027)
    world.db.session.commit()
    with running(world) as streams:
        streams.put(configuration.id)
        assert streams.wait()
    row = world.health(configuration)
    assert (row.lease_token, lrs.requests) == (0, 0)


def test_a_connector_that_raises_says_nothing_of_those_that_share_its_lms(
    world: World, lrs: FakeLRS
) -> None:
    broken = world.attach(**lrs.settings)
    world.record("r1")
    gate = Gate(world)

    def send(*args: Any) -> Answer:
        raise RuntimeError("out of order")

    gate.connector.send = send  # type: ignore[method-assign]
    with running(world) as streams:
        streams.put(broken.id)
        assert streams.wait()
        assert not streams._turns._failed_at
    assert world.health(broken).failures == 1


def test_an_answer_that_is_no_success_makes_requests_small_and_lonely_again(
    world: World, lrs: FakeLRS
) -> None:
    configuration = world.attach(**lrs.settings)
    make_well(world, configuration)
    world.record(*(f"r{n}" for n in range(450)))
    gate = Gate(world)
    sizes: list[int] = []
    send = gate.connector.send

    def one_is_refused(statements: Any, *args: Any) -> Answer:
        sizes.append(len(statements))
        if len(sizes) == 3:
            return Answer(verdict=Verdict.TOO_LARGE, cause="too_large", http_status=413)
        return send(statements, *args)

    gate.connector.send = one_is_refused  # type: ignore[method-assign]
    world.deliver(configuration)
    assert sizes[:3] == [50, 100, 200]
    assert max(sizes[3:5]) <= 100
    world.assert_everything_arrived(lrs)


def test_a_connector_whose_comparison_raises_is_an_attempt_like_any_other(
    world: World, lrs: FakeLRS
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    gate = Gate(world)
    compare = gate.connector.compare

    def broken(*args: Any) -> bool | None:
        raise RuntimeError("out of order")

    gate.connector.compare = broken  # type: ignore[method-assign]
    lrs.answer(FakeAnswer(409))
    world.deliver(configuration)
    row = world.health(configuration)
    assert (row.cause, row.failures) == ("connector_failed", 1)
    [one] = world.rows()
    assert (one.state.value, one.attempts) == ("pending", 1)
    gate.connector.compare = compare  # type: ignore[method-assign]
    clock.advance(minutes=1)
    world.deliver(configuration)
    world.assert_everything_arrived(lrs)
