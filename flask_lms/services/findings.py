"""What a check found, and the set-ups that work but are weaker than they need to be."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..settings import Settings


class Level(str, enum.Enum):
    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    :param name: what was looked at, one or two words.
    :param remedy: what to do about it.
    """

    level: Level
    name: str
    sentence: str
    remedy: str | None = None


def ok(name: str, sentence: str) -> Finding:
    return Finding(level=Level.OK, name=name, sentence=sentence)


def warning(name: str, sentence: str, remedy: str) -> Finding:
    return Finding(level=Level.WARNING, name=name, sentence=sentence, remedy=remedy)


def fault(name: str, sentence: str, remedy: str) -> Finding:
    return Finding(level=Level.FAULT, name=name, sentence=sentence, remedy=remedy)


def skipped(name: str, sentence: str) -> Finding:
    return Finding(level=Level.SKIPPED, name=name, sentence=sentence)


_SHORT_SECRET = 16
#: A network so wide that allowing it is as good as allowing everything.
_WIDE_PREFIX = {4: 8, 6: 32}


def weak_setups(settings: Settings, config: Mapping[str, Any], mail: Any) -> Iterator[Finding]:
    """What works but is weaker than it needs to be.

    :param config: the app's configuration.
    :param mail: Flask-Mail's state of the app.
    """
    if config.get("DEBUG"):
        yield warning(
            "debug mode",
            "The app runs in debug mode: whoever sees an error page can run code.",
            "Run it without --debug and FLASK_DEBUG in production.",
        )
    secret = config.get("SECRET_KEY") or ""
    if len(secret) < _SHORT_SECRET:
        yield warning(
            "SECRET_KEY",
            f"SECRET_KEY has {len(secret)} characters: sessions and stored secrets can be guessed.",
            "Write a random one: python -c 'import secrets; print(secrets.token_hex())'. Keep the "
            "old one in SECRET_KEY_FALLBACKS and run flask lms rekey.",
        )
    if not settings.encryption_keys:
        yield warning(
            "encryption keys",
            "Stored secrets are encrypted with a key derived from SECRET_KEY: when that is "
            "changed without SECRET_KEY_FALLBACKS they can't be read any more.",
            "Set LMS_ENCRYPTION_KEYS to a key of its own (cryptography's Fernet.generate_key()) "
            "and run flask lms rekey.",
        )
    if settings.allow_http:
        yield warning(
            "LMS_ALLOW_HTTP",
            "LMSs may have http:// addresses: their keys, secrets and results travel unencrypted.",
            "Remove LMS_ALLOW_HTTP unless every LMS is inside your own network.",
        )
    yield from _wide_networks(settings)
    if settings.public_url.startswith("http://") and not _is_local(settings.public_url):
        yield warning(
            "LMS_PUBLIC_URL",
            f"Links in mails lead to {settings.public_url}, which is not encrypted.",
            "Set LMS_PUBLIC_URL to the https:// address of the host.",
        )
    if not _is_local(f"smtp://{mail.server}") and not (mail.use_tls or mail.use_ssl):
        yield warning(
            "mail encryption",
            f"Mails go to {mail.server} unencrypted, with their user name and password.",
            "Set MAIL_USE_TLS = True (port 587) or MAIL_USE_SSL = True (port 465).",
        )
    if not settings.operator_emails:
        yield warning(
            "LMS_OPERATOR_EMAILS",
            "Nobody is told by mail when the installation itself has a fault.",
            "Set LMS_OPERATOR_EMAILS to the addresses of whoever operates this host.",
        )


def _wide_networks(settings: Settings) -> Iterator[Finding]:
    for entry in settings.allowed_networks:
        try:
            network = ipaddress.ip_network(entry)
        except ValueError:
            continue  # a host's name
        if network.prefixlen < _WIDE_PREFIX[network.version]:
            yield warning(
                "LMS_ALLOWED_NETWORKS",
                f"{entry} opens almost every address to whoever may enter an xAPI URL.",
                "Name the networks or hosts of your LMSs only, such as '10.1.2.0/24'.",
            )


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "127.0.0.1", "::1") or "." not in host
