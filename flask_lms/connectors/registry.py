"""The LMS types that an app knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points

from ..errors import SetupError
from .base import (
    TRANSPORT_CAUSES,
    Answer,
    BuildContext,
    Built,
    Cause,
    Cleaned,
    Connector,
    NotSendable,
    Stage,
    StageState,
    Statement,
    TestReport,
    Verdict,
)

__all__ = [
    "TRANSPORT_CAUSES",
    "Answer",
    "BuildContext",
    "Built",
    "Cause",
    "Cleaned",
    "Connector",
    "NotSendable",
    "Registry",
    "Stage",
    "StageState",
    "Statement",
    "TestReport",
    "Verdict",
]


class Registry:
    """Connectors by type: those of the entry point group ``flask_lms.connectors``, then the app's.

    :param extra: the app's own; one of a known type replaces it.
    :raises SetupError: a type's name is malformed.
    """

    def __init__(self, extra: Sequence[Connector] = ()) -> None:
        found: list[Connector] = [
            entry.load()() for entry in entry_points(group="flask_lms.connectors")
        ]
        self._connectors: dict[str, Connector] = {}
        for connector in (*found, *extra):
            if not re.fullmatch(r"[a-z0-9_]{1,40}", connector.type):
                raise SetupError(
                    f"{type(connector).__name__}.type is {connector.type!r}: write 1 to 40 "
                    "characters of a-z, 0-9 and _."
                )
            self._connectors[connector.type] = connector

    def __iter__(self) -> Iterator[Connector]:
        return iter(self._connectors.values())

    def __len__(self) -> int:
        return len(self._connectors)

    def get(self, type: str) -> Connector | None:
        """The connector of a type, or None when it isn't installed."""
        return self._connectors.get(type)

    def cause(self, type: str, code: str | None) -> Cause | None:
        """A cause by its code: the connector's own, or one that all share."""
        connector = self.get(type)
        own = connector.causes.get(code or "") if connector else None
        return own or TRANSPORT_CAUSES.get(code or "")
