"""What may stand in a mail."""

from __future__ import annotations

import pytest

from flask_lms.alerts.texts import clean, plain


def test_words_of_an_answer_and_participants_are_left_out():
    facts = {
        "host": "lrs.example.org", "port": 443, "words": "Jane Doe is unknown", "email": "j@x.y",
        "participant": "Jane", "body": "<html>", "nested": {"secret": "x"}, "http_status": 401,
    }  # fmt: skip
    assert plain(facts) == {"host": "lrs.example.org", "port": 443, "http_status": 401}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("https://u:p@lrs.example/x?token=abc#f", "https://lrs.example/x"),
        ("https://[broken?token=abc", "https://[broken"),
        ("lrs.example", "lrs.example"),
    ],
)
def test_an_address_is_told_without_what_may_be_a_secret(target, told):
    assert plain({"target": target}) == {"target": told}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\nBcc: everybody@example.org", "a Bcc: everybody@example.org"),
        ("a\u202egnp.exe\u2028b\x00", "a gnp.exe b"),
        ("x" * 300, "x" * 199 + "…"),
        ("bad \ud800 half", "bad ? half"),
    ],
)
def test_a_line_stays_one_line(text, line):
    assert clean(text) == line
