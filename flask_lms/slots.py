"""The host's callbacks. Each is registered once, by decorator, and checked when it registers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from .entities import Objective, ObjectiveResult, Page, Participant
from .errors import MissingSlot, SetupError

F = TypeVar("F", bound=Callable[..., Any])

#: Slot → how it is called. Optional ones may stay empty.
_CALLS: dict[str, tuple[object, ...]] = {
    "administrator_loader": (),
    "objectives_loader": ("organization_id", "search", "offset", "limit"),
    "objective_loader": ("organization_id", "objective_id"),
    "participant_loader": ("organization_id", "participant_id"),
    "past_results_loader": ("organization_id", "objective_id", "since"),
    "csp_nonce": (),
    "translator": ("message", "plural", "n"),
}
_BY_NAME = {"search", "offset", "limit"}


class Slots:
    """What one ``LMS`` object was given by its host; nothing of an app."""

    def __init__(self) -> None:
        self._functions: dict[str, Callable[..., Any]] = {}

    def register(self, slot: str, function: F, *, replace: bool = False) -> F:
        """Keep ``function`` in ``slot``.

        :raises SetupError: it can't be called as it will be, or the slot is taken.
        """
        if slot in self._functions and not replace:
            raise SetupError(
                f"@lms.{slot} is registered already ({_name(self._functions[slot])}). "
                "Pass replace=True to put another in its place."
            )
        names = _CALLS[slot]
        try:
            inspect.signature(function).bind(
                *[n for n in names if n not in _BY_NAME],
                **{str(n): None for n in names if n in _BY_NAME},
            )
        except TypeError:
            wanted = ", ".join(f"{n}=…" if n in _BY_NAME else str(n) for n in names)
            raise SetupError(
                f"@lms.{slot} is called as {_name(function)}({wanted}); "
                f"its signature {inspect.signature(function)} doesn't allow that."
            ) from None
        self._functions[slot] = function
        return function

    def has(self, slot: str) -> bool:
        return slot in self._functions

    def missing(self) -> list[str]:
        """The required decorators that were not used."""
        required = ("administrator_loader", "objectives_loader", "objective_loader")
        return [slot for slot in required if slot not in self._functions]

    def _required(self, slot: str) -> Callable[..., Any]:
        try:
            return self._functions[slot]
        except KeyError:
            raise MissingSlot(
                f"Flask-LMS needs to ask the host: decorate a function with @lms.{slot}."
            ) from None

    def administrator(self) -> Any:
        """The administrator on this request, None, or the host's own ``Response``.

        :raises InvalidResult: the host returned something else.
        """
        function = self._functions.get("administrator_loader")
        found = None if function is None else function()
        return found

    def objectives(
        self, organization_id: str, search: str | None = None, offset: int = 0, limit: int = 50
    ) -> Page[Objective]:
        """The host's objectives of an organization."""
        page = self._required("objectives_loader")(
            organization_id, search=search, offset=offset, limit=limit
        )
        if not isinstance(page, Page):
            raise SetupError(
                "@lms.objectives_loader must return a flask_lms.Page(items=[...], total=...), "
                f"it returned {type(page).__name__}."
            )
        return page

    def objective(self, organization_id: str, objective_id: str) -> Objective | None:
        """One objective, or None when it doesn't exist in that organization."""
        found = self._required("objective_loader")(organization_id, objective_id)
        if found is not None and not isinstance(found, Objective):
            raise SetupError(
                "@lms.objective_loader must return a flask_lms.Objective or None, "
                f"it returned {type(found).__name__}."
            )
        return found

    def participant(self, organization_id: str, participant_id: str) -> Participant | None:
        """The participant as the host knows them now; None: unknown, or no such slot."""
        function = self._functions.get("participant_loader")
        found = None if function is None else function(organization_id, participant_id)
        if found is not None and not isinstance(found, Participant):
            raise SetupError(
                "@lms.participant_loader must return a flask_lms.Participant or None, "
                f"it returned {type(found).__name__}."
            )
        return found

    def past_results(
        self, organization_id: str, objective_id: str, since: datetime | None
    ) -> Iterator[ObjectiveResult]:
        """The results of an objective since a time, for back-fill."""
        return iter(self._required("past_results_loader")(organization_id, objective_id, since))

    def csp_nonce(self) -> str | None:
        """The nonce of this response's Content-Security-Policy, when the host has one."""
        function = self._functions.get("csp_nonce")
        return None if function is None else str(function())

    def translate(self, message: str, plural: str | None, n: int | None) -> str | None:
        """The host's translation of a message id; None: it has none, or no such slot."""
        function = self._functions.get("translator")
        found = None if function is None else function(message, plural, n)
        return None if found is None else str(found)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
