"""Each field's error text, nothing written, and what was typed kept except the secret."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask.testing import FlaskClient

from flask_lms.database.models import Configuration
from flask_lms.encryption import Encryption
from tests.pages.site import SECRET, create
from tests.pages.support import errors_of, field_value, form_of, post, title_of
from tests.world import World

BASICS = {"name": "Corporate LMS", "type": "xapi", "contact_emails": "ana@harbor.example"}
CONNECTION = {"url": "https://lrs.example.org/xapi", "key": "k", "secret": SECRET}


def step_2(client: FlaskClient, **changes: str) -> dict[str, Any]:
    """The hidden fields of step 2 after a good step 1."""
    page = post(client, "/lms/new", {**BASICS, **changes})
    assert page.status_code == 200
    return form_of(page)


def stored(world: World) -> int:
    with world.app.app_context():
        return world.db.session.scalar(sa.select(sa.func.count(Configuration.id))) or 0


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "", "Enter a configuration name."),
        ("name", "   ", "Enter a configuration name."),
        ("name", "x" * 101, "Shorten the name to 100 characters or fewer. It has 101."),
        ("name", "a\nb", "Write the name on one line, without line breaks or control characters."),
        ("type", "scorm", "Choose an LMS type: webhook, xapi."),
        ("contact_emails", "", "Enter at least one contact e-mail address."),
        (
            "contact_emails",
            "ana",
            "“ana” is not a valid e-mail address. Write it like name@company.com.",
        ),
        (
            "contact_emails",
            "\n".join(f"a{n}@harbor.example" for n in range(11)),
            "Enter at most 10 contact e-mail addresses. There are 11.",
        ),
    ],
)
def test_step_1_says_what_is_wrong_and_writes_nothing(
    world: World, field: str, value: str, says: str
) -> None:
    client = world.client()
    page = post(client, "/lms/new", {**BASICS, field: value})
    assert says in errors_of(page)
    assert title_of(page).startswith("Error: ")
    for other, typed in BASICS.items():
        if other != field and other != "type":
            assert field_value(page, other) == typed
    assert stored(world) == 0


def test_a_name_is_unique_in_the_organization(world: World) -> None:
    create(world, "Corporate LMS")
    page = post(world.client(), "/lms/new", {**BASICS, "name": "corporate  lms"})
    assert 'You already have a configuration named "Corporate LMS".' in errors_of(page)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("url", "", "Enter the xAPI URL of your LMS."),
        ("key", "", None),
        ("secret", "", None),
        ("secret", "••••••••", None),
        ("batch_statements", "many", None),
        ("batch_statements", "501", None),
        ("ca_pem", "not a certificate", None),
        ("version", "0.9", None),
        ("identify", "nobody", None),
        ("results", "some", None),
        ("steps", "none", None),
        ("url", "ftp://lrs.example.org", None),
        ("url", "https://user:pass@lrs.example.org", None),
    ],
)
def test_step_2_says_what_is_wrong_and_writes_nothing(
    world: World, field: str, value: str, says: str | None
) -> None:
    client = world.client()
    hidden = step_2(client)
    page = post(client, "/lms/new/xapi", {**hidden, **CONNECTION, field: value, "act": "save"})
    errors = errors_of(page)
    assert len(errors) == 1, page.text
    assert says is None or errors == [says]
    assert title_of(page).startswith("Error: ")
    assert f'id="{field}-error"' in page.text
    if field != "key":
        assert field_value(page, "key") == "k"
    assert SECRET not in page.text
    assert stored(world) == 0


def test_all_errors_are_told_at_once(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    page = post(client, "/lms/new/xapi", {**hidden, "batch_statements": "x", "act": "save"})
    assert len(errors_of(page)) == 4


def test_saved_at_the_end_of_step_2_and_not_before(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    assert stored(world) == 0
    done = post(client, "/lms/new/xapi", {**hidden, **CONNECTION, "act": "save"})
    assert done.status_code == 303
    page = client.get(done.headers["Location"])
    assert "“Corporate LMS” was created." in page.text
    assert stored(world) == 1
    with world.app.app_context():
        row = world.lms.configurations.list("harbor")[0]
        assert row.created_by == "Ana Ruiz"
        assert row.contact_emails == ["ana@harbor.example"]


def test_what_was_changed_in_the_url_is_said(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    url = "https://lrs.example.org/xapi/statements"
    done = post(client, "/lms/new/xapi", {**hidden, **CONNECTION, "url": url, "act": "save"})
    page = client.get(done.headers["Location"])
    assert "/statements was removed from the URL" in page.text


def test_back_keeps_both_steps_except_the_secret(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    back = post(client, "/lms/new/xapi", {**hidden, **CONNECTION, "key": "kept", "act": "back"})
    assert field_value(back, "name") == "Corporate LMS"
    assert SECRET not in back.text
    again = post(client, "/lms/new", {**form_of(back), **BASICS, "name": "Another name"})
    assert "Another name" in again.text
    assert field_value(again, "key") == "kept"
    assert field_value(again, "secret") in (None, "")


def test_step_2_without_step_1_begins_at_step_1(world: World) -> None:
    client = world.client()
    assert client.get("/lms/new/xapi").headers["Location"] == "/lms/new"
    straight = post(client, "/lms/new/xapi", CONNECTION)
    assert straight.headers["Location"] == "/lms/new"


def test_what_came_from_step_1_is_checked_again_when_it_is_saved(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    changed = {**hidden, **CONNECTION, "name": "x" * 101, "contact_emails": "nobody"}
    page = post(client, "/lms/new/xapi", {**changed, "act": "save"})
    assert "Shorten the name to 100 characters or fewer. It has 101." in errors_of(page)
    assert len(errors_of(page)) == 2
    assert SECRET not in page.text
    assert stored(world) == 0
    mended = post(client, "/lms/new", {**form_of(page), **BASICS})
    assert field_value(mended, "key") == "k"


def test_a_name_that_was_taken_meanwhile_is_told_at_step_1(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    create(world, "Corporate LMS")
    page = post(client, "/lms/new/xapi", {**hidden, **CONNECTION, "act": "save"})
    assert errors_of(page) == ['You already have a configuration named "Corporate LMS".']


def test_the_wizard_survives_a_change_of_the_encryption_key(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    with world.app.app_context():
        world.state.encryption = Encryption([Fernet.generate_key()])
    done = post(client, "/lms/new/xapi", {**hidden, **CONNECTION, "act": "save"})
    assert done.status_code == 303
    assert stored(world) == 1


def test_what_was_unticked_in_step_2_stays_unticked(world: World) -> None:
    client = world.client()
    ticked = {k: v for k, v in {**step_2(client), **CONNECTION}.items() if k != "send_name"}
    back = post(client, "/lms/new/xapi", {**ticked, "one_by_one": "y", "act": "back"})
    again = post(client, "/lms/new", {**form_of(back), **BASICS})
    assert field_value(again, "send_name") is None
    assert field_value(again, "one_by_one") == "y"
    fresh = step_2(client)
    assert fresh.get("send_name") == "y"


def test_the_secret_is_in_no_cookie_and_no_page(world: World) -> None:
    client = world.client()
    hidden = step_2(client)
    post(client, "/lms/new/xapi", {**hidden, **CONNECTION, "act": "save"})
    cookie = client.get_cookie("session")
    assert cookie is None or SECRET not in cookie.value
    one = create(world, "Second")
    for path in ("", "/edit", "/test"):
        assert SECRET not in client.get(f"/lms/{one}{path}").text


# -- edit -----------------------------------------------------------------------------------------


def edit(world: World, one: uuid.UUID, **changes: str) -> Any:
    client = world.client()
    page = client.get(f"/lms/{one}/edit")
    return client.post(f"/lms/{one}/edit", data={**form_of(page), **changes})


def test_a_blank_secret_keeps_the_stored_one(world: World) -> None:
    one = create(world)
    assert edit(world, one, name="New name", secret="").status_code == 307
    with world.app.app_context():
        row = world.lms.configurations.get(one)
        assert row.name == "New name"
        assert world.state.encryption.decrypt(row.secrets) == {"secret": SECRET}


def test_another_address_asks_for_the_secret_again(world: World) -> None:
    one = create(world)
    page = edit(world, one, url="https://other.example.org/xapi", secret="")
    assert errors_of(page)[0].startswith("Enter the secret again: the address was changed to other")
    assert field_value(page, "url") == "https://other.example.org/xapi"
    with world.app.app_context():
        assert world.lms.configurations.get(one).settings["url"] == "https://lrs.example.org/xapi"


def test_since_when_there_is_a_secret_is_said_never_what_it_is(world: World) -> None:
    one = create(world)
    text = world.client().get(f"/lms/{one}/edit").text
    assert re.search(r"Secret set on \d+ \w+ \d+ by Ana Ruiz\. Leave it blank to keep it\.", text)
    assert SECRET not in text
    assert "•" not in text


def test_the_second_of_two_editors_is_told_who_changed_what(world: World) -> None:
    one = create(world)
    client = world.client()
    mine = form_of(client.get(f"/lms/{one}/edit"))
    with world.app.app_context():
        world.lms.configurations.update(one, settings={"key": "theirs"}, by="Ben Okoye")
    page = client.post(f"/lms/{one}/edit", data={**mine, "name": "My name"})
    assert page.status_code == 409
    assert "Ben Okoye saved this configuration on" in page.text
    assert "Changed: xAPI Key." in page.text
    assert field_value(page, "name") == "My name"
    with world.app.app_context():
        assert world.lms.configurations.get(one).name == "Corporate LMS"
    again = client.post(f"/lms/{one}/edit", data={**form_of(page), "name": "My name"})
    assert again.status_code == 307
    with world.app.app_context():
        assert world.lms.configurations.get(one).name == "My name"


# -- CSRF -----------------------------------------------------------------------------------------


def test_a_post_without_its_token_changes_nothing(world: World) -> None:
    one = create(world)
    client = world.client()
    for path in ("/pause", "/delete", "/send-waiting", "/test", "/objectives", "/alerts"):
        page = client.post(
            f"/lms/{one}{path}", data={"confirmed": "yes", "ids": "harbor-1", "act": "mute"}
        )
        assert page.status_code in (200, 303), path
    with world.app.app_context():
        row = world.lms.configurations.get(one)
        assert not row.is_paused
        assert not row.muted_emails
        assert world.lms.configurations.links(one) == []


def test_an_expired_page_keeps_what_was_typed(world: World) -> None:
    page = world.client().post("/lms/new", data={**BASICS, "name": "Typed"})
    assert "This page was open for too long. Send it once more." in page.text
    assert field_value(page, "name") == "Typed"
