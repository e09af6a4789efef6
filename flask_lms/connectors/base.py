"""What an LMS type is to the rest of the house: one :class:`Connector`, one folder.

The engine knows statements as text with ids, requests as :class:`Answer`, causes as codes. All that
depends on the type (its form, its bytes, its answers, its remedies) stays behind these values.
"""

from __future__ import annotations

import difflib
import enum
import functools
import hashlib
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from ..checks import Errors, Refused
from ..database.models import ReadBack
from ..encryption import Secret
from ..i18n import N_, Words
from ..transport import Transport
from ..transport.faults import Unreachable
from ..values import Activity, Objective, ObjectiveResult, Participant, Step, StepResult
from .causes import Cause, place
from .fields import Cleaned, Field, GeneratedSecret, hidden, spaces_removed
from .routes import Route
from .stages import STAGES, Stage, StageState, TestReport, connection_stages


class Verdict(str, enum.Enum):
    """What an answer means for the statements of one request."""

    #: All are stored.
    ACCEPTED = "accepted"
    #: Those in ``Answer.rejected`` are refused, the others stored.
    PARTIAL = "partial"
    #: The content of the request was refused (400, 422). With ``Answer.rejected``: only those were
    #: to blame, and nothing was stored.
    REFUSED = "refused"
    #: An id in it is already stored: a 409, or whatever status the LMS says it with.
    CONFLICT = "conflict"
    #: The LMS has something newer in its place and keeps that: done, and not called sent.
    SUPERSEDED = "superseded"
    #: Nothing was asked of the LMS: it can't be sent before an event of which the connector tells
    #: by ``Call.release``. The cause is one that ``is_waiting``.
    WAITS = "waits"
    #: The request is too big (413).
    TOO_LARGE = "too_large"
    #: The LMS asks for a pause (429, 503 with Retry-After); no failure.
    SLOW_DOWN = "slow_down"
    #: The destination failed; the statements stay as they are.
    FAILED = "failed"


class Stored(enum.Enum):
    """What an LMS has under a statement's id."""

    #: This very statement: it is delivered.
    SAME = "same"
    #: Another one, so that this one can never be stored: it is rejected.
    DIFFERS = "differs"
    #: None.
    ABSENT = "absent"
    #: It answers, but our key may not read.
    UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One request's answer as the connector reads it.

    :param verdict: what it means for the statements.
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
class Statement:
    """One statement, ready to be stored; from then on its id and text never change.

    :param id: the same for the same result, however often it is built.
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
    """What became of a result; both empty: the configuration doesn't want it (passed only).

    :param statements: what to send.
    :param not_sendable: why nothing can be sent.
    """

    statements: Sequence[Statement] = ()
    not_sendable: NotSendable | None = None


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A statement of an earlier revision that the LMS has, or may have.

    :param id: of the statement.
    :param revision: of the result that it told of.
    :param kind: as in :class:`Statement`; a ``void`` took another one back.
    """

    id: uuid.UUID
    kind: str
    revision: int


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What a connector needs besides the result and its settings.

    :param activity_base_url: ``LMS_ACTIVITY_BASE_URL`` without a trailing slash.
    :param platform_name: ``LMS_PLATFORM_NAME``.
    :param now: nothing is later than this (aware UTC).
    :param sent: what was sent of the result before, which a correction takes back.
    :param activity_id: what the LMS calls the objective (absolute IRI); None: as its host does.
    """

    activity_base_url: str
    platform_name: str
    now: datetime
    sent: Sequence[Sent] = ()
    activity_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What is sent of an example, for the pages.

    :param label: how the example ended (a message id).
    :param text: indented; empty: nothing is sent.
    :param meaning: what an LMS makes of it (``Words``).
    """

    label: str
    text: str
    meaning: str = ""


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """An objective as an LMS is told of it.

    :param objective: as the host says.
    :param activity_id: by which id its results come.
    """

    objective: Objective
    activity_id: str


