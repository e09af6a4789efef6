"""The host's objectives with the configurations attached to them; preview and back-fill."""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from ..app_state import AppState
from ..audit import By, Change, change
from ..connectors.base import CatalogueEntry, Preview
from ..database.models import ObjectiveLink
from ..errors import NotFound
from ..recording import record
from ..recording.record import NotSent, Recorded
from ..values import Objective, ObjectiveResult, Page
from . import attachments
from .configurations import Configurations
from .steps import STEP, TaskStep, Work

_WALK = 500
_CHUNK = 200


@dataclass(frozen=True, kw_only=True)
class ObjectiveRow:
    """An objective and the links to its configurations (``link.configuration`` is loaded).

    :param objective: as the host tells it.
    :param links: one for each configuration that it is attached to, by name.
    :param is_missing: the host knows it no more; it can only be detached.
    """

    objective: Objective
    links: Sequence[ObjectiveLink] = field(default=())
    is_missing: bool = False


class Objectives:
    """The objectives of an organization, as its host tells them, and what they are attached to."""

    def __init__(self, state: AppState, organization_id: str) -> None:
        self._state = state
        self._organization_id = organization_id

    def page(
        self,
        search: str | None = None,
        offset: int = 0,
        limit: int = 50,
        attached_to: uuid.UUID | str | None = None,
    ) -> Page[ObjectiveRow]:
        """Some of the host's objectives, in the host's order.

        :param attached_to: only those attached to this configuration. Without a search, the
            newest link first, and those that the host has no more as well.
        :raises MissingCallback: the host registered no ``objectives_loader``.
        """
        if attached_to is not None:
            return self._attached(attached_to, search, offset, limit)
        found = self._state.callbacks.objectives(
            self._organization_id, search or None, offset, limit
        )
        return Page(items=self._rows(found.items), total=found.total)

    def ids(
        self, search: str | None = None, attached_to: uuid.UUID | str | None = None
    ) -> Sequence[str]:
        """The ids of all that match, for "select all".

        :param attached_to: only those attached to this configuration.
        """
        wanted = None
        if attached_to is not None:
            wanted = {link.objective_id for link in self._links_of(attached_to)}
            if not search:
                return sorted(wanted)
        return [one.id for one in self._walk(search) if wanted is None or one.id in wanted]

    def get(self, objective_id: str) -> ObjectiveRow:
        """One objective with its links.

        :raises NotFound: the organization has no such objective.
        """
        objective = self._state.callbacks.objective(self._organization_id, objective_id)
        if objective is None:
            raise NotFound("There is no such objective.")
        return self._rows([objective])[0]

    def previews(self, configuration_id: uuid.UUID | str, objective_id: str) -> Sequence[Preview]:
        """What a pass and a failure of this objective would send.

        :raises NotFound: no such configuration or objective here.
        """
        configuration = Configurations(self._state, self._organization_id).get(configuration_id)
        row = self.get(objective_id)
        connector = self._state.registry.get(configuration.type)
        if connector is None:
            return ()
        link = next((one for one in row.links if one.configuration_id == configuration.id), None)
        context = self._state.build_context(
            self._state.clock.now(self._state.session()),
            activity_id=link.activity_id if link else None,
        )
        return connector.previews(configuration.settings, context, row.objective)

    def catalogue(self, configuration_id: uuid.UUID | str) -> Sequence[CatalogueEntry]:
        """The objectives attached to a configuration with the activity IDs by which its LMS is told
        of them, oldest first; without those that the host has no more.

        :raises NotFound: no such configuration here.
        """
        configuration = Configurations(self._state, self._organization_id).get(configuration_id)
        connector = self._state.registry.get(configuration.type)
        links = attachments.of_configuration(self._state, configuration)
        if connector is None or not links:
            return ()
        known = self._known([link.objective_id for link in links])
        now = self._state.clock.now(self._state.session())
        found = []
        for link in links:
            objective = known[link.objective_id]
            context = self._state.build_context(now, activity_id=link.activity_id)
            if objective and (id := connector.activity_of(objective, context)):
                found.append(CatalogueEntry(objective=objective, activity_id=id))
        return found

    def count_past_of(self, objective_ids: Iterable[str], since: datetime | None, most: int) -> int:
        """:meth:`count_past` of several.

        :param objective_ids: of the host.
        :param since: aware; None: from the beginning.
        :param most: no further is counted.
        """
        past = (self._past(one, since) for one in objective_ids)
        return sum(1 for _ in itertools.islice(itertools.chain.from_iterable(past), most))

    def can_backfill(self) -> bool:
        """Whether the host can tell past results."""
        return self._state.callbacks.has("past_results_loader")

    def count_past(self, objective_id: str, since: datetime | None) -> int:
        """How many past results the host has.

        :param since: aware; None: all.
        """
        self.get(objective_id)
        return sum(1 for _ in self._past(objective_id, since))

    def check_attached(self, configuration_id: uuid.UUID | str, objective_id: str) -> None:
        """:raises NotFound: the objective isn't attached to this configuration."""
        if objective_id not in {link.objective_id for link in self._links_of(configuration_id)}:
            raise NotFound("This objective is not attached to this LMS configuration.")

    def backfill(
        self,
        configuration_id: uuid.UUID | str,
        objective_id: str,
        since: datetime | None,
        by: By = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Recorded:
        """Record past results of an attached objective for one configuration. Those recorded
        before are left alone, so it may be repeated. Commits 200 at a time.

        :param since: aware; None: all.
        :param on_progress: called with how many are done so far.
        :raises NotFound: no such configuration here, or the objective isn't attached to it.
        """
        configurations = Configurations(self._state, self._organization_id)
        configuration = configurations.get(configuration_id)
        self.check_attached(configuration.id, objective_id)
        target, queued, duplicates, done = configuration.id, 0, 0, 0
        not_sent: list[NotSent] = []
        past = self._past(objective_id, since)
        while chunk := list(itertools.islice(past, _CHUNK)):
            part = record.record(self._state, chunk, only=target)
            self._state.session.commit()
            queued, duplicates = queued + part.queued, duplicates + part.duplicates
            not_sent += part.not_sent
            done += len(chunk)
            if on_progress:
                on_progress(done)
        with change(self._state, by) as made:
            facts = {"objective": objective_id, "since": since.isoformat() if since else None}
            counts = {"queued": queued, "not_sent": len(not_sent), "duplicates": duplicates}
            made.note("backfilled", configurations.get(target), {**facts, **counts})
        return Recorded(queued=queued, not_sent=tuple(not_sent), duplicates=duplicates)

    # -- parts ---------------------------------------------------------------------------------

    def _past(self, objective_id: str, since: datetime | None) -> Iterator[ObjectiveResult]:
        """The host's past results, without those of others that its loader yields as well."""
        for one in self._state.callbacks.past_results(self._organization_id, objective_id, since):
            objective = one.objective if isinstance(one.objective, str) else one.objective.id
            if (one.organization_id, objective) == (self._organization_id, objective_id):
                yield one

    def _rows(self, objectives: Sequence[Objective]) -> list[ObjectiveRow]:
        found = attachments.of_objectives(
            self._state, self._organization_id, [objective.id for objective in objectives]
        )
        return [
            ObjectiveRow(objective=objective, links=tuple(found.get(objective.id, ())))
            for objective in objectives
        ]

    def _links_of(self, configuration_id: uuid.UUID | str) -> Sequence[ObjectiveLink]:
        return Configurations(self._state, self._organization_id).links(configuration_id)

    def _attached(
        self, configuration_id: uuid.UUID | str, search: str | None, offset: int, limit: int
    ) -> Page[ObjectiveRow]:
        attached = self._links_of(configuration_id)
        if search:
            ids = {link.objective_id for link in attached}
            found = [one for one in self._walk(search) if one.id in ids]
            return Page(items=self._rows(found[offset : offset + limit]), total=len(found))
        shown = [link.objective_id for link in reversed(attached)][offset : offset + limit]
        known = self._known(shown)
        rows = self._rows([known[one] or Objective(id=one, name=one) for one in shown])
        return Page(
            items=[
                row
                if known[row.objective.id] is not None
                else ObjectiveRow(objective=row.objective, links=row.links, is_missing=True)
                for row in rows
            ],
            total=len(attached),
        )

    def _known(self, ids: Sequence[str]) -> dict[str, Objective | None]:
        """Objectives by id; None: the host has it no more. A few pages of the host's list cost
        less than asking for each; of a very long list the rest is asked for one by one.
        """
        listed = itertools.islice(self._walk(None), _WALK * 4) if len(ids) > 2 else iter(())
        wanted = set(ids)
        found = {one.id: one for one in listed if one.id in wanted}
        ask, owner = self._state.callbacks.objective, self._organization_id
        return {one: found.get(one) or ask(owner, one) for one in ids}

    def _walk(self, search: str | None) -> Iterator[Objective]:
        offset = 0
        while True:
            page = self._state.callbacks.objectives(
                self._organization_id, search or None, offset, _WALK
            )
            yield from page.items
            offset += len(page.items)
            if not page.items or offset >= page.total:
                return


def steps_to_backfill(state: AppState, work: Work) -> Iterator[TaskStep]:
    """The steps of a task that records past results of ``asked["objectives"]`` since
    ``asked["since"]``; with ``asked["ids"]`` it attaches these first.

    The host's loader promises no order. So the position holds how many results were seen and a
    digest of their ids: when the loader yields the same ones again, they are passed over; when it
    doesn't, all are recorded once more, which changes nothing for those that are there.
    """
    if "ids" in work.asked:
        for step in attachments.steps_to_attach(state, work):
            yield replace(step, done=0)
    services = Objectives(state, work.organization_id)
    since = work.asked["since"] and datetime.fromisoformat(work.asked["since"])
    chosen = work.asked["objectives"]
    attached = {key: work.position[key] for key in ("attached", "left_out") if key in work.position}

    def past(objective_id: str) -> Iterator[ObjectiveResult]:
        for number, one in enumerate(services._past(objective_id, since)):
            if number % STEP == 0:
                work.keep()
            yield one

    if work.total is None:
        total = sum(1 for one in chosen for _ in past(one))
        yield TaskStep(do=lambda made: {}, done=0, position=attached, total=total)
    configuration_id = work.configuration_id
    assert configuration_id is not None
    Configurations(state, work.organization_id).get(configuration_id)  # or it is deleted
    before = work.position.get("before", 0)
    for at in range(work.position.get("at", 0), len(chosen)):
        seen, digest = 0, ""
        results = past(chosen[at])
        if work.position.get("at") == at and work.position["seen"]:
            for one in itertools.islice(results, work.position["seen"]):
                seen, digest = seen + 1, _digest(digest, [one])
            if digest != work.position["digest"]:
                seen, digest, results = 0, "", past(chosen[at])
        while chunk := list(itertools.islice(results, STEP)):
            seen, digest = seen + len(chunk), _digest(digest, chunk)
            yield TaskStep(
                do=partial(_record, state, configuration_id, chunk),
                done=before + seen,
                position={
                    **attached,
                    "before": before,
                    "at": at,
                    "seen": seen,
                    "digest": digest,
                },
            )
        before += seen


def _record(
    state: AppState, only: uuid.UUID, chunk: Sequence[ObjectiveResult], made: Change
) -> dict[str, int]:
    """In the transaction of the change, as that has written already."""
    done = record.record(state, chunk, only=only)
    return {
        "queued": done.queued,
        "not_sent": len(done.not_sent),
        "duplicates": done.duplicates,
    }


def _digest(before: str, results: Iterable[ObjectiveResult]) -> str:
    """Of the ids and revisions of all results so far, in their order."""
    for one in results:
        text = json.dumps([before, one.id, one.revision])
        before = hashlib.sha256(text.encode()).hexdigest()
    return before
