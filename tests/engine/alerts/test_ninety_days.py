"""Ninety days in the life of some LMSs, mail by mail. Run with ``-s`` to see the table.

The clock is passed, rows and decisions are real, and so is the mail server that is away for a day:
nothing listens at its port.
"""

from __future__ import annotations

import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from flask_lms import events
from flask_lms.alerts import rules, sending
from flask_lms.database.models import DeliveryState, Incident, Mail
from tests.world import START, World, make_world

DAYS = 90
DAY = timedelta(days=1)


class Life:
    """A script of what happens when, played on a clock; minutes tick while something happens."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.script: list[tuple[datetime, Callable[[], None]]] = []
        self.down_since: dict[uuid.UUID, datetime] = {}
        self.sent: list[tuple[datetime, uuid.UUID]] = []

    def at(self, day: float, act: Callable[[], None], **more: float) -> None:
        self.script.append((START + timedelta(days=day) + timedelta(**more), act))

    def outage(self, id: uuid.UUID, day: float, cause: str = "refused", **lasts: float) -> None:
        def begin() -> None:
            self.down_since[id] = self.world.now
            act = self.world.refuse if cause == "credentials" else self.world.down
            act(id, cause)

        def end() -> None:
            del self.down_since[id]
            self.world.up(id)

        self.at(day, begin)
        self.at(day, end, **lasts)

    def play(self) -> None:
        self.script.sort(key=lambda line: line[0])
        happened_at = START
        for moment, act in [*self.script, (START + DAYS * DAY, lambda: None)]:
            while self.world.now < moment:
                step = self._step(self.world.now - happened_at)
                self.world.clock.time = min(self.world.now + step, moment)
                self.tick()
            act()
            self.tick()
            happened_at = moment

    def _step(self, quiet_for: timedelta) -> timedelta:
        """To the next tick: short while something is decided, long where only reminders come."""
        if quiet_for < timedelta(minutes=12):
            return timedelta(minutes=1)
        return timedelta(hours=1) if quiet_for < 2 * DAY else DAY

    def tick(self) -> None:
        world = self.world
        for id, since in self.down_since.items():  # probed after 15 and 30 seconds more
            if world.now - since >= timedelta(seconds=45):
                world.get(id).health.failures = 3
        world.session.commit()
        world.tick()
        while sending.send_due(world.state):
            pass

    def note(self, sender: object, event: events.AlertSent) -> None:
        self.sent.append((event.at, event.mail_id))


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    with make_world("sqlite://") as world:
        world.freeze()
        life = Life(world)
        _write(life)
        with events.alert_sent.connected_to(life.note):
            life.play()
        yield life


def _write(life: Life) -> None:
    world = life.world
    corporate = world.connected("Corporate LMS", ("ana@acme.example",))
    flapping = world.connected("Flapping LMS", ("carla@acme.example",))
    rejecting = world.connected("Strict LMS", ("dora@acme.example",))
    revoked = world.connected("Revoked LMS", ("emil@acme.example", "fay@acme.example"))
    branches = [world.connected(f"Branch {n:02}", ("hub@acme.example",)) for n in range(25)]
    open_ended = world.connected("Old LMS", ("gus@acme.example",))

    life.outage(corporate, 1, seconds=30)
    life.outage(corporate, 2, minutes=1)
    life.outage(corporate, 5, minutes=40)
    life.outage(corporate, 10, days=9, hours=23)

    def new_contact() -> None:
        world.get(corporate).contact_emails = ["bo@acme.example"]
        world.session.commit()

    life.at(12, new_contact)
    for minute in range(0, 120, 2):
        life.outage(flapping, 30 + minute / 1440, minutes=1)
    for minute in range(0, 40, 2):
        life.outage(flapping, 31 + minute / 1440, minutes=1)

    def reject() -> None:
        world.wait(rejecting, 500, DeliveryState.REJECTED, "rejected")

    for minute in range(0, 60, 6):
        life.at(40, reject, minutes=minute)
    life.outage(revoked, 50, "credentials", days=2)

    def mail_server(is_there: bool) -> Callable[[], None]:
        def act() -> None:
            mail = world.app.extensions["mail"]
            mail.suppress, mail.server, mail.port = is_there, "127.0.0.1", 1

        return act

    life.at(60, mail_server(False))
    life.outage(corporate, 60.1, hours=3)
    life.outage(revoked, 60.4, minutes=40)
    life.at(61, mail_server(True))
    for branch in branches:
        life.outage(branch, 70, hours=2)

    def for_ever() -> None:
        life.down_since[open_ended] = world.now
        world.down(open_ended)

    life.at(80, for_ever)


def names(life: Life) -> dict[uuid.UUID, str]:
    world = life.world
    return {c.id: c.name for c in world.lms.configurations.list()}


def mails(life: Life, name: str) -> list[Mail]:
    """What was sent about a configuration, in the order of sending."""
    by_id = {mail.id: mail for mail in life.world.mails(state="sent")}
    known = names(life)
    return [by_id[id] for _, id in life.sent if known.get(by_id[id].configuration_id) == name]


def told(life: Life, name: str) -> list[tuple[str, str, float]]:
    """Recipient, kind and day of the decision."""
    return [
        (m.recipient.split("@")[0], m.kind, round((m.created_at - START) / DAY, 1))
        for m in mails(life, name)
    ]


def test_the_table(life: Life) -> None:
    known = names(life)
    by_id = {mail.id: mail for mail in life.world.mails()}
    lines = [""]
    for at, id in life.sent:
        mail = by_id[id]
        day = (at - START) / DAY
        late = at - mail.created_at
        lines.append(
            f"day {day:5.2f}  {mail.kind:<10} {mail.recipient.split('@')[0]:<6} "
            f"{known.get(mail.configuration_id, '–'):<14} {mail.subject[18:]}"
            + (f"  ({late} late)" if late > timedelta(minutes=1) else "")
        )
    lines.append(f"{len(life.sent)} mails in {DAYS} days\n")
    sys.stdout.write("\n".join(lines))
    assert len(life.sent) == len({id for _, id in life.sent})
    assert {m.state for m in life.world.mails()} <= {"sent", "skipped"}


def test_short_long_and_changed_contact(life: Life) -> None:
    assert told(life, "Corporate LMS") == [
        ("ana", "error", 2.0),
        ("ana", "recovered", 2.0),
        ("ana", "error", 5.0),
        ("ana", "recovered", 5.0),
        ("ana", "error", 10.0),
        ("ana", "still_down", 11.0),
        ("bo", "still_down", 13.0),
        ("bo", "recovered", 20.0),
        ("bo", "error", 60.1),
        ("bo", "recovered", 60.2),
    ]


def test_the_sixth_change_is_unstable_then_one_mail_a_day_until_it_is_calm(life: Life) -> None:
    assert told(life, "Flapping LMS") == [
        *[("carla", kind, 30.0) for kind in ("error", "recovered") * 2],
        ("carla", "error", 30.0),
        ("carla", "unstable", 30.0),
        ("carla", "unstable", 31.0),
        ("carla", "unstable", 32.0),
        ("carla", "recovered", 33.0),
    ]


def test_five_thousand_rejects_are_two_mails(life: Life) -> None:
    sent = mails(life, "Strict LMS")
    assert [m.kind for m in sent] == ["results", "results"]
    assert sum(m.facts["rejected"] for m in sent) == 5000
    assert sent[1].created_at - sent[0].created_at >= DAY


def test_revoked_credentials_reach_both_contacts_at_once(life: Life) -> None:
    kinds = told(life, "Revoked LMS")
    for who in ("emil", "fay"):
        assert [(kind, day) for name, kind, day in kinds if name == who] == [
            ("error", 50.0),
            ("still_down", 51.0),
            ("recovered", 52.0),
            ("error", 60.4),
            ("recovered", 60.4),
        ]
    first = mails(life, "Revoked LMS")[0]
    assert first.created_at == START + 50 * DAY


def test_a_mail_server_away_for_a_day_delays_mails_and_keeps_their_order(life: Life) -> None:
    late = [
        (at, mail)
        for at, mail in ((at, life.world.session.get(Mail, id)) for at, id in life.sent)
        if START + 60 * DAY < mail.created_at < START + 61 * DAY
    ]
    assert len(late) == 6
    back = START + 61 * DAY
    for at, mail in late:
        assert back <= at <= back + timedelta(hours=2)
        assert mail.attempts > 1
    assert sending.problem(life.world.state) is None


def test_an_outage_of_everything_is_capped_and_the_rest_is_in_a_digest(life: Life) -> None:
    sent = [m for m in life.world.mails(state="sent") if m.recipient == "hub@acme.example"]
    first_day = [m for m in sent if m.created_at < START + 71 * DAY]
    assert len(first_day) == 20
    digest = [m for m in sent if m.kind == "digest"]
    skipped = [m for m in life.world.mails(state="skipped") if m.recipient == "hub@acme.example"]
    assert sum(m.facts["count"] for m in digest) == len(skipped)
    assert len(first_day) - 1 + len(skipped) == 50  # an error and a recovery for each branch


def test_an_outage_that_does_not_end_stays_open(life: Life) -> None:
    assert told(life, "Old LMS") == [
        ("gus", "error", 80.0),
        ("gus", "still_down", 81.0),
        ("gus", "still_down", 83.0),
        ("gus", "still_down", 90.0),
    ]


def test_caps_hold_at_every_moment(life: Life) -> None:
    by_address: dict[str, list[datetime]] = defaultdict(list)
    by_configuration: dict[object, set[tuple[object, ...]]] = defaultdict(set)
    by_id = {mail.id: mail for mail in life.world.mails(state="sent")}
    for at, id in life.sent:
        mail = by_id[id]
        by_address[mail.recipient].append(at)
        notice = (at, mail.incident_id, mail.kind, mail.created_at)
        by_configuration[mail.configuration_id].add(notice)
    del by_configuration[None]
    for times in by_address.values():
        for start in times:
            assert sum(start <= at < start + DAY for at in times) <= rules.ADDRESS_CAP
    for notices in by_configuration.values():
        for start, *_ in notices:
            within = [notice for notice in notices if start <= notice[0] < start + DAY]
            assert len(within) <= rules.CONFIGURATION_CAP


def test_each_incident_ends_in_exactly_one_recovery_or_is_open(life: Life) -> None:
    world = life.world
    seen = 0
    for incident in world.incidents():
        if incident.kind not in ("outage", "unstable"):
            continue
        ends = {m.created_at for m in world.mails(incident_id=incident.id, kind="recovered")}
        goes_on = incident.closed_at is None or incident.facts.get("merged_into")
        if goes_on or incident.announced_at is None:
            assert not ends
        else:
            assert ends == {incident.closed_at}
            seen += 1
    assert seen >= 6 + 25
    still_open = [i for i in world.incidents() if i.closed_at is None and i.kind == "outage"]
    assert [names(life)[i.configuration_id] for i in still_open] == ["Old LMS"]


def test_threads_and_order(life: Life) -> None:
    world = life.world
    by_id = {mail.id: mail for mail in world.mails()}
    order: dict[tuple[object, str], list[Mail]] = defaultdict(list)
    for _, id in life.sent:
        if by_id[id].incident_id:
            order[by_id[id].incident_id, by_id[id].recipient].append(by_id[id])
    for (incident_id, _), sent in order.items():
        incident = world.session.get(Incident, incident_id)
        assert [m.id for m in sent] == sorted(m.id for m in sent)
        for mail in sent[1:]:
            assert sent[0].message_id in mail.facts["references"]
            if mail.message_id != incident.thread:
                assert mail.facts["references"][0] == incident.thread
