"""A host whose LMSs fail on demand: health rows are written as the engine writes them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from flask_lms import events
from flask_lms.alerts import outages
from flask_lms.database.models import Configuration, Delivery, DeliveryState, Incident, Mail, Status
from flask_lms.database.types import FixedClock, new_id
from tests.host import START, Host

CANARY_WORDS = "learner jane.doe@acme.example is unknown (secret s3cret-canary)"


@dataclass(kw_only=True)
class Stage:
    """The host on a clock that moves only when told."""

    host: Host
    clock: FixedClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = self.host.freeze(START)

    @property
    def state(self) -> Any:
        return self.host.state

    @property
    def session(self) -> Any:
        return self.state.session()

    @property
    def now(self) -> datetime:
        return self.clock.time

    def configuration(
        self,
        name: str = "Corporate LMS",
        contacts: tuple[str, ...] = ("ana@acme.example",),
        **more: Any,
    ) -> uuid.UUID:
        """A configuration that is connected."""
        made = self.host.lms.configurations.create(
            more.pop("organization_id", "acme"),
            name,
            list(contacts),
            settings={
                "url": f"https://{name.split()[0].lower()}.example.org/xapi/",
                "key": "key-canary",
                "secret": "s3cret-canary",
            },
            language=more.pop("language", "en"),
        )
        self.up(made.id)
        return made.id

    def get(self, id: uuid.UUID) -> Configuration:
        found = self.session.get(Configuration, id, populate_existing=True)
        assert found is not None
        return found

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
            event = events.StatusChanged(
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

    def up(self, id: uuid.UUID) -> None:
        self._change(id, Status.CONNECTED, None, 0, {})

    def tick(self, **span: float) -> datetime:
        if span:
            self.clock.advance(**span)
        outages.tick(self.state, self.now)
        return self.now

    def deliveries(
        self,
        id: uuid.UUID,
        n: int,
        state: DeliveryState = DeliveryState.PENDING,
        reason: str | None = None,
    ) -> None:
        settled = None if state is DeliveryState.PENDING else self.now
        self.session.execute(
            sa.insert(Delivery),
            [
                {
                    "id": new_id(),
                    "organization_id": "acme",
                    "configuration_id": id,
                    "objective_id": "ppe",
                    "participant_id": "jane.doe",
                    "participant_name": "Jane Doe",
                    "result_id": uuid.uuid4().hex,
                    "statement_id": uuid.uuid4(),
                    "kind": "result",
                    "state": state,
                    "reason": reason,
                    "reason_words": CANARY_WORDS,
                    "recorded_at": self.now,
                    "due_at": self.now,
                    "settled_at": settled,
                }
                for _ in range(n)
            ],
        )
        self.session.commit()

    def deliver_all(self, id: uuid.UUID) -> None:
        self.session.execute(
            sa.update(Delivery)
            .where(Delivery.configuration_id == id, Delivery.state == DeliveryState.PENDING)
            .values(state=DeliveryState.DELIVERED, settled_at=self.now)
        )
        self.session.commit()

    def mails(self, **where: Any) -> list[Mail]:
        self.session.rollback()
        return list(self.session.scalars(sa.select(Mail).filter_by(**where).order_by(Mail.id)))

    def kinds(self, **where: Any) -> list[str]:
        return [mail.kind for mail in self.mails(**where)]

    def incidents(self, **where: Any) -> list[Incident]:
        self.session.rollback()
        return list(
            self.session.scalars(sa.select(Incident).filter_by(**where).order_by(Incident.id))
        )


MINUTE = timedelta(minutes=1)
