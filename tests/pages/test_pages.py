"""Each page in each of its states: what it says, what its buttons do."""

from __future__ import annotations

import ast
import re
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Response, redirect
from sqlalchemy import event

import flask_lms
from flask_lms import ObjectiveResult, Participant
from flask_lms.admin import charts, history
from flask_lms.alerts import sending, unsubscribe
from flask_lms.connectors.stages import Stage, StageState, TestReport
from flask_lms.database.models import Configuration, Delivery, DeliveryState, Status, Worker
from flask_lms.i18n import using
from flask_lms.services import connection_test
from flask_lms.services.overview import Day
from tests.pages.site import BEN, create, deliver, fill, make_delivery
from tests.pages.support import act, errors_of, form_of, post, post_on, text_of, title_of
from tests.world import World

UTC = timezone.utc


def read(world: World, path: str = "/") -> str:
    page = world.client().get(f"/lms{path}")
    assert page.status_code == 200, path
    return text_of(page)


def change(world: World, one: uuid.UUID, **health: Any) -> None:
    with world.app.app_context():
        row = world.db.session.get_one(Configuration, one)
        for name, value in health.items():
            setattr(row.health, name, value)
        world.db.session.commit()


def now(world: World) -> datetime:
    with world.app.app_context():
        return world.state.clock.now(world.db.session())


# -- who may see them -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/new", "/deliveries", "/objectives/", "/history", "/help"])
def test_nobody_but_administrators(world: World, path: str) -> None:
    world.who = None
    page = world.client().get(f"/lms{path}")
    assert page.status_code == 403
    assert "Only organization administrators can manage LMS configurations." in text_of(page)


def test_a_response_of_the_host_is_sent_as_it_is(world: World) -> None:
    answer = redirect("/sign-in")
    world.who = answer
    assert world.client().get("/lms/").headers["Location"] == "/sign-in"


def test_another_organization_sees_nothing_of_it(world: World) -> None:
    one = create(world)
    world.who = BEN
    assert world.client().get(f"/lms/{one}").status_code == 404
    assert "Corporate LMS" not in read(world)


def test_what_is_not_there_is_a_page(world: World) -> None:
    page = world.client().get(f"/lms/{uuid.uuid4()}")
    assert page.status_code == 404
    assert "There is nothing at this address." in text_of(page)


def test_a_page_that_fails_rolls_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = create(world)

    @world.app.after_request
    def commit_always(response: Response) -> Response:
        world.db.session.commit()
        return response

    def fail(*args: object, **values: object) -> None:
        world.db.session.get_one(Configuration, one).name = "half-made"
        world.db.session.flush()
        raise ValueError("broken")

    monkeypatch.setattr("flask_lms.admin.pages.render_template", fail)
    assert world.client().get(f"/lms/{one}").status_code == 500
    with world.app.app_context():
        assert world.lms.configurations.get(one).name == "Corporate LMS"


# -- the list -------------------------------------------------------------------------------------


def test_an_empty_list_says_what_to_do(world: World) -> None:
    assert (
        "No LMS configuration yet. Connect your Learning Management System and objective results "
        "are sent to it automatically. You need its xAPI URL, key and secret."
    ) in read(world)


def test_the_list_has_those_in_trouble_first_and_a_summary(world: World) -> None:
    fill(world)
    text = read(world)
    assert "1 of 5 connected, 49 results waiting" in text
    names = re.findall(r"Contractor Academy|Port Authority LMS|Corporate LMS|Old Cornerstone", text)
    assert list(dict.fromkeys(names)) == [
        "Contractor Academy",
        "Port Authority LMS",
        "Corporate LMS",
        "Old Cornerstone",
    ]
    assert "lrs.example.org refuses connections on port 443: it may be stopped." in text


def test_the_list_is_searched_and_filtered(world: World) -> None:
    fill(world)
    assert "Corporate LMS" not in read(world, "/?q=contractor")
    assert "Contractor Academy" not in read(world, "/?status=paused")
    assert "No LMS configuration matches. Show all" in read(world, "/?q=nothing")


