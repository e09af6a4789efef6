"""Create LMS Configuration: step 1 Basic information, step 2 the LMS type's own form.

Step 1 travels to step 2 in a sealed hidden field; only step 2 writes, all at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm

from .. import checks
from ..connectors.base import Connector, TestReport
from ..database.models import Configuration
from ..errors import EditConflict, InvalidConfiguration
from ..i18n import date, date_time, gettext, language
from ..services import configurations, connection_test
from ..services.configurations import Configurations
from . import pages, probe
from .forms import BasicsForm, connector_form, is_genuine, seal, show_errors, typed, unseal
from .history import field_label
from .pages import go, go_on_posting, render


def _owner() -> Sequence[str]:
    return (pages.organization_id(), pages.administrator().id)


def basics() -> ResponseReturnValue:
    """Step 1, and the way from there to step 2."""
    state = pages.state()
    form = BasicsForm()
    form.offer(state.registry)
    if request.method == "GET":
        form.contact_emails.data = pages.administrator().email or ""
        form.language.data = language() if language() in dict(form.language.choices) else "en"
        return _show_basics(form)
    if not is_genuine(form):
        return _show_basics(form)
    try:
        values = _check(form.values())
    except InvalidConfiguration as error:
        show_errors(error, form)
        return _show_basics(form)
    connector = state.registry.get(values["type"])
    assert connector is not None
    before = unseal(state, form.draft.data, _owner()) or {}
    kept = before.get("settings") if before.get("type") == values["type"] else None
    return _show_connection(connector, connector_form(connector, kept, formdata=None), values)


def connection(type: str) -> ResponseReturnValue:
    """Step 2: save, save and test, test unsaved, or back."""
    state = pages.state()
    connector = state.registry.get(type)
    draft = unseal(state, request.form.get("draft"), _owner())
    if connector is None or draft is None:
        return go("new")
    form = connector_form(connector)
    what = request.form.get("act", "save")
    if what == "back":
        return _back(connector, form, draft)
    if not is_genuine(form):
        return _show_connection(connector, form, draft)
    settings = typed(form, connector)
    service = Configurations(state, pages.organization_id())
    try:
        if what == "test":
            return _test_new(connector, form, draft, settings)
        configuration = service.create(
            pages.organization_id(),
            draft["name"],
            draft["contact_emails"],
            type=type,
            settings=settings,
            language=draft["language"],
            by=pages.administrator(),
        )
    except InvalidConfiguration as error:
        if any(name not in form for name in error.errors):
            return _back(connector, form, draft, error)
        show_errors(error, form)
        return _show_connection(connector, form, draft)
    if what == "save_test":
        return go_on_posting("test", configuration_id=configuration.id)
    remarks = probe.remarks(connector, settings, service, configuration.id)
    probe.tell(gettext("“%(name)s” was created.", name=configuration.name), remarks)
    return go("overview", configuration_id=configuration.id)


def _check(values: dict[str, Any]) -> dict[str, Any]:
    """The rules of step 1 alone; nothing is written."""
    state, errors = pages.state(), checks.Errors()
    name = errors.take("name", checks.name, values["name"])
    emails = errors.take("contact_emails", checks.emails, values["contact_emails"])
    configurations.connector_of(state, values["type"], errors)
    if name:
        configurations.check_name_is_free(state, pages.organization_id(), name, None, errors)
    errors.check()
    return {**values, "name": name, "contact_emails": emails}


def _test_new(
    connector: Connector, form: FlaskForm, draft: dict[str, Any], settings: dict[str, Any]
) -> Response:
    report: TestReport | None = None
    state, administrator = pages.state(), pages.administrator()
    limited = connection_test.is_limited(state, administrator)
    if not limited:
        service = Configurations(state, pages.organization_id())
        report = service.test_settings(connector.type, settings, by=administrator)
    return _show_connection(connector, form, draft, report=report, is_limited=limited)


def _back(
    connector: Connector,
    form: FlaskForm,
    draft: dict[str, Any],
    error: InvalidConfiguration | None = None,
) -> Response:
    """Step 1 again, with what was typed in both steps, except the secret."""
    state = pages.state()
    first = BasicsForm(formdata=None)
    first.offer(state.registry)
    first.fill(draft)
    settings = typed(form, connector, with_secrets=False)
    first.draft.data = seal(state, {**draft, "settings": settings}, _owner())
    if error is not None:
        show_errors(error, first)
    return _show_basics(first)


def _show_basics(form: BasicsForm) -> Response:
    return render("wizard_basics.html", form=form, forms=[form], types=list(pages.state().registry))


def _show_connection(
    connector: Connector,
    form: FlaskForm,
    draft: dict[str, Any],
    report: TestReport | None = None,
    is_limited: bool = False,
) -> Response:
    state = pages.state()
    service = Configurations(state, pages.organization_id())
    remarks = probe.Remarks()
    if report is not None:
        remarks = probe.remarks(connector, typed(form, connector), service)
    return render(
        "wizard_connection.html",
        form=form,
        forms=[form],
        connector=connector,
        draft=draft,
        sealed=seal(state, {**draft, "settings": None}, _owner()),
        report=report and probe.present(report, connector),
        is_limited=is_limited,
        remarks=remarks,
    )


# -- Edit: the same two forms on one page, saved at once, then tested.


def edit(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Show, test unsaved, save, or say who was faster."""
    state = pages.state()
    service = Configurations(state, pages.organization_id())
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
            return _test_edited(configuration, connector, basics, form, service)
        service.update(
            configuration_id,
            name=basics.name.data or "",
            contact_emails=basics.emails,
            language=basics.language.data,
            settings=settings,
            version=_version(),
            by=pages.administrator(),
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


def _test_edited(
    configuration: Configuration,
    connector: Connector | None,
    basics: BasicsForm,
    form: FlaskForm | None,
    service: Configurations,
) -> Response:
    report: TestReport | None = None
    administrator = pages.administrator()
    limited = connection_test.is_limited(pages.state(), administrator)
    if not limited and form is not None and connector is not None:
        report = service.test_settings(
            configuration.type, typed(form, connector), configuration.id, administrator
        )
    return _show(configuration, connector, basics, form, report=report, is_limited=limited)


def _conflict(
    configuration_id: uuid.UUID,
    connector: Connector | None,
    basics: BasicsForm,
    form: FlaskForm | None,
    error: EditConflict,
) -> Response:
    """Who changed what, when; what was typed stays, and a second save goes over it knowingly."""
    configuration = Configurations(pages.state(), pages.organization_id()).get(configuration_id)
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
        report=report and probe.present(report, connector),
        is_limited=is_limited,
        conflict=conflict,
    )
