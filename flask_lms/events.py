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
    organization_id: str
    result_id: str
    delivery_ids: tuple[uuid.UUID, ...]
    not_sent: int


@dataclass(frozen=True, kw_only=True)
class StatementDelivered:
    organization_id: str
    configuration_id: uuid.UUID
    delivery_id: uuid.UUID
    statement_id: uuid.UUID
    result_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class DeliveryRejected:
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
    organization_id: str
    configuration_id: uuid.UUID
    name: str
    old: str
    new: str
    cause: str | None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class AlertSent:
    organization_id: str | None
    configuration_id: uuid.UUID | None
    kind: str
    recipient: str
    mail_id: uuid.UUID
    at: datetime


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
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
