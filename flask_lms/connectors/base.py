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
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from .. import checks
from ..checks import Errors, Refused
from ..database.models import ReadBack, Status
from ..encryption import Secret
from ..i18n import N_, Words, gettext
from ..transport import Transport
from ..transport.faults import Unreachable
from ..values import Activity, Objective, ObjectiveResult, Participant, Step, StepResult


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


_FACT = re.compile(r"%\((\w+)\)s")
_CLAUSE = re.compile(r"\[([^\]|]*)\|?([^\]]*)\]")


def _told(message: str, facts: Mapping[str, Any]) -> str | None:
    """A message of a cause in the reader's language; None: it needs a fact that is missing."""
    known = {name: value for name, value in facts.items() if value not in (None, "")}
    if "words" in known:
        known["words"] = str(known["words"]).strip().rstrip(".")
    text = _CLAUSE.sub(
        lambda clause: clause[1] if {*_FACT.findall(clause[1])} <= known.keys() else clause[2],
        gettext(message),
    )
    if not {*_FACT.findall(text)} <= known.keys():
        return None
    return _FACT.sub(lambda fact: str(known[fact[1]]), text)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why something is wrong, for people.

    ``sentence`` and ``remedy`` are message ids with ``%(name)s`` of the facts. A clause in square
    brackets is left out when one of its facts is missing, or gives way to what stands after ``|``:
    ``[%(host)s|Your LMS] refuses connections[ on port %(port)s].``

    :param code: what ``Answer.cause`` and ``NotSendable.reason`` name; stored, never changes.
    :param status: what the configuration shows; None: it concerns deliveries only.
    :param sentence: what is wrong, one sentence.
    :param remedy: what to do, one to three sentences, each a step.
    :param is_settings: only a change at either end can mend it: shown and mailed at the first
        failure, and tried every 30 minutes.
    :param label: the same in a few words, for lists; default: the sentence.
    :param fields: names, or kinds such as ``url``, of the connector's fields that are likely
        wrong: they stand beside the cause, to be corrected there.
    :param is_local: may as well be the host's own network: when every destination fails so, the
        fault is the installation's.
    :param is_unidentified: nobody can be told who it is about; sent by itself once the participant
        is mapped.
    """

    code: str
    status: Status | None
    sentence: str
    remedy: tuple[str, ...] = ()
    is_settings: bool = False
    is_local: bool = False
    label: str = ""
    fields: tuple[str, ...] = ()
    is_unidentified: bool = False

    def in_short(self) -> str:
        """What is wrong in a few words, in the reader's language."""
        return gettext(self.label) if self.label else self.sentence_for({}).rstrip(".")

    def sentence_for(self, facts: Mapping[str, Any]) -> str:
        """What is wrong, in the reader's language.

        :param facts: name → value; no others are told.
        """
        return _told(self.sentence, facts) or gettext("Reason: %(code)s.", code=self.code)

    def remedies_for(self, facts: Mapping[str, Any]) -> list[str]:
        """What to do, in the reader's language.

        :param facts: name → value; a step that lacks one of its facts is left out.
        """
        return [step for message in self.remedy if (step := _told(message, facts))]


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
class Field:
    """One field of an LMS type's form, and the setting that it becomes; all of it is said here.

    :param name: of the setting; stored, never changes.
    :param label: what people call it (a message id, as are ``hint``, ``required`` and the labels of
        ``choices``).
    :param hint: one line below the field.
    :param kind: how it is entered. A ``url`` is an absolute http(s) one; ``long_text`` has lines.
    :param default: what an empty one means.
    :param required: what is said when it is empty; None: it may be.
    :param choices: value → label; of a flag, if it is to be chosen from a list: "" is no, "y" yes.
    :param least: of a number.
    :param most: of a number; of a text, its characters.
    :param check: a value of this kind → the clean one.
        :raises Refused: with the sentence for the administrator.
    :param notes: what was entered → sentences on what the check changed.
    :param is_advanced: shown closed.
    :param is_secret: stored encrypted, never shown again; empty means the stored one.
    :param when: it applies only while the field of this name, which stands before it, has one of
        these values (none: any but an empty one). Otherwise it isn't asked for, and a secret is
        forgotten.
    """

    name: str
    label: str
    kind: Literal["text", "url", "long_text", "number", "flag", "choice"] = "text"
    hint: str = ""
    default: Any = None
    required: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    least: int = 0
    most: int = 1000
    check: Callable[[Any], Any] | None = None
    notes: Callable[[str], Iterable[str]] | None = None
    is_advanced: bool = False
    is_secret: bool = False
    when: tuple[str, tuple[str, ...]] | None = None

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether it belongs to these settings.

        :param settings: those of the fields before it, cleaned.
        """
        if self.when is None:
            return True
        name, values = self.when
        return settings.get(name) in values if values else bool(settings.get(name))

    def clean(self, value: Any, *, may_be_empty: bool = False) -> Any:
        """What was entered, as it is stored.

        :param value: what was entered.
        :param may_be_empty: even if it is required.
        :raises Refused: with the sentence for the administrator.
        """
        if self.kind in ("text", "url", "long_text"):
            value = checks.text(self.most, has_lines=self.kind == "long_text")(value)
        if value is None or value == "":
            if self.required and not may_be_empty:
                raise Refused(Words(self.required))
            return self.default
        if self.kind == "url":
            value = checks.url(value)
        elif self.kind == "number":
            value = checks.whole(self.least, self.most)(value)
        elif self.kind == "flag":
            value = checks.flag(True if self.choices and value == "y" else value)
        elif self.kind == "choice":
            value = checks.choice(*self.choices)(value)
        return self.check(value) if self.check else value


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Checked settings.

    :param settings: without secrets, JSON values.
    :param secrets: name → secret; empty when none was given (keep the stored ones).
    :param hints: sentences (``Words``) on what was changed or is unwise.
    """

    settings: Mapping[str, Any]
    secrets: Mapping[str, Secret] = field(repr=False)
    hints: Sequence[str] = ()


