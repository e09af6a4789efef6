"""Check in your LMS: asked for here, done by a worker, and what came of it, with what to do."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from ..database.models import ReadBack
from ..i18n import number
from ..services import reconcile, tasks
from . import pages, wording
from .forms import ActForm
from .tasks import hand_over, under_way

_DAYS = 30


def page(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """What the last check found; and the next one."""
    state = pages.state()
    configuration = pages.configurations().get(configuration_id)
    connector = state.registry.get(configuration.type)
    can_read = reconcile.can_read_back(connector)
    form = ActForm()
    if request.method == "POST" and form.validate_on_submit() and can_read:
        for begun in tasks.under_way(state, pages.organization_id()):
            if (begun.act, begun.configuration_id) == ("reconcile", configuration_id):
                return pages.go("task", task_id=begun.id)
        since = pages.day(request.form.get("since")) or pages.now() - _DAYS * pages.DAY
        asked = reconcile.asked_of(state, since)
        total = reconcile.count(state, configuration_id, asked)
        return hand_over("reconcile", asked, configuration_id=configuration_id, total=total)

    last = reconcile.last(state, pages.organization_id(), configuration_id)
    outcome: list[tuple[Any, ...]] = []
    fault: tuple[str | None, list[str]] = (None, [])
    if last is not None:
        for one in ReadBack:
            if n := last.counts.get(one.value):
                meaning, acts = wording.read_back_meaning(one, state.settings.platform_name)
                outcome.append((one.value, wording.read_back_badge(one), number(n), meaning, acts))
        if found := last.position.get("fault"):
            fault = state.registry.explain(configuration.type, found["cause"], found["facts"])
    return pages.render(
        "reconcile.html",
        configuration=configuration,
        can_read=can_read,
        under_way=under_way(configuration_id),
        last=last,
        since=datetime.fromisoformat(last.asked["since"]) if last else None,
        outcome=outcome,
        fault=fault,
        too_new=last.counts.get("too_new", 0) if last else 0,
        can_send_again=pages.deliveries().count_sendable(
            configuration_id=configuration_id, read_back=ReadBack.MISSING
        )
        if last
        else 0,
        today=pages.now().date(),
        form=form,
        forms=[form],
    )
