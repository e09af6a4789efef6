"""What people played on each of the last 60 days, invented."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random

import sqlalchemy as sa

from example_app.models import Attempt, Objective, Organization, PlayedStep, User, db

from .plans import DAY, DAYS, MINUTE


def played(organization: Organization, now: datetime, random: Random) -> Iterator[Attempt]:
    """Attempts, oldest first, fewer at weekends. They are in no session yet."""
    players = [user for user in organization.users if not user.is_admin]
    weights = [1.0 if "@" in user.login else 0.03 for user in players]
    objectives = db.session.scalars(
        sa.select(Objective)
        .where(Objective.organization_id == organization.id)
        .order_by(Objective.id)
    ).all()
    for end in _moments(now, random, 34 if organization.name == "Meridian Lines" else 18):
        yield _attempt(random.choices(players, weights)[0], random.choice(objectives), end, random)


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


def _attempt(user: User, objective: Objective, end: datetime, random: Random) -> Attempt:
    """An attempt that ended then; one in twelve ran out of time, one in five steps went wrong."""
    reached = len(objective.steps)
    if random.random() < 1 / 12:
        reached = random.randrange(reached)
    spans = [timedelta(milliseconds=random.randrange(8_000, 70_000)) for _ in range(reached)]
    left = objective.minutes * MINUTE if reached < len(objective.steps) else timedelta()
    at = end - sum(spans, left)
    attempt = Attempt(
        id=uuid.UUID(int=random.getrandbits(128)).hex,
        user_id=user.id,
        user=user,
        objective_id=objective.id,
        objective=objective,
        started_at=at,
    )
    for number, span in enumerate(spans, 1):
        at += span
        attempt.played.append(
            PlayedStep(
                attempt_id=attempt.id,
                number=number,
                is_succeeded=random.random() < 0.93,
                at=at,
                duration_ms=int(span / timedelta(milliseconds=1)),
            )
        )
    attempt.finish(end)
    return attempt
