"""What the pages show of all and of one: counts, ages, order, days."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timezone

import pytest
import sqlalchemy as sa

from flask_lms import NotFound
from flask_lms.database.models import Configuration, DeliveryState, Status, Worker
from flask_lms.services.overview import Day, Overview, health
from tests.world import World


@contextmanager
def queries(world: World) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    world.db.session.rollback()
    sa.event.listen(world.db.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(world.db.engine, "before_cursor_execute", note)


def with_status(world: World, name: str, status: Status) -> Configuration:
    made = world.configuration(name)
    made.health.status = status
    world.db.session.commit()
    return made


def seen_worker(world: World, seconds_ago: float) -> None:
    at = world.later(seconds=-seconds_ago)
    world.db.session.merge(
        Worker(id="host:1", version="1", started_at=at, seen_at=at, has_redis=True)
    )
    world.db.session.commit()


def test_broken_ones_come_first_then_those_that_need_attention_then_by_name(world: World) -> None:
    with_status(world, "alpha", Status.CONNECTED)
    with_status(world, "Beta", Status.NOT_TESTED)
    world.delivery(with_status(world, "Gamma", Status.CONNECTED), DeliveryState.REJECTED)
    with_status(world, "Zeta", Status.SERVER_ERROR)
    with_status(world, "Eta", Status.CANT_CONNECT)
    world.configurations.pause(with_status(world, "Aaa", Status.CANT_CONNECT).id)
    names = [row.configuration.name for row in world.overview.rows()]
    assert names == ["Eta", "Zeta", "Gamma", "Aaa", "alpha", "Beta"]


def test_a_row_has_its_numbers(world: World) -> None:
    made = world.configuration()
    world.configurations.attach_many(made.id, ["ppe", "fire"])
    world.delivery(made, at=world.later(hours=-2))
    world.delivery(made)
    world.delivery(made, DeliveryState.REJECTED)
    world.delivery(made, DeliveryState.NOT_SENT)
    world.delivery(made, DeliveryState.CANCELLED, at=world.later(minutes=-1))
    world.delivery(made, DeliveryState.DELIVERED, at=world.later(minutes=-3))
    world.delivery(made, DeliveryState.DELIVERED, at=world.later(days=-3))
    made.health.next_attempt_at = world.later(minutes=9)
    world.db.session.commit()
    [row] = world.overview.rows()
    assert (row.waiting, row.attention, row.objectives) == (2, 2, 2)
    assert row.last_sent_at == world.later(minutes=-3)
    assert row.next_try_at == world.later(minutes=9)
    assert row.oldest_waiting_at == world.later(hours=-2)
    world.clock.advance(minutes=9)  # it is due: at once
    assert [one.next_try_at for one in world.overview.rows()] == [None]
    world.clock.advance(minutes=-9)
    numbers = world.overview.numbers(made.id)
    assert (numbers.sent_24h, numbers.waiting, numbers.attention) == (1, 2, 2)
    assert (numbers.rejected, numbers.not_sent, numbers.objectives) == (1, 1, 2)
    assert numbers.oldest_waiting_at == world.later(hours=-2)
    assert numbers.last_sent_at == world.later(minutes=-3)


def test_rows_cost_the_same_queries_for_one_and_for_many(world: World) -> None:
    world.delivery(world.configuration("One"))
    with queries(world) as few:
        world.overview.rows()
    for n in range(10):
        world.delivery(world.configuration(f"More {n}"))
    with queries(world) as many:
        assert len(world.overview.rows()) == 11
    assert len(few) == len(many) <= 5


def test_a_summary_counts_over_all(world: World) -> None:
    world.delivery(with_status(world, "One", Status.CONNECTED), DeliveryState.REJECTED)
    world.delivery(with_status(world, "Two", Status.CANT_CONNECT))
    paused = with_status(world, "Three", Status.CONNECTED)
    world.delivery(paused)
    world.configurations.pause(paused.id)
    seen_worker(world, 10)
    summary = world.overview.summary()
    assert (summary.total, summary.connected, summary.failing, summary.paused) == (3, 1, 1, 1)
    assert (summary.waiting, summary.attention) == (2, 1)
    assert not summary.is_worker_missing


@pytest.mark.parametrize(("seconds_ago", "missing"), [(119, False), (121, True), (None, True)])
def test_a_worker_is_missed_after_two_minutes_while_something_waits(
    world: World, seconds_ago: float | None, missing: bool
) -> None:
    made = world.configuration()
    if seconds_ago is not None:
        seen_worker(world, seconds_ago)
    assert not world.overview.summary().is_worker_missing
    world.delivery(made)
    assert world.overview.summary().is_worker_missing is missing
    world.configurations.pause(made.id)
    assert not world.overview.summary().is_worker_missing


def test_the_list_can_be_searched_and_filtered(world: World) -> None:
    with_status(world, "Alpha", Status.CONNECTED)
    world.delivery(with_status(world, "Beta", Status.CANT_CONNECT), DeliveryState.NOT_SENT)

    def names(**filters: str) -> list[str]:
        return [row.configuration.name for row in world.overview.rows(**filters)]

    assert names(search="alp") == ["Alpha"]
    assert names(status="error") == ["Beta"]
    assert names(status="attention") == ["Beta"]
    assert names(status="connected", search="b") == []


def test_each_day_tells_what_was_settled_on_it_or_still_waits(world: World) -> None:
    made = world.configuration()
    world.delivery(
        made, DeliveryState.DELIVERED, at=datetime(2026, 3, 1, 23, 59, 59, tzinfo=timezone.utc)
    )
    world.delivery(
        made, DeliveryState.DELIVERED, at=datetime(2026, 3, 2, 0, 0, 0, tzinfo=timezone.utc)
    )
    world.delivery(
        made, DeliveryState.DELIVERED, at=datetime(2026, 3, 2, 8, 0, 0, tzinfo=timezone.utc)
    )
    world.delivery(made, DeliveryState.REJECTED)
    world.delivery(made, DeliveryState.NOT_SENT, at=world.later(days=-2))
    world.delivery(made, DeliveryState.CANCELLED)
    world.delivery(made, at=world.later(days=-1))
    world.delivery(made, DeliveryState.DELIVERED, at=world.later(days=-10))
    assert world.overview.daily(made.id, days=3) == [
        Day(date=date(2026, 2, 28), not_sent=1),
        Day(date=date(2026, 3, 1), sent=1, waiting=1),
        Day(date=date(2026, 3, 2), sent=2, rejected=1),
    ]
    assert len(world.overview.daily(made.id, days=90)) == 90


def test_another_organizations_numbers_are_not_found(world: World) -> None:
    made = world.configuration()
    world.delivery(made, DeliveryState.REJECTED)
    others = Overview(world.state, "globex")
    for call in (others.numbers, others.daily):
        with pytest.raises(NotFound):
            call(made.id)
    assert others.rows() == []
    assert others.summary().total == 0


def test_health_is_counts_and_ages_only(world: World) -> None:
    made = with_status(world, "One", Status.CONNECTED)
    world.delivery(made, at=world.later(minutes=-5))
    seen_worker(world, 30)
    found = world.lms.health("acme").as_dict()
    assert found == {
        "is_ok": True,
        "configurations": 1,
        "connected": 1,
        "failing": 0,
        "paused": 0,
        "not_tested": 0,
        "waiting": 1,
        "attention": 0,
        "oldest_waiting_seconds": 300,
        "worker_seen_seconds": 30,
        "is_worker_missing": False,
    }
    assert health(world.state, None) == world.lms.health("acme")
    made.health.status = Status.CANT_CONNECT
    world.db.session.commit()
    assert not world.lms.health("acme").is_ok
