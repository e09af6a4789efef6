"""Whether the host is in a write transaction, in all the ways in which hosts write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from tests.world import World, make_world, result

URL = "http://127.0.0.1:9/xapi"


@pytest.fixture
def rung(world: World) -> list[Any]:
    """Each ring, with the configurations it was for."""
    calls: list[Any] = []
    world.attach(URL)
    world.db.session.remove()
    world.state.wake.now = lambda ids: calls.append(sorted(ids))
    return calls


def table(world: World) -> sa.Table:
    found = world.note.__table__
    assert isinstance(found, sa.Table)
    return found


WRITES: dict[str, Callable[[World], object]] = {
    "text": lambda h: h.db.session.execute(sa.text("INSERT INTO host_note (text) VALUES ('x')")),
    "text with a comment": lambda h: h.db.session.execute(
        sa.text("/* app:quiz */ INSERT INTO host_note (text) VALUES ('x')")
    ),
    "core insert": lambda h: h.db.session.execute(sa.insert(table(h)).values(text="x")),
    "connection": lambda h: h.db.session.connection().execute(sa.insert(table(h)), {"text": "x"}),
    "driver SQL": lambda h: h.db.session.connection().exec_driver_sql(
        "INSERT INTO host_note (text) VALUES ('x')"
    ),
    "bulk_insert_mappings": lambda h: h.db.session.bulk_insert_mappings(h.note, [{"text": "x"}]),
    "bulk_save_objects": lambda h: h.db.session.bulk_save_objects([h.note(text="x")]),
    "ORM update": lambda h: h.db.session.execute(sa.update(h.note).values(text="y")),
    "legacy delete": lambda h: h.db.session.query(h.note).delete(),
    "flushed": lambda h: (h.db.session.add(h.note(text="x")), h.db.session.flush()),
    "not yet flushed": lambda h: h.db.session.add(h.note(text="x")),
    "a savepoint": lambda h: h.db.session.begin_nested(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_whatever_the_host_wrote_and_however_the_result_goes_with_it(
    world: World, rung: list[Any], write: Callable[[World], object]
) -> None:
    write(world)
    world.signal.send(world, result=result())
    assert rung == []
    world.db.session.rollback()
    assert world.rows() == []
    assert world.db.session.scalar(sa.select(sa.func.count(world.note.id))) == 0

    world.db.session.remove()
    write(world)
    world.signal.send(world, result=result())
    world.db.session.commit()
    world.db.session.commit()
    assert len(world.rows()) == 1
    assert len(rung) == 1


READS: dict[str, Callable[[World], object]] = {
    "select": lambda h: h.db.session.execute(sa.select(h.note)).all(),
    "function": lambda h: h.db.session.scalar(sa.func.coalesce(1, 2)),
    "text": lambda h: h.db.session.execute(sa.text("  select 1")).all(),
    "text with comments": lambda h: h.db.session.execute(
        sa.text("/* app:quiz */\n-- which ones?\nSELECT 'insert'")
    ).all(),
    "CTE": lambda h: h.db.session.execute(
        sa.text("WITH few AS (SELECT 1 AS one) SELECT one FROM few")
    ).all(),
    "union in brackets": lambda h: h.db.session.execute(
        sa.union_all(sa.select(h.note.id), sa.select(h.note.id))
    ).all(),
    "connection": lambda h: h.db.session.connection().execute(sa.select(table(h))).all(),
    "a savepoint released": lambda h: (
        h.db.session.execute(sa.select(h.note)).all(),
        h.db.session.begin_nested().commit(),
    ),
    "a savepoint rolled back": lambda h: (
        h.db.session.execute(sa.select(h.note)).all(),
        h.db.session.begin_nested().rollback(),
    ),
}


@pytest.mark.parametrize("read", READS.values(), ids=list(READS))
def test_a_host_that_only_read_loses_nothing_when_its_session_is_just_closed(
    world: World, rung: list[Any], read: Callable[[World], object]
) -> None:
    read(world)
    world.signal.send(world, result=result())
    world.db.session.remove()
    assert len(world.rows()) == 1
    assert len(rung) == 1


@pytest.mark.parametrize("how", ["ORM", "refresh", "text"])
def test_rows_that_the_host_locked_stay_locked(world: World, rung: list[Any], how: str) -> None:
    if world.db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no row locks")
    session = world.db.session
    session.add(world.note(text="locked"))
    session.commit()
    note = session.scalars(sa.select(world.note)).one()
    if how == "ORM":
        session.execute(sa.select(world.note).with_for_update()).all()
    elif how == "refresh":
        session.refresh(note, with_for_update=True)
    else:
        session.execute(sa.text("SELECT id FROM host_note FOR UPDATE")).all()
    world.signal.send(world, result=result())
    assert rung == []
    session.rollback()
    assert world.rows() == []


@pytest.mark.parametrize("how", ["root", "savepoint", "failed flush"])
def test_a_rollback_is_no_error_in_the_log(
    world: World, rung: list[Any], caplog: pytest.LogCaptureFixture, how: str
) -> None:
    session = world.db.session
    session.add(world.note(id=1, text="x"))
    session.flush()
    if how == "savepoint":
        savepoint = session.begin_nested()
        world.signal.send(world, result=result())
        savepoint.rollback()
        session.commit()
    elif how == "failed flush":
        world.signal.send(world, result=result())
        session.expunge_all()
        session.add(world.note(id=1, text="again"))
        with pytest.raises(sa.exc.IntegrityError):
            session.flush()
        session.rollback()
    else:
        world.signal.send(world, result=result())
        session.rollback()
    session.remove()
    assert world.rows() == []
    assert caplog.text == ""
    assert rung == []


def test_what_is_recorded_in_before_commit_goes_with_that_commit(
    world: World, rung: list[Any]
) -> None:
    def committing(session: Any) -> None:
        if not session.info.get("sent"):
            session.info["sent"] = True
            world.signal.send(world, result=result())

    session = world.db.session()
    sa.event.listen(session, "before_commit", committing)
    session.execute(sa.select(world.note)).all()
    session.commit()
    assert len(world.rows()) == 1
    assert len(rung) == 1


def test_many_results_of_one_transaction_ring_once(world: World, rung: list[Any]) -> None:
    world.db.session.add(world.note(text="x"))
    for number in range(50):
        world.lms.record(result(f"r{number}"))
    world.db.session.commit()
    assert len(world.rows()) == 50
    assert len(rung) == 1
    assert len(rung[0]) == 1


def test_a_second_transaction_begins_with_a_clean_slate(world: World, rung: list[Any]) -> None:
    """The pooled connection of a write is used again by a request that only reads."""
    for number in range(3):
        world.db.session.connection().execute(sa.insert(table(world)), {"text": "x"})
        world.db.session.commit()
        world.db.session.remove()
        world.db.session.execute(sa.select(world.note)).all()
        world.signal.send(world, result=result(f"r{number}"))
        world.db.session.remove()
    assert len(world.rows()) == 3


@pytest.fixture
def with_own_session(tmp_path: Path) -> Iterator[World]:
    from flask_sqlalchemy.session import Session

    class HostsOwn(Session):
        pass

    options = {"class_": HostsOwn, "expire_on_commit": False, "scopefunc": lambda: 1}
    db = SQLAlchemy(session_options=options)
    with make_world(f"sqlite:///{tmp_path / 'own.db'}", db=db) as made:
        yield made


def test_a_session_class_of_the_hosts_own_is_followed_too(with_own_session: World) -> None:
    world = with_own_session
    rung: list[Any] = []
    expected = [world.attach(URL).id]
    world.state.wake.now = lambda ids: rung.extend(ids)
    world.db.session.connection().execute(sa.insert(table(world)), {"text": "x"})
    world.signal.send(world, result=result())
    world.db.session.rollback()
    assert world.rows() == []
    world.signal.send(world, result=result())
    world.db.session.remove()
    assert len(world.rows()) == 1
    assert rung == expected


@pytest.fixture
def with_bind_key(tmp_path: Path) -> Iterator[World]:
    with make_world(
        f"sqlite:///{tmp_path / 'host.db'}",
        SQLALCHEMY_BINDS={"training": f"sqlite:///{tmp_path / 'training.db'}"},
        LMS_BIND_KEY="training",
    ) as made:
        yield made


def test_in_a_database_of_its_own_a_result_still_goes_with_the_hosts_transaction(
    with_bind_key: World,
) -> None:
    world = with_bind_key
    world.attach(URL)
    for end, expected in ((world.db.session.rollback, 0), (world.db.session.commit, 1)):
        world.db.session.connection().execute(sa.insert(table(world)), {"text": "x"})
        world.signal.send(world, result=result())
        end()
        world.db.session.remove()
        assert len(world.rows()) == expected


def test_times_are_those_of_the_database_in_which_the_results_wait(with_bind_key: World) -> None:
    world = with_bind_key
    asked: list[str] = []
    for key, engine in world.db.engines.items():
        sa.event.listen(
            engine, "before_cursor_execute", lambda *rest, key=key: asked.append(str(key))
        )
    world.state.clock.now(world.db.session())
    assert asked == ["training"]
