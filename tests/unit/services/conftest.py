"""A host with services on each database; what is rung and told is kept in lists."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import Administrator, events
from flask_lms.audit import Audits
from flask_lms.database.models import Audit, Configuration, Delivery, DeliveryState
from flask_lms.database.types import FixedClock, new_id
from flask_lms.events import AuditEvent, StatusChanged
from flask_lms.services.configurations import Configurations
from flask_lms.services.deliveries import Deliveries
from flask_lms.services.objectives import Objectives
from flask_lms.services.overview import Overview
from flask_lms.testing import FakeLRS
from tests.engine.conftest import database_url
from tests.host import Host, make_host

__all__ = ["database_url", "desk", "host", "lrs"]

ANA = Administrator(id="7", organization_id="acme", name="Ana Ruiz", email="ana@acme.example")
BEN = Administrator(id="8", organization_id="acme", name="Ben Okafor")
SETTINGS = {"url": "https://lrs.example.org/xapi", "key": "key", "secret": "s3cret-canary"}


@dataclass(kw_only=True)
class Desk:
    """The services of one organization, and what came of them."""

    host: Host
    clock: FixedClock
    rung: list[uuid.UUID] = field(default_factory=list)
    told: list[AuditEvent] = field(default_factory=list)
    statuses: list[StatusChanged] = field(default_factory=list)
    organization_id: str = "acme"

    @property
    def configurations(self) -> Configurations:
        return Configurations(self.host.state, self.organization_id)

    @property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.host.state, self.organization_id)

    @property
    def objectives(self) -> Objectives:
        return Objectives(self.host.state, self.organization_id)

    @property
    def overview(self) -> Overview:
        return Overview(self.host.state, self.organization_id)

    @property
    def audits(self) -> Audits:
        return Audits(self.host.state, self.organization_id)

    def create(self, name: str = "Corporate LMS", **changes: Any) -> Configuration:
        values: dict[str, Any] = {
            "contact_emails": ["ana@acme.example"],
            "settings": SETTINGS,
            "by": ANA,
        }
        return self.configurations.create(self.organization_id, name, **{**values, **changes})

    def history(self, action: str | None = None) -> list[Audit]:
        """Audit rows as stored, oldest first."""
        self.host.db.session.rollback()
        query = sa.select(Audit).order_by(Audit.id)
        if action:
            query = query.where(Audit.action == action)
        return list(self.host.db.session.scalars(query))

    def put(
        self,
        configuration: Configuration,
        state: DeliveryState = DeliveryState.PENDING,
        *,
        at: datetime | None = None,
        **values: Any,
    ) -> Delivery:
        """A delivery as the engine leaves it."""
        moment = at or self.clock.time
        settled = None if state is DeliveryState.PENDING else moment
        row = Delivery(
            **{
                "id": new_id(),
                "organization_id": configuration.organization_id,
                "configuration_id": configuration.id,
                "objective_id": "ppe",
                "objective_name": "Put on PPE",
                "participant_id": "jane@acme.example",
                "participant_name": "Jane Doe",
                "result_id": uuid.uuid4().hex,
                "statement_id": uuid.uuid4(),
                "statement": '{"id": "x"}',
                "size": 11,
                "state": state,
                "recorded_at": moment,
                "due_at": moment,
                "settled_at": settled,
                **values,
            }
        )
        self.host.db.session.add(row)
        self.host.db.session.commit()
        return row

    def later(self, **span: float) -> datetime:
        return self.clock.time + timedelta(**span)


@pytest.fixture
def host(database_url: str) -> Iterator[Host]:
    """On every database there is a URL for."""
    with make_host(database_url) as made:
        yield made


@pytest.fixture
def desk(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(host=host, clock=host.freeze())
    host.state.wake.now = made.rung.extend

    def on_audit(app: object, event: AuditEvent) -> None:
        made.told.append(event)

    def on_status(app: object, event: StatusChanged) -> None:
        made.statuses.append(event)

    with (
        events.audit_event.connected_to(on_audit, host.app),
        events.configuration_status_changed.connected_to(on_status, host.app),
    ):
        yield made


@pytest.fixture
def lrs() -> Iterator[FakeLRS]:
    with FakeLRS() as server:
        yield server
