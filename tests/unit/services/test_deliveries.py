"""Deliveries listed, counted, sent again, checked again and cancelled."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import NotFound, Participant
from flask_lms.database.models import Attempt, Delivery, DeliveryState
from flask_lms.database.types import new_id
from flask_lms.services import deliveries
from flask_lms.services.deliveries import Deliveries, DeliveryFilter
from tests.world import ANA, World, result

EVERY: DeliveryFilter = {"states": list(DeliveryState)}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "CHUNK", 3)


def test_a_list_is_newest_first_and_pages_without_gaps(world: World) -> None:
    made = world.configuration()
    rows = [world.delivery(made).id for _ in range(7)]
    first = world.deliveries.list(limit=3)
    second = world.deliveries.list(before=first.next, limit=3)
    third = world.deliveries.list(before=second.next, limit=3)
    seen = [row.id for part in (first, second, third) for row in part.items]
    assert seen == rows[::-1]
    assert third.next is None


def test_each_filter_finds_its_own(world: World) -> None:
    one, two = world.configuration("One"), world.configuration("Two")
    plain = world.delivery(one)
    fire = world.delivery(one, objective_id="fire")
    max_ = world.delivery(one, participant_id="E001", participant_name="Max 100% Müller")
    rejected = world.delivery(two, DeliveryState.REJECTED, reason="rejected")
    old = world.delivery(two, at=world.later(days=-3), id=_id_at(world, days=-3))

    def found(**filters: object) -> set[uuid.UUID]:
        return {row.id for row in world.deliveries.list(**filters).items}  # type: ignore[arg-type]

    assert found() == {row.id for row in (plain, fire, max_, rejected, old)}
    assert found(configuration_id=one.id) == {plain.id, fire.id, max_.id}
    assert found(configuration_id=str(two.id)) == {rejected.id, old.id}
    assert found(states=(DeliveryState.REJECTED, DeliveryState.NOT_SENT)) == {rejected.id}
    assert found(states=("pending",), configuration_id=two.id) == {old.id}
    assert found(objective_id="fire") == {fire.id}
    assert found(search="E001") == {max_.id}
    assert found(participant_id="E001") == {max_.id}
    assert found(participant_id="E00") == found(participant_id="JANE@acme.example") == set()
    assert found(state="rejected") == {rejected.id}
    assert found(state="rejected", states=["pending"]) == found()
    assert found(ids=[]) == found(states=[]) == set()
    assert found(ids=None, states=None, reason="", search=None) == found()
    assert found(search="100% mü") == {max_.id}
    assert found(search="%") == {max_.id}
    assert found(search="JANE") == {plain.id, fire.id, rejected.id, old.id}
    assert found(reason="rejected") == {rejected.id}
    assert found(since=world.later(days=-1)) == {plain.id, fire.id, max_.id, rejected.id}
    assert found(until=world.later(days=-1)) == {old.id}
    assert found(ids=[plain.id, str(fire.id)]) == {plain.id, fire.id}
    assert world.deliveries.count(configuration_id=one.id) == 3


def _id_at(world: World, **span: float) -> uuid.UUID:
    milliseconds = int(world.later(**span).timestamp() * 1000)
    return uuid.UUID(int=(milliseconds << 80) | (new_id().int & (2**80 - 1)))


@pytest.fixture(autouse=True)
def ids_by_the_desks_clock(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Ids are made by the host's clock; let it be the fixed one."""
    counter = iter(range(1, 2**30))

    def made() -> uuid.UUID:
        milliseconds = int(world.clock.time.timestamp() * 1000)
        return uuid.UUID(int=(milliseconds << 80) | next(counter))

    monkeypatch.setattr("tests.world.new_id", made)


