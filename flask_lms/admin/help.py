"""Help: what is sent, what the statuses mean, and every cause with what to do."""

from __future__ import annotations

from flask import Response, abort, request
from flask.typing import ResponseReturnValue

from ..connectors.causes import TRANSPORT_CAUSES, Cause
from ..database.models import DeliveryState, ReadBack, Status
from . import pages, wording

#: What stands in a cause's sentence here, where no single case is meant, and on no other page.
_EXAMPLES = {
    "host": "lms.example.org",
    "port": "443",
    "target": "https://lms.example.org/xapi",
    "participant": "E001",
    "email": "jane.doe@localhost",
    "shape": "x!x@x.local",
}


def page() -> ResponseReturnValue:
    """One page to be printed or searched."""
    state = pages.state()
    settings, registry = state.settings, state.registry
    context = state.build_context(pages.now())
    causes: dict[str, Cause] = dict(TRANSPORT_CAUSES)
    for connector in registry:
        for code, cause in connector.causes.items():
            causes.setdefault(code, cause)
    seconds = {
        "connect_timeout": f"{settings.connect_timeout_seconds:g}",
        "timeout": f"{settings.read_timeout_seconds:g}",
    }
    facts = {**_EXAMPLES, "platform": settings.platform_name}
    return pages.render(
        "help.html",
        examples=[(one, one.previews(one.draft({}), context)) for one in registry],
        statuses=[wording.health_badge(status) for status in Status],
        states=[wording.delivery_badge(state) for state in DeliveryState],
        read_backs=[
            (wording.read_back_badge(one), *wording.read_back_meaning(one, settings.platform_name))
            for one in ReadBack
        ],
        causes=[
            (
                code,
                cause.sentence_for({**facts, "seconds": seconds.get(code)}),
                cause.remedies_for(facts),
            )
            for code, cause in causes.items()
        ],
        platform=settings.platform_name,
        retention_days=settings.retention_days,
    )


def profile() -> ResponseReturnValue:
    """``profile.json``: what every statement follows, for those who read them. Public: it is the
    same for every host and concerns nobody.
    """
    profiles = (one.profile() for one in pages.state().registry)
    return _published(next((one for one in profiles if one), None))


def schema(type: str) -> ResponseReturnValue:
    """``schema.json`` of an LMS type. Public as the profile is."""
    connector = pages.state().registry.get(type)
    return _published(connector.schema() if connector else None)


def _published(found: str | None) -> ResponseReturnValue:
    if found is None:
        abort(404)
    response = Response(found, mimetype="application/json")
    response.cache_control.public = True
    response.cache_control.max_age = 86_400
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.add_etag()
    return response.make_conditional(request)
