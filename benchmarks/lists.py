"""How long the pages' queries take with a million deliveries in one organization.

    LMS_TEST_POSTGRES_URL=postgresql+psycopg://… python -m benchmarks.lists [--rows 1000000]

Drops and makes the tables of Flask-LMS in that database. Prints the median and the slowest of each
query of the pages; exit code 1 when a list's median is over 100 ms, or a fragment's over 50.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_lms import LMS
from flask_lms.app_state import AppState
from flask_lms.database.models import Configuration, DeliveryState
from flask_lms.services.deliveries import Deliveries
from flask_lms.services.overview import Overview

#: Lists and the overview's rows must be quicker; charts and whole counts are printed only.
LIMIT_MS = 100.0
#: What is asked every two seconds while somebody looks at a page.
FRAGMENT_LIMIT_MS = 50.0
LIMITED = ("list:", "overview: rows")
ORGANIZATION = "acme"
OBJECTIVES = 5000
PARTICIPANTS = 20_000
SETTINGS = {"key": "k", "secret": "s"}
#: Share of each configuration, the last ones small; beside them another organization whose LMS is
#: down: a quarter as many rows, all waiting.
SHARES = (0.6, 0.25, 0.1, 0.04, 0.01)

_FILL = """
INSERT INTO lms_delivery (
    id, organization_id, configuration_id, objective_id, objective_name, participant_id,
    participant_name, result_id, revision, kind, statement_id, statement, size, state, reason,
    is_single, attempts, refusals, recorded_at, due_at, settled_at)
SELECT
    lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(CAST(:organization AS text) || n), 1, 15),
    CAST(:organization AS text), c.id,
    'o' || (n * 7919 % :objectives), 'Objective ' || (n * 7919 % :objectives),
    'p' || (n * 104729 % :participants) || '@acme.example',
    'Person ' || (n * 104729 % :participants), 'r' || n, 0, 'result',
    md5(CAST(:organization AS text) || n),
    CASE WHEN state = 'not_sent' THEN NULL ELSE repeat('x', 900) END, 900, state,
    CASE state WHEN 'rejected' THEN 'rejected' WHEN 'not_sent' THEN 'no_email' END,
    false, 1, 0, at, at, CASE WHEN state = 'pending' THEN NULL ELSE at + interval '1 second' END
FROM (
    SELECT n, now() - interval '90 days' * (1 - n::float / :rows) AS at,
        CASE WHEN n > :rows * 0.97 AND n % 2 = 0 THEN 'pending'
             WHEN :all_wait THEN 'pending'
             WHEN n % 100 < 2 THEN 'rejected' WHEN n % 100 < 3 THEN 'not_sent'
             WHEN n % 200000 = 5 THEN 'cancelled' ELSE 'delivered' END AS state,
        ('x' || substr(md5('c' || n), 1, 6))::bit(24)::int / 16777216.0 AS share
    FROM generate_series(1, CAST(:rows AS bigint)) AS n
) AS row
JOIN (SELECT * FROM unnest(:ids, :lows, :highs) AS t(id, low, high)) AS c
    ON share >= c.low AND share < c.high
