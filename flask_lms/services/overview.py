"""How everything is doing: counts, ages and the order of the list. Each is a query for however many
configurations at once, answered by an index of ``lms_delivery``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..database.models import (
    Configuration,
    Delivery,
    DeliveryState,
    Mail,
    ObjectiveLink,
    Status,
    Worker,
)
from ..database.types import UTC, utc_day
from ..errors import NotFound
from .configurations import Configurations

_OPEN = (DeliveryState.PENDING, DeliveryState.REJECTED, DeliveryState.NOT_SENT)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What is open for a configuration."""

    waiting: int = 0
    rejected: int = 0
    not_sent: int = 0
    oldest_waiting_at: datetime | None = None

    @property
    def attention(self) -> int:
        return self.rejected + self.not_sent


def tallies(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Tally]:
    """What is open, by configuration; two queries."""
    counts: dict[uuid.UUID, dict[DeliveryState, int]] = {}
    oldest: dict[uuid.UUID, uuid.UUID] = {}
    rows = session.execute(
        sa.select(
            Delivery.configuration_id,
            Delivery.state,
            sa.func.count(),
            sa.func.min(Delivery.id),
        )
        .where(Delivery.configuration_id.in_(ids), Delivery.state.in_(_OPEN))
        .group_by(Delivery.configuration_id, Delivery.state)
    )
    for configuration_id, state, count, first in rows:
        counts.setdefault(configuration_id, {})[state] = count
        if state is DeliveryState.PENDING:
            oldest[configuration_id] = first
    since: dict[uuid.UUID, datetime] = {}
    if oldest:
        found = session.execute(
            sa.select(Delivery.configuration_id, Delivery.recorded_at).where(
                Delivery.id.in_(oldest.values())
            )
        )
        since = {configuration_id: at for configuration_id, at in found}
    return {
        configuration_id: Tally(
            waiting=by_state.get(DeliveryState.PENDING, 0),
            rejected=by_state.get(DeliveryState.REJECTED, 0),
            not_sent=by_state.get(DeliveryState.NOT_SENT, 0),
            oldest_waiting_at=since.get(configuration_id),
        )
        for configuration_id, by_state in counts.items()
    }


def last_sent(session: Session, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, datetime]:
    """When each configuration's newest result was sent; those that sent nothing are left out."""
    newest = (
        sa.select(sa.func.max(Delivery.settled_at))
        .where(
            Delivery.configuration_id == Configuration.id,
            Delivery.settled_at.is_not(None),
            Delivery.state == DeliveryState.DELIVERED,
        )
        .correlate(Configuration)
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(Configuration.id, newest).where(Configuration.id.in_(list(ids)))
    )
    return {configuration_id: at for configuration_id, at in rows if at is not None}


