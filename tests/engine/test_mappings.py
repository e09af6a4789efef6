"""Who participants are in the LMSs of their organization: entered by hand and from files, used when
a result is recorded, and what waited for it goes out by itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import InvalidConfiguration, NotFound, Participant, Participants
from flask_lms.database.models import Delivery, DeliveryState, ParticipantMapping
from flask_lms.services import participants, tasks
from flask_lms.services.release import release_missed
from tests.world import ANA, World, make_world, result

LOCAL = "https://hr.example"


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """On each database."""
    with make_world(database_url) as made:
        made.freeze()
        with made.listening():
            yield made


def mapped(world: World) -> Participants:
    return world.lms.for_organization("acme").participants


def record(world: World, *ids: str, **changes: Any) -> None:
    """A result of each of these participants."""
    world.lms.record_many(
        [result(f"r-{id}", participant=Participant(id=id), **changes) for id in ids]
    )


def actors(world: World) -> list[Any]:
    return [json.loads(row.statement)["actor"] for row in world.rows() if row.statement]


@contextmanager
def counted(world: World) -> Iterator[list[str]]:
    """The statements that go to the database."""
    seen: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *more: Any) -> None:
        seen.append(statement)

    engine = world.db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


# -- used ------------------------------------------------------------------------------------------


def test_a_mapping_is_used_when_a_result_is_recorded(world: World) -> None:
    world.attach()
    report = mapped(world).map("E001", email="Jane@Corp.example", name="Jane Doe", by=ANA)
    assert (report.mapped, report.queued, report.task_id) == (1, 0, None)
    with counted(world) as seen:
        record(world, "E001", "E002")
    assert len([one for one in seen if "lms_" in one]) <= 3  # MariaDB reads back what it inserted
    assert world.states() == {"pending": 1, "not_sent": 1}
    assert actors(world) == [
        {"objectType": "Agent", "mbox": "mailto:Jane@corp.example", "name": "Jane Doe"}
    ]
    assert world.history("mapped")[0].changes == {"participant": "E001"}


def test_who_maps_somebody_means_it_so_it_goes_before_what_the_host_says(world: World) -> None:
    world.attach()
    world.attach(name="HR", identify="account")
    host = Participant(
        id="jane@private.example", email="jane@host.example", name="J.",
        account_name="host-7", account_home_page="https://host.example",
    )  # fmt: skip
    mapped(world).map("jane@private.example", email="jane@corp.example", by=ANA)
    world.lms.record(result("a", participant=host))
    found = {row.configuration_id: json.loads(row.statement)["actor"] for row in world.rows()}
    assert {"mbox": "mailto:jane@corp.example", "objectType": "Agent", "name": "J."} in (
        found.values()
    )
    # What it doesn't say is as the host says.
    account = {"homePage": "https://host.example", "name": "host-7"}
    assert {"account": account, "objectType": "Agent", "name": "J."} in found.values()

    assert mapped(world).remove("jane@private.example", by=ANA)
    assert not mapped(world).remove("jane@private.example", by=ANA)
    world.lms.record(result("b", participant=host))
    assert {json.dumps(actor.get("mbox") or actor["account"]) for actor in actors(world)[2:]} == {
        '"mailto:jane@host.example"',
        json.dumps(account),
    }
    assert [row.action for row in world.history()][-1] == "unmapped"


def test_each_configuration_takes_what_it_identifies_by(world: World) -> None:
    world.attach()
    world.attach(name="HR", identify="account")
    mapped(world).map("E001", account_name="4711", account_home_page=LOCAL)
    record(world, "E001")
    assert [actor["account"] for actor in actors(world)] == [{"homePage": LOCAL, "name": "4711"}]
    [kept] = [row for row in world.rows() if row.state.value == "not_sent"]
    assert kept.reason == "account_only"
    cause = world.state.registry.cause("xapi", "account_only")
    assert cause is not None
    assert cause.sentence_for(json.loads(kept.reason_words or "")) == (
        "Of participant 'E001' only an account is known, but this LMS is told e-mail addresses."
    )
    [row] = mapped(world).unmatched().items
    assert (row.participant_id, row.results) == ("E001", 1)
    assert row.mapping is not None
    assert row.mapping.account_name == "4711"

    report = mapped(world).map(
        "E001", email="jane@corp.example", account_name="4711", account_home_page=LOCAL
    )
    assert report.queued == 1
    assert world.states() == {"pending": 2}


def test_ids_are_compared_to_the_letter_and_organizations_apart(world: World) -> None:
    world.attach()
    world.attach(organization_id="globex", name="Other")
    mapped(world).map("e001", email="small@corp.example")
    world.lms.participants.map("E001", email="other@globex.example", organization_id="globex")
    record(world, "E001", "e001")
    assert [actor["mbox"] for actor in actors(world)] == ["mailto:small@corp.example"]
    assert [one.participant_id for one in mapped(world).list().items] == ["e001"]
    assert [one.participant_id for one in mapped(world).unmatched().items] == ["E001"]

    [theirs] = world.lms.participants.list(organization_id="globex").items
    with pytest.raises(NotFound):
        mapped(world).get(theirs.id)
    with pytest.raises(NotFound):
        mapped(world).map("E001", email="a@b.example", organization_id="globex")
    with pytest.raises(TypeError, match="organization_id"):
        world.lms.participants.list()


def test_what_makes_no_identifier_is_refused_field_by_field(world: World) -> None:
    for values, fields in (
        ({"email": "jane"}, {"email"}),
        ({}, {"email"}),
        ({"account_name": "7"}, {"account_home_page"}),
        ({"account_home_page": LOCAL}, {"account_name"}),
        ({"account_name": "7", "account_home_page": "javascript:x"}, {"account_home_page"}),
        ({"email": "a@b.example", "name": "x" * 100_000}, {"name"}),
        ({"email": "a@b.example", "name": "a\x00b"}, {"name"}),
    ):
        with pytest.raises(InvalidConfiguration) as refused:
            mapped(world).map("E001", **values)  # type: ignore[arg-type]
        assert set(refused.value.errors) == fields
    with pytest.raises(InvalidConfiguration):
        mapped(world).map(" ", email="a@b.example")
    assert mapped(world).list().total == 0


# -- released --------------------------------------------------------------------------------------


def test_what_was_not_sent_goes_out_when_its_mapping_arrives(world: World) -> None:
    made = world.attach(steps="statements")
    record(world, "E001", "E002")
    assert world.states() == {"not_sent": 2}
    before = [row.statement_id for row in world.rows()]
    report = mapped(world).map("E001", email="jane@corp.example", by=ANA)
    assert (report.queued, report.still_not_sent) == (1, 0)
    assert world.states() == {"pending": 2, "not_sent": 1}  # the result and its step
    assert {row.statement_id for row in world.rows()} >= set(before)  # the ids stay
    assert world.rung == [made.id]
    assert world.history("released")[0].changes == {"queued": 1, "still_not_sent": 0}
    # An address that is wrong in the host is put right in the same way.
    world.lms.record(result("x", participant=Participant(id="E003", email="no address")))
    assert mapped(world).map("E003", email="kim@corp.example").queued == 1


def test_check_again_uses_mappings_too(world: World) -> None:
    world.attach()
    record(world, "E001")
    key = ParticipantMapping.key_of("acme", "E001")
    row = ParticipantMapping(
        organization_id="acme", participant_id="E001", participant_key=key,
        email="jane@corp.example", mapped_at=world.now,
    )  # fmt: skip
    world.session.add(row)
    world.session.commit()
    assert world.deliveries.check_again(participant_id="E001").queued == 1


def test_what_was_recorded_while_its_participant_was_mapped_goes_out_within_a_minute(
    world: World,
) -> None:
    """A host's transaction that began before the mapping was committed, and ends after it."""
    world.attach()
    record(world, "E001", "E002", "E003")
    rows = [
        {"participant_id": "E001", "email": "jane@corp.example"},
        {"participant_id": "E002", "account_name": "7", "account_home_page": LOCAL},
        {"participant_id": "e003", "email": "not@corp.example"},  # another one
    ]
    for row in rows:
        key = ParticipantMapping.key_of("acme", str(row["participant_id"]))
        values = {**row, "participant_key": key, "mapped_at": world.now}
        world.session.add(ParticipantMapping(organization_id="acme", **values))
    world.session.commit()
    assert release_missed(world.state, world.now) >= 2
    assert world.states() == {"pending": 1, "not_sent": 2}
    assert [row.changes for row in world.history("released")] == [{"queued": 1}]
    # What still can't be sent is not looked at for ever.
    world.clock.advance(minutes=2)
    release_missed(world.state, world.now)
    assert release_missed(world.state, world.now) == 0
    record(world, "E004")
    world.clock.advance(minutes=20)
    assert release_missed(world.state, world.now) == 0


