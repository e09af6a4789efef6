"""Hosts whose session does as it likes: commits after every request, flushes half-made rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, abort
from flask_sqlalchemy import SQLAlchemy

from flask_lms import Score, audit
from flask_lms.admin import pages
from flask_lms.database.models import Configuration, DeliveryState
from flask_lms.testing import FakeLRS, deliver
from tests.hosts.support import count_rows, walk
from tests.pages.support import form_of
from tests.world import World, build_world, result, standing


def always_commit(app: Flask, db: SQLAlchemy) -> None:
    """At the end of every request, those with an error included."""

    @app.teardown_request
    def commit(error: BaseException | None = None) -> None:
        db.session.commit()


@pytest.fixture
def world(url: str) -> Iterator[World]:
    app, db = Flask("host"), SQLAlchemy()
    always_commit(app, db)
    made = build_world(url, app=app, db=db, TESTING=False, PROPAGATE_EXCEPTIONS=False)

    @app.before_request
    def seen() -> None:
        db.session.add(made.note(text="seen"))  # as hosts keep "last seen at"

    with standing(made):
        yield made


def test_a_session_committed_after_every_request_walks_the_whole_way(
    world: World, lrs: FakeLRS
) -> None:
    walk(world, lrs)


def raise_error(*args: object, **kwargs: object) -> None:
    raise RuntimeError("out of order")


@pytest.mark.parametrize(
    ("part", "name"),
    [(audit, "write"), (pages, "notice"), (pages, "render_template")],
    ids=["in the service", "after the service", "while rendering"],
)
def test_a_page_that_fails_leaves_nothing_half_written(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch, part: Any, name: str
) -> None:
    with world.app.app_context():
        one = world.attach(**lrs.settings).id
    client = world.app.test_client()
    form = form_of(client.get(f"/lms/{one}/edit"))
    form["name"] = "Half written"
    before = count_rows(world)
    monkeypatch.setattr(part, name, raise_error)
    answer = client.post(f"/lms/{one}/edit", data=form)
    monkeypatch.undo()
    with world.app.app_context():
        now = world.db.session.get_one(Configuration, one)
        is_saved = now.name == "Half written"
        # Whole or not at all: the row and what the history says of it.
        assert count_rows(world)["lms_audit"] == before["lms_audit"] + is_saved
        assert now.version == 1 + is_saved
        if name == "write":
            assert not is_saved
            assert answer.status_code == 500


def test_a_view_that_dirtied_the_session_before_it_failed_is_rolled_back(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.app.app_context():
        one = world.attach(**lrs.settings).id

    def dirty(*args: object, **kwargs: object) -> None:
        world.db.session.get_one(Configuration, one).name = "Half written"
        world.db.session.flush()
        raise RuntimeError("out of order")

    monkeypatch.setattr(pages, "render_template", dirty)
    assert world.app.test_client().get(f"/lms/{one}").status_code == 500
    with world.app.app_context():
        assert world.lms.configurations.get(one).name == "Corporate LMS"


def test_a_form_that_is_refused_writes_nothing(world: World, lrs: FakeLRS) -> None:
    with world.app.app_context():
        one = world.attach(**lrs.settings).id
    client = world.app.test_client()
    form = form_of(client.get(f"/lms/{one}/edit"))
    before = count_rows(world)
    answer = client.post(f"/lms/{one}/edit", data={**form, "url": "ftp://nowhere", "name": "New"})
    assert "There is a problem" in answer.text
    with world.app.app_context():
        assert world.lms.configurations.get(one).name == "Corporate LMS"
    assert count_rows(world) == before


@pytest.mark.parametrize("ending", ["well", "badly"])
def test_a_result_shares_the_fate_of_the_request_it_was_recorded_in(
    world: World, lrs: FakeLRS, ending: str
) -> None:
    """That host commits although the view failed, so its own row and the result are both there."""

    @world.app.post("/played")
    def played() -> str:
        world.db.session.add(world.note(text="played"))
        world.lms.record(result())
        return abort(500) if ending == "badly" else "well played"

    with world.app.app_context():
        world.attach(**lrs.settings)
    world.app.test_client().post("/played")
    assert deliver(world.app).delivered == 1
    with world.app.app_context():
        assert world.db.session.scalar(
            sa.select(sa.func.count()).where(world.note.text == "played")
        ) == len(lrs.statements)


# -- half-made rows -----------------------------------------------------------------------------


@pytest.fixture
def scored(url: str) -> Iterator[tuple[World, Any]]:
    """A host whose attempts get their score late."""
    db = SQLAlchemy()

    class Attempt(db.Model):  # type: ignore[name-defined, misc]
        id = sa.Column(sa.Integer, primary_key=True)
        title = sa.Column(sa.String(20), nullable=False)
        score = sa.Column(sa.Float)
        revision = sa.Column(sa.Integer, nullable=False, default=0)

    with standing(build_world(url, db=db)) as made:
        yield made, Attempt


def of(attempt: Any) -> Any:
    score = None if attempt.score is None else Score(scaled=attempt.score)
    return result(f"attempt-{attempt.id}", score=score, revision=attempt.revision or 0)


def scores(lrs: FakeLRS) -> list[Any]:
    return [
        statement["result"].get("score", {}).get("scaled")
        for statement in lrs.statements
        if "result" in statement
    ]


def test_a_result_flushed_before_its_score_is_set_is_corrected_by_a_higher_revision(
    scored: tuple[World, Any], lrs: FakeLRS
) -> None:
    world, attempt_class = scored

    def inserted(mapper: Any, connection: Any, target: Any) -> None:
        world.lms.record(of(target))

    sa.event.listen(attempt_class, "after_insert", inserted)
    with world.app.app_context():
        world.attach(**lrs.settings)
        attempt = attempt_class(title="Fire drill")
        world.db.session.add(attempt)
        world.db.session.flush()  # recorded here, with no score yet
        attempt.score = 0.75
        world.db.session.flush()
        assert world.lms.record(of(attempt)).duplicates == 1  # the same id again adds nothing
        attempt.revision = 1
        world.lms.record(of(attempt))
        world.db.session.commit()
    deliver(world.app)
    assert scores(lrs) == [None, 0.75]
    assert len(lrs.voided) == 1


def test_a_result_recorded_after_its_score_is_set_has_it(
    scored: tuple[World, Any], lrs: FakeLRS
) -> None:
    world, attempt_class = scored
    with world.app.app_context():
        world.attach(**lrs.settings)
        attempt = attempt_class(title="Fire drill")
        world.db.session.add(attempt)
        world.db.session.flush()
        attempt.score = 0.75
        world.signal.send(world.app, result=of(attempt))  # the row in the database has none yet
        world.db.session.commit()
        [delivery] = world.rows()
        assert delivery.state is DeliveryState.PENDING
    deliver(world.app)
    assert scores(lrs) == [0.75]


def test_recording_flushes_none_of_the_hosts_half_made_rows(
    scored: tuple[World, Any], lrs: FakeLRS
) -> None:
    world, attempt_class = scored
    with world.app.app_context():
        world.attach(**lrs.settings)
        attempt = attempt_class()
        world.db.session.add(attempt)  # its title, which must not be NULL, comes later
        world.lms.record(result())
        assert attempt in world.db.session.new
        attempt.title = "Fire drill"
        world.db.session.commit()
        assert len(world.rows()) == 1
