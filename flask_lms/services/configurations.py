"""LMS configurations: created, edited, tested, paused and deleted, the same for pages, commands and
code. One place checks what was entered, notes what changed and asks for the secret again when the
address moves.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from .. import checks, status
from ..app_state import AppState
from ..audit import By, Change, as_id, change
from ..checks import Errors, name_key, name_taken
from ..connectors.base import Connector
from ..connectors.fields import hidden
from ..connectors.registry import USUAL_TYPE
from ..connectors.stages import Stage, TestReport
from ..database.models import (
    Audit,
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
    ObjectiveLink,
    Status,
    StoreEntry,
)
from ..database.types import exactly, new_id, update
from ..delivery import decide
from ..encryption import Secret, binding
from ..errors import EditConflict, InvalidConfiguration, NotFound, SecretUnreadable
from ..i18n import Words
from . import attachments, connection_test
from .attachments import ActivityIdsReport


def connector_of(state: AppState, type: str, errors: Errors) -> Connector | None:
    """The connector of an LMS type; an error of field ``type`` when there is none."""
    connector = state.registry.get(type)
    if connector is None:
        known = ", ".join(one.type for one in state.registry)
        errors.add("type", Words("Choose an LMS type: %(types)s.", types=known))
    return connector


def check_name_is_free(
    state: AppState, organization_id: str, name: str, except_id: uuid.UUID | None, errors: Errors
) -> None:
    """An error of field ``name`` when another configuration of the organization has it."""
    taken = state.session.scalar(
        sa.select(Configuration.name).where(
            exactly(Configuration.organization_id, organization_id),
            Configuration.name_key == name_key(organization_id, name),
            Configuration.id != (except_id or uuid.UUID(int=0)),
        )
    )
    if taken is not None:
        errors.add("name", name_taken(taken))


def check_quota(state: AppState, organization_id: str, errors: Errors) -> None:
    """An error of field ``name`` when the organization has as many as it may have."""
    most = state.settings.max_configurations
    count = state.session.scalar(
        sa.select(sa.func.count()).where(
            exactly(Configuration.organization_id, organization_id),
            Configuration.deleted_at.is_(None),
        )
    )
    if (count or 0) >= most:
        errors.add(
            "name",
            Words(
                "Your organization has %(most)s LMS configurations, which is the limit. Delete "
                "one that is no longer used, or ask your platform's operator for more.",
                most=most,
            ),
        )


def _flush(made: Change, name: str) -> None:
    """Write; whoever took the name between check and write is noticed here."""
    try:
        made.session.flush()
    except IntegrityError:
        raise InvalidConfiguration({"name": [name_taken(name)]}) from None


class Configurations:
    """The LMS configurations of an organization, or of all.

    :param organization_id: None: of all organizations (commands and the host's own code). With it,
        another organization's ids raise :class:`NotFound`.
    """

    def __init__(self, state: AppState, organization_id: str | None = None) -> None:
        self._state = state
        self._organization_id = organization_id

    # -- reading -------------------------------------------------------------------------------

    def get(
        self, configuration_id: uuid.UUID | str, *, with_deleted: bool = False
    ) -> Configuration:
        """One configuration with its health.

        :param with_deleted: one that was deleted in the last 30 days, too.
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

        :param organization_id: None: the service's own, or all.
        :param search: a part of the name, in any case.
        :param status: a :class:`Status`, ``paused``, or ``error`` for both kinds of it. A paused
            one is found by ``paused`` alone.
        :param with_deleted: those deleted in the last 30 days, too.
        """
        query = sa.select(Configuration)
        organization_id = self._owner(organization_id)
        if organization_id is not None:
            query = query.where(exactly(Configuration.organization_id, organization_id))
        if not with_deleted:
            query = query.where(Configuration.deleted_at.is_(None))
        part = (search or "").strip().casefold()

        def fits(one: Configuration) -> bool:
            if part not in one.name.casefold():
                return False
            if not status:
                return True
            if one.is_paused or status == "paused":
                return one.is_paused and status == "paused"
            if status == "error":
                return one.health.status.is_error
            return one.health.status.value == status

        found = filter(fits, self._state.session.scalars(query))
        return sorted(found, key=lambda one: (one.name.casefold(), one.id))

    def same_target(
        self,
        organization_id: str,
        type: str,
        settings: Mapping[str, Any],
        except_id: uuid.UUID | None = None,
    ) -> Sequence[Configuration]:
        """Others that send to the same place as the same sender, for a warning.

        :param type: an LMS type, such as ``xapi``.
        :param settings: of that type, checked.
        :param except_id: leave this one out.
        """
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
        count = sa.select(sa.func.count()).select_from(Delivery)
        waiting = self._state.session.scalar(
            count.where(
                Delivery.configuration_id == found.id, Delivery.state == DeliveryState.PENDING
            )
        )
        return waiting or 0

    # -- changing ------------------------------------------------------------------------------

    def create(
        self,
        organization_id: str | None = None,
        name: str = "",
        contact_emails: Sequence[str] = (),
        type: str = USUAL_TYPE,
        settings: Mapping[str, Any] | None = None,
        by: By = None,
        language: str = "en",
    ) -> Configuration:
        """A new configuration with its health, not tested yet.

        :param organization_id: may be left out after ``lms.for_organization(…)``.
        :param name: 1 to 100 characters, unique in its organization.
        :param contact_emails: 1 to 10 addresses that get the alerts.
        :param type: the LMS type, a connector's ``type``.
        :param settings: the connector's, its secrets included.
        :param by: the administrator who acts, a name, or None for automatic.
        :param language: BCP 47 tag in which its mails are written.
        :raises InvalidConfiguration: field by field (``name``, ``contact_emails``, ``language``,
            ``type`` or one of the connector's); nothing was written.
        :raises TypeError: no organization was named.
        """
        state, errors = self._state, Errors()
        owner = self._owner(organization_id)
        if owner is None:
            raise TypeError("create() needs an organization_id")
        clean_name = errors.take("name", checks.name, name)
        emails = errors.take("contact_emails", checks.emails, contact_emails)
        tag = errors.take("language", checks.language, language)
        connector = connector_of(state, type, errors)
        settings = self._hidden(type, settings)
        cleaned = None
        try:
            if connector is not None:
                cleaned = connector.clean(
                    settings or {}, allow_http=state.settings.allow_http, has_secrets=False
                )
        except InvalidConfiguration as error:
            errors.add_all(error.errors)
        if clean_name is not None:
            check_name_is_free(state, owner, clean_name, None, errors)
        check_quota(state, owner, errors)
        errors.check()
        assert clean_name is not None
        assert cleaned is not None
        with change(state, by) as made:
            configuration = Configuration(
                id=new_id(),
                organization_id=owner,
                name=clean_name,
                name_key=name_key(owner, clean_name),
                type=type,
                contact_emails=emails,
                muted_emails=[],
                settings=dict(cleaned.settings),
                language=tag,
                created_at=made.now,
                created_by=made.by_name,
                updated_at=made.now,
                updated_by=made.by_name,
                health=ConfigurationHealth(status=Status.NOT_TESTED, since=made.now),
            )
            if cleaned.secrets:
                self._encrypt(configuration, cleaned.secrets, made)
            for one in connector.generated if connector else ():
                self._store_secrets(configuration, {one.name: Secret(one.make())})
            made.session.add(configuration)
            _flush(made, clean_name)
            entered = {
                "name": clean_name,
                "type": type,
                "contact_emails": emails,
                **configuration.settings,
            }
            changes: dict[str, Any] = {
                field: [None, value] for field, value in entered.items() if value is not None
            }
            changes.update((field, "set") for field in cleaned.secrets)
            made.note("created", configuration, changes)
        return configuration

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

        :param name: 1 to 100 characters, unique in its organization.
        :param contact_emails: 1 to 10 addresses that get the alerts.
        :param language: BCP 47 tag in which its mails are written.
        :param settings: merged into the stored ones. A blank secret keeps the stored one, unless
            the address moves to another scheme, host or port.
        :param version: that of the configuration the form was filled from.
        :raises InvalidConfiguration: field by field; nothing was written.
        :raises EditConflict: somebody saved it since ``version``; nothing was written.
        """
        state, errors = self._state, Errors()
        configuration = self.get(configuration_id)
        settings = self._hidden(configuration.type, settings)
        owner, read = configuration.organization_id, configuration.version
        if version is not None and version != read:
            raise self._conflict(configuration, version)
        new: dict[str, Any] = {}
        if name is not None:
            new["name"] = errors.take("name", checks.name, name)
            if new["name"] is not None:
                check_name_is_free(state, owner, new["name"], configuration.id, errors)
        if contact_emails is not None:
            new["contact_emails"] = errors.take("contact_emails", checks.emails, contact_emails)
        if language is not None:
            new["language"] = errors.take("language", checks.language, language)
        secrets: Mapping[str, Secret] = {}
        if settings is not None:
            new["settings"], secrets = self._clean_again(configuration, settings, errors)
        errors.check()

        # Field → [from, to] of what differs; a secret only ever as "replaced".
        changes: dict[str, Any] = {}
        for field, value in new.items():
            old = getattr(configuration, field)
            if field == "settings":
                for key in [*old, *(key for key in value if key not in old)]:
                    if old.get(key) != value.get(key):
                        changes[key] = [old.get(key), value.get(key)]
            elif old != value:
                changes[field] = [old, value]
        changes.update((field, "replaced") for field in secrets)
        connector = state.registry.get(configuration.type)
        is_forgetting = (
            connector is not None
            and "settings" in new
            and connector.secrets_of(new["settings"])
            != connector.secrets_of(configuration.settings)
        )
        if not changes:
            return configuration

        kept: Mapping[str, Secret] = {}
        with change(state, by) as made:
            taken = update(
                made.session,
                sa.update(Configuration)
                .where(Configuration.id == configuration.id, Configuration.version == read)
                .values(version=read + 1),
            )
            if taken != 1:
                made.session.rollback()  # to see what the other one wrote
                raise self._conflict(configuration, read)
            made.session.refresh(configuration)
            if "settings" in new or secrets:
                # The next try is now; what was learnt of another destination is forgotten.
                configuration.health.next_attempt_at = None
                if connector is not None and connector.generated:
                    kept = self._kept(configuration, connector)
                if connector is not None and "settings" in new:
                    before = connector.origin(configuration.settings)
                    if connector.origin(new["settings"]) != before:
                        configuration.health.learnt_bytes = None
                        update(
                            made.session,
                            sa.delete(StoreEntry).where(
                                StoreEntry.configuration_id == configuration.id
                            ),
                        )
                made.to_wake.add(configuration.id)
            for field, value in new.items():
                setattr(configuration, field, value)
            if "name" in new:
                configuration.name_key = name_key(owner, new["name"])
            if kept or is_forgetting:
                self._store_secrets(configuration, kept)
            if secrets:
                self._encrypt(configuration, secrets, made)
            configuration.updated_at, configuration.updated_by = made.now, made.by_name
            _flush(made, configuration.name)
            made.note("edited", configuration, changes)
        return configuration

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
                made.to_wake.add(configuration.id)
        return configuration

    def delete(self, configuration_id: uuid.UUID | str, by: By = None) -> None:
        """Delete it and free its name. Waiting results are kept for 30 days, in which
        :meth:`restore` brings it back; then they are cancelled.
        """
        configuration = self.get(configuration_id)
        with change(self._state, by) as made:
            configuration.deleted_at, configuration.deleted_by = made.now, made.by_name
            configuration.name_key = None
            made.note("deleted", configuration, {"waiting": self.waiting(configuration.id)})

    def restore(self, configuration_id: uuid.UUID | str, by: By = None) -> Configuration:
        """Bring a deleted one back, with its objectives and waiting results.

        :raises InvalidConfiguration: its name was taken meanwhile: rename the other one first; or
            the organization has as many as it may have.
        """
        configuration = self.get(configuration_id, with_deleted=True)
        if configuration.deleted_at is None:
            return configuration
        errors = Errors()
        check_name_is_free(
            self._state, configuration.organization_id, configuration.name, configuration.id, errors
        )
        check_quota(self._state, configuration.organization_id, errors)
        errors.check()
        with change(self._state, by) as made:
            configuration.deleted_at = configuration.deleted_by = None
            configuration.name_key = name_key(configuration.organization_id, configuration.name)
            _flush(made, configuration.name)
            made.note("restored", configuration)
            made.to_wake.add(configuration.id)
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
            update(
                made.session,
                sa.update(Delivery)
                .where(
                    Delivery.configuration_id == configuration.id,
                    Delivery.state == DeliveryState.PENDING,
                    Delivery.due_at > made.now,
                )
                .values(due_at=made.now),
            )
            waiting = self.waiting(configuration.id)
            made.note("sent_waiting", configuration, {"waiting": waiting})
            made.to_wake.add(configuration.id)
        return waiting

    def mute(self, configuration_id: uuid.UUID | str, email: str, by: By = None) -> Configuration:
        """No more mails about it to that address.

        :param email: one of its contacts, in any case; others are left alone.
        """
        return self._set_muted(configuration_id, email, by, muted=True)

    def unmute(self, configuration_id: uuid.UUID | str, email: str, by: By = None) -> Configuration:
        """Mails about it to that address again.

        :param email: one of its contacts, in any case.
        """
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

    # -- generated secrets ---------------------------------------------------------------------

    def generated(self, configuration_id: uuid.UUID | str) -> Mapping[str, bool]:
        """The secrets that were made for it: name → whether it was shown already."""
        configuration, connector = self._with_generated(configuration_id)
        stored = self._stored(configuration, connector)
        return {one.name: f"{one.name}.shown" in stored for one in connector.generated}

    def show_secret(self, configuration_id: uuid.UUID | str, name: str, by: By = None) -> Secret:
        """A generated secret, to be entered at the other end: once.

        :param name: of the connector's ``generated``.
        :raises NotFound: it has no such secret, or that is never shown, or was before.
        """
        configuration, connector = self._with_generated(configuration_id)
        stored = self._stored(configuration, connector)
        one = next((each for each in connector.generated if each.name == name), None)
        if one is None or not one.hint or f"{name}.shown" in stored or name not in stored:
            raise NotFound("There is no such secret, or it was shown before.")
        with change(self._state, by) as made:
            self._store_secrets(configuration, {f"{name}.shown": Secret("yes")})
            made.note("secret_shown", configuration, {"secret": name})
        return stored[name]

    def renew_secret(self, configuration_id: uuid.UUID | str, name: str, by: By = None) -> None:
        """Make a generated secret anew; the present one is good for ``overlap_hours`` more.

        :param name: of the connector's ``generated``.
        :raises NotFound: it has no such secret.
        """
        configuration, connector = self._with_generated(configuration_id)
        one = next((each for each in connector.generated if each.name == name), None)
        if one is None:
            raise NotFound("There is no such secret.")
        stored = self._stored(configuration, connector)
        new = {name: Secret(one.make())}
        with change(self._state, by) as made:
            if name in stored:
                until = made.now + timedelta(hours=one.overlap_hours)
                new[f"{name}.previous"] = stored[name]
                new[f"{name}.until"] = Secret(until.isoformat())
            self._store_secrets(configuration, new, without=[f"{name}.shown"])
            made.note("secret_renewed", configuration, {"secret": name})
            made.to_wake.add(configuration.id)

    def _with_generated(self, id: uuid.UUID | str) -> tuple[Configuration, Connector]:
        configuration = self.get(id)
        connector = self._state.registry.get(configuration.type)
        if connector is None or not connector.generated:
            raise NotFound("Its LMS type has no secrets that are made here.")
        return configuration, connector

    # -- testing -------------------------------------------------------------------------------

    def test(self, configuration_id: uuid.UUID | str, by: By = None) -> TestReport:
        """Test the connection from end to end and let its status follow, unless it was edited
        meanwhile. Works while paused.

        :raises TooManyTests: it has to wait for others.
        """
        return connection_test.report_of(self.start_test(configuration_id, by))

    def start_test(
        self, configuration_id: uuid.UUID | str, by: By = None
    ) -> Iterator[Stage | TestReport]:
        """:meth:`test`, begun at once: each stage as it ends, then the report."""
        state, configuration = self._state, self.get(configuration_id)
        id, version, token = configuration.id, configuration.version, configuration.secrets
        type, settings = configuration.type, dict(configuration.settings)
        owner = configuration.organization_id
        test = connection_test.begin(state, owner, by, configuration, action="tested")

        def settle(made: Change, report: TestReport) -> None:
            found = made.session.get(Configuration, id, populate_existing=True)
            if found is not None and found.deleted_at is None and found.version == version:
                old, cause = found.health.status, state.registry.cause(type, report.cause)
                decide.settle_test(found.health, report, cause, made.now)
                event = status.changed(state, made.session, found, old, made.now)
                if event is not None:
                    made.status_events.append(event)
                if report.is_connected:
                    made.to_wake.add(found.id)

        steps = connection_test.run(state, owner, type, settings, {}, token, id)
        return connection_test.carry_out(state, test, steps, by, settle)

    def send_sample(self, configuration_id: uuid.UUID | str, by: By = None) -> TestReport:
        """Send a result of an invented person, marked as a test; read it back and void it. The
        status stays as it is.

        :raises TooManyTests: it has to wait.
        """
        return connection_test.report_of(self.start_sample(configuration_id, by))

    def start_sample(
        self, configuration_id: uuid.UUID | str, by: By = None
    ) -> Iterator[Stage | TestReport]:
        """:meth:`send_sample`, stage by stage.

        :raises TooManyTests: it has to wait.
        """
        state, configuration = self._state, self.get(configuration_id)
        id, owner, token = configuration.id, configuration.organization_id, configuration.secrets
        type, settings = configuration.type, dict(configuration.settings)
        context = state.build_context(state.clock.now(state.session()))
        test = connection_test.begin(state, owner, by, configuration, action="sample_sent")
        steps = connection_test.run(state, owner, type, settings, {}, token, id, sample=context)
        return connection_test.carry_out(state, test, steps)

    def test_settings(
        self,
        type: str,
        settings: Mapping[str, Any],
        configuration_id: uuid.UUID | str | None = None,
        by: By = None,
    ) -> TestReport:
        """Test what isn't saved. Nothing is written but a row of the history, when it is known of
        which organization.

        :param type: the LMS type; that of ``configuration_id`` counts when one is given.
        :param settings: what was entered, secrets included.
        :param configuration_id: the configuration being edited, whose secret a blank one means.
        :raises InvalidConfiguration: field by field.
        :raises TooManyTests: it has to wait for others.
        """
        steps = self.start_test_of_settings(type, settings, configuration_id, by)
        return connection_test.report_of(steps)

    def start_test_of_settings(
        self,
        type: str,
        settings: Mapping[str, Any],
        configuration_id: uuid.UUID | str | None = None,
        by: By = None,
    ) -> Iterator[Stage | TestReport]:
        """:meth:`test_settings`, begun at once: each stage as it ends, then the report.

        :param type: of LMS, as ``xapi``.
        :raises TooManyTests: it has to wait.
        """
        state, errors = self._state, Errors()
        owner, configuration, token, id = self._organization_id, None, None, None
        values: Mapping[str, Any]
        if configuration_id is None:
            connector = connector_of(state, type, errors)
            errors.check()
            assert connector is not None
            settings = self._hidden(type, settings) or {}
            cleaned = connector.clean(
                settings, allow_http=state.settings.allow_http, has_secrets=False
            )
            values, given = cleaned.settings, cleaned.secrets
        else:
            configuration = self.get(configuration_id)
            owner, type, token, id = (
                configuration.organization_id,
                configuration.type,
                configuration.secrets,
                configuration.id,
            )
            settings = self._hidden(type, settings) or {}
            values, given = self._clean_again(configuration, settings, errors)
            errors.check()
            connector = state.registry.get(type)
        if owner is None or connector is None:
            return connection_test.run(state, owner, type, values, given, token, id, is_draft=True)
        facts = {"destination": connector.destination(values)}
        test = connection_test.begin(state, owner, by, configuration, facts, action="tested")
        steps = connection_test.run(state, owner, type, values, given, token, id, is_draft=True)
        return connection_test.carry_out(state, test, steps)

    # -- objectives ----------------------------------------------------------------------------

    def attach(
        self,
        configuration_id: uuid.UUID | str,
        objective_id: str,
        by: By = None,
        *,
        activity_id: str | None = None,
    ) -> ObjectiveLink:
        """From now on send an objective's results there. Twice is once.

        :param activity_id: what the LMS calls the activity, an absolute IRI, from the next result
            on; empty: as your objective says; None: that, or what was said before.
        :raises NotFound: the organization has no such objective.
        """
        configuration = self.get(configuration_id)
        return attachments.attach(self._state, configuration, objective_id, by, activity_id)

    def attach_many(
        self, configuration_id: uuid.UUID | str, objective_ids: Sequence[str], by: By = None
    ) -> int:
        """:meth:`attach` for many.

        :param objective_ids: those that the host doesn't know are left out.
        :returns: how many are new.
        """
        return attachments.attach_many(self._state, self.get(configuration_id), objective_ids, by)

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
        return attachments.detach(self._state, configuration, objective_id, cancel_waiting, by)

    def import_activity_ids(
        self, configuration_id: uuid.UUID | str, file: bytes | str, by: By = None
    ) -> ActivityIdsReport:
        """What the LMS calls the objectives attached, from a CSV file with the columns
        ``objective_id`` and ``activity_id``. A line without an activity ID: as the host calls it;
        objectives that the file doesn't name stay as they are.

        :param file: its content; commas, semicolons or tabs, UTF-8, UTF-16 or Windows' letters.
        :raises InvalidConfiguration: field ``file``: it is no such file.
        """
        return attachments.import_activity_ids(self._state, self.get(configuration_id), file, by)

    def doubled_activity_ids(self, configuration_id: uuid.UUID | str) -> Sequence[str]:
        """Activity IDs that several of the attached objectives have: the LMS can't tell them
        apart.
        """
        return attachments.doubled_activity_ids(self._state, self.get(configuration_id))

    def links(self, configuration_id: uuid.UUID | str) -> Sequence[ObjectiveLink]:
        """The objectives attached to a configuration, oldest link first."""
        return attachments.of_configuration(self._state, self.get(configuration_id))

    # -- parts ---------------------------------------------------------------------------------

    def _owner(self, organization_id: str | None) -> str | None:
        """The organization that is meant: the service's own, if it has one."""
        if organization_id is not None and self._organization_id not in (None, organization_id):
            raise NotFound("There is no such organization.")
        return self._organization_id or organization_id

    def _hidden(self, type: str, settings: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Settings whose secrets show themselves to nobody."""
        connector = self._state.registry.get(type)
        if settings is None or connector is None:
            return settings
        return hidden(settings, connector.secret_fields)

    def _clean_again(
        self, configuration: Configuration, settings: Mapping[str, Any], errors: Errors
    ) -> tuple[dict[str, Any], Mapping[str, Secret]]:
        """The stored settings with the new ones over them, and the secrets given with these.

        A stored secret goes only to the scheme, host and port it was entered for: when that
        changes, it must be entered again.
        """
        connector = connector_of(self._state, configuration.type, errors)
        if connector is None:
            return {}, {}
        try:
            cleaned = connector.clean(
                {**configuration.settings, **settings},
                allow_http=self._state.settings.allow_http,
                has_secrets=bool(configuration.secrets) and configuration.secret_set_at is not None,
            )
        except InvalidConfiguration as error:
            errors.add_all(error.errors)
            return {}, {}
        needed = connector.secrets_of(cleaned.settings)
        had = connector.secrets_of(configuration.settings)
        is_moved = connector.origin(cleaned.settings) != connector.origin(configuration.settings)
        for one in connector.fields:
            if one.name not in needed or one.name in cleaned.secrets:
                continue
            if one.name not in had and one.required:  # of another way of signing in
                errors.add(one.name, Words(one.required))
            elif is_moved:
                errors.add(
                    one.name,
                    Words(
                        "Enter the secret again: the address was changed to %(host)s, and a "
                        "stored secret is only sent to the address it was entered for.",
                        host=connector.destination(cleaned.settings),
                    ),
                )
        return dict(cleaned.settings), cleaned.secrets

    def _encrypt(
        self, configuration: Configuration, secrets: Mapping[str, Secret], made: Change
    ) -> None:
        self._store_secrets(configuration, secrets)
        configuration.secret_set_at, configuration.secret_set_by = made.now, made.by_name

    def _stored(self, configuration: Configuration, connector: Connector) -> Mapping[str, Secret]:
        """Empty when they belong to another address, or can't be read."""
        bound_to = binding(configuration.id, connector.origin(configuration.settings))
        try:
            return self._state.encryption.decrypt(configuration.secrets, bound_to)
        except SecretUnreadable:
            return {}

    def _kept(self, configuration: Configuration, connector: Connector) -> Mapping[str, Secret]:
        """The generated ones: they prove who sends and are sent nowhere, so they move along."""
        names = tuple(one.name for one in connector.generated)
        return {
            name: secret
            for name, secret in self._stored(configuration, connector).items()
            if name.partition(".")[0] in names
        }

    def _store_secrets(
        self,
        configuration: Configuration,
        secrets: Mapping[str, Secret],
        without: Sequence[str] = (),
    ) -> None:
        """Encrypt these and those that are stored for the same address."""
        connector = self._state.registry.get(configuration.type)
        assert connector is not None
        needed = (
            *connector.secrets_of(configuration.settings),
            *(one.name for one in connector.generated),
        )
        every = {**self._stored(configuration, connector), **secrets}
        configuration.secrets = self._state.encryption.encrypt(
            {
                name: one
                for name, one in every.items()
                if name.partition(".")[0] in needed and name not in without
            },
            binding(configuration.id, connector.origin(configuration.settings)),
        )

    def _conflict(self, configuration: Configuration, version: int) -> EditConflict:
        """Each save since ``version`` left one row of what it changed."""
        rows = self._state.session.scalars(
            sa.select(Audit)
            .where(Audit.configuration_id == configuration.id, Audit.action == "edited")
            .order_by(Audit.id.desc())
            .limit(max(configuration.version - version, 1))
        ).all()
        fields = list(dict.fromkeys(field for row in reversed(rows) for field in row.changes))
        return EditConflict(
            configuration.updated_by or "Somebody", configuration.updated_at, fields
        )
