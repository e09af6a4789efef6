"""Brings about every kind of mail, as rows of the outbox."""

from __future__ import annotations

from flask_lms.alerts import operators, queue, sending
from flask_lms.alerts.rules import Kind
from flask_lms.database.models import DeliveryState
from tests.alerts_support import Stage

NAME = "Größe & <b>Söhne</b> 日本 – Corporate Learning Management System of the whole group"


def bring_about(stage: Stage, language: str = "en") -> None:
    """An outage with reminder and recovery, instability, results, a test, a digest, operators'."""
    contacts = ("ana@acme.example", "bo@bücher.example")
    id = stage.configuration(NAME, contacts, language=language)
    stage.tick()
    stage.deliveries(id, 1237)
    stage.down(id, "refused", 3)
    stage.tick(seconds=5)
    stage.refuse(id)
    stage.tick(hours=24)
    stage.up(id)
    stage.deliver_all(id)
    stage.deliveries(id, 5, DeliveryState.REJECTED, "rejected")
    stage.deliveries(id, 7, DeliveryState.NOT_SENT, "no_email")
    stage.clock.advance(minutes=1)
    for _ in range(40):
        stage.tick(seconds=30)
    sending.send_due(stage.state)
    stage.clock.advance(hours=30)
    for _ in range(4):
        stage.down(id)
        stage.tick(minutes=2)
        stage.up(id)
        stage.tick(minutes=2)
    sending.send_due(stage.state)
    stage.clock.advance(hours=30)
    stage.tick()
    sending.send_due(stage.state)
    stage.clock.advance(hours=30)
    stage.tick()
    sending.send_test(stage.state, stage.get(id), "Ana Ruiz")
    items = [[NAME, f"[Harbor Training] Can't Connect: {NAME}", stage.now.isoformat()]] * 3
    queue.queue(
        stage.state, stage.session, kind=Kind.DIGEST, now=stage.now, language=language,
        recipients=["ana@acme.example"], organization_id="acme",
        facts={"items": items, "count": 3, "at": stage.now.isoformat()},
    )  # fmt: skip
    for cause in ("dns", "redis", "secret_unreadable"):
        facts = {"configurations": 3} if cause == "secret_unreadable" else {}
        operators.operator_fault(stage.state, stage.session, cause, facts, stage.now)
    operators.tell_past(
        stage.state, stage.session, "no_worker", {"waiting": 37}, stage.now, stage.tick(hours=2)
    )
    stage.session.commit()
    stage.clock.advance(minutes=30)
    for cause in ("dns", "redis", "secret_unreadable"):
        operators.operator_ok(stage.state, stage.session, cause, stage.now)
    stage.session.commit()
