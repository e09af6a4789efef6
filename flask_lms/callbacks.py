"""The host's callbacks. Each is registered once, by decorator, and checked when it registers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar, overload

from werkzeug.wrappers import Response

from .checks import Refused
from .errors import MissingCallback, SetupError
from .settings import NETWORKS
from .values import Administrator, Objective, ObjectiveResult, Page, Participant

F = TypeVar("F", bound=Callable[..., Any])


class _ObjectivesLoader(Protocol):
    """Search, offset and limit are passed by name."""

    def __call__(
        self, organization_id: str, /, *, search: str | None, offset: int, limit: int
    ) -> Page[Objective]: ...


# What each callback must be. The decorators give back the very type they were given.
Who = TypeVar("Who", bound=Callable[[], Administrator | Response | None])
Several = TypeVar("Several", bound=_ObjectivesLoader)
One = TypeVar("One", bound=Callable[[str, str], Objective | None])
Person = TypeVar("Person", bound=Callable[[str, str], Participant | None])
Past = TypeVar("Past", bound=Callable[[str, str, datetime | None], Iterable[ObjectiveResult]])
Egress = TypeVar("Egress", bound=Callable[[str], Sequence[str] | None])
Nonce = TypeVar("Nonce", bound=Callable[[], str])
Translate = TypeVar("Translate", bound=Callable[[str, str | None, int | None], str | None])

#: Callback → how it is called. Optional ones may stay empty.
_CALLS: dict[str, tuple[str, ...]] = {
    "administrator_loader": (),
    "objectives_loader": ("organization_id", "search", "offset", "limit"),
    "objective_loader": ("organization_id", "objective_id"),
    "participant_loader": ("organization_id", "participant_id"),
    "past_results_loader": ("organization_id", "objective_id", "since"),
    "csp_nonce": (),
    "egress_policy": ("organization_id",),
    "translator": ("message", "plural", "n"),
}
_BY_NAME = {"search", "offset", "limit"}


class Callbacks:
    """What one ``LMS`` object was given by its host; nothing of an app."""

    def __init__(self) -> None:
        self._functions: dict[str, Callable[..., Any]] = {}

    def register(self, name: str, function: F, *, replace: bool = False) -> F:
        """Keep ``function`` under its name.

        :raises SetupError: it can't be called as it will be, or there is one already.
        """
        if name in self._functions and not replace:
            raise SetupError(
                f"@lms.{name} is registered already ({_name(self._functions[name])}). "
                "Pass replace=True to put another in its place."
            )
        names = _CALLS[name]
        try:
            inspect.signature(function).bind(
                *[n for n in names if n not in _BY_NAME],
                **{n: None for n in names if n in _BY_NAME},
            )
        except TypeError:
            wanted = ", ".join(f"{n}=…" if n in _BY_NAME else n for n in names)
            raise SetupError(
                f"@lms.{name} is called as {_name(function)}({wanted}); "
                f"its signature {inspect.signature(function)} doesn't allow that."
            ) from None
        self._functions[name] = function
        return function

    def has(self, name: str) -> bool:
        return name in self._functions

    def missing(self) -> list[str]:
        """The required decorators that were not used."""
        required = ("administrator_loader", "objectives_loader", "objective_loader")
        return [name for name in required if name not in self._functions]

    def _required(self, name: str) -> Callable[..., Any]:
        try:
            return self._functions[name]
        except KeyError:
            raise MissingCallback(
                f"Flask-LMS needs to ask the host: decorate a function with @lms.{name}."
            ) from None

    def administrator(self) -> Administrator | Response | None:
        """The administrator on this request, None, or the host's own ``Response``.

        :raises SetupError: the host returned something else.
        """
        function = self._functions.get("administrator_loader")
        found = None if function is None else function()
        if found is not None and not isinstance(found, Administrator | Response):
            raise SetupError(
                "@lms.administrator_loader must return a flask_lms.Administrator, None or a "
                f"Response, it returned {type(found).__name__}."
            )
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
        """The participant as the host knows them now; None: unknown, or no such callback."""
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

    def egress(self, organization_id: str) -> tuple[str, ...] | None:
        """What may be called for an organization; None: as for all.

        :raises SetupError: the host returned something else than entries.
        """
        function = self._functions.get("egress_policy")
        found = None if function is None else function(organization_id)
        try:
            return None if found is None else NETWORKS(found)
        except Refused as error:
            raise SetupError(f"@lms.egress_policy returned no list of entries: {error}") from None

    def csp_nonce(self) -> str | None:
        """The nonce of this response's Content-Security-Policy, when the host has one."""
        function = self._functions.get("csp_nonce")
        return None if function is None else str(function())

    def translate(self, message: str, plural: str | None, n: int | None) -> str | None:
        """The host's translation of a message id; None: it has none, or no such callback."""
        function = self._functions.get("translator")
        found = None if function is None else function(message, plural, n)
        return None if found is None else str(found)


