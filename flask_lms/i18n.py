"""Sentences for people: English now, translated at the page's or mail's border.

Pure modules can't know the reader's language, so they make :class:`Words`: a plain English string
that remembers the message it was made from.
"""

from __future__ import annotations

import functools
import gettext as _stdlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app, has_app_context
from markupsafe import escape

from .database.types import UTC


class Words(str):
    """A formatted English sentence that can still be translated.

    >>> Words("%(name)s is paused", name="Corporate LMS")
    'Corporate LMS is paused'

    :param message: message id with ``%(name)s`` placeholders.
    :param values: what fills them.
    """

    __slots__ = ("message", "plural", "values")

    message: str
    plural: str | None
    values: dict[str, Any]

    def __new__(cls, message: str, /, **values: Any) -> Words:
        words = super().__new__(cls, message % values if values else message)
        words.message, words.plural, words.values = message, None, values
        return words

    @classmethod
    def many(cls, singular: str, plural: str, n: int, /, **values: Any) -> Words:
        """A sentence whose form depends on ``n``, available in it as ``%(n)s``.

        :param singular: message id for one.
        :param plural: message id for any other number.
        :param n: the number.
        """
        values = {"n": n, **values}
        words = super().__new__(cls, (singular if n == 1 else plural) % values)
        words.message, words.plural, words.values = singular, plural, values
        return words


def N_(message: str) -> str:
    """Marks a message for the catalogue where it is filled in later."""
    return message


def many(singular: str, plural: str) -> tuple[str, str]:
    """Marks both forms of a message for the catalogue, for :func:`ngettext` later."""
    return singular, plural


# -- Texts in the reader's language, asked in this order: the host's ``translator``, our
# catalogue.

DOMAIN = "flask_lms"
DIRECTORY = Path(__file__).with_name("translations")

_chosen: ContextVar[str | None] = ContextVar("flask_lms_language", default=None)

_MONTHS = (
    N_("Jan"), N_("Feb"), N_("Mar"), N_("Apr"), N_("May"), N_("Jun"),
    N_("Jul"), N_("Aug"), N_("Sep"), N_("Oct"), N_("Nov"), N_("Dec"),
)  # fmt: skip


@functools.lru_cache(maxsize=64)
def _catalogue(language: str) -> _stdlib.NullTranslations:
    return _stdlib.translation(
        DOMAIN, str(DIRECTORY), languages=[language.replace("-", "_")], fallback=True
    )


@contextmanager
def using(language: str | None) -> Iterator[None]:
    """Write in ``language`` (BCP 47, such as ``de-AT``) in the block; None: as it is."""
    token = _chosen.set(language or _chosen.get())
    try:
        yield
    finally:
        _chosen.reset(token)


def language() -> str:
    """The reader's language, a BCP 47 tag."""
    chosen = _chosen.get()
    if chosen:
        return chosen
    if has_app_context() and "babel" in current_app.extensions:
        from flask_babel import get_locale  # type: ignore[import-untyped]

        locale = get_locale()
        if locale is not None:
            return str(locale).replace("_", "-")
    return "en"


def available() -> list[str]:
    """The languages that have a catalogue, English among them."""
    found = {path.parent.parent.name.replace("_", "-") for path in DIRECTORY.glob("*/*/*.mo")}
    return sorted({"en", *found})


def _look_up(message: str, plural: str | None, n: int | None) -> str:
    if has_app_context():
        state = current_app.extensions.get("lms_state")
        found = state.callbacks.translate(message, plural, n) if state else None
        if found is not None:
            return str(found)
    catalogue = _catalogue(language())
    if plural is not None and n is not None:
        return catalogue.ngettext(message, plural, n)
    return catalogue.gettext(message) if message else ""


def _fill(text: str, values: dict[str, Any]) -> str:
    filled = {
        name: translate(value) if isinstance(value, Words) else value
        for name, value in values.items()
    }
    if any(hasattr(value, "__html__") for value in filled.values()):
        return escape(text) % filled
    return text % filled if filled else text


