"""Help: what is sent, what the statuses mean, and every cause with what to do."""

from __future__ import annotations

from collections.abc import Iterator

from flask.typing import ResponseReturnValue
from wtforms.csrf.core import CSRFTokenField

from ..connectors.base import TRANSPORT_CAUSES, BuildContext, Cause, Connector
from ..database.models import DeliveryState, Status
from . import pages, wording
from .forms import connector_form


def page() -> ResponseReturnValue:
    """One page to be printed or searched."""
    state = pages.state()
    context = BuildContext(
        activity_base_url=state.settings.activity_base_url,
        platform_name=state.settings.platform_name,
        now=pages.now(),
    )
    return pages.render(
        "help.html",
        examples=[(one, _sample(one, context)) for one in state.registry],
        statuses=[wording.health_badge(status) for status in Status],
        states=[wording.delivery_badge(state) for state in DeliveryState],
        causes=[*_causes()],
        platform=state.settings.platform_name,
        retention_days=state.settings.retention_days,
    )


def _sample(connector: Connector, context: BuildContext) -> str:
    form = connector_form(connector, formdata=None)
    values = {
        field.short_name: field.data for field in form if not isinstance(field, CSRFTokenField)
    }
    return connector.sample(values, context)


def _causes() -> Iterator[tuple[str, str, list[str]]]:
    """(code, sentence, what to do) of everything that can be wrong."""
    seen: set[str] = set()
    for connector in pages.state().registry:
        for cause in (*TRANSPORT_CAUSES.values(), *connector.causes.values()):
            if cause.code not in seen:
                seen.add(cause.code)
                yield cause.code, _general(cause), [_fill(step) for step in cause.remedy]


def _general(cause: Cause) -> str:
    settings = pages.state().settings
    seconds = {
        "connect_timeout": settings.connect_timeout_seconds,
        "timeout": settings.read_timeout_seconds,
    }.get(cause.code, 0)
    return wording.in_general(
        cause, seconds=f"{seconds:g}", platform=settings.platform_name, participant="E001"
    )


def _fill(message: str) -> str:
    return wording.fill(message, {"platform": pages.state().settings.platform_name})
