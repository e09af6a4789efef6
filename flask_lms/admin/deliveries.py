"""What the address of a page asks for: filters, pages of lists, dates."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from flask import request
from flask.typing import ResponseReturnValue

from ..connectors.base import Cause
from ..database.models import Attempt, Configuration, DeliveryState
from ..database.types import UTC
from ..i18n import N_, gettext, ngettext
from ..services.configurations import Configurations
from ..services.deliveries import Deliveries, Filters
from ..services.objectives import Objectives
from . import csv_files, pages, wording
from .forms import ActForm


def page_number(name: str) -> int:
    """A whole number of the query, 0 when it isn't one."""
    text = request.args.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 8 else 0


def as_uuid(text: str | None) -> uuid.UUID | None:
    """An id, None when it isn't one."""
    try:
        return uuid.UUID(text or "")
    except ValueError:
        return None


def day(text: str | None) -> datetime | None:
    """Midnight UTC of an ISO date, None when it isn't one."""
    try:
        return datetime.combine(date.fromisoformat(text or ""), time(), UTC)
    except ValueError:
        return None


#: The filters that a list of deliveries carries in its address.
NAMES = (
    "configuration_id", "state", "objective_id", "participant", "reason", "since", "until",
)  # fmt: skip


def filters(values: Mapping[str, str], configuration_id: uuid.UUID | None = None) -> Filters:
    """The filters of a list of deliveries; what is malformed is left out."""
    state = values.get("state", "")
    states: tuple[DeliveryState, ...] = ()
    if state == "attention":
        states = (DeliveryState.REJECTED, DeliveryState.NOT_SENT)
    elif state in {one.value for one in DeliveryState}:
        states = (DeliveryState(state),)
    until = day(values.get("until"))
    return Filters(
        configuration_id=configuration_id or as_uuid(values.get("configuration_id")),
        states=states,
        objective_id=values.get("objective_id", "").strip()[:255] or None,
        participant=values.get("participant", "").strip()[:255] or None,
        reason=values.get("reason", "").strip()[:40] or None,
        since=day(values.get("since")),
        until=until and until + timedelta(days=1),
    )


def kept(values: Mapping[str, str]) -> dict[str, str]:
    """The filters as they were given, to be carried on."""
    return {name: values[name] for name in NAMES if values.get(name)}


# -- Deliveries: the list with its filters, as CSV, and one of them from end to end.

_LIMIT = 30
_OBJECTIVES = 100


def _deliveries() -> Deliveries:
    return Deliveries(pages.state(), pages.organization_id())


def _configurations() -> Configurations:
    return Configurations(pages.state(), pages.organization_id())


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
    objectives = Objectives(pages.state(), pages.organization_id()).page(limit=_OBJECTIVES)
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
    for connector in pages.state().registry:
        found.update((c.code, c) for c in connector.causes.values() if c.status is None)
    return [(code, cause.sentence_for({}).rstrip(".")) for code, cause in found.items()]


def as_csv() -> ResponseReturnValue:
    """All that match, as a file."""
    state = pages.state()
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
                wording.delivery_reason(one, type, state.registry, platform),
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
    state = pages.state()
    service = _deliveries()
    delivery = service.get(delivery_id)
    configuration = _configurations().get(delivery.configuration_id, with_deleted=True)
    attempts = service.attempts(delivery)
    return pages.render(
        "delivery.html",
        delivery=delivery,
        configuration=configuration,
        attempts=[(one, _why(one, configuration)) for one in attempts],
        sentence=wording.delivery_sentence(
            delivery, configuration, state.registry, state.settings.platform_name, pages.now()
        ),
        connector=state.registry.get(configuration.type),
        act=ActForm(),
    )


def _why(attempt: Attempt, configuration: Configuration) -> str | None:
    """Why a request failed, by what it left behind."""
    facts = {"http_status": attempt.http_status, "words": (attempt.words or "")[:200]}
    return pages.state().registry.explain(configuration.type, attempt.cause, facts)[0]


# -- Send again, Check again, Cancel: for one, the ticked or all matching, with the count first.

_MOST_TICKED = 500


