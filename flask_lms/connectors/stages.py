"""A connection test as people see it: its stages, one by one, and the report at its end."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..i18n import N_, Words
from ..transport import Transport
from ..transport.faults import Unreachable


class StageState(str, enum.Enum):
    """How a stage of a connection test ended."""

    #: It works.
    OK = "ok"
    #: It doesn't; the stages after it are skipped.
    FAILED = "failed"
    #: It was not tried, or does not apply.
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a connection test.

    :param name: message id, such as "Address".
    :param state: how it ended.
    :param duration_ms: milliseconds; None: not measured.
    :param http_status: None when no status line came back.
    :param words: what was found (``Words``) or what the LMS said, redacted.
    """

    name: str
    state: StageState
    duration_ms: int | None = None
    http_status: int | None = None
    words: str | None = None


@dataclass(frozen=True, kw_only=True)
class TestReport:
    """A connection test from end to end.

    :param stages: in the order in which they were tried.
    :param cause: a code in the connector's ``causes``; None: connected.
    :param facts: what fills the cause's sentence.
    :param words: a sentence for people (``Words``), or what the LMS said, redacted.
    :param stored: a sample result as the LMS stored it, redacted.
    """

    __test__ = False  # not a pytest class

    stages: Sequence[Stage]
    cause: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    words: str | None = None
    stored: str | None = None

    @property
    def is_connected(self) -> bool:
        """Whether results would arrive."""
        return self.cause is None


#: The stages of opening a connection with what people call them.
STAGES = {
    "address": N_("Address"),
    "dns": N_("Name look-up"),
    "connect": N_("Connection"),
    "tls": N_("Encryption"),
}


def connection_stages(url: str, transport: Transport, ca_pem: str | None = None) -> Iterator[Stage]:
    """Each stage of opening a connection as it ends.

    :raises Unreachable: after the stage that failed.
    """
    waiting = [name for name in STAGES if name != "tls" or url.startswith("https:")]
    try:
        for name, duration_ms in transport.connect_stages(url, ca_pem=ca_pem):
            waiting.remove(name)
            yield Stage(name=STAGES[name], state=StageState.OK, duration_ms=duration_ms)
    except Unreachable as error:
        # A literal address has no look-up and a proxy shows less, so the cause decides.
        failed = "connect" if "connect" in waiting else "tls"
        if error.cause.startswith("tls"):
            failed = "tls"
        elif error.cause in ("dns", "blocked"):
            failed = "address" if "address" in waiting else "dns"
        yield Stage(name=STAGES[failed], state=StageState.FAILED)
        raise
    if not url.startswith("https:"):
        yield Stage(
            name=STAGES["tls"],
            state=StageState.SKIPPED,
            words=Words("This address is not encrypted."),
        )
