"""What is forgotten, and what never is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flask_lms import Participant
from flask_lms.database.models import Attempt, Configuration
from flask_lms.delivery import retention
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.world import World, result

JSON = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}


def purge(world: World, clock: object) -> retention.Purged:
    return retention.purge(world.state, clock.time)  # type: ignore[attr-defined]


def test_content_goes_after_thirty_days_and_the_row_after_ninety(
    world: World, lrs: FakeLRS
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1", "r2")
    world.deliver(configuration)
    clock.advance(days=29)
    assert purge(world, clock).contents == 0
    clock.advance(days=2)
    purged = purge(world, clock)
    assert (purged.contents, purged.attempts, purged.deliveries) == (2, 1, 0)
    assert [delivery.statement for delivery in world.rows()] == [None, None]
    assert world.db.session.scalar(sa.select(sa.func.count(Attempt.id))) == 0
    clock.advance(days=60)
    assert purge(world, clock).deliveries == 2
    assert world.lms.deliveries.list().items == []
    assert len(world.rows()) == 2  # for a correction: see test_corrections.py


def test_what_was_not_delivered_is_kept_for_a_year_and_what_waits_for_ever(
    world: World, lrs: FakeLRS
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("refused")
    lrs.answer_always(FakeAnswer(400))
    for minutes in (0, 1, 10, 60, 240, 720):
        clock.advance(minutes=minutes)
        world.deliver(configuration)
    world.record("waiting")
    world.lms.record(result("nobody", participant=Participant(id="E001")))
    clock.advance(days=364)
    purge(world, clock)
    assert world.states() == {"rejected": 1, "pending": 1, "not_sent": 1}
    assert all(d.statement or d.result for d in world.rows())
    clock.advance(days=3650)
    assert purge(world, clock).deliveries == 2
    assert world.states() == {"pending": 1}
    assert world.rows()[0].statement


def test_the_history_is_kept_for_three_years(world: World, lrs: FakeLRS) -> None:
    clock = world.freeze()
    world.attach(**lrs.settings)
    clock.advance(days=1094)
    assert purge(world, clock).audits == 0
    clock.advance(days=2)
    assert purge(world, clock).audits == 2
    assert world.history() == []


def test_a_configuration_deleted_a_month_ago_loses_its_secret_and_what_waits(
    world: World, lrs: FakeLRS
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    world.lms.configurations.delete(configuration.id)
    clock.advance(days=29)
    purge(world, clock)
    assert world.states() == {"pending": 1}
    clock.advance(days=2)
    assert purge(world, clock).cancelled == 1
    [delivery] = world.rows()
    assert (delivery.state.value, delivery.reason) == ("cancelled", "configuration_deleted")
    row = world.db.session.get(Configuration, configuration.id)
    assert row is not None
    assert row.secrets is None


def test_progress_is_told(world: World, lrs: FakeLRS) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record(*(f"r{n}" for n in range(30)))
    world.deliver(configuration)
    clock.advance(days=31)
    seen: list[int] = []
    retention.purge(world.state, clock.time, seen.append)
    assert sum(seen) >= 30


def test_one_that_is_sent_again_at_that_moment_keeps_its_statement(
    world: World, lrs: FakeLRS
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    world.deliver(configuration)
    clock.advance(days=31)
    done: list[str] = []

    def send_again(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE lms_delivery") and not done:
            done.append(statement)
            with world.db.engine.begin() as other:
                other.execute(sa.text("UPDATE lms_delivery SET state = 'pending'"))

    sa.event.listen(world.db.engine, "before_cursor_execute", send_again)
    purge(world, clock)
    sa.event.remove(world.db.engine, "before_cursor_execute", send_again)
    assert done
    [delivery] = world.rows()
    assert delivery.state.value == "pending"
    assert delivery.statement
