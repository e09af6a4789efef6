"""Harbor Training with what only a demo has: a yellow bar, what the demo LMS received, what was
mailed, and a way to start over.

These pages are open to everybody who can reach this machine's loopback, like all of the demo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jinja2
from flask import (
    Blueprint,
    Flask,
    abort,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response

import example_app
from flask_lms.testing import CONFIG

if TYPE_CHECKING:
    from .demo import Demo


blueprint = Blueprint("demo", __name__, static_folder="static", static_url_path="/demo-static")


def create_app(config: Mapping[str, Any] | None = None, demo: Demo | None = None) -> Flask:
    """Harbor Training, allowed to call an LMS on this machine without TLS.

    :param demo: with it, its pages; the worker has none.
    """
    app = example_app.create_app({**CONFIG, **(config or {})})
    if demo is not None:
        app.extensions["harbor_demo"] = demo
        app.register_blueprint(blueprint)
        # Our base.html goes over Harbor Training's, which it extends as "harbor/base.html".
        harbor = app.jinja_loader
        assert harbor is not None
        app.jinja_loader = jinja2.ChoiceLoader(
            [
                jinja2.FileSystemLoader(f"{blueprint.root_path}/templates"),
                harbor,
                jinja2.PrefixLoader({"harbor": harbor}),
            ]
        )
    return app


def _demo() -> Demo:
    running: Demo = current_app.extensions["harbor_demo"]
    return running


@blueprint.app_context_processor
def _give_the_demo() -> dict[str, object]:
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
    if "clear" in request.form:
        _demo().lms.clear()
    else:
        try:
            _demo().lms.switch(request.form.get("mode", ""))
        except ValueError:
            abort(400)
    return redirect(url_for("demo.lms"), code=303)


@blueprint.get("/demo-mail")
def mail() -> str:
    return render_template("demo_mail.html")


@blueprint.post("/demo-reset")
def reset() -> Response:
    """Everything as it was at the first start."""
    _demo().reset()
    flash("The demo is as it was at the start.")
    return redirect(url_for("accounts.sign_in"), code=303)
