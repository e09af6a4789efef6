"""Check in your LMS: what it has of what it accepted, read back and compared. Nothing is changed
there, and nothing is sent again by itself.

Two walks. What the LMS lists is compared a page at a time; then whatever was not in that list is
asked for one by one. So most of ten thousand statements cost few requests, and none is called
missing because a list left it out. What a list has beside ours is remembered: somebody may have
stored a result twice.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..audit import Change
from ..connectors.base import Answer, Connector, Found, Reader, Sent, StoredPage
from ..database.models import SKELETON, Configuration, Delivery, DeliveryState, ReadBack, Task
from ..database.types import by_id, exactly, update
from ..encryption import binding
from ..errors import LMSError
from .configurations import Configurations
from .steps import STEP, TaskStep, Work

#: What an LMS accepted so lately may not be readable yet.
GRACE = timedelta(minutes=5)
#: So much may its clock differ.
_SKEW = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_MOMENT = timedelta(milliseconds=1)
#: Requests one by one until they are noted.
_FEW = 25
#: Faults in a row until it is given up, and the longest wait between them, in seconds.
_MOST_FAULTS = 3
_LONGEST_WAIT = 10.0
#: For connecting, for each silence and in all, in seconds: a task is claimed for 20 at a time.
_LIMITS = (5.0, 12.0, 14.0)
#: An LMS may list much that isn't ours: pages that are looked at in any case, and statements of
#: others that are remembered.
_PAGES = 50
_MOST_OTHERS = 2000

_ROW: tuple[Any, ...] = (
    Delivery.statement_id,
    Delivery.kind,
    Delivery.revision,
    Delivery.result_id,
    Delivery.statement,
    Delivery.state,
    Delivery.settled_at,
    Delivery.read_back,
    Delivery.read_back_at,
    Delivery.id,
)
_log = logging.getLogger(__name__)


def asked_of(state: AppState, since: datetime) -> dict[str, str]:
    """What a task is asked: all that was sent since then.

    :param since: aware.
    """
    # Some databases keep no fractions, and by it a row is known to be looked at.
    now = state.clock.now(state.session()).replace(microsecond=0)
    return {"since": since.isoformat(), "at": now.isoformat()}


def count(state: AppState, configuration_id: uuid.UUID, asked: Mapping[str, str]) -> int:
    """How many statements such a task would look for."""
    query = sa.select(sa.func.count()).select_from(Delivery)
    return state.session.scalar(query.where(*_scope(configuration_id, asked))) or 0


def reader_of(state: AppState, configuration: Configuration) -> Reader | None:
    """What reads back what this configuration sent; None: such LMSs can't be asked.

    :raises LMSError: its LMS type isn't installed.
    :raises SecretUnreadable: no key decrypts its secrets.
    """
    connector, settings = state.registry.get(configuration.type), configuration.settings
    if connector is None:
        raise LMSError(f"There is no LMS type {configuration.type!r} any more.")
    bound_to = binding(configuration.id, connector.origin(settings))
    secrets = state.encryption.decrypt(configuration.secrets, bound_to)
    transport = state.transport_for(configuration.organization_id).within(*_LIMITS)
    return connector.reader(settings, secrets, transport)


def can_read_back(connector: Connector | None) -> bool:
    """Whether LMSs of this type can be asked what they have."""
    return connector is not None and type(connector).reader is not Connector.reader


def last(state: AppState, organization_id: str, configuration_id: uuid.UUID) -> Task | None:
    """The newest check of a configuration that went to its end; None: there was none yet."""
    query = sa.select(Task).where(
        exactly(Task.organization_id, organization_id),
        Task.configuration_id == configuration_id,
        Task.act == "reconcile",
        Task.ended_at.is_not(None),
        Task.failure.is_(None),
        Task.stopped_by.is_(None),
    )
    return state.session.scalar(query.order_by(Task.id.desc()).limit(1))


def steps_to_reconcile(state: AppState, work: Work) -> Iterator[TaskStep]:
    """The steps of a task that looks for what a configuration sent."""
    assert work.configuration_id is not None
    configuration = Configurations(state, work.organization_id).get(work.configuration_id)
    connector = state.registry.get(configuration.type)
    reader = reader_of(state, configuration)
    if reader is None:
        raise LMSError("LMSs of this type can't be asked what they have.")
    yield from _Check(state, work, configuration.id, connector, reader).steps()


def _scope(
    configuration_id: uuid.UUID, asked: Mapping[str, str]
) -> Sequence[sa.ColumnElement[bool]]:
    """What was sent since then, but for the last minutes."""
    return (
        Delivery.configuration_id == configuration_id,
        Delivery.state == DeliveryState.DELIVERED,
        Delivery.settled_at >= datetime.fromisoformat(asked["since"]),
        Delivery.settled_at < datetime.fromisoformat(asked["at"]) - GRACE,
        Delivery.participant_id != SKELETON,
    )


class _Check:
    """One task, as the process that carries it out has it.

    The position: ``listed_to`` where the list goes on, ``is_listed`` once it has ended, ``pages``
    of it so far, ``lag_seconds`` of the LMS, ``others`` (likeness → ids) that aren't ours, and
    ``fault`` once the LMS is asked no more.
    """

    def __init__(
        self,
        state: AppState,
        work: Work,
        configuration_id: uuid.UUID,
        connector: Connector | None,
        reader: Reader,
    ) -> None:
        self.state, self.work, self.reader, self.connector = state, work, reader, connector
        self.configuration_id = configuration_id
        self.since = datetime.fromisoformat(work.asked["since"])
        self.at = datetime.fromisoformat(work.asked["at"])
        self.newest = self.at - GRACE
        self.scope = _scope(configuration_id, work.asked)
        self.position: dict[str, Any] = {"pages": 0, "others": {}, **work.position}
        self.faults = 0

    @property
    def session(self) -> Session:
        return self.state.session()

    def steps(self) -> Iterator[TaskStep]:
        if self.work.total is None or not self.work.position:
            total = count(self.state, self.configuration_id, self.work.asked)
            newer = sa.select(sa.func.count()).where(
                Delivery.configuration_id == self.configuration_id,
                Delivery.state == DeliveryState.DELIVERED,
                Delivery.settled_at >= max(self.newest, self.since),
                Delivery.settled_at <= self.at + _SECOND,
            )
            too_new = self.session.scalar(newer) or 0
            told = {"too_new": too_new} if too_new else {}
            yield TaskStep(do=lambda made: told, done=0, position=self.position, total=total)
        if not self.position.get("is_listed"):
            yield from self._list()
            self.position["is_listed"] = True
        yield from self._each()

    # -- the list --------------------------------------------------------------------------------

    def _list(self) -> Iterator[TaskStep]:
        """What the LMS lists of us, from where it was left."""
        most = _PAGES + (self.work.total or 0) // 50
        while "fault" not in self.position:
            since = self.since - _SKEW
            if listed_to := self.position.get("listed_to"):
                # Others of the same moment may have been on the next page.
                since = max(since, datetime.fromisoformat(listed_to) - _MOMENT)
            answer: Answer | None = None
            self._free()
            for page in self.reader.pages(since):
                if isinstance(page, Answer):
                    answer = page
                    break
                self.faults = 0
                found = self._compared(page)
                self.position["pages"] += 1
                self.position["lag_seconds"] = page.lag_seconds
                if page.listed_to is not None:
                    self.position["listed_to"] = page.listed_to.isoformat()
                yield self._noted(found)
                if self.position["pages"] >= most:
                    return
                self._free()
            if answer is None:
                return
            yield from self._fault(answer)

    def _compared(self, page: StoredPage) -> dict[uuid.UUID, Found]:
        """Those of a page that are ours; others are remembered."""
        of_organization = sa.select(Configuration.id).where(
            exactly(Configuration.organization_id, self.work.organization_id)
        )
        known = set(
            self.session.scalars(
                sa.select(Delivery.statement_id).where(
                    Delivery.configuration_id.in_(of_organization),
                    Delivery.statement_id.in_(list(page.statements)),
                )
            )
        )
        others = self.position["others"]
        for id, stored in page.statements.items():
            if id not in known and len(others) < _MOST_OTHERS:
                likeness = self.reader.likeness(stored)
                if likeness is not None and len(others.get(likeness, ())) < 5:
                    others[likeness] = sorted({*others.get(likeness, ()), str(id)})
        query = sa.select(*_ROW).where(*self.scope, Delivery.statement_id.in_(known))
        rows = [row for row in self.session.execute(query) if not self._is_looked_at(row)]
        withdrawn = self._withdrawn(rows)
        return {
            row.id: _judged(
                self.reader.compare(row.statement, page.statements[row.statement_id]),
                withdrawn.get(row.id),
            )
            for row in rows
        }

    # -- one by one ------------------------------------------------------------------------------

    def _each(self) -> Iterator[TaskStep]:
        """What the list didn't show; and of all, whether another one tells of the same."""
        query: sa.Select[Any] = sa.select(*_ROW).where(*self.scope)
        if not self.position["others"]:
            query = query.where(_before(self.at))
        if after := self.position.get("after"):
            query = query.where(Delivery.id > uuid.UUID(after))
        for rows in by_id(self.session, query, Delivery.id, STEP):
            withdrawn = self._withdrawn(rows)
            found: dict[uuid.UUID, Found] = {}
            asked = 0
            for row in rows:
                while not self._is_looked_at(row):
                    one = self._asked(row, withdrawn.get(row.id))
                    if isinstance(one, Answer):
                        yield from self._fault(one)
                        continue
                    asked += "fault" not in self.position
                    if one is not None:
                        found[row.id] = one
                    break
                is_there = found[row.id].read_back if row.id in found else row.read_back
                if is_there is ReadBack.CONFIRMED and (ids := self._doubles(row)):
                    found[row.id] = Found(read_back=ReadBack.DOUBLED, facts={"ids": ids})
                if asked >= _FEW:
                    asked, self.position["after"] = 0, row.id.hex
                    yield self._noted(found)
                    found = {}
            self.position["after"] = rows[-1].id.hex
            yield self._noted(found)

    def _asked(self, row: Any, withdrawn: bool | None) -> Found | Answer | None:
        """What the LMS has of one; None: it is too early to say."""
        if fault := self.position.get("fault"):
            return Found(read_back=ReadBack.UNREADABLE, facts=fault)
        self._free()
        found = self.reader.one(row.statement_id, row.statement)
        if isinstance(found, Answer):
            return found
        self.faults = 0
        judged = _judged(found, withdrawn)
        lag = timedelta(seconds=self.position.get("lag_seconds", 0.0))
        if judged.read_back is ReadBack.MISSING and row.settled_at >= self.newest - lag:
            return None
        return judged

    def _doubles(self, row: Any) -> list[str]:
        """Ids under which somebody else stored the same; of several alike one has them."""
        likeness = row.statement and self.reader.likeness(row.statement)
        found: list[str] = self.position["others"].pop(likeness, [])
        return found

    # -- what both need --------------------------------------------------------------------------

    def _is_looked_at(self, row: Any) -> bool:
        return row.read_back_at is not None and row.read_back_at >= self.at

    def _withdrawn(self, rows: Iterable[Any]) -> dict[uuid.UUID, bool]:
        """Those that we took back ourselves → whether the LMS must know it by now."""
        of: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            if row.kind != "void":
                of[row.result_id].append(row)
        voids = sa.select(
            Delivery.statement_id,
            Delivery.revision,
            Delivery.result_id,
            Delivery.state,
            Delivery.settled_at,
        ).where(
            exactly(Delivery.organization_id, self.work.organization_id),
            Delivery.configuration_id == self.configuration_id,
            Delivery.kind == "void",
            Delivery.result_id.in_(list(of)),
        )
        found: dict[uuid.UUID, bool] = {}
        for void in self.session.execute(voids):
            is_known = (
                void.state is DeliveryState.DELIVERED
                and void.settled_at is not None
                and void.settled_at < self.newest
            )
            sent = Sent(id=void.statement_id, kind="void", revision=void.revision)
            for row in of.get(void.result_id, ()):
                old = Sent(id=row.statement_id, kind=row.kind, revision=row.revision)
                if self.reader.takes_back(sent, old):
                    found[row.id] = is_known or found.get(row.id, False)
        return found

    def _write(self, found: Mapping[uuid.UUID, Found], made: Change) -> dict[str, int]:
        """Note these, unless they were sent again, or noted, meanwhile."""
        counts: dict[str, int] = defaultdict(int)
        alike: dict[tuple[ReadBack, str], list[uuid.UUID]] = defaultdict(list)
        for id, one in found.items():
            alike[one.read_back, repr(one.facts)].append(id)
        for (read_back, _), ids in alike.items():
            change = (
                sa.update(Delivery)
                .where(*self.scope, Delivery.id.in_(ids))
                .values(
                    read_back=read_back,
                    read_back_at=made.now,
                    read_back_facts=dict(found[ids[0]].facts) or sa.null(),
                )
            )
            if read_back is ReadBack.DOUBLED:  # until now they passed for confirmed
                known = Delivery.read_back_at >= self.at
                before = update(made.session, change.where(known))
                counts[ReadBack.CONFIRMED.value] -= before
                counts[read_back.value] += before
            counts[read_back.value] += update(made.session, change.where(_before(self.at)))
        return counts

    def _noted(self, found: Mapping[uuid.UUID, Found]) -> TaskStep:
        counts = self.work.counts
        done = sum(counts.get(one.value, 0) for one in ReadBack) + sum(
            one.read_back is not ReadBack.DOUBLED for one in found.values()
        )
        return TaskStep(do=partial(self._write, found), done=done, position=self.position)

    def _free(self) -> None:
        """No transaction is open while the LMS is asked."""
        self.work.keep()
        self.session.rollback()

    def _fault(self, answer: Answer) -> Iterator[TaskStep]:
        """Wait a little; or ask no more."""
        self.faults += 1
        cause = self.connector and self.state.registry.cause(self.connector.type, answer.cause)
        if self.faults >= _MOST_FAULTS or (cause and cause.is_settings):
            told = {
                name: answer.facts[name]
                for name in ("host", "port", "http_status", "seconds")
                if answer.facts.get(name) is not None
            }
            self.position["fault"] = {"cause": answer.cause, "facts": told}
        else:
            wait = min(answer.retry_after_seconds or self.faults, _LONGEST_WAIT)
            ends = time.monotonic() + wait
            while time.monotonic() < ends and not self.state.is_stopping():
                self._free()
                time.sleep(0.2)
        yield self._noted({})


def _before(at: datetime) -> sa.ColumnElement[bool]:
    """Not looked at since."""
    return sa.or_(Delivery.read_back_at.is_(None), Delivery.read_back_at < at)


def _judged(found: Found, withdrawn: bool | None) -> Found:
    """What it means of a statement that we took back ourselves.

    :param withdrawn: None: we didn't. True: the LMS must know it by now.
    """
    if withdrawn is None or found.read_back is ReadBack.UNREADABLE:
        return found
    if found.read_back in (ReadBack.MISSING, ReadBack.VOIDED):
        return Found(read_back=ReadBack.CONFIRMED, facts={"is_withdrawn": True})
    if withdrawn:
        return Found(read_back=ReadBack.DIFFERENT, facts={"is_withdrawn": True})
    return found
