"""The link in a mail that stops further ones, without sign-in (RFC 8058).

The token says which configuration and which address, signed; it never expires, as mails don't.
"""

from __future__ import annotations

import uuid
from urllib.parse import quote

from itsdangerous import BadData, URLSafeSerializer

from ..app_state import AppState
from ..errors import NotFound

_SALT = "flask-lms mute v1"


def _serializer(state: AppState) -> URLSafeSerializer:
    """Signs with the newest key and reads with any (``SECRET_KEY_FALLBACKS``)."""
    newest = state.app.secret_key or state.settings.encryption_keys[0]
    fallbacks = state.app.config.get("SECRET_KEY_FALLBACKS") or ()
    return URLSafeSerializer([*fallbacks, newest], salt=_SALT)


def make(state: AppState, configuration_id: uuid.UUID, email: str) -> str:
    """A token for ``email`` to stop mails about a configuration."""
    token = _serializer(state).dumps([configuration_id.hex, email])
    return token if isinstance(token, str) else token.decode()


def read(state: AppState, token: str) -> tuple[uuid.UUID, str]:
    """``(configuration_id, email)`` of a token.

    :raises NotFound: it is forged or damaged.
    """
    try:
        configuration_id, email = _serializer(state).loads(token)
        return uuid.UUID(hex=configuration_id), str(email)
    except (BadData, ValueError, TypeError, AttributeError):
        raise NotFound("This link is damaged: copy it from the mail in full.") from None


def url(state: AppState, configuration_id: uuid.UUID, email: str) -> str:
    """The absolute address behind "Stop these mails" and ``List-Unsubscribe``."""
    token = quote(make(state, configuration_id, email))
    return f"{state.settings.public_url}{state.settings.url_prefix}/mute/{token}"
