"""What an LMS, a host or a learner can choose is text, wherever it is shown: pages, CSV, mails."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from flask_lms import Administrator
from flask_lms.alerts import outages, sending
from flask_lms.database.models import (
    Attempt,
    Audit,
    Configuration,
    ConfigurationHealth,
    Delivery,
    Mail,
    Status,
)
from flask_lms.database.types import FixedClock
from flask_lms.errors import InvalidConfiguration, InvalidValue
from tests.pages.security.support import Ids, addresses, assert_stays_here, routes, seed
from tests.pages.site import ANA, SETTINGS, make_site
from tests.transport_support import answering, serving
from tests.world import World

PAYLOADS = (
    '<script>alert("flms")</script>',
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "</textarea></title><svg onload=alert(1)>",
    "javascript:alert(1)//",
    "{{7*7*1337}}{%if 1%}${7*7*1337}",
    "%(host)s %s %n %%",
    "]]><!--",
    "=HYPERLINK(\"https://evil.example\";\"x\")",
)  # fmt: skip
HOSTILE = " ".join(PAYLOADS)
FORMULAS = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "a\n=1", 'a","=1', "＝1+1", "a;=1",
    "a; @x", "a\t+1",
)  # fmt: skip


class _Page(HTMLParser):
    """Collects what a browser would run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.live: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script" and not given.get("src", "").startswith("/lms/static/"):
            self.live.append(f"<script {given}>")
        if tag in ("iframe", "object", "embed", "base") or given.get("src") == "x":
            self.live.append(f"<{tag} {given}>")
        for name, value in given.items():
            if name.startswith("on") or value.strip().lower().startswith("javascript:"):
                self.live.append(f"<{tag} {name}={value!r}>")
            if name in ("href", "action", "formaction", "src") and urlsplit(value).netloc:
                self.live.append(f"<{tag} {name}={value!r}>")

    def handle_data(self, data: str) -> None:
        self.text += data


