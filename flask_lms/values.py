"""How host values check themselves: one field at a time, each with its rule in words."""

from __future__ import annotations

import dataclasses
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from .errors import InvalidResult

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LANGUAGE = re.compile(
    r"""
    [a-z]{2,3} (-[a-z]{3}){0,3}                 # language, with its extensions
    (-[a-z]{4})? (-([a-z]{2} | [0-9]{3}))?      # script and region
    (-([a-z0-9]{5,8} | [0-9][a-z0-9]{3}))*      # variants
    (-[a-wy-z0-9] (-[a-z0-9]{2,8})+)*           # extensions
    (-x (-[a-z0-9]{1,8})+)?                     # private use
    | x (-[a-z0-9]{1,8})+
    | en-gb-oed | sgn-be-(fr|nl) | sgn-ch-de    # irregular ones from before RFC 4646
    | i-(ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
#: A whole number beyond it would be no number to JSON readers; NaN isn't within it either.
_LARGEST = sys.float_info.max


class Checked:
    """Helpers that check one field and put its clean form in place."""

    def _refuse(self, name: str, rule: str) -> typing.NoReturn:
        raise InvalidResult(f"{type(self).__name__}.{name}", getattr(self, name), rule)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _id(self, name: str) -> None:
        value = getattr(self, name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self._refuse(name, "must be a str (an int is cast)")
        if not value.strip() or len(value) > 255 or _CONTROL.search(value):
            self._refuse(name, "must have 1 to 255 characters and no control characters")
        self._set(name, value)

    def _text(self, name: str, *, most: int = 255, required: bool = False) -> None:
        value = getattr(self, name)
        if value is None and not required:
            return
        if not isinstance(value, str):
            self._refuse(name, "must be a str")
        value = " ".join(_CONTROL.sub(" ", value).split())
        if required and not value:
            self._refuse(name, "must not be empty")
        self._set(name, value[:most] or None)

    def _flag(self, name: str, *, optional: bool = False) -> None:
        value = getattr(self, name)
        if not (isinstance(value, bool) or (optional and value is None)):
            self._refuse(
                name, "must be True, False or None" if optional else "must be True or False"
            )

    def _time(self, name: str, *, required: bool = False) -> None:
        value = getattr(self, name)
        if value is None and not required:
            return
        if not isinstance(value, datetime):
            self._refuse(name, "must be a datetime")
        if value.tzinfo is None or value.utcoffset() is None:
            self._refuse(name, "must be aware, such as datetime.now(timezone.utc), not naive")

    def _whole(self, name: str, least: int, most: int, *, required: bool = False) -> None:
        value = getattr(self, name)
        if value is None and not required:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            self._refuse(name, "must be an int")
        if not least <= value <= most:
            self._refuse(name, f"must be from {least} to {most}")

    def _number(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= _LARGEST:
            self._refuse(name, "must be a finite number")

    def _iri(self, name: str) -> None:
        value = getattr(self, name)
        if value is not None and not is_absolute_iri(value):
            self._refuse(
                name, "must be an absolute IRI without spaces, such as https://host.example/a"
            )

    def _language(self, name: str, *, required: bool = False) -> None:
        value = getattr(self, name)
        if value is None and not required:
            return
        if not is_language_tag(value):
            self._refuse(name, "must be a BCP 47 language tag, such as en or en-US")

    def _many(self, name: str, kind: type) -> None:
        value = getattr(self, name)
        if isinstance(value, str) or not isinstance(value, Sequence):
            self._refuse(name, f"must be a list of {kind.__name__}")
        if any(not isinstance(item, kind) for item in value):
            self._refuse(name, f"must hold nothing but {kind.__name__}")
        self._set(name, tuple(value))


def is_language_tag(value: object) -> bool:
    """Whether ``value`` is a well-formed language tag (BCP 47: RFC 5646, 2.1).

    Names of languages, such as ``english``, are well-formed there but in no register: not here.
    """
    return isinstance(value, str) and bool(_LANGUAGE.fullmatch(value))


def is_absolute_iri(value: object) -> bool:
    """Whether ``value`` is an absolute IRI that an LRS accepts (RFC 3987, at most 2,000)."""
    if not isinstance(value, str) or not 3 < len(value) <= 2000:
        return False
    if re.search(r"[\s<>\"{}|\\^`]", value) or _CONTROL.search(value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", parts.scheme):
        return False
    is_web = parts.scheme in ("http", "https")
    return bool(parts.netloc or (parts.path and not is_web))


def is_json(value: object, depth: int = 0) -> bool:
    if depth > 20:
        return False
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST
    if isinstance(value, str):
        return not re.search(r"[\x00\ud800-\udfff]", value)
    if isinstance(value, list | tuple):
        return all(is_json(item, depth + 1) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and is_json((k, v), depth) for k, v in value.items())
    return value is None


def plain(value: object) -> Any:
    """A value as dicts and lists of its own, which nobody changes later; times as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


# -- What hosts hand in: frozen values that check themselves, so that nothing wrong is ever
# stored.

T = TypeVar("T")

_LONGEST_DURATION_MS = 10 * 365 * 24 * 3600 * 1000

StepOutcome = Literal["succeeded", "failed", "not_reached"]
_OUTCOMES = typing.get_args(StepOutcome)


@dataclass(frozen=True, kw_only=True)
class Administrator(Checked):
    """Who is on this request, and for which organization.

    :raises InvalidResult: a field breaks its rule.
    """

    id: str
    organization_id: str
    name: str | None = None
    email: str | None = None

    def __post_init__(self) -> None:
        self._id("id")
        self._id("organization_id")
        self._text("name")
        self._text("email", most=320)


@dataclass(frozen=True, kw_only=True)
class Activity(Checked):
    """An activity around an objective (xAPI 1.0.3 Data 2.4.4.1): its scene, project or course.

    :param id: absolute IRI, or a short id from which one is built under ``LMS_ACTIVITY_BASE_URL``.
    :param type: absolute IRI of the activity type.
    """

    id: str
    name: str | None = None
    type: str | None = None

    def __post_init__(self) -> None:
        self._id("id")
        self._text("name")
        self._iri("type")


@dataclass(frozen=True, kw_only=True)
class Step(Checked):
    """One step of an objective.

    :param number: 1-based.
    :param type: absolute IRI of an activity type; default: a step.
    """

    number: int
    name: str | None = None
    type: str | None = None

    def __post_init__(self) -> None:
        self._whole("number", 1, 100_000, required=True)
        self._text("name")
        self._iri("type")


@dataclass(frozen=True, kw_only=True)
class Objective(Checked):
    """An activity of the host that a participant completes, fails or passes.

    :param language: BCP 47 tag of name and description.
    :param activity_id: absolute IRI; default ``<LMS_ACTIVITY_BASE_URL>/objectives/<id>``.
    """

    id: str
    name: str
    description: str | None = None
    url: str | None = None
    language: str = "en"
    enabled: bool = True
    activity_id: str | None = None
    version: str | None = None
    parent: Activity | None = None
    grouping: Sequence[Activity] = ()
    steps: Sequence[Step] = ()

    def __post_init__(self) -> None:
        self._id("id")
        self._text("name", required=True)
        self._text("description", most=2000)
        self._iri("url")
        self._language("language", required=True)
        self._flag("enabled")
        self._iri("activity_id")
        self._text("version")
        if self.parent is not None and not isinstance(self.parent, Activity):
            self._refuse("parent", "must be an Activity or None")
        self._many("grouping", Activity)
        self._many("steps", Step)


@dataclass(frozen=True, kw_only=True)
class Participant(Checked):
    """Who played. ``email`` if given, else ``id`` if it is an address, identifies the learner.

    :param account_home_page: absolute IRI of the system in which ``account_name`` is unique.
    """

    id: str
    email: str | None = None
    name: str | None = None
    account_home_page: str | None = None
    account_name: str | None = None

    def __post_init__(self) -> None:
        self._id("id")
        self._text("email", most=320)
        self._text("name")
        self._iri("account_home_page")
        self._text("account_name")
        if (self.account_home_page is None) != (self.account_name is None):
            self._refuse("account_name", "must be given together with account_home_page")


@dataclass(frozen=True, kw_only=True)
class Score(Checked):
    """A numeric score (xAPI 1.0.3 Data 2.4.5.1). Not for the share of steps done: that is progress.

    :param scaled: −1 to 1.
    """

    scaled: float | None = None
    raw: float | None = None
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        for name in ("scaled", "raw", "min", "max"):
            self._number(name)
        if self.scaled is None and self.raw is None:
            self._refuse("scaled", "must be given, or raw")
        if self.scaled is not None and not -1 <= self.scaled <= 1:
            self._refuse("scaled", "must be from -1 to 1")
        if self.min is not None and self.max is not None and self.min > self.max:
            self._refuse("min", "must not be greater than max")
        if self.raw is not None and self.min is not None and self.raw < self.min:
            self._refuse("raw", "must not be less than min")
        if self.raw is not None and self.max is not None and self.raw > self.max:
            self._refuse("raw", "must not be greater than max")


@dataclass(frozen=True, kw_only=True)
class StepResult(Checked):
    """How one step went.

    :param at: when it ended, aware.
    :param duration_ms: how long it took, milliseconds.
    """

    number: int
    outcome: StepOutcome
    at: datetime | None = None
    duration_ms: int | None = None

    def __post_init__(self) -> None:
        self._whole("number", 1, 100_000, required=True)
        if self.outcome not in _OUTCOMES:
            self._refuse("outcome", f"must be one of {', '.join(_OUTCOMES)}")
        self._time("at")
        self._whole("duration_ms", 0, _LONGEST_DURATION_MS)


@dataclass(frozen=True, kw_only=True)
class ObjectiveResult(Checked):
    """One participant's result of one objective.

    :param id: unique in its organization and never reused: it makes the statement id.
    :param finished_at: aware.
    :param success: passed, failed, or None when there is only completion.
    :param duration_ms: milliseconds.
    :param revision: a correction has a higher one; the old statement is then voided.
    :param is_test: the LMS gets it clearly marked.
    :param extensions: absolute IRI → JSON value.
    :raises InvalidResult: naming the field, the value's type and the rule.
    """

    id: str
    organization_id: str
    objective: Objective | str
    participant: Participant | str
    finished_at: datetime
    success: bool | None = None
    completed: bool = True
    started_at: datetime | None = None
    duration_ms: int | None = None
    score: Score | None = None
    steps: Sequence[StepResult] = ()
    session_id: str | None = None
    session_name: str | None = None
    platform: str | None = None
    language: str | None = None
    is_test: bool = False
    revision: int = 0
    extensions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._id("id")
        self._id("organization_id")
        if not isinstance(self.objective, Objective):
            self._id("objective")
        if not isinstance(self.participant, Participant):
            self._id("participant")
        self._time("finished_at", required=True)
        self._flag("success", optional=True)
        self._flag("completed")
        self._time("started_at")
        if self.started_at is not None and self.started_at > self.finished_at:
            self._refuse("started_at", "must not be after finished_at")
        self._whole("duration_ms", 0, _LONGEST_DURATION_MS)
        if self.score is not None and not isinstance(self.score, Score):
            self._refuse("score", "must be a Score or None")
        self._many("steps", StepResult)
        numbers = [step.number for step in self.steps]
        if len(set(numbers)) != len(numbers):
            self._refuse("steps", "must not name a step number twice")
        if self.session_id is not None:
            self._id("session_id")
        self._text("session_name")
        self._text("platform")
        self._language("language")
        self._flag("is_test")
        self._whole("revision", 0, 2**31 - 1, required=True)
        self._check_extensions()

    def _check_extensions(self) -> None:
        if not isinstance(self.extensions, Mapping):
            self._refuse("extensions", "must be a mapping of absolute IRI to JSON value")
        for iri, value in self.extensions.items():
            if not is_absolute_iri(iri):
                self._refuse("extensions", "must have absolute IRIs as keys")
            if not is_json(value):
                self._refuse("extensions", "must have JSON values (no NaN, no other types)")
        self._set("extensions", plain(self.extensions))


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """A slice of a longer list.

    :param items: the slice.
    :param total: how many there are in all.
    """

    items: Sequence[T]
    total: int


def to_json(result: ObjectiveResult) -> dict[str, Any]:
    """A result as JSON values, to be kept until it can be sent."""
    made: dict[str, Any] = plain(dataclasses.asdict(result))
    return made


def from_json(values: Mapping[str, Any]) -> ObjectiveResult:
    """The result that :func:`to_json` wrote."""
    data = dict(values)
    if isinstance(data["objective"], dict):
        data["objective"] = _objective(data["objective"])
    if isinstance(data["participant"], dict):
        data["participant"] = Participant(**data["participant"])
    data["score"] = Score(**data["score"]) if data["score"] else None
    data["steps"] = [StepResult(**{**step, "at": _moment(step["at"])}) for step in data["steps"]]
    data["finished_at"] = _moment(data["finished_at"])
    data["started_at"] = _moment(data["started_at"])
    return ObjectiveResult(**data)


def _objective(values: Mapping[str, Any]) -> Objective:
    parent = Activity(**values["parent"]) if values["parent"] else None
    grouping = [Activity(**item) for item in values["grouping"]]
    steps = [Step(**item) for item in values["steps"]]
    return Objective(**{**values, "parent": parent, "grouping": grouping, "steps": steps})


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
