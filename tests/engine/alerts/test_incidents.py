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


def test_a_short_outage_is_told_to_nobody(stage):
    id = stage.configuration()
    stage.tick(hours=1)
    stage.down(id)
    stage.tick(seconds=15)
    stage.up(id)
    stage.tick(minutes=10)
    assert stage.kinds() == []
    (incident,) = stage.incidents(kind="outage")
    assert incident.closed_at is not None
    assert incident.announced_at is None
    assert incident.open_key is None


def test_an_outage_is_told_after_five_minutes_and_its_end_once(stage):
    id = stage.configuration()
    stage.down(id)
    stage.tick(minutes=4, seconds=59)
    assert stage.kinds() == []
    stage.tick(seconds=1)
    assert stage.kinds() == ["error"]
    stage.tick(hours=3)
    stage.deliveries(id, 37)
    stage.up(id)
    stage.tick(minutes=1)
    assert stage.kinds() == ["error", "recovered"]
    recovered = stage.mails()[-1]
    assert recovered.facts["waiting"] == 37
    assert recovered.facts["duration_seconds"] == 3 * 3600 + 300
    assert recovered.subject == (
        "[Harbor Training] Connected again: Corporate LMS – 37 results are being sent"
    )


def test_an_outage_is_told_after_three_failures_in_a_row(stage):
    id = stage.configuration()
    stage.down(id, failures=1)
    stage.tick(seconds=15)
    stage.down(id, failures=2)
    stage.tick(seconds=5)
    assert stage.kinds() == []
    stage.down(id, failures=3)
    stage.tick(seconds=5)
    assert stage.kinds() == ["error"]
    stage.tick(minutes=30)
    assert stage.kinds() == ["error"]


def test_refused_credentials_are_told_in_the_transaction_of_the_change(stage):
    id = stage.configuration()
    stage.deliveries(id, 5)
    stage.refuse(id)
    assert stage.kinds() == ["error"]
    assert stage.mails()[0].subject == (
        "[Harbor Training] Server Error: Corporate LMS – 5 results waiting"
    )


def test_a_mail_is_rolled_back_with_the_change_that_it_tells_of(stage):
    id = stage.configuration()
    configuration = stage.get(id)
    configuration.health.status, configuration.health.cause = Status.SERVER_ERROR, "credentials"
    event = events.StatusChanged(
        organization_id="acme", configuration_id=id, name="x", old="connected",
        new="server_error", cause="credentials", at=stage.now,
    )  # fmt: skip
    outages.status_changed(stage.state, stage.session, configuration, event)
    assert stage.session.scalar(sa.select(sa.func.count(Mail.id))) == 1
    stage.session.rollback()
    assert stage.mails() == []
    assert stage.incidents(kind="outage") == []


def test_somebody_who_sets_up_a_new_configuration_is_not_mailed_at_once(stage):
    id = stage.host.lms.configurations.create(
        "acme", "New", ["ana@acme.example"],
        settings={"url": "https://new.example.org/xapi/", "key": "k", "secret": "s"},
    ).id  # fmt: skip
    stage.refuse(id)
    stage.tick(minutes=2)
    stage.up(id)
    assert stage.kinds() == []
    stage.session.execute(sa.update(ConfigurationHealth).values(last_success_at=None))
    stage.refuse(id)
    stage.tick(minutes=5)
    assert stage.kinds() == ["error"]


def test_an_lms_that_asks_to_slow_down_is_not_an_outage_yet(stage):
    id = stage.configuration()
    stage.down(id, "rate", failures=0, status=Status.SERVER_ERROR)
    stage.tick(minutes=59)
    assert stage.kinds() == []
    stage.tick(minutes=1)
    assert stage.kinds() == ["error"]


def test_still_down_after_a_day_three_days_then_weekly(stage):
    id = stage.configuration()
    start = stage.now
    stage.down(id)
    for _ in range(24 * 25):
        stage.tick(hours=1)
    ages = [mail.created_at - start for mail in stage.mails(kind="still_down")]
    assert ages == [timedelta(days=days) for days in (1, 3, 10, 17, 24)]
    assert stage.kinds().count("error") == 1


def test_a_cause_that_now_needs_the_contact_is_told_once_more_in_the_same_thread(stage):
    id = stage.configuration()
    stage.down(id)
    stage.tick(minutes=5)
    stage.refuse(id)
    stage.down(id, "server", 7, Status.SERVER_ERROR)
    stage.tick(minutes=5)
    stage.down(id, "credentials", 8, Status.SERVER_ERROR)  # the status stays: no event
    stage.tick(minutes=5)
    first, second = stage.mails()
    assert (first.kind, second.kind) == ("error", "error")
    assert second.facts["is_update"] is True
    assert second.facts["references"] == [first.message_id]


