"""Edit: the same two forms on one page, saved at once, then tested."""

from __future__ import annotations

import uuid

from flask import Response, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm

from ..connectors import Connector, TestReport
from ..errors import EditConflict, InvalidConfiguration
from ..i18n import date, date_time, gettext
from ..models import Configuration
from ..services.configurations import Configurations
from . import access, connection_test
from .forms import BasicsForm, connector_form, is_genuine, show_errors, typed
from .history import field_label
from .pages import go_on_posting, render


def edit(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Show, test unsaved, save, or say who was faster."""
    state = access.state()
    service = Configurations(state, access.organization_id())
    configuration = service.get(configuration_id)
    connector = state.registry.get(configuration.type)
    basics = BasicsForm(data=_stored(configuration))
    basics.offer(state.registry)
    form = connector_form(connector, configuration.settings) if connector else None
    if request.method == "GET":
        return _show(configuration, connector, basics, form)
    if not is_genuine(basics):
        return _show(configuration, connector, basics, form)
    settings = typed(form, connector) if form and connector else None
    try:
        if request.form.get("act") == "test" and settings is not None:
            return _test_unsaved(configuration, connector, basics, form, service)
        service.update(
            configuration_id,
            name=basics.name.data or "",
            contact_emails=basics.emails,
            language=basics.language.data,
            settings=settings,
            version=_version(),
            by=access.administrator(),
        )
    except InvalidConfiguration as error:
        show_errors(error, basics, *([form] if form else []))
        return _show(configuration, connector, basics, form)
    except EditConflict as error:
        return _conflict(configuration_id, connector, basics, form, error)
    return go_on_posting("test", configuration_id=configuration_id)


def _stored(configuration: Configuration) -> dict[str, object]:
    return {
        "name": configuration.name,
        "type": configuration.type,
        "contact_emails": "\n".join(configuration.contact_emails),
        "language": configuration.language,
    }


def _about_secret(configuration: Configuration) -> str:
    """Since when there is one and how to replace it; never how long it is or how it begins."""
    assert configuration.secret_set_at is not None
    when = date(configuration.secret_set_at)
    by = configuration.secret_set_by
    known = (
        gettext("Secret set on %(date)s by %(name)s.", date=when, name=by)
        if by
        else gettext("Secret set on %(date)s.", date=when)
    )
    how = gettext("Leave it blank to keep it. Type a new one to replace it.")
    return f"{known} {how}"


def _version() -> int | None:
    text = request.form.get("lms_version", "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _test_unsaved(
    configuration: Configuration,
    connector: Connector | None,
    basics: BasicsForm,
    form: FlaskForm | None,
    service: Configurations,
) -> Response:
    report: TestReport | None = None
    may = connection_test.may_test()
    if may and form is not None and connector is not None:
        report = service.test_settings(configuration.type, typed(form, connector), configuration.id)
    return _show(configuration, connector, basics, form, report=report, is_limited=not may)


def _conflict(
    configuration_id: uuid.UUID,
    connector: Connector | None,
    basics: BasicsForm,
    form: FlaskForm | None,
    error: EditConflict,
) -> Response:
    """Who changed what, when; what was typed stays, and a second save goes over it knowingly."""
    configuration = Configurations(access.state(), access.organization_id()).get(configuration_id)
    fields = ", ".join(field_label(configuration.type, name) for name in error.fields)
    text = gettext(
        "%(name)s saved this configuration on %(time)s, after you opened it.",
        name=error.by,
        time=date_time(error.at),
    )
    changed = gettext("Changed: %(fields)s.", fields=fields) if fields else ""
    return _show(configuration, connector, basics, form, conflict=f"{text} {changed}", status=409)


def _show(
    configuration: Configuration,
    connector: Connector | None,
    basics: BasicsForm,
    form: FlaskForm | None,
    *,
    report: TestReport | None = None,
    is_limited: bool = False,
    conflict: str | None = None,
    status: int = 200,
) -> Response:
    if connector is not None and form is not None and configuration.secret_set_at:
        for name in connector.secret_fields:
            form[name].description = _about_secret(configuration)
    return render(
        "edit.html",
        code=status,
        configuration=configuration,
        connector=connector,
        basics=basics,
        form=form,
        forms=[basics, *([form] if form else [])],
        report=report and connection_test.present(report, connector),
        is_limited=is_limited,
        conflict=conflict,
    )
