"""What administrators do with LMS configurations."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from flask_lms import EditConflict, InvalidConfiguration, NotFound, TooManyTests
from flask_lms.database.models import (
    Audit,
    Configuration,
    ConfigurationHealth,
    DeliveryState,
    Status,
)
from flask_lms.i18n import Words
from flask_lms.services.configurations import Configurations
from flask_lms.testing import FakeLRS
from tests.world import ANA, BEN, SETTINGS, World


def errors_of(caught: pytest.ExceptionInfo[InvalidConfiguration]) -> dict[str, list[str]]:
    found = {field: [str(s) for s in said] for field, said in caught.value.errors.items()}
    assert all(isinstance(s, Words) for said in caught.value.errors.values() for s in said)
    return found


# -- create ---------------------------------------------------------------------------------------


def test_a_new_configuration_has_its_health_row_and_is_audited(world: World) -> None:
    made = world.configuration(
        "  Corporate   LMS ", contact_emails=["Ana@ACME.example", "ben@acme.example"]
    )
    assert made.name == "Corporate LMS"
    assert made.contact_emails == ["Ana@acme.example", "ben@acme.example"]
    assert made.health.status is Status.NOT_TESTED
    assert made.settings["url"] == "https://lrs.example.org/xapi"
    assert (made.created_by, made.version) == ("Ana Ruiz", 1)
    assert (made.secret_set_by, made.secret_set_at) == ("Ana Ruiz", world.clock.time)
    [row] = world.history()
    assert (row.action, row.subject, row.administrator_id) == ("created", "Corporate LMS", "7")
    assert row.changes["url"] == [None, "https://lrs.example.org/xapi"]
    assert row.changes["secret"] == "set"
    assert [event.action for event in world.told] == ["created"]


def test_the_secret_is_stored_encrypted_and_nowhere_else(world: World) -> None:
    made = world.configuration()
    assert made.secrets is not None
    assert world.state.encryption.decrypt(made.secrets) == {"secret": "s3cret-canary"}
    world.configurations.update(made.id, settings={"secret": "s3cret-canary-2"}, by=BEN)
    dump = repr([(r.changes, r.subject) for r in world.history()]) + repr(made.settings)
    assert "canary" not in dump + made.secrets
    assert world.history("edited")[0].changes == {"secret": "replaced"}


def test_all_faults_are_told_at_once_field_by_field(world: World) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        world.configuration("", contact_emails=[], settings={}, language="no language")
    found = errors_of(caught)
    assert found["name"] == ["Enter a configuration name."]
    assert found["contact_emails"] == ["Enter at least one contact e-mail address."]
    assert {"name", "contact_emails", "language", "url", "key", "secret"} <= set(found)
    assert world.configurations.list() == []
    assert world.history() == []
    assert world.told == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (" ", "Enter a configuration name."),
        (None, "Enter a configuration name."),
        ("x" * 101, "Shorten the name to 100 characters or fewer. It has 101."),
        (
            "LMS\r\nBcc: x@y.example",
            "Write the name on one line, without line breaks or control characters.",
        ),
        ("LMS\x00", "Write the name on one line, without line breaks or control characters."),
    ],
)
def test_a_name_that_breaks_a_rule_is_refused(world: World, name: str, sentence: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        world.configuration(name)
    assert errors_of(caught) == {"name": [sentence]}


def test_a_name_of_100_characters_is_fine(world: World) -> None:
    assert world.configuration("ΐ" * 100).name == "ΐ" * 100


@pytest.mark.parametrize(
    "name", ["corporate lms", "CORPORATE LMS", "Corporate  LMS", "Ｃorporate LMS"]
)
def test_a_name_is_unique_in_its_organization_in_any_case(world: World, name: str) -> None:
    world.configuration("Corporate LMS")
    with pytest.raises(InvalidConfiguration) as caught:
        world.configuration(name)
    assert errors_of(caught) == {
        "name": ['You already have a configuration named "Corporate LMS".']
    }


def test_other_organizations_may_use_the_same_name(world: World) -> None:
    world.configuration("Corporate LMS")
    world.organization_id = "globex"
    assert world.configuration("Corporate LMS").organization_id == "globex"


def test_a_name_taken_at_the_same_moment_is_told_like_any_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configuration("Corporate LMS")
    monkeypatch.setattr("flask_lms.services.configurations.check_name_is_free", lambda *args: None)
    with pytest.raises(InvalidConfiguration) as caught:
        world.configuration("corporate lms")
    assert list(errors_of(caught)) == ["name"]
    assert len(world.configurations.list()) == 1


@pytest.mark.parametrize(
    ("emails", "part"),
    [
        (["ana"], "“ana” is not a valid e-mail address. Write it like name@company.com."),
        (["ana@acme.example\r\nBcc: x@y.example"], "without line breaks"),
        (["ana@acme.example\n"], "without line breaks"),
        ([f"a{n}@acme.example" for n in range(11)], "at most 10"),
        ([" "], "at least one"),
        ([7], "as a list"),
        (7, "as a list"),
    ],
)
def test_contact_addresses_that_break_a_rule_are_refused(
    world: World, emails: object, part: str
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        world.configuration(contact_emails=emails)
    found = errors_of(caught)
    assert list(found) == ["contact_emails"]
    assert part in found["contact_emails"][0]


def test_an_address_given_twice_is_kept_once(world: World) -> None:
    emails = ["ana@acme.example", "ANA@ACME.EXAMPLE", "ben@acme.example", ""]
    assert world.configuration(contact_emails=emails).contact_emails == [
        "ana@acme.example",
        "ben@acme.example",
    ]


def test_an_unknown_lms_type_is_refused_with_those_there_are(world: World) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        world.configuration(type="moodle")
    assert errors_of(caught) == {"type": ["Choose an LMS type: webhook, xapi."]}


# -- reading --------------------------------------------------------------------------------------


def test_another_organizations_configuration_is_not_found(world: World) -> None:
    made = world.configuration()
    others = Configurations(world.state, "ACME")
    for call in (others.get, others.pause, others.delete, others.test, others.send_waiting):
        with pytest.raises(NotFound):
            call(made.id)
    with pytest.raises(NotFound):
        others.update(made.id, name="Mine")
    with pytest.raises(NotFound):
        others.list("acme")
    with pytest.raises(NotFound):
        others.create("acme", "Mine", ["a@b.example"], settings=SETTINGS)
    assert others.list() == []


@pytest.mark.parametrize("id", ["", "no-uuid", "1; drop table", "0" * 32])
def test_an_id_of_any_form_that_nothing_has_is_not_found(world: World, id: str) -> None:
    with pytest.raises(NotFound):
        world.configurations.get(id)


def test_the_list_is_by_name_and_searched_in_any_case(world: World) -> None:
    for name in ("beta", "Alpha", "Gamma"):
        world.configuration(name)
    assert [one.name for one in world.configurations.list()] == ["Alpha", "beta", "Gamma"]
    assert [one.name for one in world.configurations.list(search=" ETA ")] == ["beta"]


def test_a_paused_configuration_is_found_by_paused_alone(world: World) -> None:
    one, two = world.configuration("One"), world.configuration("Two")
    one.health.status = two.health.status = Status.CANT_CONNECT
    world.configurations.pause(one.id, by=ANA)
    found = {
        status: [c.name for c in world.configurations.list(status=status)]
        for status in ("paused", "error", Status.CANT_CONNECT, "connected")
    }
    assert found == {
        "paused": ["One"],
        "error": ["Two"],
        Status.CANT_CONNECT: ["Two"],
        "connected": [],
    }


def test_the_same_place_and_key_twice_is_noticed(world: World) -> None:
    made = world.configuration()
    same = world.configurations.same_target("acme", "xapi", made.settings)
    assert [one.id for one in same] == [made.id]
    other = {**made.settings, "key": "another"}
    assert world.configurations.same_target("acme", "xapi", other) == []
    assert world.configurations.same_target("acme", "xapi", made.settings, made.id) == []


# -- update ---------------------------------------------------------------------------------------


def test_an_edit_is_audited_from_and_to(world: World) -> None:
    made = world.configuration()
    world.clock.advance(hours=1)
    saved = world.configurations.update(
        made.id, name="Academy", settings={**SETTINGS, "key": "k2", "secret": ""}, by=BEN
    )
    assert (saved.name, saved.version, saved.updated_by) == ("Academy", 2, "Ben Okafor")
    [row] = world.history("edited")
    assert row.changes == {"name": ["Corporate LMS", "Academy"], "key": ["key", "k2"]}
    assert row.at == world.clock.time
    assert world.rung == [made.id]


def test_an_edit_that_changes_nothing_leaves_no_trace(world: World) -> None:
    made = world.configuration()
    again = {**SETTINGS, "secret": ""}
    world.configurations.update(made.id, name="Corporate LMS", settings=again, version=1, by=BEN)
    assert made.version == 1
    assert [row.action for row in world.history()] == ["created"]


def test_a_blank_secret_keeps_the_stored_one(world: World) -> None:
    made = world.configuration()
    world.configurations.update(made.id, settings={"key": "k2", "secret": " "}, by=ANA)
    assert world.state.encryption.decrypt(made.secrets) == {"secret": "s3cret-canary"}


@pytest.mark.parametrize(
    "url",
    [
        "http://lrs.example.org/xapi",
        "https://evil.example.org/xapi",
        "https://lrs.example.org:8443/xapi",
    ],
)
def test_another_scheme_host_or_port_asks_for_the_secret_again(world: World, url: str) -> None:
    made = world.configuration()
    with pytest.raises(InvalidConfiguration) as caught:
        world.configurations.update(made.id, settings={"url": url, "secret": ""}, by=ANA)
    [sentence] = errors_of(caught)["secret"]
    assert sentence.startswith("Enter the secret again")
    with pytest.raises(InvalidConfiguration):
        world.configurations.test_settings("xapi", {"url": url, "secret": ""}, made.id)
    world.db.session.rollback()
    assert world.configurations.get(made.id).settings["url"] == "https://lrs.example.org/xapi"
    moved = world.configurations.update(made.id, settings={"url": url, "secret": "new"}, by=ANA)
    assert world.state.encryption.decrypt(moved.secrets) == {"secret": "new"}


def test_another_path_of_the_same_host_keeps_the_secret(world: World) -> None:
    made = world.configuration()
    url = "https://lrs.example.org/data/xapi"
    assert world.configurations.update(made.id, settings={"url": url}).settings["url"] == url


def test_a_secret_that_no_key_reads_is_replaced_by_a_new_one(world: World) -> None:
    made = world.configuration()
    made.secrets = "gAAAA-of-another-key"
    world.db.session.commit()
    world.configurations.update(made.id, settings={"secret": "new"}, by=ANA)
    assert world.state.encryption.decrypt(made.secrets) == {"secret": "new"}


def test_saving_tries_at_once_and_forgets_the_limits_of_another_host(world: World) -> None:
    made = world.configuration()
    made.health.next_attempt_at, made.health.learnt_bytes = world.later(hours=1), 1000
    world.db.session.commit()
    world.configurations.update(made.id, settings={"key": "k2"})
    assert (made.health.next_attempt_at, made.health.learnt_bytes) == (None, 1000)
    world.configurations.update(made.id, settings={"url": "https://b.example.org/x", "secret": "n"})
    assert made.health.learnt_bytes is None


def test_the_second_of_two_editors_is_told_who_changed_what(world: World) -> None:
    made = world.configuration()
    world.configurations.update(made.id, contact_emails=["ben@acme.example"], by=BEN, version=1)
    world.clock.advance(minutes=5)
    world.configurations.update(made.id, name="Academy", by=BEN, version=2)
    with pytest.raises(EditConflict) as caught:
        world.configurations.update(made.id, name="Mine", by=ANA, version=1)
    assert caught.value.by == "Ben Okafor"
    assert caught.value.at == world.clock.time
    assert caught.value.fields == ("contact_emails", "name")
    assert world.configurations.get(made.id).name == "Academy"


def test_two_editors_at_the_same_moment_are_a_conflict_too(world: World) -> None:
    made = world.configuration()
    assert made.version == 1
    with Session(world.db.engine) as other:
        other.execute(
            sa.update(Configuration).values(
                version=2, updated_by="Ben Okafor", name="Academy", updated_at=world.clock.time
            )
        )
        other.add(
            Audit(
                organization_id="acme",
                configuration_id=made.id,
                at=world.clock.time,
                action="edited",
                changes={"name": ["Corporate LMS", "Academy"]},
            )
        )
        other.commit()
    # This session still has what it read before.
    with pytest.raises(EditConflict) as caught:
        world.configurations.update(made.id, name="Mine", by=ANA)
    assert caught.value.fields == ("name",)
    assert world.configurations.get(made.id).name == "Academy"


# -- pause, resume, delete ------------------------------------------------------------------------


def test_pause_and_resume_are_audited_once(world: World) -> None:
    made = world.configuration()
    world.configurations.pause(made.id, by=BEN)
    world.configurations.pause(made.id, by=ANA)
    assert (made.paused_by, made.paused_at) == ("Ben Okafor", world.clock.time)
    made.health.next_attempt_at = world.later(hours=1)
    world.configurations.resume(made.id, by=ANA)
    world.configurations.resume(made.id, by=ANA)
    assert made.paused_at is None
    assert made.health.next_attempt_at is None
    assert [row.action for row in world.history()] == ["created", "paused", "resumed"]
    assert world.rung == [made.id]


def test_a_deleted_configuration_frees_its_name_and_keeps_its_rows(world: World) -> None:
    made = world.configuration()
    waiting = world.delivery(made)
    world.configurations.delete(made.id, by=ANA)
    with pytest.raises(NotFound):
        world.configurations.get(made.id)
    assert world.configurations.list() == []
    assert world.configurations.get(made.id, with_deleted=True).deleted_by == "Ana Ruiz"
    assert world.deliveries.get(waiting.id).state is DeliveryState.PENDING
    assert world.history("deleted")[0].changes == {"waiting": 1}
    assert world.configuration("Corporate LMS").id != made.id
    with pytest.raises(InvalidConfiguration):
        world.configurations.restore(made.id)


def test_a_deleted_configuration_can_be_brought_back(world: World) -> None:
    made = world.configuration()
    world.configurations.attach(made.id, "ppe")
    world.configurations.delete(made.id, by=ANA)
    assert not world.objectives.get("ppe").links
    world.configurations.restore(made.id, by=BEN)
    assert [one.name for one in world.configurations.list()] == ["Corporate LMS"]
    assert len(world.objectives.get("ppe").links) == 1
    assert world.rung == [made.id]


def test_send_waiting_makes_all_due_now(world: World) -> None:
    made = world.configuration()
    row = world.delivery(made, due_at=world.later(hours=4))
    older = world.delivery(made, due_at=world.later(minutes=-5))
    world.delivery(made, DeliveryState.REJECTED, due_at=world.later(hours=4))
    made.health.next_attempt_at = world.later(minutes=10)
    assert world.configurations.send_waiting(made.id, by=ANA) == 2
    assert world.deliveries.get(row.id).due_at == world.clock.time
    assert world.deliveries.get(older.id).due_at == world.later(minutes=-5)  # it goes first
    assert made.health.next_attempt_at is None
    assert world.rung == [made.id]
    world.configurations.pause(made.id)
    assert world.configurations.send_waiting(made.id) == 0


def test_an_address_is_muted_and_unmuted(world: World) -> None:
    made = world.configuration(contact_emails=["ana@acme.example", "ben@acme.example"])
    world.configurations.mute(made.id, "ANA@acme.example", by="link in the mail")
    world.configurations.mute(made.id, "ana@acme.example")
    assert made.muted_emails == ["ana@acme.example"]
    world.configurations.mute(made.id, "stranger@elsewhere.example")
    assert made.muted_emails == ["ana@acme.example"]
    world.configurations.unmute(made.id, "ana@acme.example", by=ANA)
    assert made.muted_emails == []
    assert [row.action for row in world.history()][1:] == ["muted", "unmuted"]
    assert world.history("muted")[0].administrator_name == "link in the mail"


def test_what_fails_is_rolled_back_and_not_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.configuration()
    world.told.clear()

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the disk is full")

    session = world.state.session()
    monkeypatch.setattr(session, "commit", broken)
    with pytest.raises(RuntimeError):
        world.configurations.pause(made.id, by=ANA)
    monkeypatch.undo()
    assert world.configurations.get(made.id).paused_at is None
    world.configurations.mute(made.id, "ana@acme.example")
    assert [event.action for event in world.told] == ["muted"]


# -- test -----------------------------------------------------------------------------------------


def test_a_test_connects_and_sets_the_status(world: World, lrs: FakeLRS) -> None:
    made = world.configuration(settings=lrs.settings)
    report = world.configurations.test(made.id, by=ANA)
    assert report.is_connected, report
    assert made.health.status is Status.CONNECTED
    assert lrs.statements == []
    assert [event.new for event in world.statuses] == ["connected"]
    assert [row.action for row in world.history()] == ["created", "tested", "status_changed"]
    assert world.history("tested")[0].changes == {"outcome": "connected"}
    assert [event.action for event in world.told] == ["created", "tested", "status_changed"]
    assert world.told[1].changes == {"outcome": "connected"}


def test_a_paused_and_broken_configuration_can_be_tested(world: World, lrs: FakeLRS) -> None:
    made = world.configuration(settings=lrs.settings)
    world.configurations.pause(made.id)
    lrs.refuse()
    report = world.configurations.test(made.id)
    assert report.cause == "refused"
    assert made.health.status is Status.CANT_CONNECT
    lrs.accept()
    assert world.configurations.test(made.id).is_connected
    assert made.health.status is Status.CONNECTED


def test_an_unsaved_configuration_can_be_tested_and_only_the_history_tells(
    world: World, lrs: FakeLRS
) -> None:
    service = world.configurations
    assert service.test_settings("xapi", lrs.settings, by=ANA).is_connected
    wrong = {**lrs.settings, "secret": "wrong"}
    assert service.test_settings("xapi", wrong).cause == "credentials"
    destination = urlsplit(lrs.settings["url"]).netloc
    outcomes = ["connected", "credentials"]
    facts = [{"destination": destination, "outcome": outcome} for outcome in outcomes]
    assert [row.changes for row in world.history()] == [event.changes for event in world.told]
    assert [row.changes for row in world.history()] == facts
    assert {(row.action, row.subject) for row in world.history()} == {("tested", None)}
    assert Configurations(world.state).test_settings("xapi", lrs.settings).is_connected
    assert len(world.history()) == 2  # of no organization


def test_five_tests_of_one_administrator_in_a_minute_are_the_limit_wherever_they_run(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.configuration(settings=lrs.settings)
    for _ in range(2):
        world.configurations.test(made.id, by=ANA)
        world.configurations.test_settings("xapi", lrs.settings, by=ANA)
    world.clock.advance(seconds=18)
    # It counts from its beginning, so one that nobody waited for counts too.
    world.configurations.start_test_of_settings("xapi", lrs.settings, made.id, by=ANA)
    world.clock.advance(seconds=21)
    requests = lrs.requests
    with pytest.raises(TooManyTests, match=r"five times in a minute\. Test again in 21 seconds"):
        world.configurations.test(made.id, by=ANA)
    assert lrs.requests == requests
    assert world.configurations.test(made.id, by=BEN).is_connected
    world.clock.advance(seconds=21)
    assert world.configurations.test(made.id, by=ANA).is_connected


def test_a_blank_secret_in_an_edit_is_tested_with_the_stored_one(
    world: World, lrs: FakeLRS
) -> None:
    made = world.configuration(settings=lrs.settings)
    blank = {**lrs.settings, "secret": ""}
    assert world.configurations.test_settings("xapi", blank, made.id).is_connected


def test_a_secret_that_no_key_reads_is_the_cause_and_nothing_is_called(
    world: World, lrs: FakeLRS
) -> None:
    made = world.configuration(settings=lrs.settings)
    made.secrets = "gAAAA-of-another-key"
    world.db.session.commit()
    assert world.configurations.test(made.id).cause == "secret_unreadable"
    assert made.health.cause == "secret_unreadable"
    assert lrs.requests == 0


def test_a_test_of_settings_changed_meanwhile_says_nothing_of_the_new_ones(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.configuration(settings=lrs.settings)
    connector = world.state.registry.get("xapi")
    assert connector is not None
    original = connector.test

    def slow(*args: object, **kwargs: object) -> object:
        with Session(world.db.engine) as other:
            other.execute(sa.update(Configuration).values(version=2))
            other.commit()
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(connector, "test", slow)
    assert world.configurations.test(made.id).is_connected
    [health] = world.db.session.scalars(sa.select(ConfigurationHealth))
    assert health.status is Status.NOT_TESTED


# -- objectives -----------------------------------------------------------------------------------


def test_attaching_twice_is_once(world: World) -> None:
    made = world.configuration()
    first = world.configurations.attach(made.id, "ppe", by=ANA)
    assert world.configurations.attach(made.id, "ppe", by=BEN).id == first.id
    assert first.attached_by == "Ana Ruiz"
    assert [row.changes for row in world.history("attached")] == [{"objective": "Put on PPE (ppe)"}]


def test_an_objective_of_nobody_cannot_be_attached(world: World) -> None:
    made = world.configuration()
    with pytest.raises(NotFound):
        world.configurations.attach(made.id, "no-such")
    assert world.configurations.attach_many(made.id, ["ppe", "no-such", "fire", "ppe"], by=ANA) == 2
    assert world.configurations.attach_many(made.id, ["ppe", "fire", "forklift"], by=ANA) == 1
    assert [link.objective_id for link in world.configurations.links(made.id)] == [
        "ppe",
        "fire",
        "forklift",
    ]


def test_many_objectives_are_checked_against_the_hosts_list(world: World) -> None:
    made = world.configuration()
    ids = ["ppe", "fire", *(f"unknown-{n}" for n in range(50))]
    assert world.configurations.attach_many(made.id, ids) == 2


def test_detaching_cancels_what_waits_only_when_asked(world: World) -> None:
    made = world.configuration()
    world.configurations.attach_many(made.id, ["ppe", "fire"])
    kept = world.delivery(made, objective_id="ppe")
    gone, sent = (
        world.delivery(made, objective_id="fire"),
        world.delivery(made, DeliveryState.DELIVERED, objective_id="fire"),
    )
    assert world.configurations.detach(made.id, "ppe", by=ANA) == 0
    assert world.configurations.detach(made.id, "fire", cancel_waiting=True, by=ANA) == 1
    states = [world.deliveries.get(row.id).state for row in (kept, gone, sent)]
    assert states == [DeliveryState.PENDING, DeliveryState.CANCELLED, DeliveryState.DELIVERED]
    assert world.deliveries.get(gone.id).settled_by == "Ana Ruiz"
    assert world.configurations.links(made.id) == []
    assert world.configurations.detach(made.id, "fire") == 0
    assert len(world.history("detached")) == 2


def test_an_objectives_links_come_with_their_configurations_by_name(world: World) -> None:
    for name in ("beta", "Alpha"):
        world.configurations.attach(world.configuration(name).id, "ppe")
    links = world.objectives.get("ppe").links
    assert [link.configuration.name for link in links] == ["Alpha", "beta"]
