"""Spans in words: one ladder of units for pages and mails."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from flask_lms import i18n
from flask_lms.admin import wording

NOW = datetime(2026, 11, 22, 14, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "one", "two"),
    [
        (0, "1 second", "1 second"),
        (89, "89 seconds", "89 seconds"),
        (90, "2 minutes", "2 minutes"),
        (3540, "59 minutes", "59 minutes"),
        (7800, "2 hours", "2 hours 10 minutes"),
        (7200, "2 hours", "2 hours"),
        (86_400 + 3600 + 60, "25 hours", "25 hours"),
        (200_000, "2 days", "2 days 7 hours"),
        (86_400 * 10, "10 days", "10 days"),
        (86_400 * 40 + 7200, "40 days", "40 days"),
    ],
)
def test_a_span_has_two_units_at_most(seconds, one, two):
    assert i18n.span(timedelta(seconds=seconds)) == one
    assert i18n.span(timedelta(seconds=seconds), parts=2) == two


def test_a_span_in_german():
    with i18n.using("de"):
        assert i18n.span(timedelta(seconds=200_000), parts=2) == "2 Tage 7 Stunden"


@pytest.mark.parametrize(
    ("seconds", "ago", "ahead"),
    [
        (9, "just now", "now"),
        (10, "10 seconds ago", "in 10 seconds"),
        (90, "2 minutes ago", "in 2 minutes"),
        (90 * 60, "2 hours ago", "in 2 hours"),
        (36 * 3600 - 1, "36 hours ago", "in 36 hours"),
        (36 * 3600, "2 days ago", "in 2 days"),
    ],
)
def test_what_was_and_what_comes(seconds, ago, ahead):
    span = timedelta(seconds=seconds)
    assert wording.ago(NOW - span, NOW) == ago
    assert wording.ahead(NOW + span, NOW) == ahead
    assert wording.relative(NOW - span, NOW) == ago


def test_after_two_months_the_date_is_told_alone():
    assert wording.ago(NOW - timedelta(days=61), NOW) == "22 Sep 2026, 14:05 UTC"
