"""A small host as others would write one, for tests: its tables, its signal, the whole adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from blinker import Signal
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_lms import LMS, Administrator, Objective, ObjectiveResult, Page, Participant, StepResult
from flask_lms.app_state import AppState
from flask_lms.database.models import Configuration, Delivery
from flask_lms.database.types import FixedClock

#: Nothing listens here.
NO_REDIS = "redis://127.0.0.1:1/0"
START = datetime(2026, 3, 2, 9, 0, tzinfo=timezone.utc)


@dataclass(kw_only=True)
class Host:
    """One host with its parts."""

    app: Flask
    db: SQLAlchemy
    lms: LMS
    signal: Signal
    note: Any
    administrator: list[Administrator] = field(default_factory=list)
    participants: dict[str, Participant] = field(default_factory=dict)

    @property
    def state(self) -> AppState:
        state = self.app.extensions["lms_state"]
        assert isinstance(state, AppState)
        return state

    def freeze(self, at: datetime = START) -> FixedClock:
        """Put a clock in place that moves only when told."""
        clock = FixedClock(at)
        self.state.clock = clock
        return clock

    def attach(
        self,
        url: str,
        name: str = "Corporate LMS",
        organization_id: str = "acme",
        objective_id: str = "ppe",
        **settings: Any,
    ) -> Configuration:
        """A configuration attached to an objective."""
        values = {"url": url, "key": "key", "secret": "s3cret-canary", **settings}
        made = self.lms.configurations.create(
            organization_id, name, ["ana@acme.example"], settings=values
        )
        self.lms.configurations.attach(made.id, objective_id)
        return made

    def deliveries(self) -> list[Delivery]:
        """All of them, oldest first, as stored now."""
        self.db.session.rollback()
        return list(self.db.session.scalars(sa.select(Delivery).order_by(Delivery.id)))


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


def build_host(
    database_url: str,
    *,
    redis_url: str = NO_REDIS,
    lms: LMS | None = None,
    app: Flask | None = None,
    db: SQLAlchemy | None = None,
    is_adapted: bool = True,
    **config: Any,
) -> Host:
    """A host; its tables are not made yet.

    :param app: the host's own, whose configuration counts.
    :param db: the host's own, not yet initialised.
    :param is_adapted: whether the slots are filled; else that is up to the caller.
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
            "LMS_ALLOW_HTTP": True,
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

    made = Host(app=app, db=db, lms=lms or LMS(), signal=Signal(), note=HostNote)
    if is_adapted:
        _adapt(made)
    made.lms.init_app(app)
    return made


@contextmanager
def make_host(database_url: str, **options: Any) -> Iterator[Host]:
    """A host with its tables, inside its app context; the tables go at the end."""
    made = build_host(database_url, **options)
    db = made.db
    with made.app.app_context():
        db.drop_all()
        db.create_all()
        try:
            yield made
        finally:
            db.session.remove()
            db.drop_all()
            for engine in db.engines.values():
                engine.dispose()
            made.state.transport.close()


def _adapt(made: Host) -> None:
    lms = made.lms

    @lms.administrator_loader
    def administrator() -> Administrator | None:
        return made.administrator[-1] if made.administrator else None

    @lms.objectives_loader
    def objectives(
        organization_id: str, search: str | None = None, offset: int = 0, limit: int = 50
    ) -> Page[Objective]:
        found = [o for o in _OBJECTIVES if not search or search.lower() in o.name.lower()]
        return Page(items=found[offset : offset + limit], total=len(found))

    @lms.objective_loader
    def objective(organization_id: str, objective_id: str) -> Objective | None:
        return next((o for o in _OBJECTIVES if o.id == objective_id), None)

    @lms.participant_loader
    def participant(organization_id: str, participant_id: str) -> Participant | None:
        return made.participants.get(participant_id)

    @lms.results_from(made.signal)
    def finished(sender: object, result: ObjectiveResult | None, **extra: object) -> Any:
        return result


_OBJECTIVES = (
    Objective(id="ppe", name="Put on PPE"),
    Objective(id="fire", name="Fire Safety"),
    Objective(id="forklift", name="Forklift Check"),
    *(Objective(id=f"o{number}", name=f"Objective {number}") for number in range(200)),
)
