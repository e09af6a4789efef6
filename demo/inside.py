"""The one place of the demo that reaches inside Flask-LMS: going to the past, and what an LMS took
there on ordinary days. No public name can do that, and none should: a host has no business in
another time. (Sending 3,000 deliveries one by one would also take a minute.)
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any
from unittest import mock

import sqlalchemy as sa
from flask import Flask

from example_app.models import db
from flask_lms.database.models import Attempt, Configuration, Delivery, DeliveryState, Status
from flask_lms.database.types import FixedClock

WORDS = "Statement 0: object.definition.description is longer than 500 characters."


@contextmanager
def past(app: Flask) -> Iterator[Callable[[datetime], None]]:
    """In this block it is what the function given was last called with: for rows, decisions, ids
    (which sort by time) and mails.

    :param app: one that serves nobody.
    """
    state = app.extensions["lms_state"]
    present = state.clock
    state.clock = clock = FixedClock(present.now(db.session()))

    def go_to(when: datetime) -> None:
        clock.time = when

    def seconds() -> float:
        return clock.time.timestamp()

    ticks = itertools.count()

    def nanoseconds() -> int:
        """A microsecond more at each call: rows of one moment sort as they were made."""
        return int(seconds() * 1e6) * 1000 + next(ticks) % 1000 * 1000

    with mock.patch("time.time", seconds), mock.patch("time.time_ns", nanoseconds):
        yield go_to
    state.clock = present


def settle(
    configuration_id: uuid.UUID,
    random: Random,
    outcome: Callable[[datetime], dict[str, Any] | None],
) -> None:
    """Whatever waits for a configuration was taken by its LMS a moment after it was recorded.

    :param outcome: for the time at which it was recorded: other values of the row, if it was not.
    """
    rows = db.session.execute(
        sa.select(Delivery.id, Delivery.recorded_at, Delivery.size).where(
            Delivery.configuration_id == configuration_id, Delivery.state == DeliveryState.PENDING
        )
    ).all()
    if not rows:
        return
    deliveries: list[dict[str, Any]] = []
    requests: list[dict[str, Any]] = []
    for row in rows:
        took = random.randrange(30, 420)
        at = row.recorded_at + timedelta(milliseconds=took + random.randrange(20, 900))
        delivery = {"state": DeliveryState.DELIVERED, "attempts": 1, "settled_at": at}
        delivery |= outcome(row.recorded_at) or {}
        deliveries.append({"id": row.id, **delivery})
        if not delivery["attempts"]:
            continue
        is_stored = delivery["state"] is DeliveryState.DELIVERED
        requests.append(
            {
                "configuration_id": configuration_id,
                "started_at": delivery["settled_at"] - timedelta(milliseconds=took),
                "duration_ms": took,
                "statements": 1,
                "delivery_ids": row.id.hex,
                "size": row.size,
                "verdict": "accepted" if is_stored else "refused",
                "http_status": 200 if is_stored else 400,
                "cause": None if is_stored else "rejected",
                "words": None if is_stored else WORDS,
                "worker": "harbor-1:sender-1",
            }
        )
    db.session.execute(sa.update(Delivery), deliveries)
    if requests:
        db.session.execute(sa.insert(Attempt), requests)
    configuration = db.session.get(Configuration, configuration_id)
    assert configuration is not None
    health = configuration.health
    health.last_success_at = health.last_attempt_at = max(row.recorded_at for row in rows)
    if health.status is Status.NOT_TESTED:
        health.status, health.since = Status.CONNECTED, rows[0].recorded_at
    db.session.commit()


def cancelled(at: datetime, by: str) -> dict[str, Any]:
    """An outcome for :func:`settle`."""
    return {"state": DeliveryState.CANCELLED, "attempts": 0, "settled_at": at, "settled_by": by}


def rejected(at: datetime) -> dict[str, Any]:
    """An outcome for :func:`settle`: for good, after the sixth refusal."""
    return {
        "state": DeliveryState.REJECTED,
        "attempts": 6,
        "refusals": 6,
        "is_single": True,
        "reason": "rejected",
        "reason_words": WORDS,
        "settled_at": at,
    }
