"""The people of an organization, for its administrators."""

from __future__ import annotations

import sqlalchemy as sa
from email_validator import EmailNotValidError, validate_email
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from .accounts import current_user, signed_in
from .models import User, db

blueprint = Blueprint("people", __name__, url_prefix="/people")


@blueprint.get("")
@signed_in
def everybody() -> str:
    admin = _admin()
    users = db.session.scalars(
        sa.select(User).where(User.organization_id == admin.organization_id).order_by(User.name)
    ).all()
    return render_template("people.html", users=users)


@blueprint.post("/<int:user_id>")
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
    return redirect(url_for("people.everybody"), code=303)


def _admin() -> User:
    user = current_user()
    if user is None or not user.is_admin:
        abort(403)
    return user