def test_a_change_of_cause_without_an_event_is_noticed_by_the_tick(stage):
    id = stage.configuration()
    stage.down(id, "server", 3, Status.SERVER_ERROR)
    stage.tick(seconds=5)
    stage.session.execute(sa.update(ConfigurationHealth).values(cause="credentials"))
    stage.session.commit()
    stage.tick(seconds=5)
    assert [mail.facts["cause"] for mail in stage.mails()] == ["server", "credentials"]
    stage.tick(hours=1)
    assert len(stage.mails()) == 2


def test_not_tested_after_an_edit_is_no_recovery(stage):
    id = stage.configuration()
    stage.refuse(id)
    stage._change(id, Status.NOT_TESTED, None, 0, {})
    stage.tick(hours=30)
    assert stage.kinds() == ["error"]
    stage.up(id)
    assert stage.kinds() == ["error", "recovered"]


def test_an_outage_whose_end_was_missed_is_ended_by_the_tick(stage):
    id = stage.configuration()
    stage.refuse(id)
    stage.session.execute(
        sa.update(ConfigurationHealth).values(status=Status.CONNECTED, cause=None)
    )
    stage.session.commit()
    stage.tick(minutes=1)
    assert stage.kinds() == ["error", "recovered"]


@pytest.mark.parametrize("field", ["paused_at", "deleted_at"])
def test_a_paused_or_deleted_configuration_gets_no_mails_of_outages(stage, field):
    id = stage.configuration()
    stage.down(id)
    setattr(stage.get(id), field, stage.now)
    stage.session.commit()
    for _ in range(60):
        stage.tick(hours=1)
    assert stage.kinds() == []
    if field == "paused_at":
        stage.get(id).paused_at = None
        stage.session.commit()
        stage.tick(minutes=5)
        assert stage.kinds() == ["still_down"]
    else:
        assert [i.facts.get("was_deleted") for i in stage.incidents(kind="outage")] == [True]


def test_a_reminder_that_fell_into_a_pause_comes_after_it(stage):
    id = stage.configuration()
    stage.refuse(id)
    stage.get(id).paused_at = stage.now
    stage.session.commit()
    for _ in range(40):
        stage.tick(hours=1)
    assert stage.kinds() == ["error"]
    stage.get(id).paused_at = None
    stage.session.commit()
    stage.tick(minutes=5)
    stage.tick(minutes=5)
    assert stage.kinds() == ["error", "still_down"]


def test_the_sixth_change_in_a_day_is_one_unstable_mail(stage):
    id = stage.configuration()
    for _ in range(60):
        stage.down(id)
        stage.tick(minutes=1)
        stage.up(id)
        stage.tick(minutes=1)
    assert stage.kinds() == ["unstable"]
    assert stage.mails()[0].facts["interruptions"] == 3


def test_told_outages_count_as_changes_and_the_sixth_is_unstable_instead(stage):
    id = stage.configuration()
    for _ in range(10):
        stage.down(id)
        stage.tick(minutes=6)
        stage.up(id)
        stage.tick(minutes=30)
    assert stage.kinds() == ["error", "recovered"] * 2 + ["error", "unstable"]
    unstable = stage.mails(kind="unstable")[0]
    third = stage.mails(kind="error")[2]
    assert unstable.facts["references"] == [third.message_id]


def test_blips_that_the_next_probe_mends_are_no_alarm_until_there_are_very_many(stage):
    id = stage.configuration()
    for _ in range(29):
        stage.down(id)
        stage.tick(seconds=15)
        stage.up(id)
        stage.tick(minutes=1)
    assert stage.kinds() == []
    stage.down(id)
    stage.tick(seconds=15)
    stage.up(id)
    assert stage.kinds() == ["unstable"]


def test_unstable_is_told_once_a_day_until_a_day_was_calm(stage):
    id = stage.configuration()
    for hour in range(3 * 24):
        stage.down(id)
        stage.tick(minutes=2)
        stage.up(id)
        stage.tick(minutes=58)
        assert len(stage.mails()) <= 1 + hour // 23
    assert set(stage.kinds()) == {"unstable"}
    for _ in range(4 * 24):
        stage.tick(hours=1)
    assert stage.kinds()[-1] == "recovered"
    assert stage.kinds().count("recovered") == 1
    assert stage.mails()[-1].subject == "[Harbor Training] Stable again: Corporate LMS"
    assert stage.kinds().count("unstable") <= 4


def test_an_unstable_lms_that_stays_down_goes_on_as_one_outage_in_the_same_thread(stage):
    id = stage.configuration()
    for _ in range(4):
        stage.down(id)
        stage.tick(minutes=2)
        stage.up(id)
        stage.tick(minutes=10)
    stage.down(id)
    for _ in range(80):
        stage.tick(hours=1)
    stage.up(id)
    kinds = stage.kinds()
    assert kinds[0] == "unstable"
    assert kinds[-1] == "recovered"
    assert kinds.count("recovered") == 1
    assert kinds.count("still_down") == 2
    assert stage.mails()[-1].facts["references"][0] == stage.mails()[0].message_id


