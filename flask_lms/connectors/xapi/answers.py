"""What an answer of an LRS means (xAPI 1.0.3 Communication 2.1.2 and 3.2): pure functions.

One rule a function, in the order in which :func:`read_answer` asks them. When in doubt a statement
is kept: sending the same id twice is harmless, believing a web page is not.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import replies
from ..base import Answer, Stored, Verdict
from ..causes import place
from ..replies import http_date, retry_after
from .comparison import moment
from .redaction import Redactor
from .vocabulary import VERSION_HEADER

if TYPE_CHECKING:
    from ...transport import Reply

_BY_STATUS = {
    **dict.fromkeys((401, 403), "credentials"),
    **dict.fromkeys((404, 405, 410), "address"),
    **dict.fromkeys((407, 511), "gateway"),
    **dict.fromkeys((406, 411, 415, 501, 505), "protocol"),
    **dict.fromkeys((408, 425), "busy"),
}

# What names the request as a whole. Narrow on purpose: an LMS may quote a learner's or an
# objective's name, and one such statement must not stop all others.
_NAMES_SETTINGS = re.compile(
    r"x-experience-api-version"
    r"|\b(?:unsupported|unknown|invalid|missing|wrong) (?:xapi |api )?version\b"
    r"|\bversion(?: header)? (?:is )?(?:not supported|unsupported|missing|required)\b"
    r"|\bauthori[sz]ation (?:header|required)\b"
    r"|\b(?:missing|invalid|malformed) authori[sz]ation\b",
    re.IGNORECASE,
)

# Where LRSs put the index of the statement to blame, in their error texts.
_INDEX = re.compile(
    r"\bstatements?\s*(?:\.|\[\s*)(\d{1,4})\b"  # statements.3.actor, statements[3]
    r"|\bindex['\"]?\s*[:=]?\s*(\d{1,4})\b"  # index 3, "index": 3
    r"|(?<![\w\])\"'])\[(\d{1,4})\]"  # [3].actor
    r"|['\"](\d{1,4})\.[a-z]\w*",  # '3.actor'
    re.IGNORECASE,
)

# The same, and looser: a place in a request says nothing to a reader of one statement.
_PLACE = re.compile(
    r"\b(?:in )?statements?(?:\s*\.|\s*\[|\s+(?:index|number|no\.?|\#)?)\s*\d{1,4}\b\]?\.?"
    r"|\b(?:at )?index['\"]?\s*[:=]?\s*\d{1,4}\b"
    r"|(?<![\w\])\"'])\[\d{1,4}\]\.?"
    r"|(?<=['\"])\d{1,4}\.(?=[a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Received:
    """An LRS's answer to the statements of one request.

    :param url: where the request went, for people and to resolve a redirect.
    :param headers: with any spelling of their names.
    :param sent: the ids in the request's order.
    :param is_private: its words are nobody's to read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    is_complete: bool
    is_truncated: bool
    url: str
    sent: Sequence[uuid.UUID]
    is_private: bool = False

    @classmethod
    def of(cls, reply: Reply, url: str, sent: Sequence[uuid.UUID] = ()) -> Received:
        """A reply to a request to this address."""
        return cls(
            status=reply.status,
            headers=reply.headers,
            body=reply.body,
            is_complete=reply.is_complete,
            is_truncated=reply.is_truncated,
            url=url,
            sent=tuple(sent),
            is_private=reply.is_private,
        )

    def header(self, name: str) -> str | None:
        for key, value in self.headers.items():
            if key.lower() == name.lower():
                return value
        return None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace").lstrip("\ufeff").strip()


def read_answer(received: Received, redactor: Redactor) -> Answer:
    """What an answer means for the statements of its request.

    :param redactor: takes the secrets out of everything that people will read.
    """
    reader = _Reader(received, redactor)
    status = received.status
    if status == 204:
        return reader.accepted()
    if 200 <= status < 300:
        return reader.success()
    if 300 <= status < 400:
        return reader.failed("redirect", target=redirect_target(received, redactor))
    if status in (400, 422):
        return reader.bad_request()
    if status == 409:
        return reader.answer(Verdict.CONFLICT, "conflict")
    if status == 413:
        return reader.answer(Verdict.TOO_LARGE, "too_large")
    if status == 429 or (status == 503 and received.header("Retry-After") is not None):
        wait = retry_after(received.header("Retry-After"), received.header("Date"))
        return reader.answer(Verdict.SLOW_DOWN, "rate", retry_after_seconds=wait)
    if status in _BY_STATUS:
        return reader.failed(_BY_STATUS[status])
    return reader.failed("internal" if 500 <= status < 600 else "unexpected")


