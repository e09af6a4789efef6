"""The tables: pinned by a snapshot, created and migrated by the host's own tools."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_lms import LMS, ConfigurationError
from flask_lms.database.models import Base
from tests.requirements_support import need

SNAPSHOT = Path(__file__).parent / "schema_snapshot.txt"
TABLES = {table.name for table in Base.metadata.sorted_tables}


def describe(table: sa.Table) -> str:
    """A table as text in which any change shows."""
    lines = [table.name]
    for column in table.columns:
        needed = "NULL" if column.nullable else "NOT NULL"
        lines.append(f"  {column.name}: {column.type!r} {needed}")
    for constraint in sorted(table.constraints, key=lambda one: str(one.name)):
        columns = ", ".join(column.name for column in constraint.columns)
        lines.append(f"  {type(constraint).__name__} {constraint.name} ({columns})")
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        unique = "unique " if index.unique else ""
        columns = ", ".join(str(getattr(e, "name", e)) for e in index.expressions)
        lines.append(f"  {unique}index {index.name} ({columns})")
    return "\n".join(lines)


@pytest.fixture
def make_host(tmp_path):
    """Makes hosts with the extension; closes their databases."""
    made = []

    def make(url: str | None = None, **config: object) -> tuple[Flask, SQLAlchemy]:
        app = Flask(f"host{len(made)}", instance_path=str(tmp_path))
        app.config.update(
            SECRET_KEY="a secret of the tests",
            LMS_ACTIVITY_BASE_URL="https://host.example/xapi",
            SQLALCHEMY_DATABASE_URI=url or f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.sqlite",
            **config,
        )
        db = SQLAlchemy(app)
        LMS(app)
        made.append((app, db))
        return app, db

    yield make
    for app, db in made:
        with app.app_context():
            db.session.remove()
            for engine in db.engines.values():
                engine.dispose()


def test_the_schema_is_the_one_of_the_snapshot():
    now = "\n\n".join(describe(table) for table in Base.metadata.sorted_tables) + "\n"
    if os.environ.get("LMS_WRITE_SNAPSHOT"):
        SNAPSHOT.write_text(now)
    assert now == SNAPSHOT.read_text(), (
        "The tables changed, so every host needs a migration. Say so in CHANGES.md under Schema, "
        "then write the snapshot anew with LMS_WRITE_SNAPSHOT=1."
    )


def test_everything_in_the_schema_has_a_name_and_no_default_of_the_server():
    for table in Base.metadata.sorted_tables:
        assert table.name.startswith("lms_")
        for constraint in table.constraints:
            assert str(constraint.name).startswith(("pk_lms_", "uq_lms_", "fk_lms_")), constraint
        for index in table.indexes:
            assert str(index.name).startswith("ix_lms_")
            assert len(str(index.name)) <= 60
        for column in table.columns:
            assert column.server_default is None, column
            assert not column.index
            assert not column.unique


def test_a_host_gets_tables_of_plain_types_that_its_migrations_can_write(make_host):
    _, db = make_host()
    plain = (sa.String, sa.Text, sa.JSON, sa.Uuid, sa.DateTime, sa.Integer, sa.Boolean)
    for name in TABLES:
        for column in db.metadata.tables[name].columns:
            assert isinstance(column.type, plain), column
            assert type(column.type).__module__.startswith("sqlalchemy."), column


def test_create_all_makes_the_tables_and_starting_makes_none(make_host):
    app, db = make_host()
    with app.app_context():
        assert sa.inspect(db.engine).get_table_names() == []
        db.create_all()
        assert set(sa.inspect(db.engine).get_table_names()) == TABLES


def test_with_a_bind_key_the_tables_are_in_that_database(make_host, tmp_path):
    app, db = make_host(
        SQLALCHEMY_BINDS={"training": f"sqlite:///{tmp_path}/training.sqlite"},
        LMS_BIND_KEY="training",
    )
    with app.app_context():
        db.create_all()
        assert set(sa.inspect(db.engines["training"]).get_table_names()) == TABLES
        assert sa.inspect(db.engine).get_table_names() == []
        assert app.extensions["lms"].configurations.list() == []


def test_two_apps_in_a_process_keep_to_their_own_databases(make_host, tmp_path):
    plain, _ = make_host()
    bound, _ = make_host(
        SQLALCHEMY_BINDS={"training": f"sqlite:///{tmp_path}/other.sqlite"},
        LMS_BIND_KEY="training",
    )
    for app in (plain, bound):
        with app.app_context():
            app.extensions["sqlalchemy"].create_all()
    with plain.app_context():
        plain.extensions["lms"].configurations.create(
            "1",
            "Only here",
            ["ana@host.example"],
            settings={"url": "https://lrs.example/xapi", "key": "k", "secret": "s"},
        )
        assert [one.name for one in plain.extensions["lms"].configurations.list()] == ["Only here"]
    with bound.app_context():
        assert bound.extensions["lms"].configurations.list() == []


def test_metadata_with_a_schema_is_refused_with_a_remedy(tmp_path):
    app = Flask("host")
    app.config.update(
        SECRET_KEY="a secret of the tests",
        LMS_ACTIVITY_BASE_URL="https://host.example/xapi",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/db.sqlite",
    )
    SQLAlchemy(app, metadata=sa.MetaData(schema="training"))
    with pytest.raises(ConfigurationError, match="LMS_BIND_KEY"):
        LMS(app)


def walk_the_migrations(app: Flask, db: SQLAlchemy, folder: Path) -> None:
    """What a host does with Flask-Migrate, from the first migration back to nothing."""
    import flask_migrate

    flask_migrate.Migrate(app, db)
    directory = str(folder / "migrations")
    with app.app_context():
        flask_migrate.init(directory)
        flask_migrate.migrate(directory, message="Flask-LMS")
        [version] = (folder / "migrations" / "versions").glob("*.py")
        assert "flask_lms" not in version.read_text()  # a migration imports nothing of ours
        flask_migrate.upgrade(directory)
        assert set(sa.inspect(db.engine).get_table_names()) == TABLES | {"alembic_version"}
        flask_migrate.Migrate(app, db)  # as each command is a process of its own
        flask_migrate.check(directory)  # raises when models and tables differ
        flask_migrate.downgrade(directory, revision="base")
        assert set(sa.inspect(db.engine).get_table_names()) == {"alembic_version"}


@pytest.fixture
def calm_logging():
    """Alembic's env.py configures logging for the whole process: undo that."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    known = {name: logging.getLogger(name).disabled for name in root.manager.loggerDict}
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    for name in list(root.manager.loggerDict):
        logging.getLogger(name).disabled = known.get(name, False)


#: Said by the env.py that Flask-Migrate writes.
of_its_env = pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning")


@of_its_env
def test_flask_migrate_goes_up_and_down_on_sqlite(make_host, tmp_path, calm_logging):
    app, db = make_host()
    walk_the_migrations(app, db, tmp_path)


@of_its_env
@pytest.mark.postgres
def test_flask_migrate_goes_up_and_down_on_postgresql(make_host, tmp_path, calm_logging):
    server = sa.make_url(need("postgres"))
    name = f"migrate_{uuid.uuid4().hex[:12]}"
    root = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with root.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        url = server.set(database=name).render_as_string(hide_password=False)
        app, db = make_host(url)
        walk_the_migrations(app, db, tmp_path)
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
    finally:
        with root.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
        root.dispose()
