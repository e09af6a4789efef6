"""Deliveries: the list with its filters, as CSV, and one of them from end to end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from flask import request
from flask.typing import ResponseReturnValue

from ..connectors import Cause
from ..i18n import gettext
from ..models import Attempt, Configuration
from ..models import State as DeliveryState
from ..services.configurations import Configurations
from ..services.deliveries import Deliveries
from ..services.objectives import Objectives
from . import access, csv_files, pages, presenters
from .forms import ActForm
from .query import as_uuid, filters, kept

_LIMIT = 30
_OBJECTIVES = 100


def _deliveries() -> Deliveries:
    return Deliveries(access.state(), access.organization_id())


def _configurations() -> Configurations:
    return Configurations(access.state(), access.organization_id())


def index() -> ResponseReturnValue:
    """The deliveries of all configurations."""
    return _page(None)


def of_configuration(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """The deliveries of one configuration."""
    return _page(_configurations().get(configuration_id))


def _page(configuration: Configuration | None) -> ResponseReturnValue:
    chosen = filters(request.args, configuration.id if configuration else None)
    before = as_uuid(request.args.get("before"))
    found = _deliveries().list(chosen, before=before, limit=_LIMIT)
    everything = _configurations().list(with_deleted=True)
    by_id = {one.id: one for one in everything}
    objectives = Objectives(access.state(), access.organization_id()).page(limit=_OBJECTIVES)
    return pages.render(
        "deliveries.html",
        configuration=configuration,
        configurations=[one for one in everything if one.deleted_at is None],
        by_id=by_id,
        rows=found.items,
        next=found.next,
        searched_to=found.searched_to,
        is_first=before is None,
        values=request.args,
        kept=kept({**request.args, **_owner(configuration)}),
        is_filtered=bool(kept(request.args)),
        states=list(DeliveryState),
        objectives=[row.objective for row in objectives.items],
        objectives_total=objectives.total,
        reasons=reasons(),
        act=ActForm(),
    )


def _owner(configuration: Configuration | None) -> dict[str, str]:
    return {"configuration_id": str(configuration.id)} if configuration else {}


def reasons() -> list[tuple[str, str]]:
    """Why deliveries can be rejected or not sent: (code, words without facts)."""
    found: dict[str, Cause] = {}
    for connector in access.state().registry:
        found.update((c.code, c) for c in connector.causes.values() if c.status is None)
    return [(code, presenters.in_general(cause).rstrip(".")) for code, cause in found.items()]


def as_csv() -> ResponseReturnValue:
    """All that match, as a file."""
    state = access.state()
    platform = state.settings.platform_name

    def rows() -> Iterator[Sequence[object]]:
        # Here, as the host may have ended its session before the first line is read.
        names = {one.id: one for one in _configurations().list(with_deleted=True)}
        for one in _deliveries().iterate(filters(request.args)):
            owner = names.get(one.configuration_id)
            type = owner.type if owner else ""
            yield (
                one.recorded_at,
                one.state.value,
                owner.name if owner else "",
                one.objective_id,
                one.objective_name,
                one.participant_id,
                one.participant_name,
                one.result_id,
                one.statement_id,
                one.attempts,
                one.settled_at,
                one.reason,
                presenters.delivery_reason(one, type, state.registry, platform),
            )

    head = [
        gettext("Recorded (UTC)"), gettext("Status"), gettext("LMS configuration"),
        gettext("Objective ID"), gettext("Objective"), gettext("Participant ID"),
        gettext("Participant"), gettext("Result ID"), gettext("Statement ID"),
        gettext("Attempts"), gettext("Settled (UTC)"), gettext("Code"), gettext("Reason"),
    ]  # fmt: skip
    return csv_files.stream("deliveries", head, rows())


def one(delivery_id: uuid.UUID) -> ResponseReturnValue:
    """What happened to one delivery, step by step."""
    state = access.state()
    service = _deliveries()
    delivery = service.get(delivery_id)
    configuration = _configurations().get(delivery.configuration_id, with_deleted=True)
    attempts = service.attempts(delivery)
    return pages.render(
        "delivery.html",
        delivery=delivery,
        configuration=configuration,
        attempts=[(one, _why(one, configuration)) for one in attempts],
        sentence=presenters.delivery_sentence(
            delivery, configuration, state.registry, state.settings.platform_name, pages.now()
        ),
        connector=state.registry.get(configuration.type),
        act=ActForm(),
    )


def _why(attempt: Attempt, configuration: Configuration) -> str | None:
    """Why a request failed, by what it left behind."""
    registry = access.state().registry
    connector = registry.get(configuration.type)
    cause = registry.cause(configuration.type, attempt.cause)
    if cause is None:
        return presenters.cause_sentence(None, attempt.cause, {})
    host = connector.destination(configuration.settings) if connector else configuration.name
    words = (attempt.words or "…")[:200]
    return presenters.in_general(
        cause, host=host, words=words, http_status=attempt.http_status or "…"
    )
