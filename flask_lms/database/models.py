"""The tables. Everything an administrator sees is read from these rows.

They belong to this module's own ``Base`` and are copied into the host's metadata by ``schema``.
Times are aware UTC. Host ids are strings without foreign keys. Every constraint has a name.
"""

from __future__ import annotations

import enum
import hashlib
import json
import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from ..i18n import N_
from .types import UtcDateTime, new_id


class Status(str, enum.Enum):
    """How an LMS is doing, by the newest evidence."""

    #: Nothing was sent or tested yet.
    NOT_TESTED = "not_tested"
    #: The last request or test was a success.
    CONNECTED = "connected"
    #: No answer came.
    CANT_CONNECT = "cant_connect"
    #: An answer came, and the LMS doesn't accept results.
    SERVER_ERROR = "server_error"

    @property
    def is_error(self) -> bool:
        """Whether results can't be sent."""
        return self in (Status.CANT_CONNECT, Status.SERVER_ERROR)

    @property
    def label(self) -> str:
        """What people read (a message id)."""
        return _STATUS_LABELS[self]


_STATUS_LABELS = {
    Status.NOT_TESTED: N_("Not tested"),
    Status.CONNECTED: N_("Connected"),
    Status.CANT_CONNECT: N_("Can't Connect"),
    Status.SERVER_ERROR: N_("Server Error"),
}


class DeliveryState(str, enum.Enum):
    """What became of a delivery. "Sending" is a lease on the configuration, not a state."""

    #: It waits to be sent, or to be tried again.
    PENDING = "pending"
    #: The LMS stored it.
    DELIVERED = "delivered"
    #: The LMS has a newer one in its place and didn't store it: done.
    SUPERSEDED = "superseded"
    #: The LMS refused it for good.
    REJECTED = "rejected"
    #: It can't be sent as it is; ``Delivery.reason`` says why.
    NOT_SENT = "not_sent"
    #: Somebody cancelled it, or its configuration was deleted.
    CANCELLED = "cancelled"


class ReadBack(str, enum.Enum):
    """What an LMS has of a statement that it accepted, when it was asked again."""

    #: This very statement.
    CONFIRMED = "confirmed"
    #: None under its id.
    MISSING = "missing"
    #: One with other content.
    DIFFERENT = "different"
    #: It, and the same once more under an id that isn't ours.
    DOUBLED = "doubled"
    #: Somebody else took it back.
    VOIDED = "voided"
    #: It doesn't let us read, or didn't answer.
    UNREADABLE = "unreadable"


