"""Connection test: each stage as it ends, what the LMS said, and what to do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import get_template_attribute, request
from flask.typing import ResponseReturnValue

from ..connectors.base import Connector
from ..connectors.stages import Stage, StageState, TestReport
from ..errors import InvalidConfiguration, NotFound, TooManyTests
from ..i18n import gettext, translate
from ..services.configurations import Configurations
from . import pages
from .forms import ActForm, connector_form, typed
from .wording import Badge


@dataclass(frozen=True, kw_only=True)
class Remarks:
    """What is odd but allowed in settings.

    :param hints: sentences.
    :param same: id and name of other configurations with the same address and key.
    """

    hints: Sequence[str] = ()
    same: Sequence[tuple[uuid.UUID, str]] = ()


def stream(
    template: str,
    type: str,
    steps: Iterator[Stage | TestReport],
    done: str = "",
    **values: Any,
) -> ResponseReturnValue:
    """The page of a test that has begun: each stage as it ends, then what came of it.

    :param done: the sentence when all went well; default: that of a connection test.
    """
    badges = {
        StageState.OK: Badge(tone="ok", icon="check", label=gettext("OK")),
        StageState.FAILED: Badge(tone="bad", icon="cross", label=gettext("Failed")),
        StageState.SKIPPED: Badge(tone="off", icon="minus", label=gettext("Skipped")),
    }
    show_stage = get_template_attribute("lms/_test.html", "stage")
    show_outcome = get_template_attribute("lms/_test.html", "outcome")

    def pieces() -> Iterator[str]:
        said = []
        yield '<ol class="flms-timeline">'
        for step in steps:
            if isinstance(step, Stage):
                said.append(step.words)
                yield show_stage(step, badges[step.state])
                continue
            lead, remedies = pages.state().registry.explain(type, step.cause, step.facts)
            lead = lead or done or gettext("Connected. Nothing was stored in your LMS.")
            words = None if step.is_connected or step.words in said else step.words
            yield "</ol>"
            yield show_outcome(
                step.is_connected, lead, remedies, words, step.stored, values, step.cause
            )

    return pages.stream(template, pieces(), **values)


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
    return Remarks(
        hints=[translate(hint) for hint in cleaned.hints],
        same=[(one.id, one.name) for one in same],
    )


def page(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """The test of a saved configuration: works paused and broken."""
    state = pages.state()
    service = Configurations(state, pages.organization_id())
    configuration = service.get(configuration_id)
    connector = state.registry.get(configuration.type)
    form = ActForm()
    shown: dict[str, Any] = {
        "form": form,
        "forms": [form],
        "configuration": configuration,
        "configuration_id": configuration_id,
        "was_saved": "act" in request.form,
        "has_sample": connector is not None and connector.has_sample,
        "wait": None,
    }
    if request.method == "POST" and form.validate_on_submit():
        type = configuration.type
        if connector is not None:
            # "Save and test" posts on to here, so what was typed is at hand.
            values = typed(connector_form(connector)) if shown["was_saved"] else None
            shown["remarks"] = remarks(
                connector, values or configuration.settings, service, configuration_id
            )
        try:
            steps = service.start_test(configuration_id, pages.administrator())
        except TooManyTests as error:
            shown["wait"] = translate(error.sentence)
        else:
            return stream("test.html", type, steps, **shown)
    return pages.render("test.html", **shown)


def sample(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Send a sample result, after it was asked for knowingly."""
    state = pages.state()
    service = Configurations(state, pages.organization_id())
    configuration = service.get(configuration_id)
    type, name = configuration.type, configuration.name
    connector = state.registry.get(type)
    if connector is None or not connector.has_sample:
        raise NotFound("This LMS type has no sample result.")

    def act() -> ResponseReturnValue:
        form = ActForm()
        shown: dict[str, Any] = {
            "form": form,
            "forms": [form],
            "configuration": configuration,
            "configuration_id": configuration_id,
            "was_saved": False,
            "has_sample": True,
            "wait": None,
        }
        try:
            steps = service.start_sample(configuration_id, pages.administrator())
        except TooManyTests as error:
            shown["wait"] = translate(error.sentence)
            return pages.render("test.html", **shown)
        done = gettext("Your LMS took the sample result.")
        return stream("test.html", type, steps, done, **shown)

    return pages.confirm(
        act,
        title=gettext("Send a sample result to “%(name)s”?", name=name),
        facts=[
            gettext("Your LMS gets one result of an invented person, Jane Doe, marked as a test."),
            gettext("It is read back, to show how your LMS stored it, and then taken back."),
            gettext("Some LMSs keep the person, or don't take results back."),
        ],
        button=gettext("Send a sample result"),
        back=pages.url("test", configuration_id=configuration_id),
    )