def _assert_harmless(html: str, place: str, hosts: tuple[str, ...] = ()) -> _Page:
    page = _Page()
    page.feed(html)
    live = [one for one in page.live if not any(world in one for world in hosts)]
    assert live == [], place
    assert str(7 * 7 * 1337) not in html, place
    return page


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything that others choose is hostile."""
    path = tmp_path_factory.mktemp("hostile") / "site.db"
    name = 'Harbor <b>"Training"</b>'
    config = {"LMS_PLATFORM_NAME": name, "WTF_CSRF_ENABLED": False, "TESTING": True}
    with make_site(f"sqlite:///{path}", **config) as made:
        seed(made)
        made.known["harbor"] = [
            replace(one, name=f"{HOSTILE} {one.id}"[:255], description=HOSTILE)
            for one in made.known["harbor"]
        ]
        made.who = replace(ANA, name=HOSTILE)
        with made.app.app_context():
            _poison(made)
        yield made


def _poison(world: World) -> None:
    session = world.db.session
    facts = {"host": HOSTILE, "port": HOSTILE, "words": HOSTILE, "target": PAYLOADS[4],
             "http_status": 401, "seconds": 5}  # fmt: skip
    values: tuple[tuple[Any, dict[str, Any]], ...] = (
        (Configuration, {"name": HOSTILE[:100], "paused_by": HOSTILE, "updated_by": HOSTILE}),
        (ConfigurationHealth, {"facts": facts}),
        (Delivery, {"objective_name": HOSTILE[:255], "participant_name": HOSTILE[:255],
                    "participant_id": HOSTILE[:255], "result_id": HOSTILE[:255],
                    "reason_words": HOSTILE, "settled_by": HOSTILE[:255]}),
        (Attempt, {"words": HOSTILE, "worker": HOSTILE[:100]}),
        (Audit, {"subject": HOSTILE[:100], "administrator_name": HOSTILE[:255]}),
        (Mail, {"subject": HOSTILE[:300], "reason": HOSTILE[:300]}),
    )  # fmt: skip
    for table, columns in values:
        session.execute(sa.update(table).values(columns))
    session.execute(sa.update(Audit).values(changes={"name": [HOSTILE, PAYLOADS[0]]}))
    session.commit()


@pytest.fixture(scope="module")
def victim(world: World) -> Any:
    with world.app.app_context():
        session = world.db.session
        ids = tuple(
            session.scalars(
                sa.select(Configuration.id).where(
                    Configuration.organization_id == "harbor", Configuration.deleted_at.is_(None)
                )
            )
        )
        deliveries: list[Any] = []
        for state in ("pending", "delivered", "rejected", "not_sent", "cancelled"):
            query = sa.select(Delivery.id).where(Delivery.state == state).limit(2)
            deliveries += session.scalars(query)
        session.rollback()
    return Ids("harbor", ids, tuple(deliveries), ("harbor-1",), (str(ANA.email),))


def test_pages_show_it_as_text(world: World, victim: Any) -> None:
    client = world.client()
    seen = ""
    for rule in routes(world):
        if "GET" not in (rule.methods or ()) or rule.endpoint == "lms.static":
            continue
        for address in addresses(world, rule, victim):
            for query in ("", f"?q={PAYLOADS[1]}&participant={PAYLOADS[0]}&reason=<b>&state=%22"):
                answer = client.get(address + query)
                answer.get_data()
                assert answer.status_code < 500, address
                if answer.mimetype == "text/html":
                    seen += _assert_harmless(answer.text, address).text
    for payload in PAYLOADS[:4]:
        assert payload in seen


def test_what_was_typed_comes_back_as_text(world: World, victim: Any) -> None:
    client = world.client()
    typed = {"name": HOSTILE, "contact_emails": HOSTILE, "type": HOSTILE, "language": HOSTILE,
             "url": HOSTILE, "key": HOSTILE, "secret": HOSTILE, "ca_pem": HOSTILE,
             "version": HOSTILE, "lms_version": HOSTILE, "act": HOSTILE,
             "email": HOSTILE, "ids": HOSTILE, "configuration_id": HOSTILE}  # fmt: skip
    for rule in routes(world):
        if "POST" not in (rule.methods or ()):
            continue
        for address in list(addresses(world, rule, victim))[:3]:
            answer = client.post(address, data=typed)
            assert answer.status_code < 500, address
            assert_stays_here(answer)
            if answer.mimetype == "text/html":
                _assert_harmless(answer.text, address)
    _assert_harmless(client.get("/lms/").text, "the notice")


def test_an_answer_of_an_lms_is_text_in_a_connection_test(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"<html>{HOSTILE}</html>".encode()
    answer = b"HTTP/1.1 401 No\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
    monkeypatch.setattr("flask_lms.services.connection_test.MOST_A_MINUTE", 10**6)
    with serving(answering(answer % (len(body), body))) as lms:
        with world.app.app_context():
            settings = {**SETTINGS, "url": lms.url(path="")}
            services = world.lms.configurations
            id = services.create("harbor", "Echo", ["a@harbor.example"], settings=settings).id
        shown = _assert_harmless(world.client().post(f"/lms/{id}/test").text, "the test")
        assert "alert(1)" in shown.text


@pytest.mark.parametrize("address", ["/lms/deliveries.csv", "/lms/history.csv"])
def test_no_cell_of_a_csv_is_a_formula(address: str, world: World) -> None:
    with world.app.app_context():
        session = world.db.session
        deliveries = session.scalars(sa.select(Delivery).limit(len(FORMULAS))).all()
        for row, formula in zip(deliveries, FORMULAS, strict=False):
            row.participant_name = row.objective_name = row.result_id = formula
        audits = session.scalars(sa.select(Audit).limit(len(FORMULAS))).all()
        for entry, formula in zip(audits, FORMULAS, strict=False):
            entry.administrator_name = entry.subject = formula
        session.commit()
    answer = world.client().get(address)
    assert answer.mimetype == "text/csv"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    text = answer.get_data().decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) > 3
    for row in rows:
        for cell in row:
            assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝")), cell
    # A spreadsheet that splits at semicolons finds no formula either.
    for cell in re.split(r"[;\t\r\n]", text):
        assert not cell.strip(' "').startswith(("=", "+", "-", "@", "＝")), cell


def test_a_mail_shows_it_as_text_and_its_headers_stay_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    eve = Administrator(
        id="1", organization_id="harbor", name="Eve\r\nBcc: thief@evil.example" + HOSTILE
    )
    body = HOSTILE.encode()
    answer = b"HTTP/1.1 401 No\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
    with (
        world.app.app_context(),
        serving(answering(answer % (len(body), body))) as lms,
        world.state.mail.record_messages() as mails,
    ):
        session = world.db.session
        session.execute(sa.delete(Mail))
        services = world.lms.configurations
        made = services.create(
            "harbor",
            HOSTILE[-100:].strip(),
            ["a@harbor.example"],
            settings={**SETTINGS, "url": lms.url(path="")},
            by=eve,
        )
        made.health.status = Status.CONNECTED
        session.commit()
        clock = FixedClock(world.state.clock.now(session()))
        monkeypatch.setattr(world.state, "clock", clock)
        assert services.test(made.id, by=eve).cause == "credentials"
        sending.send_test(world.state, made, eve)
        for _ in range(3):
            outages.tick(world.state, clock.advance(minutes=6))
            sending.send_due(world.state)
        session.rollback()
    assert len(mails) >= 2
    assert any("alert(1)" in mail.body for mail in mails)
    for mail in mails:
        assert "\n" not in mail.subject
        assert "\r" not in mail.subject
        _assert_harmless(mail.html, mail.subject, hosts=("harbor.example",))
        head = mail.as_string().partition("\n\n")[0].lower()
        assert "\nbcc:" not in head
        assert {str(one) for one in mail.send_to} <= {"a@harbor.example", ANA.email}


@pytest.mark.parametrize(
    "values",
    [
        {"name": "A\r\nBcc: thief@evil.example"},
        {"contact_emails": ["a@harbor.example\r\nBcc: thief@evil.example"]},
        {"contact_emails": ["a@harbor.example, thief@evil.example"]},
        {"contact_emails": ["Ana <a@harbor.example>\nBcc: x@evil.example"]},
        {"settings": {**SETTINGS, "url": "https://lms.example.com/\r\nX-Evil: 1"}},
        {"settings": {**SETTINGS, "key": "a\r\nX-Evil: 1"}},
        {"settings": {**SETTINGS, "secret": "a\r\nX-Evil: 1"}},
    ],
)
def test_a_line_break_never_becomes_part_of_a_header(values: dict[str, Any], world: World) -> None:
    given = {"name": "A", "contact_emails": ["a@harbor.example"], "settings": SETTINGS, **values}
    stored = ""
    with world.app.app_context():
        try:
            made = world.lms.configurations.create("harbor", **given)
        except (InvalidConfiguration, InvalidValue):
            world.db.session.rollback()
        else:
            stored = made.name + "".join(made.contact_emails) + str(made.settings)
            world.lms.configurations.delete(made.id)
    assert "\r" not in stored
    assert "\n" not in stored
    assert "X-Evil" not in stored
    assert "evil.example" not in stored or "name" in values


def test_pages_never_send_anybody_elsewhere(world: World, victim: Any) -> None:
    client = world.client()
    evil = "https://evil.example/"
    query = {name: evil for name in ("next", "url", "return", "back", "to", "q", "host")}
    for rule in routes(world):
        if rule.endpoint in ("lms.static", "lms.health"):
            continue
        for address in list(addresses(world, rule, victim))[:2]:
            for method in sorted({"GET", "POST"} & set(rule.methods or ())):
                for headers in ({}, {"X-Forwarded-Host": "evil.example", "Referer": evil}):
                    answer = client.open(address, method=method, query_string=query,
                                         data=query if method == "POST" else None,
                                         headers=headers)  # fmt: skip
                    answer.get_data()
                    assert_stays_here(answer)
                    if answer.mimetype == "text/html":
                        _assert_harmless(answer.text, address)
