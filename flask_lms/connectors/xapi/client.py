"""Carries statements to an LRS: one POST, one answer (xAPI 1.0.3 Communication 2.1.2), and
after a conflict one GET.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ...encryption import Secret
from ...transport import MOST_BODY_BYTES, Unreachable
from ..base import Answer, Statement, Stored, Verdict
from . import sign_in
from .actor import blames_address
from .answers import Received, read_answer, read_stored, read_unreachable
from .comparison import is_same
from .redaction import Redactor
from .sign_in import NotSignedIn
from .vocabulary import VERSION_HEADER

if TYPE_CHECKING:
    from ...transport import Reply, Transport

_REFUSED = {"oauth2": "token_not_taken", "bearer": "bearer_refused", "header": "header_refused"}


@cache
def user_agent() -> str:
    """Who we are, for the logs at the other end."""
    return f"Flask-LMS/{version('Flask-LMS')}"


def body(statements: Sequence[Statement]) -> bytes:
    """The frozen texts as a request's body: one as an object, which every LMS takes."""
    texts = [statement.text.encode() for statement in statements]
    return texts[0] if len(texts) == 1 else b"[" + b",".join(texts) + b"]"


def send(
    statements: Sequence[Statement],
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    transport: Transport,
) -> Answer:
    """Send them in one request and read the answer."""
    url = f"{settings['url']}/statements"
    try:
        reply = request(transport, "POST", url, settings, secrets, body(statements))
    except Unreachable as error:
        return unreachable(error, url)
    ids = [statement.id for statement in statements]
    answer = told(read_answer(Received.of(reply, url, ids), redactor(settings, secrets)), settings)
    is_alone = answer.verdict is Verdict.REFUSED and len(statements) == 1
    if is_alone and blames_address(statements[0].text, answer.words):
        return replace(answer, cause="address_refused")
    return answer


def compare(
    statement: Statement,
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    transport: Transport,
) -> Stored | Answer:
    """What the LRS has under the statement's id; an answer: it could not be asked."""
    found = read(statement.id, settings, secrets, transport)
    if isinstance(found, (Stored, Answer)):
        return found
    same = is_same(json.loads(statement.text), found)
    return Stored.ABSENT if same is None else Stored.SAME if same else Stored.DIFFERS


def read(
    id: uuid.UUID, settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
) -> Any:
    """A stored statement; ``Stored``: none that can be read; an answer: the LRS can't be asked."""
    url = f"{settings['url']}/statements?" + urlencode({"statementId": str(id)})
    try:
        reply = request(transport, "GET", url, settings, secrets)
    except Unreachable as error:
        return unreachable(error, url)
    return read_stored(Received.of(reply, url), redactor(settings, secrets))


def request(
    transport: Transport,
    method: str,
    url: str,
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    content: bytes | None = None,
    most_bytes: int = MOST_BODY_BYTES,
) -> Reply:
    """One authorised request with xAPI's headers.

    :param most_bytes: of the answer that are read.
    :raises Unreachable: no status line came back.
    """
    headers = {
        "Accept": "application/json",
        VERSION_HEADER: settings["version"],
        "User-Agent": user_agent(),
    }
    if content is not None:
        headers["Content-Type"] = "application/json"

    def send(signature: Mapping[str, Secret]) -> Reply:
        return transport.request(
            method,
            url,
            headers={**headers, **signature},
            body=content,
            ca_pem=settings["ca_pem"],
            most_bytes=most_bytes,
        )

    return sign_in.signed(send, settings, secrets, transport)


def redactor(settings: Mapping[str, Any], secrets: Mapping[str, Secret]) -> Redactor:
    """Hides this configuration's secrets."""
    key, secret = settings.get("key") or "", secrets.get("secret") or Secret("")
    if settings.get("auth") == "oauth2":
        key, secret = settings["client_id"], secrets.get("client_secret") or Secret("")
    return Redactor(key, secret, *secrets.values())


def told(answer: Answer, settings: Mapping[str, Any]) -> Answer:
    """An answer that refuses us, in the words of the way in which we sign in."""
    cause = _REFUSED.get(settings.get("auth") or "basic")
    return replace(answer, cause=cause) if cause and answer.cause == "credentials" else answer


def unreachable(error: Unreachable, url: str) -> Answer:
    """The answer when there was none."""
    if isinstance(error, NotSignedIn):
        return error.answer
    return read_unreachable(error.cause, error.facts, url, error.was_sent)
