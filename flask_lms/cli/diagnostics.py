"""Is the installation all right? What ``flask lms check`` looks at, each with its remedy."""

from __future__ import annotations

import enum
import smtplib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from sqlalchemy.exc import SQLAlchemyError

from ..alerts.sending import Connection
from ..app_state import AppState
from ..database.models import Base, Configuration, Worker
from ..database.types import UTC
from ..errors import SecretUnreadable
from ..services.overview import WORKER_MISSING_AFTER, Overview
from ..settings import Settings, read_entry


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


_CLOCK_WARNING_SECONDS = 10.0
_CLOCK_FAULT_SECONDS = 300.0
_OLDEST_REDIS = (6, 2)
_SHORT_SECRET = 16
#: A network so wide that allowing it is as good as allowing everything.
_WIDE_PREFIX = {4: 8, 6: 32}


def check(state: AppState) -> Iterator[Finding]:
    """Look at everything, one finding after another; nothing is written."""
    yield ok("configuration", "All LMS_* keys are well-formed.")
    yield from callbacks(state)
    found = list(tables(state))
    yield from found
    has_tables = not any(one.level is Level.FAULT for one in found)
    if has_tables:
        yield from journal_mode(state)
        yield from clock(state)
        yield from secrets(state)
        yield from lms_types(state)
    yield from redis(state)
    yield from mail(state)
    if has_tables:
        yield from workers(state)
    yield from weak_setups(state.settings, state.app.config, state.app.extensions["mail"])


def callbacks(state: AppState) -> Iterator[Finding]:
    missing = state.callbacks.missing()
    for name in missing:
        yield fault(
            "callbacks",
            f"The host registered no {name}.",
            f"Decorate a function with @lms.{name}.",
        )
    if not missing:
        yield ok("callbacks", "The host registered all that is required.")


def journal_mode(state: AppState) -> Iterator[Finding]:
    if state.session.get_bind(Configuration).dialect.name != "sqlite":
        return
    mode = state.session.scalar(
        sa.text("PRAGMA journal_mode"), bind_arguments={"mapper": Configuration}
    )
    if mode == "delete":
        yield warning(
            "SQLite",
            "The database is not in write-ahead mode: pages and workers wait for each other, and "
            "a result may fail to be recorded.",
            "Run PRAGMA journal_mode=WAL once on its file.",
        )


def tables(state: AppState) -> Iterator[Finding]:
    remedy = "Run flask db migrate and flask db upgrade, or db.create_all() for a first try."
    missing: list[str] = []
    columns: list[str] = []
    indices: list[str] = []
    wanted = Base.metadata.sorted_tables
    try:
        engine = state.db.engines[state.settings.bind_key]
        inspector = sa.inspect(engine)
        present = set(inspector.get_table_names())
        for table in wanted:
            if table.name not in present:
                missing.append(table.name)
                continue
            there = {column["name"] for column in inspector.get_columns(table.name)}
            columns += [
                f"{table.name}.{one.name}" for one in table.columns if one.name not in there
            ]
            # By their columns, as a host may have named them otherwise.
            covered = [tuple(one["column_names"]) for one in inspector.get_indexes(table.name)]
            covered += [
                tuple(one["column_names"]) for one in inspector.get_unique_constraints(table.name)
            ]
            looked_for: list[sa.Index | sa.UniqueConstraint] = [*table.indexes]
            looked_for += [c for c in table.constraints if isinstance(c, sa.UniqueConstraint)]
            indices += sorted(
                str(one.name)
                for one in looked_for
                if tuple(column.name for column in one.columns) not in covered
            )
    except SQLAlchemyError as error:
        said = type(getattr(error, "orig", None) or error).__name__
        yield fault(
            "database",
            f"The database doesn't answer ({said}).",
            "Check SQLALCHEMY_DATABASE_URI (or the bind of LMS_BIND_KEY) and its server.",
        )
        return
    if missing:
        yield fault("tables", f"These tables are missing: {', '.join(missing)}.", remedy)
    if columns:
        yield fault("tables", f"These columns are missing: {', '.join(columns)}.", remedy)
    if indices:
        yield warning(
            "tables",
            f"These indices are missing, so large lists are slow: {', '.join(indices)}.",
            "Run flask db migrate and flask db upgrade.",
        )
    if not missing and not columns:
        yield ok("tables", f"All {len(wanted)} tables are there ({engine.dialect.name}).")


def clock(state: AppState) -> Iterator[Finding]:
    here = time.time()
    there = state.clock.now(state.session()).timestamp()
    took = time.time() - here
    apart = abs(there - here) - took
    if apart <= _CLOCK_WARNING_SECONDS:
        yield ok("clock", f"This machine's clock and the database's agree within {took + 1:.0f} s.")
        return
    sentence = f"This machine's clock and the database's are {apart:.0f} seconds apart."
    remedy = "Set both by NTP (timedatectl set-ntp true): planned tries and certificates need it."
    grave = apart > _CLOCK_FAULT_SECONDS
    yield fault("clock", sentence, remedy) if grave else warning("clock", sentence, remedy)


