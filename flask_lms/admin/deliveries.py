"""Deliveries: the list with its filters, as CSV, one of them from end to end, and what is done to
one, to those ticked or to all that match.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from ..database.models import Configuration, DeliveryState, ReadBack
from ..i18n import N_, gettext, ngettext
from ..services.deliveries import ATTENTION, Deliveries, DeliveryFilter, asked_of
from ..services.steps import MOST_AT_ONCE
from . import csv_files, pages, tasks, wording
from .forms import ActForm
from .pages import as_uuid, clean_text

_LIMIT = 30
_OBJECTIVES = 100
_MOST_TICKED = 500
#: The filters that a list of deliveries carries in its address.
NAMES = (
    "configuration_id", "state", "objective_id", "participant", "reason", "read_back", "since",
    "until", "day",
)  # fmt: skip


def filters(values: Mapping[str, str], configuration_id: uuid.UUID | None = None) -> DeliveryFilter:
    """The filters of a list of deliveries; what is malformed is left out."""
    state, read_back = values.get("state", ""), values.get("read_back")
    states: tuple[DeliveryState, ...] | None = None
    if state == "attention":
        states = ATTENTION
    elif state in {one.value for one in DeliveryState}:
        states = (DeliveryState(state),)
    return DeliveryFilter(
        configuration_id=configuration_id or as_uuid(values.get("configuration_id")),
        states=states,
        objective_id=clean_text(values.get("objective_id")) or None,
        search=clean_text(values.get("participant")) or None,
        reason=clean_text(values.get("reason"), 40) or None,
        read_back=read_back if read_back in {one.value for one in ReadBack} else None,
        since=pages.day(values.get("since")),
        until=pages.end_of_day(values.get("until")),
        day=pages.utc_day(values.get("day")),
    )


def kept(values: Mapping[str, str]) -> dict[str, str]:
    """The filters as they were given, to be carried on."""
    return {name: values[name] for name in NAMES if values.get(name)}


def index() -> ResponseReturnValue:
    """The deliveries of all configurations."""
    return _page(None)


def of_configuration(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """The deliveries of one configuration."""
    return _page(pages.configurations().get(configuration_id))


def _page(configuration: Configuration | None) -> ResponseReturnValue:
    chosen = filters(request.args, configuration.id if configuration else None)
    before = as_uuid(request.args.get("before"))
    service = pages.deliveries()
    found = service.list(before=before, limit=_LIMIT, **chosen)
    everything = pages.configurations().list(with_deleted=True)
    carried = kept(request.args)
    shown: dict[str, Any] = {
        "configuration": configuration,
        "by_id": {one.id: one for one in everything},
        "rows": found.items,
        "next": found.next,
        "searched_to": found.searched_to,
        "is_first": before is None,
        "kept": {**carried, "configuration_id": str(configuration.id)}
        if configuration
        else carried,
        "is_filtered": bool(carried),
        "segments": [],
    }
    reasons: list[tuple[str, str]] = []
    if not chosen.get("search"):  # each look for a part of a name takes its time
        ids = [one.id for one in everything if configuration in (None, one)]
        counted = service.segments(ids, **chosen)
        said = wording.attention_words(counted.attention)
        shown |= {
            "segments": wording.segments(counted, request.args.get("state", "")),
            "every": pages.SOON if counted.waiting else pages.LATER,
            "said": f"{wording.waits_words(counted.waiting)} {said}",
        }
        reasons = wording.reasons(counted.reasons, chosen.get("reason"), pages.state().registry)
    if pages.is_live():
        return pages.render("deliveries.html", **shown)
    objectives = pages.objectives().page(limit=_OBJECTIVES)
    today = pages.now().date()
    return pages.render(
        "deliveries.html",
        **shown,
        configurations=[one for one in everything if one.deleted_at is None],
        under_way=tasks.under_way(),
        objectives=[row.objective for row in objectives.items],
        objectives_total=objectives.total,
        reasons=reasons,
        presets=[
            (words, (today - timedelta(days=days)).isoformat())
            for words, days in (
                (gettext("Today"), 0),
                (ngettext("%(n)s day", "%(n)s days", 7), 6),
                (ngettext("%(n)s day", "%(n)s days", 30), 29),
            )
        ],
        act=ActForm(),
    )


def as_csv() -> ResponseReturnValue:
    """All that match, as a file."""
    state = pages.state()
    platform = state.settings.platform_name

    def rows() -> Iterator[Sequence[object]]:
        # Here, as the host may have ended its session before the first line is read.
        names = {one.id: one for one in pages.configurations().list(with_deleted=True)}
        for one in pages.deliveries().iterate(**filters(request.args)):
            owner = names.get(one.configuration_id)
            type = owner.type if owner else ""
            outcome = wording.outcome_badge(one.outcome)
            yield (
                one.recorded_at,
                one.participant_name,
                one.participant_id,
                one.objective_name,
                one.objective_id,
                outcome and outcome.label,
                wording.score_words(one.score),
                gettext(wording.KINDS.get(one.kind, one.kind)),
                wording.delivery_badge(one.state).label,
                wording.delivery_reason(one, type, state.registry, platform),
                owner.name if owner else "",
                one.attempts,
                one.settled_at,
                one.result_id,
                one.statement_id,
                one.reason,
                one.read_back and wording.read_back_badge(one.read_back).label,
                one.read_back_at,
            )

    head = [
        gettext("Recorded (UTC)"), gettext("Participant"), gettext("Participant ID"),
        gettext("Objective"), gettext("Objective ID"), gettext("Result"), gettext("Score"),
        gettext("Kind"), gettext("Status"), gettext("Reason"), gettext("LMS configuration"),
        gettext("Attempts"), gettext("Settled (UTC)"), gettext("Result ID"),
        gettext("Statement ID"), gettext("Code"), gettext("In the LMS"),
        gettext("Looked up in the LMS (UTC)"),
    ]  # fmt: skip
    return csv_files.stream("deliveries", head, rows())


def one(delivery_id: uuid.UUID) -> ResponseReturnValue:
    """What happened to one delivery, step by step."""
    state, service = pages.state(), pages.deliveries()
    delivery = service.get(delivery_id)
    configuration = pages.configurations().get(delivery.configuration_id, with_deleted=True)

    attempts = []
    for attempt in service.attempts(delivery):
        # Why the request failed, by what it left behind.
        facts = {"http_status": attempt.http_status, "words": (attempt.words or "")[:200]}
        why = state.registry.explain(configuration.type, attempt.cause, facts)[0]
        attempts.append((attempt, why))

    return pages.render(
        "delivery.html",
        delivery=delivery,
        configuration=configuration,
        attempts=attempts,
        every=pages.SOON
        if delivery.state is DeliveryState.PENDING and not configuration.is_paused
        else pages.LATER,
        said=wording.delivery_badge(delivery.state).label,
        sentence=wording.delivery_sentence(
            delivery, configuration, state.registry, state.settings.platform_name, pages.now()
        ),
        act=ActForm(),
    )


@dataclass(frozen=True, kw_only=True)
class _Act:
    """An act on deliveries.

    :param question: in words, for how many. :param facts: sentences on what follows.
    :param task: what a worker is asked when it is about many.
    :param do: does it and says what was done.
    """

    button: str
    question: Callable[[int], str]
    facts: tuple[str, ...]
    nothing: str
    count: Callable[..., int]
    task: str
    do: Callable[[Deliveries, DeliveryFilter], str]
    is_danger: bool = False


def _check_again(service: Deliveries, chosen: DeliveryFilter) -> str:
    done = service.check_again(by=pages.administrator(), **chosen)
    text = ngettext(
        "%(n)s result is being sent now.", "%(n)s results are being sent now.", done.queued
    )
    if done.still_not_sent:
        text += " " + ngettext(
            "%(n)s still can't be sent.", "%(n)s still can't be sent.", done.still_not_sent
        )
    return text


_ACTS = {
    "send-again": _Act(
        button=N_("Send again"),
        question=lambda n: ngettext("Send %(n)s result again?", "Send %(n)s results again?", n),
        facts=(
            N_("The same statements are sent with the same ids."),
            N_("An LMS that has one already keeps it and stores it once."),
        ),
        nothing=N_("None of these can be sent again: they wait already, or were never built."),
        count=Deliveries.count_sendable,
        task="send_again",
        do=lambda service, chosen: ngettext(
            "%(n)s result is being sent again.",
            "%(n)s results are being sent again.",
            service.send_again(by=pages.administrator(), **chosen),
        ),
    ),
    "check-again": _Act(
        button=N_("Check again"),
        question=lambda n: ngettext("Check %(n)s result again?", "Check %(n)s results again?", n),
        facts=(
            N_("The participant is looked up again. What can be sent now is sent at once."),
            N_("What still can't be sent stays here, with its reason."),
        ),
        nothing=N_("There is nothing to check again."),
        count=Deliveries.count_checkable,
        task="check_again",
        do=_check_again,
    ),
    "cancel": _Act(
        button=N_("Cancel sending"),
        question=lambda n: ngettext("Cancel %(n)s result?", "Cancel %(n)s results?", n),
        facts=(
            N_("They are not sent to the LMS."),
            N_("You can send them again later, as long as their content is kept."),
        ),
        nothing=N_("Nothing here waits to be sent."),
        count=Deliveries.count_cancellable,
        task="cancel",
        do=lambda service, chosen: ngettext(
            "%(n)s result was cancelled.",
            "%(n)s results were cancelled.",
            service.cancel(by=pages.administrator(), **chosen),
        ),
        is_danger=True,
    ),
}


def confirm_act(act: str) -> ResponseReturnValue:
    """How many it concerns and what follows; then the act."""
    spec, service, values = _ACTS[act], pages.deliveries(), request.values
    carried = kept(values)
    if only := as_uuid(values.get("only")):
        chosen = DeliveryFilter(ids=[only])
    else:
        chosen = filters(values)
        if not values.get("all"):
            ids = [one for text in values.getlist("ids") if (one := as_uuid(text))]
            if not ids:
                pages.notice(gettext("Choose at least one result."), "warn")
                return pages.go("deliveries", **carried)
            chosen["ids"] = ids[:_MOST_TICKED]
        elif not any(chosen.values()):
            # Whoever means all of them says so: an act without a filter is refused.
            chosen["states"] = list(DeliveryState)

    count, ticked = spec.count(service, **chosen), chosen.get("ids") or ()
    if not count:
        pages.notice(gettext(spec.nothing), "warn")
        return pages.go("deliveries", **carried)

    def do() -> ResponseReturnValue:
        if count > MOST_AT_ONCE:
            asked = asked_of(pages.state(), pages.organization_id(), spec.task, chosen)
            return tasks.hand_over(
                spec.task,
                asked,
                configuration_id=as_uuid(str(chosen.get("configuration_id"))),
                total=count,
            )
        pages.notice(spec.do(service, chosen))
        if len(ticked) == 1:
            return pages.go("delivery", delivery_id=ticked[0])
        return pages.go("deliveries", **carried)

    is_one = count == 1 and len(ticked) == 1
    if is_one and not spec.is_danger and ActForm().validate_on_submit():
        return do()
    return pages.confirm(
        do,
        title=spec.question(count),
        facts=[gettext(fact) for fact in spec.facts],
        button=gettext(spec.button),
        back=pages.url("deliveries", **carried),
        is_danger=spec.is_danger,
        carried=("ids", "only", "all", *NAMES),
    )