def test_results_that_wait_without_a_worker_are_said(world: World) -> None:
    one = create(world)
    assert "Nothing is being sent at the moment" not in read(world)
    deliver(world, one)
    assert "The process that sends results was never seen." in read(world)
    with world.app.app_context():
        at = world.state.clock.now(world.db.session())
        world.db.session.add(Worker(id="w", version="1", started_at=at, seen_at=at))
        world.db.session.commit()
    assert "Nothing is being sent at the moment" not in read(world)


# -- the status in words --------------------------------------------------------------------------


def test_not_tested(world: World) -> None:
    text = read(world, f"/{create(world)}")
    assert "Not tested This configuration hasn't been tested yet." in text
    assert "First steps" in text


def test_connected(world: World) -> None:
    one = create(world)
    sent = now(world) - timedelta(minutes=3)
    change(world, one, status=Status.CONNECTED, last_success_at=sent)
    assert "Connected Last result sent 3 minutes ago. Nothing is waiting." in read(world, f"/{one}")


def test_cant_connect(world: World) -> None:
    one = create(world)
    at = now(world)
    change(
        world, one, status=Status.CANT_CONNECT, cause="dns", facts={"host": "lrs.example.org"},
        since=datetime(2026, 11, 22, 14, 5, tzinfo=UTC), next_attempt_at=at + timedelta(minutes=30),
    )  # fmt: skip
    for _ in range(37):
        deliver(world, one)
    text = read(world, f"/{one}")
    assert (
        "We can't reach your LMS. Since 22 Nov 2026, 14:05 UTC we can't open a connection to "
        "lrs.example.org. 37 results are waiting. None are lost." in text
    )
    assert "The name lrs.example.org was not found." in text
    assert "Check the URL for a typing error." in text
    due = at + timedelta(minutes=30)
    assert (
        f"Next try at {due:%H:%M} UTC. When your LMS answers, waiting results are sent at once, "
        "at the latest within 24 hours." in text
    )


def test_server_error(world: World) -> None:
    one = create(world)
    change(
        world, one, status=Status.SERVER_ERROR, cause="credentials", since=now(world),
        facts={"host": "lrs.example.org", "http_status": 401},
    )  # fmt: skip
    text = read(world, f"/{one}")
    assert "Your LMS answers, but doesn't accept the results." in text
    assert "Your LMS refused the xAPI key or secret (401)." in text
    assert "The key must be allowed to write statements" in text


def test_paused_and_resumed(world: World) -> None:
    one = create(world)
    client = world.client()
    deliver(world, one)
    question = text_of(client.get(f"/lms/{one}/pause"))
    assert "1 result is waiting." in question
    page = act(client, f"/lms/{one}/pause", confirmed="yes")
    text = text_of(page)
    assert "“Corporate LMS” is paused." in text
    assert re.search(r"Paused by Ana Ruiz on \d+ \w+\. 1 new result is kept", text)
    assert "“Corporate LMS” sends again." in text_of(act(client, f"/lms/{one}/resume"))


def test_a_fault_of_a_paused_one_doesnt_hide_the_pause(world: World) -> None:
    one = create(world)
    change(world, one, status=Status.CANT_CONNECT, cause="dns")
    with world.app.app_context():
        world.lms.configurations.pause(one, "Ana Ruiz")
    assert "Paused Paused by Ana Ruiz" in read(world, f"/{one}")


# -- acts -----------------------------------------------------------------------------------------


def test_deleting_tells_its_consequence_in_numbers_first(world: World) -> None:
    one = create(world)
    client = world.client()
    with world.app.app_context():
        world.lms.configurations.attach(one, "harbor-1")
    deliver(world, one)
    text = text_of(client.get(f"/lms/{one}/delete"))
    assert "The results of 1 objective are no longer sent to this LMS." in text
    assert "1 waiting result is kept for 30 days and then cancelled." in text
    assert "“Corporate LMS” was deleted. For 30 days" in text_of(
        act(client, f"/lms/{one}/delete", confirmed="yes")
    )
    assert client.get(f"/lms/{one}").status_code == 404


