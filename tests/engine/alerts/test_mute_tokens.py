"""The signed token of the link that stops mails."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from itsdangerous import BadSignature, URLSafeSerializer

from flask_lms.alerts import unsubscribe
from flask_lms.errors import NotFound
from tests.world import make_world

ID = uuid.uuid4()


def read(world, token):
    link = unsubscribe.read(world.state, token, world.now)
    return link.configuration_id, link.email


def test_a_token_says_which_configuration_and_which_address(world):
    token = unsubscribe.make(world.state, ID, "jörg@acme.example", world.now)
    assert read(world, token) == (ID, "jörg@acme.example")


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1], lambda t: "x" + t, lambda t: "", lambda t: "a.b"]
)
def test_a_damaged_or_forged_token_is_not_found(world, spoil):
    token = unsubscribe.make(world.state, ID, "ana@acme.example", world.now)
    with pytest.raises(NotFound):
        read(world, spoil(token))


def test_tokens_of_the_previous_key_are_still_read(world):
    token = unsubscribe.make(world.state, ID, "ana@acme.example", world.now)
    app = world.app
    app.config["SECRET_KEY_FALLBACKS"] = [app.secret_key]
    app.secret_key = "another one that is long enough"
    assert read(world, token) == (ID, "ana@acme.example")
    app.config["SECRET_KEY_FALLBACKS"] = []
    with pytest.raises(NotFound):
        read(world, token)


def test_a_host_without_a_secret_key_signs_with_a_key_of_its_own_kind():
    new, old = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    config = {"SECRET_KEY": None, "LMS_ENCRYPTION_KEYS": [old]}
    with make_world("sqlite://", **config) as world:
        token = unsubscribe.make(world.state, ID, "ana@acme.example", world.now)
        with pytest.raises(BadSignature):  # what encrypts secrets signs nothing
            URLSafeSerializer(old, salt="flask-lms mute v1").loads(token)
    config = {"SECRET_KEY": "x" * 32, "LMS_ENCRYPTION_KEYS": [new, old]}
    with make_world("sqlite://", **config) as world:
        assert read(world, token) == (ID, "ana@acme.example")


def test_a_link_counts_for_180_days_from_its_mail(world):
    id = world.connected()
    world.refuse(id)
    client = world.app.test_client()
    for days, muted in ((181, []), (180, ["ana@acme.example"])):
        at = world.now - timedelta(days=days)
        path = unsubscribe.url(world.state, id, "ana@acme.example", at)
        path = path.removeprefix("https://host.example")
        for answer in (client.get(path), client.post(path)):
            assert answer.status_code == 200
            assert ("has no effect any more" in answer.text) is not bool(muted)
        world.session.rollback()
        assert world.get(id).muted_emails == muted


@pytest.mark.parametrize("why", ["removed", "deleted"])
def test_whom_a_link_no_longer_concerns_learns_nothing(world, why):
    id = world.connected(name="Secret Project LMS")
    path = unsubscribe.url(world.state, id, "ana@acme.example", world.now)
    path = path.removeprefix("https://host.example")
    if why == "removed":
        world.lms.configurations.update(id, contact_emails=["ben@acme.example"])
    else:
        world.lms.configurations.delete(id)
    client = world.app.test_client()
    for answer in (client.get(path), client.post(path), client.post(path, data={"act": "unmute"})):
        assert answer.status_code == 200
        assert "This link has no effect any more" in answer.text
        assert "Secret Project" not in answer.text
        assert "ana@acme.example" not in answer.text


def test_the_link_works_without_sign_in_and_only_by_post(world):
    id = world.connected()
    path = unsubscribe.url(world.state, id, "ana@acme.example", world.now)
    path = path.removeprefix("https://host.example")
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
