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
from tests.host import Host, build_host, result
from tests.hosts.support import count_rows, standing, walk
from tests.pages.support import form_of


def always_commit(app: Flask, db: SQLAlchemy) -> None:
    """At the end of every request, those with an error included."""

    @app.teardown_request
    def commit(error: BaseException | None = None) -> None:
        db.session.commit()


@pytest.fixture
def host(url: str) -> Iterator[Host]:
    app, db = Flask("host"), SQLAlchemy()
    always_commit(app, db)
    made = build_host(url, app=app, db=db, TESTING=False, PROPAGATE_EXCEPTIONS=False)

    @app.before_request
    def seen() -> None:
        db.session.add(made.note(text="seen"))  # as hosts keep "last seen at"

    with standing(made):
        yield made


def test_a_session_committed_after_every_request_walks_the_whole_way(
    host: Host, lrs: FakeLRS
) -> None:
    walk(host, lrs)


def raise_error(*args: object, **kwargs: object) -> None:
    raise RuntimeError("out of order")


@pytest.mark.parametrize(
    ("part", "name"),
    [(audit, "write"), (pages, "notice"), (pages, "render_template")],
    ids=["in the service", "after the service", "while rendering"],
)
def test_a_page_that_fails_leaves_nothing_half_written(
    host: Host, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch, part: Any, name: str
) -> None:
    with host.app.app_context():
        one = host.attach(**lrs.settings).id
    client = host.app.test_client()
    form = form_of(client.get(f"/lms/{one}/edit"))
    form["name"] = "Half written"
    before = count_rows(host)
    monkeypatch.setattr(part, name, raise_error)
    answer = client.post(f"/lms/{one}/edit", data=form)
    monkeypatch.undo()
    with host.app.app_context():
        now = host.db.session.get_one(Configuration, one)
        is_saved = now.name == "Half written"
        # Whole or not at all: the row and what the history says of it.
        assert count_rows(host)["lms_audit"] == before["lms_audit"] + is_saved
        assert now.version == 1 + is_saved
        if name == "write":
            assert not is_saved
            assert answer.status_code == 500


def test_a_view_that_dirtied_the_session_before_it_failed_is_rolled_back(
    host: Host, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    with host.app.app_context():
        one = host.attach(**lrs.settings).id

    def dirty(*args: object, **kwargs: object) -> None:
        host.db.session.get_one(Configuration, one).name = "Half written"
        host.db.session.flush()
        raise RuntimeError("out of order")

    monkeypatch.setattr(pages, "render_template", dirty)
    assert host.app.test_client().get(f"/lms/{one}").status_code == 500
    with host.app.app_context():
        assert host.lms.configurations.get(one).name == "Corporate LMS"


def test_a_form_that_is_refused_writes_nothing(host: Host, lrs: FakeLRS) -> None:
    with host.app.app_context():
        one = host.attach(**lrs.settings).id
    client = host.app.test_client()
    form = form_of(client.get(f"/lms/{one}/edit"))
    before = count_rows(host)
    answer = client.post(f"/lms/{one}/edit", data={**form, "url": "ftp://nowhere", "name": "New"})
    assert "There is a problem" in answer.text
    with host.app.app_context():
        assert host.lms.configurations.get(one).name == "Corporate LMS"
    assert count_rows(host) == before


@pytest.mark.parametrize("ending", ["well", "badly"])
def test_a_result_shares_the_fate_of_the_request_it_was_recorded_in(
    host: Host, lrs: FakeLRS, ending: str
) -> None:
    """That host commits although the view failed, so its own row and the result are both there."""

    @host.app.post("/played")
    def played() -> str:
        host.db.session.add(host.note(text="played"))
        host.lms.record(result())
        return abort(500) if ending == "badly" else "well played"

    with host.app.app_context():
        host.attach(**lrs.settings)
    host.app.test_client().post("/played")
    assert deliver(host.app).delivered == 1
    with host.app.app_context():
        assert host.db.session.scalar(
            sa.select(sa.func.count()).where(host.note.text == "played")
        ) == len(lrs.statements)


# -- half-made rows -----------------------------------------------------------------------------


@pytest.fixture
def scored(url: str) -> Iterator[tuple[Host, Any]]:
    """A host whose attempts get their score late."""
    db = SQLAlchemy()

    class Attempt(db.Model):  # type: ignore[name-defined, misc]
        id = sa.Column(sa.Integer, primary_key=True)
        title = sa.Column(sa.String(20), nullable=False)
        score = sa.Column(sa.Float)
        revision = sa.Column(sa.Integer, nullable=False, default=0)

    with standing(build_host(url, db=db)) as made:
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
    scored: tuple[Host, Any], lrs: FakeLRS
) -> None:
    host, attempt_class = scored

    def inserted(mapper: Any, connection: Any, target: Any) -> None:
        host.lms.record(of(target))

    sa.event.listen(attempt_class, "after_insert", inserted)
    with host.app.app_context():
        host.attach(**lrs.settings)
        attempt = attempt_class(title="Fire drill")
        host.db.session.add(attempt)
        host.db.session.flush()  # recorded here, with no score yet
        attempt.score = 0.75
        host.db.session.flush()
        assert host.lms.record(of(attempt)).duplicates == 1  # the same id again adds nothing
        attempt.revision = 1
        host.lms.record(of(attempt))
        host.db.session.commit()
    deliver(host.app)
    assert scores(lrs) == [None, 0.75]
    assert len(lrs.voided) == 1


def test_a_result_recorded_after_its_score_is_set_has_it(
    scored: tuple[Host, Any], lrs: FakeLRS
) -> None:
    host, attempt_class = scored
    with host.app.app_context():
        host.attach(**lrs.settings)
        attempt = attempt_class(title="Fire drill")
        host.db.session.add(attempt)
        host.db.session.flush()
        attempt.score = 0.75
        host.signal.send(host.app, result=of(attempt))  # the row in the database has none yet
        host.db.session.commit()
        [delivery] = host.deliveries()
        assert delivery.state is DeliveryState.PENDING
    deliver(host.app)
    assert scores(lrs) == [0.75]


def test_recording_flushes_none_of_the_hosts_half_made_rows(
    scored: tuple[Host, Any], lrs: FakeLRS
) -> None:
    host, attempt_class = scored
    with host.app.app_context():
        host.attach(**lrs.settings)
        attempt = attempt_class()
        host.db.session.add(attempt)  # its title, which must not be NULL, comes later
        host.lms.record(result())
        assert attempt in host.db.session.new
        attempt.title = "Fire drill"
        host.db.session.commit()
        assert len(host.deliveries()) == 1
