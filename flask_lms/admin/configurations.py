"""The list of LMS configurations, the overview of one, and what is done to a whole one."""

from __future__ import annotations

import hmac
import uuid
from typing import Any

from flask import Response, abort, jsonify, request
from flask.typing import ResponseReturnValue

from ..alerts import sending
from ..database.models import Status
from ..errors import InvalidConfiguration
from ..i18n import N_, gettext, ngettext
from ..services.overview import Overview
from ..services.overview import health as health_of
from . import charts, editing, pages, wording
from .forms import ActForm, told

#: The status filter of the list: what the service knows, and its words.
_STATUSES = (
    ("error", N_("Not working")),
    ("attention", N_("Needs attention")),
    ("connected", N_("Connected")),
    ("not_tested", N_("Not tested")),
    ("paused", N_("Paused")),
)
_DAYS = (14, 30, 90)
_FEW = 10


def index() -> ResponseReturnValue:
    """All configurations, those in trouble first."""
    overview = Overview(pages.state(), pages.organization_id(), now=pages.now())
    everything = overview.rows()
    search = pages.clean_text(request.args.get("q"), 100)
    status = request.args.get("status", "")
    if status not in dict(_STATUSES):
        status = ""
    is_filtered = bool(search or status)
    summary = overview.summary(everything)
    rows = overview.rows(search or None, status or None) if is_filtered else everything
    return pages.render(
        "index.html",
        rows=rows,
        summary=summary,
        mail_problem=None if pages.is_live() else sending.problem(pages.state()),
        every=pages.SOON if summary.waiting or summary.failing else pages.LATER,
        said=wording.summary_said(summary),
        search=search,
        status=status,
        statuses=[(key, gettext(label)) for key, label in _STATUSES],
        is_filtered=is_filtered,
    )


def overview(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Everything about one configuration on one page."""
    state = pages.state()
    configuration = pages.configurations().get(configuration_id)
    figures = Overview(state, pages.organization_id(), now=pages.now())
    numbers = figures.numbers(configuration)
    days = request.args.get("days", "")
    shown = int(days) if days in map(str, _DAYS) else _DAYS[0]
    panel = wording.status_panel(configuration, numbers, state.registry, pages.now())
    shown_always: dict[str, Any] = {
        "configuration": configuration,
        "numbers": numbers,
        "panel": panel,
        "deliveries": pages.deliveries().list(configuration_id=configuration_id, limit=_FEW).items,
        "every": pages.SOON if wording.is_moving(configuration, numbers) else pages.LATER,
        "said": wording.panel_said(panel, numbers),
        "form": editing.correction(configuration) if panel.fields else None,
    }
    if pages.is_live():
        return pages.render("overview.html", **shown_always)
    # The first steps until a result was sent: (done, words, link's words, address).
    steps = []
    if numbers.last_sent_at is None:
        is_connected = configuration.health.status is Status.CONNECTED
        test = pages.url("test", configuration_id=configuration_id)
        attach = pages.url("attach", configuration_id=configuration_id)
        steps = [
            (is_connected, gettext("Connected"), gettext("Test the connection"), test),
            (
                numbers.objectives > 0,
                gettext("Objective attached"),
                gettext("Attach objectives"),
                attach,
            ),
            (False, gettext("First result sent"), "", ""),
        ]
    connector = state.registry.get(configuration.type)
    return pages.render(
        "overview.html",
        **shown_always,
        steps=steps,
        changes=connector.changes(configuration.settings) if connector else (),
        chart=charts.draw(figures.daily(configuration, shown)),
        days=shown,
        choices=_DAYS,
        attached=pages.objectives().page(limit=_FEW, attached_to=configuration_id),
        act=ActForm(),
    )


def _accept_post() -> bool:
    """Accept a pressed button; one whose token is too old is refused with a notice."""
    if ActForm().validate_on_submit():
        return True
    pages.notice(gettext("This page was open for too long. Send it once more."), "bad")
    return False


def send_waiting(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Try now."""
    if _accept_post():
        count = pages.configurations().send_waiting(configuration_id, pages.administrator())
        text = (
            ngettext(
                "%(n)s waiting result is being sent now.",
                "%(n)s waiting results are being sent now.",
                count,
            )
            if count
            else gettext("Nothing is waiting.")
        )
        pages.notice(text)
    return pages.go("overview", configuration_id=configuration_id)


def resume(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """End a pause."""
    if _accept_post():
        name = pages.configurations().resume(configuration_id, pages.administrator()).name
        pages.notice(gettext("“%(name)s” sends again.", name=name))
    return pages.go("overview", configuration_id=configuration_id)


def pause(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Pause, after its consequence was read."""
    service = pages.configurations()
    configuration = service.get(configuration_id)
    waiting = service.waiting(configuration_id)

    def act() -> ResponseReturnValue:
        service.pause(configuration_id, pages.administrator())
        pages.notice(gettext("“%(name)s” is paused.", name=configuration.name))
        return pages.go("overview", configuration_id=configuration_id)

    facts = [
        gettext("New results are kept and sent when you resume."),
        wording.waiting_words(waiting),
        gettext("Nothing is lost, however long the pause is."),
    ]
    return pages.confirm(
        act,
        title=gettext("Pause “%(name)s”?", name=configuration.name),
        facts=facts,
        button=gettext("Pause"),
        back=pages.url("overview", configuration_id=configuration_id),
    )


def delete(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Delete, after its consequence was read."""
    service = pages.configurations()
    configuration = service.get(configuration_id)
    figures = Overview(pages.state(), pages.organization_id()).numbers(configuration_id)

    def act() -> ResponseReturnValue:
        name = configuration.name
        service.delete(configuration_id, pages.administrator())
        pages.notice(
            gettext(
                "“%(name)s” was deleted. For 30 days you can bring it back from the history.",
                name=name,
            )
        )
        return pages.go("index")

    facts = [
        ngettext(
            "The results of %(n)s objective are no longer sent to this LMS.",
            "The results of %(n)s objectives are no longer sent to this LMS.",
            figures.objectives,
        ),
        ngettext(
            "%(n)s waiting result is kept for 30 days and then cancelled.",
            "%(n)s waiting results are kept for 30 days and then cancelled.",
            figures.waiting,
        ),
        gettext("What your LMS has received stays there."),
    ]
    return pages.confirm(
        act,
        title=gettext("Delete “%(name)s”?", name=configuration.name),
        facts=facts,
        button=gettext("Delete"),
        back=pages.url("overview", configuration_id=configuration_id),
        is_danger=True,
    )


def restore(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """Bring a deleted one back, with its objectives and waiting results."""
    if not _accept_post():
        return pages.go("history", action="deleted")
    try:
        name = pages.configurations().restore(configuration_id, pages.administrator()).name
    except InvalidConfiguration as error:
        pages.notice(told(error), "bad")
        return pages.go("history", action="deleted")
    pages.notice(gettext("“%(name)s” is back.", name=name))
    return pages.go("overview", configuration_id=configuration_id)


def health() -> ResponseReturnValue:
    """``health.json``: counts and ages for a monitoring system that has the token, of the whole
    installation or of ``?organization=…``. 503 while something is wrong.

    Without ``LMS_HEALTH_TOKEN``, or with another one than that, there is nothing here (404).
    """
    state = pages.state()
    expected = state.settings.health_token
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        abort(404)
    found = health_of(state, pages.clean_text(request.args.get("organization")) or None)
    response: Response = jsonify(found.as_dict())
    response.status_code = 200 if found.is_ok else 503
    response.headers["Cache-Control"] = "no-store"
    return response
