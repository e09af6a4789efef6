"""Hosts that stand elsewhere: another prefix, below a path, behind a proxy."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client, TestResponse

from flask_lms.alerts import sending
from flask_lms.testing import FakeLRS, deliver
from tests.hosts.support import addresses, pages, walk
from tests.pages.support import form_of
from tests.world import ANA, World, build_world, standing

#: Addresses in a page that a browser may go to.
_LINKS = re.compile(r'(?:href|src|action|formaction)="([^"#][^"]*)"')


def links(page: TestResponse) -> list[str]:
    return [link for link in _LINKS.findall(page.text) if not link.startswith("mailto:")]


def test_another_prefix(url: str, lrs: FakeLRS) -> None:
    with standing(build_world(url, LMS_URL_PREFIX="/settings/learning-systems")) as world:
        client = walk(world, lrs, "/settings/learning-systems")
        assert client.get("/lms/").status_code == 404
        for path, page in pages(world, client, "/settings/learning-systems").items():
            for link in links(page):
                assert link.startswith(("/settings/learning-systems/", "?", "https://")), path


def below_a_path(world: World) -> Any:
    world.app.config["APPLICATION_ROOT"] = "/platform"
    return DispatcherMiddleware(Flask("nothing"), {"/platform": world.app.wsgi_app})


def behind_a_proxy(world: World) -> Any:
    world.app.wsgi_app = ProxyFix(world.app.wsgi_app, x_prefix=1)  # type: ignore[method-assign]
    return world.app.wsgi_app


@pytest.mark.parametrize("place", [below_a_path, behind_a_proxy])
def test_below_a_path_every_link_form_and_redirect_has_it(
    url: str, lrs: FakeLRS, place: Any
) -> None:
    with standing(build_world(url)) as world:
        walk(world, lrs)
        is_proxy = place is behind_a_proxy
        client = Client(place(world), TestResponse)
        headers = {"X-Forwarded-Prefix": "/platform"} if is_proxy else {}
        before = "" if is_proxy else "/platform"
        for path in addresses(world):
            page = client.get(f"{before}/lms{path}", headers=headers)
            assert page.status_code == 200, path
            for link in links(page):
                assert link.startswith(("/platform/lms/", "?", "https://")), (path, link)
        page = client.get(f"{before}/lms/objectives/", headers=headers)
        # The tab of this very page, told to screen readers.
        assert re.search(r'href="/platform/lms/objectives/"\s+aria-current="page"', page.text), (
            page.text
        )
        with world.app.app_context():
            one = world.lms.configurations.list()[0].id
        form = form_of(client.get(f"{before}/lms/{one}/pause", headers=headers))
        answer = client.post(f"{before}/lms/{one}/pause", headers=headers, data=form)
        assert answer.status_code == 303
        assert answer.location.startswith("/platform/lms/")


def test_links_in_mails_lead_below_the_path_of_the_public_address(url: str, lrs: FakeLRS) -> None:
    with standing(build_world(url, LMS_PUBLIC_URL="https://acme.example/platform")) as world:
        with world.app.app_context():
            configuration = world.attach(**lrs.settings)
            sending.send_test(world.state, configuration, ANA)
            address = f"https://acme.example/platform/lms/{configuration.id}"
        with world.state.mail.record_messages() as sent:
            deliver(world.app)
        assert [address in message.body for message in sent] == [True]
