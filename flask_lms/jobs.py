"""What RQ may run: one function, an id in. No payload and no secret is in Redis, and whatever else
stands there is refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app
from rq.job import Job

from .delivery.sender import Sender
from .errors import LMSError
from .state import State

_ALLOWED = frozenset({"flask_lms.jobs.deliver"})


class ForgedJob(LMSError):
    """Redis holds a job that this extension didn't put there; it was not run."""


def deliver(configuration_id: str) -> None:
    """Send what is due for one configuration.

    :param configuration_id: its id as hex.
    :raises ForgedJob: that is no id.
    """
    try:
        id = uuid.UUID(configuration_id)
    except (ValueError, AttributeError, TypeError):
        raise ForgedJob("a job's argument is not a configuration id; it was not run") from None
    state = current_app.extensions["lms_state"]
    assert isinstance(state, State)
    Sender(state).drain(id)


def make_job_class(app: Flask) -> type[Job]:
    """An RQ job class that runs only our function, in this app's context."""

    class LMSJob(Job):
        """A job of Flask-LMS. Callbacks, webhooks, repeats and other functions are ignored or
        refused: whoever can write to Redis must not run code here.
        """

        @property
        def func(self) -> Callable[..., Any]:
            if self.func_name not in _ALLOWED or self.instance is not None:
                raise ForgedJob(
                    f"Redis holds a job for {self.func_name!r}, which is not of Flask-LMS; it was "
                    "not run. Give the extension a Redis of its own, or a password."
                )
            return deliver

        success_callback = None
        failure_callback = None
        stopped_callback = None

        def restore(self, raw_data: dict[Any, Any]) -> Any:
            restored = super().restore(raw_data)
            self._success_callback_name = None
            self._failure_callback_name = None
            self._stopped_callback_name = None
            self.webhooks = []
            self.repeats_left = None
            return restored

        def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
            """Nothing: the one door to the network is ``transport``."""

        def perform(self) -> Any:
            with app.app_context():
                return super().perform()

    return LMSJob
