"""Sending: time limits, certificates, refusals, retries, and a process that is killed."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import flask_mail
import pytest
import sqlalchemy as sa
import trustme
from jinja2 import DictLoader

from flask_lms import events
from flask_lms.alerts import operators, sending
from flask_lms.database.models import Mail
from flask_lms.database.types import DatabaseClock
from tests.world import World

from .smtp_server import Inbox, free_port, smtp_server

ROOT = Path(__file__).parents[3]


def server_tls(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_a_mail_leaves_once_and_its_row_and_signal_say_so(world: World, inbox: Inbox):
    id = world.connected(contacts=("ana@acme.example", "bo@acme.example"))
    world.refuse(id)
    heard = []
    with events.alert_sent.connected_to(lambda app, event: heard.append(event)):
        assert sending.send_due(world.state) == 2
    assert sending.send_due(world.state) == 0
    assert len(inbox.raw) == 2
    assert [(m.state, m.attempts, m.reason) for m in world.mails()] == [("sent", 1, None)] * 2
    assert [(e.kind, e.recipient, e.configuration_id) for e in heard] == [
        ("error", "ana@acme.example", id),
        ("error", "bo@acme.example", id),
    ]


def test_starttls_with_a_trusted_certificate(make_sending, tmp_path, monkeypatch):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with smtp_server(server_tls(authority), auth=True) as inbox:
        world = make_sending(
            inbox.port, MAIL_USE_TLS=True, MAIL_USERNAME="harbor", MAIL_PASSWORD="right"
        )
        world.refuse(world.connected())
        assert sending.send_due(world.state) == 1
    assert inbox.was_secure == [True]
    assert inbox.users == ["harbor"]


def test_starttls_with_the_authority_of_lms_ca_bundle(make_sending, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with smtp_server(server_tls(authority)) as inbox:
        world = make_sending(inbox.port, MAIL_USE_TLS=True, LMS_CA_BUNDLE=str(tmp_path / "ca.pem"))
        world.refuse(world.connected())
        assert sending.send_due(world.state) == 1


@pytest.mark.parametrize("name", ["localhost", "other.example"])
def test_nothing_is_sent_over_an_untrusted_or_foreign_certificate(
    make_sending, tmp_path, monkeypatch, name
):
    authority = trustme.CA()
    if name != "localhost":  # trusted, but of another host
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with smtp_server(server_tls(authority, name), auth=True) as inbox:
        world = make_sending(
            inbox.port, MAIL_USE_TLS=True, MAIL_USERNAME="harbor", MAIL_PASSWORD="right"
        )
        world.refuse(world.connected())
        assert sending.send_due(world.state) == 0
    assert inbox.raw == []
    assert inbox.users == []  # not even the password
    (mail,) = world.mails()
    assert (mail.state, mail.attempts) == ("waiting", 1)
    world.clock.advance(minutes=5)
    found = sending.problem(world.state)
    assert found is not None
    assert "certificate" in found.reason.lower()


def test_a_wrong_password_is_a_problem_of_the_server_not_of_the_mail(make_sending, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with smtp_server(server_tls(authority), auth=True) as inbox:
        world = make_sending(
            inbox.port,
            MAIL_USE_TLS=True,
            LMS_CA_BUNDLE=str(tmp_path / "ca.pem"),
            MAIL_USERNAME="harbor",
            MAIL_PASSWORD="wrong-canary",
        )
        world.refuse(world.connected())
        assert sending.send_due(world.state) == 0
    assert world.mails()[0].state == "waiting"
    world.clock.advance(minutes=5)
    found = sending.problem(world.state)
    assert found is not None
    assert "535" in found.reason
    assert "canary" not in found.reason


def test_a_mail_server_that_accepts_and_never_answers_is_left_in_time(make_sending):
    with socket.socket() as hung:
        hung.bind(("127.0.0.1", 0))
        hung.listen()
        world = make_sending(hung.getsockname()[1], LMS_MAIL_TIMEOUT_SECONDS=1)
        world.refuse(world.connected())
        begun = time.monotonic()
        assert sending.send_due(world.state) == 0
        assert time.monotonic() - begun < 5
    assert world.mails()[0].state == "waiting"


def test_a_mail_server_that_is_down_delays_and_keeps_the_order(make_sending):
    port = free_port()
    world = make_sending(port)
    id = world.connected(contacts=("ana@acme.example", "bo@acme.example"))
    world.refuse(id)
    waits = []
    for _ in range(6):
        sending.send_due(world.state)
        waits.append(world.mails()[0].due_at - world.now)
        world.clock.advance(seconds=waits[-1].total_seconds())
    assert [wait // timedelta(minutes=1) for wait in waits] == [1, 5, 15, 60, 60, 60]
    world.up(id)
    found = sending.problem(world.state)
    assert found is not None
    assert found.waiting == 2
    world.mails()[0].due_at = world.now + timedelta(minutes=50)
    world.session.commit()
    inbox = Inbox()
    from aiosmtpd.controller import Controller

    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        assert sending.send_due(world.state) > 0
        while sending.send_due(world.state):
            pass
        world.clock.advance(minutes=1)
        while sending.send_due(world.state):
            pass
    finally:
        controller.stop()
    assert sending.problem(world.state) is None
    assert {m.state for m in world.mails()} == {"sent"}
    for who in ("ana@acme.example", "bo@acme.example"):
        subjects = [m["Subject"] for m in inbox.mails if m["To"] == who]
        assert ["Server Error" in subjects[0], "Connected again" in subjects[1]] == [True, True]
        assert len(subjects) == 2
    told = [m for m in world.mails() if m.kind == "operator"]
    assert [(m.facts["cause"], m.facts["stage"]) for m in told] == [("mail", "past")]


def test_after_four_days_a_mail_is_given_up_and_its_row_says_so(make_sending):
    world = make_sending(free_port())
    world.refuse(world.connected())
    for _ in range(4 * 25):
        sending.send_due(world.state)
        world.clock.advance(hours=1)
    (mail,) = world.mails()
    assert (mail.state, mail.reason) == ("failed", "too_late")
    assert 90 < mail.attempts < 105


def test_an_address_that_does_not_exist_fails_and_the_other_gets_its_mail(world, inbox):
    inbox.on_recipient = lambda a: "550 no such user" if a.startswith("gone") else None
    world.refuse(world.connected(contacts=("gone@acme.example", "ana@acme.example")))
    assert sending.send_due(world.state) == 1
    gone, ana = world.mails()
    assert (gone.state, gone.reason) == ("failed", "550 no such user")
    assert ana.state == "sent"
    assert sending.problem(world.state) is None


def test_a_greylisted_address_is_tried_again(world, inbox):
    answers = iter(["451 come back later"])
    inbox.on_recipient = lambda a: next(answers, None)
    world.refuse(world.connected())
    assert sending.send_due(world.state) == 0
    assert sending.send_due(world.state) == 0
    world.clock.advance(minutes=1)
    assert sending.send_due(world.state) == 1
    assert [(m.state, m.attempts) for m in world.mails()] == [("sent", 2)]


def test_a_server_that_takes_a_mail_and_hangs_up_gets_it_twice_at_most(world, inbox):
    inbox.hangs_up = True
    world.refuse(world.connected())
    for _ in range(20):
        sending.send_due(world.state)
        world.clock.advance(hours=1)
    assert len(inbox.raw) == 2
    assert [(m.state, m.reason) for m in world.mails()] == [("failed", "unknown")]


def test_a_host_template_at_fault_fails_its_mail_and_no_other(world, inbox, caplog):
    id = world.connected()
    world.refuse(id)
    sending.send_test(world.state, world.get(id), None)
    world.app.jinja_env.globals["flask_lms_test"] = None
    loader = world.app.jinja_env.loader
    real = loader.get_source

    def broken(environment, template):
        if template == "lms/mail/error.txt":
            return "{{ nothing.there.at_all }}", None, lambda: True
        return real(environment, template)

    loader.get_source = broken
    try:
        assert sending.send_due(world.state) == 1
    finally:
        loader.get_source = real
    assert [(m.kind, m.state, m.reason) for m in world.mails()] == [
        ("error", "failed", "template"),
        ("test", "sent", None),
    ]
    assert "templates of a mail" in caplog.text


def test_a_template_of_the_hosts_for_one_kind_is_taken_and_no_other_changes(world, inbox):
    ours = '{% extends "lms/mail/layout.txt" %}{% block foot %}Ours{% endblock %}'
    html = "<p>{{ mail.headline }}</p>"
    world.app.jinja_loader = DictLoader({"lms/mail/error.txt": ours, "lms/mail/error.html": html})
    id = world.connected()
    world.refuse(id)
    sending.send_test(world.state, world.get(id), None)
    assert sending.send_due(world.state) == 2
    error, test = inbox.mails
    plain, html = (error.get_body((part,)).get_content().strip() for part in ("plain", "html"))
    assert plain.startswith("Your LMS answers, but doesn't accept the results.")
    assert plain.endswith("Ours")
    assert html == "<p>Your LMS answers, but doesn&#39;t accept the results.</p>"
    assert "Stop these mails" in test.get_body(("plain",)).get_content()


def test_a_host_whose_mail_class_sends_in_its_own_way_is_left_to_it(world, inbox):
    class OwnMail(flask_mail.Mail):
        def send(self, message):
            taken.append(message)

    taken = []
    world.state.mail = OwnMail(world.app)
    world.refuse(world.connected())
    assert sending.send_due(world.state) == 1
    assert inbox.raw == []
    assert taken[0].subject == "[Harbor Training] Server Error: Corporate LMS"
    assert taken[0].msgId == world.mails()[0].message_id


def test_two_mailers_at_once_send_each_mail_once(world, inbox):
    world.refuse(world.connected(contacts=tuple(f"c{n}@acme.example" for n in range(8))))
    app, state = world.app, world.state

    def work():
        with app.app_context():
            sending.send_due(state)
            world.db.session.remove()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(m["To"] for m in inbox.mails) == [f"c{n}@acme.example" for n in range(8)]


# -- killed ----------------------------------------------------------------------------------------

_CHILD = """
import sys
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_lms import LMS
from flask_lms.alerts import sending
app = Flask("child")
app.config.update(
    SECRET_KEY="a secret for tests only, long enough", SQLALCHEMY_DATABASE_URI=sys.argv[1],
    LMS_ACTIVITY_BASE_URL="https://host.example/xapi", MAIL_SERVER="localhost",
    MAIL_PORT=int(sys.argv[2]), LMS_MAIL_SENDER="no-reply@harbor.example",
)
db = SQLAlchemy(app)
lms = LMS(app)
with app.app_context():
    print(sending.send_due(app.extensions["lms_state"]))
