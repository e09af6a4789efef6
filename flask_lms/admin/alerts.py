"""Alerts: who is told about a configuration, what was mailed, and whether it went out."""

from __future__ import annotations

import uuid

from flask import request
from flask.typing import ResponseReturnValue

from ..alerts import sending, texts, unsubscribe
from ..errors import NotFound
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
    state, service = pages.state(), pages.configurations()
    configuration = service.get(configuration_id)
    form = ActForm()
    if request.method == "POST" and form.validate_on_submit():
        by, email = pages.administrator(), request.form.get("email", "")
        what = request.form.get("act")
        if what == "mute":
            service.mute(configuration_id, email, by)
            pages.notice(gettext("%(email)s gets no more alerts about this LMS.", email=email))
        elif what == "unmute":
            service.unmute(configuration_id, email, by)
            pages.notice(gettext("%(email)s gets alerts again.", email=email))
        elif what == "test":
            if count := sending.send_test(state, configuration, by):
                text = ngettext(
                    "A test alert is on its way to %(n)s address.",
                    "A test alert is on its way to %(n)s addresses.",
                    count,
                )
                pages.notice(text)
            else:
                text = gettext(
                    "No test alert was sent: all addresses are muted, or there were five today."
                )
                pages.notice(text, "warn")
        return pages.go("alerts", configuration_id=configuration_id)
    return pages.render(
        "alerts.html",
        configuration=configuration,
        contacts=[(email, configuration.is_muted(email)) for email in configuration.contact_emails],
        mails=Mails(state, pages.organization_id()).list(configuration_id),
        mail_problem=sending.problem(state),
        kinds=KINDS,
        why=texts.reason,
        form=form,
        forms=[form],
    )


def mute(token: str) -> ResponseReturnValue:
    """The link "Stop these mails": ask; then mute, or take it back. No sign-in, as the signed token
    says who asks for what. Whom it no longer concerns learns nothing.
    """
    state = pages.state()
    service = Configurations(state)
    link = unsubscribe.read(state, token, pages.now())
    try:
        configuration = None if link.is_expired else service.get(link.configuration_id)
    except NotFound:
        configuration = None
    if configuration is None or not configuration.is_contact(link.email):
        response = pages.message(
            gettext("This link has no effect any more"),
            gettext("There are no mails to stop. A newer mail has a link of its own."),
            status=200,
        )
    else:
        if request.method == "POST":
            change = service.unmute if request.form.get("act") == "unmute" else service.mute
            configuration = change(configuration.id, link.email, by=link.email)
        response = pages.render(
            "mute.html",
            name=configuration.name,
            email=link.email,
            is_muted=configuration.is_muted(link.email),
        )
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
