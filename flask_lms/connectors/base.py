"""What an LMS type is to the rest of the house: one :class:`Connector`, one folder.

The engine knows statements as text with ids, requests as :class:`Answer`, causes as codes. All that
depends on the type (its form, its bytes, its answers, its remedies) stays behind these values.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from flask_wtf import FlaskForm

from ..database.models import Status
from ..i18n import N_
from ..values import ObjectiveResult

if TYPE_CHECKING:
    from ..transport import Transport


class Verdict(str, enum.Enum):
    """What an answer means for the statements of one request."""

    #: All are stored.
    ACCEPTED = "accepted"
    #: Those in ``Answer.rejected`` are refused, the others stored.
    PARTIAL = "partial"
    #: The content of the request was refused (400, 422). With ``Answer.rejected``: only those were
    #: to blame, and nothing was stored.
    REFUSED = "refused"
    #: An id in it is already stored (409).
    CONFLICT = "conflict"
    #: The request is too big (413).
    TOO_LARGE = "too_large"
    #: The LMS asks for a pause (429, 503 with Retry-After); no failure.
    SLOW_DOWN = "slow_down"
    #: The destination failed; the statements stay as they are.
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One request's answer as the connector reads it.

    :param cause: a code in the connector's ``causes``; set unless accepted.
    :param http_status: None when no status line came back.
    :param words: what the LMS said, redacted, at most 2,000 characters.
    :param rejected: index in the request → the LMS's words about it.
    :param retry_after_seconds: only with ``SLOW_DOWN``; None when it didn't say.
    :param facts: what fills the cause's sentence (``host``, ``port``, ``target``, …).
    :param is_suspect_of_size: a second one in a row asks for smaller requests (read time-outs).
    :param note: a code in the connector's ``causes`` of something odd in an accepted answer.
    """

    verdict: Verdict
    cause: str | None = None
    http_status: int | None = None
    words: str | None = None
    rejected: Mapping[int, str] = field(default_factory=dict)
    retry_after_seconds: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_suspect_of_size: bool = False
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why something is wrong, for people. Texts are message ids with ``%(name)s`` of the facts.

    :param status: what the configuration shows; None: it concerns deliveries only.
    :param sentence: what is wrong, one sentence.
    :param remedy: what to do, one to three sentences, each a step.
    :param is_settings: only a change at either end can mend it: shown and mailed at the first
        failure, and tried every 30 minutes.
    :param is_local: may as well be the host's own network: when every destination fails so, the
        fault is the installation's.
    """

    code: str
    status: Status | None
    sentence: str
    remedy: tuple[str, ...] = ()
    is_settings: bool = False
    is_local: bool = False


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement, ready to be frozen.

    :param kind: ``result``, ``completed``, ``step``, ``void`` or ``test``.
    :param text: its JSON; UTF-8 of it is what is sent.
    :param is_single: never in one request with others.
    """

    id: uuid.UUID
    kind: str
    text: str
    is_single: bool = False


@dataclass(frozen=True, kw_only=True)
class NotSendable:
    """Why nothing can be sent for a result.

    :param reason: a code in the connector's ``causes``.
    :param facts: what fills its sentence.
    :param id: the id which the statement will have once it can be sent.
    """

    reason: str
    id: uuid.UUID
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Built:
    """What became of a result; both empty: the configuration doesn't want it (passed only)."""

    statements: Sequence[Statement] = ()
    not_sendable: NotSendable | None = None


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Checked settings.

    :param settings: without secrets, JSON values.
    :param secrets: name → secret; empty when none was given (keep the stored ones).
    :param hints: sentences (``Words``) on what was changed or is unwise.
    """

    settings: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)
    hints: Sequence[str] = ()


class StageState(str, enum.Enum):
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a connection test.

    :param name: message id, such as "Address".
    :param words: what was found (``Words``) or what the LMS said, redacted.
    """

    name: str
    state: StageState
    duration_ms: int | None = None
    http_status: int | None = None
    words: str | None = None


