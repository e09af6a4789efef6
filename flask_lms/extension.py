"""``LMS``: the one object a host makes. Wiring only."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from blinker import Signal
from flask import Flask, current_app, request_finished
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, scoped_session
from werkzeug.local import LocalProxy

from . import events
from .admin import make_blueprint, pages
from .app_state import AppState
from .callbacks import CallbackDecorators, Callbacks
from .cli.commands import make_cli
from .connectors.base import Connector
from .connectors.registry import Registry
from .database import attach
from .database.models import Configuration
from .database.types import DatabaseClock
from .delivery.wake import Wake
from .encryption import Encryption, derive_keys
from .errors import SetupError
from .recording import after_commit, record
from .recording.record import Recorded
from .services.configurations import Configurations
from .services.deliveries import Deliveries
from .services.mappings import Participants
from .services.organization import OrganizationServices
from .services.overview import Health, health
from .settings import Settings
from .transport import Transport
from .values import ObjectiveResult

_log = logging.getLogger(__name__)
#: What a host's function makes of its signal.
F = TypeVar("F", bound=Callable[..., ObjectiveResult | Iterable[ObjectiveResult] | None])


class LMS(CallbackDecorators):
    """Sends a host's objective results to its customers' Learning Management Systems.

    :param app: call :meth:`init_app` with it at once.
    :param db: the host's Flask-SQLAlchemy object; default ``app.extensions["sqlalchemy"]``.
    :param mail: the host's Flask-Mail object; default ``app.extensions["mail"]``, else a new one.
    :param connectors: LMS types besides those installed as entry points.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        db: SQLAlchemy | None = None,
        mail: Mail | None = None,
        connectors: Sequence[Connector] = (),
    ) -> None:
        self._db = db
        self._mail = mail
        self._connectors = tuple(connectors)
        self._callbacks = Callbacks()
        self.results_from(events.objective_completed)(_result_of_the_signal)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Check the configuration, attach tables, pages and commands. Creates and connects nothing.

        :param app: SQLAlchemy was initialised on it before.
        :raises ConfigurationError: listing all faults of the ``LMS_*`` keys.
        :raises SetupError: called twice for this app, or before SQLAlchemy.
        """
        if "lms" in app.extensions:
            raise SetupError("LMS.init_app(app) was called already for this app: call it once.")
        db = self._db or app.extensions.get("sqlalchemy")
        if db is None:
            raise SetupError(
                "Flask-LMS needs Flask-SQLAlchemy: call SQLAlchemy(app) or db.init_app(app) before "
                "LMS(app)."
            )
        if not isinstance(db, SQLAlchemy):
            raise SetupError(
                "Flask-LMS needs Flask-SQLAlchemy: what this app has in its place is "
                f"{type(db).__module__}.{type(db).__qualname__}."
            )
        settings = Settings.from_config(app.config, app.name)
        attach.attach(db, settings.bind_key)
        state = AppState(
            app=app,
            db=db,
            mail=self._mail or app.extensions.get("mail") or Mail(app),
            settings=settings,
            callbacks=self._callbacks,
            clock=DatabaseClock(of=Configuration),
            # Derived keys stay readable, so that LMS_ENCRYPTION_KEYS can be added later.
            encryption=Encryption([*settings.encryption_keys, *derive_keys(app.config)]),
            registry=Registry(self._connectors),
            transport=Transport(settings),
            wake=Wake(settings.redis_url, settings.redis_namespace),
        )
        app.extensions["lms"] = self
        app.extensions["lms_state"] = state
        after_commit.listen(db)
        app.register_blueprint(make_blueprint(state.registry), url_prefix=settings.url_prefix)
        app.cli.add_command(make_cli())
        request_finished.connect(pages.forbid_frames, app)

    # -- results -------------------------------------------------------------------------------

    def results_from(self, signal: Signal) -> Callable[[F], F]:
        """Records what the decorated function makes of each ``signal`` of the host.

        The function is called as ``function(sender, **what_was_sent)`` and returns an
        :class:`ObjectiveResult`, a list of them, or None for "not one of ours". Whatever it raises
        is logged; the host's own signal goes on.

        :param signal: any blinker signal.
        """

        def decorate(function: F) -> F:
            @functools.wraps(function)
            def receive(sender: object, **sent: Any) -> None:
                try:
                    made = function(sender, **sent)
                    if made is not None and self._is_on_duty():
                        self.record_many([made] if isinstance(made, ObjectiveResult) else made)
                except Exception:
                    _log.exception(
                        "%s: the result was not recorded",
                        getattr(function, "__qualname__", function),
                    )

            signal.connect(receive, weak=False)
            return function

        return decorate

    def _is_on_duty(self) -> bool:
        return current_app.extensions.get("lms") is self

    def record(
        self,
        result: ObjectiveResult,
        *,
        session: Session | scoped_session[Any] | Connection | None = None,
    ) -> Recorded:
        """Put a result into the outbox of every configuration attached to its objective.

        In the host's open write transaction it commits and disappears with that; otherwise it
        commits by itself. One SELECT, one INSERT, no network.

        :param result: what was achieved.
        :param session: your own SQLAlchemy session or connection, when you don't write through
            ``db.session``: the result belongs to its transaction, which you end.
        :raises InvalidValue: nothing was written.
        """
        return self.record_many([result], session=session)

    def record_many(
        self,
        results: Iterable[ObjectiveResult],
        *,
        session: Session | scoped_session[Any] | Connection | None = None,
    ) -> Recorded:
        """:meth:`record` for several results at once, at the same cost.

        :param results: of any organizations.
        :param session: as for :meth:`record`.
        :raises InvalidValue: nothing was written.
        """
        return record.record(self._state, list(results), session=session)

    # -- services ------------------------------------------------------------------------------

    @property
    def _state(self) -> AppState:
        state = current_app.extensions.get("lms_state")
        if state is None or current_app.extensions["lms"] is not self:
            raise SetupError(
                f"This LMS object was not initialised on app {current_app.name!r}: "
                "call lms.init_app(app)."
            )
        assert isinstance(state, AppState)
        return state

    def for_organization(self, organization_id: str | int) -> OrganizationServices:
        """All services, limited to one organization: the ids of others are not found."""
        return OrganizationServices(self._state, organization_id)

    @property
    def configurations(self) -> Configurations:
        """The LMS configurations of all organizations."""
        return Configurations(self._state)

    @property
    def deliveries(self) -> Deliveries:
        """The deliveries of all organizations."""
        return Deliveries(self._state)

    @property
    def participants(self) -> Participants:
        """The mapped participants of all organizations."""
        return Participants(self._state)

    def health(self, organization_id: str) -> Health:
        """How an organization's configurations are doing, in counts and ages."""
        return health(self._state, organization_id)


def _result_of_the_signal(sender: object, *, result: Any, **extra: Any) -> Any:
    return result


def _current() -> LMS:
    try:
        lms = current_app.extensions["lms"]
    except KeyError:
        raise SetupError(
            f"Flask-LMS was not initialised on app {current_app.name!r}: call LMS(app)."
        ) from None
    assert isinstance(lms, LMS)
    return lms


#: The :class:`LMS` of the current app.
current_lms: LMS = LocalProxy(_current)  # type: ignore[assignment]