def test_refused_credentials_of_an_unstable_lms_do_not_wait_for_a_day(stage):
    id = stage.configuration()
    for _ in range(4):
        stage.down(id)
        stage.tick(minutes=2)
        stage.up(id)
        stage.tick(minutes=10)
    stage.refuse(id)
    stage.tick(minutes=59)
    assert "error" not in stage.kinds()
    stage.tick(minutes=1)
    assert stage.kinds()[-1] == "error"


def test_each_contact_has_a_row_and_a_thread_of_its_own(stage):
    id = stage.configuration(contacts=("ana@acme.example", "Bo@acme.example"))
    stage.refuse(id)
    stage.tick(hours=24)
    stage.up(id)
    ana, bo = stage.mails(recipient="ana@acme.example"), stage.mails(recipient="Bo@acme.example")
    assert [m.kind for m in ana] == [m.kind for m in bo] == ["error", "still_down", "recovered"]
    assert len({m.message_id for m in ana + bo}) == 6
    assert ana[2].facts["references"] == [ana[0].message_id]
    assert bo[2].facts["references"] == [ana[0].message_id, bo[0].message_id]
    assert ana[0].facts["others"] == ["Bo@acme.example"]


def test_a_new_contact_gets_the_next_mails_and_the_old_one_none(stage):
    id = stage.configuration()
    stage.refuse(id)
    stage.get(id).contact_emails = ["bo@acme.example"]
    stage.session.commit()
    stage.tick(hours=24)
    stage.up(id)
    assert [(m.recipient, m.kind) for m in stage.mails()] == [
        ("ana@acme.example", "error"),
        ("bo@acme.example", "still_down"),
        ("bo@acme.example", "recovered"),
    ]
    assert sending.send_due(stage.state) == 2  # Ana's was not yet sent, and is not any more
    assert stage.mails()[0].reason == "no_contact"


def test_a_muted_address_has_a_skipped_row(stage):
    id = stage.configuration(contacts=("ana@acme.example", "bo@acme.example"))
    stage.host.lms.configurations.mute(id, "bo@acme.example")
    stage.refuse(id)
    assert [(m.recipient, m.state, m.reason) for m in stage.mails()] == [
        ("ana@acme.example", "waiting", None),
        ("bo@acme.example", "skipped", "muted"),
    ]


def test_results_are_collected_and_told_at_most_once_a_day(stage):
    id = stage.configuration()
    stage.tick()
    for _ in range(60):
        stage.deliveries(id, 80, DeliveryState.REJECTED, "rejected")
        stage.deliveries(id, 3, DeliveryState.NOT_SENT, "no_email")
        stage.tick(minutes=1)
    assert stage.kinds() == ["results"]
    for _ in range(48):
        stage.tick(hours=1)
    first, second = stage.mails()
    assert (
        timedelta(0)
        <= second.created_at - first.created_at - timedelta(days=1)
        < timedelta(hours=1)
    )
    told = [m.facts["rejected"] + m.facts["not_sent"] for m in (first, second)]
    assert sum(told) == 60 * 83
    assert first.facts["references"] == []
    assert second.facts["references"] == [first.message_id]
    assert stage.incidents(kind="results")[0].closed_at is not None


def test_results_of_a_deleted_configuration_are_not_told(stage):
    id = stage.configuration()
    stage.tick()
    stage.deliveries(id, 4, DeliveryState.REJECTED, "rejected")
    stage.get(id).deleted_at = stage.now
    stage.session.commit()
    for _ in range(30):
        stage.tick(minutes=1)
    assert stage.kinds() == []


def test_results_that_were_sent_again_in_time_are_not_told(stage):
    id = stage.configuration()
    stage.tick()
    stage.deliveries(id, 4, DeliveryState.REJECTED, "rejected")
    stage.tick(minutes=2)
    stage.session.execute(
        sa.update(models.Delivery).values(state=DeliveryState.PENDING, settled_at=None)
    )
    stage.session.commit()
    for _ in range(30):
        stage.tick(minutes=1)
    assert stage.kinds() == []
    assert stage.incidents(kind="results")[0].closed_at is not None


def test_an_address_gets_at_most_twenty_a_day_and_a_digest_of_the_rest(stage):
    ids = [stage.configuration(f"LMS{n} of a branch") for n in range(30)]
    for id in ids:
        stage.refuse(id)
    for _ in range(23 * 6):
        stage.tick(minutes=10)
    sent = stage.mails(state="waiting")
    assert len(sent) == 20
    assert sent[-1].kind == "digest"
    assert sent[-1].facts["count"] == 11
    assert sent[-1].created_at - sent[0].created_at <= timedelta(minutes=20)
    assert {m.reason for m in stage.mails(state="skipped")} == {"in_digest"}


