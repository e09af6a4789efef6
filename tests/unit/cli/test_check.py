"""``flask lms check``: each fault with its remedy, exit code 1; weak set-ups as warnings."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from demo.valkey import Valkey
from flask_lms import LMS
from flask_lms.cli import diagnostics
from flask_lms.cli.diagnostics import Finding, Level, weak_setups
from flask_lms.database.models import Base, Worker
from flask_lms.database.types import DatabaseClock
from flask_lms.encryption import Encryption, derive_keys
from flask_lms.settings import Settings
from tests.world import World, make_world

from .conftest import Run


def findings(world: World) -> dict[str, list[Finding]]:
    world.state.clock = DatabaseClock()
    found: dict[str, list[Finding]] = {}
    for finding in diagnostics.check(world.state):
        found.setdefault(finding.name, []).append(finding)
        assert finding.remedy or finding.level in (Level.OK, Level.SKIPPED), finding
    return found


def only(found: dict[str, list[Finding]], name: str) -> Finding:
    [finding] = found[name]
    return finding


def test_a_sound_installation_passes(world: World, run: Run, valkey: Valkey) -> None:
    world.configuration()
    state = world.state
    state.settings = _with(state.settings, redis_url=valkey.url)
    state.clock = DatabaseClock()
    done = run("check")
    assert done.exit_code == 0, done.output
    assert "ok       Redis: Redis at" in done.output
    assert "ok       tables: All" in done.output
    assert "No fault, " in done.output
    found = json.loads(run("check", "--json").output)
    assert found["ok"]
    assert {one["name"] for one in found["findings"]} >= {"callbacks", "tables", "clock", "mail"}


def _with(settings: Settings, **changes: Any) -> Settings:
    return dataclasses.replace(settings, **changes)


def test_redis_away_is_a_fault_with_its_remedy(world: World, run: Run) -> None:
    world.state.clock = DatabaseClock()
    done = run("check")
    assert done.exit_code == 1
    assert "fault    Redis: Redis at 127.0.0.1 doesn't answer" in done.output
    assert "→ Start Redis or Valkey, or correct LMS_REDIS_URL." in done.output
    assert "1 fault, " in done.output


def test_each_missing_callback_is_named(world: World) -> None:
    world.lms._callbacks._functions.pop("objective_loader")
    finding = only(findings(world), "callbacks")
    assert finding.level is Level.FAULT
    assert finding.remedy == "Decorate a function with @lms.objective_loader."


def test_missing_tables_and_columns_are_named(world: World) -> None:
    engine = world.db.engine
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE lms_mail")
        connection.exec_driver_sql("ALTER TABLE lms_worker DROP COLUMN has_redis")
        table = " ON lms_delivery" if engine.dialect.name in ("mysql", "mariadb") else ""
        connection.exec_driver_sql(f"DROP INDEX ix_lms_delivery_page{table}")
    found = findings(world)["tables"]
    assert [one.level for one in found] == [Level.FAULT, Level.FAULT, Level.WARNING]
    assert "lms_mail" in found[0].sentence
    assert "lms_worker.has_redis" in found[1].sentence
    assert "ix_lms_delivery_page" in found[2].sentence
    assert "workers" not in findings(world)
    Base.metadata.tables["lms_mail"].create(engine)


def test_a_database_that_does_not_answer_is_a_fault(tmp_path: Any) -> None:
    with make_world(f"sqlite:///{tmp_path / 'a.db'}") as world:
        world.state.db = SimpleNamespace(engines={None: _broken_engine()})  # type: ignore[assignment]
        [finding] = diagnostics.tables(world.state)
    assert (finding.level, finding.name) == (Level.FAULT, "database")


def _broken_engine() -> Any:
    import sqlalchemy as sa

    return sa.create_engine("sqlite:////no/such/folder/host.db")


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, Level.OK), (60, Level.WARNING), (-3600, Level.FAULT)]
)
def test_clocks_that_are_apart_are_noticed(world: World, seconds: int, level: Level) -> None:
    class Off(DatabaseClock):
        def now(self, session: Any) -> Any:
            return super().now(session) + timedelta(seconds=seconds)

    world.state.clock = Off()
    [finding] = diagnostics.clock(world.state)
    assert finding.level is level


def test_secrets_that_no_key_reads_are_a_fault_and_old_ones_a_warning(world: World) -> None:
    world.configuration()
    old = Fernet.generate_key()
    two = world.configuration("Two")
    two.secrets = Encryption([old]).encrypt({"secret": "x"})
    world.db.session.commit()
    finding = only(findings(world), "secrets")
    assert finding.level is Level.FAULT
    assert "Two (acme)" in finding.sentence
    world.state.encryption = Encryption([*derive_keys(world.app.config), old])
    found = findings(world)["secrets"]
    assert [one.level for one in found] == [Level.WARNING, Level.OK]
    assert "1 of 2" in found[0].sentence


def test_a_type_without_a_connector_is_a_fault(world: World) -> None:
    made = world.configuration()
    made.type = "scorm_cloud"
    world.db.session.commit()
    assert "'scorm_cloud'" in only(findings(world), "LMS types").sentence


def test_no_worker_is_a_fault_only_while_something_waits(world: World) -> None:
    made = world.configuration()
    assert only(findings(world), "workers").level is Level.WARNING
    world.delivery(made)
    finding = only(findings(world), "workers")
    assert finding.level is Level.FAULT
    assert finding.sentence == "Results wait (1) and no worker was seen ever."


def test_workers_that_are_old_or_deaf_are_named(world: World) -> None:
    now = DatabaseClock().now(world.db.session())
    world.db.session.add_all(
        [
            Worker(id="a:1", version="0.0.1", started_at=now, seen_at=now, has_redis=True),
            Worker(id="b:2", version="0.1.0", started_at=now, seen_at=now, has_redis=False),
        ]
    )
    world.db.session.commit()
    found = findings(world)["workers"]
    assert [one.level for one in found] == [Level.OK, Level.WARNING, Level.WARNING]
    assert "a:1" in found[1].sentence
    assert "b:2" in found[2].sentence


def test_a_mail_server_that_is_away_is_a_fault_and_no_sender_too(world: World) -> None:
    assert only(findings(world), "mail").level is Level.SKIPPED
    mail = world.app.extensions["mail"]
    mail.suppress, mail.server, mail.port = False, "127.0.0.1", 1
    finding = only(findings(world), "mail")
    assert finding.level is Level.FAULT
    assert "127.0.0.1:1 takes no mails" in finding.sentence
    world.state.settings = _with(world.state.settings, mail_sender=None)
    assert "no sender" in only(findings(world), "mail").sentence


@pytest.mark.parametrize(
    ("changes", "config", "mail", "name"),
    [
        ({"allow_http": True}, {}, {}, "LMS_ALLOW_HTTP"),
        ({"encryption_keys": ()}, {}, {}, "encryption keys"),
        ({"allowed_networks": ("0.0.0.0/0",)}, {}, {}, "LMS_ALLOWED_NETWORKS"),
        ({"public_url": "http://host.example"}, {}, {}, "LMS_PUBLIC_URL"),
        ({"operator_emails": ()}, {}, {}, "LMS_OPERATOR_EMAILS"),
        ({}, {"DEBUG": True}, {}, "debug mode"),
        ({}, {"SECRET_KEY": "dev"}, {}, "SECRET_KEY"),
        ({}, {}, {"use_tls": False}, "mail encryption"),
    ],
)
def test_each_weak_set_up_is_warned_of_alone(
    changes: dict[str, Any], config: dict[str, Any], mail: dict[str, Any], name: str
) -> None:
    safe = Settings(
        activity_base_url="https://host.example/xapi",
        public_url="https://host.example",
        encryption_keys=(Fernet.generate_key().decode(),),
        allowed_networks=("10.1.2.0/24", "lms.intranet"),
        operator_emails=("ops@host.example",),
    )
    server = {"server": "mail.host.example", "use_tls": True, "use_ssl": False, **mail}
    found = list(
        weak_setups(
            _with(safe, **changes),
            {"SECRET_KEY": "long and random enough", **config},
            SimpleNamespace(**server),
        )
    )
    assert [(one.name, one.level) for one in found] == [(name, Level.WARNING)]


def test_a_bind_of_its_own_is_looked_at(tmp_path: Any) -> None:
    binds = {"lms": f"sqlite:///{tmp_path / 'lms.db'}"}
    with make_world(
        f"sqlite:///{tmp_path / 'host.db'}",
        lms=LMS(),
        LMS_BIND_KEY="lms",
        SQLALCHEMY_BINDS=binds,
    ) as world:
        [finding] = diagnostics.tables(world.state)
    assert finding.level is Level.OK


@pytest.mark.parametrize(("mode", "levels"), [("DELETE", [Level.WARNING]), ("WAL", [])])
def test_sqlite_without_write_ahead_mode_is_warned_of(
    tmp_path: Any, mode: str, levels: list[Level]
) -> None:
    with make_world(f"sqlite:///{tmp_path / 'host.db'}") as world:
        world.db.session.execute(sa.text(f"PRAGMA journal_mode={mode}"))
        world.db.session.commit()
        found = [one.level for one in diagnostics.check(world.state) if one.name == "SQLite"]
        assert found == levels
