"""All parts of the demo, started and stopped together."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import sqlalchemy as sa
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from example_app.lms_adapter import lms
from example_app.models import Organization, db

from .app import create_app
from .lms import DemoLMS
from .mailbox import Mailbox, free_port
from .seed import seed
from .valkey import Valkey, end_with_the_parent

TOP = Path(__file__).parent.parent


class Demo:
    """Web server, worker, demo LMS, mail server and, unless ``LMS_REDIS_URL`` is set, Valkey.

    Start it in the main thread: on Linux Valkey ends with the thread that started it.

    :param folder: where database and logs are kept.
    :param port: of the web server; the next free one when taken. 0: any.
    :param fill: adds history to people and objectives, in the context of an app of its own.
    """

    def __init__(
        self,
        folder: Path = TOP / "instance",
        *,
        port: int = 5000,
        fill: Callable[[Flask, DemoLMS], None] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.fill = fill
        self.mailbox = Mailbox()
        self.lms = DemoLMS(free_port(self.port + 1 if port else 0))
        self.worker: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._closing = contextlib.ExitStack()
        self._lock = threading.Lock()
        # One thread for as long as the demo lives: the worker ends with the thread that started it.
        self._keeper = ThreadPoolExecutor(1, "keeper")
        self.app: Flask

    def start(self) -> Demo:
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as closing:
            redis_url = os.environ.get("LMS_REDIS_URL")
            if not redis_url:
                redis_url = closing.enter_context(Valkey()).url
            self.mailbox.start()
            closing.callback(self.mailbox.stop)
            self.lms.start()
            closing.callback(self.lms.stop)
            self._environment = {
                "DATABASE_URL": os.environ.get("DATABASE_URL")
                or f"sqlite:///{self.folder}/demo.sqlite",
                "LMS_REDIS_URL": redis_url,
                "MAIL_SERVER": "127.0.0.1",
                "MAIL_PORT": str(self.mailbox.port),
                "PUBLIC_URL": self.url,
            }
            self._make_app()
            self._serve(closing)
            closing.callback(self._keeper.shutdown)
            closing.callback(self._stop_worker)
            self._start_worker()
            self._closing = closing.pop_all()
        return self

    def stop(self) -> None:
        self._closing.close()

    def __enter__(self) -> Demo:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def reset(self) -> None:
        """Delete every row and fill again, while no worker is there to send the past."""
        with self._lock:
            self._stop_worker()
            for table in reversed(db.metadata.sorted_tables):
                db.session.execute(table.delete())
            db.session.commit()
            self.lms.clear()
            self.lms.switch("answers")
            self.mailbox.clear()
            self._fill()
            self._start_worker()

    @property
    def log(self) -> Path:
        """What the worker says."""
        return self.folder / "worker.log"

    def _make_app(self) -> None:
        if "DATABASE_URL" not in os.environ:
            self._remove_a_database_of_other_tables()
        with mock.patch.dict(os.environ, self._environment):
            self.app = create_app(demo=self)
        with self.app.app_context():
            db.create_all()
            if db.session.scalar(sa.select(Organization.id).limit(1)) is None:
                self._fill()

    def _fill(self) -> None:
        with mock.patch.dict(os.environ, self._environment):
            app = create_app()
        with app.app_context():
            seed()
            if self.fill is not None:
                self.fill(app, self.lms)
                self.lms.clear()
            db.session.remove()
            db.engine.dispose()

    def _remove_a_database_of_other_tables(self) -> None:
        """A newer version of the demo starts over; a real host migrates."""
        stamp = self.folder / "demo.tables"
        sources = [*TOP.glob("demo/*.py"), *TOP.glob("example_app/*.py")]
        sources += TOP.glob("flask_lms/**/models.py")
        text = b"".join(path.read_bytes() for path in sorted(sources))
        # The history holds the address of the demo LMS.
        now = hashlib.sha256(text + str(self.lms.port).encode()).hexdigest()
        if not stamp.exists() or stamp.read_text() != now:
            for path in self.folder.glob("demo.sqlite*"):
                path.unlink()
        stamp.write_text(now)

    def _serve(self, closing: contextlib.ExitStack) -> None:
        server = make_server(
            "127.0.0.1", self.port, self.app, threaded=True, request_handler=_QuietHandler
        )
        thread = threading.Thread(target=server.serve_forever, name="web", daemon=True)
        thread.start()
        closing.callback(thread.join, 5)
        closing.callback(server.server_close)
        closing.callback(server.shutdown)

    def _start_worker(self) -> None:
        """Start it and wait until it has reported for duty, or ended."""
        with self.log.open("ab") as log:
            self.worker = self._keeper.submit(
                subprocess.Popen,
                [sys.executable, "-m", "flask", "--app", "demo.app", "lms", "worker"],
                cwd=TOP,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl+C is for us; we stop it in our order
                preexec_fn=end_with_the_parent(signal.SIGTERM),
            ).result()
        deadline = time.monotonic() + 20
        while self.worker.poll() is None and time.monotonic() < deadline:
            with self.app.app_context():
                seen = lms.health("1").worker_seen_seconds
            if seen is not None and seen < 60:
                return
            time.sleep(0.05)

    def _stop_worker(self) -> None:
        if self.worker is None:
            return
        self.worker.terminate()
        try:
            self.worker.wait(15)
        except subprocess.TimeoutExpired:
            self.worker.kill()
            self.worker.wait()
        self.worker = None


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The terminal is for what people need to read."""
