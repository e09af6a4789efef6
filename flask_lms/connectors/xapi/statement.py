"""A result as xAPI statements: pure, and the same bytes for the same input (xAPI 1.0.3 Data)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from ...checks import is_absolute_iri
from ...i18n import Words
from ...values import (
    Activity,
    Objective,
    ObjectiveResult,
    Participant,
    Score,
    StepResult,
)
from ..base import BuildContext, Built, NotSendable, Sent, Statement
from . import vocabulary
from .actor import Unidentified, agent

_VERB_NAMES = {
    vocabulary.PASSED: "passed",
    vocabulary.FAILED: "failed",
    vocabulary.COMPLETED: "completed",
    vocabulary.VOIDED: "voided",
}


def statement_id(
    kind: str, organization_id: str, result_id: str, revision: int, step: int | None = None
) -> uuid.UUID:
    """The id of a statement: the same on every resend and for every destination."""
    name = json.dumps([kind, organization_id, result_id, revision, step], ensure_ascii=False)
    return uuid.uuid5(vocabulary.NAMESPACE, name)


def void_id(of: uuid.UUID, revision: int) -> uuid.UUID:
    """The id of the void by which a revision takes a statement back."""
    return uuid.uuid5(vocabulary.NAMESPACE, json.dumps(["void", str(of), revision]))


def registration_id(organization_id: str, participant_id: str, session_id: str) -> uuid.UUID:
    """The registration of one participant's session (Data 2.4.6.1)."""
    name = json.dumps(
        ["registration", organization_id, participant_id, session_id], ensure_ascii=False
    )
    return uuid.uuid5(vocabulary.NAMESPACE, name)


def activity_iri(objective: Objective, base: str) -> str:
    """What the host calls an objective: its own IRI, or one below ``LMS_ACTIVITY_BASE_URL``."""
    return objective.activity_id or f"{base}/objectives/{quote(objective.id, safe='')}"


def activity_of(objective: Objective, context: BuildContext) -> str:
    """The ``object.id`` of its results: what the LMS calls it, if that was entered."""
    return context.activity_id or activity_iri(objective, context.activity_base_url)


def build(result: ObjectiveResult, settings: Mapping[str, Any], context: BuildContext) -> Built:
    """All statements of a result: the main one first, voids of an older revision last.

    :param result: with its objective and participant as values.
    :param settings: checked ones of a configuration.
    """
    main_id = _id(result, _main_kind(result))
    taken_back = _still_valid(context.sent, result.revision)
    if not _is_wanted(result, settings) and not taken_back:
        return Built()
    try:
        actor = agent(
            _participant(result),
            identify=settings["identify"],
            send_name=settings["send_name"],
            home_page=context.activity_base_url,
        )
    except Unidentified as error:
        facts = {
            "participant": _participant(result).id,
            "email": _participant(result).email or "",
            "platform": context.platform_name,
        }
        return Built(not_sendable=NotSendable(reason=error.reason, id=main_id, facts=facts))
    made = _Builder(result, settings, context, actor)
    built = [*made.wanted(), *map(made.void, taken_back)]
    for statement in built:
        size = len(statement.text.encode())
        if size > vocabulary.MOST_BYTES:
            most = vocabulary.MOST_BYTES
            too_long = NotSendable(
                reason="too_long", id=main_id, facts={"bytes": size, "most": most}
            )
            return Built(not_sendable=too_long)
    return Built(statements=tuple(built))


def _participant(result: ObjectiveResult) -> Participant:
    if isinstance(result.participant, Participant):
        return result.participant
    return Participant(id=result.participant)


def _objective(result: ObjectiveResult) -> Objective:
    if isinstance(result.objective, Objective):
        return result.objective
    return Objective(id=result.objective, name=result.objective)


def _main_kind(result: ObjectiveResult) -> str:
    return "test" if result.is_test else "result"


def _id(result: ObjectiveResult, kind: str, step: int | None = None) -> uuid.UUID:
    return statement_id(kind, result.organization_id, result.id, result.revision, step)


