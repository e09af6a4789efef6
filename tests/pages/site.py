"""A host with two organizations whose pages are walked through, and data in every state for it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from flask_lms import Administrator, Objective, ObjectiveResult, Step
from flask_lms.database.models import (
    Attempt,
    Audit,
    Configuration,
    Delivery,
    DeliveryState,
    Mail,
    Status,
    Worker,
)
from flask_lms.database.types import new_id
from tests.world import World, build_world, delivery_values, standing

UTC = timezone.utc
ANA = Administrator(
    id="7", organization_id="harbor", name="Ana Ruiz", email="ana.ruiz@harbor.example"
)
BEN = Administrator(id="8", organization_id="dock", name="Ben Okoye", email="ben@dock.example")
SECRET = "s3cret-canary-71"
SETTINGS = {"url": "https://lrs.example.org/xapi", "key": "harbor-key", "secret": SECRET}

_TITLES = (
    "Put on PPE", "Fire Safety", "Forklift Check", "Spill Response", "Lockout and Tagout",
    "Ladder Inspection", "First Aid: Recovery Position", "Confined Space Entry",
    "Crane Hand Signals", "Evacuate the Warehouse",
)  # fmt: skip
_PEOPLE = ("Jane Doe", "Tom Meyer", "Aylin Kaya", "Noor Haddad", "Łukasz Zając", "Mei Chen")


def objectives_of(organization_id: str, count: int) -> list[Objective]:
    return [
        Objective(
            id=f"{organization_id}-{n}",
            name=_TITLES[n % 10] + (f" {n // 10 + 1}" if n >= 10 else ""),
            description="Practised in the virtual warehouse.",
            steps=[Step(number=1, name="Helmet"), Step(number=2, name="Gloves")],
        )
        for n in range(count)
    ]


@contextmanager
def make_site(database_url: str, *, objectives: int = 60, **config: Any) -> Iterator[World]:
    """The world with its tables; inside, no context is pushed."""
    world = build_world(
        database_url,
        **{
            "TESTING": False,  # errors are answered as in production
            "LMS_ACTIVITY_BASE_URL": "https://harbor.example/xapi",
            **config,
        },
    )
    world.organization_id, world.who = "harbor", ANA
    world.known = {"harbor": objectives_of("harbor", objectives), "dock": objectives_of("dock", 3)}

    @world.lms.past_results_loader
    def past(
        organization_id: str, objective_id: str, since: datetime | None
    ) -> Iterator[ObjectiveResult]:
        return (one for one in world.past if since is None or one.finished_at >= since)

    with standing(world):
        yield world


def create(world: World, name: str = "Corporate LMS", **settings: Any) -> uuid.UUID:
    """One configuration; its id."""
    with world.app.app_context():
        contacts, values = ["ana.ruiz@harbor.example"], {**SETTINGS, **settings}
        return world.configuration(name, contact_emails=contacts, settings=values, by=ANA).id


def deliver(
    world: World,
    configuration_id: uuid.UUID,
    state: DeliveryState = DeliveryState.PENDING,
    **values: Any,
) -> uuid.UUID:
    """One delivery in a state; its id."""
    with world.app.app_context():
        row = make_delivery(world.get(configuration_id), state, world.now, **values)
        world.session.add(row)
        world.session.commit()
        return row.id


def make_delivery(
    configuration: Configuration, state: DeliveryState, at: datetime, number: int = 0, **values: Any
) -> Delivery:
    """One of many, of another person and objective each."""
    person = _PEOPLE[number % len(_PEOPLE)]
    id = id_at(at)
    statement = json.dumps(
        {
            "id": str(id),
            "actor": {"objectType": "Agent", "mbox": "mailto:jane.doe@example.com", "name": person},
            "verb": {"id": "http://adlnet.gov/expapi/verbs/passed", "display": {"en": "passed"}},
            "object": {"objectType": "Activity", "id": f"https://harbor.example/xapi/{number}"},
            "result": {"success": True, "completion": True, "duration": "PT83.25S"},
        }
    )
    given: dict[str, Any] = {
        "id": id,
        "objective_id": f"harbor-{number % 10}",
        "objective_name": _TITLES[number % len(_TITLES)],
        "participant_id": f"{person.split()[0].lower()}@example.com",
        "participant_name": person,
        "outcome": ("passed", "passed", "failed", "completed")[number % 4],
        "score": ({"raw": 17.0, "max": 20.0}, None, {"scaled": 0.4}, None)[number % 4],
        "result_id": f"result-{id.hex[:12]}",
        "statement": None if state is DeliveryState.NOT_SENT else statement,
        "size": len(statement),
        "attempts": 0 if state is DeliveryState.NOT_SENT else 1,
        "settled_at": None if state is DeliveryState.PENDING else at + timedelta(seconds=2),
    }
    if state is DeliveryState.REJECTED:
        given.update(
            reason="rejected",
            reason_words="Statement actor.mbox: the domain example.com is not allowed here.",
        )
    if state is DeliveryState.NOT_SENT:
        given.update(
            participant_id=f"E{number:03}",
            reason="no_email",
            reason_words=json.dumps(
                {"participant": f"E{number:03}", "platform": "Harbor Training"}
            ),
        )
    if state is DeliveryState.CANCELLED:
        given.update(settled_by="Ana Ruiz")
    return Delivery(**delivery_values(configuration, state, at, **{**given, **values}))


def id_at(at: datetime) -> uuid.UUID:
    """A version 7 id of a given time."""
    milliseconds = int(at.timestamp() * 1000) & (2**48 - 1)
    return uuid.UUID(int=milliseconds << 80 | new_id().int & (2**80 - 1))


def fill(world: World) -> dict[str, uuid.UUID]:
    """Configurations in every status, with deliveries, attempts, mails and history."""
    ids = {
        "connected": create(world, "Corporate LMS"),
        "cant_connect": create(world, "Contractor Academy", key="second"),
        "server_error": create(world, "Port Authority LMS", key="third"),
        "paused": create(world, "Old Cornerstone", key="fourth"),
        "not_tested": create(world, "Pilot Site Rotterdam", key="fifth"),
    }
    with world.app.app_context():
        session = world.db.session
        now = world.state.clock.now(session())
        _statuses(world, ids, now)
        _deliveries(world, ids, now)
        for key, count in (("connected", 12), ("cant_connect", 3), ("paused", 1)):
            world.lms.configurations.attach_many(
                ids[key], [f"harbor-{n}" for n in range(count)], ANA
            )
        session.add(Worker(id="web-1:42", version="0.1.0", started_at=now, seen_at=now))
        session.commit()
    return ids


def _statuses(world: World, ids: dict[str, uuid.UUID], now: datetime) -> None:
    session = world.db.session
    rows = {key: session.get_one(Configuration, id) for key, id in ids.items()}
    health = rows["connected"].health
    health.status, health.since = Status.CONNECTED, now - timedelta(days=20)
    health.last_success_at = now - timedelta(minutes=3)
    health = rows["cant_connect"].health
    health.status, health.cause, health.failures = Status.CANT_CONNECT, "refused", 14
    health.facts = {"host": "lrs.example.org", "port": 443, "seconds": 5}
    health.since = health.failing_since = now - timedelta(hours=5, minutes=20)
    health.next_attempt_at = now + timedelta(minutes=7)
    health.last_success_at = now - timedelta(hours=6)
    health = rows["server_error"].health
    health.status, health.cause, health.failures = Status.SERVER_ERROR, "credentials", 2
    health.facts = {"host": "lrs.example.org", "http_status": 401, "words": "Unauthorized"}
    health.since = now - timedelta(days=1, hours=2)
    health.next_attempt_at = now + timedelta(minutes=24)
    rows["paused"].paused_at = now - timedelta(days=3)
    rows["paused"].paused_by = "Ana Ruiz"
    rows["paused"].health.status = Status.CONNECTED
    outage = {"status": ["connected", "cant_connect"], "cause": "refused"}
    session.add_all(
        [
            Audit(
                organization_id="harbor", configuration_id=ids["cant_connect"],
                subject="Contractor Academy", at=now - timedelta(hours=5),
                action="status_changed", changes=outage,
            ),
            Audit(
                organization_id="harbor", configuration_id=ids["connected"],
                subject="Corporate LMS", at=now - timedelta(days=2), administrator_id="7",
                administrator_name="Ana Ruiz", action="edited",
                changes={
                    "name": ["LMS", "Corporate LMS"], "secret": "replaced",
                    "contact_emails": [["a@harbor.example"], ["b@harbor.example"]],
                },
            ),
            _mail(ids["cant_connect"], "error", "sent", now - timedelta(hours=5)),
            _mail(ids["cant_connect"], "still_down", "waiting", now - timedelta(minutes=1)),
            _mail(ids["cant_connect"], "results", "failed", now - timedelta(days=3)),
        ]
    )  # fmt: skip


def _mail(configuration_id: uuid.UUID, kind: str, state: str, at: datetime) -> Mail:
    return Mail(
        configuration_id=configuration_id,
        organization_id="harbor",
        kind=kind,
        recipient="ana.ruiz@harbor.example",
        subject="[Harbor Training] Can't Connect: Contractor Academy – 37 results waiting",
        message_id=f"<{uuid.uuid4()}@harbor.example>",
        state=state,
        reason="The mail server refused the address." if state == "failed" else None,
        created_at=at,
        due_at=at,
        sent_at=at if state == "sent" else None,
    )


def _deliveries(world: World, ids: dict[str, uuid.UUID], now: datetime) -> None:
    session = world.db.session
    for day in range(30):
        for n in range(3 + (day * 7) % 11):
            at = now - timedelta(days=day, minutes=4 + n * 11)
            kind = DeliveryState.DELIVERED
            if (day + n) % 13 == 5:
                kind = DeliveryState.REJECTED
            elif (day + n) % 17 == 3:
                kind = DeliveryState.NOT_SENT
            elif (day + n) % 29 == 7:
                kind = DeliveryState.CANCELLED
            elif (day + n) % 29 == 11:
                kind = DeliveryState.SUPERSEDED
            row = make_delivery(world.get(ids["connected"]), kind, at, number=day + n)
            session.add(row)
            if kind is not DeliveryState.NOT_SENT:
                session.add(_attempt(row, kind, at))
    for n in range(37):
        at = now - timedelta(hours=5, minutes=-8 * n)
        row = make_delivery(
            world.get(ids["cant_connect"]), DeliveryState.PENDING, at, number=n, attempts=1
        )
        session.add(row)
        if n < 3:
            session.add(_attempt(row, DeliveryState.PENDING, at))
    session.add_all(
        make_delivery(
            world.get(ids["paused"]), DeliveryState.PENDING, now - timedelta(days=2), number=n
        )
        for n in range(12)
    )


def _attempt(row: Delivery, state: DeliveryState, at: datetime) -> Attempt:
    failed = state is DeliveryState.PENDING
    return Attempt(
        configuration_id=row.configuration_id,
        started_at=at + timedelta(seconds=1),
        duration_ms=412,
        statements=1,
        delivery_ids=row.id.hex,
        size=700,
        verdict={DeliveryState.REJECTED: "refused", DeliveryState.PENDING: "failed"}.get(
            state, "accepted"
        ),
        http_status=None if failed else 400 if state is DeliveryState.REJECTED else 200,
        cause={DeliveryState.REJECTED: "rejected", DeliveryState.PENDING: "refused"}.get(state),
        words=row.reason_words,
        worker="web-1:42",
    )
