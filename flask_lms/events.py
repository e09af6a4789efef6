"""What hosts are told, after commit, each with one frozen event: ``signal.send(app, event=…)``.

A receiver that raises is logged and doesn't reach the others or the sender.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blinker import NamedSignal, Namespace

_log = logging.getLogger(__name__)
_signals = Namespace()

#: A result became deliveries (:class:`ResultRecorded`).
result_recorded: NamedSignal = _signals.signal("lms-result-recorded")
#: An LMS stored a statement (:class:`StatementDelivered`).
statement_delivered: NamedSignal = _signals.signal("lms-statement-delivered")
#: An LMS refused a statement for good (:class:`DeliveryRejected`).
delivery_rejected: NamedSignal = _signals.signal("lms-delivery-rejected")
#: A configuration's status changed (:class:`StatusChanged`).
configuration_status_changed: NamedSignal = _signals.signal("lms-configuration-status-changed")
#: An alert left for one address (:class:`AlertSent`).
alert_sent: NamedSignal = _signals.signal("lms-alert-sent")
#: An audit row was written (:class:`AuditEvent`).
audit_event: NamedSignal = _signals.signal("lms-audit-event")
#: For hosts without a signal of their own: ``objective_completed.send(app, result=…)``.
objective_completed: NamedSignal = _signals.signal("lms-objective-completed")


@dataclass(frozen=True, kw_only=True)
class ResultRecorded:
    """A result became deliveries.

    :param delivery_ids: one for each statement and configuration.
    :param not_sent: how many of them can't be sent as they are.
    """

    organization_id: str
    result_id: str
    delivery_ids: tuple[uuid.UUID, ...]
    not_sent: int


@dataclass(frozen=True, kw_only=True)
class StatementDelivered:
    """An LMS stored a statement."""

    organization_id: str
    configuration_id: uuid.UUID
    delivery_id: uuid.UUID
    statement_id: uuid.UUID
    result_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class DeliveryRejected:
    """An LMS refused a statement for good.

    :param reason: a code, such as ``rejected``.
    :param words: what the LMS said, redacted, at most 2,000 characters. May name the learner.
    """

    organization_id: str
    configuration_id: uuid.UUID
    delivery_id: uuid.UUID
    statement_id: uuid.UUID
    result_id: str
    reason: str
    words: str | None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class StatusChanged:
    """A configuration's status changed.

    :param name: of the configuration.
    :param old: a :class:`Status`, as text.
    :param new: a :class:`Status`, as text.
    :param cause: a code, such as ``dns``; None: all is well.
    """

    organization_id: str
    configuration_id: uuid.UUID
    name: str
    old: str
    new: str
    cause: str | None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class AlertSent:
    """An alert left for one address. ``organization_id`` and ``configuration_id`` are None when it
    is about the installation itself.

    :param kind: such as ``error`` or ``recovered``.
    :param recipient: the address.
    :param mail_id: of the row in ``lms_mail``.
    """

    organization_id: str | None
    configuration_id: uuid.UUID | None
    kind: str
    recipient: str
    mail_id: uuid.UUID
    at: datetime


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """Somebody, or the system, changed something.

    :param administrator_id: None: the system, an operator or code did it.
    :param action: past tense, such as ``edited``.
    :param changes: field → ``[from, to]``, ``"replaced"`` for a secret, or a plain fact.
    """

    organization_id: str
    configuration_id: uuid.UUID | None
    administrator_id: str | None
    action: str
    at: datetime
    changes: Mapping[str, Any] = field(default_factory=dict)


def tell(signal: NamedSignal, app: object, event: object) -> None:
    """Send ``event`` to each receiver; one that raises is logged and harms nobody."""
    for receiver in signal.receivers_for(app):
        try:
            receiver(app, event=event)
        except Exception:
            _log.exception("a receiver of %s raised; nothing was undone", signal.name)
