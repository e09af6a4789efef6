"""Check in your LMS: what it has of what was sent, without a false alarm, and what then."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from flask_lms import ObjectiveResult, ReadBack
from flask_lms.connectors.base import Connector
from flask_lms.database.models import Delivery
from flask_lms.delivery import retention
from flask_lms.services import deliveries, participants, reconcile, tasks
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.engine.test_tasks import Killed
from tests.planted_support import Planted, ask, one_of_many, plant
from tests.world import ANA, START, World, make_world

SPOILT = {"missing": 10, "different": 5, "doubled": 3}


@pytest.fixture
def world(url: str) -> Iterator[World]:
    with make_world(url) as made:
        yield made


@pytest.fixture
def each_world(database_url: str) -> Iterator[World]:
    """On each database."""
    with make_world(database_url) as made:
        yield made


def corrected(i: int) -> ObjectiveResult:
    return dataclasses.replace(one_of_many(i), revision=1)


def work_off(world: World) -> None:
    while tasks.work(world.state):
        pass


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_LONGEST_WAIT", 0.0)


def test_all_that_was_planted_is_found_and_nothing_else(each_world: World, lrs: FakeLRS) -> None:
    world = each_world
    planted = plant(world, lrs.settings, 600, **SPOILT)
    before, lrs_before = lrs.requests, lrs.statements
    assert planted.check() == {"confirmed": 582, **SPOILT}
    assert planted.found == planted.by
    # Few requests: the list, and two for each that is missing there.
    assert lrs.requests - before == 3 + 2 * SPOILT["missing"]
    assert lrs.statements == lrs_before
    assert {one.method for one in lrs.received[-(lrs.requests - before) :]} == {"GET"}


def test_missing_ones_are_sent_again_by_hand_with_the_same_bytes(
    each_world: World, lrs: FakeLRS
) -> None:
    world = each_world
    planted = plant(world, lrs.settings, 30, **SPOILT)
    planted.check()
    before = {str(row.statement_id): row.statement for row in world.rows()}
    assert not world.states()["pending"]  # nothing by itself
    missing = {"configuration_id": planted.configuration.id, "read_back": "missing"}
    assert world.deliveries.count_sendable(**missing) == 10
    asked = deliveries.asked_of(world.state, "acme", "send_again", missing)
    tasks.ask(world.state, "acme", "send_again", asked, by=ANA)
    work_off(world)
    assert world.states() == {"delivered": 20, "pending": 10}
    assert {row.read_back for row in world.rows() if row.state.value == "pending"} == {None}
    world.deliver(planted.configuration)
    for one in lrs.statements:
        if one["id"] in before and one["result"]["success"]:
            assert {**one, "stored": None} == {**json.loads(before[one["id"]]), "stored": None}
    assert planted.check() == {"confirmed": 22, "different": 5, "doubled": 3}


def test_what_was_just_sent_is_too_new_to_say(world: World, lrs: FakeLRS) -> None:
    planted = plant(world, lrs.settings, 3, missing=1)
    world.clock.advance(minutes=-7)
    assert planted.check() == {"too_new": 3}
    assert planted.check() == {"confirmed": 2, "missing": 1}


def test_an_lms_that_is_late_by_its_own_word_has_missed_nothing(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(world, lrs.settings, 3, missing=1)
    own = lrs.own_answer

    def late(*request: Any) -> FakeAnswer:
        answer = own(*request)
        headers = {"X-Experience-API-Consistent-Through": "2000-01-01T00:00:00Z"}
        return FakeAnswer(answer.status, {**answer.headers, **headers}, answer.body)

    monkeypatch.setattr(lrs, "own_answer", late)
    assert planted.check() == {"confirmed": 2}


# -- voids -------------------------------------------------------------------------------------


def void(planted: Planted, row: Delivery, name: str = "Rob in Records") -> None:
    planted.post(
        {
            "actor": {"mbox": "mailto:rob@lms.example", "name": name},
            "verb": {"id": "http://adlnet.gov/expapi/verbs/voided"},
            "object": {"objectType": "StatementRef", "id": str(row.statement_id)},
        }
    )


def test_what_somebody_else_voided_is_told_from_what_we_took_back(
    world: World, lrs: FakeLRS
) -> None:
    planted = plant(world, lrs.settings, 4)
    by_others, by_us, *_ = world.rows()
    void(planted, by_others)
    world.lms.record(corrected(1))
    while world.states()["pending"]:
        world.deliver(planted.configuration)
    assert planted.check() == {"confirmed": 5, "voided": 1}
    rows = {row.id: row for row in world.rows()}
    assert rows[by_others.id].read_back_facts["by"] == "Rob in Records"
    assert rows[by_us.id].read_back_facts == {"is_withdrawn": True}
    # An LMS that doesn't void, or forgot it, still counts the old one.
    [void_id] = [
        one["id"] for one in lrs.statements if one["object"]["id"] == str(by_us.statement_id)
    ]
    del lrs._statements[void_id]
    assert planted.check() == {"confirmed": 3, "voided": 1, "different": 1, "missing": 1}
    assert planted.found["different"] == {"r1"}


def test_a_withdrawn_one_that_is_gone_is_never_offered_to_be_sent_again(
    world: World, lrs: FakeLRS
) -> None:
    planted = plant(world, lrs.settings, 1)
    world.lms.record(corrected(0))
    while world.states()["pending"]:
        world.deliver(planted.configuration)
    lrs._statements.clear()
    planted.check()
    old, *new = world.rows()
    assert old.read_back is ReadBack.CONFIRMED
    assert {row.read_back for row in new} == {ReadBack.MISSING}


# -- an LMS that doesn't answer, or not as it should -------------------------------------------


def refuse(lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch, answer: FakeAnswer, times: int) -> None:
    """To so many GETs."""
    own, left = lrs.own_answer, iter(range(times))

    def answered(method: str, *rest: Any) -> FakeAnswer:
        return answer if method == "GET" and next(left, None) is not None else own(method, *rest)

    monkeypatch.setattr(lrs, "own_answer", answered)


def test_a_void_that_just_went_out_may_not_be_known_there_yet(world: World, lrs: FakeLRS) -> None:
    planted = plant(world, lrs.settings, 1)
    world.clock.advance(minutes=20)
    world.lms.record(corrected(0))
    while world.states()["pending"]:
        world.deliver(planted.configuration)
    for one in lrs.statements:
        if one["verb"]["id"].endswith("voided"):
            del lrs._statements[one["id"]]
    world.clock.advance(minutes=-7)
    assert planted.check() == {"confirmed": 1, "too_new": 2}
    assert planted.check()["different"] == 1


@pytest.mark.parametrize(
    ("answer", "cause", "asked"),
    [
        (FakeAnswer(403), "may_not_read", 1),
        (FakeAnswer(404, body=b"<html>"), "address", 1),
        (FakeAnswer(302, {"Location": "https://elsewhere.example/"}), "redirect", 1),
        (FakeAnswer(200, body=b"<html>Hello</html>"), "not_lrs", 1),
        (FakeAnswer(500), "internal", 3),
        (FakeAnswer(429, {"Retry-After": "1"}), "rate", 3),
        (FakeAnswer(cut="before"), "reset", 3),
    ],
)
def test_what_cannot_be_read_is_never_called_missing(
    world: World,
    lrs: FakeLRS,
    monkeypatch: pytest.MonkeyPatch,
    answer: FakeAnswer,
    cause: str,
    asked: int,
) -> None:
    planted = plant(world, lrs.settings, 30, missing=2)
    refuse(lrs, monkeypatch, answer, 1000)
    before = lrs.requests
    assert planted.check() == {"unreadable": 30}
    assert lrs.requests - before <= asked * 2  # a connection that ends is tried twice
    assert world.rows()[0].read_back_facts["cause"] == cause
    last = reconcile.last(world.state, "acme", planted.configuration.id)
    assert last is not None
    assert last.position["fault"]["cause"] == cause


def test_a_fault_now_and_then_changes_nothing(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(world, lrs.settings, 30, **SPOILT)
    own, n = lrs.own_answer, iter(range(1000))

    def sometimes(method: str, *rest: Any) -> FakeAnswer:
        return FakeAnswer(503) if method == "GET" and next(n) % 3 == 0 else own(method, *rest)

    monkeypatch.setattr(lrs, "own_answer", sometimes)
    assert planted.check() == {"confirmed": 12, **SPOILT}
    assert planted.found == planted.by


def test_faults_between_pages_are_not_faults_in_a_row(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_lms.connectors.xapi.reading._MOST_STATEMENTS", 10)
    planted = plant(world, {**lrs.settings, "batch_statements": 5}, 60)
    own, n = lrs.own_answer, iter(range(1000))

    def every_second(method: str, *rest: Any) -> FakeAnswer:
        return FakeAnswer(503) if method == "GET" and next(n) % 2 == 0 else own(method, *rest)

    monkeypatch.setattr(lrs, "own_answer", every_second)
    before = lrs.requests
    assert planted.check() == {"confirmed": 60}
    assert lrs.requests - before < 60  # by the list


@pytest.mark.parametrize("is_lrs", [True, False])
def test_nothing_is_missing_by_the_word_of_what_is_no_lrs(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch, is_lrs: bool
) -> None:
    """Also when a list was read before a kill, and by an LRS that leaves out its version."""
    planted = plant(world, lrs.settings, 3, missing=1)
    own = lrs.own_answer

    def bare(method: str, target: str, *rest: Any) -> FakeAnswer:
        answer = own(method, target, *rest)
        is_list = "tatementId=" not in target
        if method == "GET" and not is_lrs:
            return FakeAnswer(400 if is_list else 404, {}, b"{}")
        return FakeAnswer(answer.status, {}, answer.body)

    monkeypatch.setattr(lrs, "own_answer", bare)
    id = ask(world, planted.configuration)
    task = tasks.get(world.state, "acme", id)
    task.position = {"is_listed": True, "pages": 1, "others": {}}
    world.session.commit()
    work_off(world)
    world.session.rollback()
    wanted = {"confirmed": 2, "missing": 1} if is_lrs else {"unreadable": 3}
    assert tasks.get(world.state, "acme", id).counts == wanted


def test_an_lms_without_lists_is_asked_one_by_one(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(world, lrs.settings, 60, missing=10, different=5)
    own = lrs.own_answer

    def without(method: str, target: str, *rest: Any) -> FakeAnswer:
        is_list = method == "GET" and "tatementId=" not in target
        headers = {"X-Experience-API-Version": "1.0.3"}
        return FakeAnswer(400, headers, b"{}") if is_list else own(method, target, *rest)

    monkeypatch.setattr(lrs, "own_answer", without)
    assert planted.check() == {"confirmed": 45, "missing": 10, "different": 5}
    assert planted.found == planted.by


def test_a_list_that_leads_to_another_origin_is_not_followed(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(world, lrs.settings, 5, missing=1)
    own = lrs.own_answer

    with FakeLRS() as other:

        def luring(*request: Any) -> FakeAnswer:
            answer = own(*request)
            if b'"more"' not in answer.body:
                return answer
            value = {**json.loads(answer.body), "more": f"{other.url}/statements?x=1"}
            return FakeAnswer(200, answer.headers, json.dumps(value).encode())

        monkeypatch.setattr(lrs, "own_answer", luring)
        assert planted.check() == {"confirmed": 4, "missing": 1}
        assert other.requests == 0


def test_a_list_without_end_ends(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(world, lrs.settings, 5, missing=1)
    own, n = lrs.own_answer, iter(range(10_000))
    monkeypatch.setattr(reconcile, "_PAGES", 4)

    def endless(*request: Any) -> FakeAnswer:
        answer = own(*request)
        if b'"more"' not in answer.body:
            return answer
        value = {**json.loads(answer.body), "more": f"/xapi/statements?n={next(n)}"}
        return FakeAnswer(200, answer.headers, json.dumps(value).encode())

    monkeypatch.setattr(lrs, "own_answer", endless)
    assert planted.check() == {"confirmed": 4, "missing": 1}
    assert next(n) == 4


def test_the_words_of_an_lms_inside_our_network_are_nobodys_to_read(
    world: World, lrs: FakeLRS
) -> None:
    world.state.settings = dataclasses.replace(world.state.settings, show_private_answers=False)
    world.state.transport._settings = world.state.settings
    planted = plant(world, lrs.settings, 5, different=1)
    planted.check()
    [row] = [row for row in world.rows() if row.read_back is ReadBack.DIFFERENT]
    assert row.read_back_facts == {"fields": [["result.success", None, None]]}


def test_a_type_that_cannot_be_asked_says_so(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(world, lrs.settings, 1)
    connector = world.state.registry.get("xapi")
    monkeypatch.setattr(type(connector), "reader", Connector.reader)
    assert not reconcile.can_read_back(connector)
    id = ask(world, planted.configuration)
    work_off(world)
    world.session.rollback()
    failure = tasks.get(world.state, "acme", id).failure
    assert failure == "LMSs of this type can't be asked what they have."


# -- kills, purges, people who are forgotten ---------------------------------------------------


def test_a_kill_at_each_step_loses_nothing_and_counts_nothing_twice(
    each_world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = each_world
    monkeypatch.setattr("flask_lms.connectors.xapi.reading._MOST_STATEMENTS", 40)
    planted = plant(world, lrs.settings, 300, missing=60, different=5, doubled=3)
    id = ask(world, planted.configuration)
    real, kills = tasks._carry_out, 0

    def killed(*given: Any) -> None:
        nonlocal kills
        real(*given)
        kills += 1
        if kills % 2:
            raise Killed

    monkeypatch.setattr(tasks, "_carry_out", killed)
    while tasks.get(world.state, "acme", id).ended_at is None:
        try:
            tasks.work(world.state)
        except Killed:
            world.session.rollback()
        world.clock.advance(seconds=21)
        world.session.rollback()
    assert kills > 6
    counts = tasks.get(world.state, "acme", id).counts
    assert counts == {"confirmed": 232, "missing": 60, "different": 5, "doubled": 3}
    assert planted.found == planted.by


def test_without_its_content_a_statement_is_confirmed_by_its_id(
    each_world: World, lrs: FakeLRS
) -> None:
    world = each_world
    planted = plant(world, lrs.settings, 5, missing=1, different=1)
    planted.check()
    world.clock.advance(days=31)
    retention.purge(world.state, world.clock.time)
    assert all(row.read_back_facts is None for row in world.rows())
    asked = reconcile.asked_of(world.state, START)
    tasks.ask(
        world.state,
        "acme",
        "reconcile",
        asked,
        by=ANA,
        configuration_id=planted.configuration.id,
        total=5,
    )
    work_off(world)
    rows = world.rows()
    assert {row.read_back for row in rows} == {ReadBack.CONFIRMED, ReadBack.MISSING}
    assert {"by_id": True} in [row.read_back_facts for row in rows]
    missing = [row for row in rows if row.read_back is ReadBack.MISSING]
    assert world.deliveries.count_sendable(ids=[row.id for row in missing]) == 0
    world.clock.advance(days=91)
    retention.purge(world.state, world.clock.time)
    assert {row.read_back for row in world.rows()} == {None}


def test_a_forgotten_participant_is_named_by_no_finding(world: World, lrs: FakeLRS) -> None:
    planted = plant(world, lrs.settings, 2)
    for one in lrs._statements.values():  # somebody gave the results to somebody else
        one["actor"] = {"mbox": "mailto:p0@acme.example"}
    planted.check()
    assert "p0@acme.example" in repr([row.read_back_facts for row in world.rows()])
    told = participants.export(world.state, "acme", "p1@acme.example")
    assert told["deliveries"][0]["read_back"] == "different"
    participants.forget(world.state, "acme", "p0@acme.example")
    world.session.expire_all()
    assert "p0@acme.example" not in repr([row.read_back_facts for row in world.rows()])


def test_somebody_elses_statements_cost_no_false_alarm(world: World, lrs: FakeLRS) -> None:
    planted = plant(world, lrs.settings, 5)
    one = json.loads(world.rows()[0].statement)
    del one["id"]
    planted.post(
        {**one, "timestamp": "2026-01-01T00:00:00Z"},
        {**one, "actor": {"mbox": "mailto:nobody@acme.example"}},
        {**one, "verb": {"id": "http://adlnet.gov/expapi/verbs/failed"}},
        {**one, "object": {"id": "https://host.example/other"}},
        {**one, "context": {}},  # it doesn't say that it is one of ours
    )
    assert planted.check() == {"confirmed": 5}
