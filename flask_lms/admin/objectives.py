"""Attach and detach, from the configuration's side and from the objective's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from flask import request
from flask.typing import ResponseReturnValue

from ..database.models import DeliveryState
from ..errors import InvalidConfiguration, NotFound
from ..i18n import date, gettext, ngettext
from ..services.steps import MOST_AT_ONCE
from . import pages, tasks, wording
from .forms import ActForm, told
from .pages import clean_text

_LIMIT = 50
#: For more than these, waiting results are not counted objective by objective.
_FEW = 5
#: Past results are counted up to so many while somebody waits.
_MOST_COUNTED = 2000
#: What a question carries on from the page that led to it.
_CARRIED = ("ids", "all", "q", "past", "since")


def _posted(attached_to: uuid.UUID | None = None) -> Sequence[str]:
    """The ids of what was ticked: some, or all that match a search."""
    form = request.form
    if form.get("all"):
        search = clean_text(form.get("q")) or None
        return pages.objectives().ids(search, attached_to=attached_to)
    return [one for one in dict.fromkeys(form.getlist("ids")) if clean_text(one)]


def _since_posted() -> datetime | None:
    """From when past results are wanted too; None: from now on."""
    return pages.day(request.values.get("since")) if request.values.get("past") == "yes" else None


def index() -> ResponseReturnValue:
    """The host's objectives, each with its configurations."""
    search = clean_text(request.args.get("q"), 100)
    offset = pages.page_number("offset")
    found = pages.objectives().page(search or None, offset, _LIMIT)
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
    service, objectives = pages.configurations(), pages.objectives()
    configuration = service.get(configuration_id)
    form = ActForm()
    problem = None
    if request.method == "POST" and form.validate_on_submit():
        chosen = _posted()
        if len(chosen) > MOST_AT_ONCE:
            if _since_posted() is not None:
                return pages.go_on_posting("backfill", configuration_id=configuration_id)
            return tasks.hand_over(
                "attach", {"ids": chosen}, configuration_id=configuration_id, total=len(chosen)
            )
        if chosen:
            try:
                count = service.attach_many(configuration_id, chosen, pages.administrator())
                if not count:  # attached already; if there is no such objective, this is a 404
                    service.attach(configuration_id, chosen[0], pages.administrator())
            except InvalidConfiguration as error:
                problem = told(error)
            else:
                if _since_posted() is not None:
                    return pages.go_on_posting("backfill", configuration_id=configuration_id)
                text = ngettext(
                    "%(n)s objective attached. Its results are sent from now on.",
                    "%(n)s objectives attached. Their results are sent from now on.",
                    count,
                )
                pages.notice(text if count else gettext("They are attached already."))
                return pages.go("attach", configuration_id=configuration_id, show="attached")
        else:
            problem = gettext("Choose at least one objective.")
    search = clean_text(request.args.get("q"), 100)
    is_attached = request.args.get("show") == "attached"
    offset = pages.page_number("offset")
    found = objectives.page(
        search or None, offset, _LIMIT, attached_to=configuration_id if is_attached else None
    )
    attached = {
        row.objective.id
        for row in found.items
        if any(link.configuration_id == configuration_id for link in row.links)
    }
    connector = pages.state().registry.get(configuration.type)
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
        activity_ids={
            link.objective_id: link.activity_id
            for row in found.items
            for link in row.links
            if link.configuration_id == configuration_id
        },
        has_catalogue=bool(connector and connector.catalogue(())),
        under_way=tasks.under_way(configuration_id),
        can_backfill=objectives.can_backfill(),
        today=pages.now().date(),
    )


