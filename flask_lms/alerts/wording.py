"""What letters are made of: the facts of a mail row, and their common words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..connectors import Cause
from ..i18n import date_time, gettext, ngettext
from ..words import N_
from .facts import clean


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What a mail says, in the order in which it is read.

    :param tone: ``bad``, ``warning``, ``good`` or ``plain``: its colour in HTML.
    :param rows: label and value of what happened.
    :param why: the reason in plain words, one paragraph each.
    :param doing: what we do.
    :param steps: what to do, one to three steps.
    :param items: the alerts of a digest: when, and the subject.
    :param link: label of the one link; its page under the URL prefix is ``path``.
    :param reason: why this address gets it.
    """

    tone: str
    headline: str
    rows: Sequence[tuple[str, str]] = ()
    why: Sequence[str] = ()
    doing: Sequence[str] = ()
    steps: Sequence[str] = ()
    items: Sequence[tuple[str, str]] = ()
    link: str = ""
    path: str = "/"
    reason: str = ""


class _Facts(dict[str, Any]):
    """Values for a sentence; what a mail must not tell, or doesn't know, is an ellipsis."""

    def __missing__(self, key: str) -> str:
        return "…"


@dataclass(frozen=True, kw_only=True)
class Story:
    """What a letter is made from: the facts of its row and the cause that they name."""

    facts: Mapping[str, Any]
    platform: str
    cause: Cause | None = None
    cause_of: Callable[[str], Cause | None] = field(default=lambda code: None)

    @property
    def name(self) -> str:
        return clean(str(self.facts.get("name", "")))

    @property
    def path(self) -> str:
        return f"/{self.facts['configuration_id']}"

    @property
    def is_cant_connect(self) -> bool:
        return self.facts.get("status") == "cant_connect"

    def n(self, name: str) -> int:
        return int(self.facts.get(name) or 0)

    def at(self, name: str) -> str:
        value = self.facts.get(name)
        return date_time(datetime.fromisoformat(value)) if value else ""

    def fill(self, message: str, facts: Mapping[str, Any] | None = None) -> str:
        values = _Facts(facts or self.facts.get("cause_facts") or {})
        return clean_sentence(gettext(message) % _Facts({"platform": self.platform, **values}))


def clean_sentence(text: str) -> str:
    """One line, however hostile what filled it."""
    return " ".join(text.split())


def duration(seconds: int) -> str:
    """Two units at most: ``2 hours 10 minutes``."""
    minutes = max(seconds // 60, 1)
    if minutes < 60:
        return ngettext("%(n)s minute", "%(n)s minutes", minutes)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    if days >= 2:
        text = ngettext("%(n)s day", "%(n)s days", days)
        more = ngettext("%(n)s hour", "%(n)s hours", hours_of_day) if hours_of_day else ""
    else:
        text = ngettext("%(n)s hour", "%(n)s hours", hours)
        few = minutes and hours < 24
        more = ngettext("%(n)s minute", "%(n)s minutes", minutes) if few else ""
    return f"{text} {more}".strip()


def status(code: object) -> str:
    """A status as on the pages."""
    return gettext(_STATUS.get(str(code), N_("Connected")))


def reason(code: str | None) -> str:
    """Why a mail was not sent, for the Alerts page; a mail server's own words stay as they are."""
    return gettext(_REASONS.get(code or "", code or ""))


_REASONS = {
    "muted": N_("This address stopped these mails."),
    "no_contact": N_("This address was no longer a contact."),
    "deleted": N_("The configuration was deleted."),
    "cap_address": N_("The day's limit of mails to this address was reached. It gets a digest."),
    "cap_configuration": N_("The day's limit of mails was reached. It becomes part of a digest."),
    "in_digest": N_("The day's limit of mails was reached. It was told in a digest."),
    "too_late": N_("The mail server took no mails for four days."),
    "unknown": N_("Sending broke off twice. The mail may have arrived."),
    "template": N_("The template of this mail is at fault. The platform's log says more."),
    "sending": N_("It is being sent."),
    "sending_again": N_("It is being sent."),
}

_STATUS = {
    "not_tested": N_("Not tested"),
    "connected": N_("Connected"),
    "cant_connect": N_("Can't Connect"),
    "server_error": N_("Server Error"),
}