class _Text(sa.types.TypeDecorator[Any]):
    """A ``str`` enum stored as its value: a plain VARCHAR, no database enum."""

    impl = sa.String(20)
    cache_ok = True

    def __init__(self, kind: type[enum.Enum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        return None if value is None else str(self.kind(value).value)

    def process_result_value(self, value: Any, dialect: Any) -> enum.Enum | None:
        return None if value is None else self.kind(value)


_ID = sa.Uuid(native_uuid=False)  # CHAR(32): sorts by time on every database
_HOST_ID = sa.String(255)


class Base(DeclarativeBase):
    """The extension's own metadata; hosts get copies of its tables."""


def _repr(row: Base) -> str:
    """Kind and id; nothing that a detached row would have to load, and no names."""
    identity = sa.inspect(row).identity
    return f"<{type(row).__name__} {identity[0] if identity else 'not stored yet'}>"


class Configuration(Base):
    """An LMS configuration: where the results of an organization go."""

    __tablename__ = "lms_configuration"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_configuration"),
        sa.UniqueConstraint("organization_id", "name_key", name="uq_lms_configuration_name"),
        sa.Index("ix_lms_configuration_organization", "organization_id", "deleted_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    organization_id: Mapped[str] = mapped_column(_HOST_ID)
    name: Mapped[str] = mapped_column(sa.String(100))
    #: Digest of organization and case-folded name; NULL once deleted, which frees the name.
    name_key: Mapped[str | None] = mapped_column(sa.String(200))
    type: Mapped[str] = mapped_column(sa.String(40))
    contact_emails: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    #: Addresses that asked not to be mailed about this configuration.
    muted_emails: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    #: The connector's settings without its secrets.
    settings: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    #: The connector's secrets, encrypted.
    secrets: Mapped[str | None] = mapped_column(sa.Text)
    secret_set_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    secret_set_by: Mapped[str | None] = mapped_column(sa.String(255))
    #: BCP 47 tag in which mails are written.
    language: Mapped[str] = mapped_column(sa.String(35), default="en")
    #: Counts saves; an edit of an older version is a conflict.
    version: Mapped[int] = mapped_column(sa.Integer, default=1)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str | None] = mapped_column(sa.String(255))
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_by: Mapped[str | None] = mapped_column(sa.String(255))
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_by: Mapped[str | None] = mapped_column(sa.String(255))
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted_by: Mapped[str | None] = mapped_column(sa.String(255))

    health: Mapped[ConfigurationHealth] = relationship(
        back_populates="configuration", lazy="joined", innerjoin=True, cascade="all, delete-orphan"
    )

    @property
    def is_paused(self) -> bool:
        """Whether an administrator paused it: results wait until it is resumed."""
        return self.paused_at is not None

    def is_contact(self, address: str) -> bool:
        """Whether this address is told of trouble with it, unless it is muted.

        :param address: in any case.
        """
        return address.casefold() in {contact.casefold() for contact in self.contact_emails or ()}

    def is_muted(self, address: str) -> bool:
        """Whether this address asked not to be mailed about it.

        :param address: in any case.
        """
        return address.casefold() in {muted.casefold() for muted in self.muted_emails or ()}

    def __repr__(self) -> str:
        return _repr(self)


class ConfigurationHealth(Base):
    """The engine's row of a configuration, apart from what a form edits."""

    __tablename__ = "lms_health"
    __table_args__ = (
        sa.PrimaryKeyConstraint("configuration_id", name="pk_lms_health"),
        sa.ForeignKeyConstraint(
            ["configuration_id"], ["lms_configuration.id"], name="fk_lms_health_configuration"
        ),
    )

    configuration_id: Mapped[uuid.UUID] = mapped_column(_ID)
    status: Mapped[Status] = mapped_column(_Text(Status), default=Status.NOT_TESTED)
    #: Code of the cause while in error, such as ``dns`` or ``credentials``.
    cause: Mapped[str | None] = mapped_column(sa.String(40))
    #: What fills the cause's sentence: host, port, http_status, words, target, …
    facts: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    #: Since when the status holds.
    since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Failures of the destination in a row, and the first of them.
    failures: Mapped[int] = mapped_column(sa.Integer, default=0)
    failing_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Not before this; NULL: at once.
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_success_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Statements in the next request: 1 while probing, 10 after, then full (NULL).
    ramp: Mapped[int | None] = mapped_column(sa.Integer)
    #: Limit learnt from 413 answers; NULL: none learnt.
    learnt_bytes: Mapped[int | None] = mapped_column(sa.Integer)
    #: Different statements refused alone since one was last accepted, the newest last, at most 20:
    #: "<digest of the answer> <end of the delivery's id>", and "vouched" once a witness was taken.
    singles: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    #: Counts the events for which something waited; NULL: none. What was read before one isn't
    #: put aside as waiting for it.
    releases: Mapped[int | None] = mapped_column(sa.Integer)
    #: The lease: a fencing token that only grows, its holder and its end.
    lease_token: Mapped[int] = mapped_column(sa.Integer, default=0)
    lease_holder: Mapped[str | None] = mapped_column(sa.String(100))
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    configuration: Mapped[Configuration] = relationship(back_populates="health")


class OrderHold(Base):
    """A delivery that was refused alone and goes before others of its connector's key."""

    __tablename__ = "lms_order_hold"
    __table_args__ = (
        sa.PrimaryKeyConstraint("delivery_id", name="pk_lms_order_hold"),
        sa.Index("ix_lms_order_hold_configuration", "configuration_id"),
    )

    delivery_id: Mapped[uuid.UUID] = mapped_column(_ID)
    configuration_id: Mapped[uuid.UUID] = mapped_column(_ID)


class ObjectiveLink(Base):
    """A configuration attached to an objective of the host."""

    __tablename__ = "lms_objective_link"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_objective_link"),
        sa.ForeignKeyConstraint(
            ["configuration_id"],
            ["lms_configuration.id"],
            name="fk_lms_objective_link_configuration",
        ),
        sa.UniqueConstraint(
            "configuration_id", "objective_id", name="uq_lms_objective_link_configuration"
        ),
        sa.Index("ix_lms_objective_link_objective", "organization_id", "objective_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    organization_id: Mapped[str] = mapped_column(_HOST_ID)
    configuration_id: Mapped[uuid.UUID] = mapped_column(_ID)
    objective_id: Mapped[str] = mapped_column(_HOST_ID)
    #: What the LMS calls the activity (absolute IRI); NULL: as the host's objective says.
    activity_id: Mapped[str | None] = mapped_column(sa.String(2000))
    attached_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attached_by: Mapped[str | None] = mapped_column(sa.String(255))

    configuration: Mapped[Configuration] = relationship()


#: In place of the participant's ID, which hosts never leave empty: the skeleton of a delivery. It
#: tells what a correction takes back, concerns nobody and is listed nowhere.
SKELETON = ""


class Delivery(Base):
    """The outbox: one statement for one configuration, its text and id frozen for ever."""

    __tablename__ = "lms_delivery"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_delivery"),
        sa.ForeignKeyConstraint(
            ["configuration_id"], ["lms_configuration.id"], name="fk_lms_delivery_configuration"
        ),
        sa.UniqueConstraint("configuration_id", "statement_id", name="uq_lms_delivery_statement"),
        sa.Index("ix_lms_delivery_due", "state", "configuration_id", "due_at", "id"),
        sa.Index("ix_lms_delivery_page", "organization_id", "id"),
        sa.Index("ix_lms_delivery_configuration", "configuration_id", "state", "id"),
        sa.Index("ix_lms_delivery_settled", "configuration_id", "settled_at", "state"),
        sa.Index("ix_lms_delivery_result", "organization_id", "result_id"),
        sa.Index("ix_lms_delivery_objective", "organization_id", "objective_id", "id"),
        sa.Index("ix_lms_delivery_participant", "organization_id", "participant_id", "id"),
    )

    #: Time-ordered: newest first is ``ORDER BY id DESC``.
    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    organization_id: Mapped[str] = mapped_column(_HOST_ID)
    configuration_id: Mapped[uuid.UUID] = mapped_column(_ID)
    objective_id: Mapped[str] = mapped_column(_HOST_ID)
    objective_name: Mapped[str | None] = mapped_column(sa.String(255))
    participant_id: Mapped[str] = mapped_column(_HOST_ID)
    participant_name: Mapped[str | None] = mapped_column(sa.String(255))
    #: ``passed``, ``failed``, ``completed`` or ``incomplete``; NULL: recorded by an older version.
    outcome: Mapped[str | None] = mapped_column(sa.String(20))
    #: The points: ``scaled``, ``raw``, ``min`` and ``max``, those that there are.
    score: Mapped[dict[str, float] | None] = mapped_column(sa.JSON(none_as_null=True))
    result_id: Mapped[str] = mapped_column(_HOST_ID)
    revision: Mapped[int] = mapped_column(sa.Integer, default=0)
    #: ``result``, ``completed``, ``step``, ``void`` or ``test``.
    kind: Mapped[str] = mapped_column(sa.String(20), default="result")
    statement_id: Mapped[uuid.UUID] = mapped_column(_ID)
    #: The bytes that are sent, as text; NULL when not sent, or pruned.
    statement: Mapped[str | None] = mapped_column(sa.Text)
    #: Its length in UTF-8 bytes.
    size: Mapped[int] = mapped_column(sa.Integer, default=0)
    #: The host's result as JSON while it can't be sent, so that it can be checked again.
    result: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON)
    state: Mapped[DeliveryState] = mapped_column(
        _Text(DeliveryState), default=DeliveryState.PENDING
    )
    #: Code of why it is rejected, not sent or cancelled; ``not_verified``: delivered by the LMS's
    #: word alone.
    reason: Mapped[str | None] = mapped_column(sa.String(40))
    #: The LMS's words, or what fills the reason's sentence.
    reason_words: Mapped[str | None] = mapped_column(sa.String(2000))
    #: Never in one request with others, such as a void; one with refusals goes alone too.
    is_single: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    #: Requests that carried it, and refusals of it alone.
    attempts: Mapped[int] = mapped_column(sa.Integer, default=0)
    refusals: Mapped[int] = mapped_column(sa.Integer, default=0)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Not sent before this; of one that can't be sent, when it was last built.
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: When it became delivered, superseded, rejected, not sent or cancelled.
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    settled_by: Mapped[str | None] = mapped_column(sa.String(255))
    #: What the LMS had of it when it was last asked, and when that was; NULL: never since it was
    #: sent.
    read_back: Mapped[ReadBack | None] = mapped_column(_Text(ReadBack))
    read_back_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: What fills the sentence on it: fields that differ, who voided it, …
    read_back_facts: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON)

    def __repr__(self) -> str:
        return _repr(self)


