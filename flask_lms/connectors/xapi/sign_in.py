"""How a request shows who sends it: key and secret, a token, a header, and OAuth 2 client
credentials (RFC 6749, 4.4), whose token all processes share (RFC 6750, 2.1 says how it is sent).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ...encryption import Secret
from ...i18n import N_, Words
from ...store import Kept
from ...transport import Unreachable
from ..base import Answer, Verdict
from ..causes import place
from ..replies import retry_after
from .answers import Received, redirect_target
from .redaction import Redactor

if TYPE_CHECKING:
    from ...transport import Reply, Transport

#: What a token is kept under, and the most of its life that is believed.
TOKEN = "token"  # noqa: S105  # nosec B105
_LONGEST_SECONDS = 86_400.0
#: Of one that doesn't tell.
_USUAL_SECONDS = 600.0
#: A failure is shared for so long by all who ask at the same moment.
_FAULT_SECONDS = 5.0
#: For connecting, between two bytes, in all: less than the store lets somebody take.
_LIMITS = (5.0, 10.0, 20.0)
#: How many further headers there may be.
MOST_HEADERS = 5

_WORDS = {
    "basic": N_("Basic [hidden]"),
    "oauth2": N_("Token by OAuth 2 [hidden]"),
    "bearer": N_("Token [hidden]"),
}
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_REFUSES_CLIENT = ("invalid_client", "unauthorized_client", "access_denied", "invalid_grant")


class NotSignedIn(Unreachable):
    """There is no token to send a request with, so none was sent.

    :param answer: what that means for the statements.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.cause or "", dict(answer.facts))
        self.answer = answer


def headers_of(settings: Mapping[str, Any], secrets: Mapping[str, Secret]) -> dict[str, Secret]:
    """What of it stands in headers, but for OAuth 2.

    :raises NotSignedIn: a secret is missing.
    """
    made: dict[str, Secret] = {}
    auth = settings.get("auth") or "basic"
    names = {"basic": "secret", "bearer": "token", "header": "header_value"}
    missing = [name for name in (names.get(auth, "client_secret"),) if not secrets.get(name)]
    if auth == "basic" and not missing:
        made["Authorization"] = _basic(settings["key"], secrets["secret"])
    elif auth == "bearer" and not missing:
        made["Authorization"] = Secret(f"Bearer {secrets['token'].reveal()}")
    elif auth == "header" and not missing:
        made[settings["header_name"]] = secrets["header_value"]
    for name in more_headers(settings):
        if secrets.get(f"{name}_value"):
            made[settings[name]] = secrets[f"{name}_value"]
        else:
            missing.append(name)
    if missing:
        raise NotSignedIn(
            Answer(verdict=Verdict.FAILED, cause="secret_unreadable", facts=place(settings["url"]))
        )
    return made


def words(settings: Mapping[str, Any]) -> str:
    """What shows who sends a request, for people."""
    auth = settings.get("auth") or "basic"
    if auth == "header":
        return Words("%(name)s: [hidden]", name=settings["header_name"])
    return Words(_WORDS[auth])


def more_headers(settings: Mapping[str, Any]) -> Iterator[str]:
    """The names of the settings that hold the name of a further header."""
    for number in range(1, MOST_HEADERS + 1):
        if settings.get(f"header_{number}"):
            yield f"header_{number}"


def _basic(user: str, password: Secret) -> Secret:
    return Secret(
        "Basic " + base64.b64encode(f"{user}:{Secret(password).reveal()}".encode()).decode("ascii")
    )


def signed(
    send: Callable[[Mapping[str, Secret]], Reply],
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    transport: Transport,
) -> Reply:
    """A request with all that shows who sends it. One that is answered with 401 goes once more,
    with a new token: the old one may have been revoked.

    :param send: gets the headers.
    :returns: without the token, should the LMS send it back.
    :raises Unreachable: no status line came back; also :class:`NotSignedIn`.
    """
    made = headers_of(settings, secrets)
    if settings.get("auth") != "oauth2":
        return send(made)
    token = token_of(settings, secrets, transport)
    reply = send({**made, "Authorization": Secret(f"Bearer {token.reveal()}")})
    if reply.status == 401:
        token = token_of(settings, secrets, transport, refused=token)
        reply = send({**made, "Authorization": Secret(f"Bearer {token.reveal()}")})
    redactor = Redactor("", token)
    return replace(
        reply,
        body=redactor.scrubbed(reply.body),
        headers={
            name: redactor.scrubbed(value.encode("utf-8", "surrogateescape")).decode(
                "utf-8", "surrogateescape"
            )
            for name, value in reply.headers.items()
        },
    )


def token_of(
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    transport: Transport,
    *,
    refused: Secret | None = None,
    is_fresh: bool = False,
) -> Secret:
    """The token that all processes share; one of them asks for it when it is missing.

    :param refused: the LMS took this one no longer.
    :param is_fresh: ask in any case, as a connection test does.
    :raises NotSignedIn: there is none.
    """
    who = _fingerprint(settings, secrets)

    def make() -> Kept:
        found = request_token(settings, secrets, transport.within(*_LIMITS))
        if isinstance(found, Answer):
            told = {**asdict(found), "verdict": found.verdict.value}
            values = {"who": who, "fault": json.dumps(told)}
            return Kept(values=values, seconds=_FAULT_SECONDS)
        token, seconds = found
        # Ends with us before it ends there, so that none is refused on its way.
        return Kept(
            values={"who": who, "token": token}, seconds=max(seconds - min(60, seconds / 10), 1)
        )

    def is_good(values: Mapping[str, Secret]) -> bool:
        if is_fresh or values.get("who") != who:
            return False
        return "fault" in values or refused is None or values["token"] != refused

    values = transport.store.renewed(TOKEN, "", make, is_good)
    if "fault" in values:
        told = json.loads(values["fault"].reveal())
        raise NotSignedIn(Answer(**{**told, "verdict": Verdict(told["verdict"]), "rejected": {}}))
    return values["token"]


