"""The same pages inside other layouts: a bridge of three lines, hostile CSS, macros, odd hosts."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template, send_file
from flask_babel import Babel
from flask_wtf import CSRFProtect
from jinja2 import ChoiceLoader, FileSystemLoader

from tests.browser.conftest import Place
from tests.browser.paths import paths_of
from tests.pages.site import create, fill, make_site
from tests.pages.support import form_of, text_of
from tests.requirements_support import need
from tests.world import World

BRIDGES = Path(__file__).parent / "bridges"
OUTPUT = Path(__file__).parent.parent / "output" / "layouts"


def bootstrap() -> Path:
    """Bootstrap 5 itself, as the test extra brings it."""
    found = files("bootstrap-flask")
    assert found is not None
    [css] = [f for f in found if f.match("static/bootstrap5/css/bootstrap.min.css")]
    return Path(str(css.locate()))


def embed(app: Flask, theme: str) -> None:
    """Give the app a host's own base template, and the oddities of some hosts."""
    app.jinja_loader = ChoiceLoader([FileSystemLoader(BRIDGES / "hostile")])
    app.static_folder = str(BRIDGES / "hostile_static")
    app.jinja_env.globals["config"] = lambda: "config is a function here"
    app.jinja_env.globals["theme"] = theme
    app.add_url_rule("/bootstrap.css", "bootstrap", lambda: send_file(bootstrap()))
    app.add_url_rule("/host", "host", lambda: render_template("objective.html"))


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[World]:
    with make_site(f"sqlite:///{tmp_path / 'host.db'}") as world:
        embed(world.app, "light")
        yield world


def test_three_lines_put_every_page_into_the_hosts_layout(hostile: World) -> None:
    page = hostile.client().get("/lms/")
    assert "config is a function here" in text_of(page)
    assert page.text.count("<main") == 1
    assert "LMS configurations" in text_of(page)


def test_a_page_outside_has_panel_banner_and_link(hostile: World) -> None:
    ids = fill(hostile)
    text = text_of(hostile.client().get("/host"))
    assert "LMS configurations (2 not working)" in text
    assert "2 LMS configurations don't work" in text
    assert "Contractor Academy : Can't Connect. 37 results are waiting." in text
    assert "Corporate LMS" in text
    page = hostile.client()
    values = form_of(page.get("/host"))
    answer = page.post(
        "/lms/objectives/harbor-1",
        data={"csrf_token": values["csrf_token"], "configuration_id": str(ids["paused"])},
    )
    assert answer.status_code == 303


def test_a_page_outside_shows_nothing_to_others(hostile: World) -> None:
    fill(hostile)
    hostile.who = None
    text = text_of(hostile.client().get("/host"))
    assert text == "An objective of the host · Host Host config is a function here Fire Safety"


def test_the_panel_of_an_objective_that_is_not_there_is_empty(hostile: World) -> None:
    hostile.known["harbor"].clear()
    assert hostile.client().get("/host").status_code == 200


def test_german_with_flask_babel(tmp_path: Path) -> None:
    with make_site(f"sqlite:///{tmp_path / 'de.db'}") as world:
        Babel(world.app, locale_selector=lambda: "de")
        one = create(world)
        client = world.client()
        page = client.get("/lms/")
        assert 'lang="de"' in page.text
        assert "0 von 1 verbunden, nichts wartet" in text_of(page)
        assert "Diese Konfiguration wurde noch nicht getestet." in text_of(
            client.get(f"/lms/{one}")
        )
        bad = client.post("/lms/new", data={**form_of(client.get("/lms/new")), "name": ""})
        assert "Es gibt ein Problem" in text_of(bad)
        assert "Geben Sie einen Namen für die Konfiguration ein." in text_of(bad)


@pytest.mark.parametrize("is_early", [True, False])
def test_with_the_hosts_own_csrf_protection(tmp_path: Path, is_early: bool) -> None:
    with make_site(f"sqlite:///{tmp_path / 'csrf.db'}") as world:
        one = create(world)
        CSRFProtect(world.app)
        client = world.client()
        values = form_of(client.get(f"/lms/{one}/pause"))
        assert client.post(f"/lms/{one}/pause", data={"confirmed": "yes"}).status_code == 400
        assert client.post(f"/lms/{one}/pause", data=values).status_code == 303
        from flask_lms.alerts import unsubscribe

        with world.app.app_context():
            token = unsubscribe.make(world.state, one, "ana.ruiz@harbor.example", world.now)
        assert client.post(f"/lms/mute/{token}", data={}).status_code == 200


@pytest.mark.browser
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hostile_css_breaks_nothing(tmp_path: Path, theme: str) -> None:
    need("browser")
    from tests.browser.support import browse, hears, serve
    from tests.browser.test_look import faults_of

    OUTPUT.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    with make_site(f"sqlite:///{tmp_path / 'host.db'}") as world:
        embed(world.app, theme)
        ids = fill(world)
        with serve(world.app) as url, browse() as browser:
            place = Place(site=world, url=f"{url}/lms", ids=ids)
            shown: dict[str, Any] = {"host": f"{url}/host"}
            shown |= {name: place.url + path for name, path in paths_of(place).items()}
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            said: list[str] = []
            page.on("console", hears(said))
            for name, address in shown.items():
                said.clear()
                page.goto(address)
                if name == "not-found":
                    said.clear()
                faults += faults_of(page, f"{name} {theme}", said)
                page.screenshot(path=OUTPUT / f"{name}-{theme}.png", full_page=True)
    assert not faults, "\n".join(faults)
