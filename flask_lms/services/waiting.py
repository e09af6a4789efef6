"""What waits for an event that its connector tells of, such as a learner's first launch."""

from __future__ import annotations

import sqlalchemy as sa

from ..app_state import AppState
from ..database.models import Configuration, ConfigurationHealth, Delivery, DeliveryState
from ..database.types import exactly, update
from .steps import STEP

#: What a delivery is that waited, and goes out in its old turn.
AGAIN = {
    "state": DeliveryState.PENDING,
    "due_at": Delivery.recorded_at,
    "reason": None,
    "reason_words": None,
    "settled_at": None,
}


def release(
    state: AppState, configuration: Configuration, participant_id: str | None = None
) -> int:
    """Let a configuration's results that waited (``Verdict.WAITS``) go out now, in the order in
    which they were recorded. An index finds them; each chunk is a transaction.

    What a worker is looking at in this moment isn't missed: it writes nothing down as waiting that
    it read before the count of releases grew.

    :param configuration: whose connector keeps by now what they waited for.
    :param participant_id: those of this participant alone.
    :returns: how many.
    """
    session, id = state.session(), configuration.id
    update(
        session,
        sa.update(ConfigurationHealth)
        .where(ConfigurationHealth.configuration_id == id)
        .values(releases=sa.func.coalesce(ConfigurationHealth.releases, 0) + 1),
    )
    waits = [
        Delivery.configuration_id == id,
        Delivery.state == DeliveryState.NOT_SENT,
        Delivery.reason.in_(state.registry.waiting()),
        Delivery.statement.is_not(None),
    ]
    if participant_id is not None:
        waits += [
            exactly(Delivery.organization_id, configuration.organization_id),
            exactly(Delivery.participant_id, participant_id),
        ]
    released = 0
    while ids := session.scalars(
        sa.select(Delivery.id).where(*waits).order_by(Delivery.id).limit(STEP)
    ).all():
        released += update(
            session,
            sa.update(Delivery)
            .where(Delivery.id.in_(ids), Delivery.state == DeliveryState.NOT_SENT)
            .values(**AGAIN),
        )
        session.commit()
    session.commit()
    if released:
        state.wake.now([id])
    return released
