"""Saving a configuration: one place checks what was entered, notes what changed and asks for the
secret again when the address moves.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..connectors import Connector
from ..errors import EditConflict, InvalidConfiguration, SecretUnreadable
from ..models import Audit, Configuration, Health, Status
from ..state import State
from ..words import Words
from .audit import By
from .change import Change, change
from .exact import exactly
from .validation import Errors, clean_emails, clean_language, clean_name, name_key, name_taken


def create(
    state: State,
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
    clean = clean_name(name, errors)
    emails = clean_emails(contact_emails, errors)
    mail_language = clean_language(language, errors)
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
            health=Health(status=Status.NOT_TESTED, since=made.now),
        )
        if cleaned.secrets:
            _lock(state, configuration, cleaned.secrets, made)
        made.session.add(configuration)
        flush(made, clean)
        made.note("created", configuration, _created(configuration, cleaned.secrets))
    return configuration


def update(
    state: State,
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
        new["name"] = clean_name(name, errors)
        if new["name"]:
            check_name_is_free(
                state, configuration.organization_id, new["name"], configuration.id, errors
            )
    if contact_emails is not None:
        new["contact_emails"] = clean_emails(contact_emails, errors)
    if language is not None:
        new["language"] = clean_language(language, errors)
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


def _take_version(state: State, configuration: Configuration, made: Change) -> None:
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
    state: State,
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
    state: State,
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


def connector_of(state: State, type: str, errors: Errors) -> Connector | None:
    """The connector of an LMS type; an error of field ``type`` when there is none."""
    connector = state.registry.get(type)
    if connector is None:
        known = ", ".join(one.type for one in state.registry)
        errors.add("type", Words("Choose an LMS type: %(types)s.", types=known))
    return connector


def check_name_is_free(
    state: State, organization_id: str, name: str, except_id: uuid.UUID | None, errors: Errors
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
    state: State, configuration: Configuration, secrets: Mapping[str, str], made: Change
) -> None:
    stored: Mapping[str, str]
    try:
        stored = state.vault.unlock(configuration.secrets)
    except SecretUnreadable:
        stored = {}
    configuration.secrets = state.vault.lock({**stored, **secrets})
    configuration.secret_set_at, configuration.secret_set_by = made.now, made.by_name


def _conflict(state: State, configuration: Configuration, version: int) -> EditConflict:
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
