"""A real server on loopback and a real browser, for tests and screenshots."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask, Response
from playwright.sync_api import Browser, ConsoleMessage, sync_playwright
from werkzeug.serving import make_server

_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
STRICT = "default-src 'self'"


def hears(said: list[str]) -> Callable[[ConsoleMessage], None]:
    """Notes what the console says, but for Chromium's advice on forms with several secrets."""

    def hear(message: ConsoleMessage) -> None:
        if not message.text.startswith("[DOM] "):
            said.append(message.text)

    return hear


@contextmanager
def serve(app: Flask, policy: str | None = STRICT) -> Iterator[str]:
    """The app on a free port of 127.0.0.1 under a Content-Security-Policy; its address."""

    @app.after_request
    def strict(response: Response) -> Response:
        if policy:
            response.headers["Content-Security-Policy"] = policy
        return response

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def chromium() -> str | None:
    """Where Chromium is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browse() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
