"""LMS configurations: created, edited, tested, paused and deleted, the same for pages, commands
and code.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..connectors import TestReport
from ..errors import NotFound
from ..models import Configuration, Delivery, ObjectiveLink, Status
from ..models import State as DeliveryState
from ..state import State
from . import connection_test, editing, links
from .audit import By
from .change import as_id, change
from .exact import exactly
from .validation import Errors, name_key


class Configurations:
    """The LMS configurations of an organization, or of all.

    :param organization_id: None: of all organizations (commands and the host's own code). With it,
        another organization's ids raise :class:`NotFound`.
    """

    def __init__(self, state: State, organization_id: str | None = None) -> None:
        self._state = state
        self._organization_id = organization_id

    # -- reading -------------------------------------------------------------------------------

    def get(
        self, configuration_id: uuid.UUID | str, *, with_deleted: bool = False
    ) -> Configuration:
        """One configuration with its health.

        :raises NotFound: there is none of that id in this organization.
        """
        query = sa.select(Configuration).where(Configuration.id == as_id(configuration_id))
        if self._organization_id is not None:
            query = query.where(exactly(Configuration.organization_id, self._organization_id))
        if not with_deleted:
            query = query.where(Configuration.deleted_at.is_(None))
        found = self._state.session.scalar(query)
        if found is None:
            raise NotFound("There is no such LMS configuration.")
        return found

    def list(
        self,
        organization_id: str | None = None,
        search: str | None = None,
        status: Status | str | None = None,
        *,
        with_deleted: bool = False,
    ) -> Sequence[Configuration]:
        """Configurations by name.

        :param search: a part of the name, in any case.
        :param status: a :class:`Status`, ``paused``, or ``error`` for both kinds of it. A paused
            one is found by ``paused`` alone.
        """
        if self._organization_id is not None:
            organization_id = self._organization_id
        query = sa.select(Configuration)
        if organization_id is not None:
            query = query.where(exactly(Configuration.organization_id, organization_id))
        if not with_deleted:
            query = query.where(Configuration.deleted_at.is_(None))
        part = (search or "").strip().casefold()
        found = [
            one
            for one in self._state.session.scalars(query)
            if part in one.name.casefold() and _has_status(one, status)
        ]
        return sorted(found, key=lambda one: (one.name.casefold(), one.id))

    def same_target(
        self,
        organization_id: str,
        type: str,
        settings: Mapping[str, Any],
        except_id: uuid.UUID | None = None,
    ) -> Sequence[Configuration]:
        """Others that send to the same place as the same sender, for a warning."""
        connector = self._state.registry.get(type)
        if connector is None:
            return []
        wanted = connector.fingerprint(settings)
        return [
            one
            for one in self.list(organization_id)
            if one.type == type
            and one.id != except_id
            and connector.fingerprint(one.settings) == wanted
        ]

    def waiting(self, configuration_id: uuid.UUID | str) -> int:
        """How many results wait for it."""
        found = self.get(configuration_id, with_deleted=True)
        return _waiting(self._state, found.id)

    # -- changing ------------------------------------------------------------------------------

    def create(
        self,
        organization_id: str,
        name: str,
        contact_emails: Sequence[str],
        type: str = "xapi",
        settings: Mapping[str, Any] | None = None,
        by: By = None,
        language: str = "en",
    ) -> Configuration:
        """A new configuration, not tested yet.

        :param contact_emails: 1 to 10 addresses told of trouble.
        :param settings: the connector's, its secrets included.
        :param by: the administrator who acts, a name, or None for automatic.
        :param language: BCP 47 tag in which its mails are written.
        :raises InvalidConfiguration: field by field (``name``, ``contact_emails``, ``language``,
            ``type`` or one of the connector's); nothing was written.
        """
        if self._organization_id not in (None, organization_id):
            raise NotFound("There is no such organization.")
        return editing.create(
            self._state,
            organization_id,
            name=name,
            contact_emails=contact_emails,
            type=type,
            settings=settings or {},
            language=language,
            by=by,
        )

    def update(
        self,
        configuration_id: uuid.UUID | str,
        *,
        name: str | None = None,
        contact_emails: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        version: int | None = None,
        language: str | None = None,
        by: By = None,
    ) -> Configuration:
        """Save changes; what is None stays as it is.

        :param settings: merged into the stored ones. A blank secret keeps the stored one, unless
            the address moves to another scheme, host or port.
        :param version: that of the configuration the form was filled from.
        :raises InvalidConfiguration: field by field; nothing was written.
        :raises EditConflict: somebody saved it since ``version``; nothing was written.
        """
        return editing.update(
            self._state,
            self.get(configuration_id),
            name=name,
            contact_emails=contact_emails,
            settings=settings,
            language=language,
            version=version,
            by=by,
        )

    def pause(self, configuration_id: uuid.UUID | str, by: By = None) -> Configuration:
        """Send nothing until :meth:`resume`; results are kept."""
        configuration = self.get(configuration_id)
        if configuration.paused_at is None:
            with change(self._state, by) as made:
                configuration.paused_at, configuration.paused_by = made.now, made.by_name
                made.note("paused", configuration)
        return configuration

    def resume(self, configuration_id: uuid.UUID | str, by: By = None) -> Configuration:
        """Send again, at once."""
        configuration = self.get(configuration_id)
        if configuration.paused_at is not None:
            with change(self._state, by) as made:
                configuration.paused_at = configuration.paused_by = None
                configuration.health.next_attempt_at = None
                made.note("resumed", configuration)
                made.to_ring.add(configuration.id)
        return configuration

    def delete(self, configuration_id: uuid.UUID | str, by: By = None) -> None:
        """Delete it and free its name. Waiting results are kept for 30 days, in which
        :meth:`restore` brings it back; then they are cancelled.
        """
        configuration = self.get(configuration_id)
        with change(self._state, by) as made:
            configuration.deleted_at, configuration.deleted_by = made.now, made.by_name
            configuration.name_key = None
            made.note(
                "deleted", configuration, {"waiting": _waiting(self._state, configuration.id)}
            )

    def restore(self, configuration_id: uuid.UUID | str, by: By = None) -> Configuration:
        """Bring a deleted one back, with its objectives and waiting results.

        :raises InvalidConfiguration: its name was taken meanwhile: rename the other one first.
        """
        configuration = self.get(configuration_id, with_deleted=True)
        if configuration.deleted_at is None:
            return configuration
        errors = Errors()
        editing.check_name_is_free(
            self._state, configuration.organization_id, configuration.name, configuration.id, errors
        )
        errors.check()
        with change(self._state, by) as made:
            configuration.deleted_at = configuration.deleted_by = None
            configuration.name_key = name_key(configuration.organization_id, configuration.name)
            editing.flush(made, configuration.name)
            made.note("restored", configuration)
            made.to_ring.add(configuration.id)
        return configuration

    def send_waiting(self, configuration_id: uuid.UUID | str, by: By = None) -> int:
        """Try now instead of at the next planned time.

        :returns: how many results wait; 0 while paused, as nothing is sent then.
        """
        configuration = self.get(configuration_id)
        if configuration.paused_at is not None:
            return 0
        with change(self._state, by) as made:
            configuration.health.next_attempt_at = None
            made.session.execute(
                sa.update(Delivery)
                .where(
                    Delivery.configuration_id == configuration.id,
                    Delivery.state == DeliveryState.PENDING,
                    Delivery.due_at > made.now,
                )
                .values(due_at=made.now)
                .execution_options(synchronize_session=False)
            )
            waiting = _waiting(self._state, configuration.id)
            made.note("sent_waiting", configuration, {"waiting": waiting})
            made.to_ring.add(configuration.id)
        return waiting

    def mute(self, configuration_id: uuid.UUID | str, email: str, by: By = None) -> Configuration:
        """No more mails about it to that address. One that isn't a contact is left alone."""
        return self._set_muted(configuration_id, email, by, muted=True)

    def unmute(self, configuration_id: uuid.UUID | str, email: str, by: By = None) -> Configuration:
        """Mails about it to that address again."""
        return self._set_muted(configuration_id, email, by, muted=False)

    def _set_muted(
        self, configuration_id: uuid.UUID | str, email: str, by: By, *, muted: bool
    ) -> Configuration:
        configuration = self.get(configuration_id)
        key = email.strip().casefold()
        contacts = {contact.casefold(): contact for contact in configuration.contact_emails}
        others = [one for one in configuration.muted_emails if one.casefold() != key]
        was_muted = len(others) < len(configuration.muted_emails)
        if muted == was_muted or (muted and key not in contacts):
            return configuration
        with change(self._state, by) as made:
            configuration.muted_emails = [*others, contacts[key]] if muted else others
            action = "muted" if muted else "unmuted"
            made.note(action, configuration, {"email": contacts.get(key, email.strip())})
        return configuration

    # -- testing -------------------------------------------------------------------------------

    def test(self, configuration_id: uuid.UUID | str, by: By = None) -> TestReport:
        """Test the connection from end to end and let its status follow. Works while paused."""
        return connection_test.test(self._state, self.get(configuration_id), by)

    def test_settings(
        self,
        type: str,
        settings: Mapping[str, Any],
        configuration_id: uuid.UUID | str | None = None,
    ) -> TestReport:
        """Test what isn't saved; nothing is written.

        :param configuration_id: the configuration being edited, whose secret a blank one means.
        :raises InvalidConfiguration: field by field.
        """
        errors = Errors()
        if configuration_id is None:
            connector = editing.connector_of(self._state, type, errors)
            errors.check()
            assert connector is not None
            cleaned = connector.clean(
                settings, allow_http=self._state.settings.allow_http, has_secrets=False
            )
            return connection_test.run(self._state, type, cleaned.settings, cleaned.secrets)
        configuration = self.get(configuration_id)
        values, given = editing.clean_again(self._state, configuration, settings, errors)
        errors.check()
        return connection_test.run(
            self._state, configuration.type, values, given, configuration.secrets
        )

    def tests_in_the_last_minute(self) -> int:
        """How many saved configurations of this organization were tested in the last minute."""
        return connection_test.in_the_last_minute(self._state, self._organization_id)

    # -- objectives ----------------------------------------------------------------------------

    def attach(
        self, configuration_id: uuid.UUID | str, objective_id: str, by: By = None
    ) -> ObjectiveLink:
        """From now on send an objective's results there. Twice is once.

        :raises NotFound: the organization has no such objective.
        """
        return links.attach(self._state, self.get(configuration_id), objective_id, by)

    def attach_many(
        self, configuration_id: uuid.UUID | str, objective_ids: Sequence[str], by: By = None
    ) -> int:
        """:meth:`attach` for many; unknown ones are left out. Returns how many are new."""
        return links.attach_many(self._state, self.get(configuration_id), objective_ids, by)

    def detach(
        self,
        configuration_id: uuid.UUID | str,
        objective_id: str,
        cancel_waiting: bool = False,
        by: By = None,
    ) -> int:
        """Send an objective's results there no more.

        :param cancel_waiting: those still waiting are cancelled instead of sent.
        :returns: how many were cancelled.
        """
        configuration = self.get(configuration_id)
        return links.detach(self._state, configuration, objective_id, cancel_waiting, by)

    def links(self, configuration_id: uuid.UUID | str) -> Sequence[ObjectiveLink]:
        """The objectives attached to a configuration, oldest link first."""
        return links.of_configuration(self._state, self.get(configuration_id))

    def links_of_objective(
        self, organization_id: str, objective_id: str
    ) -> Sequence[ObjectiveLink]:
        """The links of an objective; ``link.configuration`` is loaded. By configuration name."""
        if self._organization_id not in (None, organization_id):
            raise NotFound("There is no such objective.")
        return links.of_objectives(self._state, organization_id, [objective_id]).get(
            objective_id, []
        )


def _has_status(configuration: Configuration, status: Status | str | None) -> bool:
    if not status:
        return True
    if configuration.is_paused or status == "paused":
        return configuration.is_paused and status == "paused"
    if status == "error":
        return configuration.health.status.is_error
    return configuration.health.status.value == status


def _waiting(state: State, configuration_id: uuid.UUID) -> int:
    return (
        state.session.scalar(
            sa.select(sa.func.count())
            .select_from(Delivery)
            .where(
                Delivery.configuration_id == configuration_id,
                Delivery.state == DeliveryState.PENDING,
            )
        )
        or 0
    )
