"""What an administrator sees when a page can't do what was asked."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from ..errors import NotFound
from ..i18n import gettext
from .pages import message


def handle(blueprint: Blueprint) -> None:
    """Answer the extension's own errors with pages; all others stay the host's."""
    blueprint.register_error_handler(NotFound, _not_found)


def _not_found(error: NotFound) -> ResponseReturnValue:
    return message(
        gettext("Page not found"),
        gettext("There is nothing at this address. It may have been deleted."),
        status=404,
    )
