"""Harbor Training, the example host: what a newcomer clicks through works."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest
import sqlalchemy as sa

from example_app import create_app
from example_app.demo_lms import DemoLMS
from example_app.history import fill
from example_app.models import Attempt, Objective, User, db
from example_app.seed import seed
from flask_lms.database.models import (
    Audit,
    Configuration,
    Delivery,
    DeliveryState,
    Incident,
    Mail,
    Status,
)
from flask_lms.database.types import FixedClock
from flask_lms.testing import deliver


@pytest.fixture
def harbor(tmp_path):
    """The app with its people and objectives; nothing else runs."""
    app = create_app(
        {
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
    lms = DemoLMS(0)
    lms.start()
    try:
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
    finally:
        lms.stop()


def test_the_history_has_deliveries_in_every_state_and_is_the_same_each_time(harbor):
    def counts():
        rows = db.session.execute(
            sa.select(Configuration.name, Delivery.state, sa.func.count())
            .join(Configuration, Configuration.id == Delivery.configuration_id)
            .group_by(Configuration.name, Delivery.state)
        )
        return {(name, state): count for name, state, count in rows}

    noon = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
    with harbor.app_context():
        harbor.extensions["lms_state"].clock = FixedClock(noon)
        fill(harbor, DemoLMS(5001))
        first = counts()
        assert sum(first.values()) > 2000
        assert {state for _, state in first} == set(DeliveryState)
        assert {one.health.status for one in db.session.scalars(sa.select(Configuration))} == set(
            Status
        )
        for model in (Audit, Incident, Mail):
            assert db.session.scalar(sa.select(sa.func.count()).select_from(model)) > 10
        assert not db.session.scalar(sa.select(sa.func.count()).where(Mail.state == "waiting"))

        for table in reversed(db.metadata.sorted_tables):
            db.session.execute(table.delete())
        db.session.commit()
        seed()
        harbor.extensions["lms_state"].clock = FixedClock(noon)
        fill(harbor, DemoLMS(5001))
        assert counts() == first


def test_the_pages_of_the_host_hold_to_a_strict_content_security_policy(harbor):
    client = sign_in(harbor, "Ana Ruiz")
    for path in ("/", "/people", "/demo-lms", "/demo-mail", "/objectives/1", "/sign-in"):
        answer = client.get(path)
        assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
        assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son\w+=", answer.text)
