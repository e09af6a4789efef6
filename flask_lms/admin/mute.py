"""The link "Stop these mails": no sign-in, as its signed token says who asks for what.

A GET only asks, so that a mail scanner that follows links stops nothing; the POST acts, whether it
comes from that page or from a mail program's one-click button (RFC 8058).
"""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from ..alerts import mute
from ..services.configurations import Configurations
from . import access, pages


def page(token: str) -> ResponseReturnValue:
    """Ask; then mute, or take it back."""
    state = access.state()
    configuration_id, email = mute.read(state, token)
    service = Configurations(state)
    configuration = service.get(configuration_id)
    if request.method == "POST":
        change = service.unmute if request.form.get("act") == "unmute" else service.mute
        configuration = change(configuration_id, email, by=email)
    is_muted = email.casefold() in {one.casefold() for one in configuration.muted_emails}
    response = pages.render(
        "mute.html", name=configuration.name, email=email, is_muted=is_muted, forms=[]
    )
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
