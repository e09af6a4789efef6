"""Every ``LMS_*`` configuration key: typed, with its default, checked once when the app starts."""

from __future__ import annotations

import difflib
import ipaddress
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

from cryptography.fernet import Fernet

from .checks import Check, Refused, email, flag, number, text, whole
from .errors import ConfigurationError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_text = text(4000, needed="Enter a text.")


def _url(value: object) -> str:
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused("Enter an absolute http(s) URL, such as 'https://training.example/xapi'.")
    if parts.query or parts.fragment or parts.username:
        raise Refused("Enter the URL without user name, query and fragment.")
    return str(value).rstrip("/")


def _like(pattern: str, sentence: str) -> Check[str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise Refused(sentence)
        return value

    return check


def _each(check: Callable[[str], str], what: str) -> Check[tuple[str, ...]]:
    """A list, or a text with commas or spaces between its entries, as from the environment."""

    def check_all(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part for part in re.split(r"[,\s]+", value) if part]
        if not isinstance(value, list | tuple | set | frozenset) or any(
            not isinstance(item, str) for item in value
        ):
            raise Refused(f"Enter a list of {what}.")
        return tuple(check(item) for item in value)

    return check_all


def _fernet_key(key: str) -> str:
    try:
        Fernet(key)
    except ValueError:
        raise Refused(
            "Each key must come from cryptography's Fernet.generate_key() (32 bytes in URL-safe "
            "base64), the newest first."
        ) from None
    return key


def read_entry(entry: str) -> tuple[IPNetwork | str, int | None]:
    """A network or a host's name, and its port if it names one.

    :raises Refused: it is none of ``host``, ``host:port``, ``network`` and ``network:port``.
    """
    where, port = entry.strip().lower(), None
    if found := re.fullmatch(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})", where):
        where, port = found[1], int(found[2])
    if port is not None and not 0 < port < 65536:
        raise Refused(f"{entry!r} has no port from 1 to 65535.")
    where = re.sub(r"^\[(.*)\]", r"\1", where)
    if "/" in where or ":" in where or where.replace(".", "").isdigit():
        try:
            return ipaddress.ip_network(where), port
        except ValueError as error:
            raise Refused(f"{error}. Enter networks such as '10.1.0.0/16'.") from None
    if not re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?\.?", where):
        raise Refused(f"{entry!r} is neither a network nor a host name.")
    return where.rstrip("."), port


def _network(entry: str) -> str:
    read_entry(entry)
    return entry.lower()


#: What ``LMS_ALLOWED_NETWORKS`` holds, and what ``@lms.egress_policy`` returns.
NETWORKS = _each(_network, "networks or host names, such as ['10.1.0.0/16', 'lms.intranet:8443']")


def _ancestor(source: str) -> str:
    """A source of CSP's ``frame-ancestors``; the two words with or without their quotes."""
    word = source.strip("'").lower()
    if word in ("self", "none"):
        return f"'{word}'"
    if not re.fullmatch(r"https?://(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:([0-9]{1,5}|\*))?", word):
        raise Refused("Enter 'self', 'none' or origins, such as 'https://portal.example'.")
    return word


def _zone(value: object) -> str:
    name = str(_text(value))
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        rule = "Enter a zone of the IANA time zone database, such as 'Europe/Berlin'."
        raise Refused(rule) from None
    return name


