"""Secrets at rest: rotation, and what can't be read says so."""

from __future__ import annotations

import json

import pytest
from cryptography.fernet import Fernet

from flask_lms.encryption import Encryption, derive_keys
from flask_lms.errors import SecretUnreadable

OLD, NEW, OTHER = (Fernet.generate_key() for _ in range(3))
SECRETS = {"secret": "s3cret-canary ☃"}


def test_a_token_hides_the_secret_and_opens_again() -> None:
    vault = Encryption([NEW])
    token = vault.encrypt(SECRETS)
    assert "canary" not in token
    assert token != vault.encrypt(SECRETS)
    assert vault.decrypt(token) == SECRETS


def test_no_token_is_no_secret() -> None:
    assert Encryption([NEW]).decrypt(None) == {}
    assert Encryption([NEW]).decrypt("") == {}


def test_an_older_key_still_reads_and_the_newest_writes() -> None:
    old_token = Encryption([OLD]).encrypt(SECRETS)
    vault = Encryption([NEW, OLD])
    assert vault.decrypt(old_token) == SECRETS
    assert not vault.is_current(old_token)
    new_token = vault.rotate(old_token)
    assert vault.is_current(new_token)
    assert Encryption([NEW]).decrypt(new_token) == SECRETS


def test_a_lost_key_is_an_error_and_never_an_empty_secret() -> None:
    token = Encryption([OLD]).encrypt(SECRETS)
    for action in (Encryption([NEW]).decrypt, Encryption([NEW]).rotate):
        with pytest.raises(SecretUnreadable, match="LMS_ENCRYPTION_KEYS"):
            action(token)
    assert not Encryption([NEW]).is_current(token)


@pytest.mark.parametrize(
    "damage",
    [
        lambda token: token[:-1],
        lambda token: token[:20] + ("A" if token[20] != "A" else "B") + token[21:],
        lambda token: "x" + token,
        lambda token: token + token,
        lambda token: "é" + token[1:],
        lambda token: "nonsense",
        lambda token: " ",
    ],
)
def test_a_damaged_token_is_unreadable(damage: object) -> None:
    vault = Encryption([NEW])
    broken = damage(vault.encrypt(SECRETS))  # type: ignore[operator]
    with pytest.raises(SecretUnreadable) as caught:
        vault.decrypt(broken)
    assert not vault.is_current(broken)
    assert "canary" not in repr(caught.value)


@pytest.mark.parametrize("content", [b"[1]", b"7", b"not json", b"\xff", b'{"a": 1}', b'["ab"]'])
def test_something_else_under_the_same_key_is_unreadable(content: bytes) -> None:
    token = Fernet(NEW).encrypt(content).decode()
    with pytest.raises(SecretUnreadable):
        Encryption([NEW]).decrypt(token)


def test_a_vault_shows_no_key() -> None:
    assert repr(Encryption([NEW, OLD])) == "<Encryption with 2 keys>"


def test_the_flask_secret_key_and_its_fallbacks_are_keys_of_their_own() -> None:
    before = Encryption(derive_keys({"SECRET_KEY": "first"}))
    after = Encryption(derive_keys({"SECRET_KEY": b"second", "SECRET_KEY_FALLBACKS": ["first"]}))
    token = before.encrypt(SECRETS)
    assert after.decrypt(token) == SECRETS
    assert not after.is_current(token)
    with pytest.raises(SecretUnreadable):
        Encryption(derive_keys({"SECRET_KEY": "second"})).decrypt(token)


def test_a_derived_key_does_not_show_the_flask_key() -> None:
    keys = derive_keys({"SECRET_KEY": "first", "SECRET_KEY_FALLBACKS": None})
    assert len(keys) == 1
    assert b"first" not in keys[0]
    assert keys == derive_keys({"SECRET_KEY": b"first"})
    assert json.dumps(keys[0].decode())
