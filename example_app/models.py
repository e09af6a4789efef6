"""Harbor Training's own tables. Flask-LMS refers to them by id only."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import uuid4

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Utc(sa.types.TypeDecorator[datetime]):
    """Aware UTC, whatever the database gives back."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        return value and value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        return value and value.replace(tzinfo=value.tzinfo or timezone.utc)


class Organization(db.Model):
    __tablename__ = "organization"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    users: Mapped[list[User]] = relationship(back_populates="organization", order_by="User.id")


class User(db.Model):
    __tablename__ = "user_account"

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = mapped_column(sa.ForeignKey("organization.id"))
    name: Mapped[str] = mapped_column(sa.String(100))
    #: What people sign in with: an e-mail address, or a staff number.
    login: Mapped[str] = mapped_column(sa.String(255))
    #: Only when it differs from the login.
    email: Mapped[str | None] = mapped_column(sa.String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)
    organization: Mapped[Organization] = relationship(back_populates="users")


class Objective(db.Model):
    __tablename__ = "objective"

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = mapped_column(sa.ForeignKey("organization.id"))
    name: Mapped[str] = mapped_column(sa.String(100))
    description: Mapped[str] = mapped_column(sa.String(500))
    topic: Mapped[str] = mapped_column(sa.String(100))
    minutes: Mapped[int] = mapped_column(default=10)
    steps: Mapped[list[Step]] = relationship(order_by="Step.number", lazy="selectin")


class Step(db.Model):
    __tablename__ = "step"

    id: Mapped[int] = mapped_column(primary_key=True)
    objective_id: Mapped[int] = mapped_column(sa.ForeignKey("objective.id"))
    number: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(200))


class Attempt(db.Model):
    """One person plays one objective, once."""

    __tablename__ = "attempt"

    #: Random, so that it is never used again, not even after a reset: statement ids come from it.
    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True, default=lambda: uuid4().hex)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user_account.id"))
    objective_id: Mapped[int] = mapped_column(sa.ForeignKey("objective.id"))
    started_at: Mapped[datetime] = mapped_column(Utc)
    finished_at: Mapped[datetime | None] = mapped_column(Utc)
    is_passed: Mapped[bool | None]
    user: Mapped[User] = relationship()
    objective: Mapped[Objective] = relationship()
    played: Mapped[list[PlayedStep]] = relationship(order_by="PlayedStep.number", lazy="selectin")

    @property
    def next_step(self) -> Step | None:
        """The step to play now; None when there is no other."""
        return next(iter(self.objective.steps[len(self.played) :]), None)

    def play(self, succeeded: bool, now: datetime) -> None:
        """The current step went well or not; the last one ends the attempt."""
        assert self.next_step is not None
        since = self.played[-1].at if self.played else self.started_at
        self.played.append(
            PlayedStep(
                number=self.next_step.number,
                is_succeeded=succeeded,
                at=now,
                duration_ms=int((now - since) / timedelta(milliseconds=1)),
            )
        )
        if self.next_step is None:
            self.finish(now)

    def let_pass(self, span: timedelta, now: datetime) -> None:
        """Pretend that everything so far was earlier; past the time limit the attempt ends."""
        self.started_at -= span
        for step in self.played:
            step.at -= span
        if now - self.started_at > timedelta(minutes=self.objective.minutes):
            self.finish(now)

    def finish(self, now: datetime) -> None:
        """Passed: each step was played and went well."""
        self.finished_at = now
        self.is_passed = self.next_step is None and all(step.is_succeeded for step in self.played)


class PlayedStep(db.Model):
    __tablename__ = "played_step"

    id: Mapped[int] = mapped_column(primary_key=True)
    attempt_id: Mapped[str] = mapped_column(sa.ForeignKey("attempt.id"))
    number: Mapped[int]
    is_succeeded: Mapped[bool]
    at: Mapped[datetime] = mapped_column(Utc)
    duration_ms: Mapped[int]
