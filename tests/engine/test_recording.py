"""Recording in the host's transaction: the cases of the host contract."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import InvalidValue, Objective, Participant, result_recorded
from flask_lms.database.models import DeliveryState
from flask_lms.services.deliveries import Filters
from tests.host import Host, result

URL = "http://127.0.0.1:9/xapi"


@pytest.fixture
def rung(host: Host) -> list[Any]:
    """The configurations for which a worker was woken."""
    calls: list[Any] = []
    host.state.wake.now = calls.extend
    return calls


def test_a_result_sent_inside_a_transaction_is_recorded_once_it_commits(
    host: Host, rung: list[Any]
) -> None:
    configuration = host.attach(URL)
    rung.clear()
    host.db.session.add(host.note(text="the host's own row"))
    host.signal.send(host, result=result())
    assert rung == []
    host.db.session.commit()
    assert len(host.deliveries()) == 1
    assert rung == [configuration.id]


def test_a_result_rolled_back_by_the_host_is_never_sent(host: Host, rung: list[Any]) -> None:
    host.attach(URL)
    rung.clear()
    host.db.session.add(host.note(text="the host's own row"))
    host.signal.send(host, result=result())
    host.db.session.rollback()
    assert host.deliveries() == []
    assert rung == []


def test_a_result_sent_after_the_commit_commits_by_itself(host: Host, rung: list[Any]) -> None:
    configuration = host.attach(URL)
    rung.clear()
    note = host.note(text="the host's own row")
    host.db.session.add(note)
    host.db.session.commit()
    assert note.text  # the host reads again: a transaction, but not a writing one
    host.signal.send(host, result=result())
    host.db.session.rollback()
    assert len(host.deliveries()) == 1
    assert rung == [configuration.id]


def test_a_result_sent_with_no_transaction_commits_by_itself(host: Host, rung: list[Any]) -> None:
    expected = [host.attach(URL).id]
    rung.clear()
    host.db.session.remove()
    host.signal.send(host, result=result())
    host.db.session.remove()
    assert len(host.deliveries()) == 1
    assert rung == expected


def test_a_result_in_a_savepoint_that_is_rolled_back_is_never_sent(
    host: Host, rung: list[Any]
) -> None:
    host.attach(URL)
    rung.clear()
    host.db.session.add(host.note(text="kept"))
    host.db.session.flush()
    with pytest.raises(RuntimeError), host.db.session.begin_nested():
        host.signal.send(host, result=result())
        raise RuntimeError("the host gives up")
    host.db.session.commit()
    assert host.deliveries() == []
    assert rung == []
    assert host.db.session.scalar(sa.select(sa.func.count(host.note.id))) == 1


def test_a_result_in_a_savepoint_rings_only_after_the_root_commit(
    host: Host, rung: list[Any]
) -> None:
    host.attach(URL)
    rung.clear()
    host.db.session.add(host.note(text="kept"))
    host.db.session.flush()
    with host.db.session.begin_nested():
        host.signal.send(host, result=result())
    assert rung == []
    host.db.session.commit()
    assert len(host.deliveries()) == 1
    assert len(rung) == 1


@pytest.mark.filterwarnings("error")
def test_a_result_sent_inside_after_insert_is_recorded_once_without_a_warning(
    host: Host, rung: list[Any]
) -> None:
    host.attach(URL)
    rung.clear()

    def inserted(mapper: Any, connection: Any, target: Any) -> None:
        host.signal.send(host, result=result())

    sa.event.listen(host.note, "after_insert", inserted)
    host.db.session.add(host.note(text="the host's own row"))
    host.db.session.commit()
    sa.event.remove(host.note, "after_insert", inserted)
    assert len(host.deliveries()) == 1
    assert len(rung) == 1


def test_a_result_sent_inside_after_commit_commits_by_itself(host: Host, rung: list[Any]) -> None:
    host.attach(URL)
    rung.clear()

    def committed(session: Any) -> None:
        if not host.db.session.info.get("sent"):
            host.db.session.info["sent"] = True
            host.signal.send(host, result=result())

    sa.event.listen(host.db.session(), "after_commit", committed)
    host.db.session.add(host.note(text="the host's own row"))
    host.db.session.commit()
    sa.event.remove(host.db.session(), "after_commit", committed)
    assert len(host.deliveries()) == 1
    assert len(rung) == 1


def test_a_result_in_an_explicit_transaction_goes_with_it(host: Host) -> None:
    host.attach(URL)
    host.db.session.remove()
    with pytest.raises(RuntimeError), host.db.session.begin():
        host.lms.record(result())
        raise RuntimeError("the host gives up")
    assert host.deliveries() == []


def test_a_result_joined_to_a_transaction_that_is_never_committed_is_an_error_in_the_log(
    host: Host, rung: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    host.attach(URL)
    rung.clear()
    host.db.session.add(host.note(text="never committed"))
    host.signal.send(host, result=result("forgotten"))
    with caplog.at_level(logging.ERROR):
        host.db.session.remove()  # as at the end of a request
    assert "Result forgotten was recorded" in caplog.text
    assert "without a commit" in caplog.text
    assert host.deliveries() == []
    assert rung == []


def test_the_same_result_again_is_nothing_new(host: Host) -> None:
    host.attach(URL)
    assert host.lms.record(result()).queued == 1
    again = host.lms.record(result())
    assert (again.queued, again.duplicates) == (0, 1)
    assert len(host.deliveries()) == 1


def test_a_higher_revision_is_a_new_statement_and_voids_the_old_one(host: Host) -> None:
    host.attach(URL)
    host.lms.record(result())
    assert host.lms.record(result(revision=1, success=False)).queued == 2
    kinds = [delivery.kind for delivery in host.deliveries()]
    assert sorted(kinds) == ["result", "result", "void"]
    assert host.lms.record(result(revision=0)).duplicates == 1
    void = next(d for d in host.deliveries() if d.kind == "void")
    assert void.is_single


def test_a_participant_without_an_email_address_is_kept_as_not_sent(host: Host) -> None:
    host.attach(URL)
    recorded = host.lms.record(result(participant=Participant(id="E001")))
    assert recorded.queued == 0
    assert [item.reason for item in recorded.not_sent] == ["no_email"]
    [delivery] = host.deliveries()
    assert delivery.state is DeliveryState.NOT_SENT
    assert delivery.statement is None


def test_ids_are_filled_in_by_the_hosts_loaders(host: Host) -> None:
    host.attach(URL)
    host.participants["E007"] = Participant(id="E007", email="mo@acme.example", name="Mo")
    host.lms.record(result(objective="ppe", participant="E007"))
    [delivery] = host.deliveries()
    assert delivery.statement is not None
    assert "mailto:mo@acme.example" in delivery.statement
    assert "Put on PPE" in delivery.statement


def test_an_unknown_objective_is_refused_and_nothing_is_written(host: Host) -> None:
    host.attach(URL, objective_id="ppe")
    configuration = host.lms.configurations.list("acme")[0]
    from flask_lms.database.models import ObjectiveLink

    host.db.session.add(
        ObjectiveLink(
            organization_id="acme",
            configuration_id=configuration.id,
            objective_id="gone",
            attached_at=host.state.clock.now(host.db.session()),
        )
    )
    host.db.session.commit()
    with pytest.raises(InvalidValue, match="must exist in that organization"):
        host.lms.record(result(objective="gone"))
    assert host.deliveries() == []


def test_a_result_of_another_organization_does_not_reach_this_ones_lms(host: Host) -> None:
    host.attach(URL)
    assert host.lms.record(result(organization_id="globex")).queued == 0
    assert host.deliveries() == []


def test_an_objective_without_a_configuration_records_nothing(host: Host) -> None:
    host.attach(URL)
    other = result(objective=Objective(id="fire", name="Fire Safety"))
    assert host.lms.record(other).queued == 0


def test_recording_costs_one_select_and_one_insert(host: Host) -> None:
    host.attach(URL)
    host.db.session.remove()
    seen: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement.split()[0])

    sa.event.listen(host.db.engine, "before_cursor_execute", note)
    host.lms.record_many([result(f"r{n}") for n in range(20)])
    sa.event.remove(host.db.engine, "before_cursor_execute", note)
    assert seen == ["SELECT", "INSERT"]
    assert len(host.deliveries()) == 20


def test_a_receiver_that_raises_is_logged_and_the_hosts_signal_goes_on(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    later: list[object] = []

    def receive(sender: object, **sent: object) -> None:
        later.append(sender)

    host.signal.connect(receive, weak=False)
    host.signal.send("not a result", result=42)
    assert "the result was not recorded" in caplog.text
    assert later == ["not a result"]


def test_the_host_is_told_after_the_commit(host: Host) -> None:
    host.attach(URL)
    told: list[Any] = []

    def receive(sender: object, event: Any) -> None:
        told.append(event)

    with result_recorded.connected_to(receive):
        host.db.session.add(host.note(text="x"))
        host.lms.record(result())
        assert told == []
        host.db.session.commit()
    assert [event.result_id for event in told] == ["r1"]


def test_a_paused_configuration_still_records(host: Host) -> None:
    configuration = host.attach(URL)
    host.lms.configurations.pause(configuration.id)
    assert host.lms.record(result()).queued == 1


def test_a_deleted_configuration_records_nothing(host: Host) -> None:
    configuration = host.attach(URL)
    host.lms.configurations.delete(configuration.id)
    assert host.lms.record(result()).queued == 0


def test_a_revision_of_a_result_that_was_never_sent_voids_nothing(host: Host) -> None:
    configuration = host.attach(URL)
    host.lms.record(result(participant=Participant(id="E001")))
    recorded = host.lms.record(result(revision=1))
    assert recorded.queued == 1
    assert [delivery.kind for delivery in host.deliveries()] == ["result", "result"]
    assert host.lms.record(result(revision=2)).queued == 2

    host.participants["E001"] = Participant(id="E001", email="mo@acme.example")
    checked = host.lms.deliveries.check_again(Filters(configuration_id=configuration.id))
    assert (checked.queued, checked.not_wanted) == (0, 1)  # it would undo the correction
