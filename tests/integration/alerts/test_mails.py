"""Every kind of mail, through a real SMTP server and parsed again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from html.parser import HTMLParser

import pytest

from flask_lms.alerts import rules, sending, unsubscribe
from tests.world import make_world

from .every_kind import NAME, bring_about
from .smtp_server import Inbox, smtp_server

CANARIES = ("s3cret-canary", "key-canary", "Jane Doe", "jane.doe", "is unknown")


class _Words(HTMLParser):
    """What a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("title", "style")
        self.tags.append((tag, dict(attrs)))
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("title", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.seen.append(data)


def parts(mail: EmailMessage) -> tuple[str, ...]:
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    return tuple(str(part.get_content()).replace("\r\n", "\n") for part in (plain, html))


def said(text: str) -> list[str]:
    """The words, without addresses of links, list marks and spacing."""
    text = re.sub(r"https://\S+", " ", text)
    text = re.sub(r"(?m)^\s*(\d\.|\*|-- ?$)", " ", text)
    return re.sub(r"[:\s]+", " ", text).split()


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EmailMessage]]:
    path = tmp_path_factory.mktemp("mails") / "mails.db"
    with (
        smtp_server() as inbox,
        make_world(
            f"sqlite:///{path}",
            MAIL_SERVER="localhost",
            MAIL_PORT=inbox.port,
            MAIL_SUPPRESS_SEND=False,
            LMS_PLATFORM_NAME="Häfen Training",
            LMS_MAIL_SENDER="Häfen Training <no-reply@harbor.example>",
            LMS_OPERATOR_EMAILS=["ops@harbor.example"],
        ) as world,
    ):
        world.freeze()
        bring_about(world)
        sending.send_due(world.state)
        assert {mail.kind for mail in world.mails()} == {kind.value for kind in rules.Kind}
        assert {mail.state for mail in world.mails()} == {"sent"}
        assert len(inbox.raw) == len(world.mails())
        yield inbox.mails


def test_both_parts_say_the_same(mails):
    for mail in mails:
        plain, html = parts(mail)
        reader = _Words()
        reader.feed(html)
        shown = said(" ".join(reader.seen))
        assert shown[:2] == ["Häfen", "Training"]
        assert shown[2:] == said(plain), mail["Subject"]
        assert reader.links == re.findall(r"https://\S+", plain)


def test_headers(mails):
    by_id = {mail["Message-ID"]: mail for mail in mails}
    assert len(by_id) == len(mails)
    for mail in mails:
        assert mail["Message-ID"].endswith(".lms@host.example>")
        assert mail["From"].addresses[0].display_name == "Häfen Training"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["X-Auto-Response-Suppress"] == "OOF, AutoReply"
        assert mail["Date"].datetime is not None
        assert len(mail["To"].addresses) == 1
        assert mail["Subject"].startswith("[Häfen Training] ")
        assert "\n" not in mail["Subject"]
        assert mail.get_content_type() == "multipart/alternative"
        for reference in (mail["References"] or "").split():
            assert reference in by_id
        assert (mail["In-Reply-To"] is None) == (mail["References"] is None)


def test_a_reminder_and_a_recovery_answer_the_first_mail(mails):
    threads = [
        (m["References"], m["Subject"])
        for m in mails
        if m["To"].addresses[0].addr_spec == "ana@acme.example"
        and "Connected again" in m["Subject"]
    ]
    (first,) = [m for m in mails if m["Message-ID"] == threads[0][0].split()[0]]
    assert "Can't Connect" in first["Subject"]
    assert first["References"] is None


