"""One rule for language tags (RFC 5646, 2.1), of results and of mails."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from flask_lms.checks import Errors, clean_language
from flask_lms.errors import InvalidConfiguration
from flask_lms.values import Objective, ObjectiveResult, is_language_tag

GOOD = (
    "en", "de-AT", "EN-us", "zh-Hant-TW", "sr-Latn-RS", "es-419", "sl-rozaj-biske", "de-1996",
    "zh-cmn-Hans-CN", "en-a-bbb-x-a-ccc", "de-x-formal", "x-klingon", "i-default", "i-klingon",
    "en-GB-oed", "sgn-BE-FR", "zh-min-nan", "art-lojban",
)  # fmt: skip
BAD = (
    "", "e", "english", "en_US", "en-", "-en", "en--US", "en-US ", " en", "en\n", "en-x", "x",
    "x-", "i-english", "de-419-DE", "a-DE", "en-ü", "en-abcdefghi", "1n", "d\u00e9", "en-U", None,
    1,
)  # fmt: skip


@pytest.mark.parametrize("tag", GOOD)
def test_a_tag_that_is_well_formed_is_taken_everywhere(tag: str) -> None:
    assert is_language_tag(tag)
    assert Objective(id="1", name="One", language=tag).language == tag
    errors = Errors()
    assert clean_language(tag, errors) == tag
    errors.check()


@pytest.mark.parametrize("tag", BAD)
def test_any_other_is_taken_nowhere(tag: str) -> None:
    assert not is_language_tag(tag)
    with pytest.raises(ValueError, match="BCP 47"):
        Objective(id="1", name="One", language=tag)
    errors = Errors()
    clean_language(tag, errors)
    with pytest.raises(InvalidConfiguration, match="Choose a language"):
        errors.check()


def test_a_result_may_have_none() -> None:
    now = datetime.now(timezone.utc)
    given = {"id": "r", "organization_id": "a", "objective": "o", "participant": "p"}
    assert ObjectiveResult(**given, finished_at=now).language is None  # type: ignore[arg-type]
