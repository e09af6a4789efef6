"""The LMS types that an app knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from ..errors import SetupError
from .base import Connector
from .causes import TRANSPORT_CAUSES, Cause

#: What step 1 and the buttons are called in the forms in which a connector's fields stand too, and
#: what every form has.
RESERVED = (
    "name", "type", "contact_emails", "language", "act", "csrf_token", "lms_version", "data",
    "errors", "form_errors", "hidden_tag", "is_submitted", "meta", "populate_obj", "post_process",
    "process", "validate", "validate_on_submit",
)  # fmt: skip


#: What a configuration is when nobody says, and what is chosen already in step 1.
USUAL_TYPE = "xapi"


class Registry:
    """Connectors by type: those of the entry point group ``flask_lms.connectors``, then the app's.

    :param extra: the app's own; one of a known type replaces it.
    :raises SetupError: one is no connector, or a name of it can't be used.
    """

    def __init__(self, extra: Sequence[Connector] = ()) -> None:
        found: list[Connector] = [
            entry.load()() for entry in entry_points(group="flask_lms.connectors")
        ]
        self._connectors: dict[str, Connector] = {}
        for connector in (*found, *extra):
            name = type(connector).__name__
            if not isinstance(connector, Connector):
                raise SetupError(f"{name} is no connector: derive it from flask_lms.Connector.")
            if not re.fullmatch(r"[a-z0-9_]{1,40}", getattr(connector, "type", "")):
                raise SetupError(
                    f"{name}.type is {getattr(connector, 'type', None)!r}: write 1 to 40 "
                    "characters of a-z, 0-9 and _."
                )
            for field in connector.fields:
                if field.name in RESERVED or not re.fullmatch(r"[a-z][a-z0-9_]*", field.name):
                    raise SetupError(
                        f"{name}.fields has {field.name!r}: write a-z, 0-9 and _, and none of "
                        f"{', '.join(RESERVED)}, which the pages need for themselves."
                    )
            for one in connector.generated:
                taken = one.name in [field.name for field in connector.fields]
                if taken or not re.fullmatch(r"[a-z][a-z0-9_]*", one.name):
                    raise SetupError(
                        f"{name}.generated has {one.name!r}: write a-z, 0-9 and _, and no field's "
                        "name."
                    )
            for route in connector.routes:
                if not re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)*(\.json)?", route.path):
                    raise SetupError(
                        f"{name}.routes has {route.path!r}: write a path such as launch or "
                        "keys.json: a-z, 0-9, - and /."
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

    def unidentified(self) -> list[str]:
        """The codes of the causes that a mapping of the participant may mend."""
        return sorted(
            {
                cause.code
                for connector in self
                for cause in connector.causes.values()
                if cause.is_unidentified
            }
        )

    def waiting(self) -> list[str]:
        """The codes of the causes of what waits for an event."""
        return sorted(
            {
                cause.code
                for connector in self
                for cause in connector.causes.values()
                if cause.is_waiting
            }
        )

    def explain(
        self, type: str, code: str | None, facts: Mapping[str, Any]
    ) -> tuple[str | None, list[str]]:
        """What is wrong and what to do, in the reader's language; a code that nobody knows is at
        least shown.
        """
        if code is None:
            return None, []
        cause = self.cause(type, code) or Cause(code=code, status=None, sentence="")
        return cause.sentence_for(facts), cause.remedies_for(facts)
