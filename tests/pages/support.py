"""Reading pages as a browser would."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse


class _Form(HTMLParser):
    """The values of all fields of the page's posting forms."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._area: str | None = None
        self._select: str | None = None
        self._posts = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "form":
            self._posts = given.get("method") == "post"
        if not self._posts:
            return
        if tag == "textarea":
            self._area = name
            self.values[name] = ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in given:
            self.values[self._select] = given.get("value") or ""
        elif tag == "input":
            kind = given.get("type", "text")
            if kind in ("checkbox", "radio") and "checked" not in given:
                return
            self.values[name] = given.get("value") or ("y" if kind == "checkbox" else "")

    def handle_data(self, data: str) -> None:
        if self._area:
            self.values[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area:
            self.values[self._area] = self.values[self._area].removeprefix("\r\n").strip("\r\n")
            self._area = None
        elif tag == "select":
            self._select = None
        elif tag == "form":
            self._posts = False


def form_of(page: TestResponse) -> dict[str, str]:
    """What the page's form would send."""
    parser = _Form()
    parser.feed(page.text)
    return parser.values


def field_value(page: TestResponse, name: str) -> str | None:
    return form_of(page).get(name)


def post(client: FlaskClient, path: str, values: dict[str, Any]) -> TestResponse:
    """Post with the token of this client's session."""
    token = form_of(client.get("/lms/new")).get("csrf_token", "")
    return client.post(path, data={"csrf_token": token, **values})


def act(client: FlaskClient, path: str, **values: Any) -> TestResponse:
    """Press a button and look where it leads."""
    return client.get(post(client, path, values).headers["Location"])


def post_on(client: FlaskClient, path: str, values: dict[str, Any]) -> TestResponse:
    """Post, and post the same again where a 307 leads (the test client would lose the body)."""
    first = post(client, path, values)
    assert first.status_code == 307
    return post(client, first.headers["Location"], values)


def errors_of(page: TestResponse) -> list[str]:
    """The sentences of "There is a problem"."""
    found = re.search(r"There is a problem</h2>(.*?)</ul>", page.text, re.S)
    if not found:
        return []
    links = re.findall(r"<a [^>]*>(.*?)</a>", found[1], re.S)
    return [html.unescape(text.strip()) for text in links]


def title_of(page: TestResponse) -> str:
    found = re.search(r"<title>(.*?)</title>", page.text, re.S)
    return " ".join(html.unescape(found[1]).split()) if found else ""


def text_of(page: TestResponse) -> str:
    """What a reader sees, spaces made single."""
    text = re.sub(r"</?(time|strong|b)\b[^>]*>", "", page.text)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
