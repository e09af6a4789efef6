"""What every page does: render, say what was done, go on, and leave no half-made transaction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, ParamSpec, cast

from flask import Response, g, make_response, redirect, render_template, session, url_for
from flask.typing import ResponseReturnValue

from .access import state

P = ParamSpec("P")

DAY = timedelta(days=1)
_NOTICE = "lms_notice"


class View:
    """What one template is given, under one name, so that no variable of the host's layout is
    shadowed: ``lms.rows`` in the template is ``rows=`` in :func:`render`.
    """

    #: Asked for by every page; the host's Jinja may be strict about what is undefined.
    forms: Sequence[Any] = ()

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


def render(template: str, *, code: int = 200, **values: Any) -> Response:
    """``templates/lms/<template>`` with ``values`` as ``lms.…``. Never kept by a cache."""
    response = make_response(render_template(f"lms/{template}", lms=View(values)), code)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def message(title: str, text: str, *, status: int) -> Response:
    """A page with one message."""
    return render("message.html", code=status, title=title, text=text)


def go(endpoint: str, **values: Any) -> Response:
    """See Other (RFC 9110 15.4.4): what was posted is done, look there."""
    return cast(Response, redirect(url_for(f"lms.{endpoint}", **values), code=303))


def go_on_posting(endpoint: str, **values: Any) -> Response:
    """Temporary Redirect (RFC 9110 15.4.8): the same post goes on there.

    Lets "Save and test" show the test on its own page, without keeping its report anywhere.
    """
    return cast(Response, redirect(url_for(f"lms.{endpoint}", **values), code=307))


def notice(text: str, tone: str = "ok") -> None:
    """Say on the next page what was done (``role=status``)."""
    session[_NOTICE] = [tone, text[:1000]]  # a cookie holds 4 kB


def take_notice() -> tuple[str, str] | None:
    """What :func:`notice` left, once."""
    found = session.pop(_NOTICE, None) if _NOTICE in session else None
    return (str(found[0]), str(found[1])) if found else None


def now() -> datetime:
    """The time of this request, asked once."""
    if "lms_now" not in g:
        parts = state()
        g.lms_now = parts.clock.now(parts.session())
    return cast(datetime, g.lms_now)


def transactional(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Roll back when the page fails: some hosts commit at the end of every request."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        try:
            return view(*args, **kwargs)
        except BaseException:
            state().session.rollback()
            raise

    return guarded


def url(endpoint: str, **values: Any) -> str:
    """The address of one of the pages."""
    return url_for(f"lms.{endpoint}", **values)
