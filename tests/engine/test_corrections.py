"""A correction takes back what was really sent: whatever is set and whichever steps there are by
then, and however long ago it was.
"""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import Objective, Participant, Step, StepResult
from flask_lms.database.models import SKELETON, Configuration, Delivery, DeliveryState
from flask_lms.delivery import retention
from flask_lms.recording.record import PARKED, record_parked
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.node_support import real_lrs
from tests.world import World, make_world, result

STEPS = [StepResult(number=1, outcome="succeeded"), StepResult(number=2, outcome="failed")]
WITH_STEPS = Objective(id="ppe", name="Put on PPE", steps=[Step(number=1), Step(number=2)])
WITHOUT_STEPS = Objective(id="ppe", name="Put on PPE")
CHOICES = list(itertools.product((False, True), ("summary", "statements")))
#: From each choice of settings to each other one: 12 orders.
ORDERS = list(itertools.permutations(CHOICES, 2))


def choose(
    world: World, configuration: Configuration, lrs: dict[str, Any], choice: tuple[bool, str]
) -> None:
    settings = {**lrs, "send_completed": choice[0], "steps": choice[1]}
    world.lms.configurations.update(configuration.id, settings=settings)


def deliver(world: World, configuration: Configuration) -> None:
    while world.states()["pending"]:
        world.deliver(configuration)


def expected(world: World, result_id: str, revision: int) -> set[str]:
    """What is to be valid in the end: what the last revision says, and nothing older."""
    return {
        str(row.statement_id)
        for row in world.rows()
        if (row.result_id, row.revision) == (result_id, revision) and row.kind != "void"
    }


VOIDED = "http://adlnet.gov/expapi/verbs/voided"


def valid(lrs: FakeLRS) -> set[str]:
    voids = {s["id"] for s in lrs.statements if s["verb"]["id"] == VOIDED}
    return {s["id"] for s in lrs.statements} - lrs.voided - voids


@pytest.mark.parametrize("days", [0, 31, 4000])
def test_settings_and_steps_may_change_between_and_nothing_old_stays_valid(
    world: World, lrs: FakeLRS, days: int
) -> None:
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    wanted: set[str] = set()
    for number, (before, after) in enumerate(ORDERS):
        id, now = f"r{number}", set()
        for revision, choice in enumerate((before, after, before)):
            choose(world, configuration, lrs.settings, choice)
            # The second time the steps are dropped, from the result and from the objective.
            steps, of = (STEPS, WITH_STEPS) if revision != 1 else ((), WITHOUT_STEPS)
            world.record(id, revision=revision, steps=steps, objective=of, success=revision != 1)
            deliver(world, configuration)
            now = expected(world, id, revision)
            assert valid(lrs) == wanted | now
            clock.advance(days=days)
            retention.purge(world.state, clock.time)
        wanted |= now
    assert len(ORDERS) == 12


@pytest.mark.node
@pytest.mark.timeout(500)
def test_the_same_with_a_real_lrs(tmp_path: Path) -> None:
    with real_lrs() as lrs, make_world(f"sqlite:///{tmp_path / 'world.db'}") as world:
        settings = {"url": lrs.url, "key": lrs.key, "secret": lrs.secret}
        clock = world.freeze()
        configuration = world.attach(**settings)
        wanted: set[str] = set()
        for number, (before, after) in enumerate(ORDERS):
            choose(world, configuration, settings, before)
            world.record(f"r{number}", steps=STEPS, objective=WITH_STEPS)
            deliver(world, configuration)
            clock.advance(days=100)
            retention.purge(world.state, clock.time)
            choose(world, configuration, settings, after)
            world.record(f"r{number}", revision=1, steps=STEPS[:1], success=False)
            deliver(world, configuration)
            wanted |= expected(world, f"r{number}", 1)
            stored = lrs.stored()
            assert {one["id"] for one in stored if one["verb"]["id"] != VOIDED} == wanted


# -- What became of the old one ----------------------------------------------------------------


@pytest.fixture
def configuration(world: World, lrs: FakeLRS) -> Configuration:
    world.freeze()
    return world.attach(**lrs.settings)


def kinds(world: World, revision: int) -> list[str]:
    return sorted(row.kind for row in world.rows() if row.revision == revision)


