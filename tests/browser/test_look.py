"""Every page in every state: nothing for axe, nothing on the console, nothing cut off."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Place
from tests.browser.paths import paths_of
from tests.browser.support import hears

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LOOKS = [(1280, "light"), (1280, "dark"), (768, "light"), (320, "dark")]


def faults_of(page: Any, name: str, said: list[str]) -> list[str]:
    """What axe, the console and the page's width say."""
    from axe_playwright_python.sync_playwright import Axe

    found = [f"{name}: console: {text}" for text in said]
    for violation in Axe().run(page).response["violations"]:
        for node in violation["nodes"][:3]:
            found.append(
                f"{name}: {violation['id']}: {node['html'][:160]} {node['failureSummary']}"
            )
    wide, room = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    if wide > room:
        found.append(f"{name}: {wide} px in a window of {room} px")
    small = page.evaluate(
        """() => [...document.querySelectorAll(".flms button, .flms input:not([type=hidden]),"
          + ".flms select, .flms summary, .flms .flms-button, .flms .flms-tab")]
          .filter((one) => one.checkVisibility() && !one.closest(".flms-hidden, .flms-card"))
          .map((one) => [one.outerHTML.slice(0, 120), one.getBoundingClientRect()])
          .filter(([, box]) => box.width > 1 && (box.height < 23.5 || box.width < 20))
          .map(([html]) => html)"""
    )
    found += [f"{name}: smaller than 24 px: {html}" for html in small]
    return found


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page(place: Place, chromium: Any, width: int, scheme: Any) -> None:
    faults: list[str] = []
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", hears(said))
    page.on("pageerror", lambda error: said.append(str(error)))
    for name, path in paths_of(place).items():
        said.clear()
        page.goto(place.url + path)
        if name == "not-found":
            said[:] = [text for text in said if "404" not in text]
        for closed in page.query_selector_all("details"):
            closed.evaluate("one => one.open = true")
        faults += faults_of(page, f"{name} {width} {scheme}", said)
    context.close()
    assert not faults, "\n".join(faults)
