"""A host's whole adapter as hosts write it, for ``mypy --strict``: it must pass as it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from blinker import Namespace
from flask import Flask, Response, redirect, url_for
from flask_sqlalchemy import SQLAlchemy
from werkzeug.wrappers import Response as WerkzeugResponse

from flask_lms import (
    LMS,
    Administrator,
    Objective,
    ObjectiveResult,
    Page,
    Participant,
    Recorded,
    Score,
    Step,
    StepResult,
    current_lms,
    statement_delivered,
)
from flask_lms.events import StatementDelivered
from flask_lms.testing import FakeLRS, deliver

if TYPE_CHECKING:
    from typing_extensions import assert_type


db = SQLAlchemy()
lms = LMS(db=db)
quiz_finished = Namespace().signal("quiz-finished")


@dataclass
class User:
    id: int
    name: str
    email: str
    company_id: int
    is_admin: bool


@dataclass
class Quiz:
    id: int
    title: str


@dataclass
class Played:
    id: str
    user: User
    quiz: Quiz
    seconds: float
    passed: bool


def current_user() -> User | None:
    return None


@lms.administrator_loader
def administrator() -> Administrator | WerkzeugResponse | None:
    user = current_user()
    if user is None:
        return redirect(url_for("login"), code=303)
    if not user.is_admin:
        return None
    return Administrator(
        id=str(user.id),
        organization_id=str(user.company_id),
        name=user.name,
        email=user.email,
    )


@lms.objectives_loader
def objectives(
    company_id: str, search: str | None = None, offset: int = 0, limit: int = 50
) -> Page[Objective]:
    found = [as_objective(Quiz(id=1, title="Fire Safety"))]
    return Page(items=found[offset : offset + limit], total=len(found))


@lms.objective_loader
def objective(company_id: str, quiz_id: str) -> Objective | None:
    return as_objective(Quiz(id=int(quiz_id), title="Fire Safety")) if quiz_id else None


@lms.participant_loader
def participant(company_id: str, user_id: str) -> Participant | None:
    return Participant(id=user_id, email="jane@acme.example")


@lms.past_results_loader
def past_results(
    company_id: str, quiz_id: str, since: datetime | None
) -> Iterator[ObjectiveResult]:
    yield from ()


@lms.csp_nonce
def nonce() -> str:
    return "from the host's own policy"


@lms.translator
def translate(message: str, plural: str | None, n: int | None) -> str | None:
    return None


@lms.results_from(quiz_finished)
def result(sender: Flask, played: Played, **extra: object) -> ObjectiveResult | None:
    if played.user.company_id == 0:
        return None
    return ObjectiveResult(
        id=played.id,
        organization_id=str(played.user.company_id),
        objective=as_objective(played.quiz),
        participant=Participant(id=str(played.user.id), email=played.user.email),
        finished_at=datetime.now(timezone.utc),
        success=played.passed,
        duration_ms=round(played.seconds * 1000),
        score=Score(scaled=1.0),
        steps=[StepResult(number=1, outcome="succeeded")],
    )


@lms.results_from(quiz_finished)
def several(sender: Flask, played: Played) -> list[ObjectiveResult]:
    return []


def as_objective(quiz: Quiz) -> Objective:
    return Objective(id=str(quiz.id), name=quiz.title, steps=[Step(number=1, name="Alarm")])


def sent(app: Flask, event: StatementDelivered) -> None:
    app.logger.info("sent %s", event.delivery_id)


def create_app() -> Flask:
    app = Flask(__name__)
    db.init_app(app)
    lms.init_app(app)
    statement_delivered.connect(sent, app)
    return app


def at_the_end_of_a_quiz(made: ObjectiveResult) -> int:
    recorded = current_lms.record(made)
    return recorded.queued + len(recorded.not_sent)


def own_test(app: Flask) -> None:
    with FakeLRS() as lrs:
        with app.app_context():
            configuration = lms.configurations.create(
                "1", "Test LMS", ["ana@acme.example"], settings=lrs.settings
            )
            lms.configurations.attach(configuration.id, "1")
        deliver(app)
        assert [statement["id"] for statement in lrs.statements]


# -- a callback replaced, as tests do; and a host that has its own kind of response ----------------


@lms.administrator_loader(replace=True)
def nobody() -> None:
    return None


@lms.objectives_loader(replace=True)
def by_keyword(
    organization_id: str, *, search: str | None, offset: int, limit: int
) -> Page[Objective]:
    return Page(items=[], total=0)


@lms.administrator_loader(replace=True)
def to_the_door() -> Response:
    return Response("", 302, {"Location": "/login"})


# -- what a decorated function is to the checker: what it was -----------------------------------

if TYPE_CHECKING:
    assert_type(administrator(), Administrator | WerkzeugResponse | None)
    assert_type(objectives("1", limit=5), Page[Objective])
    assert_type(objective("1", "2"), Objective | None)
    assert_type(participant("1", "2"), Participant | None)
    assert_type(past_results("1", "2", None), Iterator[ObjectiveResult])
    assert_type(nonce(), str)
    assert_type(translate("a", None, None), str | None)
    assert_type(to_the_door(), Response)
    assert_type(by_keyword("1", search=None, offset=0, limit=1), Page[Objective])
    assert_type(lms.record(several(create_app(), Played.__new__(Played))[0]), Recorded)
    loader: Callable[[], Administrator | WerkzeugResponse | None] = administrator