@dataclass(frozen=True, kw_only=True)
class _Act:
    """An act on deliveries in words.

    :param question: singular and plural. :param facts: sentences on what follows.
    """

    button: str
    question: tuple[str, str]
    facts: tuple[str, ...]
    nothing: str
    count: Callable[[Deliveries, Filters], int]
    do: Callable[[Deliveries, Filters], str]
    is_danger: bool = False


def _send_again(service: Deliveries, chosen: Filters) -> str:
    n = service.send_again(chosen, pages.administrator())
    return ngettext("%(n)s result is being sent again.", "%(n)s results are being sent again.", n)


def _check_again(service: Deliveries, chosen: Filters) -> str:
    done = service.check_again(chosen, pages.administrator())
    text = ngettext(
        "%(n)s result is being sent now.", "%(n)s results are being sent now.", done.queued
    )
    if done.still_not_sent:
        text += " " + ngettext(
            "%(n)s still can't be sent.", "%(n)s still can't be sent.", done.still_not_sent
        )
    return text


def _cancel(service: Deliveries, chosen: Filters) -> str:
    n = service.cancel(chosen, pages.administrator())
    return ngettext("%(n)s result was cancelled.", "%(n)s results were cancelled.", n)


_ACTS = {
    "send-again": _Act(
        button=N_("Send again"),
        question=(N_("Send %(n)s result again?"), N_("Send %(n)s results again?")),
        facts=(
            N_("The same statements are sent with the same ids."),
            N_("An LMS that has one already keeps it and stores it once."),
        ),
        nothing=N_("None of these can be sent again: they wait already, or were never built."),
        count=Deliveries.count_sendable,
        do=_send_again,
    ),
    "check-again": _Act(
        button=N_("Check again"),
        question=(N_("Check %(n)s result again?"), N_("Check %(n)s results again?")),
        facts=(
            N_("The participant is looked up again. What can be sent now is sent at once."),
            N_("What still can't be sent stays here, with its reason."),
        ),
        nothing=N_("There is nothing to check again."),
        count=Deliveries.count_checkable,
        do=_check_again,
    ),
    "cancel": _Act(
        button=N_("Cancel sending"),
        question=(N_("Cancel %(n)s result?"), N_("Cancel %(n)s results?")),
        facts=(
            N_("They are not sent to the LMS."),
            N_("You can send them again later, as long as their content is kept."),
        ),
        nothing=N_("Nothing here waits to be sent."),
        count=Deliveries.count_cancellable,
        do=_cancel,
        is_danger=True,
    ),
}


def chosen_filters() -> Filters | None:
    """The ticked ones, or with ``all`` everything that matches; None: nothing was ticked."""
    values = request.values
    found = filters(values)
    only = as_uuid(values.get("only"))
    if only is not None:
        return Filters(ids=[only])
    if values.get("all"):
        return found
    ids = [one for text in values.getlist("ids") if (one := as_uuid(text))]
    return replace(found, ids=ids[:_MOST_TICKED]) if ids else None


def confirm_act(act: str) -> ResponseReturnValue:
    """How many it concerns and what follows; then the act."""
    spec = _ACTS[act]
    service = Deliveries(pages.state(), pages.organization_id())
    carried = kept(request.values)
    back = pages.url("deliveries", **carried)
    chosen = chosen_filters()
    if chosen is None:
        pages.notice(gettext("Choose at least one result."), "warn")
        return pages.go("deliveries", **carried)
    count = spec.count(service, chosen)
    if not count:
        pages.notice(gettext(spec.nothing), "warn")
        return pages.go("deliveries", **carried)

    def do() -> ResponseReturnValue:
        pages.notice(spec.do(service, chosen))
        if len(chosen.ids) == 1:
            return pages.go("delivery", delivery_id=chosen.ids[0])
        return pages.go("deliveries", **carried)

    if (
        count == 1
        and len(chosen.ids) == 1
        and not spec.is_danger
        and ActForm().validate_on_submit()
    ):
        return do()
    return pages.confirm(
        do,
        title=ngettext(*spec.question, count),
        facts=[gettext(fact) for fact in spec.facts],
        button=gettext(spec.button),
        back=back,
        is_danger=spec.is_danger,
        carried=("ids", "only", "all", *NAMES),
    )
