"""Objectives, and playing them. Nothing here knows of LMSs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import sqlalchemy as sa
from blinker import Namespace
from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from .accounts import current_user, signed_in
from .models import Attempt, Objective, db

blueprint = Blueprint("training", __name__)

#: ``attempt_finished.send(app, attempt=…)``, in the transaction that stores the attempt's end.
attempt_finished = Namespace().signal("attempt-finished")


@blueprint.get("/")
@signed_in
def home() -> str:
    """The objectives of one's organization, and how one did."""
    user = current_user()
    assert user is not None
    objectives = db.session.scalars(
        sa.select(Objective)
        .where(Objective.organization_id == user.organization_id)
        .order_by(Objective.name)
    ).all()
    attempts = db.session.scalars(
        sa.select(Attempt)
        .where(Attempt.user_id == user.id, Attempt.finished_at.is_not(None))
        .order_by(Attempt.finished_at.desc())
        .limit(8)
    ).all()
    return render_template("home.html", objectives=objectives, attempts=attempts)


@blueprint.get("/objectives/<int:objective_id>")
@signed_in
def objective(objective_id: int) -> str:
    return render_template("objective.html", objective=_objective(objective_id))


@blueprint.post("/objectives/<int:objective_id>/start")
@signed_in
def start(objective_id: int) -> Response:
    user = current_user()
    attempt = Attempt(user=user, objective=_objective(objective_id), started_at=_now())
    db.session.add(attempt)
    db.session.commit()
    return redirect(url_for("training.play", attempt_id=attempt.id), code=303)


@blueprint.get("/attempts/<attempt_id>")
@signed_in
def play(attempt_id: str) -> str:
    """The step to play; once finished, the result."""
    return render_template("play.html", attempt=_attempt(attempt_id), now=_now())


@blueprint.post("/attempts/<attempt_id>")
@signed_in
def act(attempt_id: str) -> Response:
    """``did``: ``succeed``, ``fail`` or ``wait`` (a minute passes)."""
    attempt = _attempt(attempt_id)
    did = request.form.get("did")
    if did not in ("succeed", "fail", "wait"):
        abort(400)
    if attempt.finished_at is None:
        if did == "wait":
            attempt.let_pass(timedelta(minutes=1), _now())
        else:
            attempt.play(did == "succeed", _now())
        if attempt.finished_at is not None:
            db.session.flush()
            attempt_finished.send(current_app._get_current_object(), attempt=attempt)
        db.session.commit()  # the attempt and what Flask-LMS wrote, together
    return redirect(url_for("training.play", attempt_id=attempt.id), code=303)


def _objective(objective_id: int) -> Objective:
    found = db.session.get(Objective, objective_id)
    user = current_user()
    if found is None or user is None or found.organization_id != user.organization_id:
        abort(404)
    return found


def _attempt(attempt_id: str) -> Attempt:
    found = db.session.get(Attempt, attempt_id)
    user = current_user()
    if found is None or user is None or found.user_id != user.id:
        abort(404)
    return found


def _now() -> datetime:
    return datetime.now(timezone.utc)
