"""The one world that tests play in: a small host as others would write one (its tables, its signal,
the whole adapter), its services, a clock, and builders of configurations and deliveries.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa
from blinker import Signal
from flask import Flask
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from werkzeug.wrappers import Response

from flask_lms import (
    LMS,
    Administrator,
    Objective,
    ObjectiveResult,
    Page,
    Participant,
    StepResult,
    events,
)
from flask_lms.alerts import outages
from flask_lms.app_state import AppState
from flask_lms.audit import Audits
from flask_lms.database.models import (
    Attempt,
    Audit,
    Configuration,
    Delivery,
    DeliveryState,
    Incident,
    Mail,
    Status,
)
from flask_lms.database.types import FixedClock, new_id
from flask_lms.delivery import lease
from flask_lms.delivery.deliver import Deliverer, DeliverReport
from flask_lms.events import AuditEvent, StatusChanged
from flask_lms.services.configurations import Configurations
from flask_lms.services.deliveries import Deliveries
from flask_lms.services.objectives import Objectives
from flask_lms.services.overview import Overview
from flask_lms.testing import FakeLRS

#: Nothing listens here.
NO_REDIS = "redis://127.0.0.1:1/0"
START = datetime(2026, 3, 2, 9, 0, tzinfo=timezone.utc)
ANA = Administrator(id="7", organization_id="acme", name="Ana Ruiz", email="ana@acme.example")
BEN = Administrator(id="8", organization_id="acme", name="Ben Okafor")
SETTINGS = {"url": "https://lrs.example.org/xapi", "key": "key", "secret": "s3cret-canary"}
#: What an LMS may say and no mail may tell.
CANARY_WORDS = "learner jane.doe@acme.example is unknown (secret s3cret-canary)"
_OBJECTIVES = (
    Objective(id="ppe", name="Put on PPE"),
    Objective(id="fire", name="Fire Safety"),
    Objective(id="forklift", name="Forklift Check"),
    *(Objective(id=f"o{number}", name=f"Objective {number}") for number in range(200)),
)


@dataclass(kw_only=True)
class World:
    """One host with its parts, and what came of them.

    :ivar who: is on the next request.
    :ivar known: the host's objectives, of organizations that have their own.
    :ivar rung: configurations that workers were woken for; as ``told`` and ``statuses`` only
        while listening.
    """

    app: Flask
    db: SQLAlchemy
    lms: LMS
    signal: Signal = field(default_factory=Signal)
    note: Any = None
    organization_id: str = "acme"
    who: Administrator | Response | None = None
    known: dict[str, list[Objective]] = field(default_factory=dict)
    participants: dict[str, Participant] = field(default_factory=dict)
    past: list[ObjectiveResult] = field(default_factory=list)
    rung: list[uuid.UUID] = field(default_factory=list)
    told: list[AuditEvent] = field(default_factory=list)
    statuses: list[StatusChanged] = field(default_factory=list)
    clock: FixedClock = field(init=False)

    @property
    def state(self) -> AppState:
        state = self.app.extensions["lms_state"]
        assert isinstance(state, AppState)
        return state

    @property
    def session(self) -> Any:
        return self.db.session()

    @property
    def now(self) -> datetime:
        return self.state.clock.now(self.session)

    def client(self) -> FlaskClient:
        return self.app.test_client()

    def freeze(self, at: datetime = START) -> FixedClock:
        """Put a clock in place that moves only when told."""
        self.clock = self.state.clock = FixedClock(at)
        return self.clock

    def later(self, **span: float) -> datetime:
        return self.now + timedelta(**span)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep what is told and whom workers are woken for, instead of waking them."""
        self.state.wake.now = self.rung.extend

        def on_audit(app: object, event: AuditEvent) -> None:
            self.told.append(event)

        def on_status(app: object, event: StatusChanged) -> None:
            self.statuses.append(event)

        with (
            events.audit_event.connected_to(on_audit, self.app),
            events.configuration_status_changed.connected_to(on_status, self.app),
        ):
            yield

    # -- services of the organization --------------------------------------------------------------

    @property
    def configurations(self) -> Configurations:
        return Configurations(self.state, self.organization_id)

    @property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.state, self.organization_id)

    @property
    def objectives(self) -> Objectives:
        return Objectives(self.state, self.organization_id)

    @property
    def overview(self) -> Overview:
        return Overview(self.state, self.organization_id)

    @property
    def audits(self) -> Audits:
        return Audits(self.state, self.organization_id)

    # -- builders ----------------------------------------------------------------------------------

    def configuration(self, name: str = "Corporate LMS", **changes: Any) -> Configuration:
        """A new one; ``changes`` as ``configurations.create`` takes them."""
        values = {"contact_emails": ["ana@acme.example"], "settings": SETTINGS, "by": ANA}
        owner = changes.pop("organization_id", self.organization_id)
        return self.lms.configurations.create(owner, name, **{**values, **changes})

    def attach(
        self,
        url: str = SETTINGS["url"],
        name: str = "Corporate LMS",
        organization_id: str = "acme",
        objective_id: str = "ppe",
        **settings: Any,
    ) -> Configuration:
        """A new configuration of an LMS, attached to an objective."""
        made = self.configuration(
            name, organization_id=organization_id, settings={**SETTINGS, "url": url, **settings}
        )
        self.lms.configurations.attach(made.id, objective_id)
        return made

    def delivery(
        self,
        configuration: Configuration,
        state: DeliveryState = DeliveryState.PENDING,
        *,
        at: datetime | None = None,
        **values: Any,
    ) -> Delivery:
        """One as the engine leaves it."""
        row = Delivery(**delivery_values(configuration, state, at or self.now, **values))
        self.session.add(row)
        self.session.commit()
        return row

    def record(self, *ids: str, **changes: Any) -> None:
        """Record one result for each id."""
        self.lms.record_many([result(id, **changes) for id in ids])

    def deliver(
        self, configuration: Configuration | uuid.UUID, chance: float = 0.5
    ) -> DeliverReport:
        """Send what is due for one, with chance taken out (0.5: no jitter)."""
        id = configuration if isinstance(configuration, uuid.UUID) else configuration.id
        return Deliverer(self.state, chance=lambda: chance).deliver(id)

    def deliver_due(self) -> None:
        """What a tick would set going."""
        ids = lease.due(self.session, self.now)
        self.session.rollback()
        for id in ids:
            self.deliver(id)

    # -- what is stored now ------------------------------------------------------------------------

    def rows(self) -> list[Delivery]:
        """All deliveries, oldest first."""
        return self._stored(Delivery)

    def states(self) -> Counter[str]:
        """How many deliveries are in each state."""
        return Counter(delivery.state.value for delivery in self.rows())

    def health(self, configuration: Configuration) -> Any:
        return self.lms.configurations.get(configuration.id).health

    def get(self, id: uuid.UUID) -> Configuration:
        return self.session.get_one(Configuration, id, populate_existing=True)

    def history(self, action: str | None = None) -> list[Audit]:
        """Audit rows, oldest first."""
        return self._stored(Audit, **{"action": action} if action else {})

    def attempts(self) -> list[Attempt]:
        """All requests, oldest first."""
        return self._stored(Attempt)

    def mails(self, **where: Any) -> list[Mail]:
        return self._stored(Mail, **where)

    def kinds(self, **where: Any) -> list[str]:
        return [mail.kind for mail in self.mails(**where)]

    def incidents(self, **where: Any) -> list[Incident]:
        return self._stored(Incident, **where)

    def _stored(self, model: Any, **where: Any) -> list[Any]:
        self.session.rollback()
        return list(self.session.scalars(sa.select(model).filter_by(**where).order_by(model.id)))

    def assert_everything_arrived(self, lrs: FakeLRS) -> None:
        """Read every id back from the receiving end: none is missing."""
        sent = {str(delivery.statement_id) for delivery in self.rows()}
        stored = {statement["id"] for statement in lrs.statements}
        assert sent - stored == set()
        assert self.states() == {"delivered": len(sent)}

    # -- LMSs that fail on demand: health rows are written as the engine writes them ---------------

    def connected(
        self,
        name: str = "Corporate LMS",
        contacts: Sequence[str] = ("ana@acme.example",),
        **changes: Any,
    ) -> uuid.UUID:
        """The id of a new configuration that is connected."""
        url = f"https://{name.split()[0].lower()}.example.org/xapi/"
        settings = {**SETTINGS, "url": url, "key": "key-canary"}
        made = self.configuration(name, contact_emails=contacts, settings=settings, **changes)
        self.up(made.id)
        return made.id

    def up(self, id: uuid.UUID) -> None:
        self._change(id, Status.CONNECTED, None, 0, {})

    def down(
        self,
        id: uuid.UUID,
        cause: str = "refused",
        failures: int = 1,
        status: Status = Status.CANT_CONNECT,
    ) -> None:
        facts = {"host": "lrs.example.org", "port": 443, "words": CANARY_WORDS, "http_status": 401}
        self._change(id, status, cause, failures, facts)

    def refuse(self, id: uuid.UUID, cause: str = "credentials") -> None:
        self.down(id, cause, 1, Status.SERVER_ERROR)

    def _change(
        self, id: uuid.UUID, status: Status, cause: str | None, failures: int, facts: dict[str, Any]
    ) -> None:
        configuration = self.get(id)
        health = configuration.health
        old = health.status
        health.status, health.cause, health.failures, health.facts = status, cause, failures, facts
        if status is Status.CONNECTED:
            health.last_success_at, health.failing_since = self.now, None
        if old is not status:
            health.since = self.now
            event = StatusChanged(
                organization_id=configuration.organization_id,
                configuration_id=id,
                name=configuration.name,
                old=old.value,
                new=status.value,
                cause=cause,
                at=self.now,
            )
            outages.status_changed(self.state, self.session, configuration, event)
        self.session.commit()

    def tick(self, **span: float) -> datetime:
        """What a worker's ticker does for the alerts, after so long."""
        if span:
            self.clock.advance(**span)
        outages.tick(self.state, self.now)
        return self.now

    def wait(
        self,
        id: uuid.UUID,
        n: int,
        state: DeliveryState = DeliveryState.PENDING,
        reason: str | None = None,
    ) -> None:
        """So many deliveries of a configuration, in one INSERT."""
        configuration = self.get(id)
        words = {"reason": reason, "reason_words": CANARY_WORDS}
        rows = [delivery_values(configuration, state, self.now, **words) for _ in range(n)]
        self.session.execute(sa.insert(Delivery), rows)
        self.session.commit()