def test_five_thousand_mapped_in_one_act_release_five_thousand_results(world: World) -> None:
    many = 5_000
    world.attach()
    for start in range(0, many, 500):
        record(world, *(f"E{n:04}" for n in range(start, start + 500)))
    assert mapped(world).unmatched(limit=1).total == many
    lines = [f"E{n:04};p{n}@corp.example;" for n in range(many)]
    file = "\r\n".join(["participant_id;email;name", *lines])
    with counted(world) as seen:
        report = mapped(world).import_csv(file.encode("utf-8-sig"), by=ANA)
    assert (report.mapped, report.bad_lines, report.queued) == (many, (), 0)
    assert report.task_id is not None
    assert len(seen) <= many // 500 * 4 + 10
    assert tasks.get(world.state, "acme", report.task_id).total == many
    with counted(world) as seen:
        while tasks.work(world.state):
            pass
    assert len(seen) <= many // 200 * 14 + 10
    assert world.states() == {"pending": many}
    assert mapped(world).unmatched().total == 0
    world.session.rollback()
    assert tasks.get(world.state, "acme", report.task_id).counts["queued"] == many
    told = {row.action: row.changes for row in world.history()}
    assert told["mapped"] == {"participants": many}
    assert told["released"]["queued"] == many
    assert "corp.example" not in json.dumps([row.changes for row in world.history()])


