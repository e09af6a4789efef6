"""Alerts: who is told about a configuration, what was mailed, and whether it went out."""

from __future__ import annotations

import uuid

from flask import request
from flask.typing import ResponseReturnValue

from ..alerts import sending, texts, unsubscribe
from ..i18n import N_, gettext, ngettext
from ..services.configurations import Configurations
from ..services.overview import Mails
from . import pages
from .forms import ActForm

KINDS = {
    "error": N_("Something went wrong"),
    "still_down": N_("Still not working"),
    "recovered": N_("Connected again"),
    "unstable": N_("Unstable connection"),
    "results": N_("Results not sent or rejected"),
    "digest": N_("Daily summary"),
    "test": N_("Test alert"),
}


def page(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """The contacts and the log of mails; mute, unmute, send a test alert."""
    state, organization_id = pages.state(), pages.organization_id()
    service = Configurations(state, organization_id)
    configuration = service.get(configuration_id)
    form = ActForm()
    if request.method == "POST" and form.validate_on_submit():
        _act(configuration_id, service)
        return pages.go("alerts", configuration_id=configuration_id)
    mails = Mails(state, organization_id)
    return pages.render(
        "alerts.html",
        configuration=configuration,
        contacts=[
            (address, configuration.is_muted(address)) for address in configuration.contact_emails
        ],
        mails=mails.list(configuration_id),
        mail_problem=sending.problem(state),
        kinds=KINDS,
        why=texts.reason,
        form=form,
        forms=[form],
    )


def _act(configuration_id: uuid.UUID, service: Configurations) -> None:
    by = pages.administrator()
    email = request.form.get("email", "")
    what = request.form.get("act")
    if what == "mute":
        service.mute(configuration_id, email, by)
        pages.notice(gettext("%(email)s gets no more alerts about this LMS.", email=email))
    elif what == "unmute":
        service.unmute(configuration_id, email, by)
        pages.notice(gettext("%(email)s gets alerts again.", email=email))
    elif what == "test":
        count = sending.send_test(pages.state(), service.get(configuration_id), by)
        if count:
            pages.notice(
                ngettext(
                    "A test alert is on its way to %(n)s address.",
                    "A test alert is on its way to %(n)s addresses.",
                    count,
                )
            )
        else:
            pages.notice(
                gettext(
                    "No test alert was sent: all addresses are muted, or there were five today."
                ),
                "warn",
            )


# -- The link "Stop these mails": no sign-in, as its signed token says who asks for what.


def mute(token: str) -> ResponseReturnValue:
    """Ask; then mute, or take it back."""
    state = pages.state()
    configuration_id, email = unsubscribe.read(state, token)
    service = Configurations(state)
    configuration = service.get(configuration_id)
    if request.method == "POST":
        change = service.unmute if request.form.get("act") == "unmute" else service.mute
        configuration = change(configuration_id, email, by=email)
    is_muted = configuration.is_muted(email)
    response = pages.render(
        "mute.html", name=configuration.name, email=email, is_muted=is_muted, forms=[]
    )
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
