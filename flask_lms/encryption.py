"""Encryption of secrets. The only module that sees a key."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import SecretUnreadable


class Encryption:
    """Encrypts and decrypts a configuration's secrets (Fernet; the first key encrypts).

    :param keys: Fernet keys, the newest first.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        self._fernets = [Fernet(key) for key in keys]
        self._fernet = MultiFernet(self._fernets)

    def __repr__(self) -> str:
        return f"<Encryption with {len(self._fernets)} keys>"

    def encrypt(self, secrets: Mapping[str, str]) -> str:
        """The secrets as one encrypted token."""
        return self._fernet.encrypt(json.dumps(dict(secrets)).encode()).decode()

    def decrypt(self, token: str | None) -> dict[str, str]:
        """The secrets in a token.

        :raises SecretUnreadable: no key fits, or the token is damaged.
        """
        if not token:
            return {}
        try:
            secrets = json.loads(self._fernet.decrypt(token.encode()))
        except (InvalidToken, ValueError):
            raise SecretUnreadable from None
        if not isinstance(secrets, dict) or any(not isinstance(v, str) for v in secrets.values()):
            raise SecretUnreadable
        return secrets

    def is_current(self, token: str) -> bool:
        """Whether the newest key encrypted this token."""
        try:
            self._fernets[0].decrypt(token.encode())
        except InvalidToken:
            return False
        return True

    def rotate(self, token: str) -> str:
        """The same secrets under the newest key.

        :raises SecretUnreadable: no key fits.
        """
        return self.encrypt(self.decrypt(token))


def derive_keys(config: Mapping[str, Any]) -> list[bytes]:
    """Fernet keys from ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``, the newest first."""
    derived = (_derive(secret, b"flask-lms secrets v1") for secret in _secret_keys(config))
    return [base64.urlsafe_b64encode(key) for key in derived]


def signing_keys(config: Mapping[str, Any], encryption_keys: Sequence[str]) -> list[bytes]:
    """Keys that sign links, the newest last: from Flask's keys, and from ours for hosts that have
    none of those.
    """
    sources = [*_secret_keys(config), *encryption_keys]
    return [_derive(source, b"flask-lms links v1") for source in reversed(sources)]


def _secret_keys(config: Mapping[str, Any]) -> list[str | bytes]:
    keys = [config.get("SECRET_KEY"), *(config.get("SECRET_KEY_FALLBACKS") or ())]
    return [key for key in keys if key]


def _derive(secret: str | bytes, purpose: bytes) -> bytes:
    """A key for one purpose (HKDF, RFC 5869): none of them tells another."""
    raw = secret.encode() if isinstance(secret, str) else secret
    return HKDF(SHA256(), length=32, salt=None, info=purpose).derive(raw)
