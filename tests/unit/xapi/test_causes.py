from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from flask_lms.connectors.causes import TRANSPORT_CAUSES, Cause
from flask_lms.connectors.xapi.causes import CAUSES
from flask_lms.database.models import Status
from flask_lms.i18n import using

EVERY = {**TRANSPORT_CAUSES, **CAUSES}
#: What a fact is called → what stands for it here.
FACTS = {
    name: f"<{name}>"
    for name in (
        "host", "port", "seconds", "http_status", "words", "target", "type", "participant",
        "email", "platform", "bytes", "most", "shape",
    )
}  # fmt: skip


_ODD = re.compile(r"%\(|…|[\[\]|{}]|None|\(\)|“”|„“|''| {2}| [.,:]")


def said(cause: Cause, facts: dict[str, Any]) -> list[str]:
    return [cause.sentence_for(facts), *cause.remedies_for(facts)]


def named_in(cause: Cause) -> list[str]:
    return sorted({*re.findall(r"%\((\w+)\)s", cause.sentence + " ".join(cause.remedy))})


@pytest.mark.parametrize("code", EVERY)
def test_every_cause_has_its_sentence_and_its_remedy(code: str) -> None:
    cause = EVERY[code]
    assert cause.code == code
    assert 1 <= len(cause.remedy) <= 3
    for text in said(cause, {}):
        assert re.match(r"[A-Z].+\.$", text)


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("code", EVERY)
def test_every_cause_is_a_sentence_with_any_of_its_facts(code: str, language: str) -> None:
    cause = EVERY[code]
    names = named_in(cause)
    assert {*names} <= FACTS.keys()
    for n in range(len(names) + 1):
        for some in itertools.combinations(names, n):
            facts = {name: FACTS[name] for name in some}
            for lacking in (None, ""):
                given = {**dict.fromkeys(names, lacking), **facts}
                with using(language):
                    texts = said(cause, given)
                assert len(texts) == 1 + len(cause.remedy)
                whole = " ".join(texts)
                # No gap, no rest of one, and no fact but those given.
                assert not _ODD.search(whole), whole
                assert {*re.findall(r"<(\w+)>", whole)} <= {*some}
                assert not re.search(r"lms\.example|\b443\b|localhost|E001", whole)
                assert not texts[0].startswith(("Reason:", "Grund:"))
    with using(language):
        assert {*re.findall(r"<(\w+)>", " ".join(said(cause, FACTS)))} == {*names}


def test_a_fact_that_no_clause_can_be_left_out_for_leaves_the_code() -> None:
    full = Cause(
        code="full",
        status=None,
        sentence="Box %(box)s is full.",
        remedy=("Empty %(box)s.", "Wait."),
    )
    assert full.sentence_for({"box": "A"}) == "Box A is full."
    assert full.remedies_for({"box": "A"}) == ["Empty A.", "Wait."]
    assert full.sentence_for({}) == "Reason: full."
    assert full.remedies_for({}) == ["Wait."]


def test_facts_are_no_part_of_the_message() -> None:
    cause = CAUSES["rejected"]
    hostile = "100% [%(host)s|x] %s %(words)s."
    assert cause.sentence_for({"words": hostile}).endswith("“100% [%(host)s|x] %s %(words)s”.")
    percent = Cause(code="p", status=None, sentence="100% full.")
    assert percent.sentence_for({}) == "100% full."


def test_no_code_means_two_things() -> None:
    assert not CAUSES.keys() & TRANSPORT_CAUSES.keys()


def test_causes_of_the_destination_show_as_server_error_and_those_of_a_delivery_do_not() -> None:
    own = {
        "rejected",
        "address_refused",
        "conflict",
        "too_large",
        "foreign_ids",
        "no_email",
        "account_only",
        "bad_email",
        "too_long",
    }
    assert {code for code, cause in CAUSES.items() if cause.status is None} == own
    unreachable = {code for code, one in CAUSES.items() if one.status is Status.CANT_CONNECT}
    of_the_lms = {code.removeprefix("token_") for code in unreachable}
    assert of_the_lms == TRANSPORT_CAUSES.keys() & of_the_lms
    assert {cause.status for cause in CAUSES.values()} == {None, *Status} - {
        Status.NOT_TESTED,
        Status.CONNECTED,
    }


def test_what_only_a_person_can_mend_is_marked_so() -> None:
    marked = {code for code, cause in CAUSES.items() if cause.is_settings}
    of_lms = {code for code in marked if not code.startswith("token_")}
    assert of_lms == {
        "credentials", "address", "redirect", "not_lrs", "settings", "bearer_refused",
        "header_refused", *({"may_not_read"} & marked),
    }  # fmt: skip
    passing = {"rate", "internal", "cut_off", "dns", "refused", "timeout", "reset", "tls_expired"}
    assert not {f"token_{code}" for code in passing} & marked


def test_what_a_mapping_of_the_participant_may_mend_is_marked_so() -> None:
    marked = {code for code, cause in CAUSES.items() if cause.is_unidentified}
    assert marked == {"no_email", "account_only", "bad_email"}
