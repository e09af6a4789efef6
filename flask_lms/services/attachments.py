"""Which objectives' results go to which configuration."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from ..app_state import AppState
from ..audit import By, Change, change
from ..checks import Errors, absolute_iri
from ..database.models import Configuration, Delivery, DeliveryState, ObjectiveLink
from ..database.types import exactly, update
from ..errors import InvalidConfiguration, NotFound
from ..i18n import Words
from . import csv_lines
from .csv_lines import BadLine
from .steps import STEP, TaskStep, Work

#: Column of a file → what else it may be called, in the languages of the pages.
COLUMNS: Mapping[str, Sequence[str]] = {
    "objective_id": ("objective", "id", "Lernziel-ID"),
    "name": (),
    "activity_id": ("activity", "activity id in your lms", "iri", "Aktivitäts-ID",
                    "Aktivitäts-ID in Ihrem LMS"),
}  # fmt: skip
#: Up to so many are looked up one by one; for more the host's list is walked.
_FEW = 20
_WALK = 500
#: Each is a condition of its own.
_DETACHED_AT_ONCE = 50
#: Objectives that a task left out and names; of more it tells how many.
MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class ActivityIdsReport:
    """What came of a file with activity IDs.

    :param changed: how many objectives the LMS calls otherwise now.
    :param bad_lines: those that can't be taken, by number: then nothing was saved.
    """

    changed: int = 0
    bad_lines: tuple[BadLine, ...] = ()


def attach(
    state: AppState,
    configuration: Configuration,
    objective_id: str,
    by: By,
    activity_id: str | None = None,
) -> ObjectiveLink:
    """One link; the existing one when there is one.

    :param activity_id: what the LMS calls it; empty: as the host does; None: as it is.
    :raises NotFound: the organization has no such objective.
    :raises InvalidConfiguration: field ``objective``: it has as many as it may have; field
        ``activity_id``: it is no absolute IRI.
    """
    errors = Errors()
    wanted = errors.take("activity_id", absolute_iri, activity_id)
    errors.check()
    configuration_id = configuration.id
    found = _find(state, configuration_id, [objective_id]).get(objective_id)
    if found is not None:
        if activity_id is not None:
            change_activity_ids(state, configuration, {objective_id: wanted or ""}, by)
        return found
    if not _known(state, configuration.organization_id, [objective_id]):
        raise NotFound("There is no such objective.")
    _check_quota(state, configuration.organization_id, [objective_id])
    _add(state, configuration, [objective_id], by, wanted or None)
    link = _find(state, configuration_id, [objective_id])[objective_id]
    if wanted and link.activity_id != wanted:  # somebody attached it at the same time
        change_activity_ids(state, configuration, {objective_id: wanted}, by)
    return link


def change_activity_ids(
    state: AppState, configuration: Configuration, ids: Mapping[str, str], by: By
) -> int:
    """What the LMS calls attached objectives, from now on; returns how many are changed.

    :param ids: objective → absolute IRI, checked; empty: as the host calls it.
    """
    changed: dict[str, list[str | None]] = {}
    with change(state, by) as made:
        for objective_id, link in _find(state, configuration.id, list(ids)).items():
            new = ids[objective_id] or None
            if link.activity_id != new:
                changed[objective_id] = [link.activity_id, new]
                link.activity_id = new
        if len(changed) == 1:
            [(objective_id, pair)] = changed.items()
            named = _named(state, configuration.organization_id, objective_id)
            facts: dict[str, Any] = {"objective": named, "activity_id": pair}
            made.note("activity_ids_changed", configuration, facts)
        elif changed:
            made.note("activity_ids_changed", configuration, {"objectives": len(changed)})
    return len(changed)


def import_activity_ids(
    state: AppState, configuration: Configuration, file: bytes | str, by: By
) -> ActivityIdsReport:
    """:func:`change_activity_ids` from a CSV file.

    :raises InvalidConfiguration: field ``file``: it is no such file.
    """
    table = csv_lines.read(file, COLUMNS, ["objective_id", "activity_id"])
    bad = {one.number: one for one in table.bad}
    named = [values["objective_id"] for _, values in table.rows if values.get("objective_id")]
    attached = _find(state, configuration.id, named)
    lines: dict[str, tuple[int, str]] = {}
    for number, values in table.rows:
        objective_id, errors = values.get("objective_id", ""), Errors()
        given = errors.take("activity_id", absolute_iri, values.get("activity_id")) or ""
        if objective_id not in attached:
            errors.add(
                "objective_id", Words("This objective is not attached to this LMS configuration.")
            )
        first, before = lines.setdefault(objective_id, (number, given))
        if before != given:
            errors.add("activity_id", Words("Line %(number)s says something else.", number=first))
        try:
            errors.check()
        except InvalidConfiguration as error:
            bad[number] = BadLine(number=number, errors=error.errors)
    if bad:
        return ActivityIdsReport(bad_lines=tuple(bad[number] for number in sorted(bad)))
    ids = {objective_id: given for objective_id, (_, given) in lines.items()}
    return ActivityIdsReport(changed=change_activity_ids(state, configuration, ids, by))


def doubled_activity_ids(state: AppState, configuration: Configuration) -> list[str]:
    """What an LMS is to call several of the objectives attached: it can't tell them apart."""
    counts = Counter(link.activity_id for link in of_configuration(state, configuration))
    return sorted(one for one, count in counts.items() if one and count > 1)


