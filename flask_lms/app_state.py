"""What one app's Flask-LMS consists of; handed to services and engine as their only argument."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as HostSession
from sqlalchemy.orm import scoped_session

from .callbacks import Callbacks
from .connectors.base import BuildContext, Sent
from .connectors.registry import Registry
from .database.types import Clock
from .delivery.wake import Wake
from .encryption import Encryption
from .settings import Settings
from .store import DatabaseStore, Store
from .transport import Transport


@dataclass(kw_only=True)
class AppState:
    """The parts of one app, wired by ``extension``.

    :param worker: names this process's worker; every process that sends adds its own id.
    :param is_stopping: whether this worker was told to end: then no further request is begun.
    """

    app: Flask
    db: SQLAlchemy
    mail: Mail
    settings: Settings
    callbacks: Callbacks
    clock: Clock
    encryption: Encryption
    registry: Registry
    transport: Transport
    wake: Wake

    worker: str = ""
    is_stopping: Callable[[], bool] = lambda: False

    @property
    def session(self) -> scoped_session[HostSession]:
        """The host's session of this context."""
        return self.db.session

    def transport_for(self, organization_id: str | None) -> Transport:
        """The way out for one organization, as the host's ``egress_policy`` says.

        :raises SetupError: it says nothing that can be understood; nothing is called then.
        """
        entries = organization_id and self.callbacks.egress(organization_id)
        return self.transport.under(entries) if isinstance(entries, tuple) else self.transport

    def store_of(
        self,
        configuration_id: uuid.UUID,
        type: str,
        settings: Mapping[str, Any],
        turn: AbstractContextManager[Any] | None = None,
    ) -> Store:
        """What the connector of a saved configuration keeps between its calls.

        :param turn: held while the database is used.
        """
        connector = self.registry.get(type)
        origin = connector.origin(settings) if connector else ""
        return DatabaseStore(
            self.session, self.clock, self.encryption, configuration_id, origin, turn=turn
        )

    def build_context(
        self, now: datetime, sent: Sequence[Sent] = (), activity_id: str | None = None
    ) -> BuildContext:
        """What connectors build a statement with."""
        return BuildContext(
            activity_base_url=self.settings.activity_base_url,
            platform_name=self.settings.platform_name,
            now=now,
            sent=sent,
            activity_id=activity_id,
        )
