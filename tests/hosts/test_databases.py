"""Hosts whose db is not a plain ``SQLAlchemy(app)``: conventions, options, several databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy.orm import DeclarativeBase

from flask_lms import LMS, ConfigurationError, SetupError
from flask_lms.database.models import Base, Configuration
from flask_lms.testing import FakeLRS, deliver
from tests.hosts.support import count_rows, walk
from tests.unit.test_schema import calm_logging, of_its_env, walk_the_migrations
from tests.world import START, World, build_world, result, standing

__all__ = ["calm_logging"]

#: As many hosts have them; ``constraint_name`` would rename what has a name already.
CONVENTION = {
    "ix": "ix_%(table_name)s_%(constraint_name)s",
    "uq": "uq_%(constraint_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}


def _names(inspector: sa.Inspector) -> set[str]:
    """Of all constraints and indices of our tables, as the database has them."""
    found: set[str] = set()
    for table in Base.metadata.tables:
        found.add(str(inspector.get_pk_constraint(table)["name"]))
        for those in (
            inspector.get_unique_constraints(table),
            inspector.get_indexes(table),
            inspector.get_foreign_keys(table),
        ):
            found.update(str(one["name"]) for one in those)
    return found


def _wanted() -> set[str]:
    return {
        str(one.name)
        for table in Base.metadata.tables.values()
        for one in (*table.constraints, *table.indexes)
    }


def test_a_naming_convention_of_the_host_renames_nothing_of_ours(url: str, lrs: FakeLRS) -> None:
    db = SQLAlchemy(metadata=sa.MetaData(naming_convention=CONVENTION))
    with standing(build_world(url, db=db)) as world:
        walk(world, lrs)
        with world.app.app_context():
            assert _names(sa.inspect(db.engine)) == _wanted()


class _HostSession(Session):
    """A host's own, as some have to log or to route."""

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        return super().get_bind(*args, **kwargs)


class _HostBase(DeclarativeBase):
    pass


@pytest.mark.parametrize(
    "options",
    [
        {"session_options": {"autoflush": False, "expire_on_commit": False}},
        {"session_options": {"scopefunc": lambda: 1}},
        {"session_options": {"class_": _HostSession}},
        {"engine_options": {"isolation_level": "SERIALIZABLE"}},
        {"model_class": _HostBase},
        {"disable_autonaming": True, "add_models_to_shell": True},
    ],
    ids=lambda options: "+".join(options),
)
def test_a_db_with_options(url: str, lrs: FakeLRS, options: dict[str, Any]) -> None:
    with standing(build_world(url, db=SQLAlchemy(**options))) as world:
        walk(world, lrs)


def test_objects_that_a_host_keeps_after_its_commit_are_not_read_back_stale(
    url: str, lrs: FakeLRS
) -> None:
    db = SQLAlchemy(session_options={"expire_on_commit": False})
    with standing(build_world(url, db=db)) as world, world.app.app_context():
        one = world.attach(**lrs.settings)
        deliver(world.app)
        assert world.lms.configurations.get(one.id).paused_at is None
        with db.engine.begin() as elsewhere:
            elsewhere.execute(sa.update(Configuration).values(paused_at=START))
        db.session.commit()
        world.lms.record(result())
        assert deliver(world.app).delivered == 0


# -- tables in a database of their own ----------------------------------------------------------


@pytest.fixture
def bound(url: str, tmp_path: Path) -> Iterator[World]:
    """The tables are in another database than the host's."""
    world = build_world(
        url,
        SQLALCHEMY_BINDS={"training": f"sqlite:///{tmp_path / 'training.db'}"},
        LMS_BIND_KEY="training",
    )
    with standing(world):
        yield world


def stored(world: World) -> tuple[int, int]:
    """How many rows of the host, and how many deliveries, are stored."""
    with world.app.app_context(), world.db.engine.connect() as connection:
        notes = connection.exec_driver_sql("SELECT COUNT(*) FROM host_note").scalar_one()
        return int(notes), count_rows(world)["lms_delivery"]


def test_with_a_bind_key_the_whole_way_is_walked(bound: World, lrs: FakeLRS) -> None:
    walk(bound, lrs)
    with bound.app.app_context():
        assert sa.inspect(bound.db.engine).get_table_names() == ["host_note"]
    assert stored(bound) == (0, 1)


def test_a_host_without_a_default_database_needs_none(tmp_path: Path, lrs: FakeLRS) -> None:
    binds = {"training": f"sqlite:///{tmp_path / 'training.db'}"}
    world = build_world(
        "", SQLALCHEMY_DATABASE_URI=None, SQLALCHEMY_BINDS=binds, LMS_BIND_KEY="training"
    )
    with standing(world, "training"):
        walk(world, lrs)
        with world.app.app_context():
            assert list(world.db.engines) == ["training"]