def test_a_release_goes_on_where_a_killed_worker_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.attach()
    everybody = [f"E{n:03}" for n in range(450)]
    record(world, *everybody)
    file = "id,email\n" + "\n".join(f"{id},{id}@corp.example" for id in everybody)
    assert mapped(world).import_csv(file).task_id is not None

    class Killed(BaseException):
        pass

    carry_out, rounds = tasks._carry_out, iter(range(9))

    def until_killed(*args: Any) -> None:
        if next(rounds) == 1:
            raise Killed
        carry_out(*args)

    monkeypatch.setattr(tasks, "_carry_out", until_killed)
    with pytest.raises(Killed):
        tasks.work(world.state)
    world.session.rollback()
    assert world.states() == {"pending": 200, "not_sent": 250}
    world.clock.advance(seconds=30)
    while tasks.work(world.state):
        pass
    assert world.states() == {"pending": 450}
    assert world.history("released")[-1].changes == {
        "queued": 450, "still_not_sent": 0, "not_wanted": 0,
    }  # fmt: skip


# -- files -----------------------------------------------------------------------------------------

FILE = """participant_id,email,account_name,account_home_page,name
E001,jane@corp.example,,,Jane
E002,not an address,,,
,kim@corp.example,,,
E003,,4711,,
E004,,,,Filled in later
E001,other@corp.example,,,
E005,lee@corp.example,,,"Lee, Ann"
E001,jane@corp.example,,,Jane
"""


def test_bad_lines_are_told_by_number_and_nothing_is_half_written(world: World) -> None:
    report = mapped(world).import_csv(FILE, by=ANA)
    assert (report.mapped, report.empty) == (0, 1)
    assert {one.number: list(one.errors) for one in report.bad_lines} == {
        3: ["email"],
        4: ["participant_id"],
        5: ["account_home_page"],
        7: ["participant_id"],
    }
    assert str(report.bad_lines[-1].errors["participant_id"][0]) == (
        "Line 2 says something else of them."
    )
    assert mapped(world).list().total == 0
    assert world.history("mapped") == []