def test_another_organizations_deliveries_are_never_found(world: World) -> None:
    row = world.delivery(world.configuration())
    others = Deliveries(world.state, "ACME")
    with pytest.raises(NotFound):
        others.get(row.id)
    everything = DeliveryFilter(ids=[row.id], configuration_id=row.configuration_id)
    assert others.list().items == []
    assert list(others.iterate(**everything)) == []
    assert others.count(**everything) == 0
    assert others.send_again(**everything) == 0
    assert others.cancel(**everything) == 0
    assert others.check_again(**everything).checked == 0
    assert others.count_sendable(**everything) == others.count_cancellable(**everything) == 0
    assert others.counts(row.configuration_id)[DeliveryState.PENDING] == 0
    assert world.deliveries.get(row.id).state is DeliveryState.PENDING
    assert [one.action for one in world.history()] == ["created"]


def test_an_act_without_a_filter_is_refused_and_never_means_all(world: World) -> None:
    row = world.delivery(world.configuration())
    service = world.deliveries
    for act in (service.cancel, service.send_again, service.check_again):
        with pytest.raises(TypeError, match="say which deliveries"):
            act(by=ANA)
        with pytest.raises(TypeError, match="say which deliveries"):
            act(configuration_id=None, reason="", by=ANA)
        with pytest.raises(TypeError, match="no filter participant"):
            act(participant="jane")  # type: ignore[call-arg]
    assert service.cancel(ids=[]) == 0
    assert service.get(row.id).state is DeliveryState.PENDING
    assert service.cancel(ids=[row.id]) == 1


def test_a_malformed_id_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.deliveries.get("../etc/passwd")
    with pytest.raises(NotFound):
        world.deliveries.list(configuration_id="nonsense")


def test_iterating_gives_each_row_once_in_chunks(world: World, small_chunks: None) -> None:
    made = world.configuration()
    rows = [world.delivery(made).id for _ in range(8)]
    assert [row.id for row in world.deliveries.iterate()] == rows[::-1]


def test_counts_are_by_state_with_zeros(world: World) -> None:
    one, two = world.configuration("One"), world.configuration("Two")
    world.delivery(one), world.delivery(one), world.delivery(two, DeliveryState.REJECTED)
    assert world.deliveries.counts() == {
        DeliveryState.PENDING: 2,
        DeliveryState.DELIVERED: 0,
        DeliveryState.REJECTED: 1,
        DeliveryState.NOT_SENT: 0,
        DeliveryState.CANCELLED: 0,
        DeliveryState.SUPERSEDED: 0,
    }
    assert world.deliveries.counts(two.id)[DeliveryState.PENDING] == 0


def test_the_attempts_of_a_delivery_are_those_that_carried_it(world: World) -> None:
    made = world.configuration()
    row, other = world.delivery(made), world.delivery(made)

    def attempt(after: float, *ids: uuid.UUID) -> Attempt:
        return Attempt(
            configuration_id=made.id,
            started_at=world.later(seconds=after),
            duration_ms=12,
            statements=len(ids),
            delivery_ids=",".join(id.hex for id in ids),
            size=100,
            verdict="failed",
        )

    second, first = attempt(60, row.id, other.id), attempt(1, other.id, row.id)
    world.db.session.add_all([second, first, attempt(2, other.id)])
    world.db.session.commit()
    assert [one.id for one in world.deliveries.attempts(row)] == [first.id, second.id]


# -- send again -----------------------------------------------------------------------------------