def read_stored(received: Received, redactor: Redactor) -> Any:
    """What an LRS has under an id that was asked for: a statement, perhaps, or what is known of it.

    :returns: a JSON value; or ``Stored``; or an answer when the LRS could not be asked.
    """
    reader = _Reader(received, redactor)
    status = received.status
    if status in (401, 403) or (status == 200 and received.is_truncated):
        return Stored.UNREADABLE
    if status in (204, 404):
        return Stored.ABSENT
    if status != 200:
        answer = read_answer(received, redactor)
        is_fault = answer.verdict in (Verdict.FAILED, Verdict.SLOW_DOWN)
        return answer if is_fault else reader.failed("unexpected")
    if not received.is_complete:
        return reader.failed("cut_off")
    try:
        value = json.loads(received.text)
    except (ValueError, RecursionError):
        return reader.failed("cut_off" if received.text.startswith(("[", "{")) else "not_lrs")
    if isinstance(value, dict) and isinstance(value.get("statements"), list):
        value = value["statements"]  # Ralph answers so
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def read_list(received: Received, redactor: Redactor) -> tuple[list[dict[str, Any]], str] | Answer:
    """A part of a list of statements (Communication 2.1.3, ``StatementResult``).

    :returns: the statements, and where the list goes on (empty: it has ended); or an answer.
    """
    reader = _Reader(received, redactor)
    if received.status in (401, 403):
        return reader.failed("may_not_read")
    if received.status != 200:
        answer = read_answer(received, redactor)
        return reader.failed("unexpected") if answer.verdict is Verdict.ACCEPTED else answer
    if not received.is_complete or received.is_truncated:
        return reader.failed("cut_off")
    try:
        value = json.loads(received.text)
    except (ValueError, RecursionError):
        return reader.failed("cut_off" if received.text.startswith("{") else "not_lrs")
    if not isinstance(value, dict) or not isinstance(value.get("statements"), list):
        return reader.failed("not_lrs")
    more = value.get("more")
    found = [one for one in value["statements"] if isinstance(one, dict)]
    return found, more if isinstance(more, str) else ""


def lag_seconds(received: Received) -> float:
    """What an LRS stored later than so long ago may be missing from its answer (Communication
    2.1.3, ``X-Experience-API-Consistent-Through``), by its own clock.
    """
    through = moment(received.header("X-Experience-API-Consistent-Through"))
    now = http_date(received.header("Date") or "")
    return max((now - through).total_seconds(), 0.0) if through and now else 0.0


def read_unreachable(cause: str, facts: Mapping[str, Any], url: str, was_sent: bool) -> Answer:
    """What it means that no status line came back.

    :param cause: a code of ``TRANSPORT_CAUSES``.
    :param was_sent: whether the LMS may have the request: its size may then be to blame.
    """
    return Answer(
        verdict=Verdict.FAILED,
        cause=cause,
        facts={**place(url), **facts},
        is_suspect_of_size=was_sent and cause in ("timeout", "reset"),
    )


def redirect_target(received: Received, redactor: Redactor) -> str:
    """The address that a redirect names, for people."""
    if received.is_private:
        return "…"
    target = replies.redirect_target(received.headers, received.url)
    return redactor.clean(target or "", most=500) or "…"


def is_web_page(received: Received) -> bool:
    """Whether a page for browsers answered, and nothing that knows xAPI."""
    if received.header(VERSION_HEADER) is not None:
        return False
    return bool(re.match(r"<(!doctype|html|\?xml|head|body|!--)", received.text, re.IGNORECASE))


