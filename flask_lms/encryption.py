"""Encryption of secrets. The only module that sees a key."""

from __future__ import annotations

import base64
import hmac
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .checks import Refused
from .errors import SecretUnreadable


class Secret:
    """A secret that shows itself nowhere: not in a log, a traceback with its variables, a pickle.

    From the form, and from the database, to where it is needed. ``reveal()`` only in the very
    expression that needs it, never into a variable: whatever keeps the variables of a failing
    function keeps those too.

    >>> Secret("word"), str(Secret("word")), Secret("word") == "word"
    (<Secret>, '•••', True)
    """

    __slots__ = ("__value",)

    def __init__(self, value: str | Secret) -> None:
        if isinstance(value, Secret):
            value = value.reveal()
        if not isinstance(value, str):
            raise TypeError("a secret must be a str")
        self.__value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self.__value

    def checked(self, check: Callable[[str], str]) -> Secret:
        """What a check makes of it.

        :param check: gets the text and returns it cleaned.
        :raises Refused: as the check does.
        """
        try:
            return Secret(check(self.__value) or "")
        except Refused as error:
            refused = Refused(*error.sentences)
        raise refused

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str | Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), Secret(other).reveal().encode())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<Secret>"

    def __str__(self) -> str:
        return "•••"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")


class Encryption:
    """Encrypts and decrypts a configuration's secrets (Fernet; the first key encrypts).

    :param keys: Fernet keys, the newest first.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        self._fernets = [Fernet(key) for key in keys]
        self._fernet = MultiFernet(self._fernets)
        self._hash_keys = [_derive(key, b"flask-lms digests v1") for key in keys]

    def __repr__(self) -> str:
        return f"<Encryption with {len(self._fernets)} keys>"

    def encrypt(self, secrets: Mapping[str, Secret | str], bound_to: str = "") -> str:
        """The secrets as one encrypted token.

        :param bound_to: what they belong to (:func:`binding`); nothing else reads them.
        """
        return self._fernet.encrypt(
            json.dumps(
                [bound_to, {name: Secret(one).reveal() for name, one in secrets.items()}]
            ).encode()
        ).decode()

    def decrypt(self, token: str | None, bound_to: str | None = None) -> dict[str, Secret]:
        """The secrets in a token.

        :param bound_to: what they must belong to; None isn't asked.
        :raises SecretUnreadable: no key fits, the token is damaged, or it belongs elsewhere.
        """
        if not token:
            return {}
        try:
            found, secrets = self._read(token)
        except (InvalidToken, ValueError, TypeError, AttributeError):
            found, secrets = None, {}
        if found is None or (bound_to is not None and found not in ("", bound_to)):
            raise SecretUnreadable
        return secrets

    def _read(self, token: str) -> tuple[str, dict[str, Secret]]:
        """What a token is bound to, empty: nothing; and the secrets."""
        found = json.loads(
            self._fernet.decrypt(token.encode()),
            object_hook=lambda plain: {name: Secret(one) for name, one in plain.items()},
        )
        bound_to, secrets = found if isinstance(found, list) else ("", found)
        return str(bound_to), dict(secrets.items())

    def digests(self, text: str) -> list[str]:
        """What stands for a text that is forgotten, by each key, the newest first. Nobody without
        a key can tell whether it stands for a certain text.
        """
        return [
            "forgotten-" + hmac.digest(key, text.encode(), "sha256").hex()
            for key in self._hash_keys
        ]

    def is_current(self, token: str) -> bool:
        """Whether the newest key encrypted this token, and it is bound as new ones are."""
        try:
            return self._fernets[0].decrypt(token.encode()).startswith(b"[")
        except InvalidToken:
            return False

    def rotate(self, token: str, bound_to: str | None = None) -> str:
        """The same secrets under the newest key.

        :param bound_to: what they must belong to, and belong to from now on; None: they go on
            belonging to what they belong to.
        :raises SecretUnreadable: no key fits, or they belong elsewhere.
        """
        secrets = self.decrypt(token, bound_to)
        return self.encrypt(secrets, self._read(token)[0] if bound_to is None else bound_to)


def binding(configuration_id: uuid.UUID, origin: str) -> str:
    """What a configuration's secrets are bound to: a token that is copied to another row, or whose
    address is changed in the database, is read by nobody.
    """
    return f"{configuration_id.hex} {origin}"


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
