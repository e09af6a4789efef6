"""History: who changed what, when, from → to, automatic changes too. Append-only."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from ..audit import AuditFilters, Audits
from ..database.models import Audit, Configuration, ReadBack, Status
from ..i18n import N_, gettext
from . import csv_files, pages, wording
from .forms import ActForm

_LIMIT = 50
_LONGEST = 300
_FEW = 6
#: The filters that the list carries in its address.
_NAMES = ("configuration_id", "action", "since", "until")

ACTIONS = {
    "created": N_("Created"),
    "edited": N_("Changed"),
    "status_changed": N_("Status changed"),
    "attached": N_("Attached"),
    "detached": N_("Detached"),
    "activity_ids_changed": N_("Activity IDs changed"),
    "paused": N_("Paused"),
    "resumed": N_("Resumed"),
    "deleted": N_("Deleted"),
    "restored": N_("Restored"),
    "tested": N_("Connection tested"),
    "sample_sent": N_("Sample result sent"),
    "sent_waiting": N_("Waiting results sent"),
    "sent_again": N_("Sent again"),
    "checked_again": N_("Checked again"),
    "cancelled": N_("Cancelled"),
    "backfilled": N_("Past results sent"),
    "reconciled": N_("Looked up in the LMS"),
    "muted": N_("Alerts stopped for an address"),
    "unmuted": N_("Alerts resumed for an address"),
    "mapped": N_("Participants mapped"),
    "unmapped": N_("Mapping removed"),
    "released": N_("Results of mapped participants sent"),
    "participant_forgotten": N_("Participant forgotten"),
    "rekeyed": N_("Secrets encrypted anew"),
    "secret_shown": N_("Secret shown"),
    "secret_renewed": N_("Secret renewed"),
    "test_alert_sent": N_("Test alert sent"),
}
_FIELDS = {
    "name": N_("Configuration Name"),
    "type": N_("LMS type"),
    "contact_emails": N_("Contact Email"),
    "language": N_("Language of the alerts"),
    "secret": N_("Secret"),
    "status": N_("Status"),
    "cause": N_("Cause"),
    "outcome": N_("Outcome"),
    "destination": N_("Address"),
    "objective": N_("Objective"),
    "objectives": N_("Objectives"),
    "activity_id": N_("Activity ID in your LMS"),
    "left_out": N_("Left out at the limit"),
    "configurations": N_("LMS configurations"),
    "participant": N_("Participant ID"),
    "participants": N_("Participants"),
    "deliveries": N_("Results"),
    "waiting": N_("Waiting"),
    "cancelled": N_("Cancelled"),
    "queued": N_("To be sent"),
    "not_sent": N_("Not sent"),
    "still_not_sent": N_("Still not sent"),
    "duplicates": N_("Sent before"),
    "confirmed": N_("Confirmed"),
    "missing": N_("Missing"),
    "different": N_("Different"),
    "doubled": N_("Doubled"),
    "voided": N_("Voided"),
    "unreadable": N_("Can't be read"),
    "too_new": N_("Too new to say"),
    "since": N_("Since"),
    "email": N_("E-mail address"),
    "recipients": N_("Recipients"),
    "filter_ids": N_("Chosen"),
    "filter_states": N_("Filter: status"),
    "filter_objective_id": N_("Filter: objective"),
    "filter_participant": N_("Filter: participant"),
    "filter_participant_id": N_("Filter: participant"),
    "filter_search": N_("Filter: participant"),
    "filter_reason": N_("Filter: reason"),
    "filter_read_back": N_("Filter: in the LMS"),
    "filter_since": N_("Filter: from"),
    "filter_until": N_("Filter: to"),
}


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One changed field in words; ``before`` is None for a fact or a replaced secret."""

    label: str
    before: str | None
    after: str
    is_change: bool


@dataclass(frozen=True, kw_only=True)
class Entry:
    row: Audit
    action: str
    changes: Sequence[FieldChange]
    more: Sequence[FieldChange] = ()


def field_label(type: str, name: str) -> str:
    """What the forms call a field; its own name when no form has it."""
    connector = pages.state().registry.get(type)
    labels = {one.name: one.label for one in connector.fields} if connector else {}
    known = labels.get(name) or _FIELDS.get(name)
    return gettext(known) if known else name.replace("_", " ").capitalize()