def _still_valid(sent: Sequence[Sent], revision: int) -> list[uuid.UUID]:
    """What earlier revisions sent and none took back, whatever the settings and steps are now."""
    voids = {one.id for one in sent if one.kind == "void"}
    revisions = {one.revision for one in sent if one.kind == "void"}
    return [
        one.id
        for one in sent
        if one.kind != "void"
        and one.revision < revision
        and voids.isdisjoint(void_id(one.id, later) for later in revisions)
    ]


def _is_wanted(result: ObjectiveResult, settings: Mapping[str, Any]) -> bool:
    return result.completed and (settings["results"] != "passed" or bool(result.success))


def _counts_as_completed(success: bool | None, settings: Mapping[str, Any]) -> bool:
    """Whether an LMS may read completion: never of a failed result, unless it counts attempts."""
    # Settings that an older version saved don't say.
    return success is not False or bool(settings.get("failed_counts_as_completed"))


def meaning(settings: Mapping[str, Any], success: bool) -> str:
    """What an LMS makes of a passed or a failed result, in a sentence (``Words``)."""
    if success:
        if settings["send_completed"]:
            return Words("Your LMS gets “passed” and “completed”: the participant is credited.")
        return Words("Your LMS gets “passed” with completion: the participant is credited.")
    if settings["results"] == "passed":
        return Words("Nothing is sent, so nobody who failed is credited.")
    if not _counts_as_completed(success, settings):
        return Words("Your LMS gets “failed” without completion: nobody who failed is credited.")
    if settings["send_completed"]:
        return Words(
            "Your LMS gets “failed” and “completed”: if it goes by completion, the participant is "
            "credited although they failed."
        )
    return Words(
        "Your LMS gets “failed” with completion: if it goes by completion, the participant is "
        "credited although they failed."
    )


def changes(settings: Mapping[str, Any]) -> Sequence[str]:
    """What is sent otherwise than by the version that saved these settings (``Words``)."""
    found = []
    if "failed_counts_as_completed" not in settings:
        if settings["results"] != "passed":
            found.append(
                Words(
                    "A failed result is now sent without completion and without “completed”, so "
                    "that nobody who failed is credited. If your LMS counts attempts, choose so "
                    "under Advanced."
                )
            )
        if settings["steps"] == "statements":
            found.append(
                Words(
                    "A step is now sent as “completed”, with its success, and no longer as "
                    "“passed” or “failed”."
                )
            )
    return found


