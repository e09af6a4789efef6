"""Create LMS Configuration: step 1 Basic information, step 2 the LMS type's own form. Edit: both
forms on one page.

What was typed in one step travels to the other in hidden inputs, secrets never. Only step 2 writes,
all at once, and all is checked then.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict

from .. import checks
from ..checks import Errors
from ..connectors.base import Connector, Preview
from ..connectors.stages import Stage, TestReport
from ..database.models import Configuration
from ..errors import EditConflict, InvalidConfiguration, TooManyTests
from ..i18n import date, date_time, gettext, language, translate
from ..services import configurations
from ..services.configurations import Configurations
from . import pages, probe
from .forms import BasicsForm, carried, connector_form, show_errors, take_post, typed
from .history import field_label
from .pages import go, go_on_posting, render


def basics() -> ResponseReturnValue:
    """Step 1, and the way from there to step 2."""
    state = pages.state()
    first = BasicsForm()
    first.offer(state.registry)
    if request.method == "GET":
        first.contact_emails.data = pages.administrator().email or ""
        first.language.data = language() if language() in dict(first.language.choices) else "en"
        full = Errors()
        configurations.check_quota(state, pages.organization_id(), full)
        try:
            full.check()
        except InvalidConfiguration as error:
            show_errors(error, first)
        return _show_basics(first)
    connector = state.registry.get(first.type.data or "")
    second = None
    if connector is not None:
        was_there = any(field.name in request.form for field in connector.fields)
        second = connector_form(connector, formdata=request.form if was_there else None)
    if not take_post(first):
        return _show_basics(first, second)
    errors = Errors()
    name = errors.take("name", checks.name, first.name.data)
    errors.take("contact_emails", checks.emails, first.emails)
    configurations.connector_of(state, first.type.data or "", errors)
    if name:
        configurations.check_name_is_free(state, pages.organization_id(), name, None, errors)
    configurations.check_quota(state, pages.organization_id(), errors)
    try:
        errors.check()
    except InvalidConfiguration as error:
        show_errors(error, first)
        return _show_basics(first, second)
    assert connector is not None
    assert second is not None
    return _show_connection(connector, first, second)


def connection(type: str) -> ResponseReturnValue:
    """Step 2: save, save and test, test unsaved, or back."""
    state = pages.state()
    connector = state.registry.get(type)
    if connector is None or "name" not in request.form:
        return go("new")
    first, second = BasicsForm(), connector_form(connector)
    first.type.data = type
    act = request.form.get("act", "save")
    if act == "back":
        return _show_basics(first, second)
    if not take_post(second) or act == "preview":
        return _show_connection(connector, first, second)
    settings, by = typed(second), pages.administrator()
    service = Configurations(state, pages.organization_id())
    try:
        if act == "test":
            remarks = probe.remarks(connector, settings, service)
            steps = service.start_test_of_settings(type, settings, by=by)
            return _show_connection(connector, first, second, steps, remarks=remarks)
        configuration = service.create(
            pages.organization_id(),
            first.name.data or "",
            first.emails,
            type=type,
            settings=settings,
            language=first.language.data or "en",
            by=by,
        )
    except InvalidConfiguration as error:
        show_errors(error, first, second)
        if any(name not in second for name in error.errors):
            return _show_basics(first, second)
        return _show_connection(connector, first, second)
    except TooManyTests as error:
        return _show_connection(connector, first, second, wait=translate(error.sentence))
    if act == "save_test":
        return go_on_posting("test", configuration_id=configuration.id)
    found = probe.remarks(connector, settings, service, configuration.id)
    odd = [
        *found.hints,
        *(
            gettext("“%(name)s” sends to the same address with the same key.", name=name)
            for _, name in found.same
        ),
    ]
    done = gettext("“%(name)s” was created.", name=configuration.name)
    pages.notice(" ".join([done, *odd]), "warn" if odd else "ok")
    is_shown = any(one.hint for one in connector.generated)
    return go("secrets" if is_shown else "overview", configuration_id=configuration.id)


def _show_basics(first: BasicsForm, second: FlaskForm | None = None) -> Response:
    registry = pages.state().registry
    first.offer(registry)
    return render(
        "wizard_basics.html",
        form=first,
        forms=[first],
        types=list(registry),
        hidden=list(carried(second)) if second is not None else [],
    )


def _show_connection(
    connector: Connector,
    first: BasicsForm,
    second: FlaskForm,
    steps: Iterator[Stage | TestReport] | None = None,
    **more: Any,
) -> ResponseReturnValue:
    shown: dict[str, Any] = {
        "form": second,
        "forms": [second],
        "connector": connector,
        "basics": first,
        "hidden": list(carried(first)),
        "previews": _previews(connector, second),
        "is_preview": request.form.get("act") == "preview",
        "wait": None,
        **more,
    }
    if steps is not None:
        return probe.stream("wizard_connection.html", connector.type, steps, **shown)
    return render("wizard_connection.html", **shown)


def _previews(connector: Connector, form: FlaskForm) -> list[Preview]:
    """What would be sent with what stands in the form."""
    return connector.previews(
        connector.draft(typed(form)), pages.state().build_context(pages.now())
    )


def _typed_basics(first: BasicsForm) -> dict[str, Any]:
    return {
        "name": first.name.data or "",
        "contact_emails": first.emails,
        "language": first.language.data,
    }


def _tell_of_secrets(configuration: Configuration, connector: Connector, form: FlaskForm) -> None:
    """Since when there is one and how to replace it; never how long it is or how it begins."""
    if not configuration.secret_set_at:
        return
    when, by = date(configuration.secret_set_at), configuration.secret_set_by
    known = (
        gettext("Secret set on %(date)s by %(name)s.", date=when, name=by)
        if by
        else gettext("Secret set on %(date)s.", date=when)
    )
    how = gettext("Leave it blank to keep it. Type a new one to replace it.")
    for name in connector.secrets_of(configuration.settings):
        form[name].description = f"{known} {how}"


def correction(configuration: Configuration) -> FlaskForm | None:
    """The form whose fields stand beside a cause, to be corrected there."""
    connector = pages.state().registry.get(configuration.type)
    if connector is None:
        return None
    form = connector_form(connector, configuration.settings, formdata=None)
    _tell_of_secrets(configuration, connector, form)
    return form


def edit(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Show, test unsaved, save and test, or say who was faster."""
    state = pages.state()
    service = Configurations(state, pages.organization_id())
    configuration = service.get(configuration_id)
    connector = state.registry.get(configuration.type)
    is_fix = request.form.get("act") == "fix"
    first = BasicsForm(
        formdata=None if is_fix else request.form,
        data={
            "name": configuration.name,
            "type": configuration.type,
            "contact_emails": "\n".join(configuration.contact_emails),
            "language": configuration.language,
        },
    )
    first.offer(state.registry)
    second = connector_form(connector, configuration.settings) if connector else None
    if is_fix and second is not None and connector is not None:
        # Some fields were entered beside the cause; the others are as they are stored.
        stored = connector_form(connector, configuration.settings, formdata=None)
        given = MultiDict({**dict(carried(stored)), **request.form.to_dict()})
        second = connector_form(connector, configuration.settings, formdata=given)
    steps: Iterator[Stage | TestReport] | None = None
    wait, conflict, code = None, None, 200
    is_preview = request.form.get("act") == "preview"
    posted = second if is_fix and second is not None else first
    if request.method == "POST" and take_post(posted) and not is_preview:
        settings = typed(second) if second is not None else None
        if is_fix and settings is not None:
            settings = {name: value for name, value in settings.items() if name in request.form}
        version = request.form.get("lms_version", "")
        try:
            if request.form.get("act") == "test" and settings is not None:
                steps = service.start_test_of_settings(
                    configuration.type, settings, configuration_id, pages.administrator()
                )
            else:
                basics = {} if is_fix else _typed_basics(first)
                service.update(
                    configuration_id,
                    **basics,
                    settings=settings,
                    version=int(version) if version.isdecimal() and len(version) < 10 else 0,
                    by=pages.administrator(),
                )
                return go_on_posting("test", configuration_id=configuration_id)
        except InvalidConfiguration as error:
            show_errors(error, *([first] if second is None else [first, second]))
        except TooManyTests as error:
            wait = translate(error.sentence)
        except EditConflict as error:
            # What was typed stays, and a second save goes over it knowingly.
            configuration, code = service.get(configuration_id), 409
            conflict = gettext(
                "%(name)s saved this configuration on %(time)s, after you opened it.",
                name=error.by,
                time=date_time(error.at),
            )
            fields = ", ".join(field_label(configuration.type, name) for name in error.fields)
            if fields:
                conflict += " " + gettext("Changed: %(fields)s.", fields=fields)
    if connector is not None and second is not None:
        _tell_of_secrets(configuration, connector, second)
    shown: dict[str, Any] = {
        "configuration": configuration,
        "connector": connector,
        "basics": first,
        "form": second,
        "forms": [first] if second is None else [first, second],
        "previews": connector and second is not None and _previews(connector, second),
        "is_preview": is_preview,
        "wait": wait,
        "conflict": conflict,
    }
    if steps is not None:
        return probe.stream("edit.html", configuration.type, steps, **shown)
    return render("edit.html", code=code, **shown)
