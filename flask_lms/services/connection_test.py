"""Testing a connection: through the connector, with no transaction open, in twelve seconds at most.

Whoever waits for a test holds a thread of the host's web server. So one may be under way for an
organization and a few for the installation, whatever the number of processes: each test takes a
place of its organization and one of the installation, which are rows of ``lms_incident``. It also
leaves a row in the history before the LMS is asked, by which those of a minute are counted.
"""

from __future__ import annotations

import hashlib
import logging
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import audit
from ..alerts import incidents
from ..app_state import AppState
from ..audit import By, Change, change
from ..connectors.base import BuildContext
from ..connectors.causes import TRANSPORT_CAUSES
from ..connectors.stages import Stage, StageState, TestReport
from ..database.models import Audit, Configuration, Incident
from ..database.types import exactly, update
from ..encryption import Secret, binding
from ..errors import SecretUnreadable, TooManyTests
from ..i18n import N_, Words, many
from ..store import MemoryStore, Store
from ..values import Administrator

MOST_A_MINUTE = 5
#: For all requests of a test together.
BUDGET_SECONDS = 12.0
#: Of it, what the page around the test may take.
_PAGE_SECONDS = 0.5
#: The place of a test whose process was killed is free again then.
_GONE = timedelta(seconds=20)
_KIND = "testing"

