"""Flask-LMS: objective results of a Flask host, sent to its customers' LMSs.

Every name that its calls take or return can be imported from here.
"""

from .audit import Slice
from .checks import Refused
from .connectors.base import (
    Answer,
    BuildContext,
    Built,
    CatalogueEntry,
    Connector,
    Found,
    NotSendable,
    Preview,
    Reader,
    Sent,
    Statement,
    Stored,
    StoredPage,
    Verdict,
)
from .connectors.causes import Cause
from .connectors.fields import Cleaned, Field, GeneratedSecret, valid
from .connectors.routes import Call, Route
from .connectors.stages import Stage, StageState, TestReport
from .database.models import (
    Attempt,
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
    ObjectiveLink,
    ParticipantMapping,
    ReadBack,
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
    TooManyTests,
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
from .services.attachments import ActivityIdsReport
from .services.configurations import Configurations
from .services.csv_lines import BadLine
from .services.deliveries import CheckedAgain, Deliveries, DeliveryFilter, Segments
from .services.mappings import MappingReport, Participants, UnmatchedParticipant
from .services.objectives import ObjectiveRow, Objectives
from .services.organization import OrganizationServices
from .services.overview import Health
from .services.participants import Forgotten
from .store import Kept, Store
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
    "ActivityIdsReport",
    "Administrator",
    "AlertSent",
    "Answer",
    "Attempt",
    "AuditEvent",
    "BadLine",
    "BuildContext",
    "Built",
    "Call",
    "CatalogueEntry",
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
    "Found",
    "GeneratedSecret",
    "Health",
    "InvalidConfiguration",
    "InvalidResult",
    "InvalidValue",
    "Kept",
    "LMSError",
    "MappingReport",
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
    "ParticipantMapping",
    "Participants",
    "Preview",
    "ReadBack",
    "Reader",
    "Recorded",
    "Refused",
    "Reply",
    "ResultRecorded",
    "Route",
    "Score",
    "Secret",
    "SecretUnreadable",
    "Segments",
    "Sent",
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
    "Store",
    "Stored",
    "StoredPage",
    "TestReport",
    "TooManyTests",
    "Transport",
    "UnmatchedParticipant",
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
    "valid",
]
