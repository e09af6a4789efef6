"""Who may see the pages: nobody, unless the host's ``administrator_loader`` names an administrator.

The organization of everything shown or changed is that administrator's, and nothing else's.
"""

from __future__ import annotations

from typing import cast

from flask import Blueprint, current_app, g, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from ..entities import Administrator
from ..errors import SetupError
from ..i18n import gettext
from ..state import State

#: They bring their own proof, a token, or need none.
_PUBLIC = frozenset({"lms.static", "lms.health", "lms.mute"})
#: Called by programs that can't have a CSRF token; their own signed token stands for it.
_SIGNED = ("lms.mute",)


def state() -> State:
    """The parts of this app."""
    return cast(State, current_app.extensions["lms_state"])


def administrator() -> Administrator:
    """Who is on this request; only inside the guarded pages."""
    return cast(Administrator, g.lms_administrator)


def organization_id() -> str:
    """The organization everything on this request belongs to."""
    return administrator().organization_id


def current_administrator() -> Administrator | None:
    """Who is on this request, on any page of the host; None: nobody, or the host redirects or
    aborts, which is meant for our pages and not for those of the host.
    """
    if "lms_administrator" not in g:
        try:
            found = state().slots.administrator()
        except HTTPException:
            found = None
        g.lms_administrator = found if isinstance(found, Administrator) else None
    return cast("Administrator | None", g.lms_administrator)


def guard(blueprint: Blueprint) -> None:
    """Guard every page of the blueprint, those that are added later too."""
    blueprint.before_request(_only_administrators)
    blueprint.url_value_preprocessor(_exempt_signed_pages)


def _only_administrators() -> ResponseReturnValue | None:
    if request.endpoint in _PUBLIC:
        return None
    found = state().slots.administrator()
    if isinstance(found, Administrator):
        g.lms_administrator = found
        return None
    if isinstance(found, Response):
        return found
    if found is not None:
        raise SetupError(
            "@lms.administrator_loader must return a flask_lms.Administrator, None or a Response, "
            f"it returned {type(found).__name__}."
        )
    from .pages import message

    return message(
        gettext("You can't open this page"),
        gettext("Only organization administrators can manage LMS configurations."),
        status=403,
    )


def _exempt_signed_pages(endpoint: str | None, values: object) -> None:
    """Tell the host's ``CSRFProtect``, whenever it was made, before it looks at the request."""
    protect = current_app.extensions.get("csrf")
    if endpoint in _SIGNED and isinstance(protect, CSRFProtect):
        protect.exempt(current_app.view_functions[endpoint])