def test_the_clock_is_that_of_the_database_with_our_tables(bound: World) -> None:
    asked: list[object] = []

    def note(connection: sa.Connection, *rest: object) -> None:
        asked.append(connection.engine.url.database)

    with bound.app.app_context():
        for engine in bound.db.engines.values():
            sa.event.listen(engine, "before_cursor_execute", note)
        bound.state.clock.now(bound.db.session())
        assert asked == [bound.db.engines["training"].url.database]


def test_one_commit_of_the_session_commits_both_databases(bound: World, lrs: FakeLRS) -> None:
    with bound.app.app_context():
        bound.attach(**lrs.settings)
        bound.db.session.add(bound.note(text="the host's own row"))
        bound.lms.record(result())
        assert count_rows(bound)["lms_delivery"] == 0  # joined, not yet committed
        bound.db.session.commit()
    assert stored(bound) == (1, 1)


def test_one_rollback_of_the_session_rolls_both_back(bound: World, lrs: FakeLRS) -> None:
    with bound.app.app_context():
        bound.attach(**lrs.settings)
        bound.db.session.add(bound.note(text="the host's own row"))
        bound.lms.record(result())
        bound.db.session.rollback()
    assert stored(bound) == (0, 0)


def test_a_savepoint_rolled_back_takes_the_result_of_the_other_database_with_it(
    bound: World, lrs: FakeLRS
) -> None:
    with bound.app.app_context():
        bound.attach(**lrs.settings)
        bound.db.session.add(bound.note(text="kept"))
        bound.db.session.flush()
        nested = bound.db.session.begin_nested()
        bound.lms.record(result())
        nested.rollback()
        bound.db.session.commit()
    assert stored(bound) == (1, 0)


#: SQLAlchemy itself, of the database that is committed already.
@pytest.mark.filterwarnings("ignore:transaction already deassociated")
@pytest.mark.parametrize("failing", ["training", None])
def test_databases_that_fail_at_the_commit_itself_are_not_one_and_recording_again_mends_it(
    bound: World, lrs: FakeLRS, failing: str | None
) -> None:
    """What docs/host.md says: two databases commit one after the other, in no certain order."""
    with bound.app.app_context():
        bound.attach(**lrs.settings)
        engine = bound.db.engines[failing]

        def fail(connection: sa.Connection) -> None:
            raise sa.exc.OperationalError("COMMIT", {}, Exception("connection lost"))

        bound.db.session.add(bound.note(text="the host's own row"))
        bound.lms.record(result())
        sa.event.listen(engine, "commit", fail)
        with pytest.raises(sa.exc.OperationalError):
            bound.db.session.commit()
        sa.event.remove(engine, "commit", fail)
        bound.db.session.rollback()
        notes, deliveries = stored(bound)
        assert (notes, deliveries)[0 if failing is None else 1] == 0  # the one that failed
        bound.lms.record(result())  # the host tries again: never twice, never lost
    assert stored(bound) == (notes, 1)
    deliver(bound.app)
    assert len(lrs.statements) == 1


# -- schemas, migrations, other extensions ------------------------------------------------------


def test_a_metadata_with_a_schema_is_refused_and_its_remedy_works(
    url: str, tmp_path: Path, lrs: FakeLRS
) -> None:
    db = SQLAlchemy(metadata=sa.MetaData(schema="training"))
    with pytest.raises(ConfigurationError, match=r"schema='training'.*LMS_BIND_KEY"):
        build_world(url, db=db)
    world = build_world(
        url,
        db=SQLAlchemy(metadata=sa.MetaData(schema="training")),
        SQLALCHEMY_BINDS={"lms": f"sqlite:///{tmp_path / 'lms.db'}"},
        LMS_BIND_KEY="lms",
    )
    with standing(world, "lms"):
        walk(world, lrs)


@of_its_env
def test_migrations_of_a_host_with_a_naming_convention_show_no_drift(
    url: str, tmp_path: Path, calm_logging: None
) -> None:
    app = Flask("host", instance_path=str(tmp_path))
    db = SQLAlchemy(metadata=sa.MetaData(naming_convention=CONVENTION))
    app.config.update(
        SECRET_KEY="a secret of the tests",
        LMS_ACTIVITY_BASE_URL="https://host.example/xapi",
        SQLALCHEMY_DATABASE_URI=url,
    )
    db.init_app(app)
    LMS(app)
    walk_the_migrations(app, db, tmp_path)
    with app.app_context():
        db.engine.dispose()
    [version] = (tmp_path / "migrations" / "versions").glob("*.py")
    for name in _wanted():
        assert f"'{name}'" in version.read_text()


def test_another_extension_called_sqlalchemy_is_named() -> None:
    app = Flask("host")
    app.config.update(SECRET_KEY="x" * 32, LMS_ACTIVITY_BASE_URL="https://host.example/xapi")
    app.extensions["sqlalchemy"] = object()  # as Flask-SQLAlchemy-Lite does
    with pytest.raises(SetupError, match=r"needs Flask-SQLAlchemy.*object"):
        LMS(app)