def test_what_was_rejected_or_cancelled_is_not_voided(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    world.record("refused", "cancelled")
    cancelled = world.rows()[1]
    world.lms.deliveries.cancel(ids=[cancelled.id])
    refused = world.rows()[0]
    refused.state, refused.attempts = DeliveryState.REJECTED, 6
    world.session.commit()
    assert world.states() == {"rejected": 1, "cancelled": 1}
    world.record("refused", "cancelled", revision=1)
    assert kinds(world, 1) == ["result", "result"]


def test_one_whose_fate_is_not_known_is_voided(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    world.record("r1")
    lrs.answer(FakeAnswer(stores=True, cut="before"))  # stored, and the answer got lost
    world.deliver(configuration)
    assert world.states() == {"pending": 1}
    world.lms.deliveries.cancel(configuration_id=configuration.id)
    world.record("r1", revision=1)
    assert kinds(world, 1) == ["result", "void"]
    world.record("r2")
    world.record("r2", revision=1)  # the first one still waits, or is under way
    assert [row.kind for row in world.rows() if row.result_id == "r2"][-1] == "void"


def test_a_void_that_was_cancelled_is_made_again_by_the_next_correction(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    world.record("r1")
    deliver(world, configuration)
    world.record("r1", revision=1)
    void = next(row for row in world.rows() if row.kind == "void")
    world.lms.deliveries.cancel(ids=[void.id])
    deliver(world, configuration)
    world.record("r1", revision=2)
    deliver(world, configuration)
    assert valid(lrs) == expected(world, "r1", 2)


def test_several_revisions_at_once_void_one_another(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    world.lms.record_many([result(revision=n) for n in range(3)])
    deliver(world, configuration)
    assert valid(lrs) == expected(world, "r1", 2)


def test_a_correction_that_could_not_be_sent_voids_once_it_can(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    world.record("r1")
    deliver(world, configuration)
    world.record("r1", revision=1, participant=Participant(id="E001"), success=False)
    assert kinds(world, 1) == ["result"]
    world.participants["E001"] = Participant(id="E001", email="jane@acme.example")
    assert world.lms.deliveries.check_again(configuration_id=configuration.id).queued == 1
    deliver(world, configuration)
    assert kinds(world, 1) == ["result", "void"]
    assert valid(lrs) == expected(world, "r1", 1)


def test_a_parked_correction_voids_too(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    """On PostgreSQL and MariaDB, where results are parked."""
    if world.db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    choose(world, configuration, lrs.settings, (True, "statements"))
    world.record("r1", steps=STEPS)
    deliver(world, configuration)
    choose(world, configuration, lrs.settings, (False, "summary"))
    other = sa.orm.Session(world.db.engine)
    other.add(world.note(text="another transaction"))
    other.flush()
    world.lms.record(result(revision=1), session=other)
    done: list[Any] = []

    def record() -> None:
        with world.app.app_context():
            done.append(world.lms.record(result(revision=1, success=False)))

    thread = threading.Thread(target=record)
    thread.start()
    thread.join(20)
    parked = [row for row in world.rows() if row.reason == PARKED]
    other.rollback()
    other.close()
    assert len(done) == len(parked) == 1
    assert record_parked(world.state) == 1
    deliver(world, configuration)
    assert valid(lrs) == expected(world, "r1", 1)
    assert len(lrs.voided) == 4


# -- The skeleton --------------------------------------------------------------------------------


def test_the_skeleton_concerns_nobody_and_is_listed_nowhere(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    world.record("r1")
    deliver(world, configuration)
    world.clock.advance(days=91)
    assert retention.purge(world.state, world.clock.time).deliveries == 1
    [row] = world.rows()
    kept = repr({one.key: getattr(row, one.key) for one in sa.inspect(Delivery).columns})
    for text in ("jane", "Jane Doe", "Put on PPE", "acme.example"):
        assert text not in kept
    assert (row.participant_id, row.state) == (SKELETON, DeliveryState.DELIVERED)
    deliveries = world.lms.deliveries
    assert deliveries.list().items == []
    assert (deliveries.count(), deliveries.count_sendable()) == (0, 0)
    assert set(deliveries.counts().values()) == {0}
    assert list(deliveries.iterate(state=DeliveryState.DELIVERED)) == []
    with pytest.raises(LookupError):
        deliveries.get(row.id)
    assert retention.purge(world.state, world.clock.time).deliveries == 0
    assert world.lms.record(result()).duplicates == 1  # still known


def test_the_skeleton_goes_with_its_configuration(
    world: World, lrs: FakeLRS, configuration: Configuration
) -> None:
    world.record("r1")
    deliver(world, configuration)
    world.clock.advance(days=91)
    retention.purge(world.state, world.clock.time)
    world.lms.configurations.delete(configuration.id)
    world.clock.advance(days=29)
    retention.purge(world.state, world.clock.time)
    assert len(world.rows()) == 1  # it may be restored
    world.clock.advance(days=2)
    retention.purge(world.state, world.clock.time)
    assert world.rows() == []