def test_the_unsubscribe_header_is_the_link_in_the_text(mails):
    for mail in mails:
        plain, _ = parts(mail)
        if "Stop these mails" not in plain:
            assert mail["List-Unsubscribe"] is None
            continue
        url = mail["List-Unsubscribe"].strip("<>")
        assert url in plain.splitlines()
        assert url.startswith("https://host.example/lms/mute/")
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_lines_are_short_and_bytes_are_seven_bit(mails):
    for mail in mails:
        raw = mail.as_bytes()
        assert max(map(len, raw.splitlines())) <= 998
        plain, _ = parts(mail)
        for line in plain.splitlines():
            assert len(line) <= 78 or line.startswith("https://"), line
        for part in mail.iter_parts():
            assert part["Content-Transfer-Encoding"] in ("quoted-printable", "base64", "7bit")


def test_names_survive_and_break_nothing(mails):
    told = [m for m in mails if "ana@" in m["To"] and m["List-Unsubscribe"]]
    assert told
    for mail in told:
        plain, html = parts(mail)
        assert " ".join(NAME.split()) in " ".join(plain.split())
        assert "<b>Söhne</b>" not in html
        assert "Größe" in mail["Subject"]
    idn = [m["To"].addresses[0].domain for m in mails if m["To"].addresses[0].username == "bo"]
    assert idn
    assert set(idn) == {"xn--bcher-kva.example"}


def test_no_learner_no_secret_no_answer(mails):
    for mail in mails:
        everything = "\n".join((*parts(mail), mail.as_string()))
        for canary in CANARIES:
            assert canary not in everything, (canary, mail["Subject"])


def test_nothing_remote_and_no_script(mails):
    for mail in mails:
        reader = _Words()
        reader.feed(parts(mail)[1])
        assert not {tag for tag, _ in reader.tags} & {"img", "script", "link", "iframe", "form"}
        assert not [a for _, a in reader.tags if a.get("src") or a.get("background")]
        assert "url(" not in parts(mail)[1]


def test_each_mail_says_what_why_how_many_what_we_do_and_what_to_do(mails):
    (error, *_) = [m for m in mails if m["Subject"].startswith("[Häfen Training] Can't Connect: ")]
    plain, _ = parts(error)
    for words in (
        "We can't reach your LMS.",
        "Since: 2 Mar 2026, 09:00 UTC",
        "Waiting: 1,237 results. None are lost.",
        "lrs.example.org refuses connections on port 443",
        "What we do",
        "at the latest within 24 hours",
        "What to do\n1. ",
        "It also goes to: ",
        "Stop these mails",
    ):
        assert words in plain, words
    link = re.search(r"https://host\.example/lms/[0-9a-f-]{36}$", plain, re.M)
    assert link is not None


def test_a_mail_in_german(tmp_path, make_sending, inbox):
    world = make_sending(inbox.port)
    id = world.connected("Konzern-LMS", language="de")
    world.wait(id, 37)
    world.refuse(id)
    assert sending.send_due(world.state) == 1
    (mail,) = inbox.mails
    assert mail["Content-Language"] == "de"
    assert mail["Subject"] == "[Harbor Training] Serverfehler: Konzern-LMS – 37 Ergebnisse warten"
    plain, html = parts(mail)
    assert '<html lang="de">' in html
    assert "Was wir tun" in plain
    assert "Was zu tun ist" in plain
    assert "2. März 2026, 09:00 UTC" in plain or "2. Mär. 2026, 09:00 UTC" in plain
    assert not re.search(r"\b(the|your|waiting|results)\b", plain)


def test_one_click_of_a_mail_program_stops_further_mails(world, inbox: Inbox):
    id = world.connected()
    world.refuse(id)
    sending.send_due(world.state)
    url = inbox.mails[0]["List-Unsubscribe"].strip("<>")
    token = url.rsplit("/", 1)[1]
    link = unsubscribe.read(world.state, token, world.now)
    assert (link.configuration_id, link.email) == (id, "ana@acme.example")
    client = world.app.test_client()
    path = url.removeprefix("https://host.example")
    assert client.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    world.session.rollback()
    world.up(id)
    assert sending.send_due(world.state) == 0
    assert [m.reason for m in world.mails()] == [None, "muted"]
    assert world.now - world.mails()[0].sent_at < timedelta(minutes=1)
