"""Saving a configuration: one place checks what was entered, notes what changed and asks for the
secret again when the address moves.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from .. import checks, status
from ..app_state import AppState
from ..audit import By, Change, as_id, change
from ..checks import Errors, name_key, name_taken
from ..connectors.base import TRANSPORT_CAUSES, Connector, Stage, StageState, TestReport
from ..database.models import (
    Audit,
    Configuration,
    ConfigurationHealth,
    Delivery,
    DeliveryState,
    ObjectiveLink,
    Status,
)
from ..database.types import exactly
from ..delivery import decide
from ..errors import EditConflict, InvalidConfiguration, NotFound, SecretUnreadable
from ..i18n import N_, Words
from . import attachments


def create(
    state: AppState,
    organization_id: str,
    *,
    name: str,
    contact_emails: Sequence[str],
    type: str,
    settings: Mapping[str, Any],
    language: str,
    by: By,
) -> Configuration:
    """A new configuration with its health, in one transaction.

    :raises InvalidConfiguration: all faults, field by field; nothing was written.
    """
    errors = Errors()
    clean = errors.take("name", checks.name, name)
    emails = errors.take("contact_emails", checks.emails, contact_emails)
    mail_language = errors.take("language", checks.language, language)
    connector = connector_of(state, type, errors)
    cleaned = None
    try:
        if connector is not None:
            cleaned = connector.clean(
                settings, allow_http=state.settings.allow_http, has_secrets=False
            )
    except InvalidConfiguration as error:
        errors.add_all(error.errors)
    if clean:
        check_name_is_free(state, organization_id, clean, None, errors)
    errors.check()
    assert clean is not None
    assert cleaned is not None
    with change(state, by) as made:
        configuration = Configuration(
            organization_id=organization_id,
            name=clean,
            name_key=name_key(organization_id, clean),
            type=type,
            contact_emails=emails,
            muted_emails=[],
            settings=dict(cleaned.settings),
            language=mail_language,
            created_at=made.now,
            created_by=made.by_name,
            updated_at=made.now,
            updated_by=made.by_name,
            health=ConfigurationHealth(status=Status.NOT_TESTED, since=made.now),
        )
        if cleaned.secrets:
            _lock(state, configuration, cleaned.secrets, made)
        made.session.add(configuration)
        flush(made, clean)
        made.note("created", configuration, _created(configuration, cleaned.secrets))
    return configuration


def update(
    state: AppState,
    configuration: Configuration,
    *,
    name: str | None,
    contact_emails: Sequence[str] | None,
    settings: Mapping[str, Any] | None,
    language: str | None,
    version: int | None,
    by: By,
) -> Configuration:
    """Save what isn't None.

    :raises InvalidConfiguration: all faults, field by field; nothing was written.
    :raises EditConflict: it was saved since ``version``; nothing was written.
    """
    if version is not None and version != configuration.version:
        raise _conflict(state, configuration, version)
    errors = Errors()
    new: dict[str, Any] = {}
    if name is not None:
        new["name"] = errors.take("name", checks.name, name)
        if new["name"]:
            check_name_is_free(
                state, configuration.organization_id, new["name"], configuration.id, errors
            )
    if contact_emails is not None:
        new["contact_emails"] = errors.take("contact_emails", checks.emails, contact_emails)
    if language is not None:
        new["language"] = errors.take("language", checks.language, language)
    secrets: Mapping[str, str] = {}
    if settings is not None:
        new["settings"], secrets = clean_again(state, configuration, settings, errors)
    errors.check()
    changes = _changes(configuration, new, secrets)
    if changes:
        with change(state, by) as made:
            _take_version(state, configuration, made)
            _put(state, configuration, new, secrets, made)
            flush(made, configuration.name)
            made.note("edited", configuration, changes)
    return configuration


def _take_version(state: AppState, configuration: Configuration, made: Change) -> None:
    """Count the version up, if nobody else did since it was read."""
    read = configuration.version
    taken = made.session.execute(
        sa.update(Configuration)
        .where(Configuration.id == configuration.id, Configuration.version == read)
        .values(version=read + 1)
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        made.session.rollback()  # to see what the other one wrote
        raise _conflict(state, configuration, read)
    made.session.refresh(configuration)


def _put(
    state: AppState,
    configuration: Configuration,
    new: Mapping[str, Any],
    secrets: Mapping[str, str],
    made: Change,
) -> None:
    if "settings" in new or secrets:
        # The next try is now; what was learnt of another destination is forgotten.
        connector = state.registry.get(configuration.type)
        configuration.health.next_attempt_at = None
        if connector is not None and "settings" in new:
            before = connector.origin(configuration.settings)
            if connector.origin(new["settings"]) != before:
                configuration.health.learnt_bytes = None
        made.to_ring.add(configuration.id)
    for field, value in new.items():
        setattr(configuration, field, value)
    if "name" in new:
        configuration.name_key = name_key(configuration.organization_id, new["name"])
    if secrets:
        _lock(state, configuration, secrets, made)
    configuration.updated_at, configuration.updated_by = made.now, made.by_name


def clean_again(
    state: AppState,
    configuration: Configuration,
    settings: Mapping[str, Any],
    errors: Errors,
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """The stored settings with the new ones over them, and the secrets given with these.

    A stored secret goes only to the scheme, host and port it was entered for: when that changes,
    it must be entered again.
    """
    connector = connector_of(state, configuration.type, errors)
    if connector is None:
        return {}, {}
    try:
        cleaned = connector.clean(
            {**configuration.settings, **settings},
            allow_http=state.settings.allow_http,
            has_secrets=bool(configuration.secrets),
        )
    except InvalidConfiguration as error:
        errors.add_all(error.errors)
        return {}, {}
    if connector.origin(cleaned.settings) != connector.origin(configuration.settings):
        for field in connector.secret_fields:
            if field not in cleaned.secrets:
                errors.add(
                    field,
                    Words(
                        "Enter the secret again: the address was changed to %(host)s, and a "
                        "stored secret is only sent to the address it was entered for.",
                        host=connector.destination(cleaned.settings),
                    ),
                )
    return dict(cleaned.settings), cleaned.secrets


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


def flush(made: Change, name: str) -> None:
    """Write; whoever took the name between check and write is noticed here."""
    try:
        made.session.flush()
    except IntegrityError:
        raise InvalidConfiguration({"name": [name_taken(name)]}) from None


def _lock(
    state: AppState, configuration: Configuration, secrets: Mapping[str, str], made: Change
) -> None:
    stored: Mapping[str, str]
    try:
        stored = state.encryption.decrypt(configuration.secrets)
    except SecretUnreadable:
        stored = {}
    configuration.secrets = state.encryption.encrypt({**stored, **secrets})
    configuration.secret_set_at, configuration.secret_set_by = made.now, made.by_name


def _conflict(state: AppState, configuration: Configuration, version: int) -> EditConflict:
    """Each save since ``version`` left one row of what it changed."""
    rows = state.session.scalars(
        sa.select(Audit)
        .where(Audit.configuration_id == configuration.id, Audit.action == "edited")
        .order_by(Audit.id.desc())
        .limit(max(configuration.version - version, 1))
    ).all()
    fields = list(dict.fromkeys(field for row in reversed(rows) for field in row.changes))
    return EditConflict(configuration.updated_by or "Somebody", configuration.updated_at, fields)


def _created(configuration: Configuration, secrets: Mapping[str, str]) -> dict[str, Any]:
    values = {
        "name": configuration.name,
        "type": configuration.type,
        "contact_emails": configuration.contact_emails,
        **configuration.settings,
    }
    changes: dict[str, Any] = {field: [None, value] for field, value in values.items()}
    changes.update((field, "set") for field in secrets)
    return changes


def _changes(
    configuration: Configuration, new: Mapping[str, Any], secrets: Mapping[str, str]
) -> dict[str, Any]:
    """Field → [from, to] of what differs; a secret only ever as "replaced"."""
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
    return changes


# -- The connection test: run through the connector with no transaction open, then the status
# follows its outcome.

_log = logging.getLogger(__name__)


def test(state: AppState, configuration: Configuration, by: By) -> TestReport:
    """Test a saved configuration; its health follows unless it was edited meanwhile."""
    configuration_id, version = configuration.id, configuration.version
    type, settings = configuration.type, dict(configuration.settings)
    token = configuration.secrets
    # No transaction stays open while the LMS is asked.
    state.session.commit()
    report = run(state, type, settings, {}, token)
    with change(state, by) as made:
        found = made.session.get(Configuration, configuration_id, populate_existing=True)
        if found is not None and found.deleted_at is None and found.version == version:
            _settle(state, found, report, made)
            made.note("tested", found, {"outcome": report.cause or "connected"})
            if report.is_connected:
                made.to_ring.add(found.id)
    return report


def run(
    state: AppState,
    type: str,
    settings: Mapping[str, Any],
    given: Mapping[str, str],
    token: str | None = None,
) -> TestReport:
    """Test these settings; nothing is written.

    :param given: secrets entered just now.
    :param token: the stored ones, for those not entered.
    """
    connector = state.registry.get(type)
    if connector is None:
        return _report_of_cause("unknown_type", {"type": type})
    secrets = dict(given)
    if any(field not in secrets for field in connector.secret_fields):
        try:
            secrets = {**state.encryption.decrypt(token), **given}
        except SecretUnreadable:
            return _report_of_cause("secret_unreadable", {})
    stages: list[Stage] = []
    for step in connector.test(settings, secrets, state.transport):
        if isinstance(step, TestReport):
            return step
        stages.append(step)
    _log.error("connector %s ended its test without a report", type)
    return TestReport(stages=stages, cause="not_http", facts={})


def in_the_last_minute(state: AppState, organization_id: str | None) -> int:
    """Tests of saved configurations in the last minute."""
    since = state.clock.now(state.session()) - timedelta(minutes=1)
    query = sa.select(sa.func.count()).where(Audit.action == "tested", Audit.at >= since)
    if organization_id is not None:
        query = query.where(exactly(Audit.organization_id, organization_id))
    return state.session.scalar(query) or 0


def _settle(
    state: AppState, configuration: Configuration, report: TestReport, made: Change
) -> None:
    health = configuration.health
    old = health.status
    cause = state.registry.cause(configuration.type, report.cause)
    decide.settle_test(health, report, cause, made.now)
    event = status.changed(state, made.session, configuration, old, made.now)
    if event is not None:
        made.status_events.append(event)


def _report_of_cause(code: str, facts: Mapping[str, str]) -> TestReport:
    words = TRANSPORT_CAUSES[code].sentence_for(facts)
    stage = Stage(name=N_("Settings"), state=StageState.FAILED, words=words)
    return TestReport(stages=[stage], cause=code, facts=dict(facts))


# -- LMS configurations: created, edited, tested, paused and deleted, the same for pages,
# commands and code.


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
        return create(
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
        return update(
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
        check_name_is_free(
            self._state, configuration.organization_id, configuration.name, configuration.id, errors
        )
        errors.check()
        with change(self._state, by) as made:
            configuration.deleted_at = configuration.deleted_by = None
            configuration.name_key = name_key(configuration.organization_id, configuration.name)
            flush(made, configuration.name)
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
        return test(self._state, self.get(configuration_id), by)

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
            connector = connector_of(self._state, type, errors)
            errors.check()
            assert connector is not None
            cleaned = connector.clean(
                settings, allow_http=self._state.settings.allow_http, has_secrets=False
            )
            return run(self._state, type, cleaned.settings, cleaned.secrets)
        configuration = self.get(configuration_id)
        values, given = clean_again(self._state, configuration, settings, errors)
        errors.check()
        return run(self._state, configuration.type, values, given, configuration.secrets)

    def tests_in_the_last_minute(self) -> int:
        """How many saved configurations of this organization were tested in the last minute."""
        return in_the_last_minute(self._state, self._organization_id)

    # -- objectives ----------------------------------------------------------------------------

    def attach(
        self, configuration_id: uuid.UUID | str, objective_id: str, by: By = None
    ) -> ObjectiveLink:
        """From now on send an objective's results there. Twice is once.

        :raises NotFound: the organization has no such objective.
        """
        return attachments.attach(self._state, self.get(configuration_id), objective_id, by)

    def attach_many(
        self, configuration_id: uuid.UUID | str, objective_ids: Sequence[str], by: By = None
    ) -> int:
        """:meth:`attach` for many; unknown ones are left out. Returns how many are new."""
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

    def links(self, configuration_id: uuid.UUID | str) -> Sequence[ObjectiveLink]:
        """The objectives attached to a configuration, oldest link first."""
        return attachments.of_configuration(self._state, self.get(configuration_id))

    def links_of_objective(
        self, organization_id: str, objective_id: str
    ) -> Sequence[ObjectiveLink]:
        """The links of an objective; ``link.configuration`` is loaded. By configuration name."""
        if self._organization_id not in (None, organization_id):
            raise NotFound("There is no such objective.")
        return attachments.of_objectives(self._state, organization_id, [objective_id]).get(
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


def _waiting(state: AppState, configuration_id: uuid.UUID) -> int:
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
