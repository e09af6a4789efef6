"""What an LMS will make of a result is shown before it is sent, and told when it changes."""

from __future__ import annotations

from typing import Any

from flask_lms.database.models import Configuration
from tests.pages.site import create
from tests.pages.support import form_of, post, text_of
from tests.pages.test_forms import CONNECTION, step_2
from tests.world import World

NOBODY = "Your LMS gets “failed” without completion: nobody who failed is credited."
CREDITED = "if it goes by completion, the participant is credited although they failed."


def test_the_form_shows_a_passed_and_a_failed_result_as_they_are_entered(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    page = post(client, "/lms/new/xapi", {**hidden, **CONNECTION, "act": "preview"})
    said = text_of(page)
    assert "Your LMS gets “passed” with completion: the participant is credited." in said
    assert NOBODY in said
    assert page.text.count("Example of a statement") == 2
    entered: dict[str, Any] = {**form_of(page), "failed_counts_as_completed": "y"}
    page = post(client, "/lms/new/xapi", {**entered, "act": "preview"})
    assert CREDITED in text_of(page)
    assert form_of(page)["failed_counts_as_completed"] == "y"
    with world.app.app_context():
        assert world.lms.configurations.list("harbor") == []


def test_that_a_failed_result_counts_is_chosen_in_words_and_stored(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    page = post(client, "/lms/new/xapi", {**hidden, **CONNECTION, "act": "preview"})
    assert "A failed result counts as completed in your LMS" in text_of(page)
    assert "Yes, my LMS counts attempts" in text_of(page)
    for given, stored in (("", False), ("y", True)):
        values = {**hidden, **CONNECTION, "name": f"LMS {stored:d}", "act": "save"}
        post(client, "/lms/new/xapi", {**values, "failed_counts_as_completed": given})
        with world.app.app_context():
            [made] = world.lms.configurations.list("harbor")[-1:]
            assert made.settings["failed_counts_as_completed"] is stored
        page = client.get(f"/lms/{made.id}/edit")
        assert form_of(page)["failed_counts_as_completed"] == given
        assert (CREDITED in text_of(page)) == stored


def test_a_preview_saves_nothing_and_the_edit_page_keeps_what_was_entered(world: World) -> None:
    one = create(world)
    client = world.client()
    values = {**form_of(client.get(f"/lms/{one}/edit")), "name": "Renamed", "steps": "statements"}
    page = post(client, f"/lms/{one}/edit", {**values, "act": "preview"})
    assert form_of(page)["name"] == "Renamed"
    assert "activitytype/step" in page.text
    with world.app.app_context():
        assert world.session.get_one(Configuration, one).name == "Corporate LMS"


def test_what_changed_with_a_release_is_told_until_the_settings_are_saved(world: World) -> None:
    one = create(world)
    client = world.client()
    told = "A failed result is now sent without completion"
    assert told not in text_of(client.get(f"/lms/{one}"))
    with world.app.app_context():
        row = world.session.get_one(Configuration, one)
        settings = dict(row.settings)
        del settings["failed_counts_as_completed"]
        row.settings = settings
        world.session.commit()
    assert told in text_of(client.get(f"/lms/{one}"))
    values = form_of(client.get(f"/lms/{one}/edit"))
    assert values["failed_counts_as_completed"] == ""
    post(client, f"/lms/{one}/edit", {**values, "act": "save"})
    assert told not in text_of(client.get(f"/lms/{one}"))


def test_the_profile_is_public_the_same_for_everybody_and_may_be_cached(world: World) -> None:
    world.who = None
    client = world.client()
    page = client.get("/lms/profile.json")
    assert page.status_code == 200
    assert page.mimetype == "application/json"
    assert page.json is not None
    assert page.json["prefLabel"] == {"en": "Objective result"}
    assert page.headers["Cache-Control"] == "public, max-age=86400"
    assert "Set-Cookie" not in page.headers
    again = client.get("/lms/profile.json", headers={"If-None-Match": page.headers["ETag"]})
    assert again.status_code == 304
    assert client.post("/lms/profile.json").status_code == 405
    assert "host.example" not in page.text
