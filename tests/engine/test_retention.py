"""What is forgotten, and what never is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flask_lms import Participant
from flask_lms.database.models import Attempt, Configuration
from flask_lms.delivery import retention
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.support import drain, record, states
from tests.host import Host, result

JSON = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}


def purge(host: Host, clock: object) -> retention.Purged:
    return retention.purge(host.state, clock.time)  # type: ignore[attr-defined]


def test_content_goes_after_thirty_days_and_the_row_after_ninety(host: Host, lrs: FakeLRS) -> None:
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, "r1", "r2")
    drain(host, configuration)
    clock.advance(days=29)
    assert purge(host, clock).contents == 0
    clock.advance(days=2)
    purged = purge(host, clock)
    assert (purged.contents, purged.attempts, purged.deliveries) == (2, 1, 0)
    assert [delivery.statement for delivery in host.deliveries()] == [None, None]
    assert host.db.session.scalar(sa.select(sa.func.count(Attempt.id))) == 0
    clock.advance(days=60)
    assert purge(host, clock).deliveries == 2
    assert host.deliveries() == []


def test_what_was_not_delivered_is_kept_for_ever(host: Host, lrs: FakeLRS) -> None:
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, "refused")
    lrs.answer_always(FakeAnswer(400))
    for minutes in (0, 1, 10, 60, 240, 720):
        clock.advance(minutes=minutes)
        drain(host, configuration)
    record(host, "waiting")
    host.lms.record(result("nobody", participant=Participant(id="E001")))
    clock.advance(days=3650)
    purge(host, clock)
    assert states(host) == {"rejected": 1, "pending": 1, "not_sent": 1}
    assert all(d.statement or d.result for d in host.deliveries())


def test_a_configuration_deleted_a_month_ago_loses_its_secret_and_what_waits(
    host: Host, lrs: FakeLRS
) -> None:
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    host.lms.configurations.delete(configuration.id)
    clock.advance(days=29)
    purge(host, clock)
    assert states(host) == {"pending": 1}
    clock.advance(days=2)
    assert purge(host, clock).cancelled == 1
    [delivery] = host.deliveries()
    assert (delivery.state.value, delivery.reason) == ("cancelled", "configuration_deleted")
    row = host.db.session.get(Configuration, configuration.id)
    assert row is not None
    assert row.secrets is None


def test_progress_is_told(host: Host, lrs: FakeLRS) -> None:
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, *(f"r{n}" for n in range(30)))
    drain(host, configuration)
    clock.advance(days=31)
    seen: list[int] = []
    retention.purge(host.state, clock.time, seen.append)
    assert sum(seen) >= 30


def test_one_that_is_sent_again_at_that_moment_keeps_its_statement(
    host: Host, lrs: FakeLRS
) -> None:
    clock = host.freeze()
    configuration = host.attach(**lrs.settings)
    record(host, "r1")
    drain(host, configuration)
    clock.advance(days=31)
    done: list[str] = []

    def send_again(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE lms_delivery") and not done:
            done.append(statement)
            with host.db.engine.begin() as other:
                other.execute(sa.text("UPDATE lms_delivery SET state = 'pending'"))

    sa.event.listen(host.db.engine, "before_cursor_execute", send_again)
    purge(host, clock)
    sa.event.remove(host.db.engine, "before_cursor_execute", send_again)
    assert done
    [delivery] = host.deliveries()
    assert delivery.state.value == "pending"
    assert delivery.statement
