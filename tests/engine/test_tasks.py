"""Acts on many rows: steps that survive a kill at any moment, none missing, none twice."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import NotFound, Objective, ObjectiveResult, Participant
from flask_lms.database.models import Configuration, Delivery, DeliveryState, ObjectiveLink, Task
from flask_lms.recording.record import record_parked
from flask_lms.services import attachments, deliveries, steps, tasks
from flask_lms.services.deliveries import DeliveryFilter
from flask_lms.testing import FakeLRS, deliver
from tests.worker_app import enable_wal, until
from tests.world import ANA, START, World, build_world, delivery_values, make_world, result

PENDING, REJECTED = DeliveryState.PENDING, DeliveryState.REJECTED
MANY = 450


def with_past(world: World) -> None:
    @world.lms.past_results_loader
    def past(
        organization_id: str, objective_id: str, since: datetime | None
    ) -> Iterator[ObjectiveResult]:
        yield from world.past


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """On each database."""
    with make_world(database_url) as made:
        made.freeze()
        with_past(made)
        with made.listening():
            yield made


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def past(count: int, objective_id: str = "ppe") -> list[ObjectiveResult]:
    objective = Objective(id=objective_id, name=objective_id)
    return [
        result(f"{objective_id}-{n}", objective=objective, finished_at=START - timedelta(hours=n))
        for n in range(count)
    ]


def ask(world: World, act: str, made: Configuration | None = None, **asked: Any) -> uuid.UUID:
    id = made.id if made else None
    return tasks.ask(world.state, "acme", act, asked, by=ANA, configuration_id=id).id


def ask_deliveries(world: World, act: str, **which: Any) -> uuid.UUID:
    chosen = DeliveryFilter(**which)
    asked = deliveries.asked_of(world.state, "acme", act, chosen)
    return ask(world, act, None, **asked)


def work_off(world: World) -> None:
    while tasks.work(world.state):
        pass


def task(world: World, id: uuid.UUID) -> Task:
    world.session.rollback()  # MariaDB would go on to show what was there
    return tasks.get(world.state, "acme", id)


def fill(world: World, made: Configuration, state: DeliveryState, count: int, **of: Any) -> None:
    rows = [delivery_values(made, state, world.now, **of) for _ in range(count)]
    world.session.execute(sa.insert(Delivery), rows)
    world.session.commit()


def links(world: World) -> list[str]:
    world.session.rollback()
    return list(world.session.scalars(sa.select(ObjectiveLink.objective_id)))


# -- each act ------------------------------------------------------------------------------------


def test_attaching_many_leaves_out_what_is_at_its_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "STEP", 190)
    world.state.settings = dataclasses.replace(world.state.settings, max_attached=1)
    full = [f"o{n}" for n in range(185, 200)]  # of two steps
    world.configurations.attach_many(world.configuration("First").id, full)
    made = world.configuration("Second")
    ids = [f"o{n}" for n in range(200)]
    id = ask(world, "backfill", made, ids=ids, objectives=ids, since=None)
    work_off(world)
    found = task(world, id)
    assert found.counts == {"objectives": 185, "left_out": 15}
    assert found.position["left_out"] == [f"Objective {n} (o{n})" for n in range(185, 195)]
    assert sorted(links(world)) == sorted(ids)  # each once


def test_attaching_and_detaching_many(world: World) -> None:
    made = world.configuration()
    ids = [f"o{n}" for n in range(200)] + ["ppe", "fire", "no-such"]
    world.configurations.attach(made.id, "o7")
    id = ask(world, "attach", made, ids=ids)
    assert task(world, id).total is None
    work_off(world)
    found = task(world, id)
    assert (found.total, found.done, found.counts) == (203, 203, {"objectives": 201})
    assert found.ended_at == world.now
    assert sorted(links(world)) == sorted(ids[:-1])
    assert world.history("attached")[-1].changes == {"objectives": 201}
    assert world.history("attached")[-1].administrator_name == "Ana Ruiz"

    fill(world, made, PENDING, 30, objective_id="o3")
    fill(world, made, PENDING, 5, objective_id="forklift")
    ask(world, "detach", made, ids=[*ids, "forklift-not-attached"], cancels=True)
    work_off(world)
    assert links(world) == []
    assert world.states() == {"cancelled": 30, "pending": 5}
    assert world.history("detached")[-1].changes == {"objectives": 202, "cancelled": 30}


def test_detaching_may_leave_what_waits(world: World) -> None:
    made = world.attach()
    fill(world, made, PENDING, 3)
    ask(world, "detach", made, ids=["ppe"], cancels=False)
    work_off(world)
    assert links(world) == []
    assert world.states() == {"pending": 3}


def test_an_id_that_differs_in_case_is_another_one(world: World) -> None:
    world.known["acme"] = [Objective(id=one, name=one) for one in ("aB", "ab")]
    made = world.attach(objective_id="aB")
    fill(world, made, PENDING, 1, objective_id="aB")
    fill(world, made, PENDING, 1, objective_id="ab")
    ask(world, "detach", made, ids=["ab"], cancels=True)
    work_off(world)
    assert links(world) == ["aB"]
    assert world.states() == {"cancelled": 1, "pending": 1}


def test_sending_again_and_cancelling_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "CHUNK", 100)
    made, other = world.configuration(), world.configuration("Other")
    fill(world, made, REJECTED, MANY)
    fill(world, other, REJECTED, 7)
    which = {"configuration_id": made.id, "states": [REJECTED], "since": world.later(days=-1)}
    id = ask_deliveries(world, "send_again", **which)
    fill(world, made, REJECTED, 3)  # after it was asked for
    work_off(world)
    assert task(world, id).failure is None
    assert task(world, id).counts == {"deliveries": MANY}
    assert world.states() == {"pending": MANY, "rejected": 10}
    assert set(world.rung) == {made.id}
    changes = world.history("sent_again")[-1].changes
    assert changes["deliveries"] == MANY
    assert changes["filter_states"] == ["rejected"]
    assert changes["filter_since"].startswith("2026-03-01")
    ask_deliveries(world, "cancel", states=[PENDING])
    work_off(world)
    assert world.states() == {"cancelled": MANY, "rejected": 10}


def test_checking_many_again(world: World) -> None:
    made = world.attach()
    nobody = Participant(id="E1", name="Tom Meyer")
    world.lms.record_many([result(f"r{n}", participant=nobody) for n in range(MANY)])
    assert world.states() == {"not_sent": MANY}
    world.participants["E1"] = Participant(id="E1", email="tom@acme.example")
    id = ask_deliveries(world, "check_again", configuration_id=made.id)
    work_off(world)
    assert task(world, id).counts["queued"] == MANY
    assert world.states() == {"pending": MANY}


def test_past_results_of_many_objectives_and_their_attaching(world: World) -> None:
    made = world.configuration()
    world.past = past(MANY) + past(3, "fire") + past(9, "forklift")
    ids = ["ppe", "fire"]
    id = ask(world, "backfill", made, ids=ids, objectives=ids, since=None)
    work_off(world)
    found = task(world, id)
    assert (found.total, found.done) == (MANY + 3, MANY + 3)
    assert found.counts == {"objectives": 2, "queued": MANY + 3, "not_sent": 0, "duplicates": 0}
    assert world.states() == {"pending": MANY + 3}
    assert sorted(links(world)) == ["fire", "ppe"]


# -- kills, claims, faults -----------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_kill_at_each_step_loses_nothing_and_does_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr("flask_lms.services.objectives.STEP", 50)
    made = world.attach()
    world.past = past(MANY)
    id = ask(world, "backfill", made, objectives=["ppe"], since=None)
    name = "update" if moment == "before the commit" else "_carry_out"
    real, steps_left, kills, seen = getattr(tasks, name), 0, 0, []

    def killed(*given: Any) -> Any:
        nonlocal steps_left, kills
        made = real(*given)
        # The second change of a step is the last before its commit.
        if name == "_carry_out" or "position" in str(given[1]):
            steps_left -= 1
            if not steps_left:
                kills += 1
                raise Killed
        return made

    monkeypatch.setattr(tasks, name, killed)
    while task(world, id).ended_at is None:
        steps_left = 1 + kills % 2  # each step is killed once, and then comes through
        with contextlib.suppress(Killed):
            tasks.work(world.state)
        world.session.rollback()
        assert task(world, id).ended_at or not tasks.work(world.state)  # it is still claimed
        seen.append(task(world, id).done)
        assert seen[-1] == len(world.rows())
        world.clock.advance(seconds=21)
    assert kills >= 7
    assert seen == sorted(seen)
    assert task(world, id).counts == {"queued": MANY, "not_sent": 0, "duplicates": 0}
    assert len({row.result_id for row in world.rows()}) == len(world.rows()) == MANY


def test_a_loader_that_changes_its_order_is_walked_from_its_beginning(world: World) -> None:
    made = world.attach()
    world.past = past(MANY)
    id = ask(world, "backfill", made, objectives=["ppe"], since=None)
    real, left = tasks._carry_out, iter([True, True, False])

    def once(*given: Any) -> None:
        real(*given)
        if not next(left):
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_carry_out", once)
        with pytest.raises(Killed):
            tasks.work(world.state)
    world.session.rollback()
    assert task(world, id).done == 400
    world.past.reverse()
    world.clock.advance(seconds=21)
    work_off(world)
    assert {row.result_id for row in world.rows()} == {one.id for one in world.past}
    assert task(world, id).counts["queued"] == MANY
    assert task(world, id).done == MANY


def test_who_was_stopped_past_its_claim_changes_nothing_any_more(world: World) -> None:
    made = world.attach()
    world.past = past(MANY)
    ask(world, "backfill", made, objectives=["ppe"], since=None)
    found = tasks._claim(world.state, None)
    assert found is not None
    walk = tasks._ACTS["backfill"].steps(world.state, found)
    tasks._carry_out(world.state, found, next(walk))
    step = next(walk)
    world.clock.advance(seconds=21)
    work_off(world)
    with pytest.raises(tasks._Lost):
        tasks._carry_out(world.state, found, step)
    assert world.states() == {"pending": MANY}


def test_a_stopped_task_keeps_what_is_done(world: World) -> None:
    made = world.attach()
    world.past = past(MANY)
    id = ask(world, "backfill", made, objectives=["ppe"], since=None)
    real = tasks._carry_out

    def stop(*given: Any) -> None:
        real(*given)
        if given[1].done:
            assert tasks.stop(world.state, "acme", id, ANA)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_carry_out", stop)
        work_off(world)
    assert world.states() == {"pending": steps.STEP}
    found = task(world, id)
    assert (found.stopped_by, found.failure) == ("Ana Ruiz", None)
    assert not tasks.stop(world.state, "acme", id, ANA)
    assert [row.changes["queued"] for row in world.history("backfilled")] == [steps.STEP]
    with pytest.raises(NotFound):
        tasks.stop(world.state, "other", id, ANA)


def test_a_loader_that_raises_is_tried_again_and_given_up_in_the_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    made = world.attach()
    world.lms.past_results_loader(lambda *given: 1 / 0, replace=True)
    id = ask(world, "backfill", made, objectives=["ppe"], since=None)
    for _ in range(5):
        assert task(world, id).ended_at is None
        assert tasks.work(world.state)
        assert not tasks.work(world.state)
        world.clock.advance(seconds=21)
    assert task(world, id).failure == "ZeroDivisionError: see the worker's log."


def test_a_configuration_deleted_meanwhile_ends_it_in_words(world: World) -> None:
    made = world.attach()
    world.past = past(3)
    id = ask(world, "backfill", made, objectives=["ppe"], since=None)
    world.configurations.delete(made.id)
    work_off(world)
    assert task(world, id).failure == "There is no such LMS configuration."
    assert not world.rows()


def test_a_short_task_does_not_wait_for_a_long_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_TURN_SECONDS", -1.0)
    monkeypatch.setattr("flask_lms.services.objectives.STEP", 50)
    made = world.attach()
    world.past = past(MANY)
    long = ask(world, "backfill", made, objectives=["ppe"], since=None)
    assert tasks.work(world.state)
    assert task(world, long).ended_at is not None  # nobody waits: it isn't given back
    long = ask(world, "backfill", made, objectives=["ppe"], since=None)
    short = ask(world, "attach", made, ids=["fire"])
    while task(world, short).ended_at is None:
        assert tasks.work(world.state)
    assert task(world, long).ended_at is None
    work_off(world)
    assert task(world, long).counts["duplicates"] == MANY


def test_several_workers_share_the_tasks(world: World) -> None:
    made = world.attach()
    world.past = past(100)
    for _ in range(4):
        ask(world, "backfill", made, objectives=["ppe"], since=None)

    def go() -> None:
        with world.app.app_context():
            for _ in range(20):
                with contextlib.suppress(sa.exc.OperationalError):
                    tasks.work(world.state)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.clock.advance(seconds=60)
    work_off(world)
    record_parked(world.state)  # what two of them recorded at once, as the ticker does it
    assert world.states() == {"pending": 100}
    assert {row.done for row in world.session.scalars(sa.select(Task))} == {100}


def test_a_burst_ends_tasks_and_sends_what_they_queue(tmp_path: Path, lrs: FakeLRS) -> None:
    with make_world(f"sqlite:///{tmp_path}/host.db") as world:
        with_past(world)
        made = world.attach(**lrs.settings)
        world.past = past(MANY)
        ask(world, "backfill", made, objectives=["ppe"], since=None)
        assert deliver(world.app).delivered == MANY


# -- SIGKILL -------------------------------------------------------------------------------------


def make(url: str, count: int) -> World:
    """The host of the killed workers; its loader reads a table of its own."""
    world = build_world(url)

    @world.lms.past_results_loader
    def past(
        organization_id: str, objective_id: str, since: datetime | None
    ) -> Iterator[ObjectiveResult]:
        for n in range(count):
            yield result(f"r{n}", participant=Participant(id=f"p{n % 999}@acme.example"))

    return world


def kill_them(url: str, count: int, kills: int, every: tuple[float, float]) -> str:
    """Back-fill while its worker is killed again and again; a line of figures."""
    world = make(url, count)
    with world.app.app_context():
        world.db.drop_all()
        world.db.create_all()
        enable_wal(world.db.engine)
        made = world.attach()
        id = ask(world, "backfill", made, objectives=["ppe"], since=None)
        world.session.rollback()
        chance, began, killed, seen = random.Random(7), time.monotonic(), 0, [0]
        process = start(url, count)
        try:
            while killed < kills:
                until(lambda: task(world, id).done > seen[-1] or task(world, id).ended_at, 60)
                time.sleep(chance.uniform(*every))
                if task(world, id).ended_at:
                    break
                process.send_signal(signal.SIGKILL)
                process.wait()
                world.session.rollback()
                killed += 1
                seen.append(task(world, id).done)
                assert world.deliveries.count() == seen[-1]
                # Not to wait for the end of its claim.
                world.session.execute(sa.update(Task).values(claimed_until=None))
                world.session.commit()
                process = start(url, count)
            until(lambda: task(world, id).ended_at, 300)
        finally:
            process.kill()
            process.wait()
        took = time.monotonic() - began
        found = task(world, id)
        assert (found.total, found.done) == (count, count)
        assert found.counts == {"queued": count, "not_sent": 0, "duplicates": 0}
        query = sa.select(sa.func.count(), sa.func.count(sa.distinct(Delivery.result_id)))
        assert tuple(world.session.execute(query).one()) == (count, count)
        world.db.session.remove()
        world.db.drop_all()
        for engine in world.db.engines.values():
            engine.dispose()
    return f"{count:,} past results, {killed} kills at {seen[1:]}, {took:.1f} s"


def start(url: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.engine.test_tasks", url, str(count)])


@pytest.mark.timeout(200)
def test_a_worker_that_is_killed_again_and_again_loses_nothing(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = kill_them(database_url, 4000, 5, (0.0, 0.25))
    with capsys.disabled():
        print(f"\n{said}")


if __name__ == "__main__":
    if sys.argv[1] == "by-hand":  # python -m tests.engine.test_tasks by-hand URL COUNT KILLS
        print(kill_them(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), (0.2, 2.0)))
        os._exit(0)
    tasks.run(make(sys.argv[1], int(sys.argv[2])).app)
