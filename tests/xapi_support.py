"""What the tests of the xAPI connector share: settings, results of every shape, a scripted LRS."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flask_lms.connectors.base import BuildContext, Sent, Statement
from flask_lms.connectors.xapi.connector import XapiConnector
from flask_lms.values import (
    Activity,
    Objective,
    ObjectiveResult,
    Participant,
    Score,
    Step,
    StepResult,
)

NOW = datetime(2026, 11, 20, 12, 40, tzinfo=timezone.utc)
FINISHED = datetime(2026, 11, 20, 12, 34, 56, 789_123, tzinfo=timezone.utc)
BASE = "https://host.example/xapi"
KEY, SECRET = "harbor-key-71c2", "s3cr3t-5f0e-Zü"

connector = XapiConnector()


def settings(**values: Any) -> dict[str, Any]:
    """Checked settings."""
    given = {"url": "https://lrs.example.org/xapi", "key": KEY, "secret": SECRET, **values}
    return dict(connector.clean(given, allow_http=True, has_secrets=False).settings)


def clean_url(url: str, *, allow_http: bool = True) -> tuple[str, list[str]]:
    """An xAPI URL as it is stored, and the hints on it."""
    given = {"url": url, "key": KEY, "secret": SECRET}
    cleaned = connector.clean(given, allow_http=allow_http, has_secrets=False)
    return cleaned.settings["url"], list(cleaned.hints)


def context(**values: Any) -> BuildContext:
    given = {"activity_base_url": BASE, "platform_name": "Harbor Training", "now": NOW}
    return BuildContext(**{**given, **values})


def objective(**values: Any) -> Objective:
    return Objective(**{"id": "42", "name": "Put on PPE", **values})


def participant(**values: Any) -> Participant:
    return Participant(
        **{"id": "E001", "email": "jane.doe@example.com", "name": "Jane Doe", **values}
    )


def result(**values: Any) -> ObjectiveResult:
    given = {
        "id": "r1",
        "organization_id": "acme",
        "objective": objective(),
        "participant": participant(),
        "finished_at": FINISHED,
        "success": True,
    }
    return ObjectiveResult(**{**given, **values})


def rich_result(**values: Any) -> ObjectiveResult:
    """A result in which every field is set."""
    full = objective(
        description="In the right order.",
        url="https://host.example/objectives/42",
        language="en-US",
        version="3",
        parent=Activity(id="scenes/7", name="Warehouse"),
        grouping=[Activity(id="projects/12"), Activity(id="urn:example:course", name="Säfety")],
        steps=[Step(number=1, name="Helmet"), Step(number=2), Step(number=3, name="Gloves")],
    )
    given = {
        "objective": full,
        "started_at": FINISHED - timedelta(seconds=90),
        "duration_ms": 83_250,
        "score": Score(scaled=0.83333333, raw=5, min=0, max=6),
        "steps": [
            StepResult(number=1, outcome="succeeded", duration_ms=30_100, at=FINISHED),
            StepResult(number=2, outcome="failed"),
            StepResult(number=3, outcome="not_reached"),
        ],
        "session_id": "session-9",
        "session_name": "Morning shift",
        "platform": "Headset 4",
        "language": "en-GB",
        "extensions": {"https://host.example/x/seed": [1, None, {"deep": "ünïcode 🎓"}]},
    }
    return result(**{**given, **values})


def statements(
    of: ObjectiveResult, *, after: Sequence[Sent] = (), **chosen: Any
) -> list[dict[str, Any]]:
    """The statements of a result as JSON values."""
    return [json.loads(item.text) for item in built(of, after, **chosen)]


def sent(statements: Sequence[Statement], revision: int = 0) -> list[Sent]:
    """Statements of a revision as they are remembered."""
    return [Sent(id=one.id, kind=one.kind, revision=revision) for one in statements]


def built(of: ObjectiveResult, after: Sequence[Sent] = (), **chosen: Any) -> list[Statement]:
    """:param after: what earlier revisions sent."""
    made = connector.build(of, settings(**chosen), context(sent=after))
    assert made.not_sendable is None
    return list(made.statements)


def every_shape() -> dict[str, dict[str, Any]]:
    """One statement of each shape that is ever sent, by what is special about it."""
    account = participant(account_home_page="https://hr.example", account_name="E-1")
    shapes = {
        "least": statements(result(participant=participant(name=None))),
        "rich": statements(rich_result()),
        "failed": statements(result(success=False)),
        "completed only": statements(result(success=None)),
        "hash": statements(rich_result(), identify="mbox_sha1sum"),
        "account": statements(rich_result(), identify="account"),
        "account of another system": statements(
            rich_result(participant=account), identify="account"
        ),
        "no name": statements(rich_result(), send_name=False),
        "id is the address": statements(result(participant=Participant(id="a.b+c@x.example"))),
        "steps": statements(rich_result(), steps="statements"),
        "also completed": statements(rich_result(), send_completed=True),
        "scaled only": statements(result(score=Score(scaled=-1))),
        "raw only": statements(result(score=Score(raw=12.5))),
        "min is max": statements(result(score=Score(raw=3, min=3, max=3))),
        "no time": statements(result(duration_ms=0)),
        "future": statements(result(finished_at=NOW + timedelta(days=3))),
        "far east": statements(
            result(finished_at=FINISHED.astimezone(timezone(timedelta(hours=14))))
        ),
        "odd ids": statements(result(id="ä/ ?#", objective=objective(id="a b/ä?#%"))),
        "own activity": statements(
            result(objective=objective(activity_id="https://course.example/ä/1"))
        ),
        "test": statements(rich_result(is_test=True)),
        **{
            tag: statements(result(language=tag, objective=objective(language=tag)))
            for tag in ("x-klingon", "i-default", "en-GB-oed", "sgn-BE-FR", "zh-Hant-TW")
        },
        "correction": statements(
            rich_result(revision=2),
            after=sent(built(rich_result(), send_completed=True, steps="statements")),
            send_completed=True,
            steps="statements",
        ),
    }
    return {
        f"{name} {index}": statement
        for name, made in shapes.items()
        for index, statement in enumerate(made)
    }


@dataclass
class Asked:
    """One request as the scripted LRS got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Script:
    """What the scripted LRS answers: by method and path, else to every request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: The connection ends after so many bytes of the body.
    cut_after: int | None = None
    #: No status line at all.
    hangs_up: bool = False
    #: Answers with the ids of what came in, as an LRS does.
    echoes_ids: bool = False

    def but(self, **changes: Any) -> Script:
        return replace(self, **changes)


class ScriptedLRS:
    """A real HTTP server on loopback that answers as its script says and keeps what was asked."""

    def __init__(self) -> None:
        self.script = Script()
        self.by_request: dict[tuple[str, str], Script] = {}
        self.asked: list[Asked] = []
        lrs = self

        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                lrs.asked.append(Asked(self.command, self.path, headers, body))
                path = self.path.partition("?")[0]
                script = lrs.by_request.get((self.command, path), lrs.script)
                lrs._send(self, script, body)

            do_GET = do_POST = do_PUT = _answer

            def log_message(self, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/xapi"

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, script: Script, body: bytes) -> None:
        handler.close_connection = True
        if script.hangs_up:
            return
        content = script.body
        if script.echoes_ids:
            sent = json.loads(body)
            sent = sent if isinstance(sent, list) else [sent]
            content = json.dumps([item["id"] for item in sent]).encode()
        handler.send_response(script.status)
        usual = {"Content-Type": "application/json", "Connection": "close"}
        headers = {**usual, **script.headers}
        for name, value in headers.items():
            handler.send_header(name, value)
        if script.status != 204:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: script.cut_after] if script.status != 204 else b"")

    def __enter__(self) -> ScriptedLRS:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def scripted_lrs() -> Iterator[ScriptedLRS]:
    with ScriptedLRS() as lrs:
        yield lrs