def attach_many(
    state: AppState, configuration: Configuration, objective_ids: Sequence[str], by: By
) -> int:
    """Links to all that the organization has; returns how many are new.

    :raises InvalidConfiguration: field ``objective``: one has as many as it may have; nothing was
        written.
    """
    wanted = list(dict.fromkeys(str(objective_id) for objective_id in objective_ids))
    found = _find(state, configuration.id, wanted)
    missing = [objective_id for objective_id in wanted if objective_id not in found]
    known = _known(state, configuration.organization_id, missing)
    new = [one for one in missing if one in known]
    _check_quota(state, configuration.organization_id, new)
    return _add(state, configuration, new, by)


def detach(
    state: AppState,
    configuration: Configuration,
    objective_id: str,
    cancel_waiting: bool,
    by: By,
) -> int:
    """Remove a link; returns how many waiting results were cancelled."""
    link = _find(state, configuration.id, [objective_id]).get(objective_id)
    if link is None and not cancel_waiting:
        return 0
    cancelled = 0
    with change(state, by) as made:
        if link is not None:
            made.session.delete(link)
        if cancel_waiting:
            cancelled = update(
                made.session,
                sa.update(Delivery)
                .where(
                    Delivery.configuration_id == configuration.id,
                    exactly(Delivery.objective_id, objective_id),
                    Delivery.state == DeliveryState.PENDING,
                )
                .values(
                    state=DeliveryState.CANCELLED, settled_at=made.now, settled_by=made.by_name
                ),
            )
        named = _named(state, configuration.organization_id, objective_id)
        made.note("detached", configuration, {"objective": named, "cancelled": cancelled})
    return cancelled


def steps_to_attach(state: AppState, work: Work) -> Iterator[TaskStep]:
    """The steps of a task that attaches ``asked["ids"]``; those that the host doesn't have are left
    out.
    """
    assert work.configuration_id is not None
    ids, at = work.asked["ids"], work.position.get("attached", 0)
    known = _known(state, work.organization_id, ids[at:])
    work.keep()
    for start in range(at, len(ids), STEP):
        part = [one for one in ids[start : start + STEP] if one in known]
        left_out = list(work.position.get("left_out", ()))
        yield TaskStep(
            do=partial(_attach_some, state, work, part, left_out),
            done=min(start + STEP, len(ids)),
            position={"attached": start + STEP, "left_out": left_out},
            total=None if "objectives" in work.asked else len(ids),
        )


def _attach_some(
    state: AppState, work: Work, ids: Sequence[str], left_out: list[str], made: Change
) -> dict[str, int]:
    configuration_id = work.configuration_id
    assert configuration_id is not None
    there = _find(state, configuration_id, ids)
    links, most = of_objectives(state, work.organization_id, ids), state.settings.max_attached
    # A task asks nobody: what is full is left out, and named in the end.
    missing = [one for one in ids if one not in there]
    full = [one for one in missing if len(links.get(one, ())) >= most]
    named = full[: max(MOST_NAMED - len(left_out), 0)]
    left_out += [_named(state, work.organization_id, one) for one in named]
    new = [one for one in missing if one not in full]
    _link(work.organization_id, configuration_id, new, made)
    return {"objectives": len(new), **({"left_out": len(full)} if full else {})}


def steps_to_detach(state: AppState, work: Work) -> Iterator[TaskStep]:
    """The steps of a task that detaches ``asked["ids"]`` and, with ``asked["cancels"]``, cancels
    what waits.
    """
    ids = work.asked["ids"]
    for start in range(work.position.get("detached", 0), len(ids), _DETACHED_AT_ONCE):
        end = min(start + _DETACHED_AT_ONCE, len(ids))
        yield TaskStep(
            do=partial(_detach_some, state, work, ids[start:end]),
            done=end,
            position={"detached": end},
            total=len(ids),
        )


def _detach_some(state: AppState, work: Work, ids: Sequence[str], made: Change) -> dict[str, int]:
    configuration_id = work.configuration_id
    assert configuration_id is not None
    found = _find(state, configuration_id, ids)
    links = [found[one].id for one in ids if one in found]
    counts = {
        "objectives": update(
            made.session, sa.delete(ObjectiveLink).where(ObjectiveLink.id.in_(links))
        )
    }
    if work.asked["cancels"]:
        counts["cancelled"] = update(
            made.session,
            sa.update(Delivery)
            .where(
                Delivery.configuration_id == configuration_id,
                Delivery.objective_id.in_(ids),
                sa.or_(*(exactly(Delivery.objective_id, one) for one in ids)),
                Delivery.state == DeliveryState.PENDING,
            )
            .values(state=DeliveryState.CANCELLED, settled_at=made.now, settled_by=made.by_name),
        )
    return counts


