"""Attach and detach, from the configuration's side and from the objective's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from flask import request
from flask.typing import ResponseReturnValue

from ..database.models import DeliveryState
from ..database.types import UTC
from ..i18n import date as date_words
from ..i18n import gettext, ngettext
from ..services.configurations import Configurations
from ..services.deliveries import Deliveries, DeliveryFilter
from ..services.objectives import Objectives
from . import pages, wording
from .deliveries import page_number
from .forms import ActForm

_LIMIT = 50
#: For more than these, waiting results are not counted objective by objective.
_FEW = 5


#: What a question carries on from the page that led to it.
_CARRIED = ("ids", "all", "q", "past", "since")


def _objectives() -> Objectives:
    return Objectives(pages.state(), pages.organization_id())


def _configurations() -> Configurations:
    return Configurations(pages.state(), pages.organization_id())


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was ticked: some, or all that match a search."""

    ids: Sequence[str]

    @classmethod
    def posted(cls, attached_to: uuid.UUID | None = None) -> Selection:
        form = request.form
        if not form.get("all"):
            return cls(ids=list(dict.fromkeys(form.getlist("ids"))))
        search = form.get("q", "").strip() or None
        return cls(ids=_objectives().ids(search, attached_to=attached_to))


def since_posted() -> datetime | None:
    """From when past results are wanted too; None: from now on."""
    if request.values.get("past") != "yes":
        return None
    try:
        day = date.fromisoformat(request.values.get("since", ""))
    except ValueError:
        return None
    return datetime.combine(day, time(), UTC)


def index() -> ResponseReturnValue:
    """The host's objectives, each with its configurations."""
    search = request.args.get("q", "").strip()[:100]
    offset = page_number("offset")
    found = _objectives().page(search or None, offset, _LIMIT)
    return pages.render(
        "objectives.html",
        rows=found.items,
        total=found.total,
        search=search,
        offset=offset,
        next=_next(found.total, offset),
    )


def _next(total: int, offset: int) -> int | None:
    return offset + _LIMIT if offset + _LIMIT < total else None


