"""An act on many rows, cut into steps: each one transaction with the note of how far it is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..audit import By, Change

#: More rows than these are a worker's to change: the pages and commands ask for a task.
MOST_AT_ONCE = 200
#: Rows of one step.
STEP = 200


@dataclass(frozen=True, kw_only=True)
class TaskStep:
    """The next part of a task.

    :param do: changes rows in the transaction of the change, and says what it did in numbers.
    :param done: how many of the task are done then.
    :param position: JSON; where to go on after it. ``do`` may add to what is in it.
    :param total: how many it is about, once that is known.
    """

    do: Callable[[Change], Mapping[str, int]]
    done: int
    position: Mapping[str, Any]
    total: int | None = None


@dataclass(kw_only=True)
class Work:
    """A task as the process that carries it out has it.

    :param version: grows with each step; whoever has an old one has lost the task.
    :param keep: called while a step is looked for, which may take long.
    """

    id: uuid.UUID
    organization_id: str
    configuration_id: uuid.UUID | None
    act: str
    asked: Mapping[str, Any]
    by: By
    total: int | None
    done: int
    position: Mapping[str, Any]
    version: int
    counts: dict[str, int] = field(default_factory=dict)
    keep: Callable[[], None] = lambda: None
