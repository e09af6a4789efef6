from __future__ import annotations

import re

import pytest

from flask_lms.connectors.base import TRANSPORT_CAUSES
from flask_lms.connectors.xapi.causes import CAUSES, FACTS
from flask_lms.database.models import Status
from flask_lms.i18n import Words


@pytest.mark.parametrize("code", CAUSES)
def test_every_cause_has_its_sentence_and_its_remedy(code: str) -> None:
    cause = CAUSES[code]
    assert cause.code == code
    assert 1 <= len(cause.remedy) <= 3
    for text in (cause.sentence, *cause.remedy):
        assert re.match(r"([A-Z]|%\().+\.$", text)


@pytest.mark.parametrize("code", CAUSES)
def test_every_cause_names_only_facts_that_are_known(code: str) -> None:
    cause = CAUSES[code]
    facts = {name: f"<{name}>" for name in FACTS[code]}
    for text in (cause.sentence, *cause.remedy):
        assert "%(" not in Words(text, **facts)


def test_no_code_means_two_things() -> None:
    assert not CAUSES.keys() & TRANSPORT_CAUSES.keys()
    assert FACTS.keys() == CAUSES.keys()


def test_causes_of_the_destination_show_as_server_error_and_those_of_a_delivery_do_not() -> None:
    own = {"rejected", "conflict", "too_large", "foreign_ids", "no_email", "bad_email", "too_long"}
    assert {code for code, cause in CAUSES.items() if cause.status is None} == own
    assert {cause.status for cause in CAUSES.values()} == {None, Status.SERVER_ERROR}


def test_what_only_a_person_can_mend_is_marked_so() -> None:
    marked = {code for code, cause in CAUSES.items() if cause.is_settings}
    assert marked == {"credentials", "address", "redirect", "not_lrs", "settings"}
