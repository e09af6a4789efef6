"""A secret is planted, everything that can go wrong goes wrong, and nobody finds it anywhere."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import html
import http.client
import itertools
import json
import logging
import socket
import sqlite3
import traceback
import urllib.parse
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis

from demo.valkey import Valkey
from flask_lms import Administrator
from flask_lms.alerts import outages, sending
from flask_lms.connectors.stages import TestReport
from flask_lms.database.models import Delivery, ParticipantMapping
from flask_lms.delivery import deliver
from flask_lms.delivery.worker import make_rq_worker, work_off
from flask_lms.encryption import Encryption
from flask_lms.errors import InvalidConfiguration
from flask_lms.services import configurations, tasks
from flask_lms.transport import Transport
from tests.transport_support import Behaviour, Server, read_request
from tests.world import World, make_world, result

KEY = "key-of-the-lms"
SECRET = 'c4naryBird/+"<&é of 2026'
#: Headers take no other signs.
TOKEN = "c4naryToken~/+.of-2026=="
LEARNER = "Jane Doe"


def spellings() -> list[str]:
    """How one of the secrets may look in a text."""
    return sorted({*_spellings(SECRET), *_spellings(TOKEN)})


def _spellings(secret: str) -> list[str]:
    pair = f"{KEY}:{secret}"
    found = {
        secret,
        secret[:10],
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        html.escape(secret),
        html.escape(html.escape(secret)),
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        *(base64.b64encode(text.encode()).decode() for text in (pair, secret)),
        *(base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") for text in (pair, secret)),
    }
    return sorted(found)


def assert_hidden(place: str, text: str) -> None:
    lowered = text.lower()
    for spelling in spellings():
        assert spelling.lower() not in lowered, f"{spelling!r} is in {place}"


def _echo(status: int, kind: str, say: Callable[[str, str], str]) -> Behaviour:
    """An LMS that sends back what it was sent: header and secret, in a body of some kind."""

    def behave(caller: socket.socket) -> None:
        while request := read_request(caller):
            head = request.partition(b"\r\n\r\n")[0].decode()
            header = next((x for x in head.split("\r\n") if x.startswith("Authorization")), "")
            try:
                secret = base64.b64decode(header.split()[-1]).decode().partition(":")[2]
            except (IndexError, ValueError):
                secret = ""
            body = say(header, secret).encode()
            answer = (
                f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nX-Echo: {header[-80:]}\r\n"
                f"Location: https://elsewhere.example/?{urllib.parse.quote(secret)}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            caller.sendall(answer.encode() + body)

    return behave


def _silence(caller: socket.socket) -> None:
    read_request(caller)


def _gives_a_token(caller: socket.socket) -> None:
    while read_request(caller):
        body = json.dumps({"access_token": TOKEN, "expires_in": 3600}).encode()
        caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def _echoes_the_body(caller: socket.socket) -> None:
    while request := read_request(caller):
        body = request.partition(b"\r\n\r\n")[2] or b"?"
        caller.sendall(b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


BEHAVIOURS: dict[str, Behaviour] = {
    "401 text": _echo(401, "text/plain", lambda header, secret: f"{header} is wrong: {secret}"),
    "403 JSON": _echo(403, "application/json", lambda h, s: json.dumps({"message": [h, s]})),
    "400 nested": _echo(
        400, "application/json", lambda h, s: json.dumps({"error": {"message": s}})
    ),
    "500 HTML": _echo(500, "text/html", lambda h, s: f"<h1>Error</h1><p>{html.escape(s)} {h}</p>"),
    "500 long": _echo(500, "text/plain", lambda h, s: "x" * 1995 + s + "y" * 20_000 + s),
    "503 cut": _echo(503, "text/plain", lambda h, s: "x" * (16_384 - 9) + s),
    "302": _echo(302, "text/plain", lambda h, s: s),
    "409": _echo(409, "text/plain", lambda h, s: urllib.parse.quote(s)),
    "200 page": _echo(200, "text/html", lambda h, s: f"<title>{html.escape(s)}</title>"),
    "200 foreign": _echo(200, "application/json", lambda h, s: json.dumps([s, h])),
    "429": _echo(429, "text/plain", lambda h, s: base64.b64encode(s.encode()).decode()),
    "token": _gives_a_token,
    "400 body": _echoes_the_body,
    "no answer": _silence,
    "not HTTP": lambda caller: caller.sendall(read_request(caller)),
}


@dataclasses.dataclass
class Run:
    """A host in which everything went wrong."""

    world: World
    redis: Redis
    database: Path
    reports: list[TestReport]
    ids: list[uuid.UUID]
    mails: list[Any]
    log: list[logging.LogRecord]


class _Ear(logging.Handler):
    """Hears every logger, at every level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    started = {name: Server(behaviour) for name, behaviour in BEHAVIOURS.items()}
    yield started
    for server in started.values():
        server.close()


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, valkey: Valkey, servers: dict[str, Server]
) -> Iterator[Run]:
    redis = Redis.from_url(valkey.url)
    redis.flushall()
    database = tmp_path_factory.mktemp("canary") / "host.db"
    url = f"sqlite:///{database}"
    root, ear = logging.getLogger(), _Ear()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        with (
            make_world(
                url, redis_url=valkey.url, LMS_OPERATOR_EMAILS=["ops@acme.example"]
            ) as world,
            pytest.MonkeyPatch.context() as patch,
        ):
            made = Run(world, redis, database, [], [], [], ear.heard)
            with world.state.mail.record_messages() as mails:
                _everything_goes_wrong(made, servers, patch)
                made.mails = list(mails)
            yield made
    finally:
        root.removeHandler(ear)
        root.setLevel(level)