def of_configuration(state: AppState, configuration: Configuration) -> Sequence[ObjectiveLink]:
    """A configuration's links, oldest first."""
    return state.session.scalars(
        sa.select(ObjectiveLink)
        .where(ObjectiveLink.configuration_id == configuration.id)
        .order_by(ObjectiveLink.attached_at, ObjectiveLink.id)
    ).all()


def of_objectives(
    state: AppState, organization_id: str, objective_ids: Iterable[str]
) -> dict[str, list[ObjectiveLink]]:
    """Objective → its links with their configurations, by name; those deleted are left out."""
    rows = state.session.scalars(
        sa.select(ObjectiveLink)
        .join(ObjectiveLink.configuration)
        .options(joinedload(ObjectiveLink.configuration))
        .where(
            exactly(ObjectiveLink.organization_id, organization_id),
            ObjectiveLink.objective_id.in_(list(objective_ids)),
            Configuration.deleted_at.is_(None),
        )
    ).all()
    by_objective: dict[str, list[ObjectiveLink]] = {}
    for link in sorted(rows, key=lambda one: one.configuration.name.casefold()):
        by_objective.setdefault(link.objective_id, []).append(link)
    return by_objective


def _find(
    state: AppState, configuration_id: uuid.UUID, objective_ids: Sequence[str]
) -> dict[str, ObjectiveLink]:
    rows: list[ObjectiveLink] = []
    for start in range(0, len(objective_ids), _WALK):
        rows += state.session.scalars(
            sa.select(ObjectiveLink).where(
                ObjectiveLink.configuration_id == configuration_id,
                ObjectiveLink.objective_id.in_(objective_ids[start : start + _WALK]),
            )
        )
    return {link.objective_id: link for link in rows}


def _known(state: AppState, organization_id: str, objective_ids: Sequence[str]) -> set[str]:
    """Those of ``objective_ids`` that the host has in this organization."""
    if len(objective_ids) <= _FEW:
        return {
            one
            for one in objective_ids
            if state.callbacks.objective(organization_id, one) is not None
        }
    wanted, known, offset = set(objective_ids), set[str](), 0
    while known != wanted:
        page = state.callbacks.objectives(organization_id, None, offset, _WALK)
        known |= wanted & {objective.id for objective in page.items}
        offset += len(page.items)
        if not page.items or offset >= page.total:
            break
    return known


def _check_quota(state: AppState, organization_id: str, objective_ids: Sequence[str]) -> None:
    """Each result is sent once for each link, so there is a limit to what one result costs."""
    most, errors = state.settings.max_attached, Errors()
    for start in range(0, len(objective_ids), _WALK):
        links = of_objectives(state, organization_id, objective_ids[start : start + _WALK])
        for objective_id, found in links.items():
            if len(found) >= most:
                name = _named(state, organization_id, objective_id)
                errors.add(
                    "objective",
                    Words(
                        "%(most)s LMS configurations are attached to “%(name)s”, which is the "
                        "limit. Detach one of them first.",
                        most=most,
                        name=name,
                    ),
                )
    errors.check()


def _named(state: AppState, organization_id: str, objective_id: str) -> str:
    """The objective for the history: its name as it is now, and its id."""
    found = state.callbacks.objective(organization_id, objective_id)
    return f"{found.name} ({objective_id})" if found else objective_id


def _add(
    state: AppState,
    configuration: Configuration,
    objective_ids: Sequence[str],
    by: By,
    activity_id: str | None = None,
) -> int:
    if not objective_ids:
        return 0
    configuration_id = configuration.id
    try:
        with change(state, by) as made:
            _link(configuration.organization_id, configuration_id, objective_ids, made, activity_id)
            if len(objective_ids) == 1:
                named = _named(state, configuration.organization_id, objective_ids[0])
                facts = {"objective": named}
                if activity_id:
                    facts["activity_id"] = activity_id
                made.note("attached", configuration, facts)
            else:
                made.note("attached", configuration, {"objectives": len(objective_ids)})
    except IntegrityError:
        # Somebody attached one of them at the same time.
        left = _find(state, configuration_id, objective_ids)
        missing = [one for one in objective_ids if one not in left]
        if len(missing) == len(objective_ids):
            raise
        return _add(state, configuration, missing, by)
    return len(objective_ids)


def _link(
    organization_id: str,
    configuration_id: uuid.UUID,
    objective_ids: Iterable[str],
    made: Change,
    activity_id: str | None = None,
) -> None:
    made.session.add_all(
        ObjectiveLink(
            organization_id=organization_id,
            configuration_id=configuration_id,
            objective_id=objective_id,
            activity_id=activity_id,
            attached_at=made.now,
            attached_by=made.by_name,
        )
        for objective_id in objective_ids
    )
    made.session.flush()