class CallbackDecorators:
    """How a host registers its callbacks: ``@lms.x`` or ``@lms.x(replace=True)``."""

    _callbacks: Callbacks

    def _callback(self, name: str, function: Callable[..., Any] | None, replace: bool) -> Any:
        if function is None:
            return functools.partial(self._callbacks.register, name, replace=replace)
        return self._callbacks.register(name, function, replace=replace)

    @overload
    def administrator_loader(self, function: Who, /, *, replace: bool = ...) -> Who: ...

    @overload
    def administrator_loader(self, /, *, replace: bool = ...) -> Callable[[Who], Who]: ...

    def administrator_loader(self, function: Any = None, /, *, replace: bool = False) -> Any:
        """Decorates ``() -> Administrator | None | Response``: who is on this request."""
        return self._callback("administrator_loader", function, replace)

    @overload
    def objectives_loader(self, function: Several, /, *, replace: bool = ...) -> Several: ...

    @overload
    def objectives_loader(self, /, *, replace: bool = ...) -> Callable[[Several], Several]: ...

    def objectives_loader(self, function: Any = None, /, *, replace: bool = False) -> Any:
        """Decorates ``(organization_id, search=None, offset=0, limit=50) -> Page[Objective]``."""
        return self._callback("objectives_loader", function, replace)

    @overload
    def objective_loader(self, function: One, /, *, replace: bool = ...) -> One: ...

    @overload
    def objective_loader(self, /, *, replace: bool = ...) -> Callable[[One], One]: ...

    def objective_loader(self, function: Any = None, /, *, replace: bool = False) -> Any:
        """Decorates ``(organization_id, objective_id) -> Objective | None``."""
        return self._callback("objective_loader", function, replace)

    @overload
    def participant_loader(self, function: Person, /, *, replace: bool = ...) -> Person: ...

    @overload
    def participant_loader(self, /, *, replace: bool = ...) -> Callable[[Person], Person]: ...

    def participant_loader(self, function: Any = None, /, *, replace: bool = False) -> Any:
        """Decorates ``(organization_id, participant_id) -> Participant | None`` (optional)."""
        return self._callback("participant_loader", function, replace)

    @overload
    def past_results_loader(self, function: Past, /, *, replace: bool = ...) -> Past: ...

    @overload
    def past_results_loader(self, /, *, replace: bool = ...) -> Callable[[Past], Past]: ...

    def past_results_loader(self, function: Any = None, /, *, replace: bool = False) -> Any:
        """Decorates ``(organization_id, objective_id, since) -> Iterator[ObjectiveResult]``
        (optional): enables back-fill. ``since`` None: all of them.
        """
        return self._callback("past_results_loader", function, replace)

    @overload
    def egress_policy(self, function: Egress, /, *, replace: bool = ...) -> Egress: ...

    @overload
    def egress_policy(self, /, *, replace: bool = ...) -> Callable[[Egress], Egress]: ...

    def egress_policy(self, function: Any = None, /, *, replace: bool = False) -> Any:
        """Decorates ``(organization_id) -> list of entries | None`` (optional): what may be called
        for that organization in place of ``LMS_ALLOWED_NETWORKS``, with the same entries. ``[]``:
        no private address. None: as ``LMS_ALLOWED_NETWORKS`` says.
        """
        return self._callback("egress_policy", function, replace)

    @overload
    def csp_nonce(self, function: Nonce, /, *, replace: bool = ...) -> Nonce: ...

    @overload
    def csp_nonce(self, /, *, replace: bool = ...) -> Callable[[Nonce], Nonce]: ...

    def csp_nonce(self, function: Any = None, /, *, replace: bool = False) -> Any:
        """Decorates ``() -> str``: the nonce of this response's Content-Security-Policy
        (optional).
        """
        return self._callback("csp_nonce", function, replace)

    @overload
    def translator(self, function: Translate, /, *, replace: bool = ...) -> Translate: ...

    @overload
    def translator(self, /, *, replace: bool = ...) -> Callable[[Translate], Translate]: ...

    def translator(self, function: Any = None, /, *, replace: bool = False) -> Any:
        """Decorates ``(message, plural, n) -> str | None`` (optional; Flask-Babel needs none)."""
        return self._callback("translator", function, replace)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
