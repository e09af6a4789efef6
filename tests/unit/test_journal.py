"""Telling SQL that writes from SQL that reads."""

from __future__ import annotations

import pytest

from flask_lms.recording.after_commit import writes


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO a VALUES (1)",
        "  update a SET b = 1",
        "/* app */ DELETE FROM a",
        "-- why\nREPLACE INTO a VALUES (1)",
        "WITH gone AS (DELETE FROM a RETURNING id) SELECT id FROM gone",
        "with x as (select 1) insert into a select * from x",
        "SELECT id FROM a FOR UPDATE",
        "SELECT id FROM a\nfor\n  no key update SKIP LOCKED",
        "SELECT id FROM a LOCK IN SHARE MODE",
        "SELECT pg_advisory_xact_lock(1)",
        "CALL settle()",
        "LOCK TABLE a",
        "CREATE TABLE a (id INTEGER)",
        "",
    ],
)
def test_these_write(sql: str) -> None:
    assert writes(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "\n  select insert_count, update_time FROM deleted",
        "(SELECT 1) UNION (SELECT 2)",
        "/* INSERT */ -- UPDATE\n /* DELETE */ SELECT platform FROM a",
        "WITH few AS (SELECT updated_at FROM a) SELECT * FROM few",
        "VALUES (1), (2)",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "PRAGMA journal_mode",
        "SET TIME ZONE 'UTC'",
        "SAVEPOINT sa_savepoint_1",
        "RELEASE SAVEPOINT sa_savepoint_1",
        "ROLLBACK TO SAVEPOINT sa_savepoint_1",
    ],
)
def test_these_read(sql: str) -> None:
    assert not writes(sql)
