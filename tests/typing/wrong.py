"""What a host may get wrong, each noticed by ``mypy --strict``.

Every comment here silences one error; mypy reports a comment that silences nothing.
"""

from __future__ import annotations

from datetime import datetime

from blinker import Signal

from flask_lms import LMS, Administrator, Objective, ObjectiveResult, Page, Participant, StepResult

lms = LMS()


@lms.administrator_loader  # type: ignore[type-var]
def a_name() -> str:
    return "Ana"


@lms.administrator_loader(replace=True)  # type: ignore[type-var]
def another_name() -> str:
    return "Ana"


@lms.administrator_loader  # type: ignore[type-var]
def of_an_organization(organization_id: str) -> Administrator | None:
    return None


@lms.objectives_loader  # type: ignore[call-overload]
def a_list(
    organization_id: str, search: str | None = None, offset: int = 0, limit: int = 50
) -> list[Objective]:
    return []


@lms.objectives_loader(replace=True)  # type: ignore[type-var]
def without_a_limit(
    organization_id: str, search: str | None = None, offset: int = 0
) -> Page[Objective]:
    return Page(items=[], total=0)


@lms.objective_loader  # type: ignore[type-var]
def by_number(organization_id: str, objective_id: int) -> Objective | None:
    return None


@lms.participant_loader  # type: ignore[type-var]
def by_id_alone(participant_id: str) -> Participant | None:
    return None


@lms.past_results_loader  # type: ignore[type-var]
def always_since(
    organization_id: str, objective_id: str, since: datetime
) -> list[ObjectiveResult]:  # None: all of them
    return []


@lms.csp_nonce  # type: ignore[type-var]
def no_nonce() -> None:
    return None


@lms.translator(replace=True)  # type: ignore[type-var]
def of_the_message_alone(message: str) -> str:
    return message


@lms.results_from(Signal())  # type: ignore[type-var]
def a_dict(sender: object, **sent: object) -> dict[str, object]:
    return {}


lms.record({"id": "r1"})  # type: ignore[arg-type]
StepResult(number=1, outcome="passed")  # type: ignore[arg-type]
ObjectiveResult("r1")  # type: ignore[call-arg]
