"""The demo around the example host: its history, and its own pages."""

from __future__ import annotations

import ast
import re
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from demo.app import create_app
from demo.history import fill
from demo.lms import DemoLMS
from demo.mailbox import Mailbox
from demo.past import played
from demo.seed import seed
from example_app.models import Organization, db
from flask_lms.database.models import (
    Audit,
    Configuration,
    Delivery,
    DeliveryState,
    Incident,
    Mail,
    Status,
)

NOON = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
SOURCES = sorted((Path(__file__).parent.parent.parent / "demo").glob("*.py"))


@pytest.fixture
def parts():
    """The demo LMS and the mail server; no worker."""
    mailbox = Mailbox()
    mailbox.start()
    with DemoLMS(0) as lms:
        yield SimpleNamespace(lms=lms, mailbox=mailbox)
    mailbox.stop()


@pytest.fixture
def app(tmp_path, parts):
    app = create_app(
        {
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/demo.sqlite",
            "LMS_REDIS_URL": "redis://127.0.0.1:1/0",
            "MAIL_PORT": parts.mailbox.port,
            "WTF_CSRF_ENABLED": False,
        },
        parts,
    )
    with app.app_context():
        db.create_all()
        seed()
        yield app
        db.session.remove()
        db.engine.dispose()


def count(of, *where) -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(of).where(*where))


def test_the_history_has_deliveries_in_every_state_and_sixty_days_of_mails(app, parts):
    fill(app, parts.lms, NOON)
    assert count(Delivery) > 2000
    in_it = set(db.session.scalars(sa.select(Delivery.state).distinct()))
    # No LRS has anything newer in place of a statement.
    assert in_it == set(DeliveryState) - {DeliveryState.SUPERSEDED}
    health = {one.name: one.health for one in db.session.scalars(sa.select(Configuration))}
    assert {one.status for one in health.values()} == set(Status)
    assert (health["Crew Academy"].cause, health["Office LMS"].cause) == ("dns", "credentials")
    for model in (Audit, Incident, Mail):
        assert count(model) > 10
    assert not count(Mail, Mail.state == "waiting")
    assert parts.mailbox.count > 10
    assert "Mar 2026" in next(parts.mailbox.newest(1)).date
    newest = sa.select(Delivery.recorded_at).order_by(Delivery.id.desc())
    times = db.session.scalars(newest).all()
    assert times == sorted(times, reverse=True), "ids sort as what happened"
    assert times[0] < NOON
    actions = db.session.scalars(sa.select(Audit.action).order_by(Audit.id)).all()
    assert actions[:3] == ["created", "attached", "attached"]


def test_what_people_played_is_the_same_each_time(app):
    organization = db.session.scalars(sa.select(Organization)).first()
    assert organization is not None

    def told():
        attempts = played(organization, NOON, Random(60))
        return [(one.id, one.user.name, one.finished_at, one.is_passed) for one in attempts]

    assert told() == told()
    assert len(told()) > 1000


def test_the_demo_lms_is_looked_into_and_switched(app):
    client = app.test_client()
    page = client.get("/demo-lms")
    assert "Harbor Training" in page.text
    assert "0 statements received" in page.text
    assert client.post("/demo-lms", data={"mode": "500"}).status_code == 303
    assert 'value="500" aria-pressed="true"' in client.get("/demo-lms").text
    assert client.post("/demo-lms", data={"mode": "wrong"}).status_code == 400
    assert "Nothing yet." in client.get("/demo-mail").text
    with client.get("/demo-static/demo.css") as style:
        assert style.status_code == 200


def test_the_pages_of_the_demo_hold_to_a_strict_content_security_policy(app):
    for path in ("/demo-lms", "/demo-mail", "/sign-in"):
        answer = app.test_client().get(path)
        assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
        assert "harbor-demo" in answer.text
        assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son\w+=", answer.text)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_one_file_of_the_demo_alone_reaches_inside(path):
    modules = {
        node.module or ""
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level
    }
    used = {module for module in modules if module.split(".")[0] == "flask_lms"}
    assert path.name == "inside.py" or used <= {"flask_lms", "flask_lms.testing"}
