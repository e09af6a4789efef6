"""Pages that only a demo has: what the demo LMS received, what was mailed, and a way to start over.

They are open to everybody who can reach this machine's loopback, like all of the demo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from .demo import Demo

blueprint = Blueprint("demo", __name__)


def _demo() -> Demo | None:
    """The running demo; None when only the web app was started."""
    return current_app.extensions.get("harbor_demo")


@blueprint.app_context_processor
def _is_a_demo() -> dict[str, object]:
    return {"demo": _demo()}


@blueprint.get("/demo-lms")
def lms() -> str:
    return render_template("demo_lms.html")


@blueprint.get("/demo-lms/received")
def received() -> str:
    """The list alone, for the script that keeps the page up to date."""
    return render_template("demo_lms_received.html")


@blueprint.post("/demo-lms")
def switch() -> Response:
    """``mode``: how the demo LMS is to behave from now on; or ``clear`` what it received."""
    demo = _demo()
    if demo is None:
        abort(404)
    if "clear" in request.form:
        demo.lms.clear()
    else:
        try:
            demo.lms.switch(request.form.get("mode", ""))
        except ValueError:
            abort(400)
    return redirect(url_for("demo.lms"), code=303)


@blueprint.get("/demo-mail")
def mail() -> str:
    return render_template("demo_mail.html")


@blueprint.post("/demo-reset")
def reset() -> Response:
    """Everything as it was at the first start."""
    demo = _demo()
    if demo is None:
        abort(404)
    demo.reset()
    flash("The demo is as it was at the start.")
    return redirect(url_for("accounts.sign_in"), code=303)