def test_the_good_lines_are_saved_when_that_is_asked_for(world: World) -> None:
    mapped(world).map("E005", email="old@corp.example")
    mapped(world).map("E009", email="stays@corp.example")
    report = mapped(world).import_csv(FILE, skip_bad_lines=True, by=ANA)
    assert (report.mapped, len(report.bad_lines)) == (2, 4)
    assert {one.participant_id: (one.email, one.name) for one in mapped(world).list().items} == {
        "E001": ("jane@corp.example", "Jane"),
        "E005": ("lee@corp.example", "Lee, Ann"),
        "E009": ("stays@corp.example", None),
    }


def test_lists_are_searched_and_tell_who_is_known_by_no_result(world: World) -> None:
    world.attach()
    mapped(world).import_csv("id,email\nE001,jane@corp.example\nE002,100_kim@corp.example\n")
    record(world, "E001", "E007", "E008")
    world.lms.record(result("again", participant=Participant(id="E008", name="Sam")))

    def found(**which: Any) -> list[str]:
        return [one.participant_id for one in mapped(world).list(**which).items]

    assert found() == ["E001", "E002"]
    assert found(search="JANE") == ["E001"]
    assert found(search="0_k") == ["E002"]
    assert found(without_results=True) == ["E002"]
    assert found(offset=1, limit=1) == ["E002"]
    assert mapped(world).list(limit=1).total == 2
    assert [one.email for one in mapped(world).iterate()] == [
        "jane@corp.example", "100_kim@corp.example",
    ]  # fmt: skip
    unmatched = mapped(world).unmatched()
    assert unmatched.total == 2
    assert [(one.participant_id, one.name, one.results) for one in unmatched.items] == [
        ("E007", None, 1),
        ("E008", "Sam", 2),
    ]


# -- forgotten -------------------------------------------------------------------------------------


def test_who_is_forgotten_loses_the_mapping_and_no_file_maps_them_again(world: World) -> None:
    world.attach()
    mapped(world).map("E001", email="jane@corp.example", name="Jane Doe", by=ANA)
    record(world, "E001")
    kept = participants.export(world.state, "acme", "E001")
    assert kept["mapping"]["email"] == "jane@corp.example"
    for _ in range(2):
        participants.forget(world.state, "acme", "E001")
    world.session.rollback()
    rows = world.session.scalars(sa.select(ParticipantMapping)).all()
    assert [(row.email, row.name, row.mapped_by) for row in rows] == [(None, None, None)]
    assert "E001" not in rows[0].participant_id
    assert "E001" not in json.dumps([row.changes for row in world.history()])
    assert mapped(world).list().total == 0
    assert participants.export(world.state, "acme", "E001")["mapping"] is None

    report = mapped(world).import_csv("id,email\nE001,jane@corp.example\nE002,k@corp.example\n")
    assert [one.number for one in report.bad_lines] == [2]
    with pytest.raises(InvalidConfiguration, match="erased"):
        mapped(world).map("E001", email="jane@corp.example")
    assert mapped(world).map("E001", email="jane@corp.example", even_if_forgotten=True).mapped == 1
    assert mapped(world).import_csv("id,email\nE001,jane@corp.example\n").mapped == 1
    assert world.session.scalar(sa.select(sa.func.count()).select_from(Delivery)) == 1


def test_what_another_one_released_and_is_sent_by_now_stays_sent(world: World) -> None:
    """The ticker, a task and an administrator may release the same at the same time."""
    if world.db.engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time: the second one is turned away")
    world.attach()
    record(world, "E001")
    world.participants["E001"] = Participant(id="E001", email="jane@corp.example")
    world.session.rollback()
    with ThreadPoolExecutor(1) as other, world.db.engine.connect() as first:
        first.execute(sa.update(Delivery).values(state=DeliveryState.DELIVERED, reason=None))

        def second() -> None:
            with world.app.app_context():
                world.deliveries.check_again(participant_id="E001")

        under_way = other.submit(second)
        time.sleep(0.5)  # until it waits for the first one; later is no harm, but proves nothing
        first.commit()
        under_way.result(timeout=10)
    assert world.states() == {"delivered": 1}