def test_a_deleted_one_is_brought_back_from_the_history(world: World) -> None:
    one = create(world)
    client = world.client()
    act(client, f"/lms/{one}/delete", confirmed="yes")
    other = create(world)
    assert "Restore" in read(world, "/history")
    refused = act(client, f"/lms/{one}/restore")
    assert 'You already have a configuration named "Corporate LMS".' in text_of(refused)
    act(client, f"/lms/{other}/delete", confirmed="yes")
    assert "“Corporate LMS” is back." in text_of(act(client, f"/lms/{one}/restore"))


def test_send_waiting_now(world: World) -> None:
    one = create(world)
    deliver(world, one)
    page = act(world.client(), f"/lms/{one}/send-waiting")
    assert "1 waiting result is being sent now." in text_of(page)


# -- connection test ------------------------------------------------------------------------------

OK = TestReport(stages=[Stage(name="Address", state=StageState.OK, duration_ms=12)])
FAILED = TestReport(
    stages=[
        Stage(name="Address", state=StageState.OK, duration_ms=12),
        Stage(name="Key and secret", state=StageState.FAILED, http_status=401, words="No!"),
        Stage(name="xAPI service", state=StageState.SKIPPED),
    ],
    cause="credentials",
    facts={"http_status": 401, "host": "lrs.example.org"},
    words="<script>alert(1)</script>",
)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[TestReport]:
    """What the next connection tests report, the last one for all that follow."""
    found = [OK]

    def run(*args: object, **values: object) -> Iterator[Stage | TestReport]:
        report = found.pop(0) if len(found) > 1 else found[0]
        yield from report.stages
        yield report

    monkeypatch.setattr(connection_test, "run", run)
    return found


def test_a_test_that_succeeds(world: World, reports: list[TestReport]) -> None:
    text = text_of(post(world.client(), f"/lms/{create(world)}/test", {}))
    assert "Connected. Nothing was stored in your LMS." in text
    assert "Address : OK · 12 ms" in text


def test_a_test_that_fails_says_where_and_what_to_do(
    world: World, reports: list[TestReport]
) -> None:
    reports[:] = [FAILED]
    page = post(world.client(), f"/lms/{create(world)}/test", {})
    text = text_of(page)
    assert "Your LMS refused the xAPI key or secret (401)." in text
    assert "Enter the xAPI key and secret again." in text
    assert "Key and secret : Failed · code 401" in text
    assert "xAPI service : Skipped" in text
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text


@pytest.mark.parametrize("state", ["paused", "broken"])
def test_a_test_works_paused_and_broken(
    world: World, reports: list[TestReport], state: str
) -> None:
    one = create(world)
    if state == "paused":
        with world.app.app_context():
            world.lms.configurations.pause(one)
    else:
        change(world, one, status=Status.CANT_CONNECT, cause="dns", since=now(world))
    assert "Connected. Nothing was stored" in text_of(post(world.client(), f"/lms/{one}/test", {}))


def test_a_test_works_unsaved(world: World, reports: list[TestReport]) -> None:
    client = world.client()
    basics = {"name": "New", "type": "xapi", "contact_emails": "ana@harbor.example"}
    hidden = form_of(post(client, "/lms/new", basics))
    typed = {"url": "https://lrs.example.org/xapi", "key": "k", "secret": "s3cret-canary"}
    page = client.post("/lms/new/xapi", data={**hidden, **typed, "act": "test"})
    assert "Connected. Nothing was stored in your LMS." in text_of(page)
    assert form_of(page)["key"] == "k"
    assert "s3cret-canary" not in page.text
    with world.app.app_context():
        assert world.lms.configurations.list("harbor") == []


def test_save_and_test_ends_on_the_test(world: World, reports: list[TestReport]) -> None:
    client = world.client()
    basics = {"name": "New", "type": "xapi", "contact_emails": "ana@harbor.example"}
    hidden = form_of(post(client, "/lms/new", basics))
    typed = {"url": "https://lrs.example.org/xapi/statements", "key": "k", "secret": "secret-71"}
    page = post_on(client, "/lms/new/xapi", {**hidden, **typed, "act": "save_test"})
    text = text_of(page)
    assert "“New” is saved." in text
    assert "Connected. Nothing was stored in your LMS." in text
    assert "/statements was removed from the URL" in text
    assert "secret-71" not in page.text


