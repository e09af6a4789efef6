"""One tree of errors. Each message says what happened and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime


class LMSError(Exception):
    """Base of every error this extension raises on purpose."""


class ConfigurationError(LMSError):
    """The host's ``LMS_*`` configuration has faults; all of them are listed at once.

    :param faults: one sentence a fault, each naming the key and what to write.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults: tuple[str, ...] = tuple(faults)
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__(f"Flask-LMS can't start with this configuration:\n{lines}")


class SetupError(LMSError, RuntimeError):
    """A call was forgotten, made twice or made too early; the message names it."""


class MissingCallback(SetupError):
    """A host callback is needed that was never registered; the message names its decorator."""


class InvalidValue(LMSError, ValueError):
    """A host value breaks a rule. Nothing was written.

    :param field: dotted name of the field, such as ``ObjectiveResult.finished_at``.
    :param value: the refused value; only its type is kept, as it may be personal data.
    :param rule: what the field must be.
    """

    def __init__(self, field: str, value: object, rule: str) -> None:
        self.field = field
        self.value_type: str = type(value).__name__
        self.rule = rule
        super().__init__(f"{field} (got {self.value_type}): {rule}")


#: The name it had when only results were refused.
InvalidResult = InvalidValue


class InvalidConfiguration(LMSError, ValueError):
    """An LMS configuration was refused. Nothing was written.

    :param errors: field name to the sentences to show beside that field.
    """

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors: dict[str, tuple[str, ...]] = {
            field: tuple(messages) for field, messages in errors.items()
        }
        super().__init__("; ".join(f"{f}: {m}" for f, ms in self.errors.items() for m in ms))


class NotFound(LMSError, LookupError):
    """There is no such thing in this organization (it may exist in another one)."""


class EditConflict(LMSError):
    """Somebody else saved the configuration since it was read.

    :param by: name of whoever saved last.
    :param at: when, aware UTC.
    :param fields: names of the fields that were changed.
    """

    def __init__(self, by: str, at: datetime, fields: Sequence[str]) -> None:
        self.by: str = by
        self.at: datetime = at
        self.fields: tuple[str, ...] = tuple(fields)
        changed = ", ".join(self.fields) or "nothing visible"
        super().__init__(
            f"{by} saved this configuration at {at:%Y-%m-%d %H:%M} UTC (changed: {changed}). "
            "Look at the new values and save again."
        )


class TooManyTests(LMSError):
    """A connection test has to wait for others. Nothing was asked of the LMS.

    :param sentence: what people read.
    :param seconds: to wait.
    """

    def __init__(self, sentence: str, seconds: int) -> None:
        self.sentence: str = sentence
        self.seconds: int = seconds
        super().__init__(sentence)


class SecretUnreadable(LMSError):
    """A stored secret can't be decrypted with any key in use, so nothing is sent with it."""

    def __init__(self) -> None:
        super().__init__(
            "The stored secret can't be decrypted: the encryption key was changed. Put the old key "
            "back into LMS_ENCRYPTION_KEYS (or SECRET_KEY_FALLBACKS) after the new one, or enter "
            "the secret again."
        )
