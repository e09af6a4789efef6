"""Reads back what an LRS has (xAPI 1.0.3 Communication 2.1.3); it changes nothing there.

``GET /statements`` lists ours, by the profile that each of our statements names, many in a request.
What that doesn't show, such as voids, is asked for by its id.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from ...database.models import ReadBack
from ...encryption import Secret
from ...transport import Unreachable
from ..base import Answer, Found, Reader, Sent, Stored, StoredPage, Verdict
from ..causes import place
from . import client, comparison
from .answers import Received, lag_seconds, read_answer, read_list, read_stored
from .statement import void_id
from .vocabulary import OBJECTIVE_RESULT, VERSION_HEADER, VOIDED

if TYPE_CHECKING:
    from ...transport import Transport

#: Statements of one request, if the LRS gives so many, and the bytes that are read of its answer.
_MOST_STATEMENTS = 250
_MOST_BYTES = 4_000_000
#: Pages of voids in which somebody else's are looked for.
_PAGES_OF_VOIDS = 4
_MOST_FIELDS = 20
_LONGEST = 200


class XapiReader(Reader):
    """For one check."""

    def __init__(
        self, settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
    ) -> None:
        self._settings, self._secrets, self._transport = settings, secrets, transport
        self._redactor = client.redactor(settings, secrets)
        self._url = f"{settings['url']}/statements"
        self._is_private = self._is_lrs = False
        self._since = datetime(2000, 1, 1, tzinfo=timezone.utc)
        #: Id of a voided statement → who voided it, and when.
        self._voids: dict[str, dict[str, str]] | None = None

    def pages(self, since: datetime) -> Iterator[StoredPage | Answer]:
        self._since = since
        listed_to: datetime | None = None
        is_ascending = True
        ours = {"activity": OBJECTIVE_RESULT, "related_activities": "true"}
        # Some LRSs find nothing by an activity that stands in the context: then all is listed.
        for asked in (ours, {}):
            for page in self._list(since, asked):
                if isinstance(page, Answer):
                    yield page
                    return
                statements, lag = page
                stored = [comparison.moment(one.get("stored")) for one in statements]
                times = [one for one in (listed_to, *stored) if one is not None]
                is_ascending &= None not in stored and times == sorted(times)
                listed_to = times[-1] if times else None
                if statements or not asked:
                    yield StoredPage(
                        statements={id: one for one in statements if (id := _id(one))},
                        listed_to=listed_to if is_ascending else None,
                        lag_seconds=lag,
                    )
            if listed_to is not None:
                return

    def one(self, id: uuid.UUID, text: str | None) -> Found | Answer:
        found = self._get({"statementId": str(id)})
        if isinstance(found, Answer):
            return found
        if comparison.has_id(found, id):
            return self.compare(text, found)
        # Of a voided statement the other parameter tells (Communication 2.1.3). Some don't know it.
        voided = self._get({"voidedStatementId": str(id)})
        if isinstance(voided, Answer) and voided.cause not in ("unexpected", "protocol"):
            return voided
        if comparison.has_id(voided, id):
            return Found(read_back=ReadBack.VOIDED, facts=self._voided_by(id))
        return Found(read_back=ReadBack.MISSING)

    def compare(self, text: str | None, stored: Any) -> Found:
        if text is None:
            return Found(read_back=ReadBack.CONFIRMED, facts={"by_id": True})
        found = comparison.differences(json.loads(text), stored)
        if not found:
            return Found(read_back=ReadBack.CONFIRMED)
        fields = [
            [one.name, self._shown(one.sent), self._shown(one.stored)]
            for one in found[:_MOST_FIELDS]
        ]
        return Found(read_back=ReadBack.DIFFERENT, facts={"fields": fields})

    def likeness(self, statement: Any) -> str | None:
        value = json.loads(statement) if isinstance(statement, str) else statement
        if not isinstance(value, dict) or OBJECTIVE_RESULT not in json.dumps(value.get("context")):
            return None
        return comparison.likeness(value)

    def takes_back(self, void: Sent, old: Sent) -> bool:
        return void.id == void_id(old.id, void.revision)

    def _shown(self, value: Any) -> str | None:
        """A value for people; what came from inside the operator's network is nobody's to read."""
        if value is None or self._is_private:
            return None
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return self._redactor.clean(text, most=_LONGEST) or "…"

    def _voided_by(self, id: uuid.UUID) -> dict[str, str]:
        """Who voided it and when, if the LRS lists that."""
        if self._voids is None:
            self._voids = {}
            pages = self._list(self._since, {"verb": VOIDED})
            for page in itertools.islice(pages, _PAGES_OF_VOIDS):
                for one in () if isinstance(page, Answer) else page[0]:
                    of = one.get("object")
                    facts = {"at": self._shown(one.get("stored")), "by": self._shown(_name(one))}
                    self._voids[str(of.get("id") if isinstance(of, dict) else "").lower()] = {
                        name: shown for name, shown in facts.items() if shown
                    }
        return self._voids.get(str(id), {})

    def _get(self, asked: Mapping[str, str]) -> Any:
        """What is under an id: a JSON value, ``Stored.ABSENT``, or an answer."""
        try:
            received = self._request(f"{self._url}?{urlencode(asked)}")
        except Unreachable as error:
            return client.unreachable(error, self._url)
        found = read_stored(received, self._redactor)
        if isinstance(found, Answer):
            return client.told(found, self._settings)
        # Anything may say that it has nothing: an LRS shows itself, there or before.
        self._is_lrs |= received.header(VERSION_HEADER) is not None
        if found is Stored.UNREADABLE:
            return Answer(verdict=Verdict.FAILED, cause="may_not_read", facts=place(self._url))
        if found is Stored.ABSENT and not self._is_lrs:
            page = next(self._list(self._since, {}), None)
            if not self._is_lrs:
                return page or client.told(read_answer(received, self._redactor), self._settings)
        return found

    def _list(
        self, since: datetime, asked: Mapping[str, str]
    ) -> Iterator[tuple[list[dict[str, Any]], float] | Answer]:
        """Page after page, with the seconds that it may lag; an answer ends it.

        One that leads elsewhere, or back, or that this LRS doesn't offer, has ended.
        """
        limit, more, seen = _MOST_STATEMENTS, "", set[str]()
        query = {
            "since": since.astimezone(timezone.utc).isoformat().replace("+00:00", "Z"),
            "ascending": "true",
            **asked,
        }
        url = f"{self._url}?{urlencode({**query, 'limit': limit})}"
        while url not in seen and _origin(url) == _origin(self._url):
            seen.add(url)
            try:
                received = self._request(url)
            except Unreachable as error:
                yield client.unreachable(error, self._url)
                return
            if received.is_truncated and limit > 1 and not more:
                limit = max(limit // 4, 1)
                url = f"{self._url}?{urlencode({**query, 'limit': limit})}"
                continue
            found = read_list(received, self._redactor)
            if isinstance(found, Answer):
                if found.verdict is not Verdict.REFUSED:
                    yield client.told(found, self._settings)
                return
            statements, more = found
            self._is_lrs = True
            yield statements, lag_seconds(received)
            if not more:
                return
            url = urljoin(url, more)

    def _request(self, url: str) -> Received:
        reply = client.request(
            self._transport, "GET", url, self._settings, self._secrets, most_bytes=_MOST_BYTES
        )
        self._is_private |= reply.is_private
        return Received.of(reply, self._url)


def _id(statement: Mapping[str, Any]) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(statement.get("id")))
    except ValueError:
        return None


def _name(statement: Mapping[str, Any]) -> Any:
    """Who is behind it, as the LRS or the statement says."""
    for part in ("authority", "actor"):
        one = statement.get(part)
        if isinstance(one, dict):
            account = one.get("account")
            name = account.get("name") if isinstance(account, dict) else None
            if found := one.get("name") or one.get("mbox") or name:
                return str(found).removeprefix("mailto:")
    return None


def _origin(url: str) -> tuple[Any, ...]:
    """Scheme, host and port; empty for what is no URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port, parts.username
    except ValueError:
        return ()
