"""Moments and spans in words. Relative ones always travel with the absolute one."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..i18n import date_time, gettext, ngettext, number


def _span(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0)
    if seconds < 90:
        return ngettext("%(n)s second", "%(n)s seconds", max(round(seconds), 1))
    if seconds < 90 * 60:
        return ngettext("%(n)s minute", "%(n)s minutes", round(seconds / 60))
    if seconds < 36 * 3600:
        return ngettext("%(n)s hour", "%(n)s hours", round(seconds / 3600))
    return ngettext("%(n)s day", "%(n)s days", round(seconds / 86_400))


def span(length: timedelta) -> str:
    """``3 minutes``."""
    return _span(length)


def ago(moment: datetime, now: datetime) -> str:
    """``3 minutes ago``, ``just now``; after two months the date alone."""
    passed = now - moment
    if passed < timedelta(seconds=10):
        return gettext("just now")
    if passed > timedelta(days=60):
        return date_time(moment)
    if passed < timedelta(seconds=90):
        n = round(passed.total_seconds())
        return ngettext("%(n)s second ago", "%(n)s seconds ago", n)
    if passed < timedelta(minutes=90):
        n = round(passed.total_seconds() / 60)
        return ngettext("%(n)s minute ago", "%(n)s minutes ago", n)
    if passed < timedelta(hours=36):
        n = round(passed.total_seconds() / 3600)
        return ngettext("%(n)s hour ago", "%(n)s hours ago", n)
    n = round(passed.total_seconds() / 86_400)
    return ngettext("%(n)s day ago", "%(n)s days ago", n)


def ahead(moment: datetime, now: datetime) -> str:
    """``in 3 minutes``; what is due already is ``now``."""
    left = moment - now
    if left < timedelta(seconds=10):
        return gettext("now")
    if left < timedelta(seconds=90):
        n = round(left.total_seconds())
        return ngettext("in %(n)s second", "in %(n)s seconds", n)
    if left < timedelta(minutes=90):
        n = round(left.total_seconds() / 60)
        return ngettext("in %(n)s minute", "in %(n)s minutes", n)
    if left < timedelta(hours=36):
        n = round(left.total_seconds() / 3600)
        return ngettext("in %(n)s hour", "in %(n)s hours", n)
    n = round(left.total_seconds() / 86_400)
    return ngettext("in %(n)s day", "in %(n)s days", n)


def relative(moment: datetime, now: datetime) -> str:
    """The past as :func:`ago`, the future as :func:`ahead`."""
    return ahead(moment, now) if moment > now else ago(moment, now)


def milliseconds(ms: int) -> str:
    """``412 ms``, ``1.3 s``."""
    if ms < 1000:
        return gettext("%(n)s ms", n=ms)
    return gettext("%(n)s s", n=number(round(ms / 1000, 1)))
