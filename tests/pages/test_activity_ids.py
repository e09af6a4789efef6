"""The pages on what an LMS calls the objectives, and the files of its catalogue."""

from __future__ import annotations

import csv
import io
import uuid
from typing import Any

import pytest

from flask_lms.i18n import using
from tests.pages.site import create
from tests.pages.support import act, post, text_of
from tests.world import World

THEIRS = "https://lms.example/courses/42"


@pytest.fixture
def one(world: World) -> uuid.UUID:
    """A configuration that two objectives' results go to."""
    made = create(world)
    with world.app.app_context():
        world.configurations.attach_many(made, ["harbor-1", "harbor-2"])
    return made


def read(world: World, path: str) -> str:
    answer = world.client().get(path)
    assert answer.status_code == 200
    return text_of(answer)


def ids(world: World, one: uuid.UUID) -> dict[str, str | None]:
    with world.app.app_context():
        return {link.objective_id: link.activity_id for link in world.configurations.links(one)}


def upload(world: World, path: str, content: str) -> Any:
    return post(world.client(), path, {"file": (io.BytesIO(content.encode()), "a.csv")})


def test_an_objective_gets_the_id_of_the_lms(world: World, one: uuid.UUID) -> None:
    path = f"/lms/{one}/objectives/activity?objective=harbor-1"
    assert "It counts for results from now on." in read(world, path)
    assert "Enter the whole address" in text_of(post(world.client(), path, {"activity_id": "42"}))
    text = text_of(act(world.client(), path, activity_id=THEIRS))
    assert "Saved." in text
    assert THEIRS in text
    assert THEIRS in read(world, f"/lms/objectives/harbor-1?preview={one}")
    assert THEIRS in read(world, "/lms/history")
    text = text_of(act(world.client(), path.replace("harbor-1", "harbor-2"), activity_id=THEIRS))
    assert f"Several objectives have the activity ID {THEIRS}" in text
    act(world.client(), path, activity_id="")
    assert ids(world, one) == {"harbor-1": None, "harbor-2": THEIRS}
    answer = world.client().get(f"/lms/{one}/objectives/activity?objective=harbor-3")
    assert answer.status_code == 404


def test_it_is_entered_when_a_configuration_is_attached(world: World) -> None:
    made = create(world)
    form = {"configuration_id": str(made), "activity_id": "42"}
    text = text_of(post(world.client(), "/lms/objectives/harbor-1", form))
    assert "Enter the whole address" in text
    act(world.client(), "/lms/objectives/harbor-1", **{**form, "activity_id": THEIRS})
    assert ids(world, made) == {"harbor-1": THEIRS}


def test_many_are_downloaded_filled_in_and_uploaded(world: World, one: uuid.UUID) -> None:
    client, path = world.client(), f"/lms/{one}/objectives/activities"
    data = client.get(f"{path}.csv").get_data().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(data)))
    assert [(row["objective_id"], row["activity_id"]) for row in rows] == [
        ("harbor-1", ""), ("harbor-2", ""),
    ]  # fmt: skip
    assert rows[0]["name"]
    text = text_of(upload(world, path, "objective_id,activity_id\nharbor-1,42\nx,\n"))
    assert "Nothing was saved. 2 lines can't be taken:" in text
    assert "Line 2 activity_id: Enter the whole address" in text
    answer = upload(world, path, data.replace(
        f"{rows[1]['name']},", f"{rows[1]['name']},{THEIRS}"
    ))  # fmt: skip
    assert answer.status_code == 303
    assert ids(world, one)["harbor-2"] == THEIRS


def test_the_catalogue_is_downloaded_in_two_forms(world: World, one: uuid.UUID) -> None:
    with world.app.app_context():
        world.configurations.attach(one, "harbor-2", activity_id=THEIRS)
    client = world.client()
    data = client.get(f"/lms/{one}/objectives/catalogue.csv").get_data().decode("utf-8-sig")
    found = {row["Objective ID"]: row["Activity ID"] for row in csv.DictReader(io.StringIO(data))}
    assert found == {
        "harbor-1": "https://harbor.example/xapi/objectives/harbor-1",
        "harbor-2": THEIRS,
    }
    answer = client.get(f"/lms/{one}/objectives/tincan.xml")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="tincan.xml"'
    assert f'<activity id="{THEIRS}"' in answer.text
    with using("de"):
        assert "Katalog Ihres LMS" in read(world, f"/lms/{one}/objectives")
