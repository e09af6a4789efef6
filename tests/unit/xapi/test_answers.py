"""Every row of the answer table (delivery paper), one by one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from flask_lms.connectors.base import Answer, Stored, Verdict
from flask_lms.connectors.replies import LONGEST_WAIT_SECONDS, retry_after
from flask_lms.connectors.xapi.answers import (
    Received,
    read_answer,
    read_stored,
    read_unreachable,
)
from flask_lms.connectors.xapi.causes import CAUSES
from flask_lms.connectors.xapi.redaction import Redactor

IDS = [uuid.UUID(int=number, version=5) for number in range(1, 51)]
FOREIGN = uuid.UUID(int=999, version=5)
LRS = {"X-Experience-API-Version": "1.0.3", "Content-Type": "application/json"}
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}
PAGE = b"<!doctype html><title>Sign in</title><body>Welcome"
URL = "https://lrs.example.org/xapi/statements"


def answer(
    status: int,
    body: bytes | Any = b"",
    headers: Mapping[str, str] = JSON,
    *,
    n: int = 2,
    is_complete: bool = True,
    is_truncated: bool = False,
) -> Answer:
    received = Received(
        status=status,
        headers=headers,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        is_complete=is_complete,
        is_truncated=is_truncated,
        url=URL,
        sent=IDS[:n],
    )
    return read_answer(received, Redactor("the-key", "the-secret"))


def stored(status: int, body: Any, **more: bool) -> Any:
    received = Received(
        status=status,
        headers=LRS,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        url=URL,
        sent=(),
        **{"is_complete": True, "is_truncated": False, **more},
    )
    return read_stored(received, Redactor("the-key", "the-secret"))


def ids(*numbers: int) -> list[str]:
    return [str(IDS[number]) for number in numbers]


ACCEPTED = [
    pytest.param(200, ids(0, 1), JSON, id="all our ids"),
    pytest.param(200, ids(1, 0), JSON, id="our ids in another order"),
    pytest.param(200, ids(1), JSON, id="a subset: the rest was already stored"),
    pytest.param(201, ids(0, 1), JSON, id="201"),
    pytest.param(202, ids(0, 1), JSON, id="202"),
    pytest.param(200, [IDS[0].hex.upper()], JSON, id="an id spelled otherwise"),
    pytest.param(200, ids(0)[0], JSON, id="one id without a list"),
    pytest.param(200, [], LRS, id="an empty list by an LRS: all were stored"),
    pytest.param(200, b'\xef\xbb\xbf ["%s"]' % ids(0)[0].encode(), JSON, id="byte order mark"),
    pytest.param(204, b"", {}, id="204"),
    pytest.param(200, {"errors": []}, LRS, id="no errors, by an LRS"),
]


@pytest.mark.parametrize(("status", "body", "headers"), ACCEPTED)
def test_only_what_proves_storage_is_accepted(
    status: int, body: Any, headers: Mapping[str, str]
) -> None:
    read = answer(status, body, headers)
    assert (read.verdict, read.cause, read.note) == (Verdict.ACCEPTED, None, None)


NOT_AN_LRS = [
    pytest.param(200, [], JSON, id="an empty list without the version header"),
    pytest.param(200, PAGE, HTML, id="a web page"),
    pytest.param(200, PAGE, LRS, id="a web page with the version header"),
    pytest.param(200, b"", JSON, id="empty"),
    pytest.param(200, b"", LRS, id="empty by an LRS"),
    pytest.param(201, b"OK", JSON, id="no JSON"),
    pytest.param(200, {"statements": [], "more": ""}, LRS, id="StatementResult"),
    pytest.param(200, {"status": "ok"}, JSON, id="another API"),
    pytest.param(200, {"errors": []}, JSON, id="no errors, by nobody known"),
    pytest.param(200, ["ok"], LRS, id="texts that are no ids"),
    pytest.param(200, [1, 2], LRS, id="numbers"),
    pytest.param(200, b"null", LRS, id="null"),
    pytest.param(200, b"true", LRS, id="true"),
    pytest.param(200, b"[" * 16_000, JSON, id="endless nesting that ends"),
    pytest.param(400, PAGE, HTML, id="a web page with 400"),
]


@pytest.mark.parametrize(("status", "body", "headers"), NOT_AN_LRS)
def test_what_no_lrs_says_never_counts_as_delivered(
    status: int, body: Any, headers: Mapping[str, str]
) -> None:
    read = answer(status, body, headers)
    assert read.verdict is Verdict.FAILED
    assert read.cause in ("not_lrs", "cut_off")


def test_a_web_page_is_named_as_such() -> None:
    read = answer(200, PAGE, HTML)
    assert (read.verdict, read.cause, read.http_status) == (Verdict.FAILED, "not_lrs", 200)
    assert read.facts["host"] == "lrs.example.org"
    assert read.words == "Sign in Welcome"


def test_foreign_ids_are_delivered_with_a_warning() -> None:
    read = answer(200, [str(FOREIGN)])
    assert (read.verdict, read.note) == (Verdict.ACCEPTED, "foreign_ids")
    assert read.facts["http_status"] == 200
    assert answer(200, [str(FOREIGN), *ids(0)]).note == "foreign_ids"


def test_partial_success_rejects_only_those_that_are_named() -> None:
    read = answer(200, {"errors": [{"index": 1, "message": "no verb"}]}, n=3)
    assert read.verdict is Verdict.PARTIAL
    assert read.rejected == {1: "no verb"}
    assert read.cause == "rejected"


@pytest.mark.parametrize("index", [None, 3, -1, "1", 1.0, True])
def test_partial_success_without_a_usable_index_rejects_nobody(index: object) -> None:
    read = answer(200, {"errors": [{"index": 0}, {"index": index}]}, n=3)
    assert (read.verdict, read.rejected) == (Verdict.REFUSED, {})


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (json.dumps(ids(0, 1)).encode(), {"is_complete": False}),
        (json.dumps(ids(0, 1)).encode()[:50], {"is_complete": False}),
        (json.dumps(ids(0, 1)).encode()[:50], {}),
        (b"", {"is_complete": False}),
        (b'{"err', {}),
        (b'{"errors": [', {"is_truncated": True}),
        (b'["' + ids(0)[0].encode()[:20], {"is_truncated": True}),
    ],
)
def test_an_answer_that_broke_off_keeps_the_statements(body: bytes, more: dict[str, bool]) -> None:
    read = answer(200, body, **more)
    assert (read.verdict, read.cause) == (Verdict.FAILED, "cut_off")


def test_a_list_longer_than_we_read_counts_when_it_begins_with_our_ids() -> None:
    body = json.dumps(ids(*range(50))).encode()[:1000]
    assert answer(200, body, n=50, is_truncated=True).verdict is Verdict.ACCEPTED
    foreign = json.dumps([str(FOREIGN), *ids(*range(50))]).encode()[:1000]
    assert answer(200, foreign, n=50, is_truncated=True).cause == "cut_off"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_a_redirect_is_never_taken_for_success(status: int) -> None:
    read = answer(status, ids(0, 1), {"Location": "https://new.example/xapi/statements"})
    assert (read.verdict, read.cause) == (Verdict.FAILED, "redirect")
    assert read.facts["target"] == "https://new.example/xapi/statements"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/login?session=abc#top", "https://lrs.example.org/login"),
        ("https://user:pass@new.example:8443/x?token=1", "https://new.example:8443/x"),
        ("//new.example/x", "https://new.example/x"),
        ("https://new.example/the-secret/x", "https://new.example/•••/x"),
        ("http://[broken", "…"),
        ("", "…"),
        (None, "…"),
    ],
)
def test_a_redirects_target_is_named_without_secrets(location: str | None, target: str) -> None:
    headers = {} if location is None else {"Location": location}
    assert answer(302, b"", headers).facts["target"] == target


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "body",
    [
        {"errors": [{"index": 1, "message": "no verb"}]},
        {"detail": [{"loc": ["body", 1, "verb"], "msg": "no verb"}]},
        {"warnings": ["Problem in 'statements.1.verb': no verb"]},
        {"warnings": ["Missing value in '1.verb'"]},
        b"Statement index 1 has no verb",
        b"statements[1].verb: no verb",
        b"[1].verb: no verb",
        {"message": f"Statement {str(IDS[1]).upper()} has no verb"},
    ],
)
def test_a_refused_batch_blames_the_statement_that_is_named(status: int, body: Any) -> None:
    read = answer(status, body, n=3)
    assert (read.verdict, read.cause) == (Verdict.REFUSED, "rejected")
    assert list(read.rejected) == [1]
    assert read.rejected[1]


JANE, JOE = "mailto:jane@acme.example", "mailto:joe@acme.example"


@pytest.mark.parametrize(
    "body",
    [
        {"errors": [{"index": 0, "message": JANE}, {"index": 2, "message": JOE}]},
        {"warnings": [f"statements[0]: {JANE}", f"statements[2]: {JOE}"]},
        {"message": f"statements[0]: {JANE} is unknown; statements[2]: {JOE} is unknown"},
        f"Statement index 0: {JANE} is unknown. Statement index 2: {JOE} is unknown.".encode(),
        f"statements[0] {JANE}, statements[2] {JOE}".encode(),
        f"[0] {JANE}\n[2] {JOE}".encode(),
        {"detail": [{"loc": ["body", 0], "msg": JANE}, {"loc": ["body", 2], "msg": JOE}]},
        {"problem": {"index": 0, "of": JANE}, "and": {"index": 2, "of": JOE}},
    ],
)
@pytest.mark.parametrize("status", [400, 200])
def test_each_refused_statement_keeps_only_its_own_words(status: int, body: Any) -> None:
    if status == 200 and not (isinstance(body, dict) and "errors" in body):
        pytest.skip("only an answer in this form is a success in part")
    read = answer(status, body, n=3)
    assert list(read.rejected) == [0, 2]
    assert "joe" not in read.rejected[0]
    assert "jane" not in read.rejected[2]
    for words in read.rejected.values():
        assert "index" not in words.lower()
        assert "statements[" not in words


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("statements[1].verb: no verb", "verb: no verb"),
        ("Problem in 'statements.1.verb': no verb", "Problem in 'verb': no verb"),
        ("Missing value in '1.verb'", "Missing value in 'verb'"),
        ("Statement index 1: no verb", "no verb"),
        ("[1].verb: no verb", "verb: no verb"),
        ("no verb at index 1", "no verb"),
        ("statements[1]", "400"),
    ],
)
def test_no_place_in_a_batch_is_kept(said: str, kept: str) -> None:
    assert answer(400, {"warnings": [said]}, n=3).rejected == {1: kept}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Bad Request",
        {"message": "invalid"},
        {"errors": [{"index": 7}]},
        b"in 2 of 30 words",
        {"message": f"{IDS[0]} or {IDS[1]}"},
    ],
)
def test_a_refused_batch_without_an_index_blames_nobody(body: Any) -> None:
    read = answer(400, body, n=3)
    assert (read.verdict, read.cause, read.rejected) == (Verdict.REFUSED, "rejected", {})


@pytest.mark.parametrize("status", [400, 422])
def test_one_refused_statement_carries_the_lmss_words(status: int) -> None:
    read = answer(status, {"message": "actor is unknown"}, n=1)
    assert (read.verdict, read.words) == (Verdict.REFUSED, "actor is unknown")
    assert read.facts["words"] == "actor is unknown"


@pytest.mark.parametrize(
    "body",
    [
        b"X-Experience-API-Version header missing",
        {"message": "Unsupported xAPI version: 2.0.0"},
        {"message": "Invalid version"},
        {"message": "xAPI version is not supported"},
        {"error": "Authorization header required"},
        {"error": "Missing authorization"},
    ],
)
@pytest.mark.parametrize("n", [1, 3])
def test_400_that_names_version_or_authorization_is_a_fault_of_settings(body: Any, n: int) -> None:
    read = answer(400, body, n=n)
    assert (read.verdict, read.cause) == (Verdict.FAILED, "settings")
    assert read.facts["words"] == read.words


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Activity 'Authorization of entry' is unknown"},
        {"message": "statements.0: version of the activity definition differs"},
    ],
)
def test_a_statement_that_only_mentions_such_words_does_not_stop_the_others(body: Any) -> None:
    assert answer(400, body).verdict is Verdict.REFUSED


FAILURES = [
    *[(status, "credentials") for status in (401, 403)],
    *[(status, "address") for status in (404, 405, 410)],
    *[(status, "gateway") for status in (407, 511)],
    *[(status, "protocol") for status in (411, 415, 406, 501, 505)],
    *[(status, "busy") for status in (408, 425)],
    *[(status, "internal") for status in (500, 502, 503, 504, 507, 508, 520, 599)],
    *[(status, "unexpected") for status in (100, 402, 412, 417, 418, 421, 423, 428, 431, 451, 600)],
]


@pytest.mark.parametrize(("status", "cause"), FAILURES)
@pytest.mark.parametrize("n", [1, 2])
def test_a_failed_destination_keeps_every_statement(status: int, cause: str, n: int) -> None:
    read = answer(status, {"message": "no"}, n=n)
    assert (read.verdict, read.cause, read.http_status) == (Verdict.FAILED, cause, status)
    assert (read.words, read.rejected) == ("no", {})


@pytest.mark.parametrize("n", [1, 2])
def test_409_is_a_conflict_and_413_too_large(n: int) -> None:
    assert answer(409, n=n).verdict is Verdict.CONFLICT
    assert answer(409, n=n).cause == "conflict"
    assert answer(413, n=n).verdict is Verdict.TOO_LARGE
    assert answer(413, n=n).cause == "too_large"


DATE = {"Date": "Fri, 20 Nov 2026 12:00:00 GMT"}


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {}, None),
        (429, {"Retry-After": "30"}, 30.0),
        (429, {"retry-after": " 30 "}, 30.0),
        (429, {"Retry-After": "nonsense"}, None),
        (503, {"Retry-After": "0"}, None),
        (503, {"Retry-After": "-5"}, None),
        (503, {"Retry-After": "soon"}, None),
        (429, {"Retry-After": "0"}, None),
        (503, {"Retry-After": "999999999"}, LONGEST_WAIT_SECONDS),
        (503, {"Retry-After": "Fri, 20 Nov 2026 12:02:00 GMT", **DATE}, 120.0),
        (503, {"Retry-After": "Fri, 20 Nov 2026 11:00:00 GMT", **DATE}, None),
        (503, {"Retry-After": "Fri, 20 Nov 2026 12:00:00 GMT", **DATE}, None),
        (429, {"Retry-After": "Sat, 21 Nov 2026 12:00:00 GMT", **DATE}, LONGEST_WAIT_SECONDS),
        (429, {"Retry-After": "Sat, 21 Nov 2026 12:00:00 GMT"}, None),
    ],
)
def test_a_plea_to_slow_down_is_no_failure(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    read = answer(status, b"", headers)
    assert (read.verdict, read.cause) == (Verdict.SLOW_DOWN, "rate")
    assert read.retry_after_seconds == seconds


def test_503_that_asks_for_no_pause_is_a_failure() -> None:
    assert answer(503).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "text", ["-5", "0", "000", "1e3", "٣", "", "Fri, 99 Nov 2026 12:00:00 GMT", "9" * 400, "Fri"]
)
def test_an_unreadable_wait_is_none(text: str) -> None:
    assert retry_after(text, DATE["Date"]) is None


@pytest.mark.parametrize(
    ("cause", "was_sent", "is_suspect"),
    [
        ("timeout", True, True),
        ("reset", True, True),
        ("timeout", False, False),
        ("dns", False, False),
        ("tls_expired", False, False),
    ],
)
def test_only_a_request_that_went_out_is_suspected_of_its_size(
    cause: str, was_sent: bool, is_suspect: bool
) -> None:
    read = read_unreachable(cause, {"seconds": 10}, URL, was_sent)
    assert (read.verdict, read.cause, read.http_status) == (Verdict.FAILED, cause, None)
    assert read.is_suspect_of_size is is_suspect
    assert read.facts == {"host": "lrs.example.org", "port": 443, "seconds": 10}


def test_words_never_hold_the_key_the_secret_or_the_header() -> None:
    body = {"errors": [{"index": 0, "message": "the-key:the-secret dGhlLWtleTp0aGUtc2VjcmV0"}]}
    read = answer(200, body)
    said = json.dumps([read.words, dict(read.rejected), dict(read.facts)])
    for hidden in ("the-key", "the-secret", "dGhlLWtleTp0aGUtc2VjcmV0"):
        assert hidden not in said


OURS = {"id": str(IDS[0]), "verb": {}}


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, OURS, OURS),
        (200, [OURS], OURS),
        (200, {"statements": [OURS], "more": ""}, OURS),
        (200, {"statements": [], "more": ""}, []),
        (200, {"statements": [OURS, OURS], "more": ""}, [OURS, OURS]),
        (204, b"", Stored.ABSENT),
        (404, {"error": "none"}, Stored.ABSENT),
        (401, {"error": "no"}, Stored.UNREADABLE),
        (403, PAGE, Stored.UNREADABLE),
    ],
)
def test_what_is_stored_is_unwrapped(status: int, body: Any, found: Any) -> None:
    assert stored(status, body) == found


@pytest.mark.parametrize(
    ("status", "body", "more", "verdict", "cause"),
    [
        (200, PAGE, {}, Verdict.FAILED, "not_lrs"),
        (200, b"{", {}, Verdict.FAILED, "cut_off"),
        (200, OURS, {"is_complete": False}, Verdict.FAILED, "cut_off"),
        (400, {"error": "no"}, {}, Verdict.FAILED, "unexpected"),
        (409, {"error": "no"}, {}, Verdict.FAILED, "unexpected"),
        (413, {"error": "no"}, {}, Verdict.FAILED, "unexpected"),
        (500, {"error": "no"}, {}, Verdict.FAILED, "internal"),
        (301, b"", {}, Verdict.FAILED, "redirect"),
        (429, b"", {}, Verdict.SLOW_DOWN, "rate"),
    ],
)
def test_what_could_not_be_asked_is_a_fault_of_the_destination(
    status: int, body: Any, more: dict[str, bool], verdict: Verdict, cause: str
) -> None:
    read = stored(status, body, **more)
    assert (read.verdict, read.cause) == (verdict, cause)


def test_a_statement_longer_than_we_read_cannot_be_read() -> None:
    assert stored(200, b"{", is_truncated=True) is Stored.UNREADABLE


def test_every_cause_that_an_answer_names_is_in_the_catalogue() -> None:
    for status in range(100, 600):
        for body in (b"", ids(0), PAGE, b"authorization header missing"):
            read = answer(status, body)
            if read.cause is None:
                assert read.verdict is Verdict.ACCEPTED
            else:
                cause = CAUSES[read.cause]
                facts = {"target": "", **read.facts}
                assert cause.sentence_for(facts)
