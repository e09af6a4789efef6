"""``flask lms …``."""

from __future__ import annotations

from flask.cli import AppGroup


def make_cli() -> AppGroup:
    """The command group ``lms``."""
    return AppGroup("lms", help="Send objective results to LMSs.")
