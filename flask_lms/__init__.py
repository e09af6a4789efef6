"""Flask-LMS: objective results of a Flask host, sent to its customers' LMSs."""

from .errors import (
    ConfigurationError,
    EditConflict,
    InvalidConfiguration,
    InvalidResult,
    InvalidValue,
    LMSError,
    MissingCallback,
    NotFound,
    SecretUnreadable,
    SetupError,
)
from .events import (
    alert_sent,
    audit_event,
    configuration_status_changed,
    delivery_rejected,
    objective_completed,
    result_recorded,
    statement_delivered,
)
from .extension import LMS, current_lms
from .recording.record import Recorded
from .values import (
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

__all__ = [
    "LMS",
    "Activity",
    "Administrator",
    "ConfigurationError",
    "EditConflict",
    "InvalidConfiguration",
    "InvalidResult",
    "InvalidValue",
    "LMSError",
    "MissingCallback",
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
