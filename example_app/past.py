"""Rows of the past: what people played on each day, and what became of each delivery."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import sqlalchemy as sa

from flask_lms import Objective as HandedIn
from flask_lms import ObjectiveResult, Participant
from flask_lms.app_state import AppState as LMSState
from flask_lms.connectors.base import BuildContext
from flask_lms.database.models import Configuration, DeliveryState
from flask_lms.values import to_json

from . import lms_adapter, models
from .models import Objective, Organization, PlayedStep, User, db
from .plans import DAY, DAYS, HOUR, MINUTE, Plan

_WORDS = "Statement 0: object.definition.description is longer than 500 characters."


# -- what people played ------------------------------------------------------------------------


def play(organization: Organization, now: datetime, random: Random) -> list[ObjectiveResult]:
    """Attempts of every day, fewer at weekends; as rows of the host, and as results."""
    players = [user for user in organization.users if not user.is_admin]
    weights = [1.0 if "@" in user.login else 0.03 for user in players]
    objectives = db.session.scalars(
        sa.select(Objective)
        .where(Objective.organization_id == organization.id)
        .order_by(Objective.id)
    ).all()
    attempts, steps, results = [], [], []
    for moment in _moments(now, random, 46 if organization.name == "Meridian Lines" else 22):
        user = random.choices(players, weights)[0]
        objective = random.choice(objectives)
        attempt = _attempt(user, objective, moment, random)
        results.append(lms_adapter._result(attempt))
        attempts.append(
            {
                "id": attempt.id,
                "user_id": user.id,
                "objective_id": objective.id,
                "started_at": attempt.started_at,
                "finished_at": attempt.finished_at,
                "is_passed": attempt.is_passed,
            }
        )
        steps += [
            {
                "attempt_id": attempt.id,
                "number": step.number,
                "is_succeeded": step.is_succeeded,
                "at": step.at,
                "duration_ms": step.duration_ms,
            }
            for step in attempt.played
        ]
    for attempt in db.session.new:
        db.session.expunge(attempt)
    db.session.execute(sa.insert(models.Attempt), attempts)
    db.session.execute(sa.insert(PlayedStep), steps)
    return results


def _moments(now: datetime, random: Random, usual: int) -> Iterator[datetime]:
    """When somebody finished, oldest first."""
    for days in range(DAYS, -1, -1):
        day = (now - days * DAY).replace(hour=0, minute=0, second=0)
        today = usual if day.weekday() < 5 else usual // 6
        seconds = sorted(
            int(random.triangular(6 * 3600, 20 * 3600))
            for _ in range(int(today * random.uniform(0.7, 1.3)))
        )
        for second in seconds:
            if now - DAYS * DAY < day + timedelta(seconds=second) < now - 2 * MINUTE:
                yield day + timedelta(seconds=second, milliseconds=random.randrange(1000))


def _attempt(user: User, objective: Objective, end: datetime, random: Random) -> models.Attempt:
    """An attempt that ended then; one in twelve ran out of time, one in five steps went wrong."""
    reached = len(objective.steps)
    if random.random() < 1 / 12:
        reached = random.randrange(reached)
    spans = [timedelta(milliseconds=random.randrange(8_000, 70_000)) for _ in range(reached)]
    left = objective.minutes * MINUTE if reached < len(objective.steps) else timedelta()
    start = end - sum(spans, left)
    with db.session.no_autoflush:
        attempt = models.Attempt(
            id=uuid.UUID(int=random.getrandbits(128)).hex,
            user=user,
            objective=objective,
            started_at=start,
            finished_at=end,
        )
    for number, (_, at) in enumerate(pairwise(_ends(start, spans)), 1):
        attempt.played.append(
            PlayedStep(
                number=number,
                is_succeeded=random.random() < 0.93,
                at=at,
                duration_ms=int(spans[number - 1] / timedelta(milliseconds=1)),
            )
        )
    attempt.is_passed = reached == len(objective.steps) and all(
        step.is_succeeded for step in attempt.played
    )
    return attempt


def _ends(start: datetime, spans: Sequence[timedelta]) -> Iterator[datetime]:
    yield start
    for span in spans:
        start += span
        yield start


# -- what became of it -------------------------------------------------------------------------


def row(
    state: LMSState,
    configuration: Configuration,
    plan: Plan,
    result: ObjectiveResult,
    now: datetime,
    random: Random,
) -> dict[str, Any]:
    """One delivery as it is by now."""
    objective, participant = result.objective, result.participant
    assert isinstance(objective, HandedIn)
    assert isinstance(participant, Participant)
    at = result.finished_at + timedelta(milliseconds=random.randrange(5, 40))
    connector = state.registry.get("xapi")
    assert connector is not None
    built = connector.build(
        result,
        configuration.settings,
        BuildContext(
            activity_base_url=state.settings.activity_base_url,
            platform_name=state.settings.platform_name,
            now=at,
        ),
    )
    made: dict[str, Any] = {
        "id": id_of(at, random),
        "organization_id": result.organization_id,
        "configuration_id": configuration.id,
        "objective_id": objective.id,
        "objective_name": objective.name,
        "participant_id": participant.id,
        "participant_name": participant.name,
        "result_id": result.id,
        "revision": 0,
        "kind": "result",
        "recorded_at": at,
        "due_at": at,
        "attempts": 0,
        "refusals": 0,
        "is_single": False,
        "result": None,
        "reason": None,
        "reason_words": None,
        "settled_at": None,
        "settled_by": None,
    }
    if built.not_sendable:
        return made | {
            "statement_id": built.not_sendable.id,
            "statement": None,
            "size": 0,
            "state": DeliveryState.NOT_SENT,
            "reason": built.not_sendable.reason,
            "reason_words": json.dumps(dict(built.not_sendable.facts)),
            "result": to_json(result),
            "settled_at": at,
        }
    [statement] = built.statements
    made |= {
        "statement_id": statement.id,
        "statement": statement.text,
        "size": len(statement.text.encode()),
        "state": DeliveryState.PENDING,
    }
    return made | _outcome(plan, at, now, random)


def _outcome(plan: Plan, at: datetime, now: datetime, random: Random) -> dict[str, Any]:
    """What became of a delivery recorded then."""
    if plan.paused and at > plan.paused:
        return {}
    for outage in plan.outages:
        if outage.covers(at):
            if outage.ended is None:
                return {}
            return _delivered(outage.ended + timedelta(seconds=random.randrange(1, 9)), now)
    if plan.cancelled and plan.cancelled < at < plan.cancelled + 2 * HOUR:
        settled = plan.cancelled + 3 * HOUR
        return {"state": DeliveryState.CANCELLED, "settled_at": settled, "settled_by": "Ana Ruiz"}
    if random.random() < plan.rejects and now - at > 18 * HOUR:
        return {
            "state": DeliveryState.REJECTED,
            "attempts": 6,
            "refusals": 6,
            "is_single": True,
            "reason": "rejected",
            "reason_words": _WORDS,
            "settled_at": at + 17 * HOUR + 11 * MINUTE,
        }
    return _delivered(at + timedelta(milliseconds=random.randrange(150, 1400)), now)


def _delivered(at: datetime, now: datetime) -> dict[str, Any]:
    """Its content goes after 30 days."""
    pruned = {"statement": None} if now - at > 30 * DAY else {}
    return {"state": DeliveryState.DELIVERED, "attempts": 1, "settled_at": at, **pruned}


def request(row: dict[str, Any], random: Random) -> dict[str, Any]:
    """The request that settled a delivery."""
    took = random.randrange(30, 420)
    is_stored = row["state"] is DeliveryState.DELIVERED
    return {
        "id": id_of(row["settled_at"], random),
        "configuration_id": row["configuration_id"],
        "started_at": row["settled_at"] - timedelta(milliseconds=took),
        "duration_ms": took,
        "statements": 1,
        "delivery_ids": row["id"].hex,
        "size": row["size"],
        "verdict": "accepted" if is_stored else "refused",
        "http_status": 200 if is_stored else 400,
        "cause": None if is_stored else "rejected",
        "words": None if is_stored else _WORDS,
        "worker": "harbor-1:sender-1",
    }


def id_of(at: datetime, random: Random) -> uuid.UUID:
    """An id as :func:`flask_lms.database.types.new_id` would have made it then."""
    value = (int(at.timestamp() * 1000) & (2**48 - 1)) << 80
    value |= 0x7 << 76 | random.getrandbits(12) << 64 | 0b10 << 62 | random.getrandbits(62)
    return uuid.UUID(int=value)
