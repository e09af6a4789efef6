"""Carries statements to an LRS: one POST, one answer (xAPI 1.0.3 Communication 2.1.2), and
after a conflict one GET.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ...encryption import Secret
from ...transport import Unreachable
from ..base import Answer, Statement, Stored, Verdict, place
from .actor import blames_address
from .answers import Received, read_answer, read_stored, read_unreachable
from .redaction import Redactor
from .vocabulary import VERSION_HEADER

if TYPE_CHECKING:
    from ...transport import Reply, Transport


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
    if not secrets.get("secret"):
        return Answer(verdict=Verdict.FAILED, cause="secret_unreadable", facts=place(url))
    try:
        reply = request(transport, "POST", url, settings, secrets, body(statements))
    except Unreachable as error:
        return unreachable(error, url)
    ids = [statement.id for statement in statements]
    answer = read_answer(received(reply, url, ids), redactor(settings, secrets))
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
    return read_stored(received(reply, url), redactor(settings, secrets))


def request(
    transport: Transport,
    method: str,
    url: str,
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    content: bytes | None = None,
) -> Reply:
    """One authorised request with xAPI's headers.

    :raises Unreachable: no status line came back.
    """
    headers = {
        "Accept": "application/json",
        VERSION_HEADER: settings["version"],
        "User-Agent": user_agent(),
    }
    if content is not None:
        headers["Content-Type"] = "application/json"
    return transport.request(
        method,
        url,
        headers=headers,
        body=content,
        auth=(settings["key"], secrets["secret"]),
        ca_pem=settings["ca_pem"],
    )


def received(reply: Reply, url: str, sent: Sequence[uuid.UUID] = ()) -> Received:
    """A reply as ``answers`` reads it."""
    return Received(
        status=reply.status,
        headers=reply.headers,
        body=reply.body,
        is_complete=reply.is_complete,
        is_truncated=reply.is_truncated,
        url=url,
        sent=tuple(sent),
        is_private=reply.is_private,
    )


def redactor(settings: Mapping[str, Any], secrets: Mapping[str, Secret]) -> Redactor:
    """Hides this configuration's secrets."""
    return Redactor(settings["key"], secrets.get("secret", ""))


def unreachable(error: Unreachable, url: str) -> Answer:
    """The answer when there was none."""
    return read_unreachable(error.cause, error.facts, url, error.was_sent)


def is_same(ours: Any, stored: Any) -> bool | None:
    """Whether a stored statement is the one we sent (xAPI 1.0.3 Data 2.3.1): pure.

    What matters to a learner's record is compared; an LRS may add to or rewrite the rest.

    :returns: None when ``stored`` is no statement with our id.
    """
    if not isinstance(ours, dict) or not isinstance(stored, dict):
        return None
    if str(stored.get("id", "")).lower() != str(ours.get("id", "")).lower():
        return None
    return _core(ours) == _core(stored)


def _core(statement: dict[str, Any]) -> tuple[Any, ...]:
    result = _object(statement.get("result"))
    score = _object(result.get("score"))
    return (
        _person(_object(statement.get("actor"))),
        _object(statement.get("verb")).get("id"),
        str(_object(statement.get("object")).get("id")),
        result.get("success"),
        result.get("completion"),
        tuple(score.get(name) for name in ("scaled", "raw", "min", "max")),
        _instant(statement.get("timestamp")),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _person(actor: dict[str, Any]) -> tuple[str, ...]:
    account = _object(actor.get("account"))
    return (
        str(actor.get("mbox", "")).lower(),
        str(actor.get("mbox_sha1sum", "")).lower(),
        str(account.get("homePage", "")),
        str(account.get("name", "")),
    )


def _instant(text: Any) -> Any:
    """The moment in milliseconds, however it is spelled; the text itself if it can't be read."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:?\d\d)?", str(text)
    )
    if match is None:
        return text
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
        if zone and zone not in "Zz":
            hours, minutes = int(zone[1:3]), int(zone[-2:])
            offset = timedelta(hours=hours, minutes=minutes)
            moment -= offset if zone[0] == "+" else -offset
    except (ValueError, OverflowError):
        return text
    milliseconds = int(((fraction or "") + "000")[:3])
    return moment.astimezone(timezone.utc), milliseconds
