"""Every ``LMS_*`` configuration key: typed, with its default, checked once when the app starts."""

from __future__ import annotations

import difflib
import ipaddress
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from email_validator import EmailNotValidError, validate_email

from .errors import ConfigurationError


def _url(value: object) -> str:
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write an absolute http(s) URL, such as 'https://training.example/xapi'")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("write the URL without user name, query and fragment")
    return str(value).rstrip("/")


def _seconds(least: float, most: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"write a number of seconds from {least:g} to {most:g}")
        if not least <= value <= most:
            raise ValueError(f"write a number of seconds from {least:g} to {most:g}")
        return float(value)

    return check


def _whole(least: int, most: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"write a whole number from {least} to {most}")
        return value

    return check


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("write True or False")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("write a text")
    return value.strip()


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise ValueError("write a path that begins with a slash and ends without, such as '/lms'")
    return value


def _redis(value: object) -> str:
    if not isinstance(value, str) or not re.match(r"(rediss?|unix)://", value):
        raise ValueError("write a redis://, rediss:// or unix:// URL")
    return value


def _namespace(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", value):
        raise ValueError("write up to 40 letters, digits, dots, hyphens and underscores")
    return value


def _strings(value: object, what: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value) if part]
    if not isinstance(value, list | tuple | set | frozenset) or any(
        not isinstance(item, str) for item in value
    ):
        raise ValueError(f"write a list of {what}")
    return tuple(value)


def _fernet_keys(value: object) -> tuple[str, ...]:
    keys = _strings(value, "keys, the newest first")
    for key in keys:
        try:
            Fernet(key)
        except ValueError:
            raise ValueError(
                "each key must come from cryptography's Fernet.generate_key() "
                "(32 bytes in URL-safe base64), the newest first"
            ) from None
    return keys


def _networks(value: object) -> tuple[str, ...]:
    entries = _strings(value, "networks or host names, such as ['10.1.0.0/16', 'lms.intranet']")
    for entry in entries:
        if "/" in entry or ":" in entry or entry.replace(".", "").isdigit():
            try:
                ipaddress.ip_network(entry)
            except ValueError as error:
                raise ValueError(f"{error}; write networks such as '10.1.0.0/16'") from None
        elif not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?", entry):
            raise ValueError(f"{entry!r} is neither a network nor a host name")
    return tuple(entry.lower() for entry in entries)


def _emails(value: object) -> tuple[str, ...]:
    addresses = _strings(value, "e-mail addresses")
    for address in addresses:
        try:
            validate_email(address, check_deliverability=False, allow_smtputf8=False)
        except EmailNotValidError as error:
            raise ValueError(f"{address!r}: {error}") from None
    return addresses


def _sender(value: object) -> str:
    if not isinstance(value, str) or "@" not in value or re.search(r"[\r\n]", value):
        raise ValueError("write an address, such as 'Training <no-reply@training.example>'")
    return value