def _key(check: Check[Any], about: str, default: Any = None, *, is_secret: bool = False) -> Any:
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
        "The host's address as administrators see it, for links in mails. "
        "Default: `SERVER_NAME`, or the origin of `LMS_ACTIVITY_BASE_URL`.",
        "",
    )
    url_prefix: str = _key(
        _like(
            r"(/[A-Za-z0-9._~-]+)+",
            "Enter a path that begins with a slash and ends without one, such as '/lms'.",
        ),
        "Path under which the pages are served.",
        "/lms",
    )
    platform_name: str = _key(
        _text, "The host's name in statements, pages and mails. Default: the app's name.", ""
    )
    support_url: str | None = _key(
        _like(
            r"https://[^\s/@#]+(/[^\s#]*)?|mailto:[^\s?@]+@[^\s?@]+",
            "Enter an address such as 'https://training.example/support' or "
            "'mailto:support@training.example'.",
        ),
        "Where an administrator who is stuck finds you, as an https or mailto address: the last "
        "step of every remedy, with the configuration's id and the cause. Default: no such step.",
        None,
    )
    time_zone: str | None = _key(
        _zone,
        "In which pages and mails tell times, such as 'Europe/Berlin'. Default: UTC, and pages "
        "with JavaScript the reader's own.",
        None,
    )
    redis_url: str = _key(
        _like(r"(rediss?|unix)://.*", "Enter a redis://, rediss:// or unix:// URL."),
        "Address of Redis or Valkey. Falls back to `RQ_REDIS_URL`, then `REDIS_URL`.",
        "redis://localhost:6379/0",
        is_secret=True,
    )
    encryption_keys: tuple[str, ...] = _key(
        _each(_fernet_key, "keys, the newest first"),
        "Fernet keys that encrypt stored secrets, the newest first. "
        "Default: derived from `SECRET_KEY` and `SECRET_KEY_FALLBACKS`.",
        (),
        is_secret=True,
    )
    redis_namespace: str = _key(
        _like(
            r"[A-Za-z0-9_.-]{1,40}",
            "Enter up to 40 letters, digits, dots, hyphens and underscores.",
        ),
        "Name of the RQ queue and prefix of our Redis keys; installations that share a Redis need "
        "different ones.",
        "lms",
    )
    bind_key: str | None = _key(_text, "Flask-SQLAlchemy bind key of the tables.", None)
    frame_ancestors: tuple[str, ...] = _key(
        _each(_ancestor, "origins, such as ['self', 'https://portal.example']"),
        "Which sites may show the pages in a frame, when the host's own "
        "Content-Security-Policy doesn't say it. Default: the host's own site.",
        (),
    )
    allowed_networks: tuple[str, ...] = _key(
        NETWORKS,
        "Private networks and hosts that may be called, for self-hosted LMSs: `network`, "
        "`network:port`, `host` or `host:port`. `@lms.egress_policy` replaces it for one "
        "organization.",
        (),
    )
    show_private_answers: bool = _key(
        flag,
        "Show what LMSs at private addresses say when they refuse something; else only the status.",
        False,
    )
    allow_http: bool = _key(flag, "Accept unencrypted `http://` addresses of LMSs.", False)
    proxy_url: str | None = _key(_url, "HTTP proxy through which LMSs are called.", None)
    ca_bundle: str | None = _key(
        _text, "PEM file of the certificate authorities to trust instead of the public ones.", None
    )
    connect_timeout_seconds: float = _key(
        number(0.1, 60), "How long to wait for a connection to an LMS.", 5.0
    )
    read_timeout_seconds: float = _key(
        number(0.1, 75), "How long an LMS may stay silent in the middle of a request.", 60.0
    )
    total_timeout_seconds: float = _key(
        number(0.2, 80), "How long a whole request to an LMS may take.", 75.0
    )
    tests_at_once: int = _key(
        whole(1, 64),
        "How many connection tests may be under way at a time; each holds a thread of your web "
        "server for up to 12 seconds, so keep it below their number.",
        2,
    )
    batch_statements: int = _key(
        whole(1, 500),
        "Maximum number of statements per request. Requests begin with at most 50 and grow while "
        "answers are quick.",
        200,
    )
    batch_bytes: int = _key(
        whole(1_000, 10_000_000), "Maximum size of a request, in bytes.", 512_000
    )
    max_configurations: int = _key(
        whole(1, 10_000), "How many LMS configurations an organization may have.", 50
    )
    max_attached: int = _key(
        whole(1, 1_000), "How many LMS configurations may be attached to one objective.", 10
    )
    retention_days: int = _key(
        whole(1, 3650), "How many days deliveries are kept after they were sent.", 90
    )
    undelivered_retention_days: int = _key(
        whole(1, 3650), "How many days what was rejected, not sent or cancelled is kept.", 365
    )
    audit_retention_days: int = _key(whole(1, 3650), "How many days the history is kept.", 1095)
    content_retention_days: int = _key(
        whole(1, 3650), "How many days their statements and the LMS's answers are kept.", 30
    )
    mail_sender: str | None = _key(
        _like(
            r"[^\r\n]*@[^\r\n]*",
            "Enter an address, such as 'Training <no-reply@training.example>'.",
        ),
        "Sender address of alerts. Default: `MAIL_DEFAULT_SENDER`.",
        None,
    )
    mail_timeout_seconds: float = _key(
        number(1, 60), "How long to wait for each answer of the mail server.", 10.0
    )
    operator_emails: tuple[str, ...] = _key(
        _each(email, "e-mail addresses"),
        "Addresses that are told about problems with the installation itself.",
        (),
    )
    health_token: str | None = _key(
        _text,
        "Bearer token for `health.json`; without one, that page answers 404.",
        None,
        is_secret=True,
    )
    worker_processes: int | None = _key(
        whole(1, 64),
        "How many processes of one `flask lms worker` deliver. Default: one per core, at most 2.",
    )
    worker_streams: int = _key(
        whole(4, 256), "How many requests each of these processes has under way at once.", 32
    )
    requests_at_once: int = _key(
        whole(1, 64), "The most requests that are under way at once to one LMS that is well.", 4
    )

    def support_link(self, configuration_id: object = None, cause: str | None = None) -> str | None:
        """Where whoever is stuck finds the host's people; None: nowhere. It names what it is
        about, and holds no secret.

        :param configuration_id: of the LMS configuration. :param cause: the code of what is wrong.
        """
        if self.support_url is None:
            return None
        about = {"configuration": str(configuration_id or ""), "cause": cause or ""}
        about = {name: value for name, value in about.items() if value}
        if self.support_url.startswith("mailto:"):
            text = ", ".join(f"{name}: {value}" for name, value in about.items())
            said = {"subject": f"LMS ({text})" if text else "LMS"}
            return f"{self.support_url}?{urlencode(said, quote_via=quote)}"
        if not about:
            return self.support_url
        mark = "&" if "?" in self.support_url else "?"
        return f"{self.support_url}{mark}{urlencode(about)}"

    @classmethod
    def from_config(cls, config: Mapping[str, Any], app_name: str = "") -> Settings:
        """Read and check ``LMS_*`` keys.

        :param config: the app's configuration.
        :param app_name: default of ``LMS_PLATFORM_NAME``.
        :raises ConfigurationError: listing every fault, key by key.
        """
        values: dict[str, Any] = {}
        faults: list[str] = []
        sender = config.get("MAIL_DEFAULT_SENDER")
        if isinstance(sender, tuple) and len(sender) == 2:
            sender = f"{sender[0]} <{sender[1]}>"
        # Field name → where its default comes from, and the raw value.
        defaults: dict[str, tuple[str, Any]] = {
            "platform_name": ("LMS_PLATFORM_NAME", app_name or "Training platform"),
            "mail_sender": ("MAIL_DEFAULT_SENDER", sender),
        }
        for key in ("REDIS_URL", "RQ_REDIS_URL"):
            if config.get(key):
                defaults["redis_url"] = (key, config[key])
        if config.get("SERVER_NAME"):
            scheme = config.get("PREFERRED_URL_SCHEME") or "http"
            root = str(config.get("APPLICATION_ROOT") or "/").rstrip("/")
            site = f"{scheme}://{config['SERVER_NAME']}{root}"
            defaults["activity_base_url"] = ("SERVER_NAME", f"{site}/xapi")
            defaults["public_url"] = ("SERVER_NAME", site)

        known = {f"LMS_{item.name.upper()}": item for item in fields(cls)}
        for key, item in known.items():
            source, raw = key, config.get(key)
            if raw is None or raw == "":
                source, raw = defaults.get(item.name, (key, None))
            if raw is None:
                continue
            try:
                values[item.name] = item.metadata["check"](raw)
            except Refused as error:
                faults.append(f"{source}: {error}")
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
        for key in config:
            if isinstance(key, str) and key.startswith("LMS_") and key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                warnings.warn(
                    f"Flask-LMS does not know the configuration key {key}.{hint}", stacklevel=4
                )
        if faults:
            raise ConfigurationError(faults)
        if not values.get("public_url"):
            base = urlsplit(values["activity_base_url"])
            values["public_url"] = f"{base.scheme}://{base.netloc}"
        return cls(**values)
