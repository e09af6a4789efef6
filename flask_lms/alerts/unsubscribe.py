"""The link in a mail that stops further ones, without sign-in (RFC 8058).

The token says which configuration, which address and when the mail was written, signed. It counts
for 180 days, and only as long as the address is a contact.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from itsdangerous import BadData, URLSafeSerializer

from ..app_state import AppState
from ..encryption import signing_keys
from ..errors import NotFound

DAYS = 180
_SALT = "flask-lms mute v1"


@dataclass(frozen=True, kw_only=True)
class Link:
    """What the token of a link says."""

    configuration_id: uuid.UUID
    email: str
    is_expired: bool


def _serializer(state: AppState) -> URLSafeSerializer:
    """Signs with the newest key and reads with any."""
    keys = signing_keys(state.app.config, state.settings.encryption_keys)
    return URLSafeSerializer(keys, salt=_SALT)


def make(state: AppState, configuration_id: uuid.UUID, email: str, at: datetime) -> str:
    """A token for ``email`` to stop mails about a configuration.

    :param at: when the mail was written.
    """
    token = _serializer(state).dumps([configuration_id.hex, email, at.date().toordinal()])
    return token if isinstance(token, str) else token.decode()


def read(state: AppState, token: str, now: datetime) -> Link:
    """What a token says.

    :raises NotFound: it is forged or damaged.
    """
    try:
        configuration_id, email, day = _serializer(state).loads(token)
        return Link(
            configuration_id=uuid.UUID(hex=configuration_id),
            email=str(email),
            is_expired=now.date().toordinal() - day > DAYS,
        )
    except (BadData, ValueError, TypeError, AttributeError):
        raise NotFound("This link is damaged: copy it from the mail in full.") from None


def url(state: AppState, configuration_id: uuid.UUID, email: str, at: datetime) -> str:
    """The absolute address behind "Stop these mails" and ``List-Unsubscribe``."""
    token = quote(make(state, configuration_id, email, at))
    return f"{state.settings.public_url}{state.settings.url_prefix}/mute/{token}"
