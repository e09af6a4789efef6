"""Values at the edge of what databases and logs take."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from flask_lms import Participant
from flask_lms.connectors.fields import Cleaned
from flask_lms.delivery.deliver import Deliverer
from flask_lms.settings import Settings
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.world import World, result

JSON = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}
IRI = "https://host.example/ext/log"


def test_a_statement_is_stored_whole_or_not_at_all(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A connector of another type may make longer ones than MariaDB's TEXT holds."""
    monkeypatch.setattr("flask_lms.connectors.xapi.vocabulary.MOST_BYTES", 10**6)
    monkeypatch.setattr("flask_lms.values.MOST_EXTENSION_BYTES", 10**6)
    monkeypatch.setattr("flask_lms.recording.record.MOST_BYTES", 10**6)
    world.attach(**lrs.settings)
    world.signal.send(world, result=result("long", extensions={IRI: "é" * 100_000}))
    for delivery in world.rows():
        assert delivery.size == len(str(delivery.statement).encode())
    assert len(world.rows()) == 1 or "the result was not recorded" in caplog.text


def test_a_mapping_that_is_no_dict_is_taken_as_one(world: World, lrs: FakeLRS) -> None:
    configuration = world.attach(**lrs.settings)
    extensions = MappingProxyType({IRI: MappingProxyType({"tries": (1, 2)})})
    world.record("r1", extensions=extensions)
    world.lms.record(result("r2", participant=Participant(id="E001"), extensions=extensions))
    assert world.states() == {"pending": 1, "not_sent": 1}
    world.participants["E001"] = Participant(id="E001", email="mo@acme.example")
    world.lms.deliveries.check_again(configuration_id=configuration.id)
    world.deliver(configuration)
    world.assert_everything_arrived(lrs)
    assert [s["result"]["extensions"][IRI] for s in lrs.statements] == [{"tries": [1, 2]}] * 2


@pytest.mark.parametrize("status", [400, 401, 500, 413])
@pytest.mark.parametrize(
    "body",
    [b'{"error": "bad\\u0000 actor"}', b'{"error": "bad \\ud800 actor"}', b"bad\0 \xff actor"],
    ids=["NUL in JSON", "half a pair in JSON", "NUL in text"],
)
def test_whatever_the_lms_says_can_be_written_down(
    world: World, lrs: FakeLRS, status: int, body: bytes
) -> None:
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    lrs.answer_always(FakeAnswer(status, JSON, body))
    world.deliver(configuration)
    [delivery] = world.rows()
    [attempt] = world.lms.deliveries.attempts(delivery)
    assert attempt.http_status == status
    assert world.health(configuration).last_attempt_at is not None


def test_a_database_error_while_recording_names_no_learner_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.attach("http://127.0.0.1:9/xapi")
    world.db.session.remove()

    def break_it(conn: Any, cursor: Any, statement: str, params: Any, *rest: Any) -> Any:
        return statement.replace("INTO lms_delivery", "INTO lms_deliveryy"), params

    sa.event.listen(world.db.engine, "before_cursor_execute", break_it, retval=True)
    with caplog.at_level(logging.INFO):
        world.signal.send(world, result=result())
    sa.event.remove(world.db.engine, "before_cursor_execute", break_it)
    assert "the result was not recorded" in caplog.text
    assert "lms_deliveryy" in caplog.text
    assert "Jane" not in caplog.text
    assert "jane@" not in caplog.text


def test_no_secret_is_in_what_a_debugger_or_error_reporter_prints(
    world: World, lrs: FakeLRS
) -> None:
    key = Fernet.generate_key().decode()
    settings = Settings.from_config(
        {
            "LMS_ACTIVITY_BASE_URL": "https://host.example/xapi",
            "LMS_ENCRYPTION_KEYS": [key],
            "LMS_HEALTH_TOKEN": "canary-token",
            "LMS_REDIS_URL": "redis://:canary-redis@127.0.0.1/0",
        }
    )
    printed = repr(settings)
    assert key not in printed
    assert "canary" not in printed
    configuration = world.attach(**lrs.settings)
    world.record("r1")
    walk = Deliverer(world.state)
    loads: list[object] = []
    post = walk._post

    def watched(load: Any) -> Any:
        loads.append(load)
        return post(load)

    walk._post = watched  # type: ignore[method-assign]
    walk.deliver(configuration.id)
    assert loads
    assert "s3cret" not in repr(loads)
    assert "s3cret" not in repr(walk)
    assert "s3cret" not in repr(Cleaned(settings={}, secrets={"secret": "s3cret"}))
