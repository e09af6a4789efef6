"""Who may show the pages in a frame: a click there could be one that nobody meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Response

from flask_lms.alerts import unsubscribe
from tests.pages.site import create, make_site
from tests.world import World

CSP = "Content-Security-Policy"


def policies(world: World, path: str = "/") -> list[str]:
    return world.client().get(f"/lms{path}").headers.getlist(CSP)


def with_header(world: World, name: str, value: str) -> None:
    """The host's own header on every response."""

    @world.app.after_request
    def add(response: Response) -> Response:
        response.headers[name] = value
        return response


def test_only_the_hosts_own_site_by_default(world: World) -> None:
    assert policies(world) == ["frame-ancestors 'self'"]
    assert policies(world, "/nothing/here") == []  # the host's page


@pytest.mark.parametrize("who", ["nobody", "redirected"])
def test_whoever_asks(world: World, who: str) -> None:
    world.who = None if who == "nobody" else Response(status=302)
    assert policies(world) == ["frame-ancestors 'self'"]


def test_a_policy_of_the_host_that_says_nothing_of_frames_stays_as_it_is(world: World) -> None:
    with_header(world, CSP, "default-src 'self'")
    assert policies(world) == ["default-src 'self'", "frame-ancestors 'self'"]


@pytest.mark.parametrize(
    ("name", "value"),
    [(CSP, "default-src 'self'; Frame-Ancestors https://a.example"), ("X-Frame-Options", "DENY")],
)
def test_what_the_host_says_of_frames_counts(world: World, name: str, value: str) -> None:
    with_header(world, name, value)
    assert policies(world) == ([value] if name == CSP else [])


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["self", "https://Portal.example:8443"], "'self' https://portal.example:8443"),
        ("https://*.portal.example", "https://*.portal.example"),
        ("'none'", "'none'"),
    ],
)
def test_the_operator_may_name_other_sites(tmp_path: Path, given: Any, sent: str) -> None:
    url = f"sqlite:///{tmp_path / 'named.db'}"
    with make_site(url, LMS_FRAME_ANCESTORS=given) as world:
        assert policies(world) == [f"frame-ancestors {sent}"]


@pytest.mark.parametrize("own", [None, "frame-ancestors *"])
def test_the_page_that_needs_no_sign_in_is_never_shown_in_a_frame(
    world: World, own: str | None
) -> None:
    id = create(world)
    if own:
        with_header(world, CSP, own)
    with world.app.app_context():
        token = unsubscribe.make(world.state, id, "ana.ruiz@harbor.example", world.now)
    for path in (f"/mute/{token}", "/mute/forged"):
        assert policies(world, path) == [*([own] if own else []), "frame-ancestors 'none'"]