def test_send_again_sends_the_same_bytes_of_what_has_them(world: World, small_chunks: None) -> None:
    made = world.configuration()
    again = [
        world.delivery(
            made, state, refusals=6, reason="rejected", reason_words="no", settled_by="x"
        )
        for state in (DeliveryState.REJECTED, DeliveryState.CANCELLED, DeliveryState.DELIVERED) * 3
    ]
    left = [
        world.delivery(made, DeliveryState.NOT_SENT, statement=None),
        world.delivery(made, DeliveryState.CANCELLED, statement=None),
        world.delivery(made),
    ]
    statements = {row.id: row.statement_id for row in again}
    world.clock.advance(hours=1)
    progress: list[int] = []
    assert world.deliveries.count_sendable() == 9
    assert world.deliveries.send_again(**EVERY, by=ANA, on_progress=progress.append) == 9
    assert progress == [3, 6, 9]
    for row in again:
        now = world.deliveries.get(row.id)
        assert (now.state, now.due_at, now.refusals) == (DeliveryState.PENDING, world.clock.time, 0)
        assert (now.reason, now.reason_words, now.settled_at, now.settled_by) == (None,) * 4
        assert (now.statement, now.statement_id) == ('{"id": "x"}', statements[row.id])
    states = [world.deliveries.get(row.id).state for row in left]
    assert states == [DeliveryState.NOT_SENT, DeliveryState.CANCELLED, DeliveryState.PENDING]
    assert world.rung == [made.id]
    [row] = world.history("sent_again")
    assert (row.changes, row.administrator_name) == ({"deliveries": 9}, "Ana Ruiz")


def test_send_again_keeps_to_the_states_that_were_chosen(world: World) -> None:
    made = world.configuration()
    rejected, sent = (
        world.delivery(made, DeliveryState.REJECTED),
        world.delivery(made, DeliveryState.DELIVERED),
    )
    chosen = DeliveryFilter(
        configuration_id=made.id, states=(DeliveryState.REJECTED, DeliveryState.PENDING)
    )
    assert world.deliveries.send_again(**chosen, by=ANA) == 1
    assert world.deliveries.get(rejected.id).state is DeliveryState.PENDING
    assert world.deliveries.get(sent.id).state is DeliveryState.DELIVERED
    assert world.deliveries.send_again(states=(DeliveryState.PENDING,)) == 0
    [row] = world.history("sent_again")
    assert row.configuration_id == made.id
    assert row.changes == {"deliveries": 1, "filter_states": ["rejected", "pending"]}


def test_nothing_of_a_deleted_configuration_is_sent_again(world: World) -> None:
    made = world.configuration()
    world.delivery(made, DeliveryState.REJECTED)
    world.configurations.delete(made.id)
    assert world.deliveries.send_again(**EVERY) == 0


def test_an_operator_over_all_organizations_leaves_each_its_own_history(world: World) -> None:
    world.delivery(world.configuration(), DeliveryState.REJECTED)
    world.organization_id = "globex"
    world.delivery(world.configuration(), DeliveryState.REJECTED)
    assert Deliveries(world.state).send_again(**EVERY, by="operator") == 2
    assert {row.organization_id for row in world.history("sent_again")} == {"acme", "globex"}