"""


def make_app(url: str) -> tuple[Flask, SQLAlchemy, LMS]:
    app = Flask("benchmark")
    app.config.update(
        SECRET_KEY="a secret of the benchmark only",
        SQLALCHEMY_DATABASE_URI=url,
        LMS_ACTIVITY_BASE_URL="https://host.example/xapi",
        LMS_REDIS_URL="redis://127.0.0.1:1/0",
    )
    db = SQLAlchemy(app)
    return app, db, LMS(app)


def fill(db: SQLAlchemy, lms: LMS, rows: int) -> list[Configuration]:
    """Configurations and ``rows`` deliveries over 90 days, half of the last days' still waiting."""
    names = [f"LMS {number}" for number in range(len(SHARES))]
    made = [
        lms.configurations.create(
            ORGANIZATION,
            name,
            ["ana@acme.example"],
            settings={**SETTINGS, "url": f"https://{n}.lrs.example/xapi"},
        )
        for n, name in enumerate(names)
    ]
    other = lms.configurations.create(
        "globex", "LMS", ["x@globex.example"], settings={**SETTINGS, "url": "https://g.example/x"}
    )
    highs = [sum(SHARES[: n + 1]) for n in range(len(SHARES))]
    _insert(db, ORGANIZATION, rows, [one.id.hex for one in made], [*highs[:-1], 2.0])
    _insert(db, "globex", rows // 4, [other.id.hex], [2.0])
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE lms_delivery"))
    return made


def _insert(
    db: SQLAlchemy, organization_id: str, rows: int, ids: list[str], highs: list[float]
) -> None:
    types = {
        "ids": sa.ARRAY(sa.String),
        "lows": sa.ARRAY(sa.Float),
        "highs": sa.ARRAY(sa.Float),
    }
    statement = sa.text(_FILL).bindparams(*(sa.bindparam(k, type_=t) for k, t in types.items()))
    db.session.execute(
        statement,
        {
            "organization": organization_id,
            "all_wait": organization_id != ORGANIZATION,
            "objectives": OBJECTIVES,
            "participants": PARTICIPANTS,
            "rows": rows,
            "ids": ids,
            "lows": [0.0, *highs[:-1]],
            "highs": highs,
        },
    )
    db.session.commit()


def queries(
    state: AppState, made: list[Configuration], deep: uuid.UUID
) -> dict[str, Callable[[], object]]:
    """What a page asks, by name."""
    deliveries = Deliveries(state, ORGANIZATION)
    overview = Overview(state, ORGANIZATION)
    first, last, ids = made[0].id, made[-1].id, [one.id for one in made]
    now = datetime.now(timezone.utc)

    def listed(before: uuid.UUID | None = None, **filters: object) -> Callable[[], object]:
        return lambda: deliveries.list(before=before, **filters)  # type: ignore[arg-type]

    return {
        "list: first page": listed(),
        "list: deep page": listed(deep),
        "list: rejected": listed(states=(DeliveryState.REJECTED,)),
        "list: needs attention": listed(states=(DeliveryState.REJECTED, DeliveryState.NOT_SENT)),
        "list: waiting": listed(states=(DeliveryState.PENDING,)),
        "list: cancelled (five in all)": listed(states=(DeliveryState.CANCELLED,)),
        "list: large configuration": listed(configuration_id=first),
        "list: small configuration": listed(configuration_id=last),
        "list: small configuration, rejected": listed(
            configuration_id=last, states=(DeliveryState.REJECTED,)
        ),
        "list: small configuration, deep": listed(deep, configuration_id=last),
        "list: objective": listed(objective_id="o17"),
        "list: objective without any": listed(objective_id="none"),
        "list: objective, rejected": listed(objective_id="o17", states=(DeliveryState.REJECTED,)),
        "list: participant by id": listed(search="p17@acme.example"),
        "list: participant by common part of the name": listed(search="person 17"),
        "list: participant by rare part of the name": listed(search="erson 19999"),
        "list: participant that nobody is": listed(search="nobody"),
        "list: reason": listed(reason="no_email"),
        "list: reason that nobody has": listed(reason="none"),
        "list: one day long ago": listed(
            since=now - timedelta(days=60), until=now - timedelta(days=59)
        ),
        "list: a day, rejected": listed(
            since=now - timedelta(days=60),
            until=now - timedelta(days=59),
            states=(DeliveryState.REJECTED,),
        ),
        "list: a bar of the chart": listed(
            configuration_id=first, day=(now - timedelta(days=60)).date()
        ),
        "list: a bar of the chart, small": listed(
            configuration_id=last, day=(now - timedelta(days=60)).date()
        ),
        "list: result by id": listed(search="r4711"),
        "list: statement by id": listed(
            search=str(uuid.UUID(hashlib.md5(b"acme4711").hexdigest()))
        ),
        "fragment: list of all": lambda: (listed()(), deliveries.segments(ids)),
        "fragment: list of a configuration": lambda: (
            listed(configuration_id=first)(),
            deliveries.segments([first], configuration_id=first),
        ),
        "fragment: list of 30 days": lambda: (
            listed(since=now - timedelta(days=30))(),
            deliveries.segments(ids, since=now - timedelta(days=30)),
        ),
        "fragment: list of an objective": lambda: (
            listed(objective_id="o17")(),
            deliveries.segments(ids, objective_id="o17"),
        ),
        "fragment: overview": lambda: (
            overview.numbers(first),
            deliveries.list(configuration_id=first, limit=10),
        ),
        "fragment: configurations": lambda: overview.summary(overview.rows()),
        "count: rejected": lambda: deliveries.count(states=(DeliveryState.REJECTED,)),
        "count: all, by state": deliveries.counts,
        "overview: rows and summary": lambda: overview.summary(overview.rows()),
        "overview: numbers": lambda: overview.numbers(first),
        "overview: 14 days": lambda: overview.daily(first, 14),
        "overview: 90 days": lambda: overview.daily(first, 90),
    }


def measure(db: SQLAlchemy, query: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds of each round, each in a session of its own."""
    taken = []
    for _ in range(rounds):
        db.session.rollback()
        db.session.expunge_all()
        started = time.perf_counter()
        query()
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keep", action="store_true", help="use the rows of the last run")
    options = parser.parse_args(arguments)
    url = os.environ.get("LMS_TEST_POSTGRES_URL")
    if not url:
        print("Set LMS_TEST_POSTGRES_URL to a database whose lms_ tables may be dropped.")
        return 2
    app, db, lms = make_app(url)
    with app.app_context():
        if not options.keep:
            db.drop_all()
            db.create_all()
            started = time.perf_counter()
            fill(db, lms, options.rows)
            print(f"{options.rows:,} deliveries made in {time.perf_counter() - started:.0f} s")
        made = sorted(lms.configurations.list(ORGANIZATION), key=lambda one: one.name)
        state = app.extensions["lms_state"]
        page = Deliveries(state, ORGANIZATION)
        until = datetime.now(timezone.utc) - timedelta(days=45)
        deep = page.list(until=until, limit=1).items[0].id
        print(f"{'query':48} {'median ms':>10} {'slowest ms':>11}")
        slow = 0
        for name, query in queries(state, made, deep).items():
            taken = measure(db, query, options.rounds)
            median = statistics.median(taken)
            is_slow = name.startswith(LIMITED) and median > LIMIT_MS
            is_slow |= name.startswith("fragment:") and median > FRAGMENT_LIMIT_MS
            slow += is_slow
            mark = "  <-- over" if is_slow else ""
            print(f"{name:48} {median:10.1f} {max(taken):11.1f}{mark}")
    print(f"{slow or 'No'} list's median is over {LIMIT_MS:g} ms.")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
