"""Testing a connection: run through the connector with no transaction open.

Each test leaves a row in the history before the LMS is asked, so that tests can be counted, and
limited, over all processes.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from .. import audit
from ..app_state import AppState
from ..audit import By
from ..connectors.base import TRANSPORT_CAUSES, BuildContext, Stage, StageState, TestReport
from ..database.models import Audit, Configuration
from ..database.types import exactly
from ..encryption import Secret, binding
from ..errors import SecretUnreadable
from ..i18n import N_
from ..values import Administrator

MOST_A_MINUTE = 5

_log = logging.getLogger(__name__)


def is_limited(state: AppState, administrator: Administrator) -> bool:
    """Whether this administrator began five tests in the last minute, saved or not."""
    since = state.clock.now(state.session()) - timedelta(minutes=1)
    begun = state.session.scalar(
        sa.select(sa.func.count()).where(
            exactly(Audit.organization_id, administrator.organization_id),
            Audit.administrator_id == administrator.id,
            Audit.action.in_(("tested", "sample_sent")),
            Audit.at > since,
        )
    )
    return (begun or 0) >= MOST_A_MINUTE


def begin(
    state: AppState,
    organization_id: str,
    by: By,
    configuration: Configuration | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    action: str,
) -> Audit:
    """Note the test and commit, so that no transaction is open while the LMS is asked.

    The host is told of it once its outcome is added (:func:`audit.amend`).
    """
    row = audit.write(
        state.session(),
        organization_id=organization_id,
        action=action,
        at=state.clock.now(state.session()),
        by=by,
        configuration=configuration,
        changes=facts,
    )
    state.session.commit()
    return row


def run(
    state: AppState,
    organization_id: str | None,
    type: str,
    settings: Mapping[str, Any],
    given: Mapping[str, Secret],
    token: str | None = None,
    configuration_id: uuid.UUID | None = None,
    sample: BuildContext | None = None,
) -> TestReport:
    """Test these settings; nothing is written.

    :param organization_id: None: it isn't known of which, so what all may call is called.
    :param given: secrets entered just now.
    :param token: the stored ones, for those not entered.
    :param configuration_id: whose they must be.
    :param sample: send a sample result instead, built with this.
    """
    connector = state.registry.get(type)
    if connector is None:
        return _report_of_cause("unknown_type", {"type": type})
    secrets = dict(given)
    if any(field not in secrets for field in connector.secret_fields):
        try:
            bound_to = (
                binding(configuration_id, connector.origin(settings)) if configuration_id else None
            )
            secrets = {**state.encryption.decrypt(token, bound_to), **given}
        except SecretUnreadable:
            return _report_of_cause("secret_unreadable", {})
    transport = state.transport_for(organization_id)
    if sample is not None:
        return connector.send_sample(settings, secrets, transport, sample)
    stages: list[Stage] = []
    for step in connector.test(settings, secrets, transport):
        if isinstance(step, TestReport):
            return step
        stages.append(step)
    _log.error("connector %s ended its test without a report", type)
    return TestReport(stages=stages, cause="not_http", facts={})


def _report_of_cause(code: str, facts: Mapping[str, str]) -> TestReport:
    words = TRANSPORT_CAUSES[code].sentence_for(facts)
    stage = Stage(name=N_("Settings"), state=StageState.FAILED, words=words)
    return TestReport(stages=[stage], cause=code, facts=dict(facts))
