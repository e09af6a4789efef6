"""Flask-LMS: objective results of a Flask host, sent to its customers' LMSs."""

from .entities import (
    Activity,
    Administrator,
    Objective,
    ObjectiveResult,
    Page,
    Participant,
    Score,
    Step,
    StepResult,
)
from .errors import (
    ConfigurationError,
    EditConflict,
    InvalidConfiguration,
    InvalidResult,
    LMSError,
    MissingSlot,
    NotFound,
    SecretUnreadable,
    SetupError,
)
from .extension import LMS, current_lms
from .recording import Recorded
from .signals import (
    alert_sent,
    audit_event,
    configuration_status_changed,
    delivery_rejected,
    objective_completed,
    result_recorded,
    statement_delivered,
)

__all__ = [
    "LMS",
    "Activity",
    "Administrator",
    "ConfigurationError",
    "EditConflict",
    "InvalidConfiguration",
    "InvalidResult",
    "LMSError",
    "MissingSlot",
    "NotFound",
    "Objective",
    "ObjectiveResult",
    "Page",
    "Participant",
    "Recorded",
    "Score",
    "SecretUnreadable",
    "SetupError",
    "Step",
    "StepResult",
    "alert_sent",
    "audit_event",
    "configuration_status_changed",
    "current_lms",
    "delivery_rejected",
    "objective_completed",
    "result_recorded",
    "statement_delivered",
]