def _everything_goes_wrong(
    run: Run, servers: dict[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, services = run.world, run.world.lms.configurations
    clock = world.freeze(datetime(2026, 3, 2, 9, tzinfo=timezone.utc))
    urls = {name: server.url(path="/xapi") for name, server in servers.items()}
    urls["no name"] = "https://lms.invalid/xapi"
    urls["private"] = "https://10.0.0.1/xapi"
    client = {"auth": "oauth2", "client_id": KEY, "client_secret": SECRET}
    bearer = {"auth": "bearer", "token": TOKEN}
    header = {"auth": "header", "header_name": "Authorization", "header_value": TOKEN}
    further = {"key": KEY, "secret": SECRET, "header_3": "X-Key", "header_3_value": TOKEN}
    ways: dict[str, dict[str, str]] = {
        **{
            name: {"url": url, "key": KEY, "secret": SECRET}
            for name, url in urls.items()
            if name != "token"
        },
        **{f"bearer {name}": {"url": urls[name], **bearer} for name in ("401 text", "500 long")},
        **{f"header {name}": {"url": urls[name], **header} for name in ("403 JSON", "302")},
        "further": {"url": urls["500 HTML"], **further},
    }
    for name in ("401 text", "403 JSON", "400 body", "302", "not HTTP"):
        for way in ("basic", "body", "json"):
            own = {"token_url": urls[name], "client_auth": way}
            ways[f"client {name} {way}"] = {"url": urls["409"], **client, **own}
    for name in ("401 text", "500 HTML", "302", "503 cut", "200 foreign"):
        ways[f"token {name}"] = {"url": urls[name], **client, "token_url": urls["token"]}
    for name, values in ways.items():
        run.reports.append(services.test_settings("xapi", values))
        made = services.create("acme", f"LMS {name}", ["ana@acme.example"], settings=values)
        services.attach(made.id, "ppe")
        run.ids.append(made.id)
        run.reports.append(services.test(made.id))
    with pytest.raises(InvalidConfiguration) as refused:
        services.create(
            "acme", "x" * 999, ["no address"], settings={"url": f"https://u:{SECRET}@x/"}
        )
    run.log.append(_record(str(refused.value) + repr(refused.value.errors)))
    services.update(run.ids[0], settings={"secret": SECRET}, by="Ana")
    world.lms.record_many([result(f"r{number}") for number in range(3)])
    world.db.session.commit()
    worker = make_rq_worker(world.app, deliver.Deliverer(world.state).deliver)
    worker.subscribe = lambda: None  # type: ignore[method-assign]
    worker.work(burst=True, logging_level="DEBUG")
    for _ in range(12):
        clock.advance(minutes=31)
        work_off(world.app)
        outages.tick(world.state, clock.now(world.db.session()))
        sending.send_due(world.state)
    _a_fault_of_our_own(run, worker, monkeypatch)
    world.state.encryption = Encryption(["A" * 43 + "="])
    run.reports.append(services.test(run.ids[0]))
    clock.advance(hours=25)
    work_off(world.app)


def _a_fault_of_our_own(run: Run, worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exceptions nobody thought of, below frames that hold the secret: in the connector's call, its
    trace goes to the log, and in the drain itself, its trace is kept in Redis by RQ.
    """

    def break_down(*args: Any, **kw: Any) -> Any:
        raise RuntimeError("out of order")

    for place, name in ((Transport, "request"), (deliver, "settle")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, break_down)
            run.redis.flushall()
            for id in run.ids:
                run.world.lms.configurations.send_waiting(id)
            worker.work(burst=True, logging_level="DEBUG")
    with monkeypatch.context() as patch:  # below all of ours, where the header is bytes already
        patch.setattr(http.client.HTTPConnection, "endheaders", break_down)
        run.redis.flushall()
        run.world.lms.configurations.send_waiting(run.ids[0])
        worker.work(burst=True, logging_level="DEBUG")
        report = run.world.lms.configurations.test(run.ids[0])
        assert report.cause == "connector_failed"
        run.reports.append(report)
    run.redis.flushall()
    with monkeypatch.context() as patch:
        patch.setattr(deliver, "settle", break_down)
        for id in run.ids:
            run.world.lms.configurations.send_waiting(id)
        worker.work(burst=True, logging_level="DEBUG")
    held = [_dump(run.redis, key) for key in run.redis.scan_iter()]
    assert any(b"RuntimeError: see the worker's log" in text for text in held)
    assert not any(b"out of order" in text for text in held)


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None)


def _dump(redis: Redis, key: bytes) -> bytes:
    """All that a key holds, unpacked: RQ packs what it writes."""
    kinds: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: [redis.get(key)],
        b"hash": lambda: [part for pair in redis.hgetall(key).items() for part in pair],
        b"list": lambda: redis.lrange(key, 0, -1),
        b"set": lambda: redis.smembers(key),
        b"zset": lambda: redis.zrange(key, 0, -1),
        b"stream": lambda: [part for _, row in redis.xrange(key) for part in row.values()],
    }
    return b"\n".join([key, *(text for part in kinds[redis.type(key)]() for text in _forms(part))])


def _forms(packed: bytes) -> Iterator[bytes]:
    yield packed
    for unpack in (lambda: packed, lambda: base64.b64decode(packed, validate=True)):
        with contextlib.suppress(ValueError, zlib.error):
            yield zlib.decompress(unpack())


def test_the_secret_was_really_on_its_way(run: Run, servers: dict[str, Server]) -> None:
    """Else the other tests would prove nothing."""
    assert all(server.connections > 0 for server in servers.values())
    assert {"credentials", "internal", "redirect", "rate", "dns", "blocked", "not_http"} | {
        "bearer_refused",
        "header_refused",
        "token_client",
        "token_request",
        "token_redirect",
        "token_not_http",
        "token_not_taken",
    } <= {report.cause for report in run.reports}
    assert len(run.mails) > 3


def test_no_secret_is_in_the_database(run: Run) -> None:
    with sqlite3.connect(run.database) as database:
        for line in database.iterdump():
            assert_hidden("the database", line)
    database.close()


def test_no_secret_is_in_redis(run: Run) -> None:
    keys = run.redis.keys()
    assert keys
    for key in keys:
        assert_hidden("Redis", _dump(run.redis, key).decode("utf-8", "replace"))


def test_no_secret_is_in_the_log_and_no_learner_above_debug(run: Run) -> None:
    assert len(run.log) > 50
    formatter = logging.Formatter("%(message)s")
    for record in run.log:
        text = formatter.format(record)
        assert_hidden(f"the log of {record.name}", text)
        if record.levelno >= logging.INFO:
            assert LEARNER not in text
            assert "jane@acme.example" not in text


def test_no_secret_is_in_a_report_or_a_repr(run: Run) -> None:
    for report in run.reports:
        assert_hidden("a test report", repr(report))
    run.world.db.session.rollback()
    for configuration in run.world.lms.configurations.list():
        assert_hidden("a repr", repr(configuration) + repr(configuration.health))
    for delivery in run.world.rows():
        assert_hidden("a repr", repr(delivery))
        for attempt in run.world.lms.deliveries.attempts(delivery):
            assert_hidden("an attempt", repr(vars(attempt)))
    assert_hidden("a repr", repr(run.world.state))


def test_no_secret_is_in_a_mail(run: Run) -> None:
    for mail in run.mails:
        assert_hidden("a mail", mail.as_string())
        assert_hidden("a mail", f"{mail.subject} {mail.body} {mail.html}")


def test_a_lost_key_stops_the_configuration_with_its_remedy(run: Run) -> None:
    assert run.reports[-1].cause == "secret_unreadable"
    health = run.world.lms.configurations.get(run.ids[0]).health
    assert health.cause == "secret_unreadable"


def _told(error: BaseException) -> str:
    """What an error reporter keeps: each frame with its variables, of every error inside it."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    inside = [one for one in (error.__cause__, error.__context__) if one is not None]
    return "".join([*trace.format(), *map(_told, inside)])


def _reported(error: BaseException) -> str:
    """The event of sentry-sdk with its defaults."""
    utils = pytest.importorskip("sentry_sdk.utils")
    serialize = pytest.importorskip("sentry_sdk.serializer").serialize
    defaults = pytest.importorskip("sentry_sdk.consts").DEFAULT_OPTIONS
    event, _ = utils.event_from_exception(error, client_options=defaults)
    return repr(serialize(event))


def _errors(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Those of the log, and of a save, a test and a form that fail while they hold the secret."""
    found = [record.exc_info[1] for record in run.log if record.exc_info and record.exc_info[1]]
    assert len(found) > 3

    def break_down(*args: Any, **kw: Any) -> Any:
        raise RuntimeError("out of order")

    services = run.world.lms.for_organization("acme").configurations
    typed = {"url": "https://lms.example/xapi", "key": KEY, "secret": SECRET}
    given = {"contact_emails": ["a@acme.example"], "settings": typed}
    form = {"name": "Typed", "type": "xapi", "contact_emails": "a@acme.example", "language": "en"}
    run.world.who = Administrator(id="1", organization_id="acme", name="Ana")
    monkeypatch.setitem(run.world.app.config, "WTF_CSRF_ENABLED", False)
    monkeypatch.setitem(run.world.app.config, "PROPAGATE_EXCEPTIONS", True)
    client = run.world.app.test_client()
    calls: list[Callable[[], Any]] = [
        lambda: services.create(name="Another", **given),
        lambda: services.update(run.ids[0], settings=typed),
        lambda: services.test_settings("xapi", typed),
        lambda: client.post("/lms/new/xapi", data={**form, **typed, "act": "save"}),
        lambda: client.post(f"/lms/{run.ids[0]}/edit", data={**form, **typed, "act": "save"}),
    ]
    for place, name in ((configurations, "change"), (Encryption, "encrypt"), (Transport, "_carry")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, break_down)
            for call in calls:
                try:
                    call()
                except Exception as error:
                    found.append(_ours(error))
                run.world.db.session.rollback()
    return found


def _ours(error: Exception) -> Exception:
    """Without the frames of this test and of the client, which typed the secret themselves."""
    trace = error.__traceback__
    while trace is not None and "/flask_lms/" not in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    assert trace is not None
    return error.with_traceback(trace)


@pytest.mark.parametrize("tell", [_told, _reported])
def test_no_secret_is_in_a_traceback_with_its_variables(
    run: Run, monkeypatch: pytest.MonkeyPatch, tell: Callable[[BaseException], str]
) -> None:
    errors = _errors(run, monkeypatch)
    assert len(errors) > 12
    for error in errors:
        assert_hidden(f"the traceback of {error!r}", tell(error))


def _pages(run: Run) -> Iterator[tuple[str, str]]:
    """Every page that an administrator can open, with its headers and its session."""
    world = run.world
    world.who = Administrator(id="1", organization_id="acme", name="Ana")
    client = world.app.test_client()
    with world.app.app_context():
        deliveries = world.db.session.scalars(sa.select(Delivery.id).limit(20)).all()
        task = tasks.ask(world.state, "acme", "cancel", {}, by=None, configuration_id=run.ids[0])
        task_ids = [task.id]
        scoped = world.lms.for_organization("acme")
        scoped.participants.map("E001", email="jane@corp.example")
        mappings = world.db.session.scalars(sa.select(ParticipantMapping.id)).all()
        world.db.session.rollback()
    choices: dict[str, Sequence[object]] = {
        "configuration_id": run.ids,
        "delivery_id": deliveries,
        "task_id": task_ids,
        "mapping_id": mappings,
        "objective_id": ["ppe"],
        "type": ["xapi"],
        "act": ["send-again"],
        "token": ["forged"],
        "filename": ["lms.css"],
    }
    adapter = world.app.url_map.bind("localhost")
    for rule in world.app.url_map.iter_rules():
        if not rule.endpoint.startswith("lms.") or "GET" not in (rule.methods or ()):
            continue
        names = sorted(rule.arguments)
        for values in itertools.product(*(choices[name] for name in names)):
            path = adapter.build(rule.endpoint, dict(zip(names, values, strict=True)))
            answer = client.get(path)
            yield path, answer.get_data(as_text=True) + str(answer.headers)
            answer.close()


def test_no_secret_is_in_a_page_a_csv_or_a_session(run: Run) -> None:
    seen = 0
    for path, text in _pages(run):
        assert_hidden(path, text)
        seen += 1
    assert seen > 60


def test_a_secret_that_was_typed_does_not_come_back(run: Run) -> None:
    """Neither in the form that is shown again, nor in the session, nor in an error page."""
    run.world.who = Administrator(id="1", organization_id="acme", name="Ana")
    run.world.app.config["WTF_CSRF_ENABLED"] = False
    client = run.world.app.test_client()
    first = {"name": "Typed", "type": "xapi", "contact_emails": "a@acme.example", "language": "en"}
    assert client.post("/lms/new", data=first).status_code == 200
    typed = {**first, "url": "https://10.0.0.1/xapi", "key": KEY, "secret": SECRET}
    answers = [
        client.post("/lms/new/xapi", data={**typed, "act": act, **more})
        for act in ("test", "back", "save")
        for more in ({"url": "nonsense"}, {"key": ""}, {})
    ]
    edit = f"/lms/{run.ids[0]}/edit"
    answers += [client.post(edit, data={**first, **typed, "act": act}) for act in ("test", "save")]
    for answer in answers:
        assert answer.status_code < 500
        assert_hidden(answer.request.path, answer.text + str(answer.headers))
        for cookie in answer.headers.getlist("Set-Cookie"):
            payload = cookie.partition("=")[2].lstrip(".").partition(".")[0]
            opened = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            with contextlib.suppress(zlib.error):
                opened = zlib.decompress(opened)
            assert_hidden("the session", opened.decode("utf-8", "replace"))