@dataclass(frozen=True, kw_only=True)
class TestReport:
    """A connection test from end to end.

    :param cause: None: connected.
    """

    __test__ = False  # not a pytest class

    stages: Sequence[Stage]
    cause: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    words: str | None = None

    @property
    def is_connected(self) -> bool:
        return self.cause is None


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What a connector needs besides the result and its settings.

    :param activity_base_url: without a trailing slash.
    :param now: nothing is later than this (aware UTC).
    :param previous_revision: the revision to void, or None.
    """

    activity_base_url: str
    platform_name: str
    now: datetime
    previous_revision: int | None = None


FormType = type[FlaskForm]


class Connector(Protocol):
    """An LMS type. Register one through the entry point group ``flask_lms.connectors`` or
    ``LMS(connectors=[...])``. It holds no state of an app.

    Two methods may be there besides those below: ``requests_at_once(settings) -> int | None``, the
    most requests under way at a time by this configuration's own settings (1: in order), and
    ``order_key(statement, settings) -> str | None``: two statements of one key are never under way
    in two requests at a time.
    """

    #: Stored in the configuration; never changes. Matches ``[a-z0-9_]{1,40}``.
    type: str
    #: What people call it, and one line about it for the card of step 1 (message ids).
    label: str
    description: str
    #: Its step 2: a Flask-WTF form whose data goes to :meth:`clean`. ``advanced`` names the fields
    #: shown closed; ``secret_fields`` those never filled in again.
    form: FormType
    advanced: Sequence[str]
    secret_fields: Sequence[str]
    #: Every cause it can name, by code.
    causes: Mapping[str, Cause]

    def clean(self, values: Mapping[str, Any], *, allow_http: bool, has_secrets: bool) -> Cleaned:
        """Check what was entered, from a form or from code.

        :param has_secrets: stored ones exist, so blank ones are fine.
        :raises InvalidConfiguration: field by field.
        """

    def destination(self, settings: Mapping[str, Any]) -> str:
        """Where results go, for people: the host."""

    def origin(self, settings: Mapping[str, Any]) -> str:
        """What the secrets belong to; when it changes they are asked for again."""

    def fingerprint(self, settings: Mapping[str, Any]) -> str:
        """Equal for two configurations that would send to the same place as the same sender."""

    def build(
        self, result: ObjectiveResult, settings: Mapping[str, Any], context: BuildContext
    ) -> Built:
        """A result as statements. Pure. The objective and participant are values, never ids."""

    def limits(self, settings: Mapping[str, Any]) -> tuple[int | None, int | None]:
        """Most statements and bytes in a request by this configuration's own settings."""

    def send(
        self,
        statements: Sequence[Statement],
        settings: Mapping[str, Any],
        secrets: Mapping[str, str],
        transport: Transport,
    ) -> Answer:
        """Send them in one request and read the answer; destination faults don't raise."""

    def compare(
        self,
        statement: Statement,
        settings: Mapping[str, Any],
        secrets: Mapping[str, str],
        transport: Transport,
    ) -> bool | None:
        """After a conflict on one: is the stored one the same? None: can't be known."""

    def test(
        self, settings: Mapping[str, Any], secrets: Mapping[str, str], transport: Transport
    ) -> Iterator[Stage | TestReport]:
        """Test the connection, leaving nothing behind: each stage as it ends, then the report."""

    def size(self, statements: Sequence[Statement]) -> int:
        """Bytes of the request's body."""

    def sample(self, settings: Mapping[str, Any], context: BuildContext) -> str:
        """An example of what is sent, as indented text for the pages."""