def test_five_tests_a_minute(world: World, reports: list[TestReport]) -> None:
    client, one = world.client(), create(world)
    for _ in range(5):
        assert "Connected. Nothing" in text_of(post(client, f"/lms/{one}/test", {}))
    assert "You tested five times in a minute." in text_of(post(client, f"/lms/{one}/test", {}))


def test_the_same_address_and_key_twice_is_said(world: World, reports: list[TestReport]) -> None:
    create(world, "First")
    page = post(world.client(), f"/lms/{create(world, 'Second')}/test", {})
    assert "Another configuration sends to the same address with the same key" in text_of(page)


# -- objectives -----------------------------------------------------------------------------------


def test_attached_from_the_configuration(world: World) -> None:
    client, one = world.client(), create(world)
    text = text_of(act(client, f"/lms/{one}/objectives", ids=["harbor-1", "harbor-2"]))
    assert "2 objectives attached. Their results are sent from now on." in text
    assert "Fire Safety" in text


def test_all_that_match_are_attached(world: World) -> None:
    client, one = world.client(), create(world)
    text = text_of(act(client, f"/lms/{one}/objectives", all="yes", q="fire"))
    assert "6 objectives attached." in text


def test_attached_from_the_objective(world: World) -> None:
    client, one = world.client(), create(world)
    page = act(client, "/lms/objectives/harbor-1", configuration_id=str(one))
    assert "“Corporate LMS” is attached. Results are sent from now on." in text_of(page)


def test_nothing_chosen_is_said(world: World) -> None:
    client, one = world.client(), create(world)
    page = post(client, f"/lms/{one}/objectives", {})
    assert "Choose at least one objective." in text_of(page)
    page = post(client, "/lms/objectives/harbor-1", {"configuration_id": ""})
    assert "Choose an LMS configuration." in text_of(page)


def test_past_results_are_counted_before_they_are_sent(world: World) -> None:
    client, one = world.client(), create(world)
    world.past = [
        ObjectiveResult(
            id=f"p{n}", organization_id="harbor", objective="harbor-1",
            participant="jane@example.com", success=True,
            finished_at=now(world) - timedelta(days=n),
        )
        for n in range(10)
    ]  # fmt: skip
    since = f"{now(world) - timedelta(days=4):%Y-%m-%d}"
    wanted = {"ids": "harbor-1", "past": "yes", "since": since}
    page = post_on(client, f"/lms/{one}/objectives", wanted)
    assert "This sends 5 results." in text_of(page)
    done = act(client, f"/lms/{one}/objectives/past", **wanted, confirmed="yes")
    assert "5 past results are being sent." in text_of(done)


def test_detaching_asks_what_becomes_of_waiting_results(world: World) -> None:
    client, one = world.client(), create(world)
    with world.app.app_context():
        world.lms.configurations.attach(one, "harbor-1")
    waiting = deliver(world, one, number=1)
    page = post(client, f"/lms/{one}/objectives/detach", {"ids": "harbor-1"})
    text = text_of(page)
    assert "1 result is waiting." in text
    assert "Send them anyway" in text
    done = act(
        client, f"/lms/{one}/objectives/detach", ids="harbor-1", confirmed="yes", waiting="cancel"
    )
    assert "1 objective detached. 1 waiting result was cancelled." in text_of(done)
    with world.app.app_context():
        assert world.db.session.get_one(Delivery, waiting).state is DeliveryState.CANCELLED


def test_the_statement_is_previewed(world: World) -> None:
    one = create(world)
    text = read(world, f"/objectives/harbor-1?preview={one}")
    assert "What is sent to Corporate LMS" in text
    assert '"verb"' in text


# -- deliveries -----------------------------------------------------------------------------------


def test_each_state_in_words(world: World) -> None:
    one = create(world)
    says = {
        DeliveryState.PENDING: "Waiting to be sent to Corporate LMS. Next try in a few seconds.",
        DeliveryState.DELIVERED: "Corporate LMS stored this result on",
        DeliveryState.REJECTED: (
            "the domain example.com is not allowed here”. Show these words to your LMS "
            "administrator, then use Send again."
        ),
        DeliveryState.NOT_SENT: (
            "is not an e-mail address. Correct it in Harbor Training, then Check again."
        ),
        DeliveryState.CANCELLED: "Cancelled by Ana Ruiz on",
    }
    for state, words in says.items():
        text = read(world, f"/deliveries/{deliver(world, one, state, number=3)}")
        assert words in text
        assert "Basic [hidden]" in text


