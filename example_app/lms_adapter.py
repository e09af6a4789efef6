"""The whole host side of Flask-LMS: four questions it asks, two it may ask, and one signal.

Beside this file, embedding took ``lms.init_app(app)`` in ``app.py`` and the three lines of
``templates/lms/layout.html``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa
from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from flask_lms import (
    LMS,
    Administrator,
    Objective,
    ObjectiveResult,
    Page,
    Participant,
    Step,
    StepResult,
)

from . import models
from .accounts import current_user
from .models import db
from .training import attempt_finished

lms = LMS()


@lms.administrator_loader
def administrator() -> Administrator | Response | None:
    user = current_user()
    if user is None:
        return redirect(url_for("accounts.sign_in", next=request.full_path), code=303)
    if not user.is_admin:
        return None
    return Administrator(
        id=user.id, name=user.name, email=user.login, organization_id=user.organization_id
    )


@lms.objectives_loader
def objectives(
    organization_id: str, search: str | None = None, offset: int = 0, limit: int = 50
) -> Page[Objective]:
    query = sa.select(models.Objective).where(_is_of(models.Objective, organization_id))
    if search:
        query = query.where(models.Objective.name.icontains(search, autoescape=True))
    total = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    rows = db.session.scalars(query.order_by(models.Objective.name).offset(offset).limit(limit))
    return Page(items=[_objective(row) for row in rows], total=total)


@lms.objective_loader
def objective(organization_id: str, objective_id: str) -> Objective | None:
    if not objective_id.isdecimal():
        return None
    row = db.session.scalar(
        sa.select(models.Objective).where(
            _is_of(models.Objective, organization_id), models.Objective.id == int(objective_id)
        )
    )
    return _objective(row) if row else None


@lms.participant_loader
def participant(organization_id: str, participant_id: str) -> Participant | None:
    row = db.session.scalar(
        sa.select(models.User).where(
            _is_of(models.User, organization_id), models.User.login == participant_id
        )
    )
    return _participant(row) if row else None


@lms.past_results_loader
def past_results(
    organization_id: str, objective_id: str, since: datetime | None
) -> Iterator[ObjectiveResult]:
    query = (
        sa.select(models.Attempt)
        .join(models.Attempt.objective)
        .where(
            _is_of(models.Objective, organization_id),
            models.Objective.id == int(objective_id),
            models.Attempt.finished_at.is_not(None),
        )
        .order_by(models.Attempt.finished_at)
    )
    if since:
        query = query.where(models.Attempt.finished_at >= since)
    for attempt in db.session.scalars(query):
        yield _result(attempt)


@lms.results_from(attempt_finished)
def result(sender: object, attempt: models.Attempt) -> ObjectiveResult:
    return _result(attempt)


# -- our rows in Flask-LMS's words -------------------------------------------------------------


def _is_of(
    model: type[models.Objective | models.User], organization_id: str
) -> sa.ColumnElement[bool]:
    return model.organization_id == int(organization_id)


def _objective(row: models.Objective) -> Objective:
    return Objective(
        id=row.id,
        name=row.name,
        description=row.description,
        steps=[Step(number=step.number, name=step.name) for step in row.steps],
    )


def _participant(row: models.User) -> Participant:
    return Participant(id=row.login, email=row.email, name=row.name)


def _result(attempt: models.Attempt) -> ObjectiveResult:
    played = [
        StepResult(
            number=step.number,
            outcome="succeeded" if step.is_succeeded else "failed",
            at=step.at,
            duration_ms=step.duration_ms,
        )
        for step in attempt.played
    ]
    left_out = [
        StepResult(number=step.number, outcome="not_reached")
        for step in attempt.objective.steps[len(played) :]
    ]
    return ObjectiveResult(
        id=attempt.id,
        organization_id=attempt.objective.organization_id,
        objective=_objective(attempt.objective),
        participant=_participant(attempt.user),
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        duration_ms=int((attempt.finished_at - attempt.started_at).total_seconds() * 1000),
        success=attempt.is_passed,
        steps=played + left_out,
    )
