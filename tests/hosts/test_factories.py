"""Hosts that are put together in their own order, several of them in a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

from flask_lms import LMS, Administrator, Objective, Page, SetupError
from flask_lms.testing import CONFIG, FakeLRS, deliver
from tests.hosts.support import walk
from tests.world import ANA, World, build_world, result, standing


class Factory:
    """As in an application: the extensions live in a module, the app is made by a function."""

    def __init__(self) -> None:
        self.db = SQLAlchemy()
        self.lms = LMS()
        self.who: Administrator | None = ANA
        found = Objective(id="ppe", name="Put on PPE")

        @self.lms.administrator_loader
        def administrator() -> Administrator | None:
            return self.who

        @self.lms.objectives_loader
        def objectives(
            organization_id: str, search: str | None = None, offset: int = 0, limit: int = 50
        ) -> Page[Objective]:
            return Page(items=[found], total=1)

        @self.lms.objective_loader
        def objective(organization_id: str, objective_id: str) -> Objective | None:
            return found

    def config(self, path: Path) -> dict[str, Any]:
        return {
            **CONFIG,
            "SECRET_KEY": "a secret of the tests, long enough",
            "LMS_ACTIVITY_BASE_URL": "https://host.example/xapi",
            "LMS_REDIS_URL": "redis://127.0.0.1:1/0",
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}",
        }

    def make(self, path: Path) -> Flask:
        app = Flask(path.stem)
        app.config.update(self.config(path))
        self.db.init_app(app)
        self.lms.init_app(app)
        return app

    def world(self, app: Flask) -> World:
        return World(app=app, db=self.db, lms=self.lms, signal=None, note=None)  # type: ignore[arg-type]


def test_an_app_factory(tmp_path: Path, lrs: FakeLRS) -> None:
    factory = Factory()
    with standing(factory.world(factory.make(tmp_path / "one.db"))) as world:
        walk(world, lrs)


def test_two_apps_of_one_factory_share_nothing(tmp_path: Path) -> None:
    factory = Factory()
    with FakeLRS() as first, FakeLRS() as second:
        one = factory.world(factory.make(tmp_path / "one.db"))
        two = factory.world(factory.make(tmp_path / "two.db"))
        with standing(one), standing(two):
            walk(one, first, id="only in the first")
            with two.app.app_context():
                assert two.lms.configurations.list() == []
                assert two.lms.record(result()).queued == 0
            walk(two, second, id="only in the second")
            assert len(first.statements) == len(second.statements) == 1
            assert deliver(one.app).requests == 0


def test_an_app_made_again_as_by_each_test_of_a_host(tmp_path: Path, lrs: FakeLRS) -> None:
    factory = Factory()
    for number in range(3):
        lrs.reset()
        with standing(factory.world(factory.make(tmp_path / f"{number}.db"))) as world:
            walk(world, lrs)


def test_a_db_that_is_handed_over_may_be_initialised_later(tmp_path: Path, lrs: FakeLRS) -> None:
    factory = Factory()
    app = Flask("late")
    app.config.update(factory.config(tmp_path / "late.db"))
    factory.lms._db = factory.db  # as LMS(db=db) does
    factory.lms.init_app(app)
    factory.db.init_app(app)
    with standing(factory.world(app)) as world:
        walk(world, lrs)


def test_init_app_before_that_of_the_db_names_the_call(tmp_path: Path) -> None:
    factory = Factory()
    app = Flask("early")
    app.config.update(factory.config(tmp_path / "early.db"))
    with pytest.raises(SetupError, match=r"call SQLAlchemy\(app\) or db.init_app\(app\) before"):
        factory.lms.init_app(app)
    factory.db.init_app(app)
    factory.lms.init_app(app)  # nothing was half-made by the first call
    assert app.extensions["lms"] is factory.lms


def test_a_host_without_flask_mail_has_its_alerts_sent(url: str, lrs: FakeLRS) -> None:
    lrs.answer_always(None)
    with standing(build_world(url)) as world:
        assert isinstance(world.state.mail, Mail)
        with world.app.app_context():
            world.attach("http://127.0.0.1:1/xapi")
            world.lms.configurations.test(world.lms.configurations.list()[0].id)
            for number in range(3):
                world.lms.record(result(f"r{number}"))
        with world.state.mail.record_messages() as sent:
            deliver(world.app)
            with world.app.app_context():
                world.lms.configurations.send_waiting(world.lms.configurations.list()[0].id)
            deliver(world.app)
            with world.app.app_context():
                world.lms.configurations.send_waiting(world.lms.configurations.list()[0].id)
            deliver(world.app)
        assert ["Can't Connect" in message.subject for message in sent] == [True]


def test_a_host_that_makes_its_mail_later_has_it_used(url: str) -> None:
    mail = Mail()
    world = build_world(url, lms=LMS(mail=mail), MAIL_SERVER="mail.host.example")
    mail.init_app(world.app)
    with standing(world):
        assert world.state.mail is mail
        assert world.app.extensions["mail"].server == "mail.host.example"


def test_models_may_be_declared_after_the_extension(url: str, lrs: FakeLRS) -> None:
    import sqlalchemy as sa

    world = build_world(url)

    class Delivery(world.db.Model):  # type: ignore[name-defined, misc]
        id = sa.Column(sa.Integer, primary_key=True)

    with standing(world):
        walk(world, lrs)
        with world.app.app_context():
            assert world.db.session.scalars(sa.select(Delivery)).all() == []
