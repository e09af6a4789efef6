"""No input breaks a rule or raises what isn't ours."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flask_lms.checks import mail_address
from flask_lms.connectors.base import Answer, Sent, Verdict
from flask_lms.connectors.replies import retry_after
from flask_lms.connectors.xapi.answers import Received, read_answer
from flask_lms.connectors.xapi.causes import CAUSES
from flask_lms.connectors.xapi.comparison import is_same
from flask_lms.connectors.xapi.redaction import Redactor
from flask_lms.errors import InvalidConfiguration, InvalidValue
from flask_lms.values import (
    Activity,
    Objective,
    ObjectiveResult,
    Participant,
    Score,
    Step,
    StepResult,
)
from tests.xapi_rules import faults
from tests.xapi_support import NOW, clean_url, connector, context, statements
from tests.xapi_support import settings as make_settings

#: On a busy machine drawing is slow, and what host values refuse is drawn again.
MORE = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# -- URL clean-up ------------------------------------------------------------------------------

HOSTS = st.sampled_from(
    [
        "lrs.example.org",
        "LRS.Example",
        "münchen.example",
        "[::1]",
        "127.0.0.1",
        "a",
        "a.b.",
        "xn--a",
    ]
)
URLS = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}{}{}{}{}{}{}".format,
        st.sampled_from(["https://", "http://", "HTTPS://", "ftp://", "//", "", " https://"]),
        st.sampled_from(["", "", "user@", "u:p@"]),
        HOSTS,
        st.sampled_from(["", ":443", ":80", ":8443", ":0", ":x", ":99999"]),
        st.lists(
            st.sampled_from(["/", "/xapi", "/statements", "//", "/ä", "/a b", "/%2e%2e", "\\"]),
            max_size=4,
        ).map("".join),
        st.sampled_from(["", "?", "?a=1", "?a/statements"]),
        st.sampled_from(["", "#", "#x/statements"]),
    ),
)


@MORE
@given(url=URLS, allow_http=st.booleans())
@example(url="https://a/statements/statements/", allow_http=False)
@example(url="https://[::1%eth0]/", allow_http=False)
@example(url="https://a\u2100b/", allow_http=False)
def test_a_url_is_cleaned_for_good_or_refused_in_our_words(url: str, allow_http: bool) -> None:
    try:
        kept, _ = clean_url(url, allow_http=allow_http)
    except InvalidConfiguration:
        return
    parts = urlsplit(kept)
    assert parts.scheme in (("http", "https") if allow_http else ("https",))
    assert parts.hostname
    assert (parts.query, parts.fragment, parts.username, parts.password) == ("", "", None, None)
    assert not kept.endswith(("/", "/statements"))
    again, hints = clean_url(kept, allow_http=allow_http)
    assert again == kept
    assert all("not encrypted" in hint for hint in hints)


# -- Statement building ------------------------------------------------------------------------

TEXTS = st.text(min_size=1, max_size=40)
IDS = st.one_of(TEXTS, st.sampled_from(["1", "a/b", "../x", "E001", "jane@example.com", "ä ö"]))
EMAILS = st.one_of(st.none(), st.emails(), TEXTS, st.just("jane.doe@example.com"))
#: Mostly valid: what is refused is drawn again.
VALID_IRIS = st.sampled_from(["https://x.example/a", "urn:a:b", "http://y.example/?b=c#d"])
IRIS = st.one_of(VALID_IRIS, VALID_IRIS, VALID_IRIS, TEXTS)
LINKS = st.sampled_from(["https://x.example/a", "http://y.example/b", "urn:a:b"])
LANGUAGES = st.sampled_from(
    ["en", "de-CH", "zh-Hant-TW", "sr-Latn", "es-419", "x-klingon", "i-default", "fr", "en_US"]
)
ZONES = st.integers(-14 * 60 + 1, 14 * 60 - 1).map(lambda m: timezone(timedelta(minutes=m)))
TIMES = st.datetimes(timezones=ZONES)
NUMBERS = st.one_of(st.integers(-10, 10), st.floats(), st.integers())
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=6,
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


@st.composite
def valid(draw: st.DrawFn, kind: type, **fields: st.SearchStrategy[Any]) -> Any:
    """A host value, or None when it refuses itself with our own error."""
    values = {name: draw(strategy) for name, strategy in fields.items()}
    try:
        return kind(**values)
    except InvalidValue:
        return None


def one(kind: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return valid(kind, **fields).filter(lambda value: value is not None)


ACTIVITIES = one(Activity, id=IDS, name=maybe(TEXTS), type=maybe(IRIS))
OBJECTIVES = one(
    Objective,
    id=IDS,
    name=TEXTS,
    description=maybe(TEXTS),
    url=maybe(LINKS),
    language=LANGUAGES,
    activity_id=maybe(IRIS),
    version=maybe(TEXTS),
    parent=maybe(ACTIVITIES),
    grouping=st.lists(ACTIVITIES, max_size=2),
    steps=st.lists(
        one(Step, number=st.integers(1, 5), name=maybe(TEXTS), type=maybe(IRIS)), max_size=3
    ),
)
PARTICIPANTS = one(
    Participant,
    id=IDS,
    email=EMAILS,
    name=maybe(TEXTS),
    account_home_page=maybe(LINKS),
    account_name=maybe(TEXTS),
)
RESULTS = one(
    ObjectiveResult,
    id=IDS,
    organization_id=IDS,
    objective=OBJECTIVES,
    participant=PARTICIPANTS,
    finished_at=TIMES,
    success=maybe(st.booleans()),
    completed=st.booleans(),
    started_at=maybe(TIMES),
    duration_ms=maybe(st.integers(0, 10**10)),
    score=maybe(
        one(
            Score,
            scaled=maybe(NUMBERS),
            raw=maybe(NUMBERS),
            min=maybe(NUMBERS),
            max=maybe(NUMBERS),
        )
    ),
    steps=st.lists(
        one(
            StepResult,
            number=st.integers(1, 5),
            outcome=st.sampled_from(["succeeded", "failed", "not_reached"]),
            at=maybe(TIMES),
            duration_ms=maybe(st.integers(0, 10**6)),
        ),
        max_size=3,
        unique_by=lambda step: step.number,
    ),
    session_id=maybe(IDS),
    session_name=maybe(TEXTS),
    platform=maybe(TEXTS),
    language=maybe(LANGUAGES),
    is_test=st.booleans(),
    revision=st.integers(0, 3),
    extensions=st.dictionaries(IRIS, JSON, max_size=2),
)
CHOSEN = st.fixed_dictionaries(
    {
        "identify": st.sampled_from(["mbox", "mbox_sha1sum", "account"]),
        "send_name": st.booleans(),
        "results": st.sampled_from(["all", "passed"]),
        "steps": st.sampled_from(["summary", "statements"]),
        "send_completed": st.booleans(),
        "failed_counts_as_completed": st.booleans(),
    }
)


@MORE
@given(
    result=RESULTS,
    chosen=CHOSEN,
    after=st.lists(
        st.builds(
            Sent,
            id=st.uuids(version=5),
            kind=st.sampled_from(["result", "completed", "step", "void"]),
            revision=st.integers(0, 2),
        )
    ),
)
def test_whatever_a_host_hands_in_the_statements_keep_the_rules(
    result: ObjectiveResult, chosen: dict[str, Any], after: list[Sent]
) -> None:
    made = connector.build(result, make_settings(**chosen), context(sent=after))
    if made.not_sendable is not None:
        cause = CAUSES[made.not_sendable.reason]
        assert cause.sentence_for(made.not_sendable.facts)
        return
    for statement in made.statements:
        value = json.loads(statement.text)
        assert faults(value, now=NOW) == []
        assert value["id"] == str(statement.id)
        assert len(statement.text.encode()) <= 60_000
    assert len({statement.id for statement in made.statements}) == len(made.statements)


@MORE
@given(text=st.one_of(EMAILS.filter(bool), st.text()))
def test_an_address_that_we_take_is_one_that_strict_lrss_take(text: str) -> None:
    address = mail_address(text)
    if address is not None:
        assert address.isascii()
        assert "." in address.rpartition("@")[2]
        assert mail_address(address) == address


# -- Answers -----------------------------------------------------------------------------------

SENT = [uuid.UUID(int=number, version=5) for number in range(1, 5)]
KEY, SECRET = "harbor-key", "s3cr3t <&> ü"
SPICE = [KEY, SECRET, "Basic aGFyYm9yLWtleTpzM2NyM3QgPCY+IMO8", *map(str, SENT)]
SAID = st.one_of(st.text(max_size=40), st.sampled_from(SPICE))
ANSWERS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), SAID),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["errors", "index", "message", "detail", "loc", "warnings", "id"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    SAID.map(str.encode),
    ANSWERS.map(lambda value: json.dumps(value).encode()),
    ANSWERS.map(lambda value: json.dumps(value, ensure_ascii=False).encode()[:-3]),
)
HEADERS = st.dictionaries(
    st.sampled_from(["Location", "Retry-After", "Date", "X-Experience-API-Version", "location"]),
    st.one_of(SAID, st.sampled_from(["5", "Fri, 20 Nov 2026 12:00:00 GMT", "http://[x", "//h/p"])),
)


@settings(max_examples=300, deadline=None)
@given(
    status=st.integers(100, 699),
    headers=HEADERS,
    body=BODIES,
    n=st.integers(1, 4),
    is_complete=st.booleans(),
    is_truncated=st.booleans(),
)
def test_no_answer_raises_or_lets_a_secret_through(
    status: int,
    headers: dict[str, str],
    body: bytes,
    n: int,
    is_complete: bool,
    is_truncated: bool,
) -> None:
    received = Received(
        status=status,
        headers=headers,
        body=body,
        is_complete=is_complete,
        is_truncated=is_truncated,
        url="https://lrs.example.org/xapi/statements",
        sent=SENT[:n],
    )
    answer = read_answer(received, Redactor(KEY, SECRET))
    check_answer(answer, status, n)


def check_answer(answer: Answer, status: int, n: int) -> None:
    assert (answer.cause is None) == (answer.verdict is Verdict.ACCEPTED)
    if answer.verdict in (Verdict.ACCEPTED, Verdict.PARTIAL):
        assert 200 <= status < 300
    else:
        assert not answer.rejected or status in (400, 422)
    assert all(0 <= index < n for index in answer.rejected)
    if answer.cause is not None:
        assert CAUSES[answer.cause].sentence % answer.facts
    told = [answer.words, *answer.rejected.values(), *map(str, answer.facts.values())]
    for words in filter(None, told):
        assert len(words) <= 2000
        for hidden in (KEY, SECRET, SPICE[2].split()[1]):
            assert hidden.lower() not in words.lower()
    json.dumps(dict(answer.facts), allow_nan=False)


@MORE
@given(key=st.text(max_size=12), secret=st.text(max_size=12), data=st.data())
def test_no_secret_survives_whatever_it_looks_like(
    key: str, secret: str, data: st.DataObject
) -> None:
    pieces = st.lists(st.one_of(st.just(key), st.just(secret), st.text(max_size=5)), max_size=8)
    body = "".join(data.draw(pieces)).encode("utf-8", "replace")
    words = Redactor(key, secret).words(body, is_cut=data.draw(st.booleans()))
    for hidden in filter(None, (key, secret)):
        assert hidden.lower() not in (words or "").lower()


@given(value=st.one_of(st.none(), st.text()), date=st.one_of(st.none(), st.text()))
def test_any_retry_after_is_a_wait_of_at_most_six_hours(
    value: str | None, date: str | None
) -> None:
    seconds = retry_after(value, date)
    assert seconds is None or 0 <= seconds <= 6 * 3600


@MORE
@given(stored=ANSWERS)
def test_any_stored_value_can_be_compared(stored: Any) -> None:
    ours = statements(
        ObjectiveResult(
            id="1",
            organization_id="1",
            objective="1",
            participant="a@b.example",
            finished_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        )
    )[0]
    assert is_same(ours, stored) in (None, True, False)
    assert is_same(ours, {**ours, "result": stored, "actor": stored}) in (None, True, False)
