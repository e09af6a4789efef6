"""The routes of LMS types, mounted beside the pages: each finds its configuration and is called
with it, or answers 404.

One for administrators is guarded as every page is. A public one is called by an LMS or by a browser
that it sent here: it has no session and no CSRF token, and proves by itself who calls.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from flask import request
from flask.typing import ResponseReturnValue

from ..connectors.base import Connector
from ..connectors.routes import Call, Route
from ..database.models import Configuration
from ..encryption import binding
from ..errors import NotFound, SecretUnreadable
from ..i18n import gettext
from ..services import waiting
from ..services.configurations import Configurations
from . import pages
from .forms import ActForm

RULE = "/types/{type}/<uuid:configuration_id>/{path}"


def views(connector: Connector) -> list[tuple[str, str, Callable[..., ResponseReturnValue], Route]]:
    """Rule, endpoint, view and route of each route of a type."""
    found = []
    for route in connector.routes:
        name = f"{connector.type}_{re.sub('[^a-z0-9]', '_', route.path)}"
        view = partial(_answer, connector.type, route)
        cast(Any, view).__name__ = f"route_{name}"  # by which CSRFProtect knows it
        cast(Any, view).__module__ = __name__
        guarded = pages.transactional(view)
        cast(Any, guarded).lms_route = route
        rule = RULE.format(type=connector.type, path=route.path)
        found.append((rule, name, guarded, route))
    return found


def _answer(type: str, route: Route, configuration_id: uuid.UUID) -> ResponseReturnValue:
    state = pages.state()
    organization_id = None if route.is_public else pages.organization_id()
    service = Configurations(state, organization_id)
    configuration = service.get(configuration_id)
    connector = state.registry.get(type)
    if connector is None or configuration.type != type:
        raise NotFound("It is of another LMS type.")
    is_post = request.method not in ("GET", "HEAD", "OPTIONS")
    if is_post and not route.is_public and not ActForm().validate_on_submit():
        return pages.message(
            gettext("Nothing was done"),
            gettext("This page was open for too long. Go back, reload it and try again."),
            status=400,
        )
    by = None if route.is_public else pages.administrator()
    settings = dict(configuration.settings)
    bound_to = binding(configuration.id, connector.origin(settings))
    try:
        secrets = state.encryption.decrypt(configuration.secrets, bound_to)
    except SecretUnreadable:
        secrets = {}
    if route.frames is not None:
        pages.let_be_framed(route.frames(settings))
    store = state.store_of(configuration.id, type, settings)
    links = service.links

    def save(changed: Mapping[str, Any]) -> None:
        service.update(configuration_id, settings=changed, by=by)

    answer: ResponseReturnValue = route.view(
        Call(
            configuration_id=configuration.id,
            organization_id=configuration.organization_id,
            name=configuration.name,
            settings=settings,
            secrets=secrets,
            transport=state.transport_for(configuration.organization_id).with_store(store),
            administrator=by,
            address=partial(address, configuration),
            save=save,
            release=lambda one: waiting.release(state, service.get(configuration_id), one),
            objectives=lambda: [link.objective_id for link in links(configuration_id)],
        )
    )
    return answer


def address(configuration: Configuration, path: str) -> str:
    """The absolute address of a route of this configuration's type.

    :raises ValueError: the type has no such route.
    """
    state = pages.state()
    connector = state.registry.get(configuration.type)
    if path not in [route.path for route in (connector.routes if connector else ())]:
        raise ValueError(f"{configuration.type} has no route {path!r}")
    below = f"/types/{configuration.type}/{configuration.id}/{path}"
    return f"{state.settings.public_url}{state.settings.url_prefix}{below}"
