"""Brings about every kind of mail, as rows of the mail queue."""

from __future__ import annotations

import sqlalchemy as sa

from flask_lms.alerts import operators, queue, sending
from flask_lms.alerts.rules import Kind
from flask_lms.database.models import Delivery, DeliveryState
from tests.world import World

NAME = "Größe & <b>Söhne</b> 日本 – Corporate Learning Management System of the whole group"


def bring_about(world: World, language: str = "en") -> None:
    """An outage with reminder and recovery, instability, results, a test, a digest, operators'."""
    contacts = ("ana@acme.example", "bo@bücher.example")
    id = world.connected(NAME, contacts, language=language)
    world.tick()
    world.wait(id, 1237)
    world.down(id, "refused", 3)
    world.tick(seconds=5)
    world.refuse(id)
    world.tick(hours=24)
    world.up(id)
    waiting = sa.update(Delivery).where(Delivery.state == DeliveryState.PENDING)
    world.session.execute(waiting.values(state=DeliveryState.DELIVERED, settled_at=world.now))
    world.session.commit()
    world.wait(id, 5, DeliveryState.REJECTED, "rejected")
    world.wait(id, 7, DeliveryState.NOT_SENT, "no_email")
    world.clock.advance(minutes=1)
    for _ in range(40):
        world.tick(seconds=30)
    sending.send_due(world.state)
    world.clock.advance(hours=30)
    for _ in range(4):
        world.down(id)
        world.tick(minutes=2)
        world.up(id)
        world.tick(minutes=2)
    sending.send_due(world.state)
    world.clock.advance(hours=30)
    world.tick()
    sending.send_due(world.state)
    world.clock.advance(hours=30)
    world.tick()
    sending.send_test(world.state, world.get(id), "Ana Ruiz")
    items = [[NAME, f"[Harbor Training] Can't Connect: {NAME}", world.now.isoformat()]] * 3
    queue.queue(
        world.state, world.session, kind=Kind.DIGEST, now=world.now, language=language,
        recipients=["ana@acme.example"], organization_id="acme",
        facts={"items": items, "count": 3, "at": world.now.isoformat()},
    )  # fmt: skip
    for cause in ("dns", "redis", "secret_unreadable"):
        facts = {"configurations": 3} if cause == "secret_unreadable" else {}
        operators.operator_fault(world.state, world.session, cause, facts, world.now)
    operators.tell_past(
        world.state, world.session, "no_worker", {"waiting": 37}, world.now, world.tick(hours=2)
    )
    world.session.commit()
    world.clock.advance(minutes=30)
    for cause in ("dns", "redis", "secret_unreadable"):
        operators.operator_ok(world.state, world.session, cause, world.now)
    world.session.commit()
