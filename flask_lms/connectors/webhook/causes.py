"""Why a message didn't arrive, in words for the administrator, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...database.models import Status
from ...i18n import N_
from ..causes import Cause

_LOOK = N_("Look into your automation service, or ask whoever runs the receiver.")
_ALL = (
    Cause(
        code="address",
        status=Status.SERVER_ERROR,
        sentence=N_("There is no webhook at this address any more[ (%(http_status)s)]."),
        remedy=(N_("Copy the webhook URL from your automation service again."),),
        is_settings=True,
        fields=("url",),
    ),
    Cause(
        code="credentials",
        status=Status.SERVER_ERROR,
        sentence=N_("The receiver doesn't let our messages in[ (%(http_status)s)]."),
        remedy=(
            N_("Check that the whole webhook URL was copied."),
            N_("If the receiver checks signatures, enter the signing secret there again."),
        ),
        is_settings=True,
        fields=("url",),
    ),
    Cause(
        code="redirect",
        status=Status.SERVER_ERROR,
        sentence=N_("The receiver redirects to [%(target)s|another address]."),
        remedy=(N_("Use that address as the webhook URL, if it is yours."),),
        is_settings=True,
        fields=("url",),
    ),
    Cause(
        code="settings",
        status=Status.SERVER_ERROR,
        sentence=N_("The receiver refuses every message[: “%(words)s”]."),
        remedy=(_LOOK,),
        is_settings=True,
    ),
    Cause(
        code="rate",
        status=Status.SERVER_ERROR,
        sentence=N_("The receiver asks us to slow down[ (%(http_status)s)]."),
        remedy=(N_("There is nothing to do: sending goes on by itself."),),
    ),
    Cause(
        code="internal",
        status=Status.SERVER_ERROR,
        sentence=N_("The receiver has an internal problem[ (%(http_status)s)]."),
        remedy=(_LOOK,),
    ),
    Cause(
        code="busy",
        status=Status.SERVER_ERROR,
        sentence=N_("The receiver did not take the message in time[ (%(http_status)s)]."),
        remedy=(_LOOK,),
    ),
    Cause(
        code="gateway",
        status=Status.SERVER_ERROR,
        sentence=N_(
            "Something between us and the receiver asks for a sign-in[ (%(http_status)s)]."
        ),
        remedy=(N_("Ask whoever runs the receiver to let this platform through."),),
    ),
    Cause(
        code="unexpected",
        status=Status.SERVER_ERROR,
        sentence=N_("The receiver gave an unknown answer[ (%(http_status)s)]."),
        remedy=(_LOOK,),
    ),
    Cause(
        code="rejected",
        status=None,
        sentence=N_("The receiver refused this message[: “%(words)s”]."),
        remedy=(N_("Show these words to whoever runs the receiver, then use Send again."),),
        label=N_("Refused by the receiver"),
    ),
    Cause(
        code="conflict",
        status=None,
        sentence=N_("The receiver says that it has another message under the same id."),
        remedy=(_LOOK,),
        label=N_("Another message under this id"),
    ),
    Cause(
        code="too_large",
        status=None,
        sentence=N_("This message is larger than the receiver accepts."),
        remedy=(N_("Ask whoever runs the receiver to allow larger ones, then use Send again."),),
        label=N_("Too large for the receiver"),
    ),
)

#: Every cause of this connector by its code.
CAUSES: Mapping[str, Cause] = MappingProxyType({cause.code: cause for cause in _ALL})
