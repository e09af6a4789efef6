"""The application factory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response
from flask_wtf import CSRFProtect
from sqlalchemy import event
from sqlalchemy.engine import Engine

from . import accounts, lms_adapter, training
from .models import db


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the app.

    :param config: goes over what the environment says: ``DATABASE_URL``, ``LMS_REDIS_URL``,
        ``MAIL_PORT``, ``PUBLIC_URL``.
    """
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=os.environ.get("SECRET_KEY", "only for the demo"),
        SQLALCHEMY_DATABASE_URI=os.environ.get(
            "DATABASE_URL", f"sqlite:///{app.instance_path}/harbor.sqlite"
        ),
        SQLALCHEMY_ENGINE_OPTIONS={},
        MAIL_SERVER=os.environ.get("MAIL_SERVER", "127.0.0.1"),
        MAIL_PORT=int(os.environ.get("MAIL_PORT", "1025")),
        MAIL_DEFAULT_SENDER=("Harbor Training", "no-reply@harbor.example"),
        LMS_PLATFORM_NAME="Harbor Training",
        LMS_ACTIVITY_BASE_URL="https://harbor.example/xapi",
        LMS_PUBLIC_URL=os.environ.get("PUBLIC_URL", "http://127.0.0.1:5000"),
        LMS_REDIS_URL=os.environ.get("LMS_REDIS_URL", "redis://localhost:6379/0"),
    )
    app.config.update(config or {})
    _suit_the_database(app)

    db.init_app(app)
    CSRFProtect(app)
    lms_adapter.lms.init_app(app)

    app.register_blueprint(accounts.blueprint)
    app.register_blueprint(training.blueprint)
    app.after_request(_strict)
    return app


def _suit_the_database(app: Flask) -> None:
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        # The web server and the worker write to the same file: wait for each other.
        app.config["SQLALCHEMY_ENGINE_OPTIONS"].setdefault("connect_args", {})["timeout"] = 20
    else:
        app.config["SQLALCHEMY_ENGINE_OPTIONS"].setdefault("pool_pre_ping", True)


@event.listens_for(Engine, "connect")
def _let_readers_and_writer_be_at_once(connection: Any, record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")


def _strict(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", "default-src 'self'")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
