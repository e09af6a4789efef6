"""Recording at odd moments: inside commits, through the host's own sessions, and beside others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from flask_lms import Objective, result_recorded
from flask_lms.database.models import Delivery, DeliveryState
from flask_lms.recording.record import PARKED, record_parked
from tests.world import World, result

URL = "http://127.0.0.1:9/xapi"


@pytest.fixture
def woken(world: World) -> list[Any]:
    """The configurations for which a worker was woken."""
    world.attach(URL)
    world.db.session.remove()
    calls: list[Any] = []
    world.state.wake.now = lambda ids: calls.extend(ids) is None  # type: ignore[method-assign]
    return calls


def asks_the_database(world: World) -> None:
    """A host whose loader of objectives reads its own tables."""

    def objective(organization_id: str, objective_id: str) -> Objective:
        world.db.session.execute(sa.select(world.note)).all()
        return Objective(id=objective_id, name="Put on PPE")

    world.lms.objective_loader(objective, replace=True)


def in_event(world: World, name: str, act: Callable[[], object]) -> Callable[[], None]:
    """Do ``act`` once, in an event of the host's session; returns how to stop."""
    done: list[int] = []

    def once(session: object) -> None:
        if not done:
            done.append(1)
            act()

    sa.event.listen(world.db.session, name, once)
    return lambda: sa.event.remove(world.db.session, name, once)


def test_inside_after_commit_the_hosts_loaders_may_ask_the_database(
    world: World, woken: list[Any]
) -> None:
    asks_the_database(world)
    stop = in_event(world, "after_commit", lambda: world.lms.record(result(objective="ppe")))
    world.db.session.add(world.note(text="the host's own row"))
    world.db.session.commit()
    stop()
    assert len(world.rows()) == 1
    assert len(woken) == 1


def test_inside_before_commit_of_a_session_that_only_read_it_goes_with_that_commit(
    world: World, woken: list[Any]
) -> None:
    asks_the_database(world)
    stop = in_event(world, "before_commit", lambda: world.lms.record(result(objective="ppe")))
    world.db.session.execute(sa.select(world.note)).all()
    world.db.session.commit()
    stop()
    assert len(world.rows()) == 1
    assert len(woken) == 1


def test_after_a_savepoint_that_only_read_it_still_commits_by_itself(
    world: World, woken: list[Any]
) -> None:
    with world.db.session.begin_nested():
        world.db.session.execute(sa.select(world.note)).all()
    world.db.session.commit()
    world.db.session.execute(sa.select(world.note)).all()
    world.lms.record(result())
    world.db.session.remove()
    assert len(world.rows()) == 1


