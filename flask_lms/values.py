"""What hosts hand in: frozen values that check themselves, so that nothing wrong is ever stored."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from .checks import (
    CONTROL,
    Check,
    Refused,
    flag,
    is_absolute_iri,
    is_json,
    language,
    number,
    optional,
    whole,
)
from .errors import InvalidValue

T = TypeVar("T")

_LONGEST_DURATION_MS = 10 * 365 * 24 * 3600 * 1000

MOST_EXTENSION_BYTES = 20_000

StepOutcome = Literal["succeeded", "failed", "not_reached"]
_OUTCOMES = typing.get_args(StepOutcome)


class Checked:
    """Puts the clean form of each field in place, or refuses the value."""

    def _take(self, **rules: Check[Any]) -> None:
        for name, check in rules.items():
            try:
                object.__setattr__(self, name, check(getattr(self, name)))
            except Refused as error:
                self._refuse(name, str(error))

    def _refuse(self, name: str, rule: str) -> typing.NoReturn:
        raise InvalidValue(f"{type(self).__name__}.{name}", getattr(self, name), rule) from None


def identifier(value: object) -> str:
    """An id of the host: text of 1 to 255 characters, or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Refused("must be a str (an int is cast)")
    if not value.strip() or len(value) > 255 or CONTROL.search(value):
        raise Refused("must have 1 to 255 characters and no control characters")
    return value


def _line(value: object, most: int = 255) -> str | None:
    """On one line, cut to ``most``: a name that is too long is no reason to lose a result."""
    if not isinstance(value, str):
        raise Refused("must be a str")
    return " ".join(CONTROL.sub(" ", value).split())[:most] or None


def _time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise Refused("must be a datetime")
    if value.tzinfo is None or value.utcoffset() is None:
        raise Refused("must be aware, such as datetime.now(timezone.utc), not naive")
    return value


def _iri(value: object) -> str:
    if not isinstance(value, str) or not is_absolute_iri(value):
        raise Refused("must be an absolute IRI without spaces, such as https://host.example/a")
    return value


def _web(value: object) -> str:
    """An IRI that LMSs show as a link: never one that runs or holds something itself."""
    if not is_absolute_iri(value) or not re.match(r"https?://", str(value), re.IGNORECASE):
        raise Refused("must be an absolute http(s) URL without spaces")
    return str(value)


def _instance(kind: type[T]) -> Check[T]:
    def check(value: object) -> T:
        if not isinstance(value, kind):
            raise Refused(f"must be of type {kind.__name__}")
        return value

    return check


