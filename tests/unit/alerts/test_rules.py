"""Each decision on its own: values in, decisions out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from flask_lms.alerts import rules
from flask_lms.alerts.rules import Decision, Digest, Episode, Kind, Outage, Quota

T = datetime(2026, 11, 22, 14, 5, tzinfo=timezone.utc)
M, H, D = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("failures", "is_settings", "is_watched", "is_unstable", "after"),
    [
        (1, False, False, False, 5 * M),
        (2, False, False, False, 5 * M),
        (3, False, False, False, 0 * M),
        (9, False, True, False, 10 * M),
        (1, True, False, False, 0 * M),
        (1, True, True, False, 10 * M),
        (0, False, False, False, 1 * H),
        (0, True, False, False, 0 * M),
        (1, False, False, True, D),
        (9, False, False, True, D),
        (1, True, False, True, 1 * H),
    ],
)
def test_when_an_outage_is_told(failures, is_settings, is_watched, is_unstable, after):
    at = rules.announce_at(
        T,
        failures=failures,
        is_settings=is_settings,
        is_watched=is_watched,
        is_unstable=is_unstable,
    )
    assert at == T + after


@pytest.mark.parametrize(
    ("age", "next_age"),
    [
        (0 * M, D),
        (D - M, D),
        (D, 3 * D),
        (3 * D - M, 3 * D),
        (3 * D, 10 * D),
        (9 * D, 10 * D),
        (10 * D, 17 * D),
        (100 * D, 101 * D),
    ],
)
def test_when_a_reminder_comes(age, next_age):
    assert rules.next_reminder(T, T + age) == T + next_age


def outages(*spans, announced=False):
    return [
        Episode(
            opened_at=T - begin, closed_at=None if end is None else T - end, was_announced=announced
        )
        for begin, end in spans
    ]


@pytest.mark.parametrize(
    ("episodes", "unstable"),
    [
        ([], False),
        (outages((5 * M, 4 * M), (3 * M, 2 * M)), False),
        (outages((9 * M, 8 * M), (7 * M, 6 * M), (1 * M, 0 * M)), True),
        (outages((9 * M, 8 * M), (7 * M, 6 * M), (1 * M, None)), False),  # the fifth
        (outages((25 * H, 8 * M), (7 * M, 6 * M), (1 * M, 0 * M)), False),  # one was yesterday
        (outages(*[(n * M, n * M - 20 * M / 60) for n in range(1, 30)]), False),
        (outages(*[(n * M, n * M - 20 * M / 60) for n in range(1, 31)]), True),
        (outages(*[(n * M, n * M - M / 60) for n in (1, 3, 5)], announced=True), True),
    ],
)
def test_what_is_unstable(episodes, unstable):
    assert rules.is_unstable(episodes, T) is unstable


@pytest.mark.parametrize(
    ("age", "outage", "decision"),
    [
        # not told yet: it waits, or is told
        (M, {}, Decision(look_at=T + 4 * M)),
        (5 * M, {}, Decision(kind=Kind.ERROR, look_at=T - 5 * M + D)),
        (0 * M, {"failures": 3}, Decision(kind=Kind.ERROR, look_at=T + D)),
        (0 * M, {"is_settings": True}, Decision(kind=Kind.ERROR, look_at=T + D)),
        (0 * M, {"is_settings": True, "is_watched": True}, Decision(look_at=T + 10 * M)),
        (11 * M, {"is_watched": True}, Decision(kind=Kind.ERROR, look_at=T - 11 * M + D)),
        (D, {}, Decision(kind=Kind.STILL_DOWN, look_at=T + 2 * D)),  # it was paused meanwhile
        # told: a reminder, or news that needs the contact
        (H, {"was_announced": True}, Decision()),
        (H, {"was_announced": True, "told_settings": True, "is_settings": True}, Decision()),
        (
            D,
            {"was_announced": True, "is_due": True},
            Decision(kind=Kind.STILL_DOWN, look_at=T + 2 * D),
        ),
        (
            H,
            {"was_announced": True, "is_settings": True},
            Decision(kind=Kind.ERROR, is_update=True),
        ),
        (
            D,
            {"was_announced": True, "is_settings": True, "is_due": True},
            Decision(kind=Kind.ERROR, is_update=True, look_at=T + 2 * D),
        ),
        # paused: nobody is told, but of its end
        (D, {"is_silent": True, "is_due": True, "was_announced": True}, Decision()),
        (D, {"is_silent": True, "failures": 9}, Decision()),
        (
            D,
            {"is_silent": True, "is_over": True, "was_announced": True},
            Decision(kind=Kind.RECOVERED),
        ),
        # over
        (H, {"is_over": True}, Decision()),
        (H, {"is_over": True, "was_announced": True}, Decision(kind=Kind.RECOVERED)),
    ],
)
def test_what_an_outage_needs_now(age, outage, decision):
    assert rules.decide(Outage(opened_at=T - age, **outage), T) == decision


TWO = outages((90 * M, 80 * M), (70 * M, 60 * M))
THREE = [*TWO, *outages((50 * M, 40 * M))]
#: Two and a half: the next change is the sixth.
SOME = [*TWO, *outages((25 * H, 50 * M))]


@pytest.mark.parametrize(
    ("age", "outage", "decision"),
    [
        (H, {"others": TWO}, Decision(kind=Kind.ERROR, look_at=T + D - H)),
        (H, {"others": SOME}, Decision(kind=Kind.UNSTABLE, look_at=T + D - H)),
        # one of a second is a blip, but not when it is told of
        (
            M / 60,
            {"others": SOME, "is_settings": True},
            Decision(kind=Kind.UNSTABLE, look_at=T + D - M / 60),
        ),
        (M, {"others": SOME}, Decision(look_at=T + 4 * M)),
        (H, {"is_over": True, "others": outages((90 * M, 80 * M))}, Decision()),
        (H, {"is_over": True, "others": TWO}, Decision(kind=Kind.UNSTABLE)),
        (H, {"is_over": True, "others": TWO, "was_announced": True}, Decision(kind=Kind.UNSTABLE)),
        (M / 60, {"is_over": True, "others": TWO}, Decision()),
        # known to be unstable: told after a day that it is down, or after an hour when it refuses
        (H, {"others": THREE, "is_unstable": True}, Decision(look_at=T + D - H)),
        (
            D,
            {"others": THREE, "is_unstable": True},
            Decision(kind=Kind.STILL_DOWN, look_at=T + 2 * D),
        ),
        (
            H,
            {"others": THREE, "is_unstable": True, "is_settings": True},
            Decision(kind=Kind.ERROR, look_at=T + D - H),
        ),
        (H, {"others": THREE, "is_unstable": True, "is_over": True}, Decision()),
    ],
)
def test_what_one_that_comes_and_goes_needs_now(age, outage, decision):
    assert rules.decide(Outage(opened_at=T - age, **outage), T) == decision


@pytest.mark.parametrize(
    ("episodes", "decision"),
    [
        ([], Digest.STABLE),
        (outages((5 * H, 4 * H)), Digest.MAIL),
        (outages((30 * H, None)), Digest.WAIT),
        (outages((30 * H, 10 * H)), Digest.MAIL),
        (outages((5 * H, 5 * H - M / 6)), Digest.STABLE),
    ],
)
def test_the_daily_look_at_an_unstable_one(episodes, decision):
    assert rules.unstable_digest(episodes, T - D, T) is decision


def test_the_summary_counts_only_its_span():
    episodes = outages((30 * H, 20 * H), (26 * H, 25 * H), (2 * H, None))
    assert rules.summary(episodes, T - D, T) == (2, 6 * H)


@pytest.mark.parametrize(
    ("kind", "configuration", "address", "refusal"),
    [
        (Kind.ERROR, 5, 18, None),
        (Kind.ERROR, 6, 0, "cap_configuration"),
        (Kind.RECOVERED, 6, 0, "cap_configuration"),
        (Kind.ERROR, 0, 19, "cap_address"),
        (Kind.DIGEST, 9, 19, None),
        (Kind.DIGEST, 0, 20, "cap_address"),
        (Kind.OPERATOR, 9, 0, None),
        (Kind.TEST, 9, 0, None),
        (Kind.TEST, 0, 19, "cap_address"),
    ],
)
def test_what_is_within_the_quota(kind, configuration, address, refusal):
    assert Quota(configuration=configuration, address=address).refusal(kind) == refusal


@pytest.mark.parametrize(
    ("attempts", "after"), [(1, M), (2, 5 * M), (3, 15 * M), (4, H), (5, H), (60, H)]
)
def test_the_waits_between_attempts(attempts, after):
    assert rules.retry_at(attempts, T, T + H) == T + H + after


def test_after_four_days_a_mail_is_given_up():
    assert rules.retry_at(90, T, T + 4 * D - M) is not None
    assert rules.retry_at(90, T, T + 4 * D) is None
