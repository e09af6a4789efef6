"""Recording in the host's transaction: the cases of the host contract."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import InvalidValue, Objective, Participant, result_recorded
from flask_lms.database.models import DeliveryState, ObjectiveLink
from tests.world import World, result

URL = "http://127.0.0.1:9/xapi"


@pytest.fixture
def rung(world: World) -> list[Any]:
    """The configurations for which a worker was woken."""
    calls: list[Any] = []
    world.state.wake.now = calls.extend
    return calls


def test_a_result_sent_inside_a_transaction_is_recorded_once_it_commits(
    world: World, rung: list[Any]
) -> None:
    configuration = world.attach(URL)
    rung.clear()
    world.db.session.add(world.note(text="the host's own row"))
    world.signal.send(world, result=result())
    assert rung == []
    world.db.session.commit()
    assert len(world.rows()) == 1
    assert rung == [configuration.id]


def test_a_result_rolled_back_by_the_host_is_never_sent(world: World, rung: list[Any]) -> None:
    world.attach(URL)
    rung.clear()
    world.db.session.add(world.note(text="the host's own row"))
    world.signal.send(world, result=result())
    world.db.session.rollback()
    assert world.rows() == []
    assert rung == []


def test_a_result_sent_after_the_commit_commits_by_itself(world: World, rung: list[Any]) -> None:
    configuration = world.attach(URL)
    rung.clear()
    note = world.note(text="the host's own row")
    world.db.session.add(note)
    world.db.session.commit()
    assert note.text  # the host reads again: a transaction, but not a writing one
    world.signal.send(world, result=result())
    world.db.session.rollback()
    assert len(world.rows()) == 1
    assert rung == [configuration.id]


def test_a_result_sent_with_no_transaction_commits_by_itself(world: World, rung: list[Any]) -> None:
    expected = [world.attach(URL).id]
    rung.clear()
    world.db.session.remove()
    world.signal.send(world, result=result())
    world.db.session.remove()
    assert len(world.rows()) == 1
    assert rung == expected


def test_a_result_in_a_savepoint_that_is_rolled_back_is_never_sent(
    world: World, rung: list[Any]
) -> None:
    world.attach(URL)
    rung.clear()
    world.db.session.add(world.note(text="kept"))
    world.db.session.flush()
    with pytest.raises(RuntimeError), world.db.session.begin_nested():
        world.signal.send(world, result=result())
        raise RuntimeError("the host gives up")
    world.db.session.commit()
    assert world.rows() == []
    assert rung == []
    assert world.db.session.scalar(sa.select(sa.func.count(world.note.id))) == 1


def test_a_result_in_a_savepoint_rings_only_after_the_root_commit(
    world: World, rung: list[Any]
) -> None:
    world.attach(URL)
    rung.clear()
    world.db.session.add(world.note(text="kept"))
    world.db.session.flush()
    with world.db.session.begin_nested():
        world.signal.send(world, result=result())
    assert rung == []
    world.db.session.commit()
    assert len(world.rows()) == 1
    assert len(rung) == 1


@pytest.mark.filterwarnings("error")
def test_a_result_sent_inside_after_insert_is_recorded_once_without_a_warning(
    world: World, rung: list[Any]
) -> None:
    world.attach(URL)
    rung.clear()

    def inserted(mapper: Any, connection: Any, target: Any) -> None:
        world.signal.send(world, result=result())

    sa.event.listen(world.note, "after_insert", inserted)
    world.db.session.add(world.note(text="the host's own row"))
    world.db.session.commit()
    sa.event.remove(world.note, "after_insert", inserted)
    assert len(world.rows()) == 1
    assert len(rung) == 1


def test_a_result_sent_inside_after_commit_commits_by_itself(world: World, rung: list[Any]) -> None:
    world.attach(URL)
    rung.clear()

    def committed(session: Any) -> None:
        if not world.db.session.info.get("sent"):
            world.db.session.info["sent"] = True
            world.signal.send(world, result=result())

    sa.event.listen(world.db.session(), "after_commit", committed)
    world.db.session.add(world.note(text="the host's own row"))
    world.db.session.commit()
    sa.event.remove(world.db.session(), "after_commit", committed)
    assert len(world.rows()) == 1
    assert len(rung) == 1


def test_a_result_in_an_explicit_transaction_goes_with_it(world: World) -> None:
    world.attach(URL)
    world.db.session.remove()
    with pytest.raises(RuntimeError), world.db.session.begin():
        world.lms.record(result())
        raise RuntimeError("the host gives up")
    assert world.rows() == []


def test_a_result_joined_to_a_transaction_that_is_never_committed_is_an_error_in_the_log(
    world: World, rung: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    world.attach(URL)
    rung.clear()
    world.db.session.add(world.note(text="never committed"))
    world.signal.send(world, result=result("forgotten"))
    with caplog.at_level(logging.ERROR):
        world.db.session.remove()  # as at the end of a request
    assert "Result forgotten was recorded" in caplog.text
    assert "without a commit" in caplog.text
    assert world.rows() == []
    assert rung == []


def test_the_same_result_again_is_nothing_new(world: World) -> None:
    world.attach(URL)
    assert world.lms.record(result()).queued == 1
    again = world.lms.record(result())
    assert (again.queued, again.duplicates) == (0, 1)
    assert len(world.rows()) == 1


def test_a_higher_revision_is_a_new_statement_and_voids_the_old_one(world: World) -> None:
    world.attach(URL)
    world.lms.record(result())
    assert world.lms.record(result(revision=1, success=False)).queued == 2
    kinds = [delivery.kind for delivery in world.rows()]
    assert sorted(kinds) == ["result", "result", "void"]
    assert world.lms.record(result(revision=0)).duplicates == 1
    void = next(d for d in world.rows() if d.kind == "void")
    assert void.is_single


def test_a_participant_without_an_email_address_is_kept_as_not_sent(world: World) -> None:
    world.attach(URL)
    recorded = world.lms.record(result(participant=Participant(id="E001")))
    assert recorded.queued == 0
    assert [item.reason for item in recorded.not_sent] == ["no_email"]
    [delivery] = world.rows()
    assert delivery.state is DeliveryState.NOT_SENT
    assert delivery.statement is None


def test_ids_are_filled_in_by_the_hosts_loaders(world: World) -> None:
    world.attach(URL)
    world.participants["E007"] = Participant(id="E007", email="mo@acme.example", name="Mo")
    world.lms.record(result(objective="ppe", participant="E007"))
    [delivery] = world.rows()
    assert delivery.statement is not None
    assert "mailto:mo@acme.example" in delivery.statement
    assert "Put on PPE" in delivery.statement


def test_an_unknown_objective_is_refused_and_nothing_is_written(world: World) -> None:
    world.attach(URL, objective_id="ppe")
    configuration = world.lms.configurations.list("acme")[0]
    world.db.session.add(
        ObjectiveLink(
            organization_id="acme",
            configuration_id=configuration.id,
            objective_id="gone",
            attached_at=world.state.clock.now(world.db.session()),
        )
    )
    world.db.session.commit()
    with pytest.raises(InvalidValue, match="must exist in that organization"):
        world.lms.record(result(objective="gone"))
    assert world.rows() == []


def test_a_result_of_another_organization_does_not_reach_this_ones_lms(world: World) -> None:
    world.attach(URL)
    assert world.lms.record(result(organization_id="globex")).queued == 0
    assert world.rows() == []


def test_an_objective_without_a_configuration_records_nothing(world: World) -> None:
    world.attach(URL)
    other = result(objective=Objective(id="fire", name="Fire Safety"))
    assert world.lms.record(other).queued == 0


def test_recording_costs_one_select_and_one_insert(world: World) -> None:
    world.attach(URL)
    world.db.session.remove()
    seen: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        # MariaDB: the same statement, told not to wait for locks.
        seen.append(
            statement.partition(" FOR ")[2].split()[0]
            if "SET STATEMENT" in statement
            else statement.split()[0]
        )

    sa.event.listen(world.db.engine, "before_cursor_execute", note)
    world.lms.record_many([result(f"r{n}") for n in range(20)])
    sa.event.remove(world.db.engine, "before_cursor_execute", note)
    assert seen == ["SELECT", "INSERT"]
    assert len(world.rows()) == 20


def test_a_receiver_that_raises_is_logged_and_the_hosts_signal_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    later: list[object] = []

    def receive(sender: object, **sent: object) -> None:
        later.append(sender)

    world.signal.connect(receive, weak=False)
    world.signal.send("not a result", result=42)
    assert "the result was not recorded" in caplog.text
    assert later == ["not a result"]


def test_the_host_is_told_after_the_commit(world: World) -> None:
    world.attach(URL)
    told: list[Any] = []

    def receive(sender: object, event: Any) -> None:
        told.append(event)

    with result_recorded.connected_to(receive):
        world.db.session.add(world.note(text="x"))
        world.lms.record(result())
        assert told == []
        world.db.session.commit()
    assert [event.result_id for event in told] == ["r1"]


def test_a_paused_configuration_still_records(world: World) -> None:
    configuration = world.attach(URL)
    world.lms.configurations.pause(configuration.id)
    assert world.lms.record(result()).queued == 1


def test_a_deleted_configuration_records_nothing(world: World) -> None:
    configuration = world.attach(URL)
    world.lms.configurations.delete(configuration.id)
    assert world.lms.record(result()).queued == 0


def test_a_revision_of_a_result_that_was_never_sent_voids_nothing(world: World) -> None:
    configuration = world.attach(URL)
    world.lms.record(result(participant=Participant(id="E001")))
    recorded = world.lms.record(result(revision=1))
    assert recorded.queued == 1
    assert [delivery.kind for delivery in world.rows()] == ["result", "result"]
    assert world.lms.record(result(revision=2)).queued == 2

    world.participants["E001"] = Participant(id="E001", email="mo@acme.example")
    checked = world.lms.deliveries.check_again(configuration_id=configuration.id)
    assert (checked.queued, checked.not_wanted) == (0, 1)  # it would undo the correction
