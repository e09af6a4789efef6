"""What an LMS calls the objectives attached to it, and files from which it learns of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from flask import Response, request
from flask.typing import ResponseReturnValue

from ..errors import InvalidConfiguration, NotFound
from ..i18n import gettext, ngettext
from ..services.attachments import COLUMNS
from ..services.csv_lines import MOST_BYTES, BadLine
from . import csv_files, pages
from .forms import ActivityForm, UploadForm, show_errors, take_post
from .participants import shown_lines


def activity_id(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """What the LMS calls one objective."""
    service, objective_id = (
        pages.configurations(),
        pages.clean_text(request.values.get("objective")),
    )
    configuration = service.get(configuration_id)
    row = pages.objectives().get(objective_id)
    link = next((one for one in row.links if one.configuration_id == configuration_id), None)
    if link is None:
        raise NotFound("This objective is not attached to this LMS configuration.")
    form = ActivityForm(data={"activity_id": link.activity_id})
    if take_post(form):
        try:
            service.attach(
                configuration_id,
                objective_id,
                pages.administrator(),
                activity_id=form.activity_id.data or "",
            )
        except InvalidConfiguration as error:
            show_errors(error, form)
        else:
            return _saved(configuration_id, gettext("Saved."))
    return pages.render(
        "activity_id.html",
        configuration=configuration,
        objective=row.objective,
        form=form,
        forms=[form],
    )


def _saved(configuration_id: uuid.UUID, text: str) -> Response:
    """Back to the list, with a warning when the LMS can't tell two objectives apart."""
    if doubled := pages.configurations().doubled_activity_ids(configuration_id):
        text += " " + gettext(
            "Several objectives have the activity ID %(id)s: your LMS can't tell them apart.",
            id=", ".join(doubled[:3]),
        )
    pages.notice(text, "warn" if doubled else "ok")
    return pages.go("attach", configuration_id=configuration_id, show="attached")


def upload(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """What the LMS calls many objectives, from a CSV file."""
    service = pages.configurations()
    configuration = service.get(configuration_id)
    form = UploadForm()
    bad: Sequence[BadLine] = ()
    del form.skip_bad_lines
    if take_post(form):
        given = request.files.get("file")
        try:
            report = service.import_activity_ids(
                configuration_id,
                given.stream.read(MOST_BYTES + 1) if given else b"",
                pages.administrator(),
            )
        except InvalidConfiguration as error:
            show_errors(error, form)
        else:
            if not report.bad_lines:
                text = ngettext(
                    "%(n)s activity ID was changed.",
                    "%(n)s activity IDs were changed.",
                    report.changed,
                )
                return _saved(configuration_id, text)
            bad = report.bad_lines
    return pages.render(
        "upload.html",
        title=gettext("Upload activity IDs"),
        lead=gettext("A CSV file with what your LMS calls the objectives."),
        back=pages.url("attach", configuration_id=configuration_id, show="attached"),
        back_label=configuration.name,
        facts=[
            gettext(
                "The first line names the columns %(names)s. Download the list, fill in the last "
                "column and upload it.",
                names=", ".join(COLUMNS),
            ),
            gettext("An empty activity ID means the one of the platform."),
            gettext("It counts for results from now on. What waits is sent as it is."),
        ],
        sample=pages.url("activity_ids_csv", configuration_id=configuration_id),
        sample_label=gettext("Download the list"),
        form=form,
        forms=[form],
        saved=gettext("Nothing was saved."),
        task_id=None,
        **shown_lines(bad),
    )


def activity_ids_csv(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """The objectives attached, to be filled in."""
    pages.configurations().get(configuration_id)

    def rows() -> Iterator[Sequence[object]]:
        names = {
            one.objective.id: one.objective.name
            for one in pages.objectives().catalogue(configuration_id)
        }
        for link in pages.configurations().links(configuration_id):
            yield link.objective_id, names.get(link.objective_id), link.activity_id

    return csv_files.stream("activity-ids", list(COLUMNS), rows())


def as_csv(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """The catalogue: the objectives attached, as their results name them."""
    pages.configurations().get(configuration_id)

    def rows() -> Iterator[Sequence[object]]:
        for one in pages.objectives().catalogue(configuration_id):
            about = one.objective
            yield about.id, about.name, about.description, one.activity_id, about.url

    head = [
        gettext("Objective ID"), gettext("Objective"), gettext("Description"),
        gettext("Activity ID"), gettext("Address"),
    ]  # fmt: skip
    return csv_files.stream("catalogue", head, rows())


def as_file(configuration_id: uuid.UUID) -> ResponseReturnValue:
    """The catalogue in the form of the LMS type."""
    configuration = pages.configurations().get(configuration_id)
    connector = pages.state().registry.get(configuration.type)
    made = connector and connector.catalogue(pages.objectives().catalogue(configuration_id))
    if not made:
        raise NotFound("This LMS type has no such file.")
    name, text = made
    response = Response(text, content_type="application/xml; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
