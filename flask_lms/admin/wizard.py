"""Create LMS Configuration: step 1 Basic information, step 2 the LMS type's own form.

Step 1 travels to step 2 in a sealed hidden field; only step 2 writes, all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm

from ..connectors import Connector, TestReport
from ..errors import InvalidConfiguration
from ..i18n import gettext, language
from ..services import editing
from ..services.configurations import Configurations
from ..services.validation import Errors, clean_emails, clean_name
from . import access, connection_test
from .forms import BasicsForm, connector_form, is_genuine, seal, show_errors, typed, unseal
from .pages import go, go_on_posting, render


def _owner() -> Sequence[str]:
    return (access.organization_id(), access.administrator().id)


def basics() -> ResponseReturnValue:
    """Step 1, and the way from there to step 2."""
    state = access.state()
    form = BasicsForm()
    form.offer(state.registry)
    if request.method == "GET":
        form.contact_emails.data = access.administrator().email or ""
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
    state = access.state()
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
    service = Configurations(state, access.organization_id())
    try:
        if what == "test":
            return _test_unsaved(connector, form, draft, settings)
        configuration = service.create(
            access.organization_id(),
            draft["name"],
            draft["contact_emails"],
            type=type,
            settings=settings,
            language=draft["language"],
            by=access.administrator(),
        )
    except InvalidConfiguration as error:
        if any(name not in form for name in error.errors):
            return _back(connector, form, draft, error)
        show_errors(error, form)
        return _show_connection(connector, form, draft)
    if what == "save_test":
        return go_on_posting("test", configuration_id=configuration.id)
    remarks = connection_test.remarks(connector, settings, service, configuration.id)
    connection_test.tell(gettext("“%(name)s” was created.", name=configuration.name), remarks)
    return go("overview", configuration_id=configuration.id)


def _check(values: dict[str, Any]) -> dict[str, Any]:
    """The rules of step 1 alone; nothing is written."""
    state, errors = access.state(), Errors()
    name = clean_name(values["name"], errors)
    emails = clean_emails(values["contact_emails"], errors)
    editing.connector_of(state, values["type"], errors)
    if name:
        editing.check_name_is_free(state, access.organization_id(), name, None, errors)
    errors.check()
    return {**values, "name": name, "contact_emails": emails}


def _test_unsaved(
    connector: Connector, form: FlaskForm, draft: dict[str, Any], settings: dict[str, Any]
) -> Response:
    report: TestReport | None = None
    limited = not connection_test.may_test()
    if not limited:
        service = Configurations(access.state(), access.organization_id())
        report = service.test_settings(connector.type, settings)
    return _show_connection(connector, form, draft, report=report, is_limited=limited)


def _back(
    connector: Connector,
    form: FlaskForm,
    draft: dict[str, Any],
    error: InvalidConfiguration | None = None,
) -> Response:
    """Step 1 again, with what was typed in both steps, except the secret."""
    state = access.state()
    first = BasicsForm(formdata=None)
    first.offer(state.registry)
    first.fill(draft)
    settings = typed(form, connector, with_secrets=False)
    first.draft.data = seal(state, {**draft, "settings": settings}, _owner())
    if error is not None:
        show_errors(error, first)
    return _show_basics(first)


def _show_basics(form: BasicsForm) -> Response:
    return render(
        "wizard_basics.html", form=form, forms=[form], types=list(access.state().registry)
    )


def _show_connection(
    connector: Connector,
    form: FlaskForm,
    draft: dict[str, Any],
    report: TestReport | None = None,
    is_limited: bool = False,
) -> Response:
    state = access.state()
    service = Configurations(state, access.organization_id())
    remarks = connection_test.Remarks()
    if report is not None:
        remarks = connection_test.remarks(connector, typed(form, connector), service)
    return render(
        "wizard_connection.html",
        form=form,
        forms=[form],
        connector=connector,
        draft=draft,
        sealed=seal(state, {**draft, "settings": None}, _owner()),
        report=report and connection_test.present(report, connector),
        is_limited=is_limited,
        remarks=remarks,
    )
