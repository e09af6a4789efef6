"""Tasks: acts on many rows, asked for by a page or a command and carried out by a worker.

A task is a row: what was asked, and how far it is. A worker claims one for a short time, which each
step prolongs. A step changes its rows and says so in the task in one transaction, under a fence:
whoever was stopped for so long that another one has the task changes nothing any more. So a process
may be killed at any moment: nothing is missing, nothing is done twice.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from flask import Flask

from ..app_state import AppState
from ..audit import By, Change, as_id, change
from ..database.models import Configuration, Task
from ..database.types import exactly, update
from ..errors import LMSError, NotFound
from ..values import Administrator
from . import attachments, deliveries, objectives, reconcile, release
from .steps import TaskStep, Work

#: The worker that has a task shows that it lives at least so often.
_CLAIM = timedelta(seconds=20)
#: A worker gives a task back after so long when another one waits.
_TURN_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
#: Faults of the host's own loaders in a row until it is given up.
_MOST_FAILURES = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Act:
    """How an act is carried out, and what the history says of it in the end."""

    steps: Callable[[AppState, Work], Iterator[TaskStep]]
    note: Callable[[AppState, Work, Change], None]


def _note(action: str) -> Callable[[AppState, Work, Change], None]:
    def note(state: AppState, work: Work, made: Change) -> None:
        about = None
        if work.configuration_id is not None:
            about = made.session.get(Configuration, work.configuration_id)
        since = {"since": work.asked["since"]} if "since" in work.asked else {}
        made.note(action, about, {**since, **work.counts}, organization_id=work.organization_id)

    return note


_ACTS: Mapping[str, _Act] = MappingProxyType(
    {
        "attach": _Act(steps=attachments.steps_to_attach, note=_note("attached")),
        "detach": _Act(steps=attachments.steps_to_detach, note=_note("detached")),
        "reconcile": _Act(steps=reconcile.steps_to_reconcile, note=_note("reconciled")),
        "backfill": _Act(steps=objectives.steps_to_backfill, note=_note("backfilled")),
        **{
            act: _Act(steps=deliveries.steps_of_act, note=deliveries.note_of_act)
            for act in deliveries.ACTS
        },
        "release": _Act(steps=release.steps_of_release, note=_note("released")),
    }
)


class _Lost(Exception):
    """Another process has the task, or somebody has stopped it."""


# -- asked for ------------------------------------------------------------------------------------


def ask(
    state: AppState,
    organization_id: str,
    act: str,
    asked: Mapping[str, Any],
    *,
    by: By,
    configuration_id: uuid.UUID | None = None,
    total: int | None = None,
) -> Task:
    """Let a worker do it.

    :param act: one of ``attach``, ``detach``, ``backfill``, ``send_again``, ``check_again``,
        ``cancel``, ``release`` and ``reconcile``.
    :param asked: JSON; what its steps read.
    :param total: how many rows it is about; None: the worker counts them first.
    """
    assert act in _ACTS
    with change(state, by) as made:
        task = Task(
            organization_id=organization_id,
            configuration_id=configuration_id,
            act=act,
            asked=dict(asked),
            total=total,
            created_at=made.now,
            administrator_id=by.id if isinstance(by, Administrator) else None,
            administrator_name=made.by_name,
        )
        made.session.add(task)
    return task


def get(state: AppState, organization_id: str, task_id: uuid.UUID) -> Task:
    """One task as it is now.

    :raises NotFound: there is none of that id in this organization.
    """
    query = sa.select(Task).where(
        Task.id == as_id(task_id), exactly(Task.organization_id, organization_id)
    )
    found = state.session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise NotFound("There is no such task.")
    return found


def under_way(state: AppState, organization_id: str) -> Sequence[Task]:
    """Those of an organization that have not ended, oldest first."""
    query = sa.select(Task).where(
        exactly(Task.organization_id, organization_id), Task.ended_at.is_(None)
    )
    return state.session.scalars(query.order_by(Task.id)).all()


def stop(state: AppState, organization_id: str, task_id: uuid.UUID, by: By) -> bool:
    """Do no more of it; what is done stays. False: it has ended already."""
    task = get(state, organization_id, task_id)
    with change(state, by) as made:
        is_open = Task.id == task.id, Task.ended_at.is_(None)
        values = {"ended_at": made.now, "stopped_by": made.by_name or ""}
        if not update(made.session, sa.update(Task).where(*is_open).values(**values)):
            return False
        work = _work_on(get(state, organization_id, task_id))
        _ACTS[work.act].note(state, work, made)
    return True


# -- carried out ----------------------------------------------------------------------------------


def run(app: Flask) -> None:
    """The loop of a worker."""
    state: AppState = app.extensions["lms_state"]
    while not state.is_stopping():
        is_busy = False
        try:
            with app.app_context():
                is_busy = work(state)
        except Exception:
            _log.exception("tasks wait: looking for one failed")
        if not is_busy:
            time.sleep(_PAUSE_SECONDS)


def work(
    state: AppState,
    only: uuid.UUID | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> bool:
    """Carry out a task that nobody has, or a part of it. False: there is none.

    :param only: this one.
    :param on_progress: called with how many are done.
    """
    found = _claim(state, only)
    if found is None:
        return False
    began: float | None = None
    try:
        for step in _ACTS[found.act].steps(state, found):
            began = began or time.monotonic()
            _carry_out(state, found, step)
            if on_progress:
                on_progress(found.done)
            is_long = time.monotonic() - began > _TURN_SECONDS and only is None
            if state.is_stopping() or (is_long and _waits(state, found)):
                _set(state, found, claimed_until=None)
                return True
        _end(state, found)
    except _Lost:
        _log.info("task %s: another process has it, or it was stopped", found.id)
    except LMSError as error:
        state.session.rollback()
        _end(state, found, failure=str(error)[:500])
    except Exception as error:
        state.session.rollback()
        _put_off(state, found, error)
    return True


def _claim(state: AppState, only: uuid.UUID | None) -> Work | None:
    """A task that nobody has, for a while; that with the fewest steps so far, so that a short one
    doesn't wait for a long one.
    """
    session, now = state.session, state.clock.now(state.session())
    is_free = (
        Task.ended_at.is_(None),
        sa.or_(Task.claimed_until.is_(None), Task.claimed_until <= now),
    )
    query = sa.select(Task).where(*is_free).order_by(Task.version, Task.id).limit(1)
    if only is not None:
        query = query.where(Task.id == only)
    task = session.scalar(query.execution_options(populate_existing=True))
    if task is None:
        session.rollback()
        return None
    found = _work_on(task)
    try:
        _set(state, found, claimed_until=now + _CLAIM)
    except _Lost:
        return None
    kept_at = time.monotonic()

    def keep() -> None:
        nonlocal kept_at
        if time.monotonic() - kept_at > _CLAIM.total_seconds() / 4:
            kept_at = time.monotonic()
            until = state.clock.now(state.session()) + _CLAIM
            _set(state, found, claimed_until=until)

    found.keep = keep
    return found


def _work_on(task: Task) -> Work:
    by: By = task.administrator_name
    if task.administrator_id is not None:
        by = Administrator(
            id=task.administrator_id,
            organization_id=task.organization_id,
            name=task.administrator_name,
        )
    return Work(
        id=task.id,
        organization_id=task.organization_id,
        configuration_id=task.configuration_id,
        act=task.act,
        asked=task.asked,
        by=by,
        total=task.total,
        done=task.done,
        position=task.position,
        version=task.version,
        counts=dict(task.counts),
    )


def _fence(session: Any, found: Work, **values: Any) -> None:
    """Change the task if it is still this process's; it is the first change of a transaction, so
    that nobody else changes it, or its rows, until that ends.
    """
    mine = Task.id == found.id, Task.version == found.version, Task.ended_at.is_(None)
    values["version"] = found.version + 1
    if update(session, sa.update(Task).where(*mine).values(**values)) != 1:
        raise _Lost


def _set(state: AppState, found: Work, **values: Any) -> None:
    with change(state) as made:
        _fence(made.session, found, **values)
    found.version += 1


def _carry_out(state: AppState, found: Work, step: TaskStep) -> None:
    """One step and its note in one transaction."""
    with change(state, found.by) as made:
        _fence(made.session, found, claimed_until=made.now + _CLAIM, failures=0)
        counts = dict(found.counts)
        for name, number in step.do(made).items():
            counts[name] = counts.get(name, 0) + number
        total = step.total if step.total is not None else found.total
        values = {"total": total, "done": step.done, "position": dict(step.position)}
        update(
            made.session, sa.update(Task).where(Task.id == found.id).values(counts=counts, **values)
        )
    found.version += 1
    found.counts, found.total, found.done, found.position = counts, total, step.done, step.position


def _end(state: AppState, found: Work, failure: str | None = None) -> None:
    try:
        with change(state, found.by) as made:
            _fence(made.session, found, ended_at=made.now, failure=failure, claimed_until=None)
            _ACTS[found.act].note(state, found, made)
    except _Lost:
        _log.info("task %s was ended by another process", found.id)


def _put_off(state: AppState, found: Work, error: Exception) -> None:
    """It is tried again; not for ever when the host's own loaders raise."""
    _log.exception("task %s (%s) waits: a step of it failed", found.id, found.act)
    if not isinstance(error, sa.exc.OperationalError):
        task = get(state, found.organization_id, found.id)
        if task.failures + 1 >= _MOST_FAILURES:
            _end(state, found, failure=f"{type(error).__name__}: see the worker's log.")
            return
        failures = task.failures + 1
    else:
        failures = 0
    now = state.clock.now(state.session())
    try:
        _set(state, found, failures=failures, claimed_until=now + _CLAIM)
    except _Lost:
        _log.info("task %s is another process's now", found.id)


def _waits(state: AppState, found: Work) -> bool:
    now = state.clock.now(state.session())
    others = sa.select(Task.id).where(
        Task.id != found.id,
        Task.ended_at.is_(None),
        sa.or_(Task.claimed_until.is_(None), Task.claimed_until <= now),
    )
    is_there = state.session.scalar(others.limit(1)) is not None
    state.session.rollback()
    return is_there


def follow(
    state: AppState, task_id: uuid.UUID, organization_id: str, on_progress: Callable[[int], None]
) -> Task:
    """Carry a task out here, or watch the worker that has it, until it has ended."""
    while True:
        task = get(state, organization_id, task_id)
        on_progress(task.done)
        if task.ended_at is not None:
            return task
        if not work(state, task_id, on_progress):
            time.sleep(_PAUSE_SECONDS / 5)