_YOU = many(
    "You tested five times in a minute. Test again in %(n)s second.",
    "You tested five times in a minute. Test again in %(n)s seconds.",
)
_YOURS = many(
    "Another connection test of your organization is under way. Test again in %(n)s second.",
    "Another connection test of your organization is under way. Test again in %(n)s seconds.",
)
_OTHERS = many(
    "Other connection tests are under way on this platform. Test again in %(n)s second.",
    "Other connection tests are under way on this platform. Test again in %(n)s seconds.",
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """A test that has begun.

    :param row: in the history. :param places: the ids of the rows that hold its places.
    """

    row: Audit
    places: tuple[uuid.UUID, ...]
    at: datetime


def begin(
    state: AppState,
    organization_id: str,
    by: By,
    configuration: Configuration | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    action: str,
) -> UnderWay:
    """Take its places, note it and commit, so that no transaction is open while the LMS is asked.

    The host is told of it once its outcome is added (:func:`audit.amend`).

    :raises TooManyTests: it has to wait.
    """
    session, now = state.session(), state.clock.now(state.session())
    if isinstance(by, Administrator):
        since = now - timedelta(minutes=1)
        begun = session.scalars(
            sa.select(Audit.at).where(
                exactly(Audit.organization_id, by.organization_id),
                Audit.administrator_id == by.id,
                Audit.action.in_(("tested", "sample_sent")),
                Audit.at > since,
            )
        ).all()
        if len(begun) >= MOST_A_MINUTE:
            raise _too_many(_YOU, sorted(begun)[-MOST_A_MINUTE] - since)
    # MariaDB cuts it off, and by it a place is known as one's own.
    at = now.replace(microsecond=0)
    # So that ids of any length fit, and those that differ in case only are two.
    digest = hashlib.sha256(organization_id.encode()).hexdigest()[:40]
    slots = [f"installation:{_KIND}:{n}" for n in range(state.settings.tests_at_once)]
    row = audit.write(
        session,
        organization_id=organization_id,
        action=action,
        at=now,
        by=by,
        configuration=configuration,
        changes=facts,
    )
    session.flush()  # SQLite begins at the first write, and a savepoint alone would commit
    try:
        places = (
            _take(session, at, [f"{_KIND}:{digest}"], _YOURS, organization_id),
            _take(session, at, slots, _OTHERS, organization_id),
        )
    except TooManyTests:
        session.rollback()
        raise
    session.commit()
    return UnderWay(row=row, places=places, at=at)


def _too_many(said: tuple[str, str], left: timedelta) -> TooManyTests:
    seconds = max(1, math.ceil(left.total_seconds()))
    return TooManyTests(Words.many(*said, seconds), seconds)


def _take(
    session: Session, now: datetime, keys: list[str], said: tuple[str, str], organization_id: str
) -> uuid.UUID:
    """The first of these places that is free. Of several processes one gets it: the key of an open
    incident is unique, and that of a test which is gone is taken over by compare-and-set.
    """
    taken: list[datetime] = []
    for key in keys:
        held = incidents.find_open(session, key)
        if held is None:
            held, is_ours = incidents.open_once(
                session, key, kind=_KIND, opened_at=now, organization_id=organization_id
            )
        else:
            is_ours = held.opened_at <= now - _GONE and bool(
                update(
                    session,
                    sa.update(Incident)
                    .where(Incident.id == held.id, Incident.opened_at == held.opened_at)
                    .values(opened_at=now, organization_id=organization_id),
                )
            )
        if is_ours:
            return held.id
        taken.append(held.opened_at)
    raise _too_many(said, min(taken) + timedelta(seconds=BUDGET_SECONDS) - now)


def _give_back(session: Session, test: UnderWay) -> None:
    """Whoever has taken a place over since keeps it."""
    mine = Incident.id.in_(test.places), Incident.opened_at == test.at
    update(session, sa.delete(Incident).where(*mine))


def carry_out(
    state: AppState,
    test: UnderWay,
    steps: Iterator[Stage | TestReport],
    by: By = None,
    settle: Callable[[Change, TestReport], None] = lambda made, report: None,
) -> Iterator[Stage | TestReport]:
    """Each stage as it ends; then, once it is written down, the report.

    :param settle: what else the report changes, in the transaction of its outcome.
    """
    is_settled = False
    try:
        for step in steps:
            if isinstance(step, TestReport):
                with change(state, by) as made:
                    settle(made, step)
                    audit.amend(made.session, test.row, outcome=step.cause or "connected")
                    _give_back(made.session, test)
                is_settled = True
            yield step
    finally:
        if not is_settled:  # whoever waited for it went away
            state.session.rollback()
            _give_back(state.session(), test)
            state.session.commit()


def run(
    state: AppState,
    organization_id: str | None,
    type: str,
    settings: Mapping[str, Any],
    given: Mapping[str, Secret],
    token: str | None = None,
    configuration_id: uuid.UUID | None = None,
    sample: BuildContext | None = None,
    *,
    is_draft: bool = False,
) -> Iterator[Stage | TestReport]:
    """Test these settings: each stage as it ends, then the report. Nothing is written.

    :param organization_id: None: it isn't known of which, so what all may call is called.
    :param given: secrets entered just now.
    :param token: the stored ones, for those not entered.
    :param configuration_id: whose they must be.
    :param sample: send a sample result in place of the test.
    :param is_draft: they aren't saved, so nothing that the connector keeps is read or written.
    """
    connector = state.registry.get(type)
    if connector is None:
        yield from _failed("unknown_type", {"type": type})
        return
    secrets = dict(given)
    is_missing = any(field not in secrets for field in connector.secrets_of(settings))
    if connector.generated or is_missing:
        try:
            bound_to = (
                binding(configuration_id, connector.origin(settings)) if configuration_id else None
            )
            secrets = {**state.encryption.decrypt(token, bound_to), **given}
        except SecretUnreadable:
            if is_missing:
                yield from _failed("secret_unreadable", {})
                return
        for one in connector.generated:  # of what isn't saved yet: one that is never used again
            if one.name not in secrets:
                secrets[one.name] = Secret(one.make())
    stages: list[Stage] = []
    try:
        store: Store = MemoryStore()
        if configuration_id is not None and not is_draft:
            store = state.store_of(configuration_id, type, settings)
        transport = state.transport_for(organization_id).limited_to(BUDGET_SECONDS - _PAGE_SECONDS)
        transport = transport.with_store(store)
        if sample is not None:
            report = connector.send_sample(settings, secrets, transport, sample)
            yield from report.stages
            yield report
            return
        for step in connector.test(settings, secrets, transport):
            yield step
            if isinstance(step, TestReport):
                return
            stages.append(step)
    except Exception:
        _log.exception("connector %s failed", type)
        yield from _failed("connector_failed", {"type": type}, stages)
        return
    _log.error("connector %s ended its test without a report", type)
    yield from _failed("connector_failed", {"type": type}, stages)


def _failed(
    code: str, facts: Mapping[str, str], before: list[Stage] | None = None
) -> Iterator[Stage | TestReport]:
    words = TRANSPORT_CAUSES[code].sentence_for(facts)
    stage = Stage(name=N_("Settings"), state=StageState.FAILED, words=words)
    yield stage
    yield TestReport(stages=[*(before or ()), stage], cause=code, facts=dict(facts))


def report_of(steps: Iterator[Stage | TestReport]) -> TestReport:
    """What came of a test, waited for."""
    *_, report = steps
    assert isinstance(report, TestReport)
    return report
