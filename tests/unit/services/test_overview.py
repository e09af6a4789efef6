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

from .conftest import Desk


@contextmanager
def queries(desk: Desk) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    desk.host.db.session.rollback()
    sa.event.listen(desk.host.db.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(desk.host.db.engine, "before_cursor_execute", note)


def with_status(desk: Desk, name: str, status: Status) -> Configuration:
    made = desk.create(name)
    made.health.status = status
    desk.host.db.session.commit()
    return made


def seen_worker(desk: Desk, seconds_ago: float) -> None:
    at = desk.later(seconds=-seconds_ago)
    desk.host.db.session.merge(
        Worker(id="host:1", version="1", started_at=at, seen_at=at, has_redis=True)
    )
    desk.host.db.session.commit()


def test_broken_ones_come_first_then_those_that_need_attention_then_by_name(desk: Desk) -> None:
    with_status(desk, "alpha", Status.CONNECTED)
    with_status(desk, "Beta", Status.NOT_TESTED)
    desk.put(with_status(desk, "Gamma", Status.CONNECTED), DeliveryState.REJECTED)
    with_status(desk, "Zeta", Status.SERVER_ERROR)
    with_status(desk, "Eta", Status.CANT_CONNECT)
    desk.configurations.pause(with_status(desk, "Aaa", Status.CANT_CONNECT).id)
    names = [row.configuration.name for row in desk.overview.rows()]
    assert names == ["Eta", "Zeta", "Gamma", "Aaa", "alpha", "Beta"]


def test_a_row_has_its_numbers(desk: Desk) -> None:
    made = desk.create()
    desk.configurations.attach_many(made.id, ["ppe", "fire"])
    desk.put(made, at=desk.later(hours=-2))
    desk.put(made)
    desk.put(made, DeliveryState.REJECTED)
    desk.put(made, DeliveryState.NOT_SENT)
    desk.put(made, DeliveryState.CANCELLED, at=desk.later(minutes=-1))
    desk.put(made, DeliveryState.DELIVERED, at=desk.later(minutes=-3))
    desk.put(made, DeliveryState.DELIVERED, at=desk.later(days=-3))
    made.health.next_attempt_at = desk.later(minutes=9)
    desk.host.db.session.commit()
    [row] = desk.overview.rows()
    assert (row.waiting, row.attention, row.objectives) == (2, 2, 2)
    assert row.last_sent_at == desk.later(minutes=-3)
    assert row.next_try_at == desk.later(minutes=9)
    assert row.oldest_waiting_at == desk.later(hours=-2)
    numbers = desk.overview.numbers(made.id)
    assert (numbers.sent_24h, numbers.waiting, numbers.attention) == (1, 2, 2)
    assert (numbers.rejected, numbers.not_sent, numbers.objectives) == (1, 1, 2)
    assert numbers.oldest_waiting_at == desk.later(hours=-2)
    assert numbers.last_sent_at == desk.later(minutes=-3)


def test_rows_cost_the_same_queries_for_one_and_for_many(desk: Desk) -> None:
    desk.put(desk.create("One"))
    with queries(desk) as few:
        desk.overview.rows()
    for n in range(10):
        desk.put(desk.create(f"More {n}"))
    with queries(desk) as many:
        assert len(desk.overview.rows()) == 11
    assert len(few) == len(many) <= 5


def test_a_summary_counts_over_all(desk: Desk) -> None:
    desk.put(with_status(desk, "One", Status.CONNECTED), DeliveryState.REJECTED)
    desk.put(with_status(desk, "Two", Status.CANT_CONNECT))
    paused = with_status(desk, "Three", Status.CONNECTED)
    desk.put(paused)
    desk.configurations.pause(paused.id)
    seen_worker(desk, 10)
    summary = desk.overview.summary()
    assert (summary.total, summary.connected, summary.failing, summary.paused) == (3, 1, 1, 1)
    assert (summary.waiting, summary.attention) == (2, 1)
    assert not summary.is_worker_missing


@pytest.mark.parametrize(("seconds_ago", "missing"), [(119, False), (121, True), (None, True)])
def test_a_worker_is_missed_after_two_minutes_while_something_waits(
    desk: Desk, seconds_ago: float | None, missing: bool
) -> None:
    made = desk.create()
    if seconds_ago is not None:
        seen_worker(desk, seconds_ago)
    assert not desk.overview.summary().is_worker_missing
    desk.put(made)
    assert desk.overview.summary().is_worker_missing is missing
    desk.configurations.pause(made.id)
    assert not desk.overview.summary().is_worker_missing


def test_the_list_can_be_searched_and_filtered(desk: Desk) -> None:
    with_status(desk, "Alpha", Status.CONNECTED)
    desk.put(with_status(desk, "Beta", Status.CANT_CONNECT), DeliveryState.NOT_SENT)

    def names(**filters: str) -> list[str]:
        return [row.configuration.name for row in desk.overview.rows(**filters)]

    assert names(search="alp") == ["Alpha"]
    assert names(status="error") == ["Beta"]
    assert names(status="attention") == ["Beta"]
    assert names(status="connected", search="b") == []


def test_each_day_tells_what_was_settled_on_it_or_still_waits(desk: Desk) -> None:
    made = desk.create()
    desk.put(
        made, DeliveryState.DELIVERED, at=datetime(2026, 3, 1, 23, 59, 59, tzinfo=timezone.utc)
    )
    desk.put(made, DeliveryState.DELIVERED, at=datetime(2026, 3, 2, 0, 0, 0, tzinfo=timezone.utc))
    desk.put(made, DeliveryState.DELIVERED, at=datetime(2026, 3, 2, 8, 0, 0, tzinfo=timezone.utc))
    desk.put(made, DeliveryState.REJECTED)
    desk.put(made, DeliveryState.NOT_SENT, at=desk.later(days=-2))
    desk.put(made, DeliveryState.CANCELLED)
    desk.put(made, at=desk.later(days=-1))
    desk.put(made, DeliveryState.DELIVERED, at=desk.later(days=-10))
    assert desk.overview.daily(made.id, days=3) == [
        Day(date=date(2026, 2, 28), not_sent=1),
        Day(date=date(2026, 3, 1), sent=1, waiting=1),
        Day(date=date(2026, 3, 2), sent=2, rejected=1),
    ]
    assert len(desk.overview.daily(made.id, days=90)) == 90


def test_another_organizations_numbers_are_not_found(desk: Desk) -> None:
    made = desk.create()
    desk.put(made, DeliveryState.REJECTED)
    others = Overview(desk.host.state, "globex")
    for call in (others.numbers, others.daily):
        with pytest.raises(NotFound):
            call(made.id)
    assert others.rows() == []
    assert others.summary().total == 0


def test_health_is_counts_and_ages_only(desk: Desk) -> None:
    made = with_status(desk, "One", Status.CONNECTED)
    desk.put(made, at=desk.later(minutes=-5))
    seen_worker(desk, 30)
    found = desk.host.lms.health("acme").as_dict()
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
    assert health(desk.host.state, None) == desk.host.lms.health("acme")
    made.health.status = Status.CANT_CONNECT
    desk.host.db.session.commit()
    assert not desk.host.lms.health("acme").is_ok