def test_an_object_touched_without_a_change_is_no_write_transaction(
    world: World, woken: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    note = world.note(text="the host's own row")
    world.db.session.add(note)
    world.db.session.commit()
    note.text = note.text[:] + ""
    assert world.db.session.dirty
    with caplog.at_level(logging.ERROR):
        world.lms.record(result())
        world.db.session.remove()
    assert len(world.rows()) == 1
    assert not caplog.records


# -- a session or connection of the host's own -----------------------------------------------------


def test_a_session_of_the_hosts_own_takes_the_result_with_its_commit(
    world: World, woken: list[Any]
) -> None:
    with Session(world.db.engine) as own:
        own.execute(sa.insert(world.note.__table__).values(text="x"))
        assert world.lms.record(result(), session=own).queued == 1
        assert woken == []
        own.commit()
        assert len(woken) == 1
        assert world.lms.record(result("r2"), session=own).queued == 1
        own.rollback()
    assert [row.result_id for row in world.rows()] == ["r1"]
    assert len(woken) == 1


def test_a_session_of_the_hosts_own_that_forgets_to_commit_is_told_in_the_log(
    world: World, woken: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), Session(world.db.engine) as own:
        world.lms.record(result(), session=own)
    assert "ended without a commit" in caplog.text
    assert world.rows() == []


def test_a_connection_of_the_hosts_own_takes_the_result_with_its_transaction(
    world: World, woken: list[Any]
) -> None:
    told: list[str] = []

    def tell(sender: object, event: Any) -> None:
        told.append(event.result_id)

    result_recorded.connect(tell, world.app)
    with world.db.engine.begin() as connection:
        connection.execute(sa.insert(world.note.__table__).values(text="x"))
        assert world.lms.record(result(), session=connection).queued == 1
        assert woken == []
    assert len(woken) == 1
    with world.db.engine.connect() as connection:
        world.lms.record(result("r2"), session=connection)
        connection.rollback()
    assert [row.result_id for row in world.rows()] == ["r1"]
    with world.db.engine.connect() as connection:
        world.lms.record(result("r3"), session=connection)
        connection.commit()
    assert [row.result_id for row in world.rows()] == ["r1", "r3"]
    assert len(woken) == 2
    with world.db.engine.connect() as connection, connection.begin():
        connection.execute(sa.insert(world.note.__table__).values(text="x"))
        with connection.begin_nested() as savepoint:
            world.lms.record(result("r4"), session=connection)
            savepoint.rollback()
        world.lms.record(result("r5"), session=connection)
    assert [row.result_id for row in world.rows()] == ["r1", "r3", "r5"]
    assert told == ["r1", "r3", "r5"]


def test_the_scoped_session_may_be_named_too(world: World, woken: list[Any]) -> None:
    world.lms.record(result(), session=world.db.session)
    assert woken == []
    world.db.session.commit()
    assert len(world.rows()) == 1
    assert len(woken) == 1


# -- beside others ---------------------------------------------------------------------------------


def test_of_eight_threads_with_one_result_one_says_queued(world: World, woken: list[Any]) -> None:
    start = threading.Barrier(8)
    told: list[Any] = []

    def record() -> None:
        with world.app.app_context():
            start.wait()
            told.append(world.lms.record(result()))

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record_parked(world.state)
    rows = world.rows()
    assert [row.state for row in rows] == [DeliveryState.PENDING]
    assert sum(one.queued for one in told) <= 1  # 0: the one that came first was parked as well
    assert sum(one.queued + one.duplicates for one in told) == 8


@pytest.fixture
def two(world: World, woken: list[Any]) -> Callable[..., tuple[Session, Session]]:
    """Two transactions of the host, both under way."""
    if world.db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: two transactions can't both write")
    return lambda: (Session(world.db.engine), Session(world.db.engine))


def test_two_transactions_record_the_same_in_opposite_orders_and_neither_fails(
    world: World, two: Callable[..., tuple[Session, Session]]
) -> None:
    one, other = two()
    with one, other:
        world.lms.record(result("r1"), session=one)
        world.lms.record(result("r2"), session=other)
        world.lms.record(result("r2"), session=one)
        world.lms.record(result("r1"), session=other)
        one.commit()
        other.commit()
    record_parked(world.state)
    rows = world.rows()
    assert sorted((row.result_id, row.state) for row in rows) == [
        ("r1", DeliveryState.PENDING),
        ("r2", DeliveryState.PENDING),
    ]


def test_what_another_transaction_records_and_rolls_back_is_recorded_all_the_same(
    world: World, two: Callable[..., tuple[Session, Session]]
) -> None:
    one, other = two()
    with one, other:
        world.lms.record(result("r1"), session=one)
        held = world.lms.record(result("r1"), session=other)
        assert (held.queued, held.duplicates) == (0, 1)
        other.commit()
        record_parked(world.state)
        assert [row.reason for row in world.rows()] == [PARKED]
        one.rollback()
    record_parked(world.state)
    assert [(row.result_id, row.state) for row in world.rows()] == [("r1", DeliveryState.PENDING)]


def test_a_correction_that_was_parked_voids_what_came_before(
    world: World, two: Callable[..., tuple[Session, Session]]
) -> None:
    world.lms.record(result("r1"))
    one, other = two()
    with one, other:
        world.lms.record(result("r1", revision=1), session=one)
        world.lms.record(result("r1", revision=1), session=other)
        other.commit()
        one.rollback()
    record_parked(world.state)
    assert sorted((row.revision, row.kind) for row in world.rows()) == [
        (0, "result"),
        (1, "result"),
        (1, "void"),
    ]


def test_forty_thousand_in_one_call_take_no_more_locks_than_a_server_has(
    world: World, woken: list[Any]
) -> None:
    results = [result(f"r{n}") for n in range(8000)]
    assert world.lms.record_many(results).queued == 8000
    count = world.db.session.scalar(sa.select(sa.func.count()).select_from(Delivery))
    assert count == 8000


def test_a_parked_result_says_on_its_page_that_there_is_nothing_to_do(world: World) -> None:
    said, steps = world.state.registry.explain("xapi", PARKED, {})
    assert said == "This result is being recorded a second time at this moment."
    assert steps == ["There is nothing to do: within seconds it is sent, if it still has to be."]