def test_sent_again_one_and_all_matching_with_the_count_first(world: World) -> None:
    client, one = world.client(), create(world)
    rejected = [deliver(world, one, DeliveryState.REJECTED, number=n) for n in range(3)]
    page = act(client, "/lms/deliveries/send-again", ids=rejected[0].hex)
    assert "1 result is being sent again." in text_of(page)
    asked = post(client, "/lms/deliveries/send-again", {"all": "yes", "state": "rejected"})
    assert "Send 2 results again?" in text_of(asked)
    done = act(client, "/lms/deliveries/send-again", all="yes", state="rejected", confirmed="yes")
    assert "2 results are being sent again." in text_of(done)
    with world.app.app_context():
        assert world.lms.deliveries.counts()[DeliveryState.PENDING] == 3


def test_checked_again_one_and_all_matching_with_what_became_of_them(world: World) -> None:
    client, one = world.client(), create(world)
    with world.app.app_context():
        world.lms.configurations.attach(one, "harbor-1")
        world.lms.record_many(
            [
                ObjectiveResult(
                    id=f"r{n}", organization_id="harbor", objective="harbor-1",
                    participant=f"E{n}", finished_at=now(world), success=True,
                )
                for n in range(4)
            ]
        )  # fmt: skip
        first, *_ = (row.id for row in world.lms.deliveries.iterate())
    path = f"/lms/deliveries/{first}"
    assert 'formaction="/lms/deliveries/check-again"' in client.get("/lms/deliveries").text
    assert "Check again" in text_of(client.get(path))
    page = act(client, "/lms/deliveries/check-again", only=first.hex)
    assert page.request.path == path
    assert "0 results are being sent now. 1 still can't be sent." in text_of(page)
    world.participants.update(
        {id: Participant(id=id, email=f"{id.lower()}@harbor.example") for id in ("E1", "E2", "E3")}
    )
    page = act(client, "/lms/deliveries/check-again", only=first.hex)
    assert "1 result is being sent now." in text_of(page)
    assert "still can't" not in text_of(page)
    asked = post(client, "/lms/deliveries/check-again", {"all": "yes", "state": "not_sent"})
    assert "Check 3 results again?" in text_of(asked)
    done = act(client, "/lms/deliveries/check-again", all="yes", state="not_sent", confirmed="yes")
    assert "2 results are being sent now. 1 still can't be sent." in text_of(done)
    with world.app.app_context():
        counts = world.lms.deliveries.counts()
        assert (counts[DeliveryState.PENDING], counts[DeliveryState.NOT_SENT]) == (3, 1)
    page = act(client, "/lms/deliveries/check-again", only=first.hex)
    assert "There is nothing to check again." in text_of(page)


def test_cancelling_asks_first(world: World) -> None:
    client, one = world.client(), create(world)
    waiting = deliver(world, one)
    asked = post(client, "/lms/deliveries/cancel", {"ids": waiting.hex})
    assert "Cancel 1 result?" in text_of(asked)
    done = act(client, "/lms/deliveries/cancel", ids=waiting.hex, confirmed="yes")
    assert "1 result was cancelled." in text_of(done)


def test_all_results_of_the_organization_can_be_chosen_without_a_filter(world: World) -> None:
    client, one = world.client(), create(world)
    deliver(world, one)
    deliver(world, one, DeliveryState.NOT_SENT, number=2)
    asked = post(client, "/lms/deliveries/cancel", {"all": "yes"})
    assert "Cancel 2 results?" in text_of(asked)
    done = act(client, "/lms/deliveries/cancel", all="yes", confirmed="yes")
    assert "2 results were cancelled." in text_of(done)
    again = act(client, "/lms/deliveries/check-again", all="yes", confirmed="yes")
    assert "There is nothing to check again." in text_of(again)


