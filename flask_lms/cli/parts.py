"""What the commands share: options, names, progress and JSON."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from flask import current_app

from ..app_state import AppState
from ..database.models import Configuration
from ..database.types import UTC
from ..services.configurations import Configurations

#: Who acts, in the history.
OPERATOR = "operator"

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
yes_option = click.option("--yes", is_flag=True, help="Don't ask first.")
organization_option = click.option(
    "--organization",
    metavar="ID",
    help="Only this organization; needed when a NAME isn't unique.",
)


class Time(click.ParamType):  # type: ignore[type-arg]
    """A date or time, UTC unless it says otherwise."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-11-03 or 2026-11-03T14:30.", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def current_state() -> AppState:
    """The state of the command's app."""
    state = current_app.extensions["lms_state"]
    assert isinstance(state, AppState)
    return state


def find_configuration(name: str, organization: str | None) -> Configuration:
    """A configuration by name or id."""
    service = Configurations(current_state(), organization)
    try:
        return service.get(uuid.UUID(name))
    except ValueError:
        pass
    found = [one for one in service.list() if one.name.casefold() == name.strip().casefold()]
    if len(found) > 1:
        ids = ", ".join(sorted(one.organization_id for one in found))
        raise click.ClickException(
            f"{len(found)} organizations have a configuration named {name!r}: add --organization "
            f"with one of {ids}."
        )
    if not found:
        raise click.ClickException(
            f"There is no configuration named {name!r}: flask lms status lists them."
        )
    return found[0]


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A counter on a terminal; nothing where a program reads."""
    is_shown = sys.stdout.isatty() and total != 0

    def show(done: int) -> None:
        if is_shown:
            of = "" if total is None else f" of {total:,}"
            click.echo(f"\r{done:,}{of} {what} ", nl=False, err=True)

    yield show
    if is_shown:
        click.echo("\r" + " " * 60 + "\r", nl=False, err=True)


def count(n: int, noun: str, plural: str | None = None) -> str:
    """``1 result``, ``1,412 results``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def iso(moment: datetime | None) -> str | None:
    """For JSON."""
    return None if moment is None else moment.isoformat()


def echo_json(value: object) -> None:
    """The whole answer of a command with ``--json``."""
    click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))
