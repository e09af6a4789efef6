"""Results in an LRS that are not quite what was sent: missing, changed or doubled."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import requests
import sqlalchemy as sa

from flask_lms import ObjectiveResult, Participant
from flask_lms.database.models import Configuration, Delivery, DeliveryState, ReadBack
from flask_lms.services import reconcile, tasks
from tests.world import ANA, START, World, result

HEADERS = {"X-Experience-API-Version": "1.0.3"}


@dataclass(kw_only=True)
class Planted:
    """What somebody did to the LRS behind our back.

    :ivar by: word → result ids. :ivar found: the same as a check finds it.
    """

    world: World
    configuration: Configuration
    secret: str
    by: dict[str, set[str]] = field(default_factory=dict)

    def post(self, *statements: Any) -> None:
        """Store these as anybody else would."""
        settings = self.configuration.settings
        for part in range(0, len(statements), 100):
            answer = requests.post(
                f"{settings['url']}/statements",
                json=list(statements[part : part + 100]),
                auth=(settings["key"], self.secret),
                headers=HEADERS,
                timeout=30,
            )
            assert answer.status_code in (200, 204), answer.text

    def spoil(self, word: str, rows: Sequence[Delivery]) -> None:
        """What happened to these rows; they pass for delivered."""
        texts = [json.loads(row.statement or "") for row in rows]
        if word == "missing":
            self._pass_for_delivered(rows)
        elif word == "different":
            for one in texts:
                one["result"] |= {"success": False}
            self.post(*texts)
            self._pass_for_delivered(rows)
        else:
            self.post(*({**one, "id": str(uuid.uuid4())} for one in texts))
        self.by[word] = {row.result_id for row in rows}

    def _pass_for_delivered(self, rows: Sequence[Delivery]) -> None:
        now = self.world.now
        self.world.session.execute(
            sa.update(Delivery)
            .where(Delivery.id.in_([row.id for row in rows]))
            .values(state=DeliveryState.DELIVERED, settled_at=now, attempts=1)
        )
        self.world.session.commit()

    @property
    def found(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for row in self.world.rows():
            if row.read_back not in (None, ReadBack.CONFIRMED):
                found.setdefault(row.read_back.value, set()).add(row.result_id)
        return found

    def check(self) -> dict[str, Any]:
        """Check in the LMS, ten minutes later; returns the task's counts."""
        id = ask(self.world, self.configuration)
        while tasks.work(self.world.state):
            pass
        self.world.session.rollback()
        task = tasks.get(self.world.state, "acme", id)
        assert (task.failure, task.ended_at is not None) == (None, True)
        return dict(task.counts)


def one_of_many(i: int) -> ObjectiveResult:
    who = Participant(id=f"p{i % 97}@acme.example", name=f"Person {i % 97}")
    return result(f"r{i}", participant=who, finished_at=START - timedelta(seconds=i))


def ask(world: World, configuration: Configuration, **ago: float) -> uuid.UUID:
    world.clock.advance(minutes=10)
    asked = reconcile.asked_of(world.state, world.later(**{"days": -1, **ago}))
    return tasks.ask(
        world.state,
        "acme",
        "reconcile",
        asked,
        by=ANA,
        configuration_id=configuration.id,
        total=reconcile.count(world.state, configuration.id, asked),
    ).id


def plant(
    world: World,
    settings: dict[str, Any],
    n: int,
    **spoilt: int,
) -> Planted:
    """So many results delivered, of which some are spoilt.

    :param spoilt: how many: ``missing``, ``different``, ``doubled``.
    """
    if not hasattr(world, "clock"):
        world.freeze()
    planted = Planted(
        world=world, configuration=world.attach(**settings), secret=settings["secret"]
    )
    for part in range(0, n, 500):
        world.lms.record_many([one_of_many(i) for i in range(part, min(part + 500, n))])
    everything = world.rows()
    rows = iter([row for first in range(7) for row in everything[first::7]])
    for word, number in spoilt.items():
        planted.spoil(word, [next(rows) for _ in range(number)])
    while world.states()["pending"]:
        world.deliver(planted.configuration)
    return planted