def test_a_configuration_has_at_most_six_mails_a_day(stage):
    id = stage.configuration()
    stage.tick()
    for n in range(9):
        incident = incidents.open_for(stage.session, stage.get(id), f"t{n}", stage.now)
        queue.queue(
            stage.state, stage.session, kind=rules.Kind.ERROR, now=stage.now, incident=incident,
            configuration=stage.get(id), facts={"configuration_id": str(id), "name": "x"},
        )  # fmt: skip
        stage.session.commit()
        stage.tick(minutes=5)
    assert [m.reason for m in stage.mails()].count("cap_configuration") == 3
    for _ in range(30):
        stage.tick(hours=1)
    digest = stage.mails(kind="digest")
    assert len(digest) == 1
    assert digest[0].facts["count"] == 3
    assert digest[0].created_at - stage.mails()[0].created_at >= timedelta(days=1)


def test_a_dead_worker_is_told_of_by_the_next_one(stage):
    id = stage.configuration()
    stage.tick()
    stage.tick(minutes=1)
    stage.deliveries(id, 12)
    stage.clock.advance(hours=2)
    stage.tick()
    (mail,) = stage.mails()
    assert (mail.kind, mail.recipient, mail.facts["cause"]) == (
        "operator",
        "ops@harbor.example",
        "no_worker",
    )
    assert mail.facts["duration_seconds"] == 7200
    stage.tick(minutes=1)
    assert len(stage.mails()) == 1


def test_a_night_without_a_worker_in_which_nothing_waited_is_no_alert(stage):
    stage.configuration()
    stage.tick()
    stage.tick(hours=9)
    assert stage.mails() == []


def test_redis_away_for_five_minutes_is_told_and_its_end_too(stage):
    def beat(has_redis):
        worker = stage.session.get(Worker, "w") or Worker(
            id="w", version="1", started_at=stage.now, has_redis=True
        )
        worker.seen_at, worker.has_redis = stage.now, has_redis
        stage.session.add(worker)
        stage.session.commit()

    for minute in range(20):
        beat(has_redis=minute >= 12 or minute < 2)
        stage.tick(minutes=1)
    told = [(m.facts["cause"], m.facts["stage"]) for m in stage.mails()]
    assert told == [("redis", "error"), ("redis", "over")]
    assert stage.mails()[1].facts["references"] == [stage.mails()[0].message_id]


def test_an_unreadable_secret_is_told_to_operators_and_contacts(stage):
    id = stage.configuration()
    stage.down(id, "secret_unreadable", 1)
    stage.tick(minutes=1)
    assert [(m.recipient, m.kind) for m in stage.mails()] == [
        ("ana@acme.example", "error"),
        ("ops@harbor.example", "operator"),
    ]
    stage.up(id)
    stage.tick(minutes=1)
    assert stage.mails()[-1].facts["stage"] == "over"


def test_our_own_fault_is_told_once_and_ends_by_itself(stage):
    for _ in range(3):
        operators.operator_fault(
            stage.state, stage.session, "dns", {"host": "a.example"}, stage.now
        )
        stage.session.commit()
        stage.tick(minutes=1)
    for _ in range(10):
        stage.tick(minutes=1)
    assert [m.facts["stage"] for m in stage.mails()] == ["error", "over"]
    assert {m.recipient for m in stage.mails()} == {"ops@harbor.example"}


def test_two_ticks_at_once_decide_once(stage):
    id = stage.configuration()
    stage.down(id)
    stage.clock.advance(minutes=6)
    (outage,) = stage.incidents(kind="outage")
    stale = outage.next_mail_at
    stage.tick()
    assert stage.kinds() == ["error"]
    # another worker had read the row before
    done = stage.session.execute(
        sa.update(Incident).where(Incident.id == outage.id, Incident.next_mail_at == stale)
        .values(next_mail_at=stage.now)
    )  # fmt: skip
    assert done.rowcount == 0


def test_a_test_alert_goes_to_each_contact_five_times_a_day(stage):
    id = stage.configuration(contacts=("ana@acme.example", "bo@acme.example"))
    sent = []
    for _ in range(7):
        sent.append(sending.send_test(stage.state, stage.get(id), "Ana Ruiz"))
        stage.clock.advance(minutes=1)
    assert sent == [2, 2, 2, 2, 2, 0, 0]
    stage.refuse(id)
    assert stage.kinds()[-2:] == ["error", "error"]
    assert stage.mails(kind="error", state="skipped") == []
