"""Why something went wrong, in words for the administrator, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ...database.models import Status
from ...i18n import N_
from ..causes import TRANSPORT_CAUSES, Cause

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

_TOKEN_SERVER = (
    N_("Check the token URL."),
    N_("Ask your LMS administrator whether the token server is running and lets us in."),
)
_SIGN_IN_AGAIN = (
    N_("Check the fields under “How this platform signs in”, and enter the client secret again."),
    N_("Show this to your LMS administrator."),
)
#: Of the token server, as TRANSPORT_CAUSES are of the LMS.
_NO_TOKEN_SERVER = {
    "dns": N_("The name of the token server[, %(host)s,] was not found."),
    "refused": N_("The token server[ %(host)s] refuses connections[ on port %(port)s]."),
    "unreachable": N_("There is no network route to the token server[ %(host)s]."),
    "connect_timeout": N_("The token server[ %(host)s] did not answer in time."),
    "timeout": N_("The token server[ %(host)s] took the connection but sent no answer in time."),
    "reset": N_("The token server[ %(host)s] closed the connection without an answer."),
    "tls_expired": N_("The certificate of the token server[ %(host)s] has expired."),
    "tls_name": N_("The certificate of the token server[ %(host)s] is for another name."),
    "tls_untrusted": N_(
        "The certificate of the token server[ %(host)s] is not signed by an authority that we "
        "trust."
    ),
    "tls": N_("No secure connection to the token server[ %(host)s] could be made."),
    "blocked": N_(
        "The token server[ %(host)s] has a private network address, which this platform doesn't "
        "call."
    ),
    "not_http": N_("What answers at the token server's address[ %(host)s] does not speak HTTP."),
    "proxy": N_(
        "The outbound proxy of this platform doesn't let us through to the token server[ %(host)s]."
    ),
}


def _token_cause(code: str, sentence: str, *remedy: str, **more: Any) -> Cause:
    return Cause(
        code=f"token_{code}",
        status=Status.SERVER_ERROR,
        sentence=sentence,
        remedy=remedy or _TOKEN_SERVER,
        **{"is_settings": True, **more},
    )


_SIGN_IN = (
    *(
        Cause(
            code=f"token_{code}",
            status=Status.CANT_CONNECT,
            sentence=sentence,
            remedy=_TOKEN_SERVER,
            is_settings=TRANSPORT_CAUSES[code].is_settings,
            is_local=TRANSPORT_CAUSES[code].is_local,
        )
        for code, sentence in _NO_TOKEN_SERVER.items()
    ),
    _token_cause(
        "client",
        N_(
            "The token server[ %(host)s] refuses the client ID or its secret[ (%(http_status)s)]"
            "[: “%(words)s”]."
        ),
        *_SIGN_IN_AGAIN,
    ),
    _token_cause(
        "scope",
        N_("The token server[ %(host)s] doesn't give the scope that is set here[: “%(words)s”]."),
        N_("Correct the scope, or leave it empty."),
        N_("Ask your LMS administrator which scope lets us write xAPI statements."),
    ),
    _token_cause(
        "request",
        N_("The token server[ %(host)s] doesn't take our request[: “%(words)s”]."),
        N_("Try another choice of “How the client ID and secret are sent”."),
        N_("Show these words to your LMS administrator."),
    ),
    _token_cause(
        "address",
        N_("There is no token server at this address[ (%(http_status)s)]."),
        N_("Check the token URL: it often ends in /token."),
    ),
    _token_cause(
        "redirect",
        N_("The token server[ %(host)s] redirects to [%(target)s|another address]."),
        N_("Use that address as the token URL, if it is your LMS's."),
    ),
    _token_cause(
        "web_page",
        N_("A web page answers at the token URL[ of %(host)s], not a token server."),
        N_("Check the token URL: it often ends in /token."),
    ),
    _token_cause(
        "missing",
        N_("The token server[ %(host)s] answered without a token."),
        *_SIGN_IN_AGAIN,
    ),
    _token_cause(
        "type",
        N_("The token server[ %(host)s] gives tokens of another kind than bearer."),
        N_("Ask your LMS administrator for a client that gets bearer tokens."),
    ),
    _token_cause(
        "lifetime",
        N_("The token server[ %(host)s] gives tokens that are over at once, or doesn't say when."),
        N_("Ask your LMS administrator to let them live for an hour."),
    ),
    _token_cause(
        "rate",
        N_("The token server[ %(host)s] asks us to slow down[ (%(http_status)s)]."),
        N_("There is nothing to do: sending goes on by itself."),
        is_settings=False,
    ),
    _token_cause(
        "internal",
        N_("The token server[ %(host)s] has an internal problem[ (%(http_status)s)]."),
        is_settings=False,
    ),
    _token_cause(
        "cut_off",
        N_("The answer of the token server[ %(host)s] broke off before its end."),
        is_settings=False,
    ),
    _token_cause(
        "not_taken",
        N_("Your LMS refused the token that the token server gave[ (%(http_status)s)]."),
        N_("The client must be allowed to write statements: ask your LMS administrator."),
        N_("Check scope and audience."),
    ),
    Cause(
        code="bearer_refused",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS refused the token[ (%(http_status)s)]."),
        remedy=(
            N_("Ask your LMS administrator for a new token, and enter it."),
            N_("It must be allowed to write statements."),
        ),
        is_settings=True,
    ),
    Cause(
        code="header_refused",
        status=Status.SERVER_ERROR,
        sentence=N_("Your LMS refused the value of the header[ (%(http_status)s)]."),
        remedy=(
            N_("Enter the header's name and value again."),
            N_("The key must be allowed to write statements: ask your LMS administrator."),
        ),
        is_settings=True,
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
    {cause.code: cause for cause in (*_DESTINATION, *_SIGN_IN, *_DELIVERY)}
)