"""


class Child:
    """A mailer process of its own."""

    def __init__(self, world: World, inbox: Inbox) -> None:
        self.world, self.inbox = world, inbox
        self.pid = 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def run(self) -> int:
        url = str(self.world.app.config["SQLALCHEMY_DATABASE_URI"])
        self.world.session.rollback()
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, url, str(self.inbox.port)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.pid = process.pid
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        return process.returncode

    def let_the_claim_expire(self) -> None:
        session = self.world.session
        session.execute(sa.update(Mail).values(due_at=Mail.created_at))
        session.commit()


@pytest.fixture
def child(world: World, inbox: Inbox) -> Child:
    clock = DatabaseClock()
    world.clock.time = clock.now(world.session)
    world.session.rollback()
    world.refuse(world.connected())
    return Child(world, inbox)


def test_killed_before_the_mail_was_handed_over_it_is_sent_by_the_next(child, inbox):
    def kill(address: str) -> None:
        child.kill()

    inbox.on_recipient = kill
    assert child.run() == -signal.SIGKILL
    assert inbox.raw == []
    inbox.on_recipient = lambda address: None
    assert child.run() == 0  # still claimed by the dead one
    assert inbox.raw == []
    child.let_the_claim_expire()
    assert child.run() == 0
    assert len(inbox.raw) == 1
    assert [m.state for m in child.world.mails()] == ["sent"]


def test_killed_after_the_mail_was_taken_it_comes_twice_at_most(child, inbox):
    inbox.on_data = child.kill
    for _ in range(4):
        child.run()
        child.let_the_claim_expire()
    assert len(inbox.raw) == 2
    assert len({m["Message-ID"] for m in inbox.mails}) == 1
    (mail,) = child.world.mails()
    assert (mail.state, mail.reason) == ("failed", "unknown")


def test_killed_once_after_the_mail_was_taken_the_second_is_the_last(child, inbox):
    inbox.on_data = child.kill
    assert child.run() == -signal.SIGKILL
    inbox.on_data = lambda: None
    child.let_the_claim_expire()
    assert child.run() == 0
    child.let_the_claim_expire()
    assert child.run() == 0
    assert len(inbox.raw) == 2
    assert [m.state for m in child.world.mails()] == ["sent"]


def test_the_problem_ends_with_the_first_mail_that_is_taken(world, inbox):
    operators.operator_fault(
        world.state, world.session, "mail", {"reason": "x"}, world.now, patience=None
    )
    world.session.commit()
    assert sending.problem(world.state) is None  # seconds old
    world.clock.advance(minutes=3)
    assert sending.problem(world.state) is not None
    world.refuse(world.connected())
    assert sending.send_due(world.state) == 1
    assert sending.problem(world.state) is None
