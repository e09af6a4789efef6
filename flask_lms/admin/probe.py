"""Connection test: each stage with its outcome, what the LMS said, and what to do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from ..connectors.base import Connector, Stage, TestReport
from ..database.models import Configuration
from ..errors import InvalidConfiguration, NotFound
from ..i18n import gettext, translate
from ..services import connection_test
from ..services.configurations import Configurations
from . import pages
from .forms import ActForm, connector_form, typed
from .wording import Badge


@dataclass(frozen=True, kw_only=True)
class Report:
    """A test report in words.

    :param lead: the outcome in a sentence.
    """

    is_connected: bool
    lead: str
    stages: Sequence[tuple[Stage, Badge]]
    remedies: Sequence[str] = ()
    words: str | None = None
    stored: str | None = None


@dataclass(frozen=True, kw_only=True)
class Remarks:
    """What is odd but allowed in settings.

    :param hints: sentences.
    :param same: other configurations with the same address and key.
    """

    hints: Sequence[str] = ()
    same: Sequence[Configuration] = ()


def present(report: TestReport, type: str, done: str = "") -> Report:
    """The report as the page shows it.

    :param done: the sentence when all went well; default: that of a connection test.
    """
    badges = {
        "ok": Badge(tone="ok", icon="check", label=gettext("OK")),
        "failed": Badge(tone="bad", icon="cross", label=gettext("Failed")),
        "skipped": Badge(tone="off", icon="minus", label=gettext("Skipped")),
    }
    lead, remedies = pages.state().registry.explain(type, report.cause, report.facts)
    return Report(
        is_connected=report.is_connected,
        lead=lead or done or gettext("Connected. Nothing was stored in your LMS."),
        stages=[(stage, badges[stage.state.value]) for stage in report.stages],
        remedies=remedies,
        words=None if report.words in [stage.words for stage in report.stages] else report.words,
        stored=report.stored,
    )


def remarks(
    connector: Connector,
    values: Mapping[str, Any],
    service: Configurations,
    except_id: uuid.UUID | None = None,
) -> Remarks:
    """Look at settings as they were typed."""
    try:
        cleaned = connector.clean(
            values, allow_http=pages.state().settings.allow_http, has_secrets=True
        )
    except InvalidConfiguration:
        return Remarks()
    same = service.same_target(pages.organization_id(), connector.type, cleaned.settings, except_id)
    return Remarks(hints=[translate(hint) for hint in cleaned.hints], same=same)


def page(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """The test of a saved configuration: works paused and broken."""
    state = pages.state()
    service = Configurations(state, pages.organization_id())
    configuration = service.get(configuration_id)
    connector = state.registry.get(configuration.type)
    form = ActForm()
    report, is_limited, odd = None, False, Remarks()
    if request.method == "POST" and form.validate_on_submit():
        is_limited = connection_test.is_limited(state, pages.administrator())
        if not is_limited:
            done = service.test(configuration_id, pages.administrator())
            report = present(done, configuration.type)
            configuration = service.get(configuration_id)
        if connector is not None:
            # "Save and test" posts on to here, so what was typed is at hand.
            was_saved = "act" in request.form
            values = typed(connector_form(connector)) if was_saved else None
            odd = remarks(connector, values or configuration.settings, service, configuration.id)
    return pages.render(
        "test.html",
        form=form,
        forms=[form],
        configuration=configuration,
        report=report,
        is_limited=is_limited,
        was_saved="act" in request.form,
        remarks=odd,
        has_sample=connector is not None and connector.has_sample,
    )


def sample(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Send a sample result, after it was asked for knowingly."""
    state = pages.state()
    service = Configurations(state, pages.organization_id())
    configuration = service.get(configuration_id)
    connector = state.registry.get(configuration.type)
    if connector is None or not connector.has_sample:
        raise NotFound("This LMS type has no sample result.")

    def act() -> ResponseReturnValue:
        report = None
        is_limited = connection_test.is_limited(state, pages.administrator())
        if not is_limited:
            done = gettext("Your LMS took the sample result.")
            found = service.send_sample(configuration_id, pages.administrator())
            report = present(found, configuration.type, done)
        return pages.render(
            "test.html",
            form=ActForm(),
            configuration=service.get(configuration_id),
            report=report,
            is_limited=is_limited,
            was_saved=False,
            remarks=Remarks(),
            has_sample=True,
        )

    return pages.confirm(
        act,
        title=gettext("Send a sample result to “%(name)s”?", name=configuration.name),
        facts=[
            gettext("Your LMS gets one result of an invented person, Jane Doe, marked as a test."),
            gettext("It is read back, to show how your LMS stored it, and then taken back."),
            gettext("Some LMSs keep the person, or don't take results back."),
        ],
        button=gettext("Send a sample result"),
        back=pages.url("test", configuration_id=configuration_id),
    )
