"""What every page stands on: who may see it, what its address asks for, how it answers.

Nobody may, unless the host's ``administrator_loader`` names an administrator. The organization of
everything shown or changed is that administrator's, and nothing else's.
"""

from __future__ import annotations

import functools
import secrets
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, ParamSpec, cast

from flask import (
    Flask,
    Response,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask import session as cookie
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from ..app_state import AppState
from ..connectors.routes import Route
from ..database.types import UTC
from ..errors import NotFound
from ..i18n import gettext
from ..services.configurations import Configurations
from ..services.deliveries import Deliveries
from ..services.mappings import Participants
from ..services.objectives import Objectives
from ..values import Administrator
from .forms import ActForm

P = ParamSpec("P")

DAY = timedelta(days=1)
#: No row is older or newer. A day before or after them would leave the calendar, which ends at the
#: years 1 and 9999.
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(9000, 1, 1)
_NOTICE = "lms_notice"
#: They bring their own proof, a token, or need none.
_PUBLIC = frozenset({"lms.static", "lms.health", "lms.mute", "lms.profile", "lms.schema"})
#: Called by programs that can't have a CSRF token; their own signed token stands for it.
_SIGNED = ("lms.mute",)
_FRAMES = "flask_lms.frames"


def route_of(endpoint: str | None) -> Route | None:
    """The route of an LMS type behind an endpoint; None: it is a page."""
    return getattr(current_app.view_functions.get(endpoint or ""), "lms_route", None)


def _is_public(endpoint: str | None) -> bool:
    route = route_of(endpoint)
    return endpoint in _PUBLIC if route is None else route.is_public


def state() -> AppState:
    """The parts of this app."""
    return cast(AppState, current_app.extensions["lms_state"])


def administrator() -> Administrator:
    """Who is on this request; only inside the guarded pages."""
    return cast(Administrator, g.lms_administrator)


def current_administrator() -> Administrator | None:
    """Who is on this request, on any page of the host; None: nobody, or the host redirects or
    aborts, which is meant for our pages and not for those of the host.
    """
    if "lms_administrator" not in g:
        try:
            found = state().callbacks.administrator()
        except HTTPException:
            found = None
        g.lms_administrator = found if isinstance(found, Administrator) else None
    return cast("Administrator | None", g.lms_administrator)


def only_administrators() -> ResponseReturnValue | None:
    """Before each request of the blueprint: who is it?"""
    if _is_public(request.endpoint):
        return None
    found = state().callbacks.administrator()
    if isinstance(found, Administrator):
        g.lms_administrator = found
        return None
    if found is not None:
        return found
    return message(
        gettext("You can't open this page"),
        gettext("Only organization administrators can manage LMS configurations."),
        status=403,
    )


def exempt_signed_pages(endpoint: str | None, values: object) -> None:
    """Tell the host's ``CSRFProtect``, whenever it was made, before it looks at the request."""
    protect = current_app.extensions.get("csrf")
    route = route_of(endpoint)
    is_exempt = endpoint in _SIGNED if route is None else route.is_public
    if endpoint and is_exempt and isinstance(protect, CSRFProtect):
        protect.exempt(current_app.view_functions[endpoint])


def organization_id() -> str:
    """The organization everything on this request belongs to."""
    return administrator().organization_id


def configurations() -> Configurations:
    """The LMS configurations of this request's organization."""
    return Configurations(state(), organization_id())


def objectives() -> Objectives:
    """The objectives of this request's organization."""
    return Objectives(state(), organization_id())


def deliveries() -> Deliveries:
    """The deliveries of this request's organization."""
    return Deliveries(state(), organization_id())


def participants() -> Participants:
    """The mapped participants of this request's organization."""
    return Participants(state(), organization_id())


def now() -> datetime:
    """The time of this request, asked once."""
    if "lms_now" not in g:
        parts = state()
        g.lms_now = parts.clock.now(parts.session())
    return cast(datetime, g.lms_now)


# What an address or a form says. Anybody may type anything: what makes no sense is left out.


def clean_text(given: str | None, longest: int = 255) -> str:
    """Without spaces around it; empty when it holds a NUL, which no database finds or stores."""
    found = (given or "").strip()[:longest]
    return "" if "\0" in found else found


def page_number(name: str) -> int:
    """A whole number of the query, 0 when it isn't one."""
    found = request.args.get(name, "")
    return int(found) if found.isdecimal() and len(found) < 8 else 0


def as_uuid(given: str | None) -> uuid.UUID | None:
    """An id, None when it isn't one."""
    try:
        return uuid.UUID(given or "")
    except ValueError:
        return None


def day(given: str | None) -> datetime | None:
    """Midnight UTC of an ISO date, None when it isn't one."""
    try:
        found = date.fromisoformat(given or "")
    except ValueError:
        return None
    return datetime.combine(min(max(found, _FIRST_DAY), _LAST_DAY), time(), UTC)


def utc_day(given: str | None) -> date | None:
    """An ISO date, None when it isn't one."""
    found = day(given)
    return found and found.date()


def end_of_day(given: str | None) -> datetime | None:
    """The midnight after an ISO date, None when it isn't one."""
    found = day(given)
    return found and found + DAY


# What every page does: render, say what was done, go on, and leave no half-made transaction.


class View:
    """What one template is given, under one name, so that no variable of the host's layout is
    shadowed: ``lms.rows`` in the template is ``rows=`` in :func:`render`.
    """

    #: Asked for by every page; the host's Jinja may be strict about what is undefined.
    forms: Sequence[Any] = ()
    #: What the template extends: the host's layout, or nothing around the parts that change.
    base = "lms/base.html"
    is_live = False
    #: After how many seconds the script looks for changes; None: nothing on the page changes.
    every: int | None = None
    #: What the page shows in a few words; read out when it changes.
    said = ""
    #: Where :func:`stream` puts its pieces.
    stream: Markup | None = None

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


#: Between two looks of the script at a page: while something waits or fails, and else.
SOON, LATER = 2, 15


def is_live() -> bool:
    """Whether the script asks for the parts of this page that change, in place of all of it."""
    return request.method == "GET" and "live" in request.args


def render(template: str, *, code: int = 200, **values: Any) -> Response:
    """``templates/lms/<template>`` with ``values`` as ``lms.…``. Never kept by a cache.

    With ``every=``, what its blocks ``lms_live`` and ``lms_live_more`` show is renewed by the
    script so often. They hold no token, which would differ each time.
    """
    is_part = is_live() and "every" in values
    if is_part:
        values |= {"base": "lms/live.html", "is_live": True}
    response = make_response(render_template(f"lms/{template}", lms=View(values)), code)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if is_part:
        response.add_etag()
        response.make_conditional(request)
    return response


def stream(template: str, pieces: Iterator[str], **values: Any) -> Response:
    """:func:`render`, with the pieces where the template has ``lms.stream``, each as it comes.

    The layout is rendered once and cut there. Nothing is changed in the cookie any more then.
    """
    mark = f"<!-- {secrets.token_hex(16)} -->"
    response = render(template, stream=Markup(mark), **values)  # noqa: S704  # nosec B704
    head, _, tail = response.get_data(as_text=True).partition(mark)

    def parts() -> Iterator[str]:
        # No transaction is open while others are waited for, if Flask kept the page's session.
        state().session.commit()
        yield head
        yield from pieces
        yield tail

    del response.headers["Content-Length"]
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep it all until the end
    response.response = stream_with_context(parts())
    return response


def forbid_frames(app: Flask, response: Response) -> None:
    """Say who may show a page in a frame, where neither the host's policy nor its older header
    does. Told when a response is finished, as hosts set theirs after ours; a policy beside
    another takes nothing away from it.
    """
    if not request.endpoint or not request.endpoint.startswith("lms."):
        return
    policies = response.headers.getlist("Content-Security-Policy")
    own = state().settings.frame_ancestors
    if opened := request.environ.get(_FRAMES):
        _open_frames(response)
        ancestors = " ".join(opened)
    elif request.endpoint in _SIGNED:
        ancestors = "'none'"
    elif any("frame-ancestors" in policy.lower() for policy in policies):
        return
    elif own:
        ancestors = " ".join(own)
    elif response.headers.get("X-Frame-Options", "").strip().upper() == "DENY":
        return
    else:
        ancestors = "'self'"
    response.headers.add("Content-Security-Policy", f"frame-ancestors {ancestors}")


def _open_frames(response: Response) -> None:
    """Take away what the host says of frames; all else that it says stays."""
    response.headers.pop("X-Frame-Options", None)
    policies = response.headers.getlist("Content-Security-Policy")
    response.headers.pop("Content-Security-Policy", None)
    for policy in policies:
        kept = [
            part
            for part in policy.split(";")
            if part.strip() and not part.strip().lower().startswith("frame-ancestors")
        ]
        if kept:
            response.headers.add("Content-Security-Policy", ";".join(kept))


def let_be_framed(origins: Sequence[str]) -> None:
    """These may show this page in a frame, whatever the host says of its other pages."""
    request.environ[_FRAMES] = [
        one for one in origins if not {" ", ";", ",", "\r", "\n"}.intersection(one)
    ]


def message(title: str, text: str, *, status: int) -> Response:
    """A page with one message."""
    return render("message.html", code=status, title=title, text=text)


def not_found(error: NotFound) -> ResponseReturnValue:
    """The extension's own error as a page; all others stay the host's."""
    return message(
        gettext("Page not found"),
        gettext("There is nothing at this address. It may have been deleted."),
        status=404,
    )


def url(endpoint: str, **values: Any) -> str:
    """The address of one of the pages."""
    return url_for(f"lms.{endpoint}", **values)


def go(endpoint: str, **values: Any) -> Response:
    """See Other (RFC 9110 15.4.4): what was posted is done, look there."""
    return cast(Response, redirect(url(endpoint, **values), code=303))


def go_on_posting(endpoint: str, **values: Any) -> Response:
    """Temporary Redirect (RFC 9110 15.4.8): the same post goes on there.

    Lets "Save and test" show the test on its own page, without keeping its report anywhere.
    """
    return cast(Response, redirect(url(endpoint, **values), code=307))


def notice(text: str, tone: str = "ok") -> None:
    """Say on the next page what was done (``role=status``)."""
    cookie[_NOTICE] = [tone, text[:1000]]  # a cookie holds 4 kB


def take_notice() -> tuple[str, str] | None:
    """What :func:`notice` left, once."""
    found = cookie.pop(_NOTICE, None) if _NOTICE in cookie else None
    return (str(found[0]), str(found[1])) if found else None


def confirm(
    act: Callable[[], ResponseReturnValue],
    *,
    title: str,
    facts: list[str],
    button: str,
    back: str,
    is_danger: bool = False,
    choice: str | None = None,
    carried: Sequence[str] = (),
) -> ResponseReturnValue:
    """A page of its own for an act with consequences, told in numbers; then the act.

    ``confirmed`` tells the second post.

    :param facts: sentences.
    :param carried: names of what was chosen on the page before, to be posted on.
    """
    form = ActForm()
    if request.method == "POST" and form.validate_on_submit() and "confirmed" in request.form:
        return act()
    return render(
        "confirm.html",
        form=form,
        forms=[form],
        title=title,
        facts=facts,
        choice=choice,
        button=button,
        back=back,
        is_danger=is_danger,
        hidden=[(key, value) for key, value in request.values.items(multi=True) if key in carried],
    )


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