def _value(name: str, value: Any) -> str:
    if value is None or value == "" or value == []:
        return "–"
    if isinstance(value, bool):
        return gettext("Yes") if value else gettext("No")
    if isinstance(value, list | tuple):
        return ", ".join(_value(name, one) for one in value)
    if name == "status":
        known = value in {one.value for one in Status}
        return gettext(Status(value).label) if known else str(value)
    if name == "filter_read_back" and value in {one.value for one in ReadBack}:
        return wording.read_back_badge(value).label
    if name == "filter_states":
        return wording.delivery_badge(str(value)).label
    if name == "outcome" and value == "connected":
        return gettext("Connected")
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _changes(type: str, changes: Mapping[str, Any]) -> Iterator[FieldChange]:
    for name, value in changes.items():
        label = field_label(type, name)
        if isinstance(value, list | tuple) and len(value) == 2 and not name.startswith("filter_"):
            before, after = (_value(name, one) for one in value)
            is_new = value[0] is None
            yield FieldChange(
                label=label, before=None if is_new else before, after=after, is_change=not is_new
            )
        elif value in ("replaced", "set"):
            word = gettext("replaced") if value == "replaced" else gettext("set")
            yield FieldChange(label=label, before=None, after=word, is_change=False)
        else:
            text = _value(name, value)
            cause = pages.state().registry.cause(type, str(value))
            if cause is not None and name in ("cause", "outcome"):
                text = cause.sentence_for({})
            yield FieldChange(label=label, before=None, after=text, is_change=False)


def present(row: Audit, owners: Mapping[uuid.UUID, Configuration]) -> Entry:
    """A row of the history in words.

    :param owners: the organization's configurations, the deleted ones too.
    """
    owner = owners.get(row.configuration_id) if row.configuration_id else None
    type = owner.type if owner else ""
    action = ACTIONS.get(row.action)
    # Of a long list, those that are set, the rest folded.
    found = sorted(_changes(type, row.changes), key=lambda one: one.after == "–")
    return Entry(
        row=row,
        action=gettext(action) if action else row.action.replace("_", " ").capitalize(),
        changes=found[:_FEW],
        more=found[_FEW:],
    )


def _filters() -> AuditFilters:
    action = request.args.get("action", "")
    return AuditFilters(
        configuration_id=pages.as_uuid(request.args.get("configuration_id")),
        actions=(action,) if action in ACTIONS else (),
        since=pages.day(request.args.get("since")),
        until=pages.end_of_day(request.args.get("until")),
    )


def page() -> ResponseReturnValue:
    """The newest changes first."""
    before = pages.as_uuid(request.args.get("before"))
    audits = Audits(pages.state(), pages.organization_id())
    found = audits.list(_filters(), before=before, limit=_LIMIT)
    configurations = pages.configurations().list(with_deleted=True)
    owners = {one.id: one for one in configurations}
    gone = gettext("deleted")
    choices = [
        (str(one.id), f"{one.name} ({gone})" if one.deleted_at else one.name)
        for one in configurations
    ]
    return pages.render(
        "history.html",
        entries=[present(row, owners) for row in found.items],
        next=found.next,
        is_first=before is None,
        configurations=choices,
        living={one.id for one in configurations if one.deleted_at is None},
        actions=[(action, gettext(label)) for action, label in ACTIONS.items()],
        act=ActForm(),
        values={name: request.args[name] for name in _NAMES if request.args.get(name)},
    )


def as_csv() -> ResponseReturnValue:
    """All that match, as a file."""
    audits, chosen = Audits(pages.state(), pages.organization_id()), _filters()

    def rows() -> Iterator[Sequence[object]]:
        # Here, as the host may have ended its session before the first line is read.
        owners = {one.id: one for one in pages.configurations().list(with_deleted=True)}
        before = None
        while True:
            part = audits.list(chosen, before=before, limit=500)
            for row in part.items:
                entry = present(row, owners)
                by = row.administrator_name or gettext("Automatic")
                changes = "; ".join(
                    f"{one.label}: {one.before} → {one.after}"
                    if one.is_change
                    else f"{one.label}: {one.after}"
                    for one in (*entry.changes, *entry.more)
                )
                yield (row.at, by, row.administrator_id, row.subject, entry.action, changes)
            before = part.next
            if before is None:
                return

    head = [
        gettext("Time (UTC)"), gettext("By"), gettext("Administrator ID"),
        gettext("LMS configuration"), gettext("What"), gettext("Changes"),
    ]  # fmt: skip
    return csv_files.stream("history", head, rows())