def _many(kind: type[T]) -> Check[tuple[T, ...]]:
    def check(value: object) -> tuple[T, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise Refused(f"must be a list of {kind.__name__}")
        if any(not isinstance(item, kind) for item in value):
            raise Refused(f"must hold nothing but {kind.__name__}")
        return tuple(value)

    return check


def _extensions(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Refused("must be a mapping of absolute IRI to JSON value")
    for iri, item in value.items():
        if not is_absolute_iri(iri):
            raise Refused("must have absolute IRIs as keys")
        if not is_json(item):
            raise Refused("must have JSON values (no NaN, no other types)")
    taken = {iri: plain(item) for iri, item in value.items()}
    if len(json.dumps(taken, ensure_ascii=False).encode()) > MOST_EXTENSION_BYTES:
        raise Refused("must be at most 20 kB as JSON")
    return taken


def _needed(value: object) -> str:
    found = _line(value)
    if found is None:
        raise Refused("must not be empty")
    return found


_name = optional(_line)
_address = optional(lambda value: _line(value, 320))
_duration = optional(whole(0, _LONGEST_DURATION_MS))


def plain(value: object) -> Any:
    """A value as dicts and lists of its own, which nobody changes later; times as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True, kw_only=True)
class Administrator(Checked):
    """Who is on this request, and for which organization.

    :param id: yours.
    :param organization_id: whose configurations and results this person sees.
    :param name: for the history.
    :param email: used when there is no name.
    :raises InvalidValue: a field breaks its rule.
    """

    id: str
    organization_id: str
    name: str | None = None
    email: str | None = None

    def __post_init__(self) -> None:
        self._take(id=identifier, organization_id=identifier, name=_name, email=_address)


@dataclass(frozen=True, kw_only=True)
class Activity(Checked):
    """An activity around an objective (xAPI 1.0.3 Data 2.4.4.1): its scene, project or course.

    :param id: absolute IRI, or a short id from which one is built under ``LMS_ACTIVITY_BASE_URL``.
    :param name: as people know it.
    :param type: absolute IRI of the activity type.
    """

    id: str
    name: str | None = None
    type: str | None = None

    def __post_init__(self) -> None:
        self._take(id=identifier, name=_name, type=optional(_iri))


@dataclass(frozen=True, kw_only=True)
class Step(Checked):
    """One step of an objective.

    :param number: 1-based.
    :param name: as people know it.
    :param type: absolute IRI of an activity type; default: a step.
    """

    number: int
    name: str | None = None
    type: str | None = None

    def __post_init__(self) -> None:
        self._take(number=whole(1, 100_000), name=_name, type=optional(_iri))


@dataclass(frozen=True, kw_only=True)
class Objective(Checked):
    """An activity of the host that a participant completes, fails or passes.

    :param id: yours.
    :param name: as people know it.
    :param description: longer, up to 2,000 characters.
    :param url: absolute address of a page about it.
    :param language: BCP 47 tag of name and description.
    :param enabled: False: the pages mark it as not in use; results are sent all the same.
    :param activity_id: absolute IRI; default ``<LMS_ACTIVITY_BASE_URL>/objectives/<id>``.
    :param version: yours, such as ``2`` or ``2026-03``; told to the LMS.
    :param parent: what it is a part of.
    :param grouping: what else it belongs to.
    :param steps: in any order.
    :raises InvalidValue: a field breaks its rule.
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
        self._take(
            id=identifier,
            name=_needed,
            description=optional(lambda value: _line(value, 2000)),
            url=optional(_web),
            language=language,
            enabled=flag,
            activity_id=optional(_iri),
            version=_name,
            parent=optional(_instance(Activity)),
            grouping=_many(Activity),
            steps=_many(Step),
        )


@dataclass(frozen=True, kw_only=True)
class Participant(Checked):
    """Who played. ``email`` if given, else ``id`` if it is an address, identifies the learner.

    :param id: yours.
    :param email: a plain address, such as ``jane.doe@example.com``.
    :param name: as people know them.
    :param account_name: the learner's name in ``account_home_page``; both or neither.
    :param account_home_page: http(s) URL of the system in which ``account_name`` is unique.
    """

    id: str
    email: str | None = None
    name: str | None = None
    account_home_page: str | None = None
    account_name: str | None = None

    def __post_init__(self) -> None:
        self._take(
            id=identifier,
            email=_address,
            name=_name,
            account_home_page=optional(_web),
            account_name=_name,
        )
        if (self.account_home_page is None) != (self.account_name is None):
            self._refuse("account_name", "must be given together with account_home_page")


@dataclass(frozen=True, kw_only=True)
class Score(Checked):
    """A numeric score (xAPI 1.0.3 Data 2.4.5.1). Not for the share of steps done: that is progress.

    :param scaled: −1 to 1. This or ``raw`` is required.
    :param raw: the points, from ``min`` to ``max``.
    :param min: the least points possible.
    :param max: the most points possible.
    """

    scaled: float | None = None
    raw: float | None = None
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        any_number = optional(number())
        self._take(scaled=optional(number(-1, 1)), raw=any_number, min=any_number, max=any_number)
        if self.scaled is None and self.raw is None:
            self._refuse("scaled", "must be given, or raw")
        if self.min is not None and self.max is not None and self.min > self.max:
            self._refuse("min", "must not be greater than max")
        if self.raw is not None and self.min is not None and self.raw < self.min:
            self._refuse("raw", "must not be less than min")
        if self.raw is not None and self.max is not None and self.raw > self.max:
            self._refuse("raw", "must not be greater than max")


@dataclass(frozen=True, kw_only=True)
class StepResult(Checked):
    """How one step went.

    :param number: that of a :class:`Step`.
    :param outcome: ``succeeded``, ``failed`` or ``not_reached``.
    :param at: when it ended, aware.
    :param duration_ms: how long it took, milliseconds.
    """

    number: int
    outcome: StepOutcome
    at: datetime | None = None
    duration_ms: int | None = None

    def __post_init__(self) -> None:
        self._take(number=whole(1, 100_000))
        if self.outcome not in _OUTCOMES:
            self._refuse("outcome", f"must be one of {', '.join(_OUTCOMES)}")
        self._take(at=optional(_time), duration_ms=_duration)


@dataclass(frozen=True, kw_only=True)
class ObjectiveResult(Checked):
    """One participant's result of one objective.

    :param id: unique in its organization and never reused: it makes the statement id.
    :param objective: an :class:`Objective`, or its id: your ``objective_loader`` is asked then.
    :param participant: a :class:`Participant`, or its id: your ``participant_loader``, if there is
        one, is asked then.
    :param finished_at: aware.
    :param success: passed, failed, or None when there is only completion.
    :param completed: False: the participant left before the end.
    :param started_at: aware; not after ``finished_at``.
    :param duration_ms: milliseconds.
    :param score: None: there are no points.
    :param steps: one for each step, each number once.
    :param session_id: what several results belong to, such as a meeting or a sitting.
    :param session_name: as people know it.
    :param platform: in place of ``LMS_PLATFORM_NAME``.
    :param language: BCP 47 tag of what the participant saw.
    :param revision: a correction has a higher one; the old statement is then voided.
    :param is_test: the LMS gets it clearly marked.
    :param extensions: absolute IRI → JSON value.
    :raises InvalidValue: naming the field, the value's type and the rule.
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
        self._take(id=identifier, organization_id=identifier)
        if not isinstance(self.objective, Objective):
            self._take(objective=identifier)
        if not isinstance(self.participant, Participant):
            self._take(participant=identifier)
        self._take(
            finished_at=_time,
            success=optional(flag),
            completed=flag,
            started_at=optional(_time),
            duration_ms=_duration,
            score=optional(_instance(Score)),
            steps=_many(StepResult),
            session_id=optional(identifier),
            session_name=_name,
            platform=_name,
            language=optional(language),
            is_test=flag,
            revision=whole(0, 2**31 - 1),
            extensions=_extensions,
        )
        if self.started_at is not None and self.started_at > self.finished_at:
            self._refuse("started_at", "must not be after finished_at")
        numbers = [step.number for step in self.steps]
        if len(set(numbers)) != len(numbers):
            self._refuse("steps", "must not name a step number twice")


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
