"""What one app's Flask-LMS consists of; handed to services and engine as their only argument."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as HostSession
from sqlalchemy.orm import Session, scoped_session

from .clock import Clock
from .connectors import Registry
from .models import Configuration
from .settings import Settings
from .signals import StatusChanged
from .slots import Slots
from .transport import Transport
from .vault import Vault


@dataclass(kw_only=True)
class State:
    """The parts of one app, wired by ``extension``.

    :param ring: wakes a worker for these configurations; never raises, returns at once.
    :param schedule: wakes one for a configuration at a time; as harmless.
    :param answered: tells that a worker has begun with a configuration.
    :param is_redis_there: whether Redis answers now.
    :param worker: names this process's worker; every process that sends adds its own id.
    :param is_stopping: whether this worker was told to end: then no further request is begun.
    :param on_status_change: called in the transaction that changes a configuration's status.
    :param on_own_fault: called when all destinations fail alike by a fault of the installation.
    """

    app: Flask
    db: SQLAlchemy
    mail: Mail
    settings: Settings
    slots: Slots
    clock: Clock
    vault: Vault
    registry: Registry
    transport: Transport
    ring: Callable[[Iterable[uuid.UUID]], object]
    schedule: Callable[[uuid.UUID, datetime], object]
    answered: Callable[[uuid.UUID], object]
    is_redis_there: Callable[[], bool]
    on_status_change: Callable[[Session, Configuration, StatusChanged], None]
    on_own_fault: Callable[[Session, str, dict[str, Any], datetime], None]

    worker: str = ""
    is_stopping: Callable[[], bool] = lambda: False

    @property
    def session(self) -> scoped_session[HostSession]:
        """The host's session of this context."""
        return self.db.session
