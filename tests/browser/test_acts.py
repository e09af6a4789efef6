"""What an administrator does most: how many clicks and page loads it takes, and what is watched."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from flask_lms import ObjectiveResult, Participant
from flask_lms.testing import FakeLRS, deliver
from tests.browser.conftest import Place
from tests.browser.support import hears
from tests.pages.site import create
from tests.pages.site import deliver as put

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def lrs() -> Iterator[FakeLRS]:
    with FakeLRS() as server:
        yield server


@dataclass
class Hand:
    """A reader with a mouse: each click and each page that is loaded is counted."""

    page: Any
    clicks: int = 0
    loads: list[str] = field(default_factory=list)

    def click(self, target: Any) -> None:
        self.clicks += 1
        target.click()

    def begin(self, url: str) -> None:
        """Open the page on which the act begins; it doesn't count."""
        self.page.goto(url)
        self.clicks = 0
        self.loads.clear()

    @property
    def counted(self) -> tuple[int, int]:
        """Clicks and page loads since."""
        return self.clicks, len(self.loads)


@pytest.fixture
def hand(chromium: Any) -> Iterator[Hand]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    tab = context.new_page()
    tab.set_default_timeout(10_000)
    said: list[str] = []
    tab.on("console", hears(said))
    tab.on("pageerror", lambda error: said.append(str(error)))
    found = Hand(tab)
    tab.on("load", lambda page: found.loads.append(page.url))
    yield found
    assert not said
    context.close()


def results(place: Place, lrs: FakeLRS, count: int, name: str) -> uuid.UUID:
    """A configuration whose key is wrong, with results that wait for it."""
    one = create(place.site, name, url=lrs.url, key=lrs.key, secret="a mistyped one")
    with place.site.app.app_context():
        place.site.lms.configurations.attach(one, "harbor-40")
        place.site.lms.record_many(
            [
                ObjectiveResult(
                    id=f"{name} {n}",
                    organization_id="harbor",
                    objective="harbor-40",
                    participant=Participant(id=f"p{n}@harbor.example", name=f"Person {n}"),
                    finished_at=place.site.now,
                    success=True,
                )
                for n in range(count)
            ]
        )
    return one


def work(place: Place) -> None:
    """What the worker does in the meantime."""
    deliver(place.site.app)


def test_a_wrong_key_is_corrected_tested_sampled_and_drained_on_one_page(
    place: Place, hand: Hand, lrs: FakeLRS
) -> None:
    one = results(place, lrs, 37, "Mistyped")
    work(place)
    page = hand.page
    hand.begin(f"{place.url}/{one}")
    status = page.get_by_role("region", name="Status")
    assert "37 results are waiting. None are lost." in status.inner_text()
    page.get_by_label("xAPI Key Secret").fill(lrs.secret)
    hand.click(page.get_by_role("button", name="Save, test and send"))
    page.get_by_text("Connected. Nothing was stored in your LMS.").wait_for()
    status.get_by_text("37 results are waiting.").wait_for()
    status.get_by_role("heading", name="Connected").wait_for()
    assert page.get_by_label("xAPI Key Secret").count() == 0

    hand.click(page.get_by_role("button", name="Send a sample result"))
    page.get_by_text("Your LMS took the sample result.").wait_for()
    page.get_by_text("As your LMS stored it").wait_for()

    page.evaluate("document.getElementById('flms').tabIndex = -1")
    chosen = page.get_by_role("link", name="Edit")
    chosen.focus()
    work(place)
    status.get_by_text("Nothing is waiting.").wait_for()
    assert page.locator("dd.flms-figure-value").nth(1).inner_text() == "0"
    assert page.locator("#flms-said").inner_text() == "Connected. Nothing is waiting."
    assert page.evaluate("document.activeElement.textContent").strip() == "Edit"
    assert len(lrs.statements) >= 37
    assert hand.counted == (2, 0)
    assert page.url == f"{place.url}/{one}"


def test_what_is_ticked_and_unfolded_stays_while_the_list_renews_itself(
    place: Place, hand: Hand
) -> None:
    one = create(place.site, "Renewed")
    rows = [put(place.site, one, participant_name=f"Renewed {n}") for n in range(3)]
    page = hand.page
    hand.begin(f"{place.url}/{one}/deliveries")
    page.get_by_role("button", name=re.compile("^Cancel sending")).wait_for()
    assert page.get_by_role("button", name=re.compile("^Cancel sending")).is_disabled()
    page.get_by_label("Choose: Put on PPE, Renewed 1").check()
    page.get_by_role("button", name="Cancel sending (1)").wait_for()
    assert page.get_by_role("button", name=re.compile("^Send again")).is_disabled()
    put(place.site, one, participant_name="A new one")
    with place.site.app.app_context():
        place.site.lms.deliveries.cancel(ids=[rows[0]])
    page.get_by_role("link", name="A new one").wait_for()
    page.locator("tr", has_text="Renewed 0").get_by_text("Cancelled").wait_for()
    assert page.get_by_label("Choose: Put on PPE, Renewed 1").is_checked()
    assert page.get_by_label("Choose: Put on PPE, Renewed 1").evaluate(
        "one => one === document.activeElement"
    )
    assert not hand.loads


def test_typed_secrets_survive_three_tests(place: Place, hand: Hand, lrs: FakeLRS) -> None:
    page = hand.page
    hand.begin(f"{place.url}/")
    page.get_by_role("link", name="Create LMS Configuration").click()
    dialog = page.locator("dialog")
    dialog.get_by_label("Configuration Name").fill("Tested thrice")
    dialog.get_by_role("button", name="Continue").click()
    dialog.get_by_role("textbox", name="xAPI URL").fill(lrs.url)
    dialog.get_by_label("xAPI Key", exact=True).fill("not the key")
    dialog.get_by_label("xAPI Key Secret").fill(lrs.secret)
    for key, outcome in (
        ("not the key", "Your LMS refused the xAPI key or secret (401)."),
        (lrs.key, "Connected. Nothing was stored in your LMS."),
        ("again not", "Your LMS refused the xAPI key or secret (401)."),
    ):
        dialog.get_by_label("xAPI Key", exact=True).fill(key)
        dialog.get_by_role("button", name="Test without saving").click()
        dialog.locator("[data-flms-report]").get_by_text(outcome).wait_for()
        assert dialog.get_by_label("xAPI Key Secret").input_value() == lrs.secret
        assert lrs.secret not in page.content()
    assert not hand.loads
