"""``flask lms …`` from the operator's side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from flask_lms import ObjectiveResult, Participant
from flask_lms.database.models import Delivery, DeliveryState, Status, Task
from flask_lms.encryption import Encryption
from flask_lms.services import tasks
from flask_lms.testing import FakeLRS
from tests.world import World, delivery_values, result

from .conftest import Run


def test_each_command_has_a_line_of_help(run: Run) -> None:
    said = run("--help").output
    commands = ["worker", "check", "status", "test", "send-waiting", "requeue", "backfill"]
    commands += ["purge", "rekey"]
    for name in commands:
        assert f"\n  {name} " in said
        assert run(name, "--help").exit_code == 0


# -- worker ---------------------------------------------------------------------------------------


def test_a_burst_delivers_what_is_due_and_says_how_much(
    world: World, run: Run, lrs: FakeLRS
) -> None:
    made = world.configuration(settings=lrs.settings)
    world.configurations.attach(made.id, "ppe")
    world.lms.record_many([result("r1"), result("r2")])
    done = run("worker", "--burst")
    assert done.exit_code == 0, done.output
    assert "2 delivered" in done.output
    assert len(lrs.statements) == 2


def test_the_worker_is_started_with_its_options(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "flask_lms.cli.commands.run", lambda app, **options: seen.append((app, options))
    )
    assert run("worker", "--processes", "2", "--streams", "8").exit_code == 0
    assert seen == [(world.app, {"burst": False, "processes": 2, "streams": 8})]
    assert run("worker", "--processes", "0").exit_code == 2


# -- status ---------------------------------------------------------------------------------------


def test_status_tells_what_is_wrong_and_what_to_do(world: World, run: Run) -> None:
    made = world.configuration()
    made.health.status, made.health.cause = Status.CANT_CONNECT, "refused"
    made.health.facts = {"host": "lrs.example.org", "port": 443}
    made.health.next_attempt_at = world.later(minutes=10)
    world.delivery(made)
    said = run("status").output
    assert "cant connect  Corporate LMS (acme): 1 waiting, 0 rejected or not sent" in said
    assert "→ lrs.example.org refuses connections on port 443: it may be stopped." in said
    assert "→ Ask your LMS administrator whether the LMS is running." in said
    assert "Next try at 2026-03-02 09:10 UTC." in said
    assert "0 of 1 connected, 1 result waiting, 0 results rejected or not sent." in said
    assert "start flask lms worker" in said


def test_status_as_json_is_for_programs(world: World, run: Run) -> None:
    made = world.configuration()
    world.organization_id = "globex"
    world.configuration("Other")
    found = json.loads(run("status", "--json").output)
    assert (found["configurations"], found["is_ok"]) == (2, True)
    [only] = json.loads(run("status", "--json", "--organization", "acme").output)["list"]
    assert only["id"] == str(made.id)
    assert only["status"] == "not_tested"
    assert "canary" not in json.dumps(found)


def test_status_of_nothing_says_so(run: Run) -> None:
    assert run("status").output.startswith("0 of 0 connected")


# -- test -----------------------------------------------------------------------------------------


def test_a_test_that_connects_ends_well(world: World, run: Run, lrs: FakeLRS) -> None:
    made = world.configuration(settings=lrs.settings)
    done = run("test", "corporate lms")
    assert done.exit_code == 0
    assert "Connected. Nothing was stored in the LMS." in done.output
    assert run("test", str(made.id)).exit_code == 0
    assert world.history("tested")[0].administrator_name == "operator"


def test_a_test_that_fails_ends_with_the_remedy(world: World, run: Run, lrs: FakeLRS) -> None:
    world.configuration(settings={**lrs.settings, "secret": "wrong"})
    done = run("test", "Corporate LMS")
    assert done.exit_code == 1
    assert done.output.strip().splitlines()[-1].startswith("→ ")
    found = json.loads(run("test", "Corporate LMS", "--json").output)
    assert (found["ok"], found["cause"]) == (False, "credentials")
    assert found["remedy"]


def test_a_name_that_two_organizations_have_asks_for_the_organization(
    world: World, run: Run, lrs: FakeLRS
) -> None:
    world.configuration(settings=lrs.settings)
    world.organization_id = "globex"
    world.configuration(settings=lrs.settings)
    done = run("test", "Corporate LMS")
    assert done.exit_code == 1
    assert "add --organization with one of acme, globex." in done.output
    assert run("test", "Corporate LMS", "--organization", "globex").exit_code == 0


@pytest.mark.parametrize("name", ["Nobody", "0" * 32])
def test_an_unknown_name_is_told_in_a_sentence(run: Run, name: str) -> None:
    done = run("test", name)
    assert done.exit_code == 1
    assert done.output.startswith("Error: There is no")


# -- send-waiting, requeue, backfill --------------------------------------------------------------


def test_send_waiting_tries_one_or_all_now(world: World, run: Run) -> None:
    one, two, three = (
        world.configuration("One"),
        world.configuration("Two"),
        world.configuration("Three"),
    )
    for made in (one, two, three):
        world.delivery(made)
        made.health.next_attempt_at = world.later(hours=1)
    world.configurations.pause(three.id)
    assert run("send-waiting", "One").output == "1 result of 1 configuration will be tried now.\n"
    assert json.loads(run("send-waiting", "--json").output) == {"configurations": 2, "waiting": 2}
    assert two.health.next_attempt_at is None
    assert three.health.next_attempt_at is not None
    done = run("send-waiting", "Three")
    assert (done.exit_code, "paused" in done.output) == (1, True)


def test_requeue_asks_first_and_sends_rejected_ones_again(world: World, run: Run) -> None:
    made = world.configuration()
    rejected, sent = (
        world.delivery(made, DeliveryState.REJECTED),
        world.delivery(made, DeliveryState.DELIVERED),
    )
    asked = run("requeue", input="n\n")
    assert asked.exit_code == 1
    assert "This sends 1 result again and checks 0 again." in asked.output
    assert world.deliveries.get(rejected.id).state is DeliveryState.REJECTED
    done = run("requeue", "--yes")
    assert "Now waiting to be sent: 1 result." in done.output
    assert world.deliveries.get(rejected.id).state is DeliveryState.PENDING
    assert world.deliveries.get(sent.id).state is DeliveryState.DELIVERED


def test_requeue_takes_every_filter(world: World, run: Run) -> None:
    made = world.configuration()
    hit = world.delivery(
        made, DeliveryState.DELIVERED, objective_id="fire", reason="x", participant_id="E1"
    )
    miss = world.delivery(made, DeliveryState.DELIVERED)
    found = json.loads(
        run(
            "requeue", "--yes", "--json", "--configuration", "Corporate LMS", "--state",
            "delivered", "--state", "rejected", "--objective", "fire", "--participant", "E1",
            "--reason", "x", "--since", "2026-03-02", "--until", "2126-03-03T10:00Z",
            "--organization", "acme", "--id", str(hit.id),
        ).output
    )  # fmt: skip
    assert found["sent_again"] == 1
    assert world.deliveries.get(miss.id).state is DeliveryState.DELIVERED
    assert run("requeue", "--since", "yesterday").exit_code == 2


def test_requeue_checks_again_what_was_not_sent(world: World, run: Run) -> None:
    made = world.configuration()
    world.configurations.attach(made.id, "ppe")
    world.lms.record(result(participant=Participant(id="E001")))
    done = run("requeue", "--state", "not_sent", "--yes")
    assert "1 still can't be sent: correct them in the host" in done.output


def test_backfill_says_how_many_and_asks(world: World, run: Run) -> None:
    made = world.configuration()
    world.configurations.attach(made.id, "ppe")
    seen: list[datetime | None] = []

    @world.lms.past_results_loader
    def past(
        organization_id: str, objective_id: str, since: datetime | None
    ) -> Iterator[ObjectiveResult]:
        seen.append(since)
        return iter([result("a"), result("b")])

    asked = run("backfill", "Corporate LMS", "ppe", input="n\n")
    assert "This sends 2 results to Corporate LMS." in asked.output
    assert world.deliveries.count() == 0
    done = run("backfill", "Corporate LMS", "ppe", "--since", "2026-01-01", "--yes")
    assert "2 queued, 0 not sent, 0 were there already." in done.output
    assert seen[-1] is not None
    assert seen[-1].isoformat() == "2026-01-01T00:00:00+00:00"
    again = run("backfill", "Corporate LMS", "ppe", "--yes", "--json")
    assert json.loads(again.output)["duplicates"] == 2
    assert run("backfill", "Corporate LMS", "fire", "--yes").exit_code == 1


def test_backfill_without_its_callback_names_the_decorator(world: World, run: Run) -> None:
    world.configurations.attach(world.configuration().id, "ppe")
    done = run("backfill", "Corporate LMS", "ppe", "--yes")
    assert done.exit_code == 1
    assert "@lms.past_results_loader" in done.output


def test_many_are_a_task_with_its_progress_which_a_worker_would_end(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.attach()
    world.lms.past_results_loader(
        lambda organization_id, objective_id, since: iter([result(f"r{n}") for n in range(450)])
    )
    monkeypatch.setattr(
        "flask_lms.cli.parts.sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    )
    done = run("backfill", "Corporate LMS", "ppe", "--yes")
    assert "\r200 of 450 results" in done.output
    assert "\r450 of 450 results" in done.output
    assert "450 queued, 0 not sent, 0 were there already." in done.output
    again = run("backfill", "Corporate LMS", "ppe", "--yes", "--json")
    counts = {"queued": 0, "not_sent": 0, "duplicates": 450}
    assert json.loads(again.output[again.output.index("{") :]) == counts
    assert run("backfill", "Corporate LMS", "fire", "--yes").exit_code == 1

    world.session.execute(sa.update(Delivery).values(state=DeliveryState.REJECTED))
    world.session.commit()
    done = run("requeue", "--configuration", "Corporate LMS", "--yes")
    assert "Now waiting to be sent: 450 results." in done.output
    assert world.states() == {"pending": 450}
    assert [row.administrator_name for row in world.history("sent_again")] == ["operator"]
    found = list(world.session.scalars(sa.select(Task).order_by(Task.id)))
    assert [one.act for one in found] == ["backfill", "backfill", "send_again"]
    assert all(one.ended_at and one.configuration_id == made.id for one in found)


def test_many_of_several_organizations_are_a_task_for_each_which_workers_would_end(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = world.configuration(), world.configuration(organization_id="other")
    rows = [
        delivery_values(made, DeliveryState.REJECTED, world.now)
        for made in (ours, theirs)
        for _ in range(150)
    ]
    world.session.execute(sa.insert(Delivery), rows)
    world.session.commit()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(tasks, "follow", stop)
        assert run("requeue", "--yes").exit_code == 1
    assert world.states() == {"rejected": 300}
    found = world.session.scalars(sa.select(Task).order_by(Task.organization_id)).all()
    assert [(one.organization_id, one.act, one.total) for one in found] == [
        ("acme", "send_again", 150),
        ("other", "send_again", 150),
    ]
    while tasks.work(world.state):
        pass
    assert world.states() == {"pending": 300}
    assert [row.organization_id for row in world.history("sent_again")] == ["acme", "other"]

    world.session.execute(sa.update(Delivery).values(state=DeliveryState.REJECTED))
    world.session.commit()
    done = run("requeue", "--yes", "--json")
    assert json.loads(done.output) == {
        "sent_again": 300,
        "checked_again": {"queued": 0, "still_not_sent": 0, "not_wanted": 0},
    }
    assert world.states() == {"pending": 300}


# -- purge, rekey ---------------------------------------------------------------------------------


def test_purge_asks_and_tells(world: World, run: Run) -> None:
    made = world.configuration()
    old = world.delivery(made, DeliveryState.DELIVERED, at=world.later(days=-91))
    kept = world.delivery(made, at=world.later(days=-91))
    assert run("purge", input="n\n").exit_code == 1
    assert world.deliveries.get(old.id).statement is not None
    assert "Deleted 1 delivery, " in run("purge", "--yes").output
    assert [row.id for row in world.deliveries.list().items] == [kept.id]
    assert json.loads(run("purge", "--yes", "--json").output)["deliveries"] == 0


def test_rekey_puts_all_under_the_newest_key_or_says_which_it_cannot(
    world: World, run: Run
) -> None:
    world.configuration("One")
    keys = [Fernet.generate_key().decode(), *world.state.settings.encryption_keys]
    old = world.state.encryption
    world.state.encryption = SimpleNamespace(  # type: ignore[assignment]
        decrypt=old.decrypt, is_current=lambda token: False, rotate=old.rotate
    )
    assert "1 encrypted anew, 0 were under the newest key." in run("rekey").output
    world.state.encryption = Encryption(keys[:1])
    done = run("rekey")
    assert done.exit_code == 1
    assert "No key reads the secret of One (acme)." in done.output
    assert "LMS_ENCRYPTION_KEYS" in done.output
    assert json.loads(run("rekey", "--json").output)["unreadable"] == ["One (acme)"]


def test_a_counter_is_shown_on_a_terminal_only(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.delivery(world.configuration(), DeliveryState.REJECTED)
    monkeypatch.setattr(
        "flask_lms.cli.parts.sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    )
    assert "\r1 of 1 results" in run("requeue", "--yes").output
    monkeypatch.undo()
    assert "\r" not in run("requeue", "--yes", "--state", "delivered").output