def gettext(message: str, /, **values: Any) -> str:
    """``message`` in the reader's language, its ``%(name)s`` filled with ``values``; with one of
    them HTML (``Markup``), it is HTML.
    """
    return _fill(_look_up(message, None, None), values)


def ngettext(singular: str, plural: str, n: int, /, **values: Any) -> str:
    """The form for ``n``, which is also available as ``%(n)s``, with a thousands separator."""
    return _fill(_look_up(singular, plural, n), {"n": number(n), **values})


def translate(words: Words | str) -> str:
    """A sentence made in a pure module, in the reader's language. Plain strings are looked up."""
    if not isinstance(words, Words):
        return gettext(words)
    if words.plural is not None:
        n = words.values["n"]
        values = {key: value for key, value in words.values.items() if key != "n"}
        return ngettext(words.message, words.plural, n, **values)
    return gettext(words.message, **words.values)


def number(n: int | float) -> str:
    """A number with its thousands apart: ``12,345`` (German: ``12.345``)."""
    return f"{n:,}".replace(",", gettext(","))


def zone() -> tzinfo:
    """In which times are told: that of ``LMS_TIME_ZONE``, or UTC."""
    state = current_app.extensions.get("lms_state") if has_app_context() else None
    return ZoneInfo(state.settings.time_zone) if state and state.settings.time_zone else UTC


def date(moment: datetime) -> str:
    """``22 Nov 2026``."""
    moment = moment.astimezone(zone())
    return gettext(
        "%(day)s %(month)s %(year)s",
        day=moment.day,
        month=gettext(_MONTHS[moment.month - 1]),
        year=moment.year,
    )


def short_date(moment: datetime) -> str:
    """``22 Nov``."""
    moment = moment.astimezone(zone())
    return gettext("%(day)s %(month)s", day=moment.day, month=gettext(_MONTHS[moment.month - 1]))


def clock_time(moment: datetime) -> str:
    """``14:05 UTC``."""
    moment = moment.astimezone(zone())
    return gettext("%(time)s %(zone)s", time=f"{moment:%H:%M}", zone=moment.tzname())


def date_time(moment: datetime) -> str:
    """``22 Nov 2026, 14:05 UTC``."""
    return gettext("%(date)s, %(time)s", date=date(moment), time=clock_time(moment))


#: A unit, its seconds, and from how many seconds on a span is told in it.
_UNITS = (
    ("day", 86_400, 36 * 3600), ("hour", 3600, 90 * 60), ("minute", 60, 90), ("second", 1, 0),
)  # fmt: skip
_SPANS = {
    "day": many("%(n)s day", "%(n)s days"),
    "hour": many("%(n)s hour", "%(n)s hours"),
    "minute": many("%(n)s minute", "%(n)s minutes"),
    "second": many("%(n)s second", "%(n)s seconds"),
}


def in_unit(length: timedelta) -> tuple[str, int]:
    """A span in the unit in which people would tell it, rounded: ``("minute", 3)``."""
    seconds = max(length.total_seconds(), 1)
    unit, size = next((unit, size) for unit, size, least in _UNITS if seconds >= least)
    return unit, round(seconds / size)


def span(length: timedelta, *, parts: int = 1) -> str:
    """``3 minutes``; in two parts also ``2 hours 10 minutes`` and ``2 days 7 hours``.

    :param parts: with 2, hours and days below 24 have the next smaller unit too.
    """
    unit, n = in_unit(length)
    if parts == 1 or unit in ("minute", "second"):
        return ngettext(*_SPANS[unit], n)
    size, smaller, smaller_size = (86_400, "hour", 3600) if unit == "day" else (3600, "minute", 60)
    n, rest = divmod(int(length.total_seconds()), size)
    more = rest // smaller_size if n < 24 else 0
    text = ngettext(*_SPANS[unit], n)
    return f"{text} {ngettext(*_SPANS[smaller], more)}" if more else text
