"""Hosts with their own ways to sign in and to guard forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, abort, redirect, render_template_string, url_for
from flask_wtf import CSRFProtect

from flask_lms import Administrator
from flask_lms.testing import FakeLRS
from tests.hosts.support import pages, press, walk
from tests.pages.support import form_of
from tests.world import ANA, World, build_world, standing

LINK = '{% from "lms/macros.html" import lms_nav_item, lms_health_banner %}'


def loads(world: World, loader: Callable[[], Any]) -> None:
    world.lms.administrator_loader(replace=True)(loader)


def test_a_loader_that_sends_to_the_sign_in_page(url: str, lrs: FakeLRS) -> None:
    """As with Flask-Login: ``return login_manager.unauthorized()``."""
    world = build_world(url)
    world.app.add_url_rule("/login", "login", lambda: "Sign in")
    users: list[Administrator] = [ANA]

    def administrator() -> Administrator | Any:
        return users[-1] if users else redirect(url_for("login"))

    loads(world, administrator)
    with standing(world):
        client = walk(world, lrs)
        users.clear()
        for path, page in pages(world, client).items():
            assert page.status_code == 302, path
            assert page.location == "/login"
        assert client.post("/lms/new", data={"name": "x"}).location == "/login"


def test_a_loader_that_aborts_is_obeyed_and_does_no_harm_to_the_hosts_own_pages(url: str) -> None:
    """As Flask-Login's ``unauthorized()`` does without a ``login_view``."""
    world = build_world(url)

    def administrator() -> Administrator:
        abort(401)

    loads(world, administrator)
    world.app.add_url_rule(
        "/", "home", lambda: render_template_string(LINK + "Home{{ lms_nav_item() }}")
    )
    with standing(world):
        client = world.app.test_client()
        assert client.get("/lms/").status_code == 401
        assert client.get("/lms/new").status_code == 401
        home = client.get("/")
        assert (home.status_code, home.text.strip()) == (200, "Home")


def test_a_response_with_a_body_of_the_hosts_own_is_sent_as_it_is(url: str) -> None:
    world = build_world(url)
    loads(world, lambda: Response("Ask your manager.", 403, {"X-Host": "yes"}))
    with standing(world):
        page = world.app.test_client().get("/lms/")
        assert (page.status_code, page.text, page.headers["X-Host"]) == (
            403,
            "Ask your manager.",
            "yes",
        )


def without_protection(app: Flask) -> None:
    """A host that never heard of CSRF: the pages' own forms are guarded nevertheless."""


def with_protection(app: Flask) -> None:
    CSRFProtect(app)


def with_other_names(app: Flask) -> None:
    app.config["WTF_CSRF_FIELD_NAME"] = "authenticity_token"
    app.config["WTF_CSRF_SECRET_KEY"] = "another one"
    CSRFProtect(app)


@pytest.mark.parametrize("protect", [without_protection, with_protection, with_other_names])
def test_forms_are_guarded_whatever_the_host_does(
    url: str, lrs: FakeLRS, protect: Callable[[Flask], None]
) -> None:
    world = build_world(url, TESTING=False)
    protect(world.app)  # after LMS(app), as often as before
    with standing(world):
        client = walk(world, lrs)
        with world.app.app_context():
            one = world.lms.configurations.list()[0].id
        form = form_of(client.get(f"/lms/{one}/pause"))
        forged = {k: v for k, v in form.items() if "token" not in k}
        assert forged != form
        answer = client.post(f"/lms/{one}/pause", data=forged)
        assert answer.status_code != 303
        with world.app.app_context():
            assert world.lms.configurations.get(one).paused_at is None


def test_a_hosts_tests_that_switch_csrf_off_post_without_a_token(url: str, lrs: FakeLRS) -> None:
    with standing(build_world(url, WTF_CSRF_ENABLED=False)) as world:
        client = walk(world, lrs)
        assert "csrf_token" not in client.get("/lms/new").text
        press(world, client)