_TRANSPORT = (
    Cause(
        code="dns",
        status=Status.CANT_CONNECT,
        sentence=N_("The name %(host)s was not found."),
        remedy=(N_("Check the URL for a typing error."),),
        is_local=True,
    ),
    Cause(
        code="refused",
        status=Status.CANT_CONNECT,
        sentence=N_("%(host)s refuses connections on port %(port)s: the LMS may be stopped."),
        remedy=(N_("Ask your LMS administrator whether the LMS is running."),),
    ),
    Cause(
        code="unreachable",
        status=Status.CANT_CONNECT,
        sentence=N_("There is no network route to %(host)s."),
        remedy=(N_("Ask your LMS administrator whether the LMS is reachable from the internet."),),
        is_local=True,
    ),
    Cause(
        code="connect_timeout",
        status=Status.CANT_CONNECT,
        sentence=N_("%(host)s did not answer within %(seconds)s seconds."),
        remedy=(N_("Ask your LMS administrator whether it is running and lets us in."),),
        is_local=True,
    ),
    Cause(
        code="timeout",
        status=Status.CANT_CONNECT,
        sentence=N_("%(host)s took the connection but sent no answer within %(seconds)s seconds."),
        remedy=(N_("Ask your LMS administrator whether it is overloaded."),),
    ),
    Cause(
        code="reset",
        status=Status.CANT_CONNECT,
        sentence=N_("%(host)s closed the connection without an answer."),
        remedy=(N_("Ask your LMS administrator whether it is running."),),
    ),
    Cause(
        code="tls_expired",
        status=Status.CANT_CONNECT,
        sentence=N_("The certificate of %(host)s has expired."),
        remedy=(N_("Ask your LMS administrator to renew the certificate."),),
    ),
    Cause(
        code="tls_name",
        status=Status.CANT_CONNECT,
        sentence=N_("The certificate of %(host)s is for another name."),
        remedy=(N_("Check the URL."), N_("Ask your LMS administrator for the right address.")),
    ),
    Cause(
        code="tls_untrusted",
        status=Status.CANT_CONNECT,
        sentence=N_("The certificate of %(host)s is not signed by an authority that we trust."),
        remedy=(
            N_("Ask your LMS administrator to install a complete, publicly trusted certificate."),
            N_("If your organization has its own authority, enter its certificate under Advanced."),
        ),
    ),
    Cause(
        code="tls",
        status=Status.CANT_CONNECT,
        sentence=N_("No secure connection to %(host)s could be made."),
        remedy=(N_("Ask your LMS administrator whether it offers TLS 1.2 or newer."),),
    ),
    Cause(
        code="blocked",
        status=Status.CANT_CONNECT,
        sentence=N_("%(host)s is a private network address, which this platform doesn't call."),
        remedy=(
            N_("Check the URL."),
            N_(
                "If your LMS is inside a private network, ask your platform's operator to allow it."
            ),
        ),
        is_settings=True,
    ),
    Cause(
        code="not_http",
        status=Status.CANT_CONNECT,
        sentence=N_("What answers at %(host)s does not speak HTTP."),
        remedy=(N_("Check the URL and its port."),),
    ),
    Cause(
        code="proxy",
        status=Status.CANT_CONNECT,
        sentence=N_("The outbound proxy of this platform doesn't let us through to %(host)s."),
        remedy=(N_("Ask your platform's operator to look at the proxy."),),
        is_local=True,
    ),
    Cause(
        code="secret_unreadable",
        status=Status.CANT_CONNECT,
        sentence=N_("The stored secret can't be read any more, so nothing is sent."),
        remedy=(
            N_("Enter the secret again."),
            N_("Or ask your platform's operator to restore the previous encryption key."),
        ),
        is_settings=True,
    ),
    Cause(
        code="unknown_type",
        status=Status.CANT_CONNECT,
        sentence=N_("This platform has no connector for LMS type “%(type)s” any more."),
        remedy=(N_("Ask your platform's operator to install it again."),),
        is_settings=True,
    ),
    Cause(
        code="connector_failed",
        status=Status.CANT_CONNECT,
        sentence=N_("This platform's connector for LMS type “%(type)s” failed."),
        remedy=(N_("Ask your platform's operator: the worker's log tells what happened."),),
    ),
)

#: Causes that every connector shares: what happens before an LMS answers.
TRANSPORT_CAUSES: Mapping[str, Cause] = {cause.code: cause for cause in _TRANSPORT}