def _key(
    check: Callable[[object], Any], about: str, default: Any = None, *, is_secret: bool = False
) -> Any:
    metadata = {"check": check, "about": about}
    return field(default=default, metadata=metadata, repr=not is_secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked configuration of one app.

    Field ``x`` is configuration key ``LMS_X``. Make one with :meth:`from_config`.
    """

    activity_base_url: str = _key(
        _url,
        "Absolute URL under which activity ids are built; must stay the same for ever. "
        "Default: `SERVER_NAME` and the application root. Required without `SERVER_NAME`.",
        "",
    )
    public_url: str = _key(
        _url,
        "Where administrators' browsers find the host, for links in mails. "
        "Default: `SERVER_NAME`, or the origin of `LMS_ACTIVITY_BASE_URL`.",
        "",
    )
    url_prefix: str = _key(_prefix, "Path of the pages.", "/lms")
    platform_name: str = _key(
        _text, "The host's name in statements, pages and mails. Default: the app's name.", ""
    )
    redis_url: str = _key(
        _redis,
        "Redis or Valkey. Falls back to `RQ_REDIS_URL`, then `REDIS_URL`.",
        "redis://localhost:6379/0",
        is_secret=True,
    )
    encryption_keys: tuple[str, ...] = _key(
        _fernet_keys,
        "Fernet keys for stored secrets, the newest first. "
        "Default: derived from `SECRET_KEY` and `SECRET_KEY_FALLBACKS`.",
        (),
        is_secret=True,
    )
    redis_namespace: str = _key(
        _namespace,
        "Name of the RQ queue and beginning of our Redis keys: give each installation on one Redis "
        "its own.",
        "lms",
    )
    bind_key: str | None = _key(_text, "Flask-SQLAlchemy bind key of the tables.", None)
    allowed_networks: tuple[str, ...] = _key(
        _networks, "Private networks and hosts that may be called, for self-hosted LMSs.", ()
    )
    allow_http: bool = _key(_flag, "Accept `http://` addresses of LMSs.", False)
    proxy_url: str | None = _key(_url, "Outbound HTTP proxy for all calls to LMSs.", None)
    ca_bundle: str | None = _key(
        _text, "PEM file of authorities to trust instead of the usual ones.", None
    )
    connect_timeout_seconds: float = _key(_seconds(0.1, 60), "Limit for opening a connection.", 5.0)
    read_timeout_seconds: float = _key(_seconds(0.1, 75), "Limit between two bytes.", 60.0)
    total_timeout_seconds: float = _key(_seconds(0.2, 80), "Limit for one whole request.", 75.0)
    batch_statements: int = _key(
        _whole(1, 500),
        "Most statements in a request. The first have at most 50; they grow while answers are "
        "quick.",
        200,
    )
    batch_bytes: int = _key(_whole(1_000, 10_000_000), "Most bytes in a request.", 512_000)
    retention_days: int = _key(_whole(1, 3650), "Sent deliveries are kept for so many days.", 90)
    content_retention_days: int = _key(
        _whole(1, 3650), "Their statements and answers are kept for so many days.", 30
    )
    mail_sender: str | None = _key(
        _sender, "Sender of alerts. Default: `MAIL_DEFAULT_SENDER`.", None
    )
    mail_timeout_seconds: float = _key(
        _seconds(1, 60), "Limit for each step with the mail server.", 10.0
    )
    operator_emails: tuple[str, ...] = _key(
        _emails, "Who is told of faults of the installation itself.", ()
    )
    health_token: str | None = _key(
        _text,
        "Bearer token for `health.json`. Without it that page answers 404.",
        None,
        is_secret=True,
    )
    worker_processes: int | None = _key(
        _whole(1, 64),
        "Processes of one `flask lms worker` that deliver. Default: one a core, at most 2.",
    )
    worker_streams: int = _key(
        _whole(4, 256), "Requests that each of these has under way at a time.", 32
    )
    requests_at_once: int = _key(
        _whole(1, 64), "Most requests under way at a time to one LMS that is well.", 4
    )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], app_name: str = "") -> Settings:
        """Read and check ``LMS_*`` keys.

        :param config: the app's configuration.
        :param app_name: default of ``LMS_PLATFORM_NAME``.
        :raises ConfigurationError: listing every fault, key by key.
        """
        values: dict[str, Any] = {}
        faults: list[str] = []
        defaults = _derived_defaults(config, app_name)
        known = {f"LMS_{item.name.upper()}": item for item in fields(cls)}
        for key, item in known.items():
            source, raw = key, config.get(key)
            if raw is None or raw == "":
                source, raw = defaults.get(item.name, (key, None))
            if raw is None:
                continue
            try:
                values[item.name] = item.metadata["check"](raw)
            except ValueError as error:
                faults.append(f"{source}: {error}.")
        if not values.get("activity_base_url") and not any("ACTIVITY_BASE" in f for f in faults):
            faults.append(
                "LMS_ACTIVITY_BASE_URL is missing: write the absolute URL under which activity "
                "ids are built, such as 'https://training.example/xapi' (or set SERVER_NAME)."
            )
        if not config.get("SECRET_KEY") and not values.get("encryption_keys"):
            faults.append("SECRET_KEY is missing: set it, or write LMS_ENCRYPTION_KEYS.")
        connect = values.get("connect_timeout_seconds", cls.connect_timeout_seconds)
        total = values.get("total_timeout_seconds", cls.total_timeout_seconds)
        if connect > total:
            faults.append("LMS_TOTAL_TIMEOUT_SECONDS: must not be less than the connect timeout.")
        _warn_of_unknown(config, known)
        if faults:
            raise ConfigurationError(faults)
        if not values.get("public_url"):
            base = urlsplit(values["activity_base_url"])
            values["public_url"] = f"{base.scheme}://{base.netloc}"
        return cls(**values)


def _derived_defaults(config: Mapping[str, Any], app_name: str) -> dict[str, tuple[str, Any]]:
    """Field name → (where the default comes from, its raw value)."""
    derived: dict[str, tuple[str, Any]] = {
        "platform_name": ("LMS_PLATFORM_NAME", app_name or "Training platform"),
        "mail_sender": ("MAIL_DEFAULT_SENDER", _as_sender(config.get("MAIL_DEFAULT_SENDER"))),
    }
    for key in ("REDIS_URL", "RQ_REDIS_URL"):
        if config.get(key):
            derived["redis_url"] = (key, config[key])
    if config.get("SERVER_NAME"):
        scheme = config.get("PREFERRED_URL_SCHEME") or "http"
        root = str(config.get("APPLICATION_ROOT") or "/").rstrip("/")
        site = f"{scheme}://{config['SERVER_NAME']}{root}"
        derived["activity_base_url"] = ("SERVER_NAME", f"{site}/xapi")
        derived["public_url"] = ("SERVER_NAME", site)
    return derived


def _as_sender(value: object) -> object:
    if isinstance(value, tuple) and len(value) == 2:
        return f"{value[0]} <{value[1]}>"
    return value


def _warn_of_unknown(config: Mapping[str, Any], known: Mapping[str, object]) -> None:
    for key in config:
        if isinstance(key, str) and key.startswith("LMS_") and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            warnings.warn(
                f"Flask-LMS does not know the configuration key {key}.{hint}", stacklevel=5
            )
