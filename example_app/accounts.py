"""Who is here, and the people of an organization. Signing in is one click: this is an example."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from email_validator import EmailNotValidError, validate_email
from flask import (
    Blueprint,
    abort,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from sqlalchemy.orm import selectinload
from werkzeug.wrappers import Response

from .models import Organization, User, db

blueprint = Blueprint("accounts", __name__)


def current_user() -> User | None:
    """Whoever is signed in on this request."""
    if "user" not in g:
        g.user = db.session.get(User, session["user_id"]) if "user_id" in session else None
    return g.user


def signed_in(view: Callable[..., Any]) -> Callable[..., Any]:
    """Sends whoever is not signed in to the sign-in page."""

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if current_user() is None:
            return redirect(url_for("accounts.sign_in", next=request.full_path), code=303)
        return view(*args, **kwargs)

    return guarded


@blueprint.app_context_processor
def _give_the_user() -> dict[str, object]:
    return {"current_user": current_user()}


@blueprint.get("/sign-in")
def sign_in() -> str:
    organizations = db.session.scalars(
        sa.select(Organization).options(selectinload(Organization.users)).order_by(Organization.id)
    ).all()
    return render_template("sign_in.html", organizations=organizations)


@blueprint.post("/sign-in/<int:user_id>")
def sign_in_as(user_id: int) -> Response:
    user = db.session.get(User, user_id)
    if user is None:
        abort(404)
    session.clear()
    session["user_id"] = user.id
    wanted = request.form.get("next", "")
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return redirect(wanted if is_ours else url_for("training.home"), code=303)


@blueprint.post("/sign-out")
def sign_out() -> Response:
    session.clear()
    return redirect(url_for("accounts.sign_in"), code=303)


# -- for administrators ------------------------------------------------------------------------


@blueprint.get("/people")
@signed_in
def people() -> str:
    admin = _admin()
    users = db.session.scalars(
        sa.select(User).where(User.organization_id == admin.organization_id).order_by(User.name)
    ).all()
    return render_template("people.html", users=users)


@blueprint.post("/people/<int:user_id>")
@signed_in
def correct(user_id: int) -> Response:
    """Set the e-mail address of somebody who signs in with a staff number."""
    admin, user = _admin(), db.session.get(User, user_id)
    if user is None or user.organization_id != admin.organization_id:
        abort(404)
    try:
        found = validate_email(request.form.get("email", ""), check_deliverability=False)
    except EmailNotValidError as error:
        flash(f"{user.name}: {error}", "error")
    else:
        user.email = found.normalized
        db.session.commit()
        flash(f"{user.name} has the e-mail address {user.email} now.")
    return redirect(url_for("accounts.people"), code=303)


def _admin() -> User:
    user = current_user()
    if user is None or not user.is_admin:
        abort(403)
    return user
