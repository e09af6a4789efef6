"""Nothing is changed by a post without its token, whether the host has ``CSRFProtect`` or not."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_wtf import CSRFProtect

from flask_lms import ObjectiveResult, Participant
from flask_lms.alerts import unsubscribe
from flask_lms.database.models import DeliveryState
from flask_lms.services import connection_test, tasks
from tests.pages.security.support import routes, rows_of
from tests.pages.site import BEN, create, deliver, make_site
from tests.pages.support import form_of
from tests.world import World

#: Its address is refused without a look-up, so no test leaves the machine.
URL = "https://127.0.0.1:9/xapi"
SETTINGS = {"url": URL, "key": "harbor-key", "secret": "s3cret-canary-71"}


@pytest.fixture(params=[False, True], ids=["alone", "with CSRFProtect"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with make_site(f"sqlite:///{tmp_path / 'site.db'}") as made:
        if request.param:
            CSRFProtect(made.app)
        made.app.config["TESTING"] = True
        yield made


def token_of(client: FlaskClient) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/lms/new").text)
    assert found
    return found[1]


def _first(client: FlaskClient) -> dict[str, Any]:
    """What step 1 gives to step 2."""
    form = {
        "name": "A new one", "type": "xapi", "contact_emails": "a@harbor.example", "language": "en",
        "csrf_token": token_of(client),
    }  # fmt: skip
    typed = form_of(client.post("/lms/new", data=form))
    return {name: value for name, value in typed.items() if name != "csrf_token"}


Post = tuple[str, dict[str, Any]]


def _configuration(path: str, **form: Any) -> Callable[[World, FlaskClient], Post]:
    def prepare(world: World, client: FlaskClient) -> Post:
        return f"/lms/{create(world, url=URL)}{path}", form

    return prepare


def _attached(path: str, **form: Any) -> Callable[[World, FlaskClient], Post]:
    def prepare(world: World, client: FlaskClient) -> Post:
        id = create(world, url=URL)
        with world.app.app_context():
            world.lms.configurations.attach(id, "harbor-1")
        world.past.append(
            ObjectiveResult(
                id="old",
                organization_id="harbor",
                objective="harbor-1",
                participant=Participant(id="jane@example.org"),
                finished_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
            )
        )
        return f"/lms/{id}{path}", {"ids": "harbor-1", **form}

    return prepare


def _after(act: str, path: str) -> Callable[[World, FlaskClient], Post]:
    def prepare(world: World, client: FlaskClient) -> Post:
        id = create(world, url=URL)
        with world.app.app_context():
            getattr(world.lms.configurations, act)(id)
        return f"/lms/{id}{path}", {}

    return prepare


def _delivery(act: str, state: DeliveryState) -> Callable[[World, FlaskClient], Post]:
    def prepare(world: World, client: FlaskClient) -> Post:
        id = deliver(world, create(world, url=URL), state)
        return f"/lms/deliveries/{act}", {"only": str(id), "confirmed": "1"}

    return prepare


def _new(world: World, client: FlaskClient) -> Post:
    return "/lms/new/xapi", {**_first(client), "act": "save", **SETTINGS}


def _objective(world: World, client: FlaskClient) -> Post:
    return "/lms/objectives/harbor-1", {"configuration_id": str(create(world, url=URL))}


def _task(world: World, client: FlaskClient) -> Post:
    with world.app.app_context():
        asked = {"ids": ["harbor-1"], "cancels": False}
        task = tasks.ask(world.state, "harbor", "detach", asked, by="operator")
        return f"/lms/tasks/{task.id}/stop", {"confirmed": "1"}


def _mapped(path: str, **form: Any) -> Callable[[World, FlaskClient], Post]:
    def prepare(world: World, client: FlaskClient) -> Post:
        with world.app.app_context():
            people = world.lms.for_organization("harbor").participants
            people.map("E001", email="jane@corp.example")
            id = people.list().items[0].id
        return f"/lms/participants/{id}{path}", {"participant_id": "E001", **form}

    return prepare


class _Again(io.BytesIO):
    """A file that is posted several times."""

    def close(self) -> None:
        self.seek(0)


def _upload(world: World, client: FlaskClient) -> Post:
    file = _Again(b"participant_id,email\nE001,jane@corp.example\n")
    return "/lms/participants/upload", {"file": (file, "people.csv")}


def _activity_ids(world: World, client: FlaskClient) -> Post:
    path, _ = _attached("/objectives/activities")(world, client)
    return path, {"file": (_Again(b"objective_id,activity_id\nharbor-1,https://a.b/1\n"), "a.csv")}


_EDITED = {
    "name": "Renamed", "contact_emails": "a@harbor.example", "language": "en", "lms_version": "1",
}  # fmt: skip
POSTS: dict[str, Callable[[World, FlaskClient], Post]] = {
    "new_connection": _new,
    "test": _configuration("/test"),
    "edit": _configuration("/edit", **_EDITED, **SETTINGS),
    "send_waiting": _configuration("/send-waiting"),
    "sample": _configuration("/sample", confirmed="1"),
    "reconcile": _configuration("/check", since="2025-01-01"),
    "pause": _configuration("/pause", confirmed="1"),
    "resume": _after("pause", "/resume"),
    "delete": _configuration("/delete", confirmed="1"),
    "restore": _after("delete", "/restore"),
    "attach": _configuration("/objectives", ids="harbor-1"),
    "backfill": _attached("/objectives/past", past="yes", since="2025-01-01", confirmed="1"),
    "detach": _attached("/objectives/detach", confirmed="1"),
    "objective": _objective,
    "delivery_act": _delivery("send-again", DeliveryState.REJECTED),
    "delivery_act cancel": _delivery("cancel", DeliveryState.PENDING),
    "stop_task": _task,
    "add_participant": lambda world, client: (
        "/lms/participants/new",
        {"participant_id": "E001", "email": "jane@corp.example"},
    ),
    "participant": _mapped("", email="other@corp.example"),
    "remove_participant": _mapped("/remove", confirmed="1"),
    "upload_participants": _upload,
    "activity_id": _attached(
        "/objectives/activity", objective="harbor-1", activity_id="https://lms.example/1"
    ),
    "upload_activity_ids": _activity_ids,
    "alerts": _configuration("/alerts", act="mute", email="ana.ruiz@harbor.example"),
    "alerts test": _configuration("/alerts", act="test"),
}
#: ``new`` writes nothing; ``mute`` has a signed token of its own; ``secrets`` are another type's.
WITHOUT = {"new", "mute", "secrets"}


def test_every_post_is_covered(world: World) -> None:
    posts = {r.endpoint.removeprefix("lms.") for r in routes(world) if "POST" in (r.methods or ())}
    assert posts == {name.split()[0] for name in POSTS} | WITHOUT


@pytest.mark.parametrize("name", POSTS)
def test_a_post_needs_the_token_of_its_own_session(name: str, world: World) -> None:
    client = world.client()
    address, form = POSTS[name](world, client)
    before = rows_of(world, "harbor")
    token = token_of(client)
    strangers = token_of(world.client())
    for wrong in (None, "", "forged", strangers, token[:-1], token.upper()):
        sent = form if wrong is None else {**form, "csrf_token": wrong}
        answer = client.post(address, data=sent)
        assert answer.status_code in (200, 303, 400)
        assert rows_of(world, "harbor") == before, wrong
        assert client.get(address, query_string=form).status_code in (200, 303, 405)
        assert rows_of(world, "harbor") == before
    done = client.post(address, data={**form, "csrf_token": token})
    assert done.status_code in (200, 303, 307)
    assert rows_of(world, "harbor") != before  # else this proved nothing


def test_the_wizard_goes_no_further_without_the_token(world: World) -> None:
    form = {"name": "A", "type": "xapi", "contact_emails": "a@harbor.example", "language": "en"}
    assert 'name="secret"' not in world.client().post("/lms/new", data=form).text


def test_what_another_administrator_typed_is_saved_in_no_other_organization(world: World) -> None:
    first = _first(world.client())
    before = rows_of(world, "harbor")
    other = world.client()
    world.who = BEN
    form = {**first, **SETTINGS, "act": "save", "csrf_token": token_of(other)}
    assert other.post("/lms/new/xapi", data=form).status_code == 303
    assert rows_of(world, "harbor") == before
    assert len(rows_of(world, "dock")["lms_configuration"]) == 1  # as if BEN had typed it


def test_the_link_of_a_mail_needs_no_session_and_no_csrf_token(world: World) -> None:
    id = create(world, url=URL)
    with world.app.app_context():
        token = unsubscribe.make(world.state, id, "ana.ruiz@harbor.example", world.now)
    world.who = None
    before = rows_of(world, "harbor")
    client = world.client()
    assert client.get(f"/lms/mute/{token}").status_code == 200
    assert rows_of(world, "harbor") == before  # mail scanners follow links
    answer = client.post(f"/lms/mute/{token}", data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    with world.app.app_context():
        muted = world.lms.configurations.get(id).muted_emails
    assert muted == ["ana.ruiz@harbor.example"]


def test_a_configuration_is_tested_five_times_a_minute_and_not_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[str] = []
    real = connection_test.run

    def counting(state: Any, type: str, *rest: Any) -> Any:
        tested.append(type)
        return real(state, type, *rest)

    monkeypatch.setattr(connection_test, "run", counting)
    id = create(world, url=URL)
    client = world.client()
    form = {"csrf_token": token_of(client)}
    for _ in range(8):
        page = client.post(f"/lms/{id}/test", data=form)
        assert page.status_code == 200
        assert page.text  # it is tested while this is read
    assert len(tested) == 5
    unsaved = {**_EDITED, **SETTINGS, "act": "test", **form}
    assert client.post(f"/lms/{id}/edit", data=unsaved).status_code == 200
    assert len(tested) == 5
