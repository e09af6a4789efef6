"""Participants: who they are in the organization's LMSs, one by one and from a file, and whose
results are not sent because that isn't known.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from ..errors import InvalidConfiguration
from ..i18n import gettext, ngettext, number, translate
from ..services.csv_lines import MOST_BYTES, MOST_LINES, BadLine
from ..services.mappings import COLUMNS, MappingReport
from . import csv_files, pages, tasks
from .forms import ParticipantForm, UploadForm, show_errors, take_post
from .pages import clean_text

_LIMIT = 50
_CHUNK = 500
#: Of more bad lines the others are counted.
_MOST_TOLD = 100
_SHOWN = ("unmatched", "unused")


def index() -> ResponseReturnValue:
    """Those mapped, those of whom no result is known, or those whose results are not sent."""
    service = pages.participants()
    search = clean_text(request.args.get("q"), 100)
    offset = pages.page_number("offset")
    show = request.args.get("show", "")
    show = show if show in _SHOWN else ""
    is_unmatched = show == "unmatched"
    unmatched = service.unmatched(offset=offset if is_unmatched else 0, limit=_LIMIT)
    found: Any = unmatched
    if not is_unmatched:
        found = service.list(
            search or None, without_results=show == "unused", offset=offset, limit=_LIMIT
        )
    return pages.render(
        "participants.html",
        rows=found.items,
        total=found.total,
        unmatched=unmatched.total,
        search=search,
        show=show,
        offset=offset,
        next=offset + _LIMIT if offset + _LIMIT < found.total else None,
        under_way=tasks.under_way(act="release"),
    )


def new() -> ResponseReturnValue:
    """Say who a participant is."""
    given = clean_text(request.args.get("participant"))
    return _edit(ParticipantForm(data={"participant_id": given} if given else None))


def one(mapping_id: uuid.UUID) -> ResponseReturnValue:
    """Say who a participant is, in place of what was said before."""
    mapping = pages.participants().get(mapping_id)
    form = ParticipantForm(obj=mapping)
    form.participant_id.data = mapping.participant_id
    return _edit(form, mapping_id)


def _edit(form: ParticipantForm, mapping_id: uuid.UUID | None = None) -> ResponseReturnValue:
    is_forgotten = False
    if take_post(form):
        try:
            report = pages.participants().map(
                form.participant_id.data or "",
                email=form.email.data,
                name=form.name.data,
                account_name=form.account_name.data,
                account_home_page=form.account_home_page.data,
                even_if_forgotten=bool(form.is_back.data),
                by=pages.administrator(),
            )
        except InvalidConfiguration as error:
            is_forgotten = "participant_id" in error.errors and bool(form.participant_id.data)
            show_errors(error, form)
        else:
            return _done(report)
    return pages.render(
        "participant.html",
        form=form,
        forms=[form],
        mapping_id=mapping_id,
        is_forgotten=is_forgotten,
    )


def _done(report: MappingReport) -> ResponseReturnValue:
    """Say what was saved and what goes out now; when a worker does that, how far it is."""
    text = ngettext("%(n)s participant saved.", "%(n)s participants saved.", report.mapped)
    if report.queued:
        text += " " + ngettext(
            "%(n)s result is being sent now.", "%(n)s results are being sent now.", report.queued
        )
    if report.still_not_sent:
        text += " " + ngettext(
            "%(n)s still can't be sent.", "%(n)s still can't be sent.", report.still_not_sent
        )
    pages.notice(text, "warn" if report.still_not_sent else "ok")
    if report.task_id is not None:
        return pages.go("task", task_id=report.task_id)
    return pages.go("participants")


def remove(mapping_id: uuid.UUID) -> ResponseReturnValue:
    """Let what the platform says of a participant count again."""
    service = pages.participants()
    mapping = service.get(mapping_id)

    def act() -> ResponseReturnValue:
        service.remove(mapping.participant_id, by=pages.administrator())
        pages.notice(gettext("Removed."))
        return pages.go("participants")

    return pages.confirm(
        act,
        title=gettext("Remove what is entered for “%(id)s”?", id=mapping.participant_id),
        facts=[
            gettext("From now on what the platform says of this participant counts again."),
            gettext("Results that are waiting are sent as they are."),
        ],
        button=gettext("Remove"),
        back=pages.url("participants"),
        is_danger=True,
    )


def upload() -> ResponseReturnValue:
    """Many at once, from a CSV file."""
    form, report = UploadForm(), None
    if take_post(form):
        given = request.files.get("file")
        try:
            report = pages.participants().import_csv(
                given.stream.read(MOST_BYTES + 1) if given else b"",
                skip_bad_lines=bool(form.skip_bad_lines.data),
                by=pages.administrator(),
            )
        except InvalidConfiguration as error:
            show_errors(error, form)
        else:
            if report.mapped and not report.bad_lines:
                return _done(report)
            if not report.bad_lines:
                nothing = gettext("No line has an e-mail address or an account.")
                form.file.errors = [nothing]
                report = None
    saved = gettext("Nothing was saved.")
    if report and report.mapped:
        saved = ngettext("%(n)s participant saved.", "%(n)s participants saved.", report.mapped)
    return pages.render(
        "upload.html",
        title=gettext("Upload participants"),
        lead=gettext(
            "A CSV file from Excel or your HR system, with one line for each participant."
        ),
        back=pages.url("participants"),
        back_label=gettext("Participants"),
        facts=[
            gettext(
                "The first line names the columns: %(names)s. The first of them is needed, and an "
                "e-mail address or an account with its home page.",
                names=", ".join(COLUMNS),
            ),
            gettext(
                "Lines without address and account are left out. Participants that the file "
                "doesn't name stay as they are."
            ),
            gettext("Up to %(lines)s lines.", lines=number(MOST_LINES)),
        ],
        sample=pages.url("unmatched_csv"),
        sample_label=gettext("Download those who are missing, to fill in"),
        form=form,
        forms=[form],
        saved=saved,
        task_id=report and report.task_id,
        **shown_lines(report.bad_lines if report else ()),
    )


def shown_lines(bad: Sequence[BadLine]) -> dict[str, Any]:
    """Bad lines for the page of an upload: the first ones in words, and how many there are."""
    told = []
    for line in bad[:_MOST_TOLD]:
        sentences = [
            f"{column}: {translate(one)}" if column else translate(one)
            for column, several in line.errors.items()
            for one in several
        ]
        told.append((line.number, sentences))
    return {"bad": told, "count": len(bad), "more": max(len(bad) - _MOST_TOLD, 0)}


def as_csv() -> ResponseReturnValue:
    """All that is mapped, as a file that can be uploaded again."""

    def rows() -> Iterator[Sequence[object]]:
        for one in pages.participants().iterate():
            yield [getattr(one, name) for name in COLUMNS]

    return csv_files.stream("participants", list(COLUMNS), rows())


def unmatched_csv() -> ResponseReturnValue:
    """Whose results are not sent, as a file to fill in and upload."""

    def rows() -> Iterator[Sequence[object]]:
        offset = 0
        while found := pages.participants().unmatched(offset=offset, limit=_CHUNK).items:
            for one in found:
                of = one.mapping
                known = of and (of.email, of.name or one.name, of.account_name)
                email, name, account = known or (None, one.name, None)
                yield one.participant_id, email, name, account, of and of.account_home_page
            offset += _CHUNK

    return csv_files.stream("participants-to-fill-in", list(COLUMNS), rows())
