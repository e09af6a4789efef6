"""The whole story in Chromium, with a real worker, a real LMS and a real mail server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator

import pytest

from demo.demo import Demo
from tests.browser.support import hears
from tests.requirements_support import need

pytestmark = [
    pytest.mark.browser,
    # Playwright's own loop of its own thread, and what the interpreter says when it is closed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Iterator[Demo]:
    """Web server, worker, demo LMS, mail server and Valkey; people and objectives, no history."""
    for name in ("DATABASE_URL", "LMS_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    with Demo(tmp_path, port=0) as running:
        yield running


@pytest.fixture
def page(demo):
    path = need("browser")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=CHROMIUM)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.set_default_timeout(15_000)
        said: list[str] = []
        tab.on("console", hears(said))
        tab.on("pageerror", lambda error: said.append(str(error)))
        yield tab
        browser.close()
    assert not said, f"the console must be empty: {said}"


def until(is_true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def sign_in(page, demo: Demo, name: str) -> None:
    page.goto(f"{demo.url}/sign-in")
    page.get_by_role("button", name=name).click()
    page.get_by_role("heading", name="Objectives").wait_for()


def play(page, demo: Demo, did: str = "Succeed") -> None:
    """As Jane Doe, all three steps of Fire Safety."""
    sign_in(page, demo, "Jane Doe")
    page.get_by_role("link", name="Fire Safety", exact=True).first.click()
    page.get_by_role("button", name="Play this objective").click()
    for _ in range(3):
        page.get_by_role("button", name=did).click()
    page.get_by_role("link", name="Back to the objectives").wait_for()


def switch(page, demo: Demo, words: str) -> None:
    page.goto(f"{demo.url}/demo-lms")
    page.get_by_role("button", name=words).click()
    page.locator('[aria-pressed="true"]', has_text=words).wait_for()


def overview(page, demo: Demo) -> None:
    page.goto(f"{demo.url}/lms/")
    page.get_by_role("link", name="Corporate LMS", exact=True).click()


def reload_until(page, text: str | re.Pattern[str], seconds: float) -> None:
    def shows() -> bool:
        page.reload()
        return page.get_by_text(text).count() > 0

    until(shows, seconds, f"{text!r} did not appear; the page reads:\n" + page.inner_text("main"))


def create(page, demo: Demo) -> None:
    """In two steps, with a test at the end."""
    page.goto(f"{demo.url}/lms/")
    page.get_by_role("link", name="Create LMS Configuration").first.click()
    page.get_by_label("Configuration Name").fill("Corporate LMS")
    page.get_by_label("Contact Email").fill("ana.ruiz@meridian.example")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("textbox", name="xAPI URL").fill(demo.lms.url)
    page.get_by_label("xAPI Key", exact=True).fill(demo.lms.key)
    page.get_by_label("xAPI Key Secret").fill(demo.lms.secret)
    page.get_by_role("button", name="Save and test").click()
    page.get_by_text("Connected. Nothing was stored in your LMS.").wait_for()


def attach(page, demo: Demo) -> None:
    """From the objective's side."""
    page.goto(f"{demo.url}/lms/objectives/")
    page.get_by_role("link", name="Fire Safety").first.click()
    page.get_by_label("LMS configuration", exact=True).select_option(index=0)
    page.get_by_role("button", name="Attach", exact=True).click()
    page.get_by_role("link", name="Corporate LMS").first.wait_for()


@pytest.mark.timeout(180)
def test_the_whole_story_from_connecting_an_lms_to_its_recovery(page, demo):
    sign_in(page, demo, "Ana Ruiz")
    create(page, demo)
    attach(page, demo)

    # Played, delivered, seen on both sides.
    play(page, demo)
    until(lambda: demo.lms.count == 1, 20, "the LMS received nothing")
    page.goto(f"{demo.url}/demo-lms")
    page.get_by_text("1 statement received").wait_for()
    sign_in(page, demo, "Ana Ruiz")
    page.goto(f"{demo.url}/lms/deliveries")
    reload_until(page, "Sent", 10)

    # The LMS stops; what is played waits, and the page says why.
    switch(page, demo, "Refuses connections")
    play(page, demo)
    sign_in(page, demo, "Ana Ruiz")
    overview(page, demo)
    reload_until(page, "Can't Connect", 30)
    status = page.get_by_role("region", name="Status").inner_text()
    assert "1 result is waiting." in status
    assert f"refuses connections on port {demo.lms.port}" in status
    assert "Next try at" in status

    # Two more tries make it an alert.
    for _ in range(2):
        page.get_by_role("button", name="Send waiting now").click()
        page.get_by_role("status").first.wait_for()
        time.sleep(1)
    until(lambda: demo.mailbox.count > 0, 60, "no mail came")
    page.goto(f"{demo.url}/demo-mail")
    mail = page.locator("details").last
    assert "Can't Connect: Corporate LMS" in mail.inner_text()
    assert "refuses connections" in mail.inner_text()

    # It is back: found out by the test that the page asks for, and the waiting result arrives.
    switch(page, demo, "Works")
    overview(page, demo)
    page.get_by_role("button", name="Test connection").click()
    page.get_by_text("Connected. Nothing was stored in your LMS.").wait_for()
    until(lambda: demo.lms.count == 2, 30, "the waiting result did not arrive")
    overview(page, demo)
    reload_until(page, "Nothing is waiting.", 15)
    until(lambda: demo.mailbox.count > 1, 30, "no mail of the recovery came")
    page.goto(f"{demo.url}/demo-mail")
    page.get_by_text("Connected again: Corporate LMS").first.wait_for()


@pytest.mark.timeout(120)
def test_a_staff_number_ends_as_not_sent_with_its_reason_until_it_is_corrected(page, demo):
    sign_in(page, demo, "Ana Ruiz")
    create(page, demo)
    attach(page, demo)
    page.goto(f"{demo.url}/sign-in")
    page.get_by_role("button", name="Noah Berg").click()
    page.get_by_role("link", name="Fire Safety", exact=True).first.click()
    page.get_by_role("button", name="Play this objective").click()
    for _ in range(3):
        page.get_by_role("button", name="Succeed").click()

    sign_in(page, demo, "Ana Ruiz")
    page.goto(f"{demo.url}/lms/deliveries")
    page.get_by_role("link", name="Noah Berg").first.click()
    page.get_by_text("The participant ID 'E001' is not an e-mail address.").first.wait_for()

    page.goto(f"{demo.url}/people")
    page.get_by_label("E-mail address of Noah Berg").fill("noah.berg@meridian.example")
    page.get_by_role("button", name="Save").click()
    page.goto(f"{demo.url}/lms/deliveries")
    page.get_by_role("link", name="Noah Berg").first.click()
    page.get_by_role("button", name=re.compile("^Check again")).first.click()
    until(lambda: demo.lms.count == 1, 20, "the corrected result did not arrive")
    assert demo.lms.newest(1)[0]["actor"]["mbox"] == "mailto:noah.berg@meridian.example"


def test_the_demo_is_reset_with_one_click(page, demo):
    sign_in(page, demo, "Ana Ruiz")
    create(page, demo)
    page.goto(f"{demo.url}/demo-lms")
    page.get_by_role("button", name="Reset the demo").click()
    page.get_by_text("The demo is as it was at the start.").wait_for()
    sign_in(page, demo, "Ana Ruiz")
    page.goto(f"{demo.url}/lms/")
    page.get_by_text("No LMS configuration yet.").wait_for()
    assert demo.worker is not None
    assert os.kill(demo.worker.pid, 0) is None
