from __future__ import annotations

import hashlib

import pytest

from flask_lms.checks import mail_address
from flask_lms.connectors.xapi.actor import Unidentified, address_shape, agent, blames_address
from flask_lms.connectors.xapi.causes import CAUSES
from flask_lms.values import Participant
from tests.xapi_support import connector

HOME = "https://host.example/xapi"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("jane.doe@example.com", "jane.doe@example.com"),
        (" jane@example.com ", "jane@example.com"),
        ("Jane.Doe@Example.COM", "Jane.Doe@example.com"),
        ("jane+ppe@example.com", "jane+ppe@example.com"),
        ("o'neil_x@sub.example.co", "o'neil_x@sub.example.co"),
        ("jane@corp.local", "jane@corp.local"),
        ("jane@lms.test", "jane@lms.test"),
        ("jane@müller.example", "jane@xn--mller-kva.example"),
    ],
)
def test_addresses_that_lrss_take(given: str, address: str) -> None:
    assert mail_address(given) == address


@pytest.mark.parametrize(
    "given",
    [
        "", "E001", "jane", "jane@", "@example.com", "jane@localhost", "jäne@example.com",
        "jane doe@example.com", '"jane doe"@example.com', "jane@example", "a@b@example.com",
        "jane@10.0.0.1", "jane@[10.0.0.1]", "jane@example..com", "jane#1@example.com",
        "jane?x@example.com", "ja%6ee@example.com", "jane@example.com\n", "a@example.com,b@x.com",
        "mailto:jane@example.com", "Jane <jane@example.com>", "jane@exam ple.com",
    ],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused(given: str) -> None:
    assert mail_address(given) is None or given.strip() != given


def test_the_email_goes_before_the_id() -> None:
    who = Participant(id="id@example.com", email="mail@example.com")
    made = agent(who, identify="mbox", send_name=True, home_page=HOME)
    assert made == {"objectType": "Agent", "mbox": "mailto:mail@example.com"}


def test_the_hash_is_of_the_whole_iri_and_stands_alone() -> None:
    who = Participant(id="jane@example.com", name="Jane Doe")
    made = agent(who, identify="mbox_sha1sum", send_name=True, home_page=HOME)
    digest = hashlib.sha1(b"mailto:jane@example.com").hexdigest()
    assert made == {"objectType": "Agent", "mbox_sha1sum": digest}


def test_an_account_needs_no_address() -> None:
    who = Participant(id="E001", name="Jane Doe")
    made = agent(who, identify="account", send_name=True, home_page=HOME)
    assert made == {
        "objectType": "Agent",
        "account": {"homePage": HOME, "name": "E001"},
        "name": "Jane Doe",
    }


def test_an_account_of_another_system_keeps_its_own_name() -> None:
    who = Participant(id="E001", account_home_page="https://hr.example", account_name="77")
    made = agent(who, identify="account", send_name=False, home_page=HOME)
    assert made["account"] == {"homePage": "https://hr.example", "name": "77"}


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (Participant(id="E001"), "no_email"),
        (Participant(id="jane@example.com", email="nonsense"), "bad_email"),
    ],
)
@pytest.mark.parametrize("identify", ["mbox", "mbox_sha1sum"])
def test_without_an_address_the_reason_is_named(
    who: Participant, reason: str, identify: str
) -> None:
    with pytest.raises(Unidentified) as caught:
        agent(who, identify=identify, send_name=True, home_page=HOME)
    assert caught.value.reason == reason


# -- An address that an LRS refuses --------------------------------------------------------------

MBOX = '{"actor": {"mbox": "mailto:jane!doe+x@mail.corp.local"}}'


@pytest.mark.parametrize(
    ("words", "is_to_blame"),
    [
        ("Problem in 'statements.0.actor.mbox'. Received '\"mailto:jane!doe@x.example\"'", True),
        ("actor.mbox: value is not a valid email address", True),
        ("mailto:jane!doe@x.example is no address", True),
        ("Problem in 'statements.0.actor'", False),
        ("mailboxes are full", False),
        ('unknown verb in {"actor": {"mbox": "mailto:jane@x.example"}, "verb": {}}', False),
        ("", False),
        (None, False),
    ],
)
def test_whether_an_address_is_to_blame(words: str | None, is_to_blame: bool) -> None:
    assert blames_address(MBOX, words) is is_to_blame
    assert not blames_address('{"actor": {"mbox_sha1sum": "ab"}}', words)


def test_the_shape_of_an_address_tells_nobodys_name() -> None:
    assert address_shape(MBOX) == "x!x+x@x.x.local"
    assert address_shape('{"actor": {"account": {"name": "a@b.example"}}}') is None
    assert address_shape('{"actor": {"mbox": "mailto:a@x.xn--p1ai"}}') == "x@x.xn--p1ai"


def test_the_cause_of_a_refused_address_names_its_shape_where_it_may() -> None:
    cause = CAUSES["address_refused"]
    shape = connector.refusal_facts(MBOX)
    assert cause.sentence_for(shape) == (
        "Your LMS does not take an e-mail address of the form x!x+x@x.x.local."
    )
    assert cause.sentence_for({}) == "Your LMS does not take this participant's e-mail address."
    assert "Account on this platform" in cause.remedies_for({})[1]