def test_a_break_in_the_middle_leaves_a_trace_of_what_was_done(
    world: World, small_chunks: None
) -> None:
    made = world.configuration()
    for _ in range(7):
        world.delivery(made, DeliveryState.REJECTED)

    def stop(done: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.deliveries.send_again(**EVERY, by=ANA, on_progress=stop)
    assert world.history("sent_again")[0].changes["deliveries"] == 6
    assert world.deliveries.counts()[DeliveryState.PENDING] == 6


# -- cancel ---------------------------------------------------------------------------------------


def test_cancel_takes_what_waits_or_cannot_be_sent(world: World) -> None:
    made = world.configuration()
    waiting, unsent = (
        world.delivery(made),
        world.delivery(made, DeliveryState.NOT_SENT, statement=None),
    )
    sent, rejected = (
        world.delivery(made, DeliveryState.DELIVERED),
        world.delivery(made, DeliveryState.REJECTED),
    )
    assert world.deliveries.count_cancellable() == 2
    assert world.deliveries.cancel(**EVERY, by=ANA) == 2
    assert [world.deliveries.get(r.id).state for r in (waiting, unsent, sent, rejected)] == [
        DeliveryState.CANCELLED,
        DeliveryState.CANCELLED,
        DeliveryState.DELIVERED,
        DeliveryState.REJECTED,
    ]
    assert world.deliveries.get(waiting.id).settled_by == "Ana Ruiz"
    assert world.rung == []


def test_what_was_delivered_between_the_look_and_the_cancel_stays_delivered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.configuration()
    waiting, sent = world.delivery(made), world.delivery(made)
    found = Deliveries._chunks

    def chunks(*args: Any) -> Iterator[Sequence[uuid.UUID]]:
        for ids in found(*args):
            world.deliveries.get(sent.id).state = DeliveryState.DELIVERED
            world.db.session.commit()
            yield ids

    monkeypatch.setattr(Deliveries, "_chunks", chunks)
    assert world.deliveries.cancel(**EVERY, by=ANA) == 1
    assert world.deliveries.get(sent.id).state is DeliveryState.DELIVERED
    assert world.deliveries.get(waiting.id).state is DeliveryState.CANCELLED


# -- check again ----------------------------------------------------------------------------------


def test_a_corrected_address_is_picked_up(world: World) -> None:
    made = world.configuration()
    world.configurations.attach(made.id, "ppe")
    recorded = world.lms.record(result(participant=Participant(id="E001", name="Max")))
    assert [one.reason for one in recorded.not_sent] == ["no_email"]
    [row] = world.deliveries.list().items
    planned = row.statement_id
    still = world.deliveries.check_again(**EVERY, by=ANA)
    assert (still.queued, still.still_not_sent) == (0, 1)
    world.rung.clear()

    world.participants["E001"] = Participant(id="E001", email="max@acme.example", name="Max")
    world.clock.advance(hours=1)
    assert world.deliveries.count_checkable() == 1
    done = world.deliveries.check_again(ids=[row.id], by=ANA)
    assert (done.queued, done.still_not_sent) == (1, 0)
    now = world.deliveries.get(row.id)
    assert (now.state, now.due_at, now.reason, now.result) == (
        DeliveryState.PENDING,
        world.clock.time,
        None,
        None,
    )
    assert now.statement_id == planned
    statement = json.loads(now.statement or "")
    assert statement["id"] == str(planned)
    assert statement["actor"]["mbox"] == "mailto:max@acme.example"
    assert now.size == len((now.statement or "").encode())
    assert world.rung == [made.id]
    assert [row.action for row in world.history("checked_again")] == ["checked_again"] * 2


def test_all_statements_of_a_corrected_result_are_queued(world: World) -> None:
    made = world.configuration(
        settings={
            "url": "https://lrs.example.org/xapi",
            "key": "k",
            "secret": "s",
            "send_completed": True,
        }
    )
    world.configurations.attach(made.id, "ppe")
    world.lms.record(result(participant=Participant(id="E001")))
    world.participants["E001"] = Participant(id="E001", email="max@acme.example")
    assert world.deliveries.check_again(**EVERY).queued == 1
    rows = world.deliveries.list().items
    assert {row.kind for row in rows} == {"result", "completed"}
    assert {row.state for row in rows} == {DeliveryState.PENDING}
    assert len({row.statement_id for row in rows}) == 2


def test_a_result_that_is_no_longer_kept_stays_not_sent(world: World) -> None:
    row = world.delivery(
        world.configuration(), DeliveryState.NOT_SENT, statement=None, reason="no_email"
    )
    done = world.deliveries.check_again(**EVERY)
    assert (done.queued, done.still_not_sent) == (0, 1)
    assert world.deliveries.get(row.id).state is DeliveryState.NOT_SENT


def test_a_result_that_is_no_longer_wanted_is_cancelled(world: World) -> None:
    made = world.configuration()
    world.configurations.attach(made.id, "ppe")
    world.lms.record(result(success=False, participant=Participant(id="E001")))
    world.configurations.update(made.id, settings={"results": "passed"})
    done = world.deliveries.check_again(**EVERY)
    assert (done.queued, done.still_not_sent, done.not_wanted) == (0, 0, 1)
    [row] = world.deliveries.list().items
    assert (row.state, row.reason) == (DeliveryState.CANCELLED, "not_wanted")


def test_listing_costs_one_query_however_many_rows(world: World) -> None:
    made = world.configuration()
    for _ in range(20):
        world.delivery(made)
    world.db.session.rollback()
    seen: list[str] = []

    def count(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    sa.event.listen(world.db.engine, "before_cursor_execute", count)
    items = world.deliveries.list().items
    assert [row.participant_name for row in items] == ["Jane Doe"] * 20
    assert len(seen) == 1


def test_an_unknown_state_is_an_error_of_the_caller(world: World) -> None:
    with pytest.raises(ValueError, match="sending"):
        world.deliveries.list(states=("sending",))  # type: ignore[arg-type]


def test_a_participants_rows_are_found_by_part_of_the_name_when_no_id_is_alike(
    world: World,
) -> None:
    made = world.configuration()
    by_id = world.delivery(made, participant_id="doe", participant_name="Someone")
    world.delivery(made, participant_name="John Doe")
    assert [row.id for row in world.deliveries.list(search="doe").items] == [by_id.id]
    assert len(world.deliveries.list(search="Doe").items) == 2


def test_deliveries_in_the_far_past_are_old(world: World) -> None:
    made = world.configuration()
    row = world.delivery(made)
    filters = DeliveryFilter(until=row.recorded_at + timedelta(seconds=1))
    assert world.deliveries.count(**filters) == 1
    assert world.db.session.scalar(sa.select(sa.func.count()).select_from(Delivery)) == 1


def test_a_search_through_many_rows_stops_early_and_says_how_far_it_came(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_FIRST_WINDOW", 3)
    monkeypatch.setattr(deliveries, "_NEXT_WINDOW", 5)
    made = world.configuration()
    oldest = world.delivery(made, participant_name="Zoë Rare", at=world.later(minutes=-1))
    for _ in range(6):
        world.delivery(made)
    newest = world.delivery(made, participant_name="Zoë Rare")
    rare = DeliveryFilter(search="Rare")
    first = world.deliveries.list(**rare)
    assert [row.id for row in first.items] == [newest.id]
    assert first.searched_to == world.clock.time
    second = world.deliveries.list(**rare, before=first.next)
    assert [row.id for row in second.items] == [oldest.id]
    assert second.searched_to == oldest.recorded_at
    third = world.deliveries.list(**rare, before=second.next)
    assert (list(third.items), third.next, third.searched_to) == ([], None, None)
    assert world.deliveries.list().searched_to is None
    assert world.deliveries.count(**rare) == 2


def test_a_search_that_fills_its_slice_pages_on_as_usual(world: World) -> None:
    made = world.configuration()
    rows = [world.delivery(made).id for _ in range(5)]
    jane = DeliveryFilter(search="jane d")
    first = world.deliveries.list(**jane, limit=3)
    rest = world.deliveries.list(**jane, limit=3, before=first.next)
    assert [row.id for row in (*first.items, *rest.items)] == rows[::-1]
    assert (first.searched_to, rest.searched_to, rest.next) == (None, None, None)


def test_ids_that_differ_in_case_only_are_two(world: World) -> None:
    made = world.configuration()
    world.delivery(made, objective_id="aB3", participant_id="xY")
    world.delivery(made, objective_id="Ab3", participant_id="Xy")
    assert world.deliveries.count(objective_id="aB3") == 1
    assert world.deliveries.count(search="xY") == 1
    world.configurations.detach(made.id, "aB3", cancel_waiting=True)
    assert world.deliveries.counts()[DeliveryState.CANCELLED] == 1
    world.organization_id = "ACME"
    world.delivery(world.configuration("Corporate LMS"), DeliveryState.REJECTED)
    assert world.deliveries.counts()[DeliveryState.PENDING] == 0
    assert Deliveries(world.state).send_again(states=(DeliveryState.REJECTED,)) == 1
    assert [row.organization_id for row in world.history("sent_again")] == ["ACME"]
