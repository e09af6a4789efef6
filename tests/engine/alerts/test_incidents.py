"""Who is told when, on real rows and a clock that moves only when told."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from flask_lms import events
from flask_lms.alerts import incidents, operators, outages, queue, rules, sending
from flask_lms.database import models
from flask_lms.database.models import (
    ConfigurationHealth,
    DeliveryState,
    Incident,
    Mail,
    Status,
    Worker,
)


def test_a_short_outage_is_told_to_nobody(world):
    id = world.connected()
    world.tick(hours=1)
    world.down(id)
    world.tick(seconds=15)
    world.up(id)
    world.tick(minutes=10)
    assert world.kinds() == []
    (incident,) = world.incidents(kind="outage")
    assert incident.closed_at is not None
    assert incident.announced_at is None
    assert incident.open_key is None


def test_an_outage_is_told_after_five_minutes_and_its_end_once(world):
    id = world.connected()
    world.down(id)
    world.tick(minutes=4, seconds=59)
    assert world.kinds() == []
    world.tick(seconds=1)
    assert world.kinds() == ["error"]
    world.tick(hours=3)
    world.wait(id, 37)
    world.up(id)
    world.tick(minutes=1)
    assert world.kinds() == ["error", "recovered"]
    recovered = world.mails()[-1]
    assert recovered.facts["waiting"] == 37
    assert recovered.facts["duration_seconds"] == 3 * 3600 + 300
    assert recovered.subject == (
        "[Harbor Training] Connected again: Corporate LMS – 37 results are being sent"
    )


def test_an_outage_is_told_after_three_failures_in_a_row(world):
    id = world.connected()
    world.down(id, failures=1)
    world.tick(seconds=15)
    world.down(id, failures=2)
    world.tick(seconds=5)
    assert world.kinds() == []
    world.down(id, failures=3)
    world.tick(seconds=5)
    assert world.kinds() == ["error"]
    world.tick(minutes=30)
    assert world.kinds() == ["error"]


def test_refused_credentials_are_told_in_the_transaction_of_the_change(world):
    id = world.connected()
    world.wait(id, 5)
    world.refuse(id)
    assert world.kinds() == ["error"]
    assert world.mails()[0].subject == (
        "[Harbor Training] Server Error: Corporate LMS – 5 results waiting"
    )


def test_a_mail_is_rolled_back_with_the_change_that_it_tells_of(world):
    id = world.connected()
    configuration = world.get(id)
    configuration.health.status, configuration.health.cause = Status.SERVER_ERROR, "credentials"
    event = events.StatusChanged(
        organization_id="acme", configuration_id=id, name="x", old="connected",
        new="server_error", cause="credentials", at=world.now,
    )  # fmt: skip
    outages.status_changed(world.state, world.session, configuration, event)
    assert world.session.scalar(sa.select(sa.func.count(Mail.id))) == 1
    world.session.rollback()
    assert world.mails() == []
    assert world.incidents(kind="outage") == []


def test_somebody_who_sets_up_a_new_configuration_is_not_mailed_at_once(world):
    id = world.lms.configurations.create(
        "acme", "New", ["ana@acme.example"],
        settings={"url": "https://new.example.org/xapi/", "key": "k", "secret": "s"},
    ).id  # fmt: skip
    world.refuse(id)
    world.tick(minutes=2)
    world.up(id)
    assert world.kinds() == []
    world.session.execute(sa.update(ConfigurationHealth).values(last_success_at=None))
    world.refuse(id)
    world.tick(minutes=9)
    assert world.kinds() == []
    world.tick(minutes=1)
    assert world.kinds() == ["error"]


def test_a_new_configuration_for_which_results_wait_is_mailed_at_once(world):
    id = world.lms.configurations.create(
        "acme", "New", ["ana@acme.example"],
        settings={"url": "https://new.example.org/xapi/", "key": "k", "secret": "s"},
    ).id  # fmt: skip
    world.wait(id, 1)
    world.refuse(id)
    assert world.kinds() == ["error"]


def test_an_lms_that_asks_to_slow_down_is_not_an_outage_yet(world):
    id = world.connected()
    world.down(id, "rate", failures=0, status=Status.SERVER_ERROR)
    world.tick(minutes=59)
    assert world.kinds() == []
    world.tick(minutes=1)
    assert world.kinds() == ["error"]


def test_still_down_after_a_day_three_days_then_weekly(world):
    id = world.connected()
    start = world.now
    world.down(id)
    for _ in range(24 * 25):
        world.tick(hours=1)
    ages = [mail.created_at - start for mail in world.mails(kind="still_down")]
    assert ages == [timedelta(days=days) for days in (1, 3, 10, 17, 24)]
    assert world.kinds().count("error") == 1


def test_a_cause_that_now_needs_the_contact_is_told_once_more_in_the_same_thread(world):
    id = world.connected()
    world.down(id)
    world.tick(minutes=5)
    world.refuse(id)
    world.down(id, "server", 7, Status.SERVER_ERROR)
    world.tick(minutes=5)
    world.down(id, "credentials", 8, Status.SERVER_ERROR)  # the status stays: no event
    world.tick(minutes=5)
    first, second = world.mails()
    assert (first.kind, second.kind) == ("error", "error")
    assert second.facts["is_update"] is True
    assert second.facts["references"] == [first.message_id]


def test_a_change_of_cause_without_an_event_is_noticed_by_the_tick(world):
    id = world.connected()
    world.down(id, "server", 3, Status.SERVER_ERROR)
    world.tick(seconds=5)
    world.session.execute(sa.update(ConfigurationHealth).values(cause="credentials"))
    world.session.commit()
    world.tick(seconds=5)
    assert [mail.facts["cause"] for mail in world.mails()] == ["server", "credentials"]
    world.tick(hours=1)
    assert len(world.mails()) == 2


def test_not_tested_after_an_edit_is_no_recovery(world):
    id = world.connected()
    world.refuse(id)
    world._change(id, Status.NOT_TESTED, None, 0, {})
    world.tick(hours=30)
    assert world.kinds() == ["error"]
    world.up(id)
    assert world.kinds() == ["error", "recovered"]


def test_an_outage_whose_end_was_missed_is_ended_by_the_tick(world):
    id = world.connected()
    world.refuse(id)
    world.session.execute(
        sa.update(ConfigurationHealth).values(status=Status.CONNECTED, cause=None)
    )
    world.session.commit()
    world.tick(minutes=1)
    assert world.kinds() == ["error", "recovered"]


@pytest.mark.parametrize("field", ["paused_at", "deleted_at"])
def test_a_paused_or_deleted_configuration_gets_no_mails_of_outages(world, field):
    id = world.connected()
    world.down(id)
    setattr(world.get(id), field, world.now)
    world.session.commit()
    for _ in range(60):
        world.tick(hours=1)
    assert world.kinds() == []
    if field == "paused_at":
        world.get(id).paused_at = None
        world.session.commit()
        world.tick(minutes=5)
        assert world.kinds() == ["still_down"]
    else:
        assert [i.facts.get("was_deleted") for i in world.incidents(kind="outage")] == [True]


def test_a_reminder_that_fell_into_a_pause_comes_after_it(world):
    id = world.connected()
    world.refuse(id)
    world.get(id).paused_at = world.now
    world.session.commit()
    for _ in range(40):
        world.tick(hours=1)
    assert world.kinds() == ["error"]
    world.get(id).paused_at = None
    world.session.commit()
    world.tick(minutes=5)
    world.tick(minutes=5)
    assert world.kinds() == ["error", "still_down"]


def test_the_sixth_change_in_a_day_is_one_unstable_mail(world):
    id = world.connected()
    for _ in range(60):
        world.down(id)
        world.tick(minutes=1)
        world.up(id)
        world.tick(minutes=1)
    assert world.kinds() == ["unstable"]
    assert world.mails()[0].facts["interruptions"] == 3


def test_told_outages_count_as_changes_and_the_sixth_is_unstable_instead(world):
    id = world.connected()
    for _ in range(10):
        world.down(id)
        world.tick(minutes=6)
        world.up(id)
        world.tick(minutes=30)
    assert world.kinds() == ["error", "recovered"] * 2 + ["error", "unstable"]
    unstable = world.mails(kind="unstable")[0]
    third = world.mails(kind="error")[2]
    assert unstable.facts["references"] == [third.message_id]
    *_, last = world.incidents(kind="outage", thread=third.message_id)
    assert last.facts["merged_into"] == unstable.incident_id.hex


def test_blips_that_the_next_probe_mends_are_no_alarm_until_there_are_very_many(world):
    id = world.connected()
    for _ in range(29):
        world.down(id)
        world.tick(seconds=15)
        world.up(id)
        world.tick(minutes=1)
    assert world.kinds() == []
    world.down(id)
    world.tick(seconds=15)
    world.up(id)
    assert world.kinds() == ["unstable"]


def test_unstable_is_told_once_a_day_until_a_day_was_calm(world):
    id = world.connected()
    for hour in range(3 * 24):
        world.down(id)
        world.tick(minutes=2)
        world.up(id)
        world.tick(minutes=58)
        assert len(world.mails()) <= 1 + hour // 23
    assert set(world.kinds()) == {"unstable"}
    for _ in range(4 * 24):
        world.tick(hours=1)
    assert world.kinds()[-1] == "recovered"
    assert world.kinds().count("recovered") == 1
    assert world.mails()[-1].subject == "[Harbor Training] Stable again: Corporate LMS"
    assert world.kinds().count("unstable") <= 4


def test_an_unstable_lms_that_stays_down_goes_on_as_one_outage_in_the_same_thread(world):
    id = world.connected()
    for _ in range(4):
        world.down(id)
        world.tick(minutes=2)
        world.up(id)
        world.tick(minutes=10)
    world.down(id)
    for _ in range(80):
        world.tick(hours=1)
    world.up(id)
    kinds = world.kinds()
    assert kinds[0] == "unstable"
    assert kinds[-1] == "recovered"
    assert kinds.count("recovered") == 1
    assert kinds.count("still_down") == 2
    assert world.mails()[-1].facts["references"][0] == world.mails()[0].message_id


def test_refused_credentials_of_an_unstable_lms_do_not_wait_for_a_day(world):
    id = world.connected()
    for _ in range(4):
        world.down(id)
        world.tick(minutes=2)
        world.up(id)
        world.tick(minutes=10)
    world.refuse(id)
    world.tick(minutes=59)
    assert "error" not in world.kinds()
    world.tick(minutes=1)
    assert world.kinds()[-1] == "error"


def test_each_contact_has_a_row_and_a_thread_of_its_own(world):
    id = world.connected(contacts=("ana@acme.example", "Bo@acme.example"))
    world.refuse(id)
    world.tick(hours=24)
    world.up(id)
    ana, bo = world.mails(recipient="ana@acme.example"), world.mails(recipient="Bo@acme.example")
    assert [m.kind for m in ana] == [m.kind for m in bo] == ["error", "still_down", "recovered"]
    assert len({m.message_id for m in ana + bo}) == 6
    assert ana[2].facts["references"] == [ana[0].message_id]
    assert bo[2].facts["references"] == [ana[0].message_id, bo[0].message_id]
    assert ana[0].facts["others"] == ["Bo@acme.example"]


def test_a_new_contact_gets_the_next_mails_and_the_old_one_none(world):
    id = world.connected()
    world.refuse(id)
    world.get(id).contact_emails = ["bo@acme.example"]
    world.session.commit()
    world.tick(hours=24)
    world.up(id)
    assert [(m.recipient, m.kind) for m in world.mails()] == [
        ("ana@acme.example", "error"),
        ("bo@acme.example", "still_down"),
        ("bo@acme.example", "recovered"),
    ]
    assert sending.send_due(world.state) == 2  # Ana's was not yet sent, and is not any more
    assert world.mails()[0].reason == "no_contact"


def test_a_muted_address_has_a_skipped_row(world):
    id = world.connected(contacts=("ana@acme.example", "bo@acme.example"))
    world.lms.configurations.mute(id, "bo@acme.example")
    world.refuse(id)
    assert [(m.recipient, m.state, m.reason) for m in world.mails()] == [
        ("ana@acme.example", "waiting", None),
        ("bo@acme.example", "skipped", "muted"),
    ]


def test_results_are_collected_and_told_at_most_once_a_day(world):
    id = world.connected()
    world.tick()
    for _ in range(60):
        world.wait(id, 80, DeliveryState.REJECTED, "rejected")
        world.wait(id, 3, DeliveryState.NOT_SENT, "no_email")
        world.tick(minutes=1)
    assert world.kinds() == ["results"]
    for _ in range(48):
        world.tick(hours=1)
    first, second = world.mails()
    assert (
        timedelta(0)
        <= second.created_at - first.created_at - timedelta(days=1)
        < timedelta(hours=1)
    )
    told = [m.facts["rejected"] + m.facts["not_sent"] for m in (first, second)]
    assert sum(told) == 60 * 83
    assert first.facts["references"] == []
    assert second.facts["references"] == [first.message_id]
    assert world.incidents(kind="results")[0].closed_at is not None


def test_results_of_a_deleted_configuration_are_not_told(world):
    id = world.connected()
    world.tick()
    world.wait(id, 4, DeliveryState.REJECTED, "rejected")
    world.get(id).deleted_at = world.now
    world.session.commit()
    for _ in range(30):
        world.tick(minutes=1)
    assert world.kinds() == []


def test_results_that_were_sent_again_in_time_are_not_told(world):
    id = world.connected()
    world.tick()
    world.wait(id, 4, DeliveryState.REJECTED, "rejected")
    world.tick(minutes=2)
    world.session.execute(
        sa.update(models.Delivery).values(state=DeliveryState.PENDING, settled_at=None)
    )
    world.session.commit()
    for _ in range(30):
        world.tick(minutes=1)
    assert world.kinds() == []
    assert world.incidents(kind="results")[0].closed_at is not None


def test_an_address_gets_at_most_twenty_a_day_and_a_digest_of_the_rest(world):
    ids = [world.connected(f"LMS{n} of a branch") for n in range(30)]
    for id in ids:
        world.refuse(id)
    for _ in range(23 * 6):
        world.tick(minutes=10)
    sent = world.mails(state="waiting")
    assert len(sent) == 20
    assert sent[-1].kind == "digest"
    assert sent[-1].facts["count"] == 11
    assert sent[-1].created_at - sent[0].created_at <= timedelta(minutes=20)
    assert {m.reason for m in world.mails(state="skipped")} == {"in_digest"}


def _crowd(world, address, n, organization_id="acme"):
    """So many configurations of which this address is told now."""
    for number in range(n):
        world.refuse(
            world.connected(
                f"{organization_id}{number}", (address,), organization_id=organization_id
            )
        )


def test_a_digest_to_an_address_waits_for_room_there_alone(world):
    """Its configuration may have used up its own six mails by then: they went to others."""
    id = world.connected(contacts=("hub@acme.example",))
    _crowd(world, "hub@acme.example", 19)
    world.clock.advance(hours=12)
    for n in range(7):
        incident, _ = incidents.open_once(
            world.session, f"t{n}", world.get(id), kind=f"t{n}", opened_at=world.now
        )
        queue.queue(
            world.state, world.session, kind=rules.Kind.ERROR, now=world.now, incident=incident,
            configuration=world.get(id), facts={"configuration_id": str(id), "name": "x"},
        )  # fmt: skip
        world.get(id).contact_emails = ["ana@acme.example", "hub@acme.example"]
        world.session.commit()
        world.clock.advance(minutes=1)
    skipped = world.mails(state="skipped")
    assert {(m.recipient, m.reason) for m in skipped} == {("hub@acme.example", "cap_address")}
    world.tick(minutes=20)
    (digest,) = world.mails(kind="digest")
    assert digest.facts["count"] == len(skipped) == 7


def test_the_digests_of_two_organizations_to_one_address_are_under_its_cap_too(world):
    _crowd(world, "hub@hub.example", 20)
    _crowd(world, "hub@hub.example", 3, "globex")
    world.tick(minutes=20)
    assert len(world.mails(state="waiting")) == rules.ADDRESS_CAP
    assert [mail.organization_id for mail in world.mails(kind="digest")] == ["acme"]


def test_an_address_that_stands_there_twice_gets_one_mail(world):
    twice = ["ops@harbor.example", "Ops@Harbor.example"]
    sent = queue.queue(
        world.state, world.session, kind=rules.Kind.OPERATOR, now=world.now, recipients=twice,
        facts={"cause": "dns"},
    )  # fmt: skip
    world.session.commit()
    assert sent == 1
    (mail,) = world.mails()
    assert mail.facts["others"] == []


def test_a_configuration_has_at_most_six_mails_a_day(world):
    id = world.connected()
    world.tick()
    for n in range(9):
        incident, _ = incidents.open_once(
            world.session, f"t{n}", world.get(id), kind=f"t{n}", opened_at=world.now
        )
        queue.queue(
            world.state, world.session, kind=rules.Kind.ERROR, now=world.now, incident=incident,
            configuration=world.get(id), facts={"configuration_id": str(id), "name": "x"},
        )  # fmt: skip
        world.session.commit()
        world.tick(minutes=5)
    assert [m.reason for m in world.mails()].count("cap_configuration") == 3
    for _ in range(30):
        world.tick(hours=1)
    digest = world.mails(kind="digest")
    assert len(digest) == 1
    assert digest[0].facts["count"] == 3
    assert digest[0].created_at - world.mails()[0].created_at >= timedelta(days=1)


def test_a_dead_worker_is_told_of_by_the_next_one(world):
    id = world.connected()
    world.tick()
    world.tick(minutes=1)
    world.wait(id, 12)
    world.clock.advance(hours=2)
    world.tick()
    (mail,) = world.mails()
    assert (mail.kind, mail.recipient, mail.facts["cause"]) == (
        "operator",
        "ops@harbor.example",
        "no_worker",
    )
    assert mail.facts["duration_seconds"] == 7200
    world.tick(minutes=1)
    assert len(world.mails()) == 1


def test_a_night_without_a_worker_in_which_nothing_waited_is_no_alert(world):
    world.connected()
    world.tick()
    world.tick(hours=9)
    assert world.mails() == []


def test_redis_away_for_five_minutes_is_told_and_its_end_too(world):
    def beat(has_redis):
        worker = world.session.get(Worker, "w") or Worker(
            id="w", version="1", started_at=world.now, has_redis=True
        )
        worker.seen_at, worker.has_redis = world.now, has_redis
        world.session.add(worker)
        world.session.commit()

    for minute in range(20):
        beat(has_redis=minute >= 12 or minute < 2)
        world.tick(minutes=1)
    told = [(m.facts["cause"], m.facts["stage"]) for m in world.mails()]
    assert told == [("redis", "error"), ("redis", "over")]
    assert world.mails()[1].facts["references"] == [world.mails()[0].message_id]


def test_an_unreadable_secret_is_told_to_operators_and_contacts(world):
    id = world.connected()
    world.down(id, "secret_unreadable", 1)
    world.tick(minutes=1)
    assert [(m.recipient, m.kind) for m in world.mails()] == [
        ("ana@acme.example", "error"),
        ("ops@harbor.example", "operator"),
    ]
    world.up(id)
    world.tick(minutes=1)
    assert world.mails()[-1].facts["stage"] == "over"


def test_our_own_fault_is_told_once_and_ends_by_itself(world):
    for _ in range(3):
        operators.operator_fault(
            world.state, world.session, "dns", {"host": "a.example"}, world.now
        )
        world.session.commit()
        world.tick(minutes=1)
    for _ in range(10):
        world.tick(minutes=1)
    assert [m.facts["stage"] for m in world.mails()] == ["error", "over"]
    assert {m.recipient for m in world.mails()} == {"ops@harbor.example"}


def test_two_ticks_at_once_decide_once(world):
    id = world.connected()
    world.down(id)
    world.clock.advance(minutes=6)
    (outage,) = world.incidents(kind="outage")
    stale = outage.next_mail_at
    world.tick()
    assert world.kinds() == ["error"]
    # another worker had read the row before
    done = world.session.execute(
        sa.update(Incident).where(Incident.id == outage.id, Incident.next_mail_at == stale)
        .values(next_mail_at=world.now)
    )  # fmt: skip
    assert done.rowcount == 0


def test_a_test_alert_goes_to_each_contact_five_times_a_day(world):
    id = world.connected(contacts=("ana@acme.example", "bo@acme.example"))
    sent = []
    for _ in range(7):
        sent.append(sending.send_test(world.state, world.get(id), "Ana Ruiz"))
        world.clock.advance(minutes=1)
    assert sent == [2, 2, 2, 2, 2, 0, 0]
    world.refuse(id)
    assert world.kinds()[-2:] == ["error", "error"]
    assert world.mails(kind="error", state="skipped") == []
