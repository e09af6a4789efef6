"""A participant in every state is exported, then forgotten: nothing is found of them any more."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import Administrator, InvalidValue, NotFound, Participant
from flask_lms.database.models import Base, ConfigurationHealth, Delivery, DeliveryState
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.world import World

PERSON = Participant(id="E-4711-xyz", email="zoe.quist@acme.example", name="Zoë Quist")
OTHER = Participant(id="E-1", email="jane@acme.example", name="Jane Doe")
NEEDLES = re.compile(r"E-4711-xyz|zoe\.quist|Zo(ë|\\\\u00eb|\\u00eb) Quist|Quist", re.IGNORECASE)


def everything(world: World) -> str:
    """All rows of all tables, as text."""
    world.session.rollback()
    found = []
    for table in Base.metadata.sorted_tables:
        found += [f"{table.name}: {row!r}" for row in world.session.execute(sa.select(table))]
    world.session.rollback()
    return "\n".join(found)


def in_every_state(world: World, lrs: FakeLRS) -> Any:
    """One result of the person, and one of another, in each state; what LMSs said quotes them."""
    configuration = world.attach(**lrs.settings)

    def send(id: str, answer: FakeAnswer | None = None, **changes: Any) -> None:
        for who, prefix in ((PERSON, "p"), (OTHER, "o")):
            world.record(f"{prefix}-{id}", **{"participant": who, **changes})
        lrs.answer_always(answer)
        world.session.execute(sa.update(ConfigurationHealth).values(next_attempt_at=None))
        world.session.commit()
        world.deliver(configuration)
        lrs.answer_always(None)

    send("sent")
    send("sent", revision=1)  # corrected: the first one is voided
    quote = json.dumps({"error": f"{PERSON.name} <{PERSON.email}> is unknown"}).encode()
    send("rejected", FakeAnswer(400, body=quote))
    send("rejected-2", FakeAnswer(400, body=quote))
    world.record("p-nobody", participant=replace(PERSON, email=None))
    send("waiting", FakeAnswer(503, body=quote))
    # Acts on deliveries leave in the history whose they were.
    world.deliveries.cancel(participant_id=PERSON.id, state="pending")
    world.deliveries.send_again(search=PERSON.name, state="cancelled")
    refused = {"state": DeliveryState.REJECTED, "reason": "rejected", "settled_at": world.now}
    world.session.execute(
        sa.update(Delivery)
        .where(Delivery.result_id.in_(["p-rejected", "o-rejected"]))
        .values(**refused, reason_words=quote.decode())
    )
    quoted = {"words": f"{PERSON.name} is unknown", "host": "lms.example"}  # as a status quotes it
    world.session.execute(sa.update(ConfigurationHealth).values(facts=quoted))
    world.session.commit()
    return configuration


def test_nothing_is_found_of_a_forgotten_participant(world: World, lrs: FakeLRS) -> None:
    in_every_state(world, lrs)
    before = everything(world)
    for table in ("lms_delivery", "lms_attempt", "lms_health", "lms_audit"):
        rows = [x for x in before.splitlines() if x.startswith(table)]
        assert any(map(NEEDLES.search, rows)), rows
    others = [repr(row.statement) for row in world.rows() if row.participant_id == OTHER.id]
    count = len(world.rows())
    kept = world.lms.deliveries.export("acme", PERSON.id)
    json.dumps(kept)
    assert {row["state"] for row in kept["deliveries"]} == {
        "delivered",
        "not_sent",
        "pending",
        "rejected",
    }
    assert all(PERSON.name in json.dumps(x, ensure_ascii=False) for x in kept["deliveries"])
    assert any("is unknown" in (one["words"] or "") for one in kept["answers"])
    assert OTHER.id not in {row["participant_id"] for row in kept["deliveries"]}

    by = Administrator(id="7", organization_id="acme", name="Ana Ruiz")
    done = world.lms.deliveries.forget("acme", PERSON.id, by=by)
    assert done.deliveries == len(kept["deliveries"])
    assert done.cancelled >= 1
    assert done.copies == ("Corporate LMS",)
    assert NEEDLES.findall(everything(world)) == []
    assert len(world.rows()) == count  # numbers stay true
    assert [repr(row.statement) for row in world.rows() if row.participant_id == OTHER.id] == others
    [row] = world.history("participant_forgotten")
    assert row.administrator_name == "Ana Ruiz"
    assert world.lms.deliveries.export("acme", PERSON.id)["deliveries"] == []
    world.who, client = by, world.client()
    for path in ("/deliveries", "/deliveries.csv", "/history", "/history.csv"):
        answer = client.get(f"/lms{path}")
        assert answer.status_code == 200
        assert NEEDLES.findall(answer.text) == []


def test_a_resend_by_the_host_does_not_bring_them_back(world: World, lrs: FakeLRS) -> None:
    configuration = in_every_state(world, lrs)
    world.lms.deliveries.forget("acme", PERSON.id)
    before, stored = everything(world), len(lrs.statements)
    for id in ("sent", "rejected", "rejected-2", "nobody", "waiting"):
        for revision in (0, 1, 2):
            world.record(f"p-{id}", participant=PERSON, revision=revision)
    assert everything(world) == before
    world.session.execute(sa.update(ConfigurationHealth).values(next_attempt_at=None))
    world.session.commit()
    world.deliver(configuration)
    assert NEEDLES.findall(json.dumps(lrs.statements[stored:], ensure_ascii=False)) == []
    world.record("p-new", participant=PERSON)  # what they do from now on is a result as any
    assert world.rows()[-1].participant_id == PERSON.id


def test_another_organization_forgets_and_exports_nobody_of_ours(
    world: World, lrs: FakeLRS
) -> None:
    in_every_state(world, lrs)
    before = everything(world).replace("lms_audit", "")
    assert world.lms.deliveries.export("dock", PERSON.id)["deliveries"] == []
    assert world.lms.deliveries.forget("dock", PERSON.id).deliveries == 0
    assert len(NEEDLES.findall(everything(world))) == len(NEEDLES.findall(before))
    for act in ("forget", "export"):
        with pytest.raises(NotFound):
            getattr(world.lms.for_organization("dock").deliveries, act)("acme", PERSON.id)


def test_the_commands(world: World, lrs: FakeLRS) -> None:
    in_every_state(world, lrs)
    run = world.app.test_cli_runner().invoke
    exported = run(args=["lms", "export-participant", "acme", PERSON.id])
    assert (
        PERSON.email in json.loads(exported.stdout)["deliveries"][0]["statement"]["actor"]["mbox"]
    )
    done = run(args=["lms", "forget-participant", "acme", PERSON.id, "--yes"])
    assert done.exit_code == 0
    assert "“Corporate LMS” may hold copies" in done.stdout
    assert NEEDLES.findall(everything(world)) == []


def test_nobody_is_no_participant(world: World) -> None:
    """An empty id is that of rows in which no person is left."""
    with pytest.raises(InvalidValue, match="must not be empty"):
        world.lms.for_organization("acme").deliveries.forget("acme", "")