def delivery_values(
    configuration: Configuration, state: DeliveryState, at: datetime, **values: Any
) -> dict[str, Any]:
    """The columns of a delivery as the engine leaves them."""
    return {
        "id": new_id(),
        "organization_id": configuration.organization_id,
        "configuration_id": configuration.id,
        "objective_id": "ppe",
        "objective_name": "Put on PPE",
        "participant_id": "jane@acme.example",
        "participant_name": "Jane Doe",
        "result_id": uuid.uuid4().hex,
        "statement_id": uuid.uuid4(),
        "kind": "result",
        "statement": '{"id": "x"}',
        "size": 11,
        "state": state,
        "recorded_at": at,
        "due_at": at,
        "settled_at": None if state is DeliveryState.PENDING else at,
        **values,
    }


def result(id: str = "r1", **changes: Any) -> ObjectiveResult:
    """An objective result as hosts have them."""
    values: dict[str, Any] = {
        "id": id,
        "organization_id": "acme",
        "objective": Objective(id="ppe", name="Put on PPE"),
        "participant": Participant(id="jane@acme.example", name="Jane Doe"),
        "finished_at": START,
        "success": True,
        "duration_ms": 83_250,
        "steps": [StepResult(number=1, outcome="succeeded", duration_ms=30_100)],
    }
    return ObjectiveResult(**{**values, **changes})


