"""The services of one organization, as a host's own code should use them."""

from __future__ import annotations

from ..app_state import AppState
from ..checks import Refused
from ..errors import InvalidValue
from ..values import identifier
from .configurations import Configurations
from .deliveries import Deliveries
from .mappings import Participants
from .objectives import Objectives
from .overview import Health, health


class OrganizationServices:
    """What ``lms.for_organization(organization_id)`` gives: the ids of others are not found.

    :raises InvalidValue: that can't be the id of an organization.
    """

    def __init__(self, state: AppState, organization_id: str | int) -> None:
        try:
            self._organization_id = identifier(organization_id)
        except Refused as error:
            raise InvalidValue("organization_id", organization_id, str(error)) from None
        self._state = state

    @property
    def configurations(self) -> Configurations:
        """LMS configurations: create, update, test, attach, …"""
        return Configurations(self._state, self._organization_id)

    @property
    def deliveries(self) -> Deliveries:
        """Deliveries: list, send again, check again, cancel, count."""
        return Deliveries(self._state, self._organization_id)

    @property
    def objectives(self) -> Objectives:
        """The host's objectives with the configurations attached to them; back-fill."""
        return Objectives(self._state, self._organization_id)

    @property
    def participants(self) -> Participants:
        """Who participants are in the LMSs: map them, one by one or from a file."""
        return Participants(self._state, self._organization_id)

    def health(self) -> Health:
        """How the configurations are doing, in counts and ages."""
        return health(self._state, self._organization_id)