class _Builder:
    """The statements of one result for one configuration."""

    def __init__(
        self,
        result: ObjectiveResult,
        settings: Mapping[str, Any],
        context: BuildContext,
        actor: dict[str, Any],
    ) -> None:
        self.result, self.settings, self.context, self.actor = result, settings, context, actor
        self.base = context.activity_base_url
        self.objective = _objective(result)
        self.kind = _main_kind(result)

    def wanted(self) -> list[Statement]:
        """What the configuration wants of this result; nothing for one that wasn't completed."""
        result = self.result
        if not _is_wanted(result, self.settings):
            return []
        statements = [self._main()]
        if (
            self.settings["send_completed"]
            and result.success is not None
            and _counts_as_completed(result.success, self.settings)
        ):
            statements.append(self._completed())
        if self.settings["steps"] == "statements":
            statements += [
                self._step(step) for step in result.steps if step.outcome != "not_reached"
            ]
        return statements

    def _statement(
        self,
        kind: str,
        verb: str,
        target: dict[str, Any],
        *,
        result: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        at: datetime | None = None,
        id: uuid.UUID | None = None,
        is_single: bool = False,
    ) -> Statement:
        id = id or _id(self.result, kind)
        body: dict[str, Any] = {
            "id": str(id),
            "actor": self.actor,
            "verb": {"id": verb, "display": {"en": _VERB_NAMES[verb]}},
            "object": target,
        }
        if result:
            body["result"] = result
        if context:
            body["context"] = context
        body["timestamp"] = timestamp(at or self.result.finished_at, self.context.now)
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return Statement(id=id, kind=kind, text=text, is_single=is_single)

    def _main(self) -> Statement:
        verbs = {True: vocabulary.PASSED, False: vocabulary.FAILED, None: vocabulary.COMPLETED}
        return self._statement(
            self.kind,
            verbs[self.result.success],
            self._object(),
            result=self._result(),
            context=self._context(self._parents()),
        )

    def _completed(self) -> Statement:
        outcome: dict[str, Any] = {"completion": True}
        self._add_duration(outcome, self._duration_ms())
        return self._statement(
            "completed",
            vocabulary.COMPLETED,
            self._object(),
            result=outcome,
            context=self._context(self._parents()),
        )

    def _step(self, step: StepResult) -> Statement:
        described = {item.number: item for item in self.objective.steps}.get(step.number)
        definition: dict[str, Any] = {
            "type": (described.type if described else None) or vocabulary.STEP,
            "name": {
                self.objective.language: (described.name if described else None) or str(step.number)
            },
        }
        target = {
            "objectType": "Activity",
            # Below the host's: the LMS's catalogue knows no steps.
            "id": f"{self._own_iri()}/steps/{step.number}",
            "definition": definition,
        }
        outcome: dict[str, Any] = {"success": step.outcome == "succeeded"}
        if outcome["success"]:
            outcome["completion"] = True
        self._add_duration(outcome, step.duration_ms)
        context = self._context([{"objectType": "Activity", "id": self._objective_iri()}])
        main_id = str(_id(self.result, self.kind))
        context["statement"] = {"objectType": "StatementRef", "id": main_id}
        return self._statement(
            "step",
            vocabulary.COMPLETED,  # so that a report of what was passed counts no steps
            target,
            result=outcome,
            context=context,
            at=step.at,
            id=_id(self.result, "step", step.number),
        )

    def void(self, old: uuid.UUID) -> Statement:
        """Takes one back (Data 2.3.2)."""
        # The participant is its actor too: an LMS that knows its learners only would refuse
        # an agent for the platform itself.
        return self._statement(
            "void",
            vocabulary.VOIDED,
            {"objectType": "StatementRef", "id": str(old)},
            id=void_id(old, self.result.revision),
            is_single=True,
        )

    def _own_iri(self) -> str:
        """What the host calls the objective."""
        return activity_iri(self.objective, self.base)

    def _objective_iri(self) -> str:
        return activity_of(self.objective, self.context)

    def _object(self) -> dict[str, Any]:
        objective = self.objective
        definition: dict[str, Any] = {
            "type": vocabulary.OBJECTIVE,
            "name": {objective.language: objective.name},
        }
        if objective.description:
            definition["description"] = {objective.language: objective.description}
        if objective.url:
            definition["moreInfo"] = objective.url
        return {"objectType": "Activity", "id": self._objective_iri(), "definition": definition}

    def _activity(self, activity: Activity, default_type: str | None = None) -> dict[str, Any]:
        iri = activity.id
        if not is_absolute_iri(iri):
            iri = f"{self.base}/{quote(iri.strip().strip('/'), safe='/')}"
        made: dict[str, Any] = {"objectType": "Activity", "id": iri}
        definition: dict[str, Any] = {}
        kind = activity.type or default_type
        if kind:
            definition["type"] = kind
        if activity.name:
            definition["name"] = {self.objective.language: activity.name}
        if definition:
            made["definition"] = definition
        return made

    def _parents(self) -> list[dict[str, Any]]:
        parent = self.objective.parent
        return [self._activity(parent, vocabulary.SIMULATION)] if parent else []

    def _context(self, parents: list[dict[str, Any]]) -> dict[str, Any]:
        result = self.result
        context: dict[str, Any] = {}
        if result.session_id is not None:
            context["registration"] = str(
                registration_id(result.organization_id, _participant(result).id, result.session_id)
            )
        platform = result.platform or self.context.platform_name
        if result.is_test:
            platform = f"{platform} (test)".strip()
        if platform:
            context["platform"] = platform
        if result.language:
            context["language"] = result.language
        if self.objective.version:
            context["revision"] = self.objective.version
        around: dict[str, Any] = {}
        if parents:
            around["parent"] = parents
        if self.objective.grouping:
            around["grouping"] = [self._activity(item) for item in self.objective.grouping]
        around["category"] = [
            {
                "objectType": "Activity",
                "id": vocabulary.OBJECTIVE_RESULT,
                "definition": {"type": vocabulary.PROFILE, "name": {"en": "Objective result"}},
            }
        ]
        if self._objective_iri() != self._own_iri():  # so that both names lead to it
            around["other"] = [{"objectType": "Activity", "id": self._own_iri()}]
        context["contextActivities"] = around
        extensions: dict[str, Any] = {}
        if result.session_name:
            extensions[f"{self.base}/{vocabulary.SESSION_EXTENSION}"] = result.session_name
        if result.is_test:
            extensions[f"{self.base}/{vocabulary.TEST_EXTENSION}"] = True
        if extensions:
            context["extensions"] = extensions
        return context

    def _result(self) -> dict[str, Any]:
        result = self.result
        made: dict[str, Any] = {}
        if result.success is not None:
            made["success"] = result.success
        if _counts_as_completed(result.success, self.settings):
            made["completion"] = True
        self._add_duration(made, self._duration_ms())
        if result.score is not None:
            made["score"] = score(result.score, is_failed=result.success is False)
        extensions = {**self._step_extensions(), **result.extensions}
        if extensions:
            made["extensions"] = extensions
        return made

    def _step_extensions(self) -> dict[str, Any]:
        result = self.result
        if not result.steps:
            return {}
        numbers = {step.number for step in self.objective.steps}
        total = len(numbers | {step.number for step in result.steps})
        done = sum(step.outcome != "not_reached" for step in result.steps)
        extensions: dict[str, Any] = {vocabulary.PROGRESS: 100 * done // total}
        if self.settings["steps"] == "summary":
            names = {step.number: step.name for step in self.objective.steps}
            extensions[f"{self.base}/{vocabulary.STEPS_EXTENSION}"] = [
                self._step_summary(step, names.get(step.number)) for step in result.steps
            ]
        return extensions

    def _step_summary(self, step: StepResult, name: str | None) -> dict[str, Any]:
        made: dict[str, Any] = {"number": step.number}
        if name:
            made["name"] = name
        made["outcome"] = step.outcome
        if step.duration_ms is not None:
            made["duration_ms"] = step.duration_ms
        if step.at is not None:
            made["at"] = timestamp(step.at, self.context.now)
        return made

    def _duration_ms(self) -> int | None:
        result = self.result
        if result.duration_ms is None and result.started_at is not None:
            return round((result.finished_at - result.started_at).total_seconds() * 1000)
        return result.duration_ms

    @staticmethod
    def _add_duration(made: dict[str, Any], milliseconds: int | None) -> None:
        if milliseconds is not None:
            made["duration"] = duration(milliseconds)


def duration(milliseconds: int) -> str:
    """ISO 8601 duration in seconds with at most two decimals (Data 4.6).

    >>> duration(12500)
    'PT12.5S'
    """
    seconds, hundredths = divmod((milliseconds + 5) // 10, 100)
    decimals = f".{hundredths:02d}".rstrip("0") if hundredths else ""
    return f"PT{seconds}{decimals}S"


def timestamp(at: datetime, limit: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, never later than ``limit`` (Data 2.4.7)."""
    try:
        moment = min(at, limit).astimezone(timezone.utc)
    except OverflowError:  # the first hours of year 1 east of Greenwich
        moment = datetime.min.replace(tzinfo=timezone.utc)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def score(value: Score, *, is_failed: bool = False) -> dict[str, Any]:
    """The score object (Data 2.4.5.1): raw lies between min and max, which differ.

    A scaled score that is missing is computed from those three.
    """
    made: dict[str, Any] = {}
    scaled, raw, least, most = value.scaled, value.raw, value.min, value.max
    if scaled is None and raw is not None and least is not None and most is not None:
        # Halved, as the span of two very large numbers may be no number.
        span = most / 2 - least / 2
        scaled = (raw / 2 - least / 2) / span if span > 0 else None
    if scaled is not None:
        rounded = round(scaled, 4)
        if is_failed and rounded > scaled:  # no pass mark is reached by rounding
            rounded = round(rounded - 0.0001, 4)
        made["scaled"] = rounded + 0  # adding 0 turns -0.0 into 0.0
    if raw is not None:
        made["raw"] = raw
    if least is None or most is None or least < most:
        if least is not None:
            made["min"] = least
        if most is not None:
            made["max"] = most
    return made
