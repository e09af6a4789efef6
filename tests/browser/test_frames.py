"""Another site can't show the pages in a frame, as Chromium sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request

from flask_lms.alerts import unsubscribe
from tests.browser.support import serve
from tests.pages.site import create, make_site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def shown_in_frame(chromium: Any, at: str, address: str) -> bool:
    """Whether the page at ``at`` shows ``address`` in a frame."""
    page = chromium.new_page()
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text))
    page.goto(f"{at}/embed?url={address}")
    page.wait_for_load_state("networkidle")
    is_shown = page.frames[1].locator(".flms").count() > 0
    assert is_shown or any("frame-ancestors" in line for line in refused), refused
    page.close()
    return is_shown


def embedding(app: Flask) -> Flask:
    """The app, with a page that shows any address in a frame."""

    @app.get("/embed")
    def embed() -> str:
        return f'<!doctype html><title>Win a prize</title><iframe src="{request.args["url"]}">'

    return app


def test_another_site_shows_no_page_in_a_frame(chromium: Any, tmp_path: Path) -> None:
    other = embedding(Flask("other"))
    with (
        make_site(f"sqlite:///{tmp_path / 'site.db'}") as world,
        serve(embedding(world.app)) as here,
        serve(other, policy=None) as elsewhere,
    ):
        id = create(world)
        with world.app.app_context():
            token = unsubscribe.make(world.state, id, "ana.ruiz@harbor.example", world.now)
        for path in ("/", f"/{id}/delete", f"/{id}/alerts"):
            assert not shown_in_frame(chromium, elsewhere, f"{here}/lms{path}")
            assert shown_in_frame(chromium, here, f"{here}/lms{path}")  # else this proved nothing
        mute = f"{here}/lms/mute/{token}"
        assert not shown_in_frame(chromium, elsewhere, mute)
        assert not shown_in_frame(chromium, here, mute)


def test_a_site_that_the_operator_names_shows_them(chromium: Any, tmp_path: Path) -> None:
    with serve(embedding(Flask("portal")), policy=None) as portal:
        config = {"LMS_FRAME_ANCESTORS": ["self", portal]}
        with (
            make_site(f"sqlite:///{tmp_path / 'site.db'}", **config) as world,
            serve(world.app) as here,
            serve(embedding(Flask("other")), policy=None) as elsewhere,
        ):
            assert shown_in_frame(chromium, portal, f"{here}/lms/")
            assert not shown_in_frame(chromium, elsewhere, f"{here}/lms/")
