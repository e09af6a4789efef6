"""The object a host makes: forgotten calls are named, nothing of an app is kept on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blinker import Signal
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_lms import LMS, MissingCallback, SetupError, current_lms, objective_completed
from tests.world import World, build_world, make_world, result

CONFIG = {
    "SECRET_KEY": "x" * 32,
    "SQLALCHEMY_DATABASE_URI": "sqlite://",
    "LMS_ACTIVITY_BASE_URL": "https://host.example/xapi",
}


def make_app() -> Flask:
    app = Flask("host")
    app.config.update(CONFIG)
    return app


def test_before_sqlalchemy_it_names_the_call_to_make_first() -> None:
    with pytest.raises(RuntimeError, match=r"call SQLAlchemy\(app\).* before LMS\(app\)"):
        LMS(make_app())


def test_twice_on_one_app_is_refused() -> None:
    app = make_app()
    SQLAlchemy(app)
    LMS(app)
    with pytest.raises(RuntimeError, match="was called already"):
        LMS(app)


def test_on_an_app_it_was_not_initialised_on_it_names_init_app() -> None:
    with make_app().app_context():
        with pytest.raises(RuntimeError, match=r"call lms.init_app\(app\)"):
            LMS().record(result())
        with pytest.raises(RuntimeError, match=r"call LMS\(app\)"):
            current_lms.record(result())


def test_current_lms_is_the_one_of_the_current_app(world: World) -> None:
    assert current_lms == world.lms
    assert world.app.extensions["lms"] is world.lms


def test_one_object_serves_two_apps_that_share_nothing(tmp_path: Path) -> None:
    lms = LMS()
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("one", "two")]
    with make_world(urls[0], lms=lms) as one:
        one.attach("http://127.0.0.1:9/xapi")
        assert lms.record(result()).queued == 1
        two = Flask("two")
        two.config.update({**one.app.config, "SQLALCHEMY_DATABASE_URI": urls[1]})
        db = SQLAlchemy(two)
        lms.init_app(two)
        with two.app_context():
            db.create_all()
            assert lms.record(result()).queued == 0
            assert lms.configurations.list("acme") == []


def test_init_app_creates_no_table_and_connects_nowhere(tmp_path: Path) -> None:
    build_world(f"sqlite:///{tmp_path / 'never.db'}")
    assert not (tmp_path / "never.db").exists()


def test_a_decorator_returns_its_function_unchanged() -> None:
    def loader() -> None:
        return None

    assert LMS().administrator_loader(loader) is loader


def test_a_second_registration_is_refused_unless_it_replaces() -> None:
    lms = LMS()

    @lms.administrator_loader
    def first() -> None: ...

    with pytest.raises(RuntimeError, match=r"registered already .*first.*replace=True"):

        @lms.administrator_loader
        def second() -> None: ...

    @lms.administrator_loader(replace=True)
    def third() -> None: ...


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("administrator_loader", r"wrong\(\)"),
        ("objectives_loader", r"wrong\(organization_id, search=…, offset=…, limit=…\)"),
        ("objective_loader", r"wrong\(organization_id, objective_id\)"),
        ("participant_loader", r"wrong\(organization_id, participant_id\)"),
        ("past_results_loader", r"wrong\(organization_id, objective_id, since\)"),
        ("csp_nonce", r"wrong\(\)"),
        ("translator", r"wrong\(message, plural, n\)"),
    ],
)
def test_a_signature_that_wont_do_is_refused_with_the_call_that_will_be_made(
    name: str, call: str
) -> None:
    def wrong(a: Any, b: Any, c: Any, d: Any, e: Any) -> None: ...

    with pytest.raises(RuntimeError, match=call):
        getattr(LMS(), name)(wrong)


def test_a_missing_callback_is_named_at_first_use_and_not_before(tmp_path: Path) -> None:
    app = make_app()
    SQLAlchemy(app)
    lms = LMS(app)
    with app.app_context(), pytest.raises(MissingCallback, match=r"@lms\.objective_loader"):
        lms._callbacks.objective("acme", "ppe")


def test_hosts_without_a_signal_of_their_own_use_objective_completed(world: World) -> None:
    world.attach("http://127.0.0.1:9/xapi")
    objective_completed.send(world.app, result=result())
    assert [delivery.result_id for delivery in world.rows()] == ["r1"]


def test_a_receiver_may_return_one_several_or_nothing(world: World) -> None:
    world.attach("http://127.0.0.1:9/xapi")
    made: list[Any] = [None, result("one"), [result("two"), result("three")], []]
    signal = Signal()

    @world.lms.results_from(signal)
    def adapt(sender: object, number: int, **extra: object) -> Any:
        return made[number]

    for number in range(len(made)):
        signal.send(world, number=number)
    assert {delivery.result_id for delivery in world.rows()} == {"one", "two", "three"}


def test_a_setup_error_is_a_runtime_error_and_ours() -> None:
    assert issubclass(SetupError, RuntimeError)
    assert issubclass(MissingCallback, SetupError)


def test_a_row_can_be_shown_after_its_session_is_gone(world: World) -> None:
    made = world.attach("http://127.0.0.1:9/xapi")
    id = made.id
    world.db.session.commit()
    world.db.session.remove()
    assert repr(made) == f"<Configuration {id}>"