def _fingerprint(settings: Mapping[str, Any], secrets: Mapping[str, Secret]) -> str:
    """Whose token it is: one that was given for other settings isn't used. Kept encrypted."""
    parts = [settings[name] for name in ("token_url", "client_id", "scope", "audience")]
    return hashlib.sha256(
        json.dumps([*parts, secrets["client_secret"].reveal()]).encode()
    ).hexdigest()


def request_token(
    settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
) -> tuple[Secret, float] | Answer:
    """Ask the token server (RFC 6749, 4.4.2): a token and its life in seconds, or why there is
    none.
    """
    url = settings["token_url"]
    headers: dict[str, str | Secret] = {"Accept": "application/json"}
    asked = {"grant_type": "client_credentials"} | {
        name: settings[name] for name in ("scope", "audience") if settings[name]
    }
    body: Secret
    if settings["client_auth"] == "json":  # as Cornerstone's server wants it
        headers["Content-Type"] = "application/json"
        names = {"grant_type": "grantType"}
        body = Secret(
            json.dumps(
                {names.get(name, name): value for name, value in asked.items()}
                | {
                    "clientId": settings["client_id"],
                    "clientSecret": secrets["client_secret"].reveal(),
                }
            )
        )
    else:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        if settings["client_auth"] == "body":
            body = Secret(
                urlencode(
                    asked
                    | {
                        "client_id": settings["client_id"],
                        "client_secret": secrets["client_secret"].reveal(),
                    }
                )
            )
        else:  # RFC 6749, 2.3.1: both are encoded first
            body = Secret(urlencode(asked))
            headers["Authorization"] = _basic(
                quote(settings["client_id"], safe=""),
                Secret(quote(secrets["client_secret"].reveal(), safe="")),
            )
    try:
        reply = transport.request(
            "POST", url, headers=headers, body=body, ca_pem=settings["ca_pem"]
        )
    except Unreachable as error:
        facts = {**place(url), **error.facts}
        return Answer(verdict=Verdict.FAILED, cause=f"token_{error.cause}", facts=facts)
    return read_token(
        Received.of(reply, url), Redactor(settings["client_id"], secrets["client_secret"])
    )


def read_token(received: Received, redactor: Redactor) -> tuple[Secret, float] | Answer:
    """What a token server's answer says (RFC 6749, 5.1 and 5.2).

    :param redactor: hides the client's secret.
    """
    status = received.status
    try:
        value = json.loads(received.text, object_hook=_token_hidden)
    except (ValueError, RecursionError):
        value = None
    told: dict[str, Any] = value if isinstance(value, dict) else {}

    def failed(cause: str, verdict: Verdict = Verdict.FAILED, **more: Any) -> Answer:
        # Nothing of a good answer is shown: a token may stand in it, under whatever name.
        words = None
        if status >= 400 and not received.is_private:
            is_cut = received.is_truncated or not received.is_complete
            words = redactor.words(received.body, is_cut=is_cut)
        facts = {**place(received.url), "http_status": status, **more}
        if words:
            facts["words"] = words
        wait = None
        if verdict is Verdict.SLOW_DOWN:
            wait = retry_after(received.header("Retry-After"), received.header("Date"))
        return Answer(
            verdict=verdict, cause=cause, words=words, facts=facts, retry_after_seconds=wait
        )

    if 300 <= status < 400:
        return failed("token_redirect", target=redirect_target(received, redactor))
    if status == 429 or (status == 503 and received.header("Retry-After") is not None):
        return failed("token_rate", Verdict.SLOW_DOWN)
    if status in (404, 405, 410):
        return failed("token_address")
    if 400 <= status < 500 and status not in (407, 408, 425):
        error = told.get("error")
        if error == "invalid_scope":
            return failed("token_scope")
        if status in (401, 403) or error in _REFUSES_CLIENT:
            return failed("token_client")
        return failed("token_request")
    if status != 200:
        return failed("token_internal")
    if not received.is_complete or received.is_truncated:
        return failed("token_cut_off")
    if value is None:
        return failed("token_cut_off" if received.text.startswith("{") else "token_web_page")
    token = told.get("access_token")
    if not isinstance(token, Secret) or not _VISIBLE.fullmatch(token.reveal()):
        return failed("token_missing")
    kind = told.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.strip().lower() != "bearer":
        return failed("token_type")
    seconds = _life(told.get("expires_in"))
    return failed("token_lifetime") if seconds is None else (token, seconds)


def _token_hidden(plain: dict[str, Any]) -> dict[str, Any]:
    token = plain.get("access_token")
    return {**plain, "access_token": Secret(token)} if isinstance(token, str) else plain


def _life(value: Any) -> float | None:
    """How long a token lives, in seconds; None: not at all, or nobody can tell."""
    if value is None:
        return _USUAL_SECONDS
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return min(seconds, _LONGEST_SECONDS) if seconds >= 1 and not math.isnan(seconds) else None
