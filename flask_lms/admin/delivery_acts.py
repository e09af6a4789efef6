"""Send again, Check again, Cancel: for one, the ticked or all matching, with the count first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from flask import request
from flask.typing import ResponseReturnValue

from ..i18n import gettext, ngettext
from ..services.deliveries import Deliveries, Filters
from ..words import N_
from . import access, pages
from .configurations import confirm
from .forms import ActForm
from .query import as_uuid, filters, kept

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
    n = service.send_again(chosen, access.administrator())
    return ngettext("%(n)s result is being sent again.", "%(n)s results are being sent again.", n)


def _check_again(service: Deliveries, chosen: Filters) -> str:
    done = service.check_again(chosen, access.administrator())
    text = ngettext(
        "%(n)s result is being sent now.", "%(n)s results are being sent now.", done.queued
    )
    if done.still_not_sent:
        text += " " + ngettext(
            "%(n)s still can't be sent.", "%(n)s still can't be sent.", done.still_not_sent
        )
    return text


def _cancel(service: Deliveries, chosen: Filters) -> str:
    n = service.cancel(chosen, access.administrator())
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
    service = Deliveries(access.state(), access.organization_id())
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
    return confirm(
        do,
        title=ngettext(*spec.question, count),
        facts=[gettext(fact) for fact in spec.facts],
        button=gettext(spec.button),
        back=back,
        is_danger=spec.is_danger,
    )