def test_the_list_is_filtered_and_paged(world: World) -> None:
    one = create(world)
    start = now(world)
    with world.app.app_context():
        made = world.get(one)
        world.db.session.add_all(
            make_delivery(made, DeliveryState.DELIVERED, start - timedelta(minutes=n), number=n)
            for n in range(35)
        )
        world.db.session.commit()
    client = world.client()
    first = client.get("/lms/deliveries")
    assert first.text.count('name="ids"') == 30
    link = re.search(r'href="([^"]*before=[^"]*)"', first.text)
    assert link
    second = client.get(link[1].replace("&amp;", "&"))
    assert second.text.count('name="ids"') == 5
    assert "No delivery matches." in read(world, "/deliveries?state=rejected")
    assert client.get("/lms/deliveries?participant=jane").text.count('name="ids"') == 6


def test_csv_is_complete_and_harmless(world: World) -> None:
    one = create(world)
    deliver(
        world, one, DeliveryState.DELIVERED, participant_name='=HYPERLINK("http://evil.example")'
    )
    page = world.client().get("/lms/deliveries.csv")
    assert page.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in page.headers["Content-Disposition"]
    assert "'=HYPERLINK" in page.text
    assert ",=HYPERLINK" not in page.text


# -- the others -----------------------------------------------------------------------------------


def test_alerts_are_muted_and_sent_again(world: World) -> None:
    client, one = world.client(), create(world)
    text = text_of(act(client, f"/lms/{one}/alerts", act="mute", email="ana.ruiz@harbor.example"))
    assert "ana.ruiz@harbor.example gets no more alerts about this LMS." in text
    assert "Muted" in text
    text = text_of(act(client, f"/lms/{one}/alerts", act="unmute", email="ana.ruiz@harbor.example"))
    assert "gets alerts again." in text
    text = text_of(act(client, f"/lms/{one}/alerts", act="test"))
    assert "A test alert is on its way to 1 address." in text
    assert "Test alert" in text


def test_history_tells_who_changed_what_from_to(world: World) -> None:
    fill(world)
    text = read(world, "/history")
    assert "Configuration Name: LMS → changed to Corporate LMS" in text
    assert "xAPI Key Secret: replaced" in text
    assert "Status: Connected → changed to Can't Connect" in text
    assert "Automatic" in text
    rows = world.client().get("/lms/history.csv").text
    assert "Configuration Name: LMS → Corporate LMS" in rows


def test_help_tells_what_is_sent_and_every_code(world: World) -> None:
    text = read(world, "/help")
    for part in ('"actor"', "Put on PPE", "credentials", "no_email", "tls_expired"):
        assert part in text


def test_stop_these_mails_needs_no_sign_in_but_a_click(world: World) -> None:
    one = create(world)
    with world.app.app_context():
        token = unsubscribe.make(world.state, one, "ana.ruiz@harbor.example", world.now)
    world.who = None
    client = world.client()
    assert "Shall ana.ruiz@harbor.example get no more alerts" in text_of(
        client.get(f"/lms/mute/{token}")
    )
    with world.app.app_context():
        assert world.lms.configurations.get(one).muted_emails == []
    one_click = client.post(f"/lms/mute/{token}", data={"List-Unsubscribe": "One-Click"})
    assert "gets no more alerts" in text_of(one_click)
    with world.app.app_context():
        assert world.lms.configurations.get(one).muted_emails == ["ana.ruiz@harbor.example"]
    assert client.get("/lms/mute/forged").status_code == 404


def test_titles_name_their_page(world: World) -> None:
    one = create(world)
    titles = [
        title_of(world.client().get(f"/lms{path}"))
        for path in ("/", "/new", f"/{one}", f"/{one}/edit", f"/{one}/test", "/history", "/help")
    ]
    assert len(set(titles)) == len(titles)


