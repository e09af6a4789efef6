"""The LMS type xAPI: results as statements to a Learning Record Store (xAPI 1.0.3 and 2.0.0).

``form`` and ``settings`` take what an administrator enters, ``statement`` and ``actor`` make the
bytes, ``client`` carries them, ``answers`` reads what comes back, ``causes`` says it in words,
``check`` tests a connection.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ...i18n import N_
from ...values import Activity, Objective, ObjectiveResult, Participant, Step, StepResult
from ..base import Answer, BuildContext, Built, Cause, Cleaned, Stage, Statement, TestReport
from . import client, fields, probe
from . import statement as statement_module
from .causes import CAUSES
from .fields import ADVANCED, SECRET_FIELDS, XapiForm

if TYPE_CHECKING:
    from ...transport import Transport


__all__ = ["XapiConnector"]


class XapiConnector:
    """Implements :class:`flask_lms.connectors.base.Connector` for every LMS with an LRS."""

    type: str = "xapi"
    label: str = N_("xAPI")
    description: str = N_(
        "For every LMS or Learning Record Store that takes xAPI statements. "
        "You need its xAPI URL, key and secret."
    )
    form = XapiForm
    advanced: Sequence[str] = ADVANCED
    secret_fields: Sequence[str] = SECRET_FIELDS
    causes: Mapping[str, Cause] = CAUSES

    def clean(self, values: Mapping[str, Any], *, allow_http: bool, has_secrets: bool) -> Cleaned:
        return fields.clean(values, allow_http=allow_http, has_secrets=has_secrets)

    def destination(self, settings: Mapping[str, Any]) -> str:
        return fields.destination(settings)

    def origin(self, settings: Mapping[str, Any]) -> str:
        return fields.origin(settings)

    def fingerprint(self, settings: Mapping[str, Any]) -> str:
        return fields.fingerprint(settings)

    def build(
        self, result: ObjectiveResult, settings: Mapping[str, Any], context: BuildContext
    ) -> Built:
        return statement_module.build(result, settings, context)

    def limits(self, settings: Mapping[str, Any]) -> tuple[int | None, int | None]:
        return (1 if settings["one_by_one"] else settings["batch_statements"]), None

    def requests_at_once(self, settings: Mapping[str, Any]) -> int | None:
        return 1 if settings["one_by_one"] else settings.get("requests_at_once")

    def send(
        self,
        statements: Sequence[Statement],
        settings: Mapping[str, Any],
        secrets: Mapping[str, str],
        transport: Transport,
    ) -> Answer:
        return client.send(statements, settings, secrets, transport)

    def compare(
        self,
        statement: Statement,
        settings: Mapping[str, Any],
        secrets: Mapping[str, str],
        transport: Transport,
    ) -> bool | None:
        return client.compare(statement, settings, secrets, transport)

    def test(
        self, settings: Mapping[str, Any], secrets: Mapping[str, str], transport: Transport
    ) -> Iterator[Stage | TestReport]:
        return probe.check(settings, secrets, transport)

    def size(self, statements: Sequence[Statement]) -> int:
        texts = sum(len(statement.text.encode()) for statement in statements)
        return texts if len(statements) == 1 else texts + len(statements) + 1

    def sample(self, settings: Mapping[str, Any], context: BuildContext) -> str:
        result = _sample_result(context)
        # An example corrects nothing.
        built = self.build(result, settings, dataclasses.replace(context, previous_revision=None))
        return "\n\n".join(
            json.dumps(json.loads(statement.text), ensure_ascii=False, indent=2)
            for statement in built.statements
        )


def _sample_result(context: BuildContext) -> ObjectiveResult:
    """Somebody put on protective equipment, step by step."""
    finished = context.now - timedelta(minutes=5)
    return ObjectiveResult(
        id="sample",
        organization_id="sample",
        objective=Objective(
            id="42",
            name="Put on PPE",
            description="Put on all protective equipment in the right order.",
            parent=Activity(id="scenes/7", name="Warehouse"),
            steps=[Step(number=1, name="Helmet"), Step(number=2, name="Gloves")],
        ),
        participant=Participant(id="jane.doe@example.com", name="Jane Doe"),
        finished_at=finished,
        success=True,
        duration_ms=83_250,
        steps=[
            StepResult(number=1, outcome="succeeded", duration_ms=30_100),
            StepResult(number=2, outcome="succeeded", duration_ms=53_150),
        ],
        session_id="sample",
        language="en",
    )
