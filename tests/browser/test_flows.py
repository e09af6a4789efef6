"""The main flows: as a dialog, by keyboard alone, and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_lms.testing import FakeLRS
from tests.browser.conftest import Place
from tests.browser.support import hears
from tests.browser.test_look import faults_of
from tests.pages.site import SECRET

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def lrs() -> Iterator[FakeLRS]:
    with FakeLRS() as server:
        yield server


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(10_000)
    tab.said = []
    tab.on("console", hears(tab.said))
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    yield tab
    assert not tab.said
    context.close()


@pytest.fixture
def plain_page(chromium: Any) -> Iterator[Any]:
    """A browser without JavaScript."""
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.set_default_timeout(10_000)
    yield tab
    context.close()


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Any, name: str) -> None:
    """Press Tab until the control of that name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(
            """(name) => {
              const one = document.activeElement;
              const label = one.labels?.[0]?.textContent ?? one.getAttribute("aria-label")
                ?? one.textContent;
              return label.trim().startsWith(name);
            }""",
            name,
        ):
            return
    raise AssertionError(f"Tab doesn't reach {name}")


def test_two_steps_as_a_dialog_by_keyboard_alone(place: Place, page: Any, lrs: FakeLRS) -> None:
    page.goto(f"{place.url}/")
    tab_to(page, "Create LMS Configuration")
    press(page, "Enter")
    dialog = page.locator("dialog")
    dialog.wait_for()
    assert page.url == f"{place.url}/"
    assert page.evaluate("document.activeElement.tagName") == "H1"
    tab_to(page, "Configuration Name")
    page.keyboard.type("By keyboard")
    tab_to(page, "Continue")
    press(page, "Enter")
    dialog.get_by_role("textbox", name="xAPI URL").wait_for()
    tab_to(page, "xAPI URL")
    page.keyboard.type(lrs.url)
    tab_to(page, "xAPI Key")
    page.keyboard.type(lrs.key)
    tab_to(page, "xAPI Key Secret")
    page.keyboard.type(lrs.secret)
    press(page, "Enter")
    dialog.get_by_text("Connected. Nothing was stored in your LMS.").wait_for()
    assert not faults_of(page, "the test in the dialog", [])
    press(page, "Escape")
    page.get_by_role("link", name="By keyboard").wait_for()
    assert page.locator("dialog").count() == 0


def test_what_is_wrong_is_said_in_the_dialog_and_nothing_typed_is_lost(
    place: Place, page: Any
) -> None:
    page.goto(f"{place.url}/")
    page.get_by_role("link", name="Create LMS Configuration").click()
    dialog = page.locator("dialog")
    dialog.get_by_label("Configuration Name").fill("Half made")
    dialog.get_by_label("Contact Email").fill("nobody")
    dialog.get_by_role("button", name="Continue").click()
    dialog.get_by_text("There is a problem").wait_for()
    assert page.evaluate("document.activeElement.hasAttribute('data-flms-errors')")
    assert dialog.get_by_label("Configuration Name").input_value() == "Half made"
    assert not faults_of(page, "step 1 with errors", [])
    dialog.get_by_label("Contact Email").fill("ana@harbor.example")
    dialog.get_by_role("button", name="Continue").click()
    dialog.get_by_role("textbox", name="xAPI URL").fill("ftp://nowhere")
    dialog.get_by_label("xAPI Key", exact=True).fill("my key")
    dialog.get_by_label("xAPI Key Secret").fill(SECRET)
    dialog.get_by_role("button", name="Save", exact=True).click()
    dialog.get_by_text("There is a problem").wait_for()
    assert not faults_of(page, "step 2 with errors", [])
    assert dialog.get_by_label("xAPI Key", exact=True).input_value() == "my key"
    # The server never sends it back: this browser kept it.
    assert dialog.get_by_label("xAPI Key Secret").input_value() == SECRET
    dialog.get_by_role("button", name="Back").click()
    dialog.get_by_label("Configuration Name").wait_for()
    assert dialog.get_by_label("Configuration Name").input_value() == "Half made"
    dialog.get_by_role("link", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert page.evaluate("document.activeElement.textContent").strip().startswith("Create LMS")


def test_the_same_without_javascript(place: Place, plain_page: Any, lrs: FakeLRS) -> None:
    page = plain_page
    page.goto(f"{place.url}/")
    page.get_by_role("link", name="Create LMS Configuration").click()
    page.get_by_label("Configuration Name").fill("Plain")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("textbox", name="xAPI URL").fill(lrs.url)
    page.get_by_label("xAPI Key", exact=True).fill(lrs.key)
    page.get_by_label("xAPI Key Secret").fill(lrs.secret)
    page.get_by_role("button", name="Save and test").click()
    page.get_by_text("Connected. Nothing was stored in your LMS.").wait_for()
    page.get_by_role("link", name="Attach objectives").click()
    page.get_by_label("Choose: Put on PPE", exact=True).check()
    page.get_by_role("button", name="Attach", exact=True).click()
    page.get_by_text("1 objective attached. Its results are sent from now on.").wait_for()
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("link", name="Pause").click()
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("“Plain” is paused.").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("“Plain” sends again.").wait_for()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("“Plain” was deleted. For 30 days").wait_for()


def test_past_results_go_on_after_attaching(place: Place, page: Any) -> None:
    page.goto(f"{place.url}/objectives/harbor-20")
    page.get_by_label("LMS configuration", exact=True).select_option(
        label="Corporate LMS (Connected)"
    )
    page.get_by_label("From now on, and also past results since").check()
    page.get_by_role("button", name="Attach", exact=True).click()
    page.get_by_text("This sends 0 results.").wait_for()


def test_comforts_of_the_lists(place: Place, page: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{place.url}/deliveries?state=rejected")
    page.get_by_label("Select these").check()
    assert page.locator("input[name=ids]:not(:checked)").count() == 0
    page.locator("th a").first.click()
    page.get_by_text("What was sent").click()
    page.get_by_role("button", name="Copy: Statement", exact=True).click()
    page.get_by_text("Copied").wait_for()
    assert '"verb"' in page.evaluate("navigator.clipboard.readText()")
    page.get_by_role("button", name="Copy: Result ID").click()
    page.get_by_text("Copied").nth(1).wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("result-")


def test_an_edit_with_errors_and_one_with_a_conflict(place: Place, page: Any) -> None:
    one = place.ids["not_tested"]
    page.goto(f"{place.url}/{one}/edit")
    with place.site.app.app_context():
        place.site.lms.configurations.update(
            one, contact_emails=["ben@harbor.example"], by="Ben Okoye"
        )
    page.get_by_label("Configuration Name").fill("")
    page.get_by_role("button", name="Test without saving").wait_for()
    page.get_by_role("button", name="Save and test").click()
    page.get_by_text("Ben Okoye saved this configuration").wait_for()
    page.said[:] = [text for text in page.said if "409" not in text]
    assert not faults_of(page, "conflict", [])
    page.get_by_role("button", name="Save and test").click()
    page.get_by_text("There is a problem").wait_for()
    assert page.title().startswith("Error: ")
    assert not faults_of(page, "edit with errors", [])
