"""Pictures of every mail, light, dark and at phone width.

``python -m tests.browser.mail_screenshots DIRECTORY``
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from flask_lms.alerts import texts
from tests.integration.alerts.every_kind import bring_about
from tests.world import make_world

LOOKS = {"light": (760, "light"), "dark": (760, "dark"), "phone": (360, "light")}


def rendered() -> dict[str, str]:
    """Kind (and number, when there are several sorts of it) → HTML."""
    with make_world("sqlite://", LMS_OPERATOR_EMAILS=["ops@harbor.example"]) as world:
        world.freeze()
        bring_about(world)
        pages: dict[str, str] = {}
        for mail in world.mails():
            if not mail.recipient.startswith("bo@"):
                composed = texts.compose(world.state, mail)
                n = sum(key.startswith(mail.kind) for key in pages)
                pages[f"{mail.kind}_{n}" if n else mail.kind] = composed.html
        return pages


def main(directory: Path) -> None:
    """Write one PNG for each kind and look."""
    directory.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"],
        )
        for look, (width, scheme) in LOOKS.items():
            page = browser.new_page(
                viewport={"width": width, "height": 400},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            for name, html in rendered().items():
                page.set_content(html)
                page.screenshot(path=directory / f"mail_{name}_{look}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
