"""``./run screenshots``: every page inside Harbor Training, light, dark and on a phone.

Needs Chromium. The pictures go to ``docs/screenshots``.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from example_app.lms_adapter import lms
from example_app.models import Objective, db

from .demo import Demo
from .history import fill

TOP = Path(__file__).parent.parent
FOLDER = TOP / "docs" / "screenshots"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1200, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 375, "height": 720}, "color_scheme": "light"},
}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


def main() -> int:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("Chromium is needed: apt-get install chromium")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="harbor-") as folder,
        Demo(Path(folder), port=0, fill=fill) as demo,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        pages = addresses(demo)
        for look in LOOKS:
            take(browser, demo, pages, look)
        browser.close()
    print(f"{len(list(FOLDER.glob('*.png')))} pictures are in {FOLDER}")
    return 0


def addresses(demo: Demo) -> dict[str, str]:
    """Name of a picture → path of its page."""
    with demo.app.app_context():
        ids = {one.name: str(one.id) for one in lms.configurations.list("1")}
        objective = db.session.scalars(
            sa.select(Objective.id).where(Objective.name == "Man Overboard")
        ).one()

        newest: dict[str, str] = {}
        for delivery in lms.deliveries.iterate():
            if delivery.organization_id == "1":
                newest.setdefault(delivery.state.value, str(delivery.id))
        return {
            "configurations": "/lms/",
            "new": "/lms/new",
            "overview": f"/lms/{ids['Corporate LMS']}?days=30",
            "cant-connect": f"/lms/{ids['Crew Academy']}",
            "server-error": f"/lms/{ids['Office LMS']}",
            "paused": f"/lms/{ids['Union Portal']}",
            "edit": f"/lms/{ids['Corporate LMS']}/edit",
            "attach": f"/lms/{ids['Crew Academy']}/objectives",
            "alerts": f"/lms/{ids['Corporate LMS']}/alerts",
            "objectives": "/lms/objectives/",
            "objective": f"/lms/objectives/{objective}",
            "deliveries": "/lms/deliveries",
            "delivery": f"/lms/deliveries/{newest['delivered']}",
            "rejected": f"/lms/deliveries/{newest['rejected']}",
            "not-sent": f"/lms/deliveries/{newest['not_sent']}",
            "history": "/lms/history",
            "help": "/lms/help",
            "demo-lms": "/demo-lms",
        }


def take(browser: Browser, demo: Demo, pages: dict[str, str], look: str) -> None:
    context = browser.new_context(**LOOKS[look])
    page = context.new_page()
    page.goto(f"{demo.url}/sign-in")
    page.get_by_role("button", name="Ana Ruiz").click()
    page.get_by_role("heading", name="Objectives").wait_for()
    for name, path in pages.items():
        answer = page.goto(demo.url + path)
        if answer is None or not answer.ok:
            sys.exit(f"{path} answered {answer and answer.status}")
        shoot(page, name, look)
    connect(page, demo)
    shoot(page, "new-connection", look)
    page.get_by_role("button", name="Test without saving").click()
    page.get_by_text("Nothing is saved yet.").wait_for()
    shoot(page, "test", look)
    context.close()


def connect(page: Page, demo: Demo) -> None:
    """Both steps filled in, as pages of their own."""
    page.goto(f"{demo.url}/lms/new")
    page.get_by_label("Configuration Name").fill("Partner Academy")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("textbox", name="xAPI URL").fill(demo.lms.url)
    page.get_by_label("xAPI Key", exact=True).fill(demo.lms.key)
    page.get_by_label("xAPI Key Secret").fill(demo.lms.secret)


def shoot(page: Page, name: str, look: str) -> None:
    """At most three screens long, in 128 colours: they live in the repository."""
    data = page.screenshot(full_page=True, animations="disabled")
    with Image.open(io.BytesIO(data)) as picture:
        longest = 3 * LOOKS[look]["viewport"]["height"]
        cut = picture.convert("RGB").crop((0, 0, picture.width, min(picture.height, longest)))
        cut.quantize(128, dither=Image.Dither.NONE).save(
            FOLDER / f"{name}-{look}.png", optimize=True
        )


if __name__ == "__main__":
    sys.exit(main())
