"""The log of alerts: what was mailed about a configuration, to whom, and whether it went out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from ..models import Mail
from ..state import State
from .configurations import Configurations


class Mails:
    """The alerts of an organization, to be read only."""

    def __init__(self, state: State, organization_id: str) -> None:
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
