"""The secrets that are made here for a configuration: shown once, and made anew."""

from __future__ import annotations

import uuid

from flask import request
from flask.typing import ResponseReturnValue

from ..errors import NotFound
from ..i18n import gettext
from . import pages
from .forms import ActForm


def page(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Show one, once; or make it anew. The answer to the post shows it, and no cache keeps it."""
    state, service = pages.state(), pages.configurations()
    configuration = service.get(configuration_id)
    connector = state.registry.get(configuration.type)
    service.generated(configuration_id)  # or there is no such page
    assert connector is not None
    form, shown = ActForm(), None
    name = request.form.get("secret", "")
    if request.method == "POST" and form.validate_on_submit():
        by = pages.administrator()
        if request.form.get("act") == "renew":
            service.renew_secret(configuration_id, name, by)
            pages.notice(gettext("It was made anew."))
            return pages.go("secrets", configuration_id=configuration_id)
        try:
            shown = (name, service.show_secret(configuration_id, name, by).reveal())
        except NotFound:
            pages.notice(
                gettext("It was shown before. If you don't have it, make it anew."), "warn"
            )
            return pages.go("secrets", configuration_id=configuration_id)
    was_shown = service.generated(configuration_id)
    return pages.render(
        "secrets.html",
        configuration=configuration,
        secrets=[(one, was_shown[one.name]) for one in connector.generated],
        shown=shown,
        form=form,
        forms=[form],
    )
