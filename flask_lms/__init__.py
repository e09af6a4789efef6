"""Flask-LMS: objective results of a Flask host, sent to its customers' LMSs.

Every name that its calls take or return can be imported from here.
"""

from .audit import Slice
from .checks import Refused
from .connectors.base import (
    Answer,
    BuildContext,
    Built,
    Cause,
    Cleaned,
    Connector,
    Field,
    NotSendable,
    Stage,
    StageState,
    Statement,
    Stored,
    TestReport,
    Verdict,
)
from .database.models import (
    Attempt,
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
    ObjectiveLink,
    Status,
)
from .encryption import Secret
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
    AlertSent,
    AuditEvent,
    DeliveryRejected,
    ResultRecorded,
    StatementDelivered,
    StatusChanged,
    alert_sent,
    audit_event,
    configuration_status_changed,
    delivery_rejected,
    objective_completed,
    result_recorded,
    statement_delivered,
)
from .extension import LMS, current_lms
from .i18n import Words
from .recording.record import NotSent, Recorded
from .services.configurations import Configurations
from .services.deliveries import CheckedAgain, Deliveries, DeliveryFilter
from .services.objectives import ObjectiveRow, Objectives
from .services.organization import OrganizationServices
from .services.overview import Health
from .services.participants import Forgotten
from .transport import Reply, Transport, Unreachable
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
    "AlertSent",
    "Answer",
    "Attempt",
    "AuditEvent",
    "BuildContext",
    "Built",
    "Cause",
    "CheckedAgain",
    "Cleaned",
    "Configuration",
    "ConfigurationError",
    "ConfigurationHealth",
    "Configurations",
    "Connector",
    "Deliveries",
    "Delivery",
    "DeliveryFilter",
    "DeliveryRejected",
    "DeliveryState",
    "EditConflict",
    "Field",
    "Forgotten",
    "Health",
    "InvalidConfiguration",
    "InvalidResult",
    "InvalidValue",
    "LMSError",
    "MissingCallback",
    "NotFound",
    "NotSendable",
    "NotSent",
    "Objective",
    "ObjectiveLink",
    "ObjectiveResult",
    "ObjectiveRow",
    "Objectives",
    "OrganizationServices",
    "Page",
    "Participant",
    "Recorded",
    "Refused",
    "Reply",
    "ResultRecorded",
    "Score",
    "Secret",
    "SecretUnreadable",
    "SetupError",
    "Slice",
    "Stage",
    "StageState",
    "Statement",
    "StatementDelivered",
    "Status",
    "StatusChanged",
    "Step",
    "StepResult",
    "Stored",
    "TestReport",
    "Transport",
    "Unreachable",
    "Verdict",
    "Words",
    "alert_sent",
    "audit_event",
    "configuration_status_changed",
    "current_lms",
    "delivery_rejected",
    "objective_completed",
    "result_recorded",
    "statement_delivered",
]