def hidden(values: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """The values, with those of these names as secrets."""
    return {
        name: Secret(value) if name in names and isinstance(value, str) else value
        for name, value in values.items()
    }


def _spaces_removed(field: Field) -> Words:
    return Words("Spaces around “%(field)s” were removed.", field=Words(field.label))


class StageState(str, enum.Enum):
    """How a stage of a connection test ended."""

    #: It works.
    OK = "ok"
    #: It doesn't; the stages after it are skipped.
    FAILED = "failed"
    #: It was not tried, or does not apply.
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a connection test.

    :param name: message id, such as "Address".
    :param state: how it ended.
    :param duration_ms: milliseconds; None: not measured.
    :param http_status: None when no status line came back.
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

    :param stages: in the order in which they were tried.
    :param cause: a code in the connector's ``causes``; None: connected.
    :param facts: what fills the cause's sentence.
    :param words: a sentence for people (``Words``), or what the LMS said, redacted.
    :param stored: a sample result as the LMS stored it, redacted.
    """

    __test__ = False  # not a pytest class

    stages: Sequence[Stage]
    cause: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    words: str | None = None
    stored: str | None = None

    @property
    def is_connected(self) -> bool:
        """Whether results would arrive."""
        return self.cause is None


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


def place(url: str) -> dict[str, Any]:
    """Host and port of a URL, as facts; of what is no URL: none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:  # somebody wrote it into the database past :meth:`Connector.clean`
        return {}
    return {"host": parts.hostname, "port": port} if parts.hostname else {}


#: The stages of opening a connection with what people call them.
STAGES = {
    "address": N_("Address"),
    "dns": N_("Name look-up"),
    "connect": N_("Connection"),
    "tls": N_("Encryption"),
}


def connection_stages(url: str, transport: Transport, ca_pem: str | None = None) -> Iterator[Stage]:
    """Each stage of opening a connection as it ends.

    :raises Unreachable: after the stage that failed.
    """
    waiting = [name for name in STAGES if name != "tls" or url.startswith("https:")]
    try:
        for name, duration_ms in transport.connect_stages(url, ca_pem=ca_pem):
            waiting.remove(name)
            yield Stage(name=STAGES[name], state=StageState.OK, duration_ms=duration_ms)
    except Unreachable as error:
        # A literal address has no look-up and a proxy shows less, so the cause decides.
        failed = "connect" if "connect" in waiting else "tls"
        if error.cause.startswith("tls"):
            failed = "tls"
        elif error.cause in ("dns", "blocked"):
            failed = "address" if "address" in waiting else "dns"
        yield Stage(name=STAGES[failed], state=StageState.FAILED)
        raise
    if not url.startswith("https:"):
        yield Stage(
            name=STAGES["tls"],
            state=StageState.SKIPPED,
            words=Words("This address is not encrypted."),
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

    @property
    def secret_fields(self) -> list[str]:
        """Their names."""
        return [one.name for one in self.fields if one.is_secret]

    def secrets_of(self, settings: Mapping[str, Any]) -> list[str]:
        """The names of the secrets that belong to these settings.

        :param settings: as :meth:`clean` returned them.
        """
        every = {one.name: one.default for one in self.fields} | dict(settings)
        return [one.name for one in self.fields if one.is_secret and one.applies(every)]

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
                    cleaned = (given or Secret("")).checked(
                        functools.partial(one.clean, may_be_empty=has_secrets)
                    )
                    if cleaned:
                        secrets[one.name] = cleaned
                        if cleaned != given:
                            hints.append(_spaces_removed(one))
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
                    hints.append(_spaces_removed(one))
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

    def order_key(self, statement: Statement, settings: Mapping[str, Any]) -> str | None:
        """Two statements of one key are never under way in two requests at a time.

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


_TRANSPORT = (
    Cause(
        code="dns",
        status=Status.CANT_CONNECT,
        sentence=N_("The name[ %(host)s] was not found."),
        remedy=(N_("Check the URL for a typing error."),),
        is_local=True,
        fields=("url",),
    ),
    Cause(
        code="refused",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "[%(host)s|Your LMS] refuses connections[ on port %(port)s]: it may be stopped."
        ),
        remedy=(N_("Ask your LMS administrator whether the LMS is running."),),
        fields=("url",),
    ),
    Cause(
        code="unreachable",
        status=Status.CANT_CONNECT,
        sentence=N_("There is no network route to [%(host)s|your LMS]."),
        remedy=(N_("Ask your LMS administrator whether the LMS is reachable from the internet."),),
        is_local=True,
    ),
    Cause(
        code="connect_timeout",
        status=Status.CANT_CONNECT,
        sentence=N_("[%(host)s|Your LMS] did not answer[ within %(seconds)s seconds| in time]."),
        remedy=(N_("Ask your LMS administrator whether it is running and lets us in."),),
        is_local=True,
    ),
    Cause(
        code="timeout",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "[%(host)s|Your LMS] took the connection but sent no answer"
            "[ within %(seconds)s seconds| in time]."
        ),
        remedy=(N_("Ask your LMS administrator whether it is overloaded."),),
    ),
    Cause(
        code="reset",
        status=Status.CANT_CONNECT,
        sentence=N_("[%(host)s|Your LMS] closed the connection without an answer."),
        remedy=(N_("Ask your LMS administrator whether it is running."),),
    ),
    Cause(
        code="tls_expired",
        status=Status.CANT_CONNECT,
        sentence=N_("The certificate of [%(host)s|your LMS] has expired."),
        remedy=(N_("Ask your LMS administrator to renew the certificate."),),
    ),
    Cause(
        code="tls_name",
        status=Status.CANT_CONNECT,
        sentence=N_("The certificate of [%(host)s|your LMS] is for another name."),
        remedy=(N_("Check the URL."), N_("Ask your LMS administrator for the right address.")),
        fields=("url",),
    ),
    Cause(
        code="tls_untrusted",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "The certificate of [%(host)s|your LMS] is not signed by an authority that we trust."
        ),
        remedy=(
            N_("Ask your LMS administrator to install a complete, publicly trusted certificate."),
            N_("If your organization has its own authority, enter its certificate under Advanced."),
        ),
    ),
    Cause(
        code="tls",
        status=Status.CANT_CONNECT,
        sentence=N_("No secure connection to [%(host)s|your LMS] could be made."),
        remedy=(N_("Ask your LMS administrator whether it offers TLS 1.2 or newer."),),
    ),
    Cause(
        code="blocked",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "[%(host)s is|This address leads to] a private network address, which this platform "
            "doesn't call."
        ),
        remedy=(
            N_("Check the URL."),
            N_(
                "If your LMS is inside a private network, ask your platform's operator to allow it."
            ),
        ),
        is_settings=True,
        fields=("url",),
    ),
    Cause(
        code="not_http",
        status=Status.CANT_CONNECT,
        sentence=N_("What answers at [%(host)s|this address] does not speak HTTP."),
        remedy=(N_("Check the URL and its port."),),
        fields=("url",),
    ),
    Cause(
        code="proxy",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "The outbound proxy of this platform doesn't let us through to [%(host)s|your LMS]."
        ),
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
        fields=("secret",),
    ),
    Cause(
        code="unknown_type",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "This platform has no connector for [LMS type “%(type)s”|this LMS type] any more."
        ),
        remedy=(N_("Ask your platform's operator to install it again."),),
        is_settings=True,
    ),
    Cause(
        code="interrupted",
        status=None,
        sentence=N_(
            "A worker of this platform stopped in the middle of a request that may have carried it."
        ),
        remedy=(N_("There is nothing to do: sending goes on by itself."),),
    ),
    Cause(
        code="not_verified",
        status=None,
        sentence=N_(
            "Not verified: your LMS says that it has this result, but our key may not read it."
        ),
        remedy=(N_("Ask your LMS administrator to let the key read statements."),),
        label=N_("Not verified"),
    ),
    Cause(
        code="may_not_read",
        status=None,
        sentence=N_("Our key may not read what your LMS has."),
        remedy=(
            N_("Ask your LMS administrator for a key that may read statements, and enter it here."),
        ),
        is_settings=True,
    ),
    Cause(
        code="connector_failed",
        status=Status.CANT_CONNECT,
        sentence=N_("This platform's connector for [LMS type “%(type)s”|this LMS type] failed."),
        remedy=(N_("Ask your platform's operator: the worker's log tells what happened."),),
    ),
    Cause(
        code="recording",
        status=None,
        sentence=N_("This result is being recorded a second time at this moment."),
        remedy=(N_("There is nothing to do: within seconds it is sent, if it still has to be."),),
        label=N_("Being recorded"),
    ),
)

#: Causes that every connector shares: what happens before an LMS answers, or before it is asked.
TRANSPORT_CAUSES: Mapping[str, Cause] = MappingProxyType(
    {cause.code: cause for cause in _TRANSPORT}
)
