"""Why something went wrong, in words for the administrator, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...database.models import Status
from ...i18n import N_
from ..causes import Cause

_TELL = N_("Tell your LMS administrator.")
_CORRECT = N_("Correct it in [%(platform)s|the platform], then Check again.")
_MAP = N_("Or enter the address under Participants.")

_DESTINATION = (
    Cause(
        code="credentials",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS refused the xAPI key or secret[ (%(http_status)s)]."),
        remedy=(
            N_("Enter the xAPI key and secret again."),
            N_("The key must be allowed to write statements: ask your LMS administrator."),
        ),
        is_settings=True,
        fields=("key", "secret"),
    ),
    Cause(
        code="address",
        status=Status.SERVER_ERROR,
        sentence=N_("There is no xAPI service at this address[ (%(http_status)s)]."),
        remedy=(N_("Check the xAPI URL: it often ends in /xapi/."),),
        is_settings=True,
        fields=("url",),
    ),
    Cause(
        code="redirect",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS redirects to [%(target)s|another address]."),
        remedy=(N_("Use that address as the xAPI URL, if it is your LMS's."),),
        is_settings=True,
        fields=("url",),
    ),
    Cause(
        code="not_lrs",
        status=Status.SERVER_ERROR,
        sentence=N_("[%(host)s|Your LMS] answered with a web page, not as an xAPI service."),
        remedy=(
            N_("Check the xAPI URL: it often ends in /xapi/."),
            N_("Ask your LMS administrator for the address of its xAPI service."),
        ),
        is_settings=True,
        fields=("url",),
    ),
    Cause(
        code="settings",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS rejects the results as invalid[: “%(words)s”]."),
        remedy=(
            N_("Look at the advanced settings, such as the xAPI version."),
            N_("Show these words to your LMS administrator."),
        ),
        is_settings=True,
    ),
    Cause(
        code="rate",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS asks us to slow down[ (%(http_status)s)]."),
        remedy=(N_("There is nothing to do: sending goes on by itself."),),
    ),
    Cause(
        code="internal",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS has an internal problem[ (%(http_status)s)]."),
        remedy=(_TELL,),
    ),
    Cause(
        code="busy",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS did not take the request in time[ (%(http_status)s)]."),
        remedy=(N_("Ask your LMS administrator whether it is overloaded."),),
    ),
    Cause(
        code="cut_off",
        status=Status.SERVER_ERROR,
        sentence=N_("The answer of your LMS broke off before its end."),
        remedy=(N_("If it happens again, tell your LMS administrator."),),
    ),
    Cause(
        code="gateway",
        status=Status.SERVER_ERROR,
        sentence=N_("Something between us and your LMS asks for a sign-in[ (%(http_status)s)]."),
        remedy=(
            N_("Ask your LMS administrator to let this platform through."),
            N_("If your LMS is not at fault, tell your platform's operator."),
        ),
    ),
    Cause(
        code="protocol",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS does not take the request as xAPI describes it[ (%(http_status)s)]."),
        remedy=(
            N_("Check the xAPI URL."),
            N_("Try another xAPI version under Advanced, or tell your LMS administrator."),
        ),
    ),
    Cause(
        code="unexpected",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS gave an answer that xAPI does not know[ (%(http_status)s)]."),
        remedy=(N_("Check the xAPI URL."), _TELL),
    ),
)

_DELIVERY = (
    Cause(
        code="rejected",
        status=None,
        sentence=N_("Your LMS rejected this result[: “%(words)s”]."),
        remedy=(N_("Show these words to your LMS administrator, then use Send again."),),
        label=N_("Rejected by the LMS"),
    ),
    Cause(
        code="address_refused",
        status=None,
        sentence=N_(
            "Your LMS does not take [an e-mail address of the form %(shape)s|this participant's "
            "e-mail address]."
        ),
        remedy=(
            N_("Ask your LMS administrator to allow such addresses, then use Send again."),
            N_(
                "Or choose Edit, Advanced settings, Identify participants by “Account on this "
                "platform”: results are then sent without addresses from now on."
            ),
        ),
        label=N_("E-mail address refused"),
    ),
    Cause(
        code="conflict",
        status=None,
        sentence=N_("Your LMS holds another result under the same id and keeps that one."),
        remedy=(N_("Ask your LMS administrator which of the two is right."),),
        label=N_("Another result under this id"),
    ),
    Cause(
        code="too_large",
        status=None,
        sentence=N_("This result is larger than your LMS accepts."),
        remedy=(N_("Ask your LMS administrator to allow larger requests, then use Send again."),),
        label=N_("Too large for the LMS"),
    ),
    Cause(
        code="foreign_ids",
        status=None,
        sentence=N_("Your LMS took the results but named other ids than those we sent."),
        remedy=(N_("If results are missing in your LMS, tell its administrator."),),
        label=N_("Other ids in the answer"),
    ),
    Cause(
        code="no_email",
        status=None,
        sentence=N_("The participant ID[ '%(participant)s'] is not an e-mail address."),
        remedy=(_CORRECT, _MAP),
        is_unidentified=True,
        label=N_("No e-mail address"),
    ),
    Cause(
        code="account_only",
        status=None,
        sentence=N_(
            "Of [participant '%(participant)s'|the participant] only an account is known, but "
            "this LMS is told e-mail addresses."
        ),
        remedy=(
            N_("Enter the e-mail address under Participants: the result is then sent by itself."),
        ),
        is_unidentified=True,
        label=N_("Only an account known"),
    ),
    Cause(
        code="bad_email",
        status=None,
        sentence=N_(
            "The e-mail address[ '%(email)s'] of [participant '%(participant)s'|the participant] "
            "can't be sent: LMSs take plain addresses such as jane.doe@example.com."
        ),
        remedy=(_CORRECT, _MAP),
        is_unidentified=True,
        label=N_("Odd e-mail address"),
    ),
    Cause(
        code="too_long",
        status=None,
        sentence=N_(
            "This result "
            "[would be %(bytes)s bytes long; at most %(most)s can be|is too long to be] "
            "sent."
        ),
        remedy=(N_("Shorten its steps or extensions in the platform, then Check again."),),
        label=N_("Too long"),
    ),
)

#: Every cause of this connector by its code.
CAUSES: Mapping[str, Cause] = MappingProxyType(
    {cause.code: cause for cause in (*_DESTINATION, *_DELIVERY)}
)
