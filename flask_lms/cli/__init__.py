"""``flask lms …``: what operators run. The same services as the pages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from flask.cli import AppGroup

from ..errors import InvalidConfiguration, LMSError
from . import keeping, looking, sending

F = TypeVar("F", bound=Callable[..., Any])


def make_cli() -> AppGroup:
    """The command group ``lms``."""
    group = AppGroup("lms", help="Send objective results to Learning Management Systems.")
    group.command("worker", with_appcontext=False)(_told(sending.worker))
    for name, command in (
        ("check", looking.check),
        ("status", looking.status),
        ("test", looking.test),
        ("send-waiting", sending.send_waiting),
        ("requeue", sending.requeue),
        ("backfill", sending.backfill),
        ("purge", keeping.purge),
        ("rekey", keeping.rekey_secrets),
    ):
        group.command(name)(_told(command))
    return group


def _told(command: F) -> F:
    """An error of ours is a sentence and exit code 1, not a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except InvalidConfiguration as error:
            said = [str(one) for sentences in error.errors.values() for one in sentences]
            raise click.ClickException("\n".join(said)) from None
        except LMSError as error:
            raise click.ClickException(str(error)) from None

    return run  # type: ignore[return-value]
