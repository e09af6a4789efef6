"""What an administrator enters: one :class:`Field` for each setting of an LMS type."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from .. import checks
from ..checks import Refused
from ..encryption import Secret
from ..i18n import Words


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of an LMS type's form, and the setting that it becomes; all of it is said here.

    :param name: of the setting; stored, never changes.
    :param label: what people call it (a message id, as are ``hint``, ``required`` and the labels of
        ``choices``).
    :param hint: one line below the field.
    :param kind: how it is entered. A ``url`` is an absolute http(s) one; ``long_text`` has lines.
    :param default: what an empty one means.
    :param required: what is said when it is empty; None: it may be.
    :param choices: value → label; of a flag, if it is to be chosen from a list: "" is no, "y" yes.
    :param least: of a number.
    :param most: of a number; of a text, its characters.
    :param check: a value of this kind → the clean one.
        :raises Refused: with the sentence for the administrator.
    :param notes: what was entered → sentences on what the check changed.
    :param is_advanced: shown closed.
    :param is_secret: stored encrypted, never shown again; empty means the stored one.
    :param when: it applies only while the field of this name, which stands before it, has one of
        these values (none: any but an empty one). Otherwise it isn't asked for, and a secret is
        forgotten.
    """

    name: str
    label: str
    kind: Literal["text", "url", "long_text", "number", "flag", "choice"] = "text"
    hint: str = ""
    default: Any = None
    required: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    least: int = 0
    most: int = 1000
    check: Callable[[Any], Any] | None = None
    notes: Callable[[str], Iterable[str]] | None = None
    is_advanced: bool = False
    is_secret: bool = False
    when: tuple[str, tuple[str, ...]] | None = None

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether it belongs to these settings.

        :param settings: those of the fields before it, cleaned.
        """
        if self.when is None:
            return True
        name, values = self.when
        return settings.get(name) in values if values else bool(settings.get(name))

    def clean(self, value: Any, *, may_be_empty: bool = False) -> Any:
        """What was entered, as it is stored.

        :param value: what was entered.
        :param may_be_empty: even if it is required.
        :raises Refused: with the sentence for the administrator.
        """
        if self.kind in ("text", "url", "long_text"):
            value = checks.text(self.most, has_lines=self.kind == "long_text")(value)
        if value is None or value == "":
            if self.required and not may_be_empty:
                raise Refused(Words(self.required))
            return self.default
        if self.kind == "url":
            value = checks.url(value)
        elif self.kind == "number":
            value = checks.whole(self.least, self.most)(value)
        elif self.kind == "flag":
            value = checks.flag(True if self.choices and value == "y" else value)
        elif self.kind == "choice":
            value = checks.choice(*self.choices)(value)
        return self.check(value) if self.check else value


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Checked settings.

    :param settings: without secrets, JSON values.
    :param secrets: name → secret; empty when none was given (keep the stored ones).
    :param hints: sentences (``Words``) on what was changed or is unwise.
    """

    settings: Mapping[str, Any]
    secrets: Mapping[str, Secret] = field(repr=False)
    hints: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class GeneratedSecret:
    """A secret that is made here, such as a key that signs: stored encrypted like those entered,
    and renewed by an act on the configuration's page.

    ``send`` and the routes find it among the secrets by its name, and for ``overlap_hours`` after a
    renewal what it was before as ``<name>.previous``, so that both ends can change one by one.

    :param name: stored, never changes; no field has it.
    :param label: what people call it (a message id, as is ``hint``).
    :param make: a new one.
    :param hint: where it is to be entered; empty: the page doesn't show it, as a private key.
    :param overlap_hours: how long the previous one is good besides the new one.
    """

    name: str
    label: str
    make: Callable[[], str | Secret]
    hint: str = ""
    overlap_hours: int = 24


def valid(secrets: Mapping[str, Secret], name: str, now: datetime) -> list[Secret]:
    """A generated secret, and while they overlap the one before it: the newest first.

    :param secrets: as a connector is given them.
    :param name: of the generated one.
    :param now: aware UTC.
    """
    found = [secrets[name]] if name in secrets else []
    until = secrets.get(f"{name}.until")
    if until is not None and now < datetime.fromisoformat(until.reveal()):
        found.append(secrets[f"{name}.previous"])
    return found


def hidden(values: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """The values, with those of these names as secrets."""
    return {
        name: Secret(value) if name in names and isinstance(value, str) else value
        for name, value in values.items()
    }


def spaces_removed(field: Field) -> Words:
    """What is said when they were."""
    return Words("Spaces around “%(field)s” were removed.", field=Words(field.label))
