"""The signed token of the link that stops mails."""

from __future__ import annotations

import uuid

import pytest

from flask_lms.alerts import unsubscribe
from flask_lms.errors import NotFound

ID = uuid.uuid4()


def test_a_token_says_which_configuration_and_which_address(stage):
    token = unsubscribe.make(stage.state, ID, "jörg@acme.example")
    assert unsubscribe.read(stage.state, token) == (ID, "jörg@acme.example")


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1], lambda t: "x" + t, lambda t: "", lambda t: "a.b"]
)
def test_a_damaged_or_forged_token_is_not_found(stage, spoil):
    token = unsubscribe.make(stage.state, ID, "ana@acme.example")
    with pytest.raises(NotFound):
        unsubscribe.read(stage.state, spoil(token))


def test_tokens_of_the_previous_key_are_still_read(stage):
    token = unsubscribe.make(stage.state, ID, "ana@acme.example")
    app = stage.host.app
    app.config["SECRET_KEY_FALLBACKS"] = [app.secret_key]
    app.secret_key = "another one that is long enough"
    assert unsubscribe.read(stage.state, token) == (ID, "ana@acme.example")
    app.config["SECRET_KEY_FALLBACKS"] = []
    with pytest.raises(NotFound):
        unsubscribe.read(stage.state, token)


def test_the_link_works_without_sign_in_and_only_by_post(stage):
    id = stage.configuration()
    path = unsubscribe.url(stage.state, id, "ana@acme.example").removeprefix("https://host.example")
    client = stage.host.app.test_client()
    assert client.get(path).status_code == 200
    stage.session.rollback()
    assert stage.get(id).muted_emails == []
    answer = client.post(path, data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    stage.session.rollback()
    assert stage.get(id).muted_emails == ["ana@acme.example"]
    stage.refuse(id)
    assert [m.reason for m in stage.mails()] == ["muted"]