class Attempt(Base):
    """One HTTP request to an LMS."""

    __tablename__ = "lms_attempt"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_attempt"),
        sa.ForeignKeyConstraint(
            ["configuration_id"], ["lms_configuration.id"], name="fk_lms_attempt_configuration"
        ),
        sa.Index("ix_lms_attempt_configuration", "configuration_id", "started_at"),
        sa.Index("ix_lms_attempt_started", "started_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    configuration_id: Mapped[uuid.UUID] = mapped_column(_ID)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    duration_ms: Mapped[int] = mapped_column(sa.Integer)
    #: Deliveries in it: how many, their ids as hex joined by commas, and the bytes of the body.
    statements: Mapped[int] = mapped_column(sa.Integer)
    delivery_ids: Mapped[str] = mapped_column(sa.Text)
    size: Mapped[int] = mapped_column(sa.Integer)
    #: The ``Verdict``: ``accepted``, ``partial``, ``refused``, ``conflict``, ``superseded``,
    #: ``too_large``, ``slow_down`` or ``failed``.
    verdict: Mapped[str] = mapped_column(sa.String(20))
    http_status: Mapped[int | None] = mapped_column(sa.Integer)
    cause: Mapped[str | None] = mapped_column(sa.String(40))
    #: What the LMS answered, redacted, at most 2,000 characters.
    words: Mapped[str | None] = mapped_column(sa.String(2000))
    worker: Mapped[str | None] = mapped_column(sa.String(100))


class Incident(Base):
    """An episode in which something was wrong, from its first evidence to its end."""

    __tablename__ = "lms_incident"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_incident"),
        sa.UniqueConstraint("open_key", name="uq_lms_incident_open"),
        sa.Index("ix_lms_incident_configuration", "configuration_id", "opened_at"),
        sa.Index("ix_lms_incident_next", "closed_at", "next_mail_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    #: NULL: the installation's own, told to its operators.
    configuration_id: Mapped[uuid.UUID | None] = mapped_column(_ID)
    organization_id: Mapped[str | None] = mapped_column(_HOST_ID)
    #: ``outage``, ``results``, ``unstable`` or, of the installation, ``operator`` and ``scan`` (the
    #: watermark of the ticker's look at all configurations).
    kind: Mapped[str] = mapped_column(sa.String(20))
    #: ``<configuration or installation>:<kind>`` while open, so that only one can be; then NULL.
    open_key: Mapped[str | None] = mapped_column(sa.String(120))
    status: Mapped[str | None] = mapped_column(sa.String(20))
    cause: Mapped[str | None] = mapped_column(sa.String(40))
    facts: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: When its contacts were first told; NULL: not yet, or too short to tell.
    announced_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: When to look at it again for a mail; NULL: never.
    next_mail_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    mails: Mapped[int] = mapped_column(sa.Integer, default=0)
    #: Message-ID of its first mail, which later ones refer to.
    thread: Mapped[str | None] = mapped_column(sa.String(255))


class Mail(Base):
    """One mail to one address: decided with the change it tells of, sent by the worker."""

    __tablename__ = "lms_mail"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_mail"),
        sa.Index("ix_lms_mail_due", "state", "due_at"),
        sa.Index("ix_lms_mail_configuration", "configuration_id", "created_at"),
        sa.Index("ix_lms_mail_recipient", "recipient", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    incident_id: Mapped[uuid.UUID | None] = mapped_column(_ID)
    configuration_id: Mapped[uuid.UUID | None] = mapped_column(_ID)
    organization_id: Mapped[str | None] = mapped_column(_HOST_ID)
    #: ``error``, ``still_down``, ``recovered``, ``unstable``, ``results``, ``digest``, ``test`` or
    #: ``operator``.
    kind: Mapped[str] = mapped_column(sa.String(20))
    recipient: Mapped[str] = mapped_column(sa.String(320))
    language: Mapped[str] = mapped_column(sa.String(35), default="en")
    subject: Mapped[str] = mapped_column(sa.String(500))
    #: What its templates are filled with: counts and causes, never a learner or a secret.
    facts: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    message_id: Mapped[str] = mapped_column(sa.String(255))
    #: ``waiting``, ``sent``, ``failed`` or ``skipped``.
    state: Mapped[str] = mapped_column(sa.String(20), default="waiting")
    #: Why it failed or was skipped.
    reason: Mapped[str | None] = mapped_column(sa.String(500))
    attempts: Mapped[int] = mapped_column(sa.Integer, default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Audit(Base):
    """Who changed what, when, from → to. Rows are added and never changed, but for the outcome of a
    connection test, which is added when the test ends.
    """

    __tablename__ = "lms_audit"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_audit"),
        sa.Index("ix_lms_audit_page", "organization_id", "id"),
        sa.Index("ix_lms_audit_configuration", "configuration_id", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    organization_id: Mapped[str] = mapped_column(_HOST_ID)
    configuration_id: Mapped[uuid.UUID | None] = mapped_column(_ID)
    #: The configuration's name at that time.
    subject: Mapped[str | None] = mapped_column(sa.String(255))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Host id and name of the administrator; both NULL: automatic.
    administrator_id: Mapped[str | None] = mapped_column(_HOST_ID)
    administrator_name: Mapped[str | None] = mapped_column(sa.String(255))
    #: Past tense, such as ``created``, ``edited``, ``status_changed``, ``attached``.
    action: Mapped[str] = mapped_column(sa.String(40))
    #: Field → [from, to]; a secret only ever as "replaced".
    changes: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)


class ParticipantMapping(Base):
    """Who a participant of the host is in the LMSs of their organization."""

    __tablename__ = "lms_participant"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_participant"),
        sa.UniqueConstraint("participant_key", name="uq_lms_participant_key"),
        sa.Index("ix_lms_participant_page", "organization_id", "participant_id"),
        sa.Index("ix_lms_participant_mapped", "mapped_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    organization_id: Mapped[str] = mapped_column(_HOST_ID)
    participant_id: Mapped[str] = mapped_column(_HOST_ID)
    #: Digest of organization and participant: unique to the letter on every database.
    participant_key: Mapped[str] = mapped_column(sa.String(64))
    #: Where a configuration identifies by e-mail address.
    email: Mapped[str | None] = mapped_column(sa.String(320))
    #: Where a configuration identifies by account.
    account_name: Mapped[str | None] = mapped_column(sa.String(255))
    #: The system in which ``account_name`` is unique.
    account_home_page: Mapped[str | None] = mapped_column(sa.String(2000))
    #: As the LMS knows them; NULL: the host's.
    name: Mapped[str | None] = mapped_column(sa.String(255))
    mapped_at: Mapped[datetime] = mapped_column(UtcDateTime)
    mapped_by: Mapped[str | None] = mapped_column(sa.String(255))
    #: Set: the row stands for somebody who was forgotten; ``participant_id`` is a keyed hash.
    forgotten_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @staticmethod
    def key_of(organization_id: str, participant_id: str) -> str:
        """What :attr:`participant_key` is for these."""
        both = json.dumps([organization_id, participant_id])
        return hashlib.sha256(both.encode()).hexdigest()

    def __repr__(self) -> str:
        return _repr(self)


class Task(Base):
    """An act on many rows that a worker carries out step by step: what was asked, and how far it
    is.
    """

    __tablename__ = "lms_task"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_task"),
        sa.Index("ix_lms_task_open", "ended_at", "claimed_until"),
        sa.Index("ix_lms_task_page", "organization_id", "ended_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    organization_id: Mapped[str] = mapped_column(_HOST_ID)
    configuration_id: Mapped[uuid.UUID | None] = mapped_column(_ID)
    #: ``attach``, ``detach``, ``backfill``, ``send_again``, ``check_again``, ``cancel``,
    #: ``release`` or ``reconcile``.
    act: Mapped[str] = mapped_column(sa.String(20))
    #: To which rows, as its steps read it: ids or filters.
    asked: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    #: How many rows it is about; NULL: not counted yet.
    total: Mapped[int | None] = mapped_column(sa.Integer)
    done: Mapped[int] = mapped_column(sa.Integer, default=0)
    #: Where to go on; written in the transaction of each step.
    position: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    #: What came of it so far, in numbers.
    counts: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Host id and name of the administrator; both NULL: automatic.
    administrator_id: Mapped[str | None] = mapped_column(_HOST_ID)
    administrator_name: Mapped[str | None] = mapped_column(sa.String(255))
    #: The fence: grows with each step and each claim.
    version: Mapped[int] = mapped_column(sa.Integer, default=0)
    #: Until then it is some worker's, or put off.
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Faults in a row.
    failures: Mapped[int] = mapped_column(sa.Integer, default=0)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Why it ended early: a fault, or somebody stopped it.
    failure: Mapped[str | None] = mapped_column(sa.String(500))
    stopped_by: Mapped[str | None] = mapped_column(sa.String(255))


class StoreEntry(Base):
    """Something that a connector keeps of a configuration between its calls, such as a token."""

    __tablename__ = "lms_store"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_lms_store"),
        sa.ForeignKeyConstraint(
            ["configuration_id"], ["lms_configuration.id"], name="fk_lms_store_configuration"
        ),
        sa.UniqueConstraint("configuration_id", "name", "key_digest", name="uq_lms_store_key"),
        sa.Index("ix_lms_store_expires", "expires_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(_ID, default=new_id)
    configuration_id: Mapped[uuid.UUID] = mapped_column(_ID)
    name: Mapped[str] = mapped_column(sa.String(40))
    #: SHA-256 of its key, as hex.
    key_digest: Mapped[str] = mapped_column(sa.String(64))
    #: The values, encrypted; NULL: being made for the first time.
    token: Mapped[str | None] = mapped_column(sa.Text)
    #: Not there any more from then on; NULL: as long as its configuration.
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The fence: grows with each claim to make it.
    claim: Mapped[int] = mapped_column(sa.Integer, default=0)
    #: Until then somebody is making it.
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Worker(Base):
    """The heartbeat of one `flask lms worker`."""

    __tablename__ = "lms_worker"
    __table_args__ = (sa.PrimaryKeyConstraint("id", name="pk_lms_worker"),)

    #: Host name and process id.
    id: Mapped[str] = mapped_column(sa.String(100))
    version: Mapped[str] = mapped_column(sa.String(40))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Whether Redis answered at that time.
    has_redis: Mapped[bool] = mapped_column(sa.Boolean, default=True)
