"""The pages for organization administrators."""

from __future__ import annotations

from flask import Blueprint


def make_blueprint() -> Blueprint:
    """The blueprint ``lms``."""
    return Blueprint("lms", "flask_lms", template_folder="templates", static_folder="static")