class _Reader:
    """Reads one answer."""

    def __init__(self, received: Received, redactor: Redactor) -> None:
        self.received = received
        self.redactor = redactor

    @cached_property
    def words(self) -> str | None:
        if self.received.is_private:
            return None
        is_cut = self.received.is_truncated or not self.received.is_complete
        return self.redactor.words(self.received.body, is_cut=is_cut)

    @cached_property
    def facts(self) -> dict[str, Any]:
        return {
            **place(self.received.url),
            "http_status": self.received.status,
            "words": self.words or str(self.received.status),
        }

    def answer(self, verdict: Verdict, cause: str, **more: Any) -> Answer:
        return Answer(
            verdict=verdict,
            cause=cause,
            http_status=self.received.status,
            words=self.words,
            facts=self.facts,
            **more,
        )

    def failed(self, cause: str, **facts: Any) -> Answer:
        return Answer(
            verdict=Verdict.FAILED,
            cause=cause,
            http_status=self.received.status,
            words=self.words,
            facts={**self.facts, **facts},
        )

    def accepted(self, note: str | None = None) -> Answer:
        return Answer(
            verdict=Verdict.ACCEPTED,
            http_status=self.received.status,
            words=self.words if note else None,
            facts=self.facts if note else {},
            note=note,
        )

    def success(self) -> Answer:
        """200 and its like: only a list of ids, or of errors, proves that an LRS answered."""
        if not self.received.is_complete:
            return self.failed("cut_off")
        try:
            value = json.loads(self.received.text)
        except (ValueError, RecursionError):
            return self._not_json()
        if isinstance(value, dict) and isinstance(value.get("errors"), list):
            return self._partial(value["errors"])
        ids = _ids([value] if isinstance(value, str) else value)
        if ids is None or (not ids and self.received.header(VERSION_HEADER) is None):
            return self.failed("not_lrs")
        if set(ids) <= set(self.received.sent):
            return self.accepted()
        return self.accepted(note="foreign_ids")

    def _not_json(self) -> Answer:
        if not self.received.text.startswith(("[", "{")):
            return self.failed("not_lrs")
        if self.received.is_truncated:
            # We stopped reading a long list ourselves. Batches are all or nothing
            # (Communication 3.2), so some of our ids stand for all of them.
            whole = re.findall(r'"([0-9A-Fa-f-]{36})"\s*(?=[,\]])', self.received.text)
            ids = _ids(whole)
            if ids and self.received.text.startswith("[") and set(ids) <= set(self.received.sent):
                return self.accepted()
        return self.failed("cut_off")

    def _partial(self, errors: list[Any]) -> Answer:
        n = len(self.received.sent)
        rejected: dict[int, str] = {}
        for error in errors:
            index = error.get("index") if isinstance(error, dict) else None
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < n:
                # Nobody knows which were stored: again, in halves.
                return self.answer(Verdict.REFUSED, "rejected")
            rejected[index] = self._words_of(error)
        if rejected:
            return self.answer(Verdict.PARTIAL, "rejected", rejected=rejected)
        if self.received.header(VERSION_HEADER) is None:
            return self.failed("not_lrs")
        return self.accepted()

    def bad_request(self) -> Answer:
        if is_web_page(self.received):
            return self.failed("not_lrs")
        rejected = self._blamed()
        if not rejected and _NAMES_SETTINGS.search(self.received.text):
            return self.failed("settings")
        return self.answer(
            Verdict.REFUSED, "rejected", rejected=rejected if len(self.received.sent) > 1 else {}
        )

    def _blamed(self) -> dict[int, str]:
        """Index → words, as far as the body names one of several statements."""
        n = len(self.received.sent)
        try:
            value = json.loads(self.received.text)
        except (ValueError, RecursionError):
            value = None
        found: dict[int, str] = {}
        for error in _errors(value):
            index = _index_of(error)
            if index is not None and index < n:
                found.setdefault(index, self._words_of(error))
        if found:
            return found
        # Each clause that names one; what names several belongs to none of them.
        for part in re.split(r";\s+|(?<=[.!?])\s+", self.words or ""):
            named = _named(part)
            for index in named:
                words = self._words_of(part) if len(named) == 1 else str(self.received.status)
                found.setdefault(index, words)
        if not found:
            named = _named(self.received.text)
            words = self._words_of(self.words) if len(named) == 1 else str(self.received.status)
            found = dict.fromkeys(named, words)
        return {i: words for i, words in found.items() if i < n} or self._blamed_by_id()

    def _blamed_by_id(self) -> dict[int, str]:
        """The one statement whose id the body names; several may be a quotation."""
        text = self.received.text.lower()
        named = [index for index, id in enumerate(self.received.sent) if str(id) in text]
        return {named[0]: self.words or str(self.received.status)} if len(named) == 1 else {}

    def _words_of(self, error: Any) -> str:
        """What is said of one statement, without its place in the request."""
        if isinstance(error, dict):
            error = {key: value for key, value in error.items() if key not in ("index", "loc")}
        if not error or self.received.is_private:
            return str(self.received.status)
        body = json.dumps(error, ensure_ascii=False).encode("utf-8", "replace")
        said = _PLACE.sub("", self.redactor.words(body) or "").strip(" :,-–")
        return said or str(self.received.status)


def _ids(value: Any) -> list[uuid.UUID] | None:
    """The ids in a list, or None when it is no list of ids."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    try:
        return [uuid.UUID(item) for item in value]
    except ValueError:
        return None


def _errors(value: Any) -> list[Any]:
    """The single errors in an error body, wherever LRSs put them."""
    if isinstance(value, dict):
        for key in ("errors", "detail", "warnings"):
            if isinstance(value.get(key), list):
                return list(value[key])
        return [value]
    return value if isinstance(value, list) else []


def _named(text: str) -> list[int]:
    """The indices that a text names."""
    return sorted({int(next(filter(None, m.groups()))) for m in _INDEX.finditer(text)})


def _index_of(error: Any) -> int | None:
    """The index that one error names: ``index``, FastAPI's ``loc: ["body", 3, …]``, or its text."""
    if isinstance(error, str):
        named = _named(error)
        return named[0] if len(named) == 1 else None
    if not isinstance(error, dict):
        return None
    candidates = [error.get("index")]
    location = error.get("loc")
    if isinstance(location, list) and len(location) > 1 and location[0] == "body":
        candidates.append(location[1])
    for index in candidates:
        if isinstance(index, int) and not isinstance(index, bool) and index >= 0:
            return index
    return None