def example_result(
    context: BuildContext, objective: Objective | None = None, *, success: bool = True
) -> ObjectiveResult:
    """Somebody passed, or failed at the last step, five minutes ago; without ``objective``: put on
    protective equipment.
    """
    objective = objective or Objective(
        id="42",
        name="Put on PPE",
        description="Put on all protective equipment in the right order.",
        parent=Activity(id="scenes/7", name="Warehouse"),
        steps=[Step(number=1, name="Helmet"), Step(number=2, name="Gloves")],
    )
    return ObjectiveResult(
        id="sample",
        organization_id="sample",
        objective=objective,
        participant=Participant(id="jane.doe@example.com", name="Jane Doe"),
        finished_at=context.now - timedelta(minutes=5),
        success=success,
        duration_ms=83_250,
        steps=[
            StepResult(
                number=step.number,
                outcome="succeeded" if success or step is not objective.steps[-1] else "failed",
                duration_ms=83_250 // len(objective.steps),
            )
            for step in objective.steps
        ],
        session_id="sample",
        language="en",
    )


_NOT_ENCRYPTED = N_("This address is not encrypted: others may read the key and the results.")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What an LMS has of a statement that it accepted.

    :param read_back: in a word.
    :param facts: JSON; what there is to say of it. ``fields``: those that differ, each with its
        name, what was sent and what was found (both None when nobody may read it). ``by`` and
        ``at``: who voided it, and when (ISO 8601). ``cause``: a code of ``causes``, with ``facts``
        of its own: why it can't be read.
    """

    read_back: ReadBack
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StoredPage:
    """A part of the list of what an LMS has of us.

    :param statements: id → statement, as :meth:`Reader.compare` takes it; the voided are missing.
    :param listed_to: all that was stored before is listed by now, by the LMS's clock, aware;
        None: it lists in another order.
    :param lag_seconds: what it stored later than so long ago may be missing.
    """

    statements: Mapping[uuid.UUID, Any]
    listed_to: datetime | None = None
    lag_seconds: float = 0.0


class Reader(ABC):
    """Reads back what an LMS has; made for one check (:meth:`Connector.reader`). It changes
    nothing there.
    """

    @abstractmethod
    def pages(self, since: datetime) -> Iterator[StoredPage | Answer]:
        """What was stored of us since then, the oldest first; nothing when it has no such list.

        Whatever is missing here is asked for one by one.

        :param since: by the LMS's clock, aware UTC.
        :returns: an answer, which is the last: it could not be asked (on).
        """

    @abstractmethod
    def one(self, id: uuid.UUID, text: str | None) -> Found | Answer:
        """Whether it has this statement.

        :param id: of the statement.
        :param text: as it was sent; None: its content is no longer kept.
        :returns: an answer: it could not be asked.
        """

    @abstractmethod
    def compare(self, text: str | None, stored: Any) -> Found:
        """Whether a stored statement is the one that was sent. Pure.

        :param text: as it was sent; None: its content is no longer kept.
        :param stored: from :class:`StoredPage`.
        """

    def likeness(self, statement: Any) -> str | None:
        """The same for two statements that tell of the same, whatever their ids, in at most 64
        characters. Pure. None: it can't be told.

        :param statement: as it was sent (text), or a stored one.
        """
        return None

    def takes_back(self, void: Sent, old: Sent) -> bool:
        """Whether the one is the void of the other. Pure.

        :param void: a statement of kind ``void``.
        :param old: an earlier statement of the same result.
        """
        return False


class Connector(ABC):
    """An LMS type. Register one through the entry point group ``flask_lms.connectors`` or
    ``LMS(connectors=[...])``. It holds no state of an app.

    ``type``, ``label``, ``fields``, :meth:`build` and :meth:`send` are enough; everything else has
    a default that is safe for any type. What raises shows as ``connector_failed``.
    """

    #: Stored in the configuration; never changes. Matches ``[a-z0-9_]{1,40}``.
    type: str
    #: What people call it, and one line about it for the card of step 1 (message ids).
    label: str
    description: str = ""
    #: Its step 2, in this order. The first of kind ``url`` is where results go.
    fields: Sequence[Field] = ()
    #: Every cause it can name, by code; those of ``TRANSPORT_CAUSES`` are known anyway.
    causes: Mapping[str, Cause] = MappingProxyType({})
    #: Secrets that are made here and not entered.
    generated: Sequence[GeneratedSecret] = ()
    #: Addresses of its own, at ``/lms/types/<type>/<configuration>/<path>``.
    routes: Sequence[Route] = ()

    @property
    def secret_fields(self) -> list[str]:
        """Their names."""
        return [one.name for one in self.fields if one.is_secret]

    def secrets_of(self, settings: Mapping[str, Any]) -> list[str]:
        """The names of the secrets that belong to these settings.

        :param settings: as :meth:`clean` returned them.
        """
        return [one.name for one in self.fields_of(settings) if one.is_secret]

    def fields_of(self, settings: Mapping[str, Any]) -> list[Field]:
        """The fields that belong to these settings.

        :param settings: as :meth:`clean` returned them.
        """
        every = {one.name: one.default for one in self.fields} | dict(settings)
        return [one for one in self.fields if one.applies(every)]

    def clean(self, values: Mapping[str, Any], *, allow_http: bool, has_secrets: bool) -> Cleaned:
        """Check what was entered, from a form or from code, with a hint on what was changed.

        :param values: field name → what was entered.
        :param allow_http: ``LMS_ALLOW_HTTP``.
        :param has_secrets: stored ones exist, so blank ones are fine.
        :raises InvalidConfiguration: field by field, all at once.
        """
        errors = Errors()
        hints: list[str] = []
        settings: dict[str, Any] = {}
        secrets: dict[str, Secret] = {}
        names = [one.name for one in self.fields]
        for name in values:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.75)
            if name not in names and near:
                errors.add(
                    str(name), Words("There is no such setting. Is it %(name)s?", name=near[0])
                )
        values = hidden(values, self.secret_fields)
        for one in self.fields:
            given = values.get(one.name)
            if not one.applies(settings):
                if not one.is_secret:
                    settings[one.name] = one.default
                continue
            try:
                if one.is_secret:
                    if not isinstance(given, Secret | None):
                        given = Secret(one.clean(given, may_be_empty=True) or "")
                    cleaned = (given or Secret("")).checked(
                        functools.partial(one.clean, may_be_empty=has_secrets)
                    )
                    if cleaned:
                        secrets[one.name] = cleaned
                        if cleaned != given:
                            hints.append(spaces_removed(one))
                    continue
                value = one.clean(given)
                if one.kind == "url" and value and value.startswith("http:"):
                    if not allow_http:
                        raise Refused(
                            Words(
                                "This address is not encrypted. Use one that begins with https://."
                            )
                        )
                    hints.append(Words(_NOT_ENCRYPTED))
            except Refused as refused:
                errors.add(one.name, *refused.sentences)
                continue
            settings[one.name] = value
            if isinstance(given, str) and one.kind != "long_text":
                if given != given.strip() and given.strip():
                    hints.append(spaces_removed(one))
                hints.extend(one.notes(given) if one.notes else ())
        errors.check()
        return Cleaned(settings=settings, secrets=secrets, hints=hints)

    def _urls(self, settings: Mapping[str, Any]) -> list[str]:
        found = [settings.get(one.name) for one in self.fields if one.kind == "url"]
        return [str(url) for url in found if url]

    def destination(self, settings: Mapping[str, Any]) -> str:
        """Where results go, for people: the host, and the port when it isn't the usual one."""
        url = next(iter(self._urls(settings)), "")
        where = place(url)
        if not where:
            return self.label
        host = f"[{where['host']}]" if ":" in where["host"] else str(where["host"])
        usual = 80 if url.startswith("http:") else 443
        return host if where["port"] == usual else f"{host}:{where['port']}"

    def signs_in_with(self, settings: Mapping[str, Any]) -> str | None:
        """By what a request shows who sends it, for people (``Words``) and without the secret;
        None: by nothing that there is to tell of.

        :param settings: as :meth:`clean` returned them.
        """
        return None

    def origin(self, settings: Mapping[str, Any]) -> str:
        """What the secrets belong to; when it changes they are asked for again.

        Scheme, host and port of each URL (RFC 6454); without one, all settings.
        """
        origins = []
        for url in self._urls(settings):
            where = place(url)
            scheme = url.partition(":")[0]
            origins.append(f"{scheme}://{where['host']}:{where['port']}" if where else url)
        return " ".join(origins) or json.dumps(dict(settings), sort_keys=True, default=str)

    def fingerprint(self, settings: Mapping[str, Any]) -> str:
        """Equal for two configurations that would send to the same place as the same sender."""
        every = json.dumps(dict(settings), sort_keys=True, default=str)
        return hashlib.sha256(every.encode()).hexdigest()

    @abstractmethod
    def build(
        self, result: ObjectiveResult, settings: Mapping[str, Any], context: BuildContext
    ) -> Built:
        """A result as statements. Pure: no network, no database, no clock.

        The same result must give the same statement ids each time. A higher ``result.revision`` is
        a correction, and needs ids of its own.

        :param result: with its objective and participant as values, never as ids.
        :param settings: as :meth:`clean` returned them.
        :param context: what else there is to know.
        """

    def limits(self, settings: Mapping[str, Any]) -> tuple[int | None, int | None]:
        """The most statements and bytes in one request that these settings allow.

        :returns: ``(statements, bytes)``; None: as ``LMS_BATCH_STATEMENTS`` and ``LMS_BATCH_BYTES``
            say. By default one statement.
        """
        return 1, None

    def requests_at_once(self, settings: Mapping[str, Any]) -> int | None:
        """The most requests under way at a time that these settings allow; 1: in order.

        :returns: None: as ``LMS_REQUESTS_AT_ONCE`` says.
        """
        return None

    def destination_key(self, statement: Statement, settings: Mapping[str, Any]) -> str | None:
        """What all statements of one request have in common, such as an address of their own.

        :param statement: one that waits.
        :returns: None: it goes with any other.
        """
        return None

    def order_key(self, statement: Statement, settings: Mapping[str, Any]) -> str | None:
        """Two statements of one key are never under way in two requests at a time; the older one
        goes first, and holds back those of its key while it is refused.

        :param statement: one that waits.
        :returns: None: it has no key. Those of one result are kept apart in any case.
        """
        return None

    @abstractmethod
    def send(
        self,
        statements: Sequence[Statement],
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        transport: Transport,
    ) -> Answer:
        """Send them in one request and read the answer.

        A fault of the destination is an :class:`Answer`, too; nothing is raised for it.

        :param statements: at least one, and no more than :meth:`limits` says.
        :param settings: as :meth:`clean` returned them.
        :param secrets: field name → secret, decrypted.
        :param transport: the only way out; see :meth:`Transport.request`.
        """

    def profile(self) -> str | None:
        """The published description of its statements as JSON, the same for every host."""
        return None

    def schema(self) -> str | None:
        """The published JSON Schema of what it sends, the same for every host; served at
        ``/lms/types/<type>/schema.json``.
        """
        return None

    def refusal_facts(self, text: str) -> Mapping[str, Any]:
        """What fills the sentence of a refused statement's cause; for pages alone, as it may be
        about a person.

        :param text: of the refused statement.
        """
        return {}

    def compare(
        self,
        statement: Statement,
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        transport: Transport,
    ) -> Stored | Answer:
        """After ``Verdict.CONFLICT``: what the LMS has under this id.

        :param statement: the only one of the request.
        :returns: an answer: the LMS could not be asked.
        """
        return Stored.UNREADABLE

    def reader(
        self, settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
    ) -> Reader | None:
        """What reads back what was sent; None, the default: such LMSs can't be asked."""
        return None

    def test(
        self, settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
    ) -> Iterator[Stage | TestReport]:
        """Test the connection, leaving nothing behind: each stage as it ends, then the report.

        By default whether a connection to the first URL can be opened.
        """
        stages: list[Stage] = []
        url = next(iter(self._urls(settings)), "")
        try:
            if url:
                for stage in connection_stages(url, transport):
                    stages.append(stage)
                    yield stage
            else:
                stages.append(
                    Stage(
                        name=STAGES["connect"],
                        state=StageState.SKIPPED,
                        words=Words("This LMS type has no connection test."),
                    )
                )
                yield stages[0]
        except Unreachable as error:
            facts = {**place(url), **error.facts}
            yield TestReport(stages=stages, cause=error.cause, facts=facts)
        else:
            yield TestReport(stages=stages)

    #: Whether :meth:`send_sample` can be asked for.
    has_sample: bool = False

    def send_sample(
        self,
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        transport: Transport,
        context: BuildContext,
    ) -> TestReport:
        """Send a result that is marked as a test, read it back and take it back again.

        :param settings: as :meth:`clean` returned them.
        :param secrets: field name → secret, decrypted.
        :param transport: the only way out.
        :param context: what else there is to know.
        :raises NotImplementedError: ``has_sample`` is False.
        """
        raise NotImplementedError

    def size(self, statements: Sequence[Statement]) -> int:
        """Bytes of the request's body: the one as it is, several as a JSON list.

        :param statements: those of one request.
        """
        texts = sum(len(statement.text.encode()) for statement in statements)
        return texts if len(statements) == 1 else texts + len(statements) + 1

    def draft(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings as far as they are entered; the default of what is missing or refused.

        :param values: field name → what was typed.
        """
        made: dict[str, Any] = {}
        for one in self.fields:
            try:
                if not one.is_secret:
                    made[one.name] = one.clean(values.get(one.name), may_be_empty=True)
            except Refused:
                made[one.name] = one.default
        return made

    def previews(
        self,
        settings: Mapping[str, Any],
        context: BuildContext,
        objective: Objective | None = None,
    ) -> list[Preview]:
        """What is sent when somebody passes, and when somebody fails.

        :param context: what else there is to know.
        :param objective: None: an invented one.
        """
        found = []
        for success, label in ((True, N_("Somebody passed")), (False, N_("Somebody failed"))):
            built = self.build(
                example_result(context, objective, success=success), settings, context
            )
            text = "\n\n".join(pretty(statement.text) for statement in built.statements)
            found.append(Preview(label=label, text=text, meaning=self.meaning(settings, success)))
        return found

    def activity_of(self, objective: Objective, context: BuildContext) -> str | None:
        """By which id the LMS is told of an objective; None: by none that could be listed.

        :param objective: as the host says.
        :param context: what else there is to know, such as what the LMS itself calls it.
        """
        return None

    def catalogue(self, entries: Sequence[CatalogueEntry]) -> tuple[str, str] | None:
        """A file from which an LMS learns of the objectives: its name, and its text.

        :param entries: those attached to one configuration.
        :returns: None: there is none for this type.
        """
        return None

    def meaning(self, settings: Mapping[str, Any], success: bool) -> str:
        """What an LMS makes of a result (``Words``).

        :param success: whether it was passed or failed.
        """
        return ""

    def changes(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """Sentences (``Words``) on what is sent otherwise than by the version that saved these
        settings; shown until they are saved again.
        """
        return ()


def pretty(text: str) -> str:
    """JSON indented for people; other text as it is."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except ValueError:
        return text
