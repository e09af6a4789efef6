"""The signed token of the link that stops mails."""

from __future__ import annotations

import uuid

import pytest

from flask_lms.alerts import unsubscribe
from flask_lms.errors import NotFound

ID = uuid.uuid4()


def test_a_token_says_which_configuration_and_which_address(world):
    token = unsubscribe.make(world.state, ID, "jörg@acme.example")
    assert unsubscribe.read(world.state, token) == (ID, "jörg@acme.example")


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1], lambda t: "x" + t, lambda t: "", lambda t: "a.b"]
)
def test_a_damaged_or_forged_token_is_not_found(world, spoil):
    token = unsubscribe.make(world.state, ID, "ana@acme.example")
    with pytest.raises(NotFound):
        unsubscribe.read(world.state, spoil(token))


def test_tokens_of_the_previous_key_are_still_read(world):
    token = unsubscribe.make(world.state, ID, "ana@acme.example")
    app = world.app
    app.config["SECRET_KEY_FALLBACKS"] = [app.secret_key]
    app.secret_key = "another one that is long enough"
    assert unsubscribe.read(world.state, token) == (ID, "ana@acme.example")
    app.config["SECRET_KEY_FALLBACKS"] = []
    with pytest.raises(NotFound):
        unsubscribe.read(world.state, token)


def test_the_link_works_without_sign_in_and_only_by_post(world):
    id = world.connected()
    path = unsubscribe.url(world.state, id, "ana@acme.example").removeprefix("https://host.example")
    client = world.app.test_client()
    assert client.get(path).status_code == 200
    world.session.rollback()
    assert world.get(id).muted_emails == []
    answer = client.post(path, data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    world.session.rollback()
    assert world.get(id).muted_emails == ["ana@acme.example"]
    world.refuse(id)
    assert [m.reason for m in world.mails()] == ["muted"]