def objectives(session: Session, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many objectives each configuration is attached to."""
    rows = session.execute(
        sa.select(ObjectiveLink.configuration_id, sa.func.count())
        .where(ObjectiveLink.configuration_id.in_(list(ids)))
        .group_by(ObjectiveLink.configuration_id)
    )
    return {configuration_id: count for configuration_id, count in rows}


#: Without a sign of life for so long, no worker is running.
WORKER_MISSING_AFTER = timedelta(minutes=2)


@dataclass(frozen=True, kw_only=True)
class ConfigurationRow:
    """A configuration in the list.

    :param status: by the newest evidence; whether it is paused is ``configuration.is_paused``.
    :param attention: rejected and not sent.
    :param next_try_at: only while it waits for one; None: at once.
    """

    configuration: Configuration
    status: Status
    waiting: int
    attention: int
    objectives: int
    last_sent_at: datetime | None
    next_try_at: datetime | None
    oldest_waiting_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The head of the list of configurations."""

    total: int
    connected: int
    failing: int
    paused: int
    not_tested: int
    waiting: int
    attention: int
    oldest_waiting_at: datetime | None
    workers_seen_at: datetime | None
    is_worker_missing: bool


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The four numbers of a configuration's overview, and what its sentences need."""

    sent_24h: int
    waiting: int
    attention: int
    rejected: int
    not_sent: int
    oldest_waiting_at: datetime | None
    last_sent_at: datetime | None
    objectives: int


@dataclass(frozen=True, kw_only=True)
class Day:
    """One UTC day of the chart: settled on it, or recorded on it and still waiting."""

    date: date
    sent: int = 0
    waiting: int = 0
    rejected: int = 0
    not_sent: int = 0


@dataclass(frozen=True, kw_only=True)
class Health:
    """How an organization's configurations are doing: counts and ages, for monitoring.

    :param is_ok: nothing fails, and a worker runs when something waits.
    :param configurations: how many there are.
    :param connected: of them, with status Connected.
    :param failing: with status Can't Connect or Server Error.
    :param paused: paused by an administrator.
    :param not_tested: created, and nothing was sent yet.
    :param waiting: results that wait to be sent.
    :param attention: results that were rejected or not sent.
    :param oldest_waiting_seconds: age of the oldest result that waits and isn't paused.
    :param worker_seen_seconds: since the last sign of life; None: never.
    :param is_worker_missing: results wait, and no worker was seen for two minutes.
    """

    is_ok: bool
    configurations: int
    connected: int
    failing: int
    paused: int
    not_tested: int
    waiting: int
    attention: int
    oldest_waiting_seconds: int | None
    worker_seen_seconds: int | None
    is_worker_missing: bool

    def as_dict(self) -> dict[str, int | bool | None]:
        """For JSON."""
        return asdict(self)


class Overview:
    """What the pages show of an organization, or of the whole installation.

    :param organization_id: None: of all organizations.
    :param now: the time to count by, if it is at hand (aware); default: the clock's.
    """

    def __init__(
        self, state: AppState, organization_id: str | None = None, *, now: datetime | None = None
    ) -> None:
        self._state = state
        self._organization_id = organization_id
        self._configurations = Configurations(state, organization_id)
        self._known_now = now

    def _now(self) -> datetime:
        return self._known_now or self._state.clock.now(self._state.session())

    def _one(self, configuration: Configuration | uuid.UUID | str) -> Configuration:
        """That configuration, if it is of this organization; read when only its id is known."""
        if not isinstance(configuration, Configuration):
            return self._configurations.get(configuration)
        if self._organization_id not in (None, configuration.organization_id):
            raise NotFound("There is no such LMS configuration.")
        return configuration

    def rows(
        self, search: str | None = None, status: Status | str | None = None
    ) -> list[ConfigurationRow]:
        """The list: errors first, then those that need attention, then by name.

        :param status: as for :meth:`Configurations.list`, or ``attention``.
        """
        needs = status == "attention"
        found = self._configurations.list(search=search, status=None if needs else status)
        session, ids = self._state.session(), [one.id for one in found]
        counted, sent = tallies(session, ids), last_sent(session, ids)
        attached = objectives(session, ids)
        rows, now = [], self._now()
        for one in found:
            at = one.health.next_attempt_at
            tally = counted.get(one.id, Tally())
            if needs and not tally.attention:
                continue
            rows.append(
                ConfigurationRow(
                    configuration=one,
                    status=one.health.status,
                    waiting=tally.waiting,
                    attention=tally.attention,
                    objectives=attached.get(one.id, 0),
                    last_sent_at=sent.get(one.id),
                    next_try_at=at if at and at > now and not one.is_paused else None,
                    oldest_waiting_at=tally.oldest_waiting_at,
                )
            )

        def order(row: ConfigurationRow) -> tuple[int, str, uuid.UUID]:
            fails = row.status.is_error and not row.configuration.is_paused
            rank = 0 if fails else 1 if row.attention else 2
            return rank, row.configuration.name.casefold(), row.configuration.id

        return sorted(rows, key=order)

    def summary(self, rows: Sequence[ConfigurationRow] | None = None) -> Summary:
        """Counts over all configurations.

        :param rows: unfiltered :meth:`rows`, if they are at hand.
        """
        rows = self.rows() if rows is None else rows
        active = [row for row in rows if not row.configuration.is_paused]
        seen = self.workers_seen_at()
        oldest = [row.oldest_waiting_at for row in rows if row.oldest_waiting_at]
        return Summary(
            total=len(rows),
            connected=sum(row.status is Status.CONNECTED for row in active),
            failing=sum(row.status.is_error for row in active),
            paused=len(rows) - len(active),
            not_tested=sum(row.status is Status.NOT_TESTED for row in active),
            waiting=sum(row.waiting for row in rows),
            attention=sum(row.attention for row in rows),
            oldest_waiting_at=min(oldest, default=None),
            workers_seen_at=seen,
            is_worker_missing=any(row.waiting for row in active)
            and (seen is None or self._now() - seen > WORKER_MISSING_AFTER),
        )

    def numbers(self, configuration: Configuration | uuid.UUID | str) -> Numbers:
        """The numbers of one configuration.

        :raises NotFound: no such configuration here.
        """
        configuration = self._one(configuration)
        ids = [configuration.id]
        session = self._state.session()
        tally = tallies(session, ids).get(configuration.id, Tally())
        day_ago = self._now() - timedelta(hours=24)
        sent = session.scalar(
            sa.select(sa.func.count())
            .select_from(Delivery)
            .where(
                Delivery.configuration_id == configuration.id,
                Delivery.settled_at >= day_ago,
                Delivery.state == DeliveryState.DELIVERED,
            )
        )
        return Numbers(
            sent_24h=sent or 0,
            waiting=tally.waiting,
            attention=tally.attention,
            rejected=tally.rejected,
            not_sent=tally.not_sent,
            oldest_waiting_at=tally.oldest_waiting_at,
            last_sent_at=last_sent(session, ids).get(configuration.id),
            objectives=objectives(session, ids).get(configuration.id, 0),
        )

    def daily(self, configuration: Configuration | uuid.UUID | str, days: int = 14) -> list[Day]:
        """The last ``days`` UTC days, today last; days without anything included.

        :raises NotFound: no such configuration here.
        """
        configuration = self._one(configuration)
        session = self._state.session()
        today = self._now().date()
        first = today - timedelta(days=days - 1)
        since = datetime.combine(first, time_of_day(), UTC)
        names = {
            DeliveryState.DELIVERED: "sent",
            DeliveryState.PENDING: "waiting",
            DeliveryState.REJECTED: "rejected",
            DeliveryState.NOT_SENT: "not_sent",
        }
        made: dict[date, dict[str, Any]] = {
            first + timedelta(days=number): {} for number in range(days)
        }
        settled = sa.and_(
            Delivery.settled_at >= since,
            Delivery.state.in_(
                (DeliveryState.DELIVERED, DeliveryState.REJECTED, DeliveryState.NOT_SENT)
            ),
        )
        waiting = sa.and_(Delivery.state == DeliveryState.PENDING, Delivery.recorded_at >= since)
        for moment, which in ((Delivery.settled_at, settled), (Delivery.recorded_at, waiting)):
            day = utc_day(moment)
            rows = session.execute(
                sa.select(day, Delivery.state, sa.func.count())
                .where(Delivery.configuration_id == configuration.id, which)
                .group_by(day, Delivery.state)
            )
            for found, state, count in rows:
                key = found if isinstance(found, date) else date.fromisoformat(found)
                if key in made:
                    made[key][names[state]] = count
        return [Day(date=day, **values) for day, values in made.items()]

    def workers_seen_at(self) -> datetime | None:
        """The newest sign of life of any worker."""
        seen: datetime | None = self._state.session.scalar(sa.select(sa.func.max(Worker.seen_at)))
        return seen


def health(state: AppState, organization_id: str | None) -> Health:
    """Counts and ages of an organization, or of the whole installation with None."""
    overview = Overview(state, organization_id)
    rows = overview.rows()
    summary = overview.summary(rows)
    now = state.clock.now(state.session())
    oldest = min(
        (
            row.oldest_waiting_at
            for row in rows
            if row.oldest_waiting_at and not row.configuration.is_paused
        ),
        default=None,
    )
    return Health(
        is_ok=not summary.failing and not summary.is_worker_missing,
        configurations=summary.total,
        connected=summary.connected,
        failing=summary.failing,
        paused=summary.paused,
        not_tested=summary.not_tested,
        waiting=summary.waiting,
        attention=summary.attention,
        oldest_waiting_seconds=_seconds(oldest, now),
        worker_seen_seconds=_seconds(summary.workers_seen_at, now),
        is_worker_missing=summary.is_worker_missing,
    )


def _seconds(moment: datetime | None, now: datetime) -> int | None:
    return None if moment is None else max(int((now - moment).total_seconds()), 0)


class Mails:
    """The alerts of an organization: what was mailed about a configuration, to whom, and whether it
    went out. To be read only.
    """

    def __init__(self, state: AppState, organization_id: str) -> None:
        self._state = state
        self._organization_id = organization_id

    def list(self, configuration_id: uuid.UUID | str, limit: int = 50) -> Sequence[Mail]:
        """The newest alerts about a configuration.

        :raises NotFound: no such configuration here.
        """
        configuration = Configurations(self._state, self._organization_id).get(configuration_id)
        return self._state.session.scalars(
            sa.select(Mail)
            .where(Mail.configuration_id == configuration.id)
            .order_by(Mail.created_at.desc(), Mail.id.desc())
            .limit(limit)
        ).all()
