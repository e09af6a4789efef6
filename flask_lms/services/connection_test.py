"""The connection test: run through the connector with no transaction open, then the status follows
its outcome.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from ..connectors import TRANSPORT_CAUSES, Stage, StageState, TestReport
from ..delivery import breaker
from ..errors import SecretUnreadable
from ..models import Audit, Configuration
from ..signals import StatusChanged
from ..state import State
from ..words import N_, Words
from .audit import By
from .change import Change, change
from .exact import exactly

_log = logging.getLogger(__name__)


def test(state: State, configuration: Configuration, by: By) -> TestReport:
    """Test a saved configuration; its health follows unless it was edited meanwhile."""
    configuration_id, version = configuration.id, configuration.version
    type, settings = configuration.type, dict(configuration.settings)
    token = configuration.secrets
    # No transaction stays open while the LMS is asked.
    state.session.commit()
    report = run(state, type, settings, {}, token)
    with change(state, by) as made:
        found = made.session.get(Configuration, configuration_id, populate_existing=True)
        if found is not None and found.deleted_at is None and found.version == version:
            _settle(state, found, report, made)
            made.note("tested", found, {"outcome": report.cause or "connected"})
            if report.is_connected:
                made.to_ring.add(found.id)
    return report


def run(
    state: State,
    type: str,
    settings: Mapping[str, Any],
    given: Mapping[str, str],
    token: str | None = None,
) -> TestReport:
    """Test these settings; nothing is written.

    :param given: secrets entered just now.
    :param token: the stored ones, for those not entered.
    """
    connector = state.registry.get(type)
    if connector is None:
        return _report_of_cause("unknown_type", {"type": type})
    secrets = dict(given)
    if any(field not in secrets for field in connector.secret_fields):
        try:
            secrets = {**state.vault.unlock(token), **given}
        except SecretUnreadable:
            return _report_of_cause("secret_unreadable", {})
    stages: list[Stage] = []
    for step in connector.test(settings, secrets, state.transport):
        if isinstance(step, TestReport):
            return step
        stages.append(step)
    _log.error("connector %s ended its test without a report", type)
    return TestReport(stages=stages, cause="not_http", facts={})


def in_the_last_minute(state: State, organization_id: str | None) -> int:
    """Tests of saved configurations in the last minute."""
    since = state.clock.now(state.session()) - timedelta(minutes=1)
    query = sa.select(sa.func.count()).where(Audit.action == "tested", Audit.at >= since)
    if organization_id is not None:
        query = query.where(exactly(Audit.organization_id, organization_id))
    return state.session.scalar(query) or 0


def _settle(state: State, configuration: Configuration, report: TestReport, made: Change) -> None:
    health = configuration.health
    old = health.status
    cause = state.registry.cause(configuration.type, report.cause)
    breaker.settle_test(health, report, cause, made.now)
    if health.status == old:
        return
    event = StatusChanged(
        organization_id=configuration.organization_id,
        configuration_id=configuration.id,
        name=configuration.name,
        old=old.value,
        new=health.status.value,
        cause=health.cause,
        at=made.now,
    )
    state.on_status_change(made.session, configuration, event)
    made.status_events.append(event)


def _report_of_cause(code: str, facts: Mapping[str, uuid.UUID | str]) -> TestReport:
    words = Words(TRANSPORT_CAUSES[code].sentence, **facts)
    stage = Stage(name=N_("Settings"), state=StageState.FAILED, words=words)
    return TestReport(stages=[stage], cause=code, facts=dict(facts))
