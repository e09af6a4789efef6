"""Harbor Training, the example host: what a newcomer clicks through works."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

import flask_lms
from demo.lms import DemoLMS
from demo.seed import seed
from example_app import create_app
from example_app.models import Attempt, Objective, User, db
from flask_lms.database.models import DeliveryState
from flask_lms.testing import CONFIG, deliver

SOURCES = sorted((Path(__file__).parent.parent.parent / "example_app").glob("*.py"))


@pytest.fixture
def harbor(tmp_path):
    """The app with its people and objectives; nothing else runs."""
    app = create_app(
        {
            **CONFIG,
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/harbor.sqlite",
            "LMS_REDIS_URL": "redis://127.0.0.1:1/0",
            "WTF_CSRF_ENABLED": False,
        }
    )
    with app.app_context():
        db.create_all()
        seed()
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def sign_in(app, name):
    client = app.test_client()
    with app.app_context():
        id = db.session.scalars(sa.select(User.id).where(User.name == name)).one()
    assert client.post(f"/sign-in/{id}").status_code == 303
    return client


def play(client, *did):
    """Start the first objective shown and act; returns the last page."""
    objective = re.search(r'href="(/objectives/\d+)"', client.get("/").text)
    assert objective
    url = client.post(f"{objective[1]}/start").location
    for act in did:
        client.post(url, data={"did": act})
    return client.get(url).text


def test_signing_in_is_one_click_and_leads_to_ones_own_objectives(harbor):
    client = harbor.test_client()
    assert client.get("/").location.startswith("/sign-in")
    assert "Meridian Lines" in client.get("/sign-in").text
    assert "Fire Safety" in sign_in(harbor, "Jane Doe").get("/").text
    assert "Fire Safety" not in sign_in(harbor, "Mina Sato").get("/").text


def test_a_sign_in_leads_back_but_not_to_another_site(harbor):
    client = harbor.test_client()
    assert client.post("/sign-in/1", data={"next": "/people"}).location == "/people"
    for elsewhere in ("https://evil.example", "//evil.example", "/\\evil.example"):
        assert client.post("/sign-in/1", data={"next": elsewhere}).location == "/"


def test_all_steps_well_is_passed(harbor):
    assert "Passed" in play(sign_in(harbor, "Jane Doe"), "succeed", "succeed", "succeed")


def test_one_step_wrong_is_not_passed(harbor):
    assert "Not passed" in play(sign_in(harbor, "Jane Doe"), "succeed", "fail", "succeed")


def test_time_that_passes_ends_the_attempt(harbor):
    page = play(sign_in(harbor, "Jane Doe"), "succeed", *["wait"] * 16)
    assert "Time ran out" in page
    assert "not reached" in page


def test_only_administrators_see_the_lms_pages_and_others_are_told(harbor):
    assert sign_in(harbor, "Ana Ruiz").get("/lms/").status_code == 200
    assert sign_in(harbor, "Jane Doe").get("/lms/").status_code == 403
    assert harbor.test_client().get("/lms/").location.startswith("/sign-in?next=/lms/")


def test_another_organizations_objectives_and_attempts_are_not_found(harbor):
    jane, mina = sign_in(harbor, "Jane Doe"), sign_in(harbor, "Mina Sato")
    play(jane, "succeed")
    with harbor.app_context():
        attempt = db.session.scalars(sa.select(Attempt.id)).one()
        objective = db.session.scalars(sa.select(Objective.id).order_by(Objective.id)).first()
    assert mina.get(f"/attempts/{attempt}").status_code == 404
    assert mina.get(f"/objectives/{objective}").status_code == 404


def test_what_is_played_reaches_the_lms_and_a_staff_number_waits_for_its_address(harbor):
    with DemoLMS(0) as lms:
        with harbor.app_context():
            service = harbor.extensions["lms"].configurations
            made = service.create("1", "Demo", ["ana@m.example"], settings=lms.settings)
            service.attach_many(made.id, ["1", "2", "3", "4"])
        play(sign_in(harbor, "Jane Doe"), "succeed", "succeed", "succeed")
        play(sign_in(harbor, "Noah Berg"), "succeed", "succeed", "succeed")
        deliver(harbor)
        [statement] = lms.newest(9)
        assert statement["actor"]["mbox"] == "mailto:jane.doe@meridian.example"

        ana = sign_in(harbor, "Ana Ruiz")
        noah = re.search(r'action="(/people/\d+)"', ana.get("/people").text)
        assert noah
        ana.post(noah[1], data={"email": "noah.berg@meridian.example"})
        with harbor.app_context():
            service = harbor.extensions["lms"].deliveries
            assert service.check_again(states=(DeliveryState.NOT_SENT,)).queued == 1
        deliver(harbor)
        assert lms.newest(1)[0]["actor"]["mbox"] == "mailto:noah.berg@meridian.example"


def test_the_pages_of_the_host_hold_to_a_strict_content_security_policy(harbor):
    client = sign_in(harbor, "Ana Ruiz")
    for path in ("/", "/people", "/objectives/1", "/sign-in"):
        answer = client.get(path)
        assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
        assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son\w+=", answer.text)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_host_imports_nothing_but_public_names(path):
    """A newcomer copies from it: names of ``flask_lms`` itself, and nothing of the demo."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            assert not [name for name in names if name.split(".")[0] in ("flask_lms", "demo")]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] != "demo"
            if (node.module or "").split(".")[0] == "flask_lms":
                assert node.module == "flask_lms", f"line {node.lineno}"
                assert {alias.name for alias in node.names} <= set(flask_lms.__all__)
