"""The pages that say who participants are in the LMSs."""

from __future__ import annotations

import csv
import io
import re
import uuid
from typing import Any

import pytest

from flask_lms import Participant
from flask_lms.i18n import using
from flask_lms.services import participants, tasks
from tests.pages.site import create
from tests.pages.support import text_of
from tests.world import World, result


@pytest.fixture
def one(world: World) -> uuid.UUID:
    """A configuration that two objectives' results go to."""
    made = create(world)
    with world.app.app_context():
        world.configurations.attach(made, "harbor-1")
    return made


def record(world: World, *ids: str, **who: Any) -> None:
    with world.app.app_context():
        world.lms.record_many(
            [
                result(
                    f"r-{id}",
                    organization_id="harbor",
                    objective="harbor-1",
                    participant=Participant(id=id, **who),
                )
                for id in ids
            ]
        )


def states(world: World) -> dict[str, int]:
    with world.app.app_context():
        return dict(world.states())


def post(world: World, path: str, **data: Any) -> str:
    """What is read after a form was posted with its token."""
    client = world.client()
    page = client.get(path).get_data(as_text=True)
    token = re.search(r'name="csrf_token"\s+value="([^"]+)"', page)
    assert token
    answer = client.post(path, data={**data, "csrf_token": token[1]}, follow_redirects=True)
    assert answer.status_code == 200
    return text_of(answer)


def upload(world: World, content: str | bytes, **data: Any) -> str:
    raw = content.encode() if isinstance(content, str) else content
    return post(world, "/lms/participants/upload", file=(io.BytesIO(raw), "p.csv"), **data)


def read(world: World, path: str) -> str:
    answer = world.client().get(path)
    assert answer.status_code == 200
    return text_of(answer)


def test_from_a_result_that_is_not_sent_to_one_that_is(world: World, one: uuid.UUID) -> None:
    assert "Nothing is entered" in read(world, "/lms/participants")
    record(world, "E001", "E002")
    text = read(world, "/lms/participants")
    assert "2 participants can't be named to your LMS" in text
    text = read(world, "/lms/participants?show=unmatched")
    assert "E001" in text
    assert "An e-mail address" in text
    path = "/lms/participants/new?participant=E001"
    assert 'value="E001"' in world.client().get(path).get_data(as_text=True)
    assert "Write it like name@company.com" in post(
        world, path, participant_id="E001", email="jane"
    )
    text = post(world, path, participant_id="E001", email="jane@corp.example", name="Jane Doe")
    assert "1 participant saved. 1 result is being sent now." in text
    assert "jane@corp.example" in text
    assert states(world) == {"pending": 1, "not_sent": 1}
    assert "1 participant can't be named" in text
    assert "Participants mapped" in read(world, "/lms/history")


def test_a_participant_is_changed_and_removed(world: World) -> None:
    post(world, "/lms/participants/new", participant_id="E/1 ?", email="jane@corp.example")
    page = world.client().get("/lms/participants").get_data(as_text=True)
    link = re.search(r'href="(/lms/participants/[0-9a-f-]{36})"', page)
    assert link
    text = post(
        world,
        link[1],
        participant_id="E/1 ?",
        email="",
        account_name="7",
        account_home_page="https://hr.example",
    )
    assert "jane@corp.example" not in text
    assert "https://hr.example" in text
    assert "“E/1 ?”" in read(world, f"{link[1]}/remove")
    assert "Removed." in post(world, f"{link[1]}/remove", confirmed="yes")
    assert "Nothing is entered" in read(world, "/lms/participants")


def test_bad_lines_are_shown_by_number_and_a_click_saves_the_others(
    world: World, one: uuid.UUID
) -> None:
    record(world, "E001")
    file = "Personalnummer;E-Mail\r\nE001;jane@corp.example\r\nE002;kim\r\nE003;\r\n"
    text = upload(world, file.encode("cp1252"))
    assert "Nothing was saved. 1 line can't be taken:" in text
    assert "Line 3 email: “kim” is not a plain e-mail address." in text
    assert states(world) == {"not_sent": 1}
    text = upload(world, file, skip_bad_lines="y")
    assert "1 participant saved. 1 line can't be taken:" in text
    assert states(world) == {"pending": 1}
    assert "No line has an e-mail address" in upload(world, "participant_id,email\nE001,\n")
    assert "The file is empty." in upload(world, b"")
    assert "workbook" in upload(world, b"PK\x03\x04")
    many = "id,email\n" + "E1,kim\n" * 150
    assert "And 50 more." in upload(world, many)


def test_five_thousand_lines_are_a_workers(world: World, one: uuid.UUID) -> None:
    ids = [f"E{n:04}" for n in range(300)]
    record(world, *ids)
    lines = "".join(f"{id},{id}@corp.example\n" for id in ids)
    text = upload(world, "participant_id,email\n" + lines)
    assert "300 participants saved." in text
    assert "Sending results of mapped participants" in text
    assert "Sending results of mapped participants" in read(world, "/lms/participants")
    with world.app.app_context():
        while tasks.work(world.state):
            pass
    assert states(world) == {"pending": 300}


def test_what_is_downloaded_can_be_uploaded_and_runs_in_no_spreadsheet(
    world: World, one: uuid.UUID
) -> None:
    with world.app.app_context():
        people = world.lms.for_organization("harbor").participants
        people.map("=1+1", email="jane@corp.example", name="@Jane; =x")
        people.map("E002", account_name="-7", account_home_page="https://hr.example")
    client = world.client()
    data = client.get("/lms/participants.csv").get_data()
    assert b"\r\n=1+1" not in data
    assert "2 participants saved." in upload(world, data)
    with world.app.app_context():
        found = {one.participant_id: (one.name, one.account_name) for one in people.list().items}
    assert found == {"=1+1": ("@Jane; =x", None), "E002": (None, "-7")}

    record(world, "E002", "E009", name="Sam")
    data = client.get("/lms/participants/unmatched.csv").get_data()
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert [(row["participant_id"], row["name"], row["account_name"]) for row in rows] == [
        ("E002", "Sam", "'-7"),
        ("E009", "Sam", ""),
    ]


def test_who_was_forgotten_is_entered_again_by_a_choice_only(world: World) -> None:
    with world.app.app_context():
        participants.forget(world.state, "harbor", "E001")
    values = {"participant_id": "E001", "email": "jane@corp.example"}
    text = post(world, "/lms/participants/new", **values)
    assert "erased on request" in text
    assert "They are back" in text
    assert "1 participant saved." in post(world, "/lms/participants/new", **values, is_back="y")
    assert "They are back" not in read(world, "/lms/participants/new")


def test_the_pages_are_german_too(world: World, one: uuid.UUID) -> None:
    record(world, "E001")
    with using("de"):
        text = read(world, "/lms/participants")
        assert "1 Teilnehmer kann Ihrem LMS nicht genannt werden" in text
        assert "Die erste Zeile nennt die Spalten" in read(world, "/lms/participants/upload")
        assert "Zeile 2 email: „kim“ ist keine einfache" in upload(world, "id,email\nE1,kim\n")
