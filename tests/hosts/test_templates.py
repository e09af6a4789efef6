"""Hosts whose Jinja, policy or language is their own. (Layouts: ``test_bridges``.)"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask, Response, g
from flask_babel import Babel, gettext
from jinja2 import DictLoader, StrictUndefined

import flask_lms
from flask_lms.testing import FakeLRS
from tests.hosts.support import pages, walk
from tests.pages.support import text_of
from tests.world import build_world, standing

#: As the papers of the extension give it to hosts.
BRIDGE = """{% extends "base.html" %}
{% block title %}{% block lms_title %}{% endblock %}{% endblock %}
{% block content %}{% block lms_content %}{% endblock %}{% endblock %}
"""
BASE = """<!DOCTYPE html>
<html><head><title>{% block title %}{% endblock %} - {{ config("SITE_NAME") }}</title></head>
<body><header>Harbor</header><main>{% block content %}{% endblock %}</main></body></html>
"""


def test_the_jinja_global_config_replaced_by_a_function(url: str, lrs: FakeLRS) -> None:
    world = build_world(url)
    world.app.jinja_env.globals["config"] = lambda name: f"the {name}"
    with standing(world):
        walk(world, lrs)


def test_a_bridge_of_three_lines_puts_every_page_into_the_hosts_base(
    url: str, lrs: FakeLRS
) -> None:
    world = build_world(url)
    world.app.jinja_env.globals["config"] = lambda name: f"the {name}"
    world.app.jinja_loader = DictLoader({"base.html": BASE, "lms/layout.html": BRIDGE})
    with standing(world):
        client = walk(world, lrs)
        for path, page in pages(world, client).items():
            if page.mimetype == "text/html":
                assert page.text.count("<main>") == page.text.count("<header>Harbor") == 1, path
                assert "– LMS configurations - the SITE_NAME</title>" in page.text, path


def test_a_host_without_a_base_gets_the_shipped_page(url: str, lrs: FakeLRS) -> None:
    with standing(build_world(url)) as world:
        client = walk(world, lrs)
        for path, page in pages(world, client).items():
            if page.mimetype == "text/html":
                assert page.text.lstrip().startswith("<!DOCTYPE html>"), path
                assert page.text.count("<main") == 1, path


def test_a_jinja_that_is_strict_trims_and_has_names_of_ours(url: str, lrs: FakeLRS) -> None:
    app = Flask("host")
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    world = build_world(url, app=app)

    @app.context_processor
    def names() -> dict[str, object]:
        return dict.fromkeys(["form", "rows", "page", "configuration", "errors", "next", "title"])

    with standing(world):
        client = walk(world, lrs)
        text = text_of(client.get("/lms/"))
        assert "Corporate LMS" in text
        assert "1 of 1 connected" in text


# -- a strict Content-Security-Policy -----------------------------------------------------------


class _Inline(HTMLParser):
    """What ``default-src 'self'`` would block, and what carries a nonce."""

    def __init__(self) -> None:
        super().__init__()
        self.blocked: list[str] = []
        self.nonces: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        shown = self.get_starttag_text() or tag
        if tag == "style" or (tag == "script" and "src" not in given):
            self.blocked.append(shown)
        if any(name == "style" or name.startswith("on") for name in given):
            self.blocked.append(shown)
        loaded = {"script": "src", "img": "src", "link": "href", "iframe": "src", "use": "href"}
        address = given.get(loaded.get(tag, "")) or ""
        if re.match(r"(?i)[a-z]+:|//", address):
            self.blocked.append(shown)
        if re.match(r"(?i)javascript:", given.get("href") or given.get("action") or ""):
            self.blocked.append(shown)
        if tag == "script" or (tag == "link" and given.get("rel") == "stylesheet"):
            self.nonces.append(given.get("nonce"))


def test_pages_need_nothing_but_default_src_self(url: str, lrs: FakeLRS) -> None:
    with standing(build_world(url)) as world:
        client = walk(world, lrs)
        for path, page in pages(world, client).items():
            parser = _Inline()
            parser.feed(page.text if page.mimetype == "text/html" else "")
            assert parser.blocked == [], path
            assert not any(parser.nonces), path


def test_the_style_sheet_loads_nothing_that_the_policy_blocks() -> None:
    assert flask_lms.__file__ is not None
    for sheet in (Path(flask_lms.__file__).parent / "static").glob("*.css"):
        assert re.findall(r"url\(|@import", sheet.read_text()) == []


def test_a_policy_of_nonces_is_met_by_the_callback(url: str, lrs: FakeLRS) -> None:
    world = build_world(url)
    counter = iter(range(10_000))

    @world.app.before_request
    def make() -> None:
        g.nonce = f"nonce-of-request-{next(counter)}"

    @world.app.after_request
    def policy(answer: Response) -> Response:
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{g.nonce}'; style-src 'nonce-{g.nonce}'"
        )
        return answer

    @world.lms.csp_nonce
    def nonce() -> str:
        return str(g.nonce)

    with standing(world):
        client = walk(world, lrs)
        for path, page in pages(world, client).items():
            if page.mimetype != "text/html":
                continue
            parser = _Inline()
            parser.feed(page.text)
            assert parser.nonces, path
            for one in parser.nonces:
                assert f"'nonce-{one}'" in page.headers["Content-Security-Policy"], path


# -- languages ----------------------------------------------------------------------------------


def test_a_german_reader_of_a_host_with_flask_babel(url: str, lrs: FakeLRS) -> None:
    world = build_world(url)
    Babel(world.app, default_locale="en", locale_selector=lambda: "de_AT")
    with standing(world):
        client = walk(world, lrs)
        text = text_of(client.get("/lms/"))
        assert "LMS-Konfigurationen" in text
        assert 'lang="de-AT"' in client.get("/lms/").text
        assert text_of(client.get("/lms/nothing")) != text


def test_a_translator_of_the_hosts_own_comes_first_and_may_leave_words_to_us(
    url: str, lrs: FakeLRS
) -> None:
    world = build_world(url)
    Babel(world.app, locale_selector=lambda: "de")
    asked: list[tuple[str, str | None, int | None]] = []

    @world.lms.translator
    def translate(message: str, plural: str | None, n: int | None) -> str | None:
        asked.append((message, plural, n))
        return {"Deliveries": "Sendungen & mehr"}.get(message)

    with standing(world):
        client = walk(world, lrs)
        page = client.get("/lms/")
        assert "Sendungen &amp; mehr" in page.text
        assert "LMS-Konfigurationen" in text_of(page)
    assert any(plural and n is not None for _, plural, n in asked)


@pytest.mark.parametrize("name", ["_", "gettext"])
def test_the_hosts_own_translations_in_jinja_stay_the_hosts(
    url: str, lrs: FakeLRS, name: str
) -> None:
    world = build_world(url)
    world.app.jinja_env.add_extension("jinja2.ext.i18n")
    Babel(world.app, locale_selector=lambda: "de")
    world.app.jinja_env.globals[name] = lambda message, **more: f"host: {gettext(message)}"
    with standing(world):
        client = walk(world, lrs)
        assert "host:" not in text_of(client.get("/lms/"))