def build_world(
    database_url: str,
    *,
    redis_url: str = NO_REDIS,
    lms: LMS | None = None,
    app: Flask | None = None,
    db: SQLAlchemy | None = None,
    is_adapted: bool = True,
    **config: Any,
) -> World:
    """A world whose tables are not made yet.

    :param app: the host's own, whose configuration counts.
    :param db: the host's own, not yet initialised.
    :param is_adapted: whether the callbacks are registered; else that is up to the caller.
    """
    app = app or Flask("host")
    app.config.from_mapping(
        {
            "SECRET_KEY": "a secret for tests only, long enough",
            "SQLALCHEMY_DATABASE_URI": database_url,
            "LMS_ACTIVITY_BASE_URL": "https://host.example/xapi",
            "LMS_PLATFORM_NAME": "Harbor Training",
            "LMS_REDIS_URL": redis_url,
            "LMS_ALLOWED_NETWORKS": ["127.0.0.0/8"],
            "LMS_SHOW_PRIVATE_ANSWERS": True,
            "LMS_ALLOW_HTTP": True,
            "LMS_MAX_CONFIGURATIONS": 10_000,
            "LMS_MAX_ATTACHED": 1_000,
            "LMS_MAIL_SENDER": "Harbor Training <no-reply@harbor.example>",
            "TESTING": True,
            **config,
        }
    )
    db = db or SQLAlchemy()
    db.init_app(app)

    class HostNote(db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "host_note"
        id = sa.Column(sa.Integer, primary_key=True)
        text = sa.Column(sa.String(100))

    world = World(app=app, db=db, lms=lms or LMS(), note=HostNote)
    if is_adapted:
        _adapt(world)
    world.lms.init_app(app)
    return world


@contextmanager
def make_world(database_url: str, **options: Any) -> Iterator[World]:
    """A world with its tables, inside its app context; the tables go at the end."""
    world = build_world(database_url, **options)
    with world.app.app_context():
        world.db.drop_all()
        world.db.create_all()
        try:
            yield world
        finally:
            world.db.session.remove()
            world.db.drop_all()
            _close(world)


@contextmanager
def standing(world: World, bind_key: str = "__all__") -> Iterator[World]:
    """The world with its tables and an administrator. No context is pushed: each request and each
    ``with world.app.app_context()`` has a session of its own, as in production.
    """
    world.who = world.who or ANA
    with world.app.app_context():
        world.db.create_all(bind_key)
    try:
        yield world
    finally:
        with world.app.app_context():
            world.db.session.remove()
            _close(world)


def _close(world: World) -> None:
    for engine in world.db.engines.values():
        engine.dispose()
    world.state.transport.close()


def _adapt(world: World) -> None:
    lms = world.lms

    def of(organization_id: str) -> Sequence[Objective]:
        return world.known.get(organization_id, _OBJECTIVES)

    @lms.administrator_loader
    def administrator() -> Administrator | Response | None:
        return world.who

    @lms.objectives_loader
    def objectives(
        organization_id: str, search: str | None = None, offset: int = 0, limit: int = 50
    ) -> Page[Objective]:
        found = [o for o in of(organization_id) if not search or search.lower() in o.name.lower()]
        return Page(items=found[offset : offset + limit], total=len(found))

    @lms.objective_loader
    def objective(organization_id: str, objective_id: str) -> Objective | None:
        return next((o for o in of(organization_id) if o.id == objective_id), None)

    @lms.participant_loader
    def participant(organization_id: str, participant_id: str) -> Participant | None:
        return world.participants.get(participant_id)

    @lms.results_from(world.signal)
    def finished(sender: object, result: ObjectiveResult | None, **extra: object) -> Any:
        return result
