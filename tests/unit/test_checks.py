"""One validation: a value becomes its clean form, or a sentence."""

from __future__ import annotations

import pytest

from flask_lms import InvalidConfiguration
from flask_lms.checks import Errors, Refused, choice, emails, language, optional, text, whole


@pytest.mark.parametrize(
    "tag",
    [
        "en", "de-AT", "zh-Hant-TW", "sr-Latn-RS", "es-419", "sl-rozaj-biske", "de-CH-1901",
        "zh-cmn-Hans-CN", "en-a-myext-b-another", "de-CH-x-phonebk", "x-klingon", "i-default",
        "en-GB-oed", "EN-us", "art-lojban", "zh-min-nan",
    ],
)  # fmt: skip
def test_a_language_is_a_tag_of_rfc_5646(tag: str) -> None:
    assert language(tag) == tag


@pytest.mark.parametrize(
    "tag",
    [
        "english", "", "e", "en-", "-en", "en--US", "de-419-DE", "a-DE", "x-", "i-other", "en-u",
        "en US", "ｅｎ", "en\n", "x-" + "-".join(["abcdefgh"] * 5), None, 5,
    ],
)  # fmt: skip
def test_what_is_none_is_refused(tag: object) -> None:
    with pytest.raises(Refused, match="BCP 47"):
        language(tag)


def test_an_underscore_is_told_from_a_wrong_language() -> None:
    with pytest.raises(Refused, match="with hyphens: en-US"):
        language("en_US")


def test_a_text_is_one_line_of_limited_length() -> None:
    check = text(5, needed="Enter the key.")
    assert check("  ab ") == "ab"
    for value, sentence in (
        (None, "Enter the key."),
        (" ", "Enter the key."),
        ("a\x00b", "control characters"),
        ("abcdef", "longer than 5"),
        (5, "Enter a text"),
    ):
        with pytest.raises(Refused, match=sentence):
            check(value)
    assert text(5)(None) == ""


def test_a_choice_has_its_first_as_default() -> None:
    assert [choice("a", "b")(value) for value in (None, "", "a", "b")] == ["a", "a", "a", "b"]
    for value in ("c", [], 1):
        with pytest.raises(Refused, match="a, b"):
            choice("a", "b")(value)


def test_none_is_optional_only() -> None:
    assert optional(whole(1, 2))(None) is None
    with pytest.raises(Refused, match="from 1 to 2"):
        whole(1, 2)(None)


def test_all_faults_of_all_fields_are_collected() -> None:
    errors = Errors()
    assert errors.take("language", language, "en") == "en"
    errors.check()
    assert errors.take("contact_emails", emails, ["a", "b@c.example", "d"]) is None
    assert errors.take("language", language, "en_US") is None
    with pytest.raises(InvalidConfiguration) as caught:
        errors.check()
    assert {field: len(told) for field, told in caught.value.errors.items()} == {
        "contact_emails": 2,
        "language": 1,
    }