def backfill(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Send past results too, after their number was read."""
    service, objectives = pages.configurations(), pages.objectives()
    configuration = service.get(configuration_id)
    chosen, since = _posted(), _since_posted()
    if not chosen or since is None:
        return pages.go("attach", configuration_id=configuration_id)
    are_many = len(chosen) > MOST_AT_ONCE
    if are_many:  # those that aren't attached yet are attached by the worker
        ids, count = list(chosen), None
    else:
        linked = {link.objective_id for link in service.links(configuration_id)}
        ids = [one for one in chosen if one in linked]
        count = objectives.count_past_of(ids, since, _MOST_COUNTED + 1)

    def act() -> ResponseReturnValue:
        if count is None or count > MOST_AT_ONCE:
            asked = {"objectives": ids, "since": since.isoformat()}
            asked |= {"ids": ids} if are_many else {}
            return tasks.hand_over("backfill", asked, configuration_id=configuration_id)
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

    facts = [
        ngettext(
            "Of %(n)s objective, since %(date)s.",
            "Of %(n)s objectives, since %(date)s.",
            len(ids),
            date=date(since),
        ),
        gettext("Results that were sent before are not sent twice."),
    ]
    if count is None:
        facts[:0] = [gettext("This attaches these objectives and sends their past results.")]
    elif count > _MOST_COUNTED:
        facts[:0] = [gettext("This sends more than %(n)s results.", n=_MOST_COUNTED)]
    else:
        sends = ngettext("This sends %(n)s result.", "This sends %(n)s results.", count)
        facts[:0] = [sends]
    return pages.confirm(
        act,
        title=gettext("Send past results to “%(name)s”?", name=configuration.name),
        facts=facts,
        button=gettext("Send past results"),
        back=pages.url("attach", configuration_id=configuration_id, show="attached"),
        carried=_CARRIED,
    )


def detach(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Detach, after it was said what becomes of the results that wait."""
    service = pages.configurations()
    configuration = service.get(configuration_id)
    chosen = _posted(attached_to=configuration_id)
    linked = {link.objective_id for link in service.links(configuration_id)}
    ids = [one for one in chosen if one in linked]
    if not ids:
        pages.notice(gettext("Choose at least one attached objective."), "warn")
        return pages.go("attach", configuration_id=configuration_id)

    def act() -> ResponseReturnValue:
        cancels = request.form.get("waiting") == "cancel"
        if len(ids) > MOST_AT_ONCE:
            asked = {"ids": ids, "cancels": cancels}
            return tasks.hand_over(
                "detach", asked, configuration_id=configuration_id, total=len(ids)
            )
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
        )
    ]
    if len(ids) <= _FEW:
        waiting = sum(
            pages.deliveries().count(
                configuration_id=configuration_id, objective_id=one, state=DeliveryState.PENDING
            )
            for one in ids
        )
        facts.append(wording.waiting_words(waiting))
    facts.append(gettext("What your LMS has received stays there."))

    if len(ids) > 1:
        title = ngettext(
            "Detach %(n)s objective from “%(name)s”?",
            "Detach %(n)s objectives from “%(name)s”?",
            len(ids),
            name=configuration.name,
        )
    else:
        found = pages.state().callbacks.objective(pages.organization_id(), ids[0])
        title = gettext(
            "Detach “%(objective)s” from “%(name)s”?",
            objective=found.name if found else ids[0],
            name=configuration.name,
        )
    return pages.confirm(
        act,
        title=title,
        facts=facts,
        button=gettext("Detach"),
        back=pages.url("attach", configuration_id=configuration_id, show="attached"),
        is_danger=True,
        choice="detach",
        carried=_CARRIED,
    )


def one(objective_id: str) -> ResponseReturnValue:
    """One objective: attach a configuration, see those attached and their status."""
    if not clean_text(objective_id):
        raise NotFound("There is no such objective.")
    service, objectives = pages.configurations(), pages.objectives()
    row = objectives.get(objective_id)
    form = ActForm()
    problem = None
    if request.method == "POST" and form.validate_on_submit():
        if chosen := request.form.get("configuration_id"):
            try:
                link = service.attach(
                    chosen,
                    objective_id,
                    pages.administrator(),
                    activity_id=clean_text(request.form.get("activity_id"), 2001) or None,
                )
            except InvalidConfiguration as error:
                problem = told(error)
            else:
                if _since_posted() is not None:
                    return pages.go_on_posting("backfill", configuration_id=link.configuration_id)
                name = service.get(link.configuration_id).name
                pages.notice(
                    gettext("“%(name)s” is attached. Results are sent from now on.", name=name)
                )
                return pages.go("objective", objective_id=objective_id)
        else:
            problem = gettext("Choose an LMS configuration.")
    everything = service.list()
    attached = {link.configuration_id for link in row.links}
    asked = request.args.get("preview", "")
    of = next((one for one in everything if str(one.id) == asked), None)
    return pages.render(
        "objective.html",
        row=row,
        attached=[one for one in everything if one.id in attached],
        others=[one for one in everything if one.id not in attached],
        activity_ids={link.configuration_id: link.activity_id for link in row.links},
        previews=of and objectives.previews(of.id, objective_id),
        preview_of=of,
        form=form,
        forms=[form],
        problem=problem,
        can_backfill=objectives.can_backfill(),
        today=pages.now().date(),
    )
