"""``flask lms …``."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import AppGroup


def make_cli() -> AppGroup:
    """The command group ``lms``."""
    group = AppGroup("lms", help="Send objective results to LMSs.")

    @group.command("worker")
    @click.option("--burst", is_flag=True, help="Deliver what is due, then end.")
    @click.option("--processes", type=click.IntRange(1, 64), help="Senders.")
    def worker(burst: bool, processes: int | None) -> None:
        """Send results: run at least one of these."""
        from .worker import run

        run(current_app._get_current_object(), burst=burst, processes=processes)  # type: ignore[attr-defined]

    return group