def of_configuration(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Attach objectives to one configuration, detach them, or see which are."""
    configuration = _configurations().get(configuration_id)
    form = ActForm()
    problem = None
    if request.method == "POST" and form.validate_on_submit():
        chosen = Selection.posted()
        if chosen.ids:
            return _attach_many(configuration_id, chosen)
        problem = gettext("Choose at least one objective.")
    search = request.args.get("q", "").strip()[:100]
    is_attached = request.args.get("show") == "attached"
    offset = page_number("offset")
    found = _objectives().page(
        search or None, offset, _LIMIT, attached_to=configuration_id if is_attached else None
    )
    attached = {
        row.objective.id
        for row in found.items
        if any(link.configuration_id == configuration_id for link in row.links)
    }
    return pages.render(
        "attach.html",
        configuration=configuration,
        rows=found.items,
        attached=attached,
        total=found.total,
        search=search,
        is_attached=is_attached,
        offset=offset,
        next=_next(found.total, offset),
        form=form,
        forms=[form],
        problem=problem,
        can_backfill=_objectives().can_backfill(),
        today=pages.now().date(),
    )


def _attach_many(configuration_id: uuid.UUID, chosen: Selection) -> ResponseReturnValue:
    by = pages.administrator()
    service = _configurations()
    if len(chosen.ids) == 1:
        before = {link.objective_id for link in service.links(configuration_id)}
        service.attach(configuration_id, chosen.ids[0], by)
        count = 0 if chosen.ids[0] in before else 1
    else:
        count = service.attach_many(configuration_id, chosen.ids, by)
    since = since_posted()
    if since is not None:
        return pages.go_on_posting("backfill", configuration_id=configuration_id)
    pages.notice(_attached_words(count))
    return pages.go("attach", configuration_id=configuration_id, show="attached")


def _attached_words(count: int) -> str:
    if count == 0:
        return gettext("They are attached already.")
    return ngettext(
        "%(n)s objective attached. Its results are sent from now on.",
        "%(n)s objectives attached. Their results are sent from now on.",
        count,
    )


def backfill(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Send past results too, after their number was read."""
    configuration = _configurations().get(configuration_id)
    objectives = _objectives()
    back = pages.url("attach", configuration_id=configuration_id, show="attached")
    chosen, since = Selection.posted(), since_posted()
    if not chosen.ids or since is None:
        return pages.go("attach", configuration_id=configuration_id)
    linked = {link.objective_id for link in _configurations().links(configuration_id)}
    ids = [one for one in chosen.ids if one in linked]

    def act() -> ResponseReturnValue:
        queued = not_sent = 0
        for objective_id in ids:
            done = objectives.backfill(configuration_id, objective_id, since, pages.administrator())
            queued, not_sent = queued + done.queued, not_sent + len(done.not_sent)
        text = ngettext(
            "%(n)s past result is being sent.", "%(n)s past results are being sent.", queued
        )
        if not_sent:
            text += " " + ngettext(
                "%(n)s can't be sent: see Deliveries.",
                "%(n)s can't be sent: see Deliveries.",
                not_sent,
            )
        pages.notice(text, "warn" if not_sent else "ok")
        return pages.go("attach", configuration_id=configuration_id, show="attached")

    count = sum(objectives.count_past(objective_id, since) for objective_id in ids)
    return pages.confirm(
        act,
        title=gettext("Send past results to “%(name)s”?", name=configuration.name),
        facts=[
            ngettext("This sends %(n)s result.", "This sends %(n)s results.", count),
            ngettext(
                "Of %(n)s objective, since %(date)s.",
                "Of %(n)s objectives, since %(date)s.",
                len(ids),
                date=date_words(since),
            ),
            gettext("Results that were sent before are not sent twice."),
        ],
        button=gettext("Send past results"),
        carried=_CARRIED,
        back=back,
    )


def detach(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Detach, after it was said what becomes of the results that wait."""
    service = _configurations()
    configuration = service.get(configuration_id)
    chosen = Selection.posted(attached_to=configuration_id)
    linked = {link.objective_id for link in service.links(configuration_id)}
    ids = [one for one in chosen.ids if one in linked]
    back = pages.url("attach", configuration_id=configuration_id, show="attached")
    if not ids:
        pages.notice(gettext("Choose at least one attached objective."), "warn")
        return pages.go("attach", configuration_id=configuration_id)
    deliveries = Deliveries(pages.state(), pages.organization_id())
    waiting = None
    if len(ids) <= _FEW:
        waiting = sum(deliveries.count(**_waiting(configuration_id, one)) for one in ids)

    def act() -> ResponseReturnValue:
        cancels = request.form.get("waiting") == "cancel"
        cancelled = sum(
            service.detach(configuration_id, one, cancels, pages.administrator()) for one in ids
        )
        text = ngettext("%(n)s objective detached.", "%(n)s objectives detached.", len(ids))
        if cancelled:
            text += " " + ngettext(
                "%(n)s waiting result was cancelled.",
                "%(n)s waiting results were cancelled.",
                cancelled,
            )
        pages.notice(text)
        return pages.go("attach", configuration_id=configuration_id)

    facts = [
        ngettext(
            "New results of %(n)s objective are no longer sent to this LMS.",
            "New results of %(n)s objectives are no longer sent to this LMS.",
            len(ids),
        ),
        gettext("What your LMS has received stays there."),
    ]
    if waiting is not None:
        facts.insert(1, wording.waiting_words(waiting))
    return pages.confirm(
        act,
        title=_detach_title(ids, configuration.name),
        facts=facts,
        button=gettext("Detach"),
        back=back,
        is_danger=True,
        choice="detach",
        carried=_CARRIED,
    )


def _detach_title(ids: Sequence[str], name: str) -> str:
    if len(ids) > 1:
        return ngettext(
            "Detach %(n)s objective from “%(name)s”?",
            "Detach %(n)s objectives from “%(name)s”?",
            len(ids),
            name=name,
        )
    found = pages.state().callbacks.objective(pages.organization_id(), ids[0])
    objective = found.name if found else ids[0]
    return gettext("Detach “%(objective)s” from “%(name)s”?", objective=objective, name=name)


def _waiting(configuration_id: uuid.UUID, objective_id: str) -> DeliveryFilter:
    return DeliveryFilter(
        configuration_id=configuration_id,
        objective_id=objective_id,
        state=DeliveryState.PENDING,
    )


def one(objective_id: str) -> ResponseReturnValue:
    """One objective: attach a configuration, see those attached and their status."""
    objectives = _objectives()
    row = objectives.get(objective_id)
    form = ActForm()
    problem = None
    if request.method == "POST" and form.validate_on_submit():
        chosen = request.form.get("configuration_id", "")
        if chosen:
            return _attach_one(objective_id, chosen)
        problem = gettext("Choose an LMS configuration.")
    everything = _configurations().list()
    attached = {link.configuration_id for link in row.links}
    asked = request.args.get("preview", "")
    of = next((one for one in everything if str(one.id) == asked), None)
    return pages.render(
        "objective.html",
        row=row,
        attached=[one for one in everything if one.id in attached],
        others=[one for one in everything if one.id not in attached],
        preview=of and objectives.preview(of.id, objective_id),
        preview_of=of,
        form=form,
        forms=[form],
        problem=problem,
        can_backfill=objectives.can_backfill(),
        today=pages.now().date(),
    )


def _attach_one(objective_id: str, configuration_id: str) -> ResponseReturnValue:
    link = _configurations().attach(configuration_id, objective_id, pages.administrator())
    if since_posted() is not None:
        return pages.go_on_posting("backfill", configuration_id=link.configuration_id)
    name = _configurations().get(link.configuration_id).name
    pages.notice(gettext("“%(name)s” is attached. Results are sent from now on.", name=name))
    return pages.go("objective", objective_id=objective_id)