def test_every_page_is_small_and_asks_little(world: World) -> None:
    ids = fill(world)
    with world.app.app_context():
        newest = world.lms.deliveries.list(limit=40).items
        deliveries = [f"/deliveries/{one.id}" for one in newest[::8]]
    count = 0

    def counted(*args: object) -> None:
        nonlocal count
        count += 1

    with world.app.app_context():
        event.listen(world.db.engine, "before_cursor_execute", counted)
    parts = ("", "/test", "/edit", "/pause", "/delete", "/objectives", "/deliveries", "/alerts")
    paths = [f"/{one}{part}" for one in ids.values() for part in parts]
    paths += [f"/{ids['connected']}/objectives?show=attached", *deliveries]
    paths += [
        "/",
        "/new",
        "/objectives/",
        "/objectives/harbor-1",
        "/deliveries",
        "/history",
        "/help",
    ]
    client = world.client()
    for path in paths:
        count = 0
        page = client.get(f"/lms{path}")
        assert page.status_code == 200
        assert count <= 15, (path, count)
        assert len(page.data) <= 100_000, path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\bsrc=)", page.text), path


def test_two_errors_are_two_links(world: World) -> None:
    page = post(world.client(), "/lms/new", {"name": "", "type": "xapi", "contact_emails": ""})
    assert len(errors_of(page)) == 2


def test_a_mail_server_that_is_down_shows_on_the_list_and_on_the_alerts_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = create(world, "Corporate LMS")
    since = datetime(2026, 11, 20, 9, 0, tzinfo=timezone.utc)
    problem = sending.MailProblem(since=since, reason="refused", waiting=2)
    for problem_now, shown in ((problem, True), (None, False)):
        monkeypatch.setattr(sending, "problem", lambda state, now=problem_now: now)
        for path in ("/lms/", f"/lms/{configuration}/alerts"):
            page = world.client().get(path)
            assert page.status_code == 200
            assert ("The mail server takes no mails at the moment" in page.text) is shown


def test_a_test_alert_is_in_the_history_once_it_is_on_its_way(world: World) -> None:
    client, one = world.client(), create(world)
    act(client, f"/lms/{one}/alerts", act="test")
    assert "Test alert sent Corporate LMS Recipients: 1 Ana Ruiz" in read(world, "/history")
    act(client, f"/lms/{one}/alerts", act="mute", email="ana.ruiz@harbor.example")
    act(client, f"/lms/{one}/alerts", act="test")
    rows = read(world, "/history?action=test_alert_sent")
    assert rows.count("Recipients:") == 1


def test_the_history_has_words_for_every_act_that_is_written_and_for_no_other() -> None:
    assert flask_lms.__file__ is not None
    written: set[str] = set()
    for path in Path(flask_lms.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found: list[ast.expr] = []
            if isinstance(node, ast.Call):
                found = [word.value for word in node.keywords if word.arg == "action"]
                if getattr(node.func, "attr", getattr(node.func, "id", "")) in ("note", "_note"):
                    found += node.args[:1]
                elif isinstance(node.func, ast.Name) and node.func.id == "_note":
                    found += [one for one in node.args[:1] if isinstance(one, ast.Constant)]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "action":
                found = [node.value]
            elif isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.kwonlyargs]
                defaults = dict(zip(names, node.args.kw_defaults, strict=True))
                found = [one for one in [defaults.get("action")] if one is not None]
            for one in found:
                branches = [one.body, one.orelse] if isinstance(one, ast.IfExp) else [one]
                written |= {str(b.value) for b in branches if isinstance(b, ast.Constant)}
    assert written == set(history.ACTIONS)


def test_what_an_act_asks_is_asked_in_the_readers_language(world: World) -> None:
    one = create(world)
    for n in range(2):
        deliver(world, one, DeliveryState.REJECTED, number=n)
    with using("de"):
        asked = post(world.client(), "/lms/deliveries/send-again", {"all": "yes"})
    assert "2 Ergebnisse erneut senden?" in text_of(asked)


@pytest.mark.parametrize(
    ("most", "labels"),
    [
        (0, []), (2, ["1", "2"]), (3, ["2", "4"]), (10, ["5", "10"]), (11, ["10", "20"]),
        (999, ["500", "1k"]), (1_001, ["1k", "2k"]), (7_000_001, ["4M", "8M"]),
    ],
)  # fmt: skip
def test_the_chart_ends_at_a_round_number_at_or_above_the_most(
    most: int, labels: list[str]
) -> None:
    chart = charts.draw([Day(date=datetime(2026, 3, 2, tzinfo=UTC).date(), sent=most)])
    assert [line.label for line in chart.lines] == labels
    assert len(chart.table) == len(chart.bars) == (1 if most else 0)