def secrets(state: AppState) -> Iterator[Finding]:
    rows = state.session.execute(
        sa.select(Configuration.name, Configuration.organization_id, Configuration.secrets)
        .where(Configuration.secrets.is_not(None), Configuration.deleted_at.is_(None))
        .order_by(Configuration.id)
        .execution_options(yield_per=500)
    )
    total = old = 0
    unreadable: list[str] = []
    for name, organization_id, token in rows:
        total += 1
        assert token is not None
        try:
            state.encryption.decrypt(token)
        except SecretUnreadable:
            unreadable.append(f"{name} ({organization_id})")
        else:
            old += not state.encryption.is_current(token)
    if unreadable:
        yield fault(
            "secrets",
            f"No key in use reads the secrets of: {_some(unreadable)}.",
            "Put the old key back into LMS_ENCRYPTION_KEYS (or SECRET_KEY_FALLBACKS) after the new "
            "one, or have these secrets entered again.",
        )
    if old:
        yield warning(
            "secrets",
            f"{old} of {total} secrets are under an older key.",
            "Run flask lms rekey; then the older key can be removed.",
        )
    if not unreadable:
        yield ok("secrets", f"All {total} stored secrets can be read.")


def lms_types(state: AppState) -> Iterator[Finding]:
    used = state.session.scalars(
        sa.select(Configuration.type).where(Configuration.deleted_at.is_(None)).distinct()
    )
    for type in used:
        if state.registry.get(type) is None:
            yield fault(
                "LMS types",
                f"There are configurations of type {type!r}, for which no connector is installed.",
                "Install the package that has it, or pass it: LMS(connectors=[...]).",
            )


def redis(state: AppState) -> Iterator[Finding]:
    url = state.settings.redis_url
    where = urlsplit(url).hostname or urlsplit(url).path
    client = Redis.from_url(
        url, socket_connect_timeout=2, socket_timeout=2, retry=Retry(NoBackoff(), 0)
    )
    try:
        info = client.info("server")
    except (RedisError, OSError) as error:
        yield fault(
            "Redis",
            f"Redis at {where} doesn't answer ({type(error).__name__}): results are sent some "
            "seconds later than they could be.",
            "Start Redis or Valkey, or correct LMS_REDIS_URL.",
        )
        return
    finally:
        client.close()
    found = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < _OLDEST_REDIS:
        yield warning(
            "Redis",
            f"Redis at {where} is version {found}: jobs can get lost when a worker is killed.",
            "Use Redis 6.2 or Valkey 7.2, or newer.",
        )
    else:
        yield ok("Redis", f"Redis at {where} answers (version {found}).")


def mail(state: AppState) -> Iterator[Finding]:
    mail = state.app.extensions["mail"]
    if not (state.settings.mail_sender or mail.default_sender):
        yield fault(
            "mail",
            "Alerts have no sender, so nobody is mailed.",
            "Set LMS_MAIL_SENDER or MAIL_DEFAULT_SENDER.",
        )
        return
    if mail.suppress:
        yield skipped("mail", "Sending is suppressed (MAIL_SUPPRESS_SEND or TESTING).")
        return
    where = f"{mail.server}:{mail.port}"
    try:
        with Connection(mail, state.settings) as connection:
            if connection.host is not None:
                connection.host.noop()
    except (OSError, smtplib.SMTPException) as error:
        said = type(error).__name__
        if isinstance(error, smtplib.SMTPResponseException):
            said = f"it answered {error.smtp_code}"
        elif isinstance(error, socket.timeout):
            said = "no answer in time"
        yield fault(
            "mail",
            f"The mail server {where} takes no mails ({said}).",
            "Check MAIL_SERVER, MAIL_PORT, MAIL_USE_TLS, MAIL_USE_SSL, MAIL_USERNAME and "
            "MAIL_PASSWORD. Alerts wait meanwhile; results don't.",
        )
    else:
        yield ok("mail", f"The mail server {where} answers.")


def workers(state: AppState) -> Iterator[Finding]:
    summary = Overview(state).summary()
    now = state.clock.now(state.session())
    start = "Run flask lms worker as a service, with this app and database."
    if summary.is_worker_missing:
        seen = summary.workers_seen_at
        since = f"since {seen.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if seen else "ever"
        yield fault(
            "workers", f"Results wait ({summary.waiting}) and no worker was seen {since}.", start
        )
        return
    alive = state.session.scalars(
        sa.select(Worker).where(Worker.seen_at >= now - WORKER_MISSING_AFTER).order_by(Worker.id)
    ).all()
    if not alive:
        yield warning("workers", "No worker runs; nothing waits for one now.", start)
        return
    yield ok("workers", f"Running: {_some([worker.id for worker in alive])}.")
    mine = version("flask-lms")
    others = [worker.id for worker in alive if worker.version != mine]
    if others:
        yield warning(
            "workers",
            f"Not of this version ({mine}): {_some(others)}.",
            "Restart the workers after each deployment.",
        )
    deaf = [worker.id for worker in alive if not worker.has_redis]
    if deaf:
        yield warning(
            "workers",
            f"They don't reach Redis: {_some(deaf)}.",
            "Check LMS_REDIS_URL on their machines; they look into the database meanwhile.",
        )


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
    for entry in settings.allowed_networks:
        network, _ = read_entry(entry)
        if isinstance(network, str):
            continue
        if network.prefixlen < _WIDE_PREFIX[network.version]:
            yield warning(
                "LMS_ALLOWED_NETWORKS",
                f"{entry} opens almost every address to whoever may enter an xAPI URL.",
                "Name the networks or hosts of your LMSs only, such as '10.1.2.0/24'.",
            )
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


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "127.0.0.1", "::1") or "." not in host


def _some(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
