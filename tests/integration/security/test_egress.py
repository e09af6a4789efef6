"""What one organization may call is nothing that another may, and inside nobody reads answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms.database.models import Attempt, Audit, Delivery, Incident, Mail
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.world import ANA, World, make_world, result

WORDS = "inside-canary: the payroll of everybody"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path / 'host.db'}"
    with make_world(url, LMS_ALLOWED_NETWORKS=[], LMS_SHOW_PRIVATE_ANSWERS=False) as made:
        yield made


def test_an_entry_of_one_organization_opens_nothing_for_another(world: World, lrs: FakeLRS) -> None:
    port = lrs.port

    @world.lms.egress_policy
    def entries(organization_id: str) -> list[str] | None:
        return {"acme": [f"127.0.0.1:{port}"], "dock": []}.get(organization_id)

    causes: dict[str, list[Any]] = {}
    for owner in ("acme", "dock", "harbor"):
        made = world.attach(lrs.url, organization_id=owner, key=lrs.key, secret=lrs.secret)
        world.lms.record(result(f"r-{owner}", organization_id=owner))
        world.deliver(made.id)
        saved = world.lms.configurations.test(made.id).cause
        unsaved = world.lms.for_organization(owner).configurations.test_settings(
            "xapi", {"url": lrs.url, "key": lrs.key, "secret": lrs.secret}
        )
        last = sa.select(Attempt.cause).where(Attempt.configuration_id == made.id)
        causes[owner] = [saved, unsaved.cause, *world.session.scalars(last)]
    assert causes["dock"] == causes["harbor"] == ["blocked"] * 3
    assert causes["acme"] == [None] * 3
    assert world.states() == {"delivered": 1, "pending": 2}


def test_a_policy_that_fails_calls_nothing_and_loses_nothing(world: World, lrs: FakeLRS) -> None:
    @world.lms.egress_policy
    def entries(organization_id: str) -> list[str]:
        raise LookupError("no such organization")

    made = world.attach(lrs.url)
    world.record("r1")
    world.deliver(made)
    assert lrs.statements == []
    assert world.states() == {"pending": 1}


@pytest.mark.parametrize(
    "answer",
    [
        FakeAnswer(status=500, body=WORDS.encode()),
        FakeAnswer(status=401, body=WORDS.encode()),
        FakeAnswer(status=200, body=f'"{WORDS}"'.encode()),
        FakeAnswer(status=200, body=f"<html><body>{WORDS}</body></html>".encode()),
        FakeAnswer(status=400, body=f'{{"error": "{WORDS}"}}'.encode()),
        FakeAnswer(status=302, headers={"Location": "http://127.0.0.1/inside-canary"}),
        FakeAnswer(status=200, body=b'{"version": ["1.0.3", "inside-canary"]}'),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:12]!r}",
)
def test_nobody_reads_what_a_private_address_answers(
    world: World, lrs: FakeLRS, answer: FakeAnswer
) -> None:
    port = lrs.port
    world.lms.egress_policy(lambda organization_id: [f"127.0.0.1:{port}"])
    made = world.attach(lrs.url)
    world.record("r1", "r2")
    lrs.answer_always(answer)
    world.deliver(made)
    report = world.lms.configurations.test(made.id)
    found = [repr(report), *(repr(stage.words) for stage in report.stages)]
    for table in (Attempt, Delivery, Incident, Mail, Audit):
        rows = world.session.execute(sa.select(table.__table__)).all()
        found += map(repr, rows)
    world.session.commit()
    world.who, client = ANA, world.client()
    for path in (f"/{made.id}", f"/{made.id}/deliveries", "/deliveries", "/deliveries.csv"):
        found.append(client.get(f"/lms{path}").text)
    for text in found:
        assert "inside-canary" not in text
    attempts = world.session.scalars(sa.select(Attempt)).all()
    assert {one.http_status for one in attempts} == {answer.status}
