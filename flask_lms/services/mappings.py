"""Who the host's participants are in the LMSs of their organization, as its administrators say.

A mapping goes before what the host says of a participant: whoever enters one means it. It takes an
e-mail address, an account, or both; each configuration uses what it identifies people by.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..app_state import AppState
from ..audit import By, as_id, change
from ..checks import Check, Errors, Refused, is_absolute_iri, mail_address, text
from ..database.models import Delivery, ParticipantMapping
from ..database.types import by_id, exactly, new_id, to_the_letter, update
from ..errors import InvalidConfiguration, NotFound
from ..i18n import Words
from ..values import Page
from . import csv_lines, deliveries, release, tasks
from .csv_lines import BadLine
from .steps import MOST_AT_ONCE

#: Column of a file → what else it may be called, in the languages of the pages.
COLUMNS: Mapping[str, Sequence[str]] = {
    "participant_id": ("participant", "id", "user id", "employee id", "Teilnehmer-ID",
                       "Teilnehmer", "Personalnummer"),
    "email": ("mail", "e-mail address", "mail address", "E-Mail-Adresse"),
    "name": ("full name", "display name", "participant name"),
    "account_name": ("account", "Konto", "Kontoname"),
    "account_home_page": ("home page", "homepage", "account home page", "Startseite",
                          "Startseite des Kontos"),
}  # fmt: skip
_CHUNK = 500
#: Two uploads at a time may meet in the same new participant.
_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class MappingReport:
    """What came of mappings that were entered.

    :param mapped: how many participants are mapped as entered; 0: nothing was saved.
    :param empty: lines with neither an address nor an account: left out.
    :param bad_lines: those that can't be taken, by number.
    :param queued: results that were not sent before and wait to be sent now.
    :param still_not_sent: looked at, and still not to be sent.
    :param task_id: they are many, and a worker sends them; None: it is done.
    """

    mapped: int = 0
    empty: int = 0
    bad_lines: tuple[BadLine, ...] = ()
    queued: int = 0
    still_not_sent: int = 0
    task_id: uuid.UUID | None = None


@dataclass(frozen=True, kw_only=True)
class UnmatchedParticipant:
    """Somebody whose results can't be sent, as no LMS could be told who they are.

    :param participant_id: as the host says.
    :param name: as the host says.
    :param results: how many of theirs are not sent.
    :param mapping: what is mapped, though it doesn't do, such as an account alone.
    """

    participant_id: str
    name: str | None
    results: int
    mapping: ParticipantMapping | None = None


def _address(value: object) -> str:
    given = text(320)(value)
    found = mail_address(given)
    if given and found is None:
        raise Refused(
            Words(
                "“%(address)s” is not a plain e-mail address. Write it like name@company.com.",
                address=given[:100],
            )
        )
    return found or ""


def _home_page(value: object) -> str:
    given = text(2000)(value)
    # Not made alike: an LMS compares it by the letter.
    if given and not (is_absolute_iri(given) and re.match("https?://", given, re.IGNORECASE)):
        raise Refused(
            Words("Enter the account's home page as a whole address, such as https://hr.example.")
        )
    return given


_CHECKS: Mapping[str, Check[str]] = {
    "participant_id": text(255, needed=Words("Enter the participant ID.")),
    "email": _address,
    "name": text(255),
    "account_name": text(255),
    "account_home_page": _home_page,
}


def _clean(values: Mapping[str, object], errors: Errors) -> dict[str, str | None]:
    """The columns of a mapping; empty ones are None."""
    found = {name: errors.take(name, check, values.get(name)) for name, check in _CHECKS.items()}
    if bool(values.get("account_name")) != bool(values.get("account_home_page")):
        missing = "account_home_page" if values.get("account_name") else "account_name"
        errors.add(missing, Words("An account needs both its name and its home page."))
    return {name: value or None for name, value in found.items()}


class Participants:
    """The participants of an organization that its administrators have mapped, or of all.

    :param organization_id: None: of all organizations; then each call says whose.
    """

    def __init__(self, state: AppState, organization_id: str | None = None) -> None:
        self._state = state
        self._organization_id = organization_id

    # -- reading -------------------------------------------------------------------------------

    def list(
        self,
        search: str | None = None,
        *,
        without_results: bool = False,
        offset: int = 0,
        limit: int = 50,
        organization_id: str | None = None,
    ) -> Page[ParticipantMapping]:
        """Mapped participants by their ids.

        :param search: a part of an id, address, account or name, in any case.
        :param without_results: only those of whom no result is known: perhaps their ids are
            written otherwise here than in the host.
        """
        session, conditions = self._state.session, [*self._of(organization_id)]
        if part := (search or "").strip():
            columns = (
                ParticipantMapping.participant_id,
                ParticipantMapping.email,
                ParticipantMapping.account_name,
                ParticipantMapping.name,
            )
            conditions.append(sa.or_(*(one.icontains(part, autoescape=True) for one in columns)))
        if without_results:
            of_them = sa.select(Delivery.id).where(
                Delivery.organization_id == ParticipantMapping.organization_id,
                Delivery.participant_id == ParticipantMapping.participant_id,
            )
            conditions.append(~of_them.exists())
        total = session.scalar(
            sa.select(sa.func.count()).select_from(ParticipantMapping).where(*conditions)
        )
        query = sa.select(ParticipantMapping).where(*conditions)
        query = query.order_by(ParticipantMapping.participant_id, ParticipantMapping.id)
        return Page(
            items=session.scalars(query.offset(offset).limit(limit)).all(), total=total or 0
        )

    def iterate(self, organization_id: str | None = None) -> Iterator[ParticipantMapping]:
        """All mapped participants, a chunk in memory at a time."""
        query = sa.select(ParticipantMapping).where(*self._of(organization_id))
        for rows in by_id(self._state.session, query, ParticipantMapping.id, _CHUNK):
            yield from (row[0] for row in rows)

    def get(self, mapping_id: uuid.UUID | str) -> ParticipantMapping:
        """One mapping.

        :param mapping_id: ``ParticipantMapping.id``.
        :raises NotFound: there is none of that id in this organization.
        """
        query = sa.select(ParticipantMapping).where(
            ParticipantMapping.id == as_id(mapping_id), ParticipantMapping.forgotten_at.is_(None)
        )
        if self._organization_id is not None:
            query = query.where(exactly(ParticipantMapping.organization_id, self._organization_id))
        found = self._state.session.scalar(query)
        if found is None:
            raise NotFound("There is no such mapping.")
        return found

    def unmatched(
        self, *, offset: int = 0, limit: int = 50, organization_id: str | None = None
    ) -> Page[UnmatchedParticipant]:
        """Whose results are not sent because no LMS could be told who they are, by their ids.

        :param limit: at most some hundred.
        """
        session, owner = self._state.session, self._owner(organization_id)
        letters = to_the_letter(Delivery.participant_id)
        found = (
            sa.select(
                sa.func.min(Delivery.participant_id).label("participant_id"),
                sa.func.max(Delivery.participant_name).label("name"),
                sa.func.count(sa.distinct(Delivery.result_id)).label("results"),
            )
            .where(release.unidentified(self._state, owner))
            .group_by(letters)
        )
        total = session.scalar(sa.select(sa.func.count()).select_from(found.subquery()))
        rows = session.execute(found.order_by(letters).offset(offset).limit(limit)).all()
        ids = [row.participant_id for row in rows]
        known = self._find(owner, ids)
        return Page(
            items=[
                UnmatchedParticipant(
                    participant_id=row.participant_id,
                    name=row.name,
                    results=row.results,
                    mapping=known.get(row.participant_id),
                )
                for row in rows
            ],
            total=total or 0,
        )

    # -- changing ------------------------------------------------------------------------------

    def map(
        self,
        participant_id: str,
        *,
        email: str | None = None,
        name: str | None = None,
        account_name: str | None = None,
        account_home_page: str | None = None,
        even_if_forgotten: bool = False,
        organization_id: str | None = None,
        by: By = None,
    ) -> MappingReport:
        """Say who a participant is in the organization's LMSs, in place of what was said before.

        Their results that were not sent for want of it are sent now.

        :param email: a plain address, for configurations that identify by it.
        :param name: as the LMS knows them; None: as the host says.
        :param account_name: for configurations that identify by account.
        :param account_home_page: http(s) URL of the system in which ``account_name`` is unique.
        :param even_if_forgotten: they were erased on request, and are back.
        :raises InvalidConfiguration: field by field, all at once; nothing was saved.
        """
        owner, errors = self._owner(organization_id), Errors()
        row = _clean(
            {
                "participant_id": participant_id,
                "email": email,
                "name": name,
                "account_name": account_name,
                "account_home_page": account_home_page,
            },
            errors,
        )
        if not (email or account_name or account_home_page):
            errors.add("email", Words("Enter an e-mail address or an account."))
        errors.check()
        id = row["participant_id"] or ""
        back = self._forgotten(owner, [id])
        if back and not even_if_forgotten:
            raise InvalidConfiguration({"participant_id": [_FORGOTTEN]})
        return self._save(owner, [row], by, {"participant": id}, back)

    def import_csv(
        self,
        file: bytes | str,
        *,
        skip_bad_lines: bool = False,
        organization_id: str | None = None,
        by: By = None,
    ) -> MappingReport:
        """:meth:`map` for each line of a CSV file with the columns ``participant_id``, ``email``,
        ``name``, ``account_name`` and ``account_home_page``, of which the first line names those
        that are there.

        Lines that name nobody else but say neither address nor account are left out, so that a
        template may be filled in piece by piece; participants that the file doesn't name stay as
        they are. Up to 20,000 lines and 5 MB, in UTF-8, UTF-16 or Windows' Western letters, with
        commas, semicolons or tabs.

        :param file: its content.
        :param skip_bad_lines: save the others; else, when one is bad, nothing is saved.
        :raises InvalidConfiguration: field ``file``: it is no such file.
        """
        owner = self._owner(organization_id)
        table = csv_lines.read(file, COLUMNS, ["participant_id"])
        bad, empty = {one.number: one for one in table.bad}, 0
        rows: dict[str, tuple[int, dict[str, str | None]]] = {}
        for number, values in table.rows:
            named = values.keys() - {"participant_id", "name"}
            if values.get("participant_id") and not any(values[one] for one in named):
                empty += 1
                continue
            errors = Errors()
            row = _clean(values, errors)
            try:
                errors.check()
            except InvalidConfiguration as error:
                bad[number] = BadLine(number=number, errors=error.errors)
                continue
            first, before = rows.setdefault(row["participant_id"] or "", (number, row))
            if before != row:
                twice = Words("Line %(number)s says something else of them.", number=first)
                bad[number] = BadLine(number=number, errors={"participant_id": [twice]})
        for id in self._forgotten(owner, list(rows)):
            number = rows[id][0]
            bad[number] = BadLine(number=number, errors={"participant_id": [_FORGOTTEN]})
        bad_lines = tuple(bad[number] for number in sorted(bad))
        good = [row for number, row in rows.values() if number not in bad]
        if (bad_lines and not skip_bad_lines) or not good:
            return MappingReport(empty=empty, bad_lines=bad_lines)
        report = self._save(owner, good, by, {"participants": len(good)})
        return replace(report, empty=empty, bad_lines=bad_lines)

    def remove(
        self, participant_id: str, *, organization_id: str | None = None, by: By = None
    ) -> bool:
        """From now on what the host says of a participant counts again. What waits to be sent is
        sent as it is.

        :returns: False: they were not mapped.
        """
        owner = self._owner(organization_id)
        with change(self._state, by) as made:
            key = ParticipantMapping.key_of(owner, participant_id)
            mine = ParticipantMapping.participant_key == key
            if not update(made.session, sa.delete(ParticipantMapping).where(mine)):
                return False
            facts = {"participant": participant_id}
            made.note("unmapped", None, facts, organization_id=owner)
        return True

    # -- parts ---------------------------------------------------------------------------------

    def _owner(self, organization_id: str | None) -> str:
        if organization_id is not None and self._organization_id not in (None, organization_id):
            raise NotFound("There is no such organization.")
        owner = self._organization_id or organization_id
        if owner is None:
            raise TypeError("say whose participants: organization_id=…")
        return owner

    def _of(self, organization_id: str | None) -> Iterator[sa.ColumnElement[bool]]:
        yield exactly(ParticipantMapping.organization_id, self._owner(organization_id))
        yield ParticipantMapping.forgotten_at.is_(None)

    def _find(self, owner: str, participant_ids: Sequence[str]) -> dict[str, ParticipantMapping]:
        """Those of these that are mapped."""
        found: dict[str, ParticipantMapping] = {}
        for start in range(0, len(participant_ids), _CHUNK):
            part = participant_ids[start : start + _CHUNK]
            keys = [ParticipantMapping.key_of(owner, one) for one in part]
            query = sa.select(ParticipantMapping).where(
                ParticipantMapping.participant_key.in_(keys),
                ParticipantMapping.forgotten_at.is_(None),
            )
            found |= {row.participant_id: row for row in self._state.session.scalars(query)}
        return found

    def _forgotten(self, owner: str, participant_ids: Sequence[str]) -> dict[str, str]:
        """Those of these that were erased on request, and the keys of what stands for them."""
        digests = self._state.encryption.digests
        keys = {
            ParticipantMapping.key_of(owner, digest): one
            for one in participant_ids
            for digest in digests(f"participant {one}")
        }
        found: dict[str, str] = {}
        every = list(keys)
        for start in range(0, len(every), _CHUNK):
            query = sa.select(ParticipantMapping.participant_key).where(
                ParticipantMapping.participant_key.in_(every[start : start + _CHUNK])
            )
            found |= {keys[key]: key for key in self._state.session.scalars(query)}
        return found

    def _save(
        self,
        owner: str,
        rows: Sequence[dict[str, str | None]],
        by: By,
        facts: Mapping[str, Any],
        back: Mapping[str, str] = {},
    ) -> MappingReport:
        """Write them in one transaction, then send what waited for them."""
        state, ids = self._state, [row["participant_id"] or "" for row in rows]
        for tries_left in range(_TRIES, -1, -1):
            try:
                with change(state, by) as made:
                    if back:
                        stale = ParticipantMapping.participant_key.in_(back.values())
                        update(made.session, sa.delete(ParticipantMapping).where(stale))
                    known = self._find(owner, ids)
                    new = []
                    for row in rows:
                        values = {**row, "mapped_at": made.now, "mapped_by": made.by_name}
                        if there := known.get(row["participant_id"] or ""):
                            for name, value in values.items():
                                setattr(there, name, value)
                        else:
                            key = ParticipantMapping.key_of(owner, row["participant_id"] or "")
                            own = {"organization_id": owner, "participant_key": key}
                            new.append({"id": new_id(), **own, **values})
                    if new:
                        made.session.execute(sa.insert(ParticipantMapping), new)
                    made.session.flush()
                    made.note("mapped", None, facts, organization_id=owner)
                    since = made.now
                break
            except IntegrityError:
                if not tries_left:
                    raise
        return self._release(owner, ids, since, by)

    def _release(self, owner: str, ids: Sequence[str], since: Any, by: By) -> MappingReport:
        """Send what waited for these; when it is much, let a worker do it."""
        waits: list[uuid.UUID] = []
        for start in range(0, len(ids), _CHUNK):
            waits += release.waiting(self._state, owner, ids[start : start + _CHUNK])
        report = MappingReport(mapped=len(ids))
        if not waits:
            return report
        if len(waits) > MOST_AT_ONCE:
            asked = {"mapped_since": since.isoformat()}
            task = tasks.ask(self._state, owner, "release", asked, by=by, total=len(waits))
            return replace(report, task_id=task.id)
        with change(self._state, by) as made:
            done = deliveries.build_anew(self._state, waits, made)
            if done.checked:
                counts = {"queued": done.queued, "still_not_sent": done.still_not_sent}
                made.note("released", None, counts, organization_id=owner)
        return replace(report, queued=done.queued, still_not_sent=done.still_not_sent)


_FORGOTTEN = Words(
    "This participant was erased on request, so they are not mapped again by themselves."
)
