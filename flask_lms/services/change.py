"""One change made by a service: one transaction, and after its commit those who must hear of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .. import signals
from ..errors import NotFound
from ..models import Configuration
from ..signals import StatusChanged
from ..state import State
from . import audit
from .audit import By


class Change:
    """A change in progress. Make one with :func:`change`."""

    def __init__(self, state: State, by: By) -> None:
        self.session = state.session()
        self.now = state.clock.now(self.session)
        self.by = by
        self.by_name = audit.name_of(by)
        self.to_ring: set[uuid.UUID] = set()
        self.status_events: list[StatusChanged] = []

    def note(
        self,
        action: str,
        configuration: Configuration | None = None,
        changes: Mapping[str, Any] | None = None,
        *,
        organization_id: str | None = None,
    ) -> None:
        """Write an audit row about a configuration, or about an organization."""
        owner = organization_id if configuration is None else configuration.organization_id
        assert owner is not None
        audit.write(
            self.session,
            organization_id=owner,
            action=action,
            at=self.now,
            by=self.by,
            configuration=configuration,
            changes=changes,
        )


@contextmanager
def change(state: State, by: By = None) -> Iterator[Change]:
    """Commit at the end and then tell the host and wake workers; an error rolls back."""
    try:
        made = Change(state, by)
        yield made
        made.session.commit()
    except BaseException:
        state.session.rollback()
        raise
    audit.tell(state)
    for event in made.status_events:
        signals.tell(signals.configuration_status_changed, state.app, event)
    if made.to_ring:
        state.ring(made.to_ring)


def as_id(value: uuid.UUID | str) -> uuid.UUID:
    """An id from a URL or from code.

    :raises NotFound: it has not the form of an id, so nothing has it.
    """
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise NotFound("There is no such id.") from None
