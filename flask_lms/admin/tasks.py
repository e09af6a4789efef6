"""Acts on many rows: handed to a worker, and how far it is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flask import Response
from flask.typing import ResponseReturnValue

from ..database.models import Task
from ..i18n import N_, gettext, number
from ..services import tasks
from . import pages
from .forms import ActForm
from .history import field_label

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "attach": N_("Attaching objectives"),
        "detach": N_("Detaching objectives"),
        "backfill": N_("Sending past results"),
        "send_again": N_("Sending results again"),
        "check_again": N_("Checking results again"),
        "cancel": N_("Cancelling results"),
        "release": N_("Sending results of mapped participants"),
        "reconcile": N_("Checking in your LMS"),
    }
)


def hand_over(
    act: str,
    asked: Mapping[str, Any],
    *,
    configuration_id: uuid.UUID | None = None,
    total: int | None = None,
) -> Response:
    """Let a worker do it, and go to the page that shows how far it is."""
    task = tasks.ask(
        pages.state(),
        pages.organization_id(),
        act,
        asked,
        by=pages.administrator(),
        configuration_id=configuration_id,
        total=total,
    )
    return pages.go("task", task_id=task.id)


def progress(task: Task) -> str:
    """How far it is, in words."""
    if task.total is None:
        return gettext("%(n)s so far", n=number(task.done))
    done = number(min(task.done, task.total))
    return gettext("%(n)s of %(total)s", n=done, total=number(task.total))


def under_way(
    configuration_id: uuid.UUID | None = None, act: str | None = None
) -> list[tuple[str, str, str]]:
    """Address, title and progress of those that have not ended; of one configuration or act, or
    all.
    """
    return [
        (pages.url("task", task_id=one.id), gettext(TITLES[one.act]), progress(one))
        for one in tasks.under_way(pages.state(), pages.organization_id())
        if configuration_id in (None, one.configuration_id) and act in (None, one.act)
    ]


def page(task_id: uuid.UUID) -> ResponseReturnValue:
    """One task: how far it is, or what came of it."""
    task = tasks.get(pages.state(), pages.organization_id(), task_id)
    configuration = None
    if task.configuration_id is not None:
        configuration = pages.configurations().get(task.configuration_id, with_deleted=True)
    left_out = task.position.get("left_out", ())
    form = ActForm()
    return pages.render(
        "task.html",
        task=task,
        title=gettext(TITLES[task.act]),
        progress=progress(task),
        every=pages.SOON if not task.ended_at else 0 if pages.is_live() else None,
        said=gettext("Done.") if task.ended_at else gettext("Under way."),
        configuration=configuration,
        counts=[(field_label("", name), number(n)) for name, n in task.counts.items() if n],
        left_out=left_out,
        left_out_more=task.counts.get("left_out", 0) - len(left_out),
        form=form,
        forms=[form],
    )


def stop(task_id: uuid.UUID) -> ResponseReturnValue:
    """Do no more of it, after it was said what stays."""
    task = tasks.get(pages.state(), pages.organization_id(), task_id)

    def act() -> ResponseReturnValue:
        tasks.stop(pages.state(), pages.organization_id(), task_id, pages.administrator())
        return pages.go("task", task_id=task_id)

    return pages.confirm(
        act,
        title=gettext("Stop “%(act)s”?", act=gettext(TITLES[task.act])),
        facts=[gettext("What is done already stays as it is.")],
        button=gettext("Stop"),
        back=pages.url("task", task_id=task_id),
        is_danger=True,
    )
