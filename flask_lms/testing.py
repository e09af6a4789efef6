"""Helpers for the tests of hosts: an LMS that really answers on loopback, and delivery on the spot.

A host's test from end to end::

    >>> from flask_lms.testing import FakeAnswer, FakeLRS, deliver
    >>> with FakeLRS() as lrs:  # a real HTTP server
    ...     with app.app_context():
    ...         acme = lms.for_organization("acme")
    ...         made = acme.configurations.create(
    ...             name="Test LMS", contact_emails=["ana@acme.example"], settings=lrs.settings
    ...         )
    ...         _ = acme.configurations.attach(made.id, "fire-safety")
    ...         _ = lms.record(result)
    ...     _ = deliver(app)  # no Redis, no worker
    ...     [statement] = lrs.statements
    >>> statement["verb"]["id"]
    'http://adlnet.gov/expapi/verbs/passed'

The app must allow what is refused in production: ``LMS_ALLOW_HTTP = True`` and
``LMS_ALLOWED_NETWORKS = ["127.0.0.0/8"]``; :data:`CONFIG` has them. How an LMS that is out of order
looks to the host is tested with the switches::

    >>> with FakeLRS() as lrs:
    ...     lrs.answer(FakeAnswer(503), FakeAnswer(200, body=b"<h1>Hello</h1>"))
    ...     lrs.delay_seconds = 0.1     # before each answer
    ...     lrs.refuse()                # connections are refused, until:
    ...     lrs.accept()
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from .delivery.worker import BurstReport, work_off

if TYPE_CHECKING:
    from flask import Flask
    from typing_extensions import Self

__all__ = [
    "CONFIG",
    "BurstReport",
    "FakeAnswer",
    "FakeLRS",
    "FakeReceiver",
    "FakeServer",
    "ReceivedRequest",
    "deliver",
]

#: What a test's app needs besides its own configuration.
CONFIG: Mapping[str, Any] = {
    "LMS_ALLOW_HTTP": True,
    "LMS_ALLOWED_NETWORKS": ["127.0.0.0/8"],
    "LMS_SHOW_PRIVATE_ANSWERS": True,
}

_TOLERATED_SECONDS = 300
_VERSION = "1.0.3"
_RECEIVED_KEPT = 1000
_VOIDED = "http://adlnet.gov/expapi/verbs/voided"


@dataclass(frozen=True)
class FakeAnswer:
    """What the LRS answers instead of its own answer.

    :param status: the HTTP status.
    :param headers: of the answer.
    :param body: of the answer.
    :param delay_seconds: waited before this answer.
    :param stores: it stores the statements nevertheless, as one does whose answer gets lost.
    :param cut: it closes the connection: ``before`` the status line, or ``after`` the headers.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    stores: bool = False
    cut: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """A request as it came in.

    :param method: such as ``POST``.
    :param path: with its query.
    :param headers: as they were sent.
    :param body: as it was sent.
    :param status: what was answered.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


class FakeServer:
    """An HTTP server on 127.0.0.1, in a thread of its own: what :class:`FakeLRS`,
    :class:`FakeReceiver` and the fake LMS of your own type have in common.

    Derive from it and write :meth:`own_answer`. Use it as a context manager, or call :meth:`start`
    and :meth:`stop`.

    :param port: 0: any free one.
    :ivar delay_seconds: waited before each answer.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.delay_seconds: float = 0.0
        self._port = port
        self._script: deque[FakeAnswer] = deque()
        self._always: FakeAnswer | None = None
        self._lock = threading.RLock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.reset()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port; the same after :meth:`refuse` and :meth:`accept`."""
        return self._port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def received(self) -> list[ReceivedRequest]:
        """The last 1,000 requests, oldest first."""
        with self._lock:
            return list(self._received)

    @property
    def requests(self) -> int:
        """How many requests came in all."""
        return self._requests

    def reset(self) -> None:
        """Forget everything, switches too."""
        with self._lock:
            self._received: deque[ReceivedRequest] = deque(maxlen=_RECEIVED_KEPT)
            self._requests = 0
            self._script.clear()
            self._always = None
            self.delay_seconds = 0.0

    # -- switches ------------------------------------------------------------------------------

    def answer(self, *answers: FakeAnswer) -> None:
        """Answer the next requests (but ``GET /about``) so, one each; then as it does by itself.

        :param answers: the first one is for the next request.
        """
        with self._lock:
            self._script.extend(answers)

    def answer_always(self, answer: FakeAnswer | None) -> None:
        """Answer every request so, whatever its path: it then stands for any HTTP server.

        :param answer: None: as it does by itself.
        """
        self._always = answer

    def refuse(self) -> None:
        """Refuse connections, as a machine does on which no LMS runs."""
        self._close()

    def accept(self) -> None:
        """Accept connections again."""
        if self._server is None:
            self._open()

    # -- its life ------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen and answer."""
        self.accept()
        return self

    def stop(self) -> None:
        """Close everything."""
        self._close()

    def _open(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.lrs = self
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="fake-lrs", daemon=True
        )
        self._thread.start()

    def _close(self) -> None:
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None and thread is not None:
            server.shutdown()
            thread.join()
            server.server_close()
            server.close_connections()

    def own_answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> FakeAnswer:
        """What it answers as long as no switch says otherwise; one request at a time.

        :param method: such as ``POST``.
        :param target: path and query.
        :param headers: as they came.
        :param body: as it came.
        """
        return FakeAnswer(204)

    def _respond(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> FakeAnswer:
        is_about = urlsplit(target).path.endswith("/about")
        with self._lock:
            self._requests += 1
            scripted = self._always
            if scripted is None and self._script and not is_about:
                scripted = self._script.popleft()
            if scripted is None or scripted.stores:
                own = self.own_answer(method, target, headers, body)
            answer = own if scripted is None else scripted
            self._received.append(
                ReceivedRequest(
                    method=method, path=target, headers=headers, body=body, status=answer.status
                )
            )
        return answer


class FakeLRS(FakeServer):
    """An LRS on 127.0.0.1 that behaves as xAPI 1.0.3 says, in a thread of its own.

    Statements are stored by id, a request whole or not at all; the same statement again is answered
    with its id and stored once; another one under a stored id is a conflict (409); they are read
    one by one or as a list; ``GET /about`` answers to everybody, all else asks for key and secret.
    Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    :param key: the only key that it lets in.
    :param secret: the secret of that key.
    :param port: 0: any free one.
    :ivar delay_seconds: waited before each answer.
    """

    def __init__(
        self,
        *,
        key: str = "fake-key",
        secret: str = "fake-secret",  # noqa: S107
        port: int = 0,
    ) -> None:
        self.key: str = key
        self.secret: str = secret
        super().__init__(port=port)

    # -- where it is ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The xAPI URL of a configuration."""
        return f"http://127.0.0.1:{self._port}/xapi"

    @property
    def settings(self) -> dict[str, Any]:
        """``settings`` for ``lms.configurations.create``."""
        return {"url": self.url, "key": self.key, "secret": self.secret}

    # -- what it has seen ----------------------------------------------------------------------

    @property
    def statements(self) -> list[dict[str, Any]]:
        """What is stored, in the order it came."""
        with self._lock:
            return list(self._statements.values())

    @property
    def voided(self) -> set[str]:
        """Ids of statements that were voided."""
        return {
            statement["object"]["id"]
            for statement in self.statements
            if statement["verb"]["id"] == _VOIDED
        }

    @property
    def resent(self) -> int:
        """How many statements came that were stored already."""
        return self._resent

    def reset(self) -> None:
        """Forget everything, switches too."""
        with self._lock:
            super().reset()
            self._statements: dict[str, dict[str, Any]] = {}
            self._resent = 0

    # -- its answers ---------------------------------------------------------------------------

    def own_answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> FakeAnswer:
        """What it answers by itself.

        :param method: such as ``POST``.
        :param target: path and query.
        :param headers: as they came.
        :param body: as it came.
        """
        parts = urlsplit(target)
        if method == "GET" and parts.path == "/xapi/about":
            return _as_json(200, {"version": [_VERSION]})
        wanted = base64.b64encode(f"{self.key}:{self.secret}".encode()).decode()
        if headers.get("Authorization") != f"Basic {wanted}":
            return _as_json(401, {"error": "Unknown key or wrong secret."})
        if parts.path != "/xapi/statements":
            return _as_json(404, {"error": "Not an xAPI resource."})
        if not headers.get("X-Experience-API-Version", "").startswith(("1.0", "2.0")):
            return _as_json(400, {"error": "X-Experience-API-Version is missing."})
        if method == "GET":
            return self._read({name: one[0] for name, one in parse_qs(parts.query).items()})
        if method not in ("POST", "PUT"):
            return _as_json(405, {"error": "Not allowed."})
        try:
            sent = json.loads(body)
        except ValueError:
            return _as_json(400, {"error": "The body is not JSON."})
        answer = self._store(sent if isinstance(sent, list) else [sent])
        is_put = method == "PUT" and answer.status == 200
        return FakeAnswer(204, {"X-Experience-API-Version": _VERSION}) if is_put else answer

    def _read(self, asked: Mapping[str, str]) -> FakeAnswer:
        """One by its id, or a list (xAPI 1.0.3 Communication 2.1.3)."""
        voided = self.voided
        for name in ("statementId", "voidedStatementId"):
            if name in asked:
                found = self._statements.get(asked[name])
                if found is None or (found["id"] in voided) != (name == "voidedStatementId"):
                    return _as_json(404, {"error": "None."})
                return _as_json(200, found)
        since = datetime.fromisoformat(asked.get("since", "0001-01-01T00:00:00Z").rstrip("Z"))
        listed = [
            one
            for one in self._statements.values()
            if one["id"] not in voided
            and datetime.fromisoformat(one["stored"]).replace(tzinfo=None) > since
            and asked.get("verb", one["verb"]["id"]) == one["verb"]["id"]
            and ("activity" not in asked or asked["activity"] in _activities(one, asked))
        ]
        if asked.get("ascending") != "true":
            listed.reverse()
        begin, most = int(asked.get("from", 0)), int(asked.get("limit", 0)) or 100
        answer: dict[str, Any] = {"statements": listed[begin : begin + most], "more": ""}
        if len(listed) > begin + most:
            query = urlencode({**asked, "from": begin + most})
            answer["more"] = f"/xapi/statements?{query}"
        return _as_json(200, answer)

    def _store(self, sent: list[Any]) -> FakeAnswer:
        """All of them, or none (xAPI 1.0.3 Communication 2.1.2)."""
        ids: list[str] = []
        for index, statement in enumerate(sent):
            fault = _fault(statement)
            if fault is None and "id" in statement and statement["id"] in ids:
                fault = "the id is in this request twice"
            if fault is not None:
                return _as_json(400, {"error": f"Statement {index}: {fault}", "index": index})
            ids.append(statement.setdefault("id", str(uuid.uuid4())))
        for statement in sent:
            stored = self._statements.get(statement["id"])
            if stored is not None and _core(stored) != statement:
                return _as_json(409, {"error": f"{statement['id']} is stored with other content."})
        for statement in sent:
            if statement["id"] in self._statements:
                self._resent += 1
            else:
                stored_at = datetime.now(timezone.utc).isoformat()
                self._statements[statement["id"]] = {**statement, "stored": stored_at}
        return _as_json(200, ids)


class FakeReceiver(FakeServer):
    """A receiver of webhooks on 127.0.0.1 that takes what is signed as Standard Webhooks says, and
    refuses all else with 401.

    :param port: 0: any free one.
    :ivar secret: ``whsec_…``; None: it doesn't look at signatures.
    """

    secret: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """``settings`` for ``lms.configurations.create(..., type="webhook")``."""
        return {"url": f"{self.url}/hook"}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What it took, in the order it came; once each, by ``webhook-id``."""
        with self._lock:
            return list(self._messages.values())

    def reset(self) -> None:
        """Forget everything, switches too."""
        with self._lock:
            super().reset()
            self._messages: dict[str, dict[str, Any]] = {}

    def own_answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> FakeAnswer:
        """What it answers by itself.

        :param method: such as ``POST``.
        :param target: path and query.
        :param headers: as they came.
        :param body: as it came.
        """
        id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        if self.secret is not None:
            key = base64.b64decode(self.secret.removeprefix("whsec_"))
            signed = f"{id}.{at}.".encode() + body
            right = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
            is_old = abs(time.time() - int(at)) > _TOLERATED_SECONDS
            if is_old or right not in headers.get("webhook-signature", "").split():
                return FakeAnswer(401)
        self._messages.setdefault(id, json.loads(body))
        return FakeAnswer(204)


def deliver(app: Flask) -> BurstReport:
    """Deliver everything that is due, in this thread and without Redis, and send due mails.

    Call it outside of an application context whose session has open changes.

    :param app: an app that has an :class:`LMS`.
    """
    return work_off(app)


def _as_json(status: int, value: object) -> FakeAnswer:
    headers = {"Content-Type": "application/json", "X-Experience-API-Version": _VERSION}
    return FakeAnswer(status, headers, json.dumps(value).encode())


def _activities(statement: Mapping[str, Any], asked: Mapping[str, str]) -> set[Any]:
    """The ids by which a list finds a statement."""
    found = {statement["object"].get("id")}
    if asked.get("related_activities") == "true":
        around = statement.get("context", {}).get("contextActivities", {})
        found |= {one["id"] for activities in around.values() for one in activities}
    return found


def _core(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stored.items() if key != "stored"}


def _fault(statement: object) -> str | None:
    """What is wrong with a statement, roughly (for more there is xapi-validation)."""
    if not isinstance(statement, dict):
        return "it is not an object"
    for part in ("actor", "verb", "object"):
        if not isinstance(statement.get(part), dict):
            return f"{part} is missing"
    if "id" in statement:
        try:
            uuid.UUID(statement["id"])
        except (ValueError, AttributeError, TypeError):
            return "the id is not a UUID"
    if not isinstance(statement["verb"].get("id"), str):
        return "the verb has no id"
    return None


class _Server(ThreadingHTTPServer):
    """Remembers its connections, so that a refusal ends those kept alive too."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    lrs: FakeServer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to report."""

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for an answer: without it each waits for the acknowledgement of its header.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        lrs = self.server.lrs
        answer = lrs._respond(self.command, self.path, dict(self.headers), body)
        time.sleep(lrs.delay_seconds + answer.delay_seconds)
        if answer.cut == "before":
            self._cut()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.cut == "after":
            self._cut()
            return
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = _handle

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
