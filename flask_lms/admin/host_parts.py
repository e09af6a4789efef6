"""What hosts put into pages of their own (``lms/macros.html``). Only administrators see it; for
anybody else there is nothing, and no query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ..entities import Objective
from ..errors import NotFound
from ..models import Configuration
from ..services.configurations import Configurations
from ..services.objectives import Objectives
from ..services.overview import ConfigurationRow, Overview
from . import access, pages
from .forms import ActForm


@dataclass(frozen=True, kw_only=True)
class Panel:
    """An objective with its LMS configurations."""

    objective: Objective
    attached: Sequence[Configuration]
    others: Sequence[Configuration]
    act: ActForm
    can_backfill: bool
    today: date


def panel(objective_id: object) -> Panel | None:
    """What the objective's panel shows; None: not for this reader, or no such objective."""
    reader = access.current_administrator()
    if reader is None:
        return None
    state, organization_id = access.state(), reader.organization_id
    objectives = Objectives(state, organization_id)
    try:
        row = objectives.get(str(objective_id))
    except NotFound:
        return None
    everything = Configurations(state, organization_id).list()
    ids = {link.configuration_id for link in row.links}
    return Panel(
        objective=row.objective,
        attached=[one for one in everything if one.id in ids],
        others=[one for one in everything if one.id not in ids],
        act=ActForm(),
        can_backfill=objectives.can_backfill(),
        today=pages.now().date(),
    )


def banner() -> Sequence[ConfigurationRow]:
    """The configurations that don't work; one query while all do."""
    reader = access.current_administrator()
    if reader is None:
        return ()
    state, organization_id = access.state(), reader.organization_id
    if not Configurations(state, organization_id).list(status="error"):
        return ()
    return Overview(state, organization_id).rows(status="error")


def navigation() -> int | None:
    """How many configurations don't work; None: not for this reader."""
    reader = access.current_administrator()
    if reader is None:
        return None
    return len(Configurations(access.state(), reader.organization_id).list(status="error"))
