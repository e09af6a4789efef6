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
from tests.host import Host, build_host
from tests.hosts.support import ANA, addresses, pages, standing, walk
from tests.pages.support import form_of

#: Addresses in a page that a browser may go to.
_LINKS = re.compile(r'(?:href|src|action|formaction)="([^"#][^"]*)"')


def links(page: TestResponse) -> list[str]:
    return [link for link in _LINKS.findall(page.text) if not link.startswith("mailto:")]


def test_another_prefix(url: str, lrs: FakeLRS) -> None:
    with standing(build_host(url, LMS_URL_PREFIX="/settings/learning-systems")) as host:
        client = walk(host, lrs, "/settings/learning-systems")
        assert client.get("/lms/").status_code == 404
        for path, page in pages(host, client, "/settings/learning-systems").items():
            for link in links(page):
                assert link.startswith(("/settings/learning-systems/", "?", "https://")), path


def below_a_path(host: Host) -> Any:
    host.app.config["APPLICATION_ROOT"] = "/platform"
    return DispatcherMiddleware(Flask("nothing"), {"/platform": host.app.wsgi_app})


def behind_a_proxy(host: Host) -> Any:
    host.app.wsgi_app = ProxyFix(host.app.wsgi_app, x_prefix=1)  # type: ignore[method-assign]
    return host.app.wsgi_app


@pytest.mark.parametrize("place", [below_a_path, behind_a_proxy])
def test_below_a_path_every_link_form_and_redirect_has_it(
    url: str, lrs: FakeLRS, place: Any
) -> None:
    with standing(build_host(url)) as host:
        walk(host, lrs)
        is_proxy = place is behind_a_proxy
        client = Client(place(host), TestResponse)
        headers = {"X-Forwarded-Prefix": "/platform"} if is_proxy else {}
        before = "" if is_proxy else "/platform"
        for path in addresses(host):
            page = client.get(f"{before}/lms{path}", headers=headers)
            assert page.status_code == 200, path
            for link in links(page):
                assert link.startswith(("/platform/lms/", "?", "https://")), (path, link)
        page = client.get(f"{before}/lms/objectives/", headers=headers)
        # The tab of this very page, told to screen readers.
        assert re.search(r'href="/platform/lms/objectives/"\s+aria-current="page"', page.text), (
            page.text
        )
        with host.app.app_context():
            one = host.lms.configurations.list()[0].id
        form = form_of(client.get(f"{before}/lms/{one}/pause", headers=headers))
        answer = client.post(f"{before}/lms/{one}/pause", headers=headers, data=form)
        assert answer.status_code == 303
        assert answer.location.startswith("/platform/lms/")


def test_links_in_mails_lead_below_the_path_of_the_public_address(url: str, lrs: FakeLRS) -> None:
    with standing(build_host(url, LMS_PUBLIC_URL="https://acme.example/platform")) as host:
        with host.app.app_context():
            configuration = host.attach(**lrs.settings)
            sending.send_test(host.state, configuration, ANA)
            address = f"https://acme.example/platform/lms/{configuration.id}"
        with host.state.mail.record_messages() as sent:
            deliver(host.app)
        assert [address in message.body for message in sent] == [True]
