"""The whole way, and the check, against two LRSs that aren't ours: that of npm and Ralph."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import pytest

from flask_lms import Participant, ReadBack, StepResult
from flask_lms.connectors.base import StageState
from flask_lms.database.models import DeliveryState
from tests.node_support import RealLRS, real_lrs
from tests.planted_support import Planted, one_of_many, plant
from tests.ralph_support import Ralph, ralph_lrs
from tests.world import World, make_world, result

pytestmark = pytest.mark.timeout(500)


@pytest.fixture(scope="module")
def ralph() -> Iterator[Ralph]:
    with ralph_lrs() as running:
        yield running


@pytest.fixture
def npm() -> Iterator[RealLRS]:
    with real_lrs() as running:
        yield running


@pytest.fixture(
    params=[
        pytest.param("npm", marks=pytest.mark.node),
        pytest.param("ralph", marks=pytest.mark.ralph),
    ]
)
def lrs(request: pytest.FixtureRequest) -> RealLRS:
    """Each of them, empty."""
    found: RealLRS = request.getfixturevalue(request.param)
    if isinstance(found, Ralph):
        found.empty()
    return found


@pytest.fixture
def world(url: str) -> Iterator[World]:
    with make_world(url) as made:
        made.freeze()
        yield made


def settings_of(lrs: RealLRS) -> dict[str, str]:
    return {"url": lrs.url, "key": lrs.key, "secret": lrs.secret}


def deliver(world: World) -> None:
    world.deliver_due()
    while world.states()["pending"] and not any(row.refusals for row in world.rows()):
        world.deliver_due()


def verbs(lrs: RealLRS) -> dict[str, str]:
    return {one["id"]: one["verb"]["id"].rpartition("/")[2] for one in lrs.stored()}


def test_passed_failed_and_steps_arrive_and_a_resend_stores_nothing_twice(
    world: World, lrs: RealLRS
) -> None:
    one = world.attach(**settings_of(lrs), steps="statements", send_completed=True)
    steps = [StepResult(number=1, outcome="succeeded"), StepResult(number=2, outcome="failed")]
    world.record("p", success=True, steps=steps)
    world.record("f", success=False, steps=steps)
    deliver(world)
    assert sorted(verbs(lrs).values()) == ["completed"] * 5 + ["failed", "passed"]
    for stored in lrs.stored():
        is_failed = "failed" in stored["verb"]["id"] or stored["result"].get("success") is False
        assert ("completion" in stored["result"]) != is_failed
    sent = {row.statement_id: json.loads(row.statement) for row in world.rows()}
    for stored in lrs.stored():
        assert stored.items() >= sent[type(world.rows()[0].statement_id)(stored["id"])].items()
    assert world.lms.deliveries.send_again(configuration_id=one.id) == 7
    deliver(world)
    assert world.states() == {"delivered": 7}
    assert len(lrs.stored()) == 7


def test_what_was_planted_is_found_and_nothing_else(world: World, lrs: RealLRS) -> None:
    planted = plant(world, settings_of(lrs), 120, missing=4, different=3, doubled=2)
    assert planted.check() == {"confirmed": 111, "missing": 4, "different": 3, "doubled": 2}
    assert planted.found == planted.by
    missing = {"configuration_id": planted.configuration.id, "read_back": "missing"}
    assert world.deliveries.send_again(**missing) == 4
    deliver(world)
    assert planted.check() == {"confirmed": 115, "different": 3, "doubled": 2}


def test_an_address_that_is_refused_has_its_own_cause(world: World, lrs: RealLRS) -> None:
    world.attach(**settings_of(lrs))
    # Each refuses one of them.
    for id, address in (("r1", "jane!doe@corp.example"), ("r2", "jane@corp.local")):
        world.lms.record(result(id, participant=Participant(id=address)))
    for _ in range(12):
        world.deliver_due()
        world.clock.advance(hours=13)
    refused = [row for row in world.rows() if row.state is DeliveryState.REJECTED]
    assert [row.reason for row in refused] == ["address_refused"]
    assert world.states() == {"rejected": 1, "delivered": 1}


def test_a_sample_result_is_read_back_and_its_withdrawal_is_told_truly(
    world: World, lrs: RealLRS
) -> None:
    one = world.configuration(settings=settings_of(lrs))
    report = world.configurations.send_sample(one.id)
    assert report.is_connected
    states = [stage.state for stage in report.stages]
    assert states[:2] == [StageState.OK, StageState.OK]
    # Ralph takes a void and goes on to show what it voids.
    is_there = "passed" in verbs(lrs).values()
    assert states[2] is (StageState.SKIPPED if is_there else StageState.OK)
    assert is_there == isinstance(lrs, Ralph)


def corrected(world: World, lrs: RealLRS) -> Planted:
    planted = plant(world, settings_of(lrs), 3)
    world.lms.record(dataclasses.replace(one_of_many(1), revision=1, success=False))
    deliver(world)
    return planted


def test_a_correction_is_confirmed_where_it_counts_and_told_where_not(
    world: World, lrs: RealLRS
) -> None:
    planted = corrected(world, lrs)
    counts = planted.check()
    if isinstance(lrs, Ralph):
        assert counts == {"confirmed": 4, "different": 1}
        [old] = [row for row in world.rows() if row.read_back is ReadBack.DIFFERENT]
        assert (old.result_id, old.read_back_facts) == ("r1", {"is_withdrawn": True})
    else:
        assert counts == {"confirmed": 5}


@pytest.mark.node
def test_what_somebody_else_voided_is_found(world: World, npm: RealLRS) -> None:
    planted = corrected(world, npm)
    planted.post(
        {
            "actor": {"mbox": "mailto:rob@lms.example", "name": "Rob"},
            "verb": {"id": "http://adlnet.gov/expapi/verbs/voided"},
            "object": {"objectType": "StatementRef", "id": str(world.rows()[0].statement_id)},
        }
    )
    assert planted.check() == {"confirmed": 4, "voided": 1}
    assert planted.found == {"voided": {"r0"}}


@pytest.mark.node
def test_a_key_that_may_only_write_says_nothing_is_missing(world: World, npm: RealLRS) -> None:
    planted = plant(world, {**settings_of(npm), "key": npm.write_only_key}, 30)
    assert planted.check() == {"unreadable": 30}
    assert world.rows()[0].read_back_facts["cause"] == "may_not_read"
