"""When to tell whom: pure decisions, values in and values out. Rows are ``incidents``' business."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

DAY = timedelta(days=1)
#: An outage is told after so many failures in a row, or after so long.
FAILURES_TO_TELL = 3
PATIENCE = timedelta(minutes=5)
#: What somebody found by their own test or save while nothing waits: they see it and are at it.
WATCHED_PATIENCE = timedelta(minutes=10)
#: One that asks us to slow down is at work: told only when it goes on asking.
SLOW_PATIENCE = timedelta(hours=1)
#: Then contacts are reminded at these ages of the outage, and weekly after the last.
REMINDERS = (DAY, timedelta(days=3))
REMINDER_EVERY = timedelta(days=7)
#: So many changes in a day are one "unstable" instead.
UNSTABLE_CHANGES = 6
#: A shorter outage that nobody was told of is a blip: the next probe mended it. Blips make a
#: configuration unstable only when there are very many.
BLIP = timedelta(seconds=30)
UNSTABLE_BLIPS = 60
#: While unstable, an outage gets mails of its own once it has lasted so long.
UNSTABLE_PATIENCE = DAY
UNSTABLE_PATIENCE_SETTINGS = timedelta(hours=1)
#: Rejected and not sent results are collected for so long before the day's mail.
RESULTS_PATIENCE = timedelta(minutes=10)
#: Most mails in a day; the last one to an address is kept for the digest of what was over.
CONFIGURATION_CAP = 6
ADDRESS_CAP = 20
TEST_CAP = 5
#: Waits between attempts to send one mail, the last one repeated, and when to give up.
RETRIES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
GIVE_UP = timedelta(days=4)


class Kind(str, enum.Enum):
    """What a mail is about."""

    ERROR = "error"
    STILL_DOWN = "still_down"
    RECOVERED = "recovered"
    UNSTABLE = "unstable"
    RESULTS = "results"
    TEST = "test"
    OPERATOR = "operator"
    DIGEST = "digest"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """An outage as far as the decisions need it."""

    opened_at: datetime
    closed_at: datetime | None = None
    was_announced: bool = False

    def duration(self, now: datetime) -> timedelta:
        return (self.closed_at or now) - self.opened_at


def announce_at(
    opened_at: datetime, *, failures: int, is_settings: bool, is_watched: bool, is_unstable: bool
) -> datetime:
    """From when on the contacts are told of an outage that goes on.

    :param failures: of the destination in a row; 0: it only asks to be asked later (429).
    :param is_settings: only a change at either end can mend it: no use in waiting.
    :param is_watched: nothing waits, and it never worked or was found by somebody's own test or
        save: they are at the form and see it there.
    :param is_unstable: the contacts know that it comes and goes, and get a digest a day.
    """
    if is_unstable:
        return opened_at + (UNSTABLE_PATIENCE_SETTINGS if is_settings else UNSTABLE_PATIENCE)
    if is_watched:
        return opened_at + WATCHED_PATIENCE
    if failures >= FAILURES_TO_TELL or is_settings:
        return opened_at
    return opened_at + (PATIENCE if failures else SLOW_PATIENCE)


def next_reminder(opened_at: datetime, now: datetime) -> datetime:
    """The first "still down" after ``now``: at 24 h, 72 h, then weekly."""
    for age in REMINDERS:
        if opened_at + age > now:
            return opened_at + age
    last = opened_at + REMINDERS[-1]
    weeks = (now - last) // REMINDER_EVERY + 1
    return last + weeks * REMINDER_EVERY


def _changes(episodes: Iterable[Episode], since: datetime, now: datetime) -> tuple[int, int]:
    """Changes of status after ``since``: those of outages that matter, and of blips."""
    counted = blips = 0
    for episode in episodes:
        n = (episode.opened_at > since) + (
            episode.closed_at is not None and episode.closed_at > since
        )
        if episode.was_announced or episode.duration(now) >= BLIP:
            counted += n
        else:
            blips += n
    return counted, blips


def is_unstable(episodes: Iterable[Episode], now: datetime) -> bool:
    """Whether the change that just happened is the sixth in 24 hours (or one of very many blips).

    :param episodes: the outages of the last 24 hours, this one among them.
    """
    counted, blips = _changes(episodes, now - DAY, now)
    return counted >= UNSTABLE_CHANGES or blips >= UNSTABLE_BLIPS


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What is known when it is decided what an open outage needs.

    :param was_announced: the contacts were told of it.
    :param told_settings: they were told that only a change at either end can mend it.
    :param is_over: its destination is connected again.
    :param is_silent: its configuration is paused or deleted: of what goes on nobody is told.
    :param is_due: its next mail was planned for now, or earlier.
    :param failures: see :func:`announce_at`, as for the two after it.
    :param is_unstable: the contacts know that it comes and goes.
    :param others: the other outages of the last 24 hours.
    """

    opened_at: datetime
    was_announced: bool = False
    told_settings: bool = False
    is_over: bool = False
    is_silent: bool = False
    is_due: bool = False
    failures: int = 1
    is_settings: bool = False
    is_watched: bool = False
    is_unstable: bool = False
    others: Sequence[Episode] = ()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about an outage now.

    :param kind: the mail to send; ``UNSTABLE``: it comes and goes, and that is told in its place.
    :param is_update: the mail tells that the reason has changed, and now needs the contact.
    :param look_at: when to look again; None: as planned before.
    """

    kind: Kind | None = None
    is_update: bool = False
    look_at: datetime | None = None


def decide(outage: Outage, now: datetime) -> Decision:
    """From the first failure to the mail that it is over: who is told what, and when again."""
    if outage.is_over:
        own = Episode(opened_at=outage.opened_at, closed_at=now, was_announced=outage.was_announced)
        if not outage.is_unstable and is_unstable([*outage.others, own], now):
            return Decision(kind=Kind.UNSTABLE)
        return Decision(kind=Kind.RECOVERED if outage.was_announced else None)
    if outage.is_silent:
        return Decision()

    if outage.was_announced:
        look_at = next_reminder(outage.opened_at, now) if outage.is_due else None
        # "It does not answer" is waited for; "it refuses the key" that follows must not be.
        if outage.is_settings and not outage.told_settings:
            return Decision(kind=Kind.ERROR, is_update=True, look_at=look_at)
        return Decision(kind=Kind.STILL_DOWN if outage.is_due else None, look_at=look_at)

    at = announce_at(
        outage.opened_at,
        failures=outage.failures,
        is_settings=outage.is_settings,
        is_watched=outage.is_watched,
        is_unstable=outage.is_unstable,
    )
    if at > now:
        return Decision(look_at=at)
    # One that is told of counts as a change, however short it is.
    own = Episode(opened_at=outage.opened_at, was_announced=True)
    if not outage.is_unstable and is_unstable([*outage.others, own], now):
        return Decision(kind=Kind.UNSTABLE, look_at=outage.opened_at + UNSTABLE_PATIENCE)
    is_old = now - outage.opened_at >= DAY
    return Decision(
        kind=Kind.STILL_DOWN if is_old else Kind.ERROR,
        look_at=next_reminder(outage.opened_at, now),
    )


class Digest(enum.Enum):
    """What the daily look at an unstable configuration decides."""

    MAIL = "mail"
    STABLE = "stable"
    WAIT = "wait"


def unstable_digest(episodes: Iterable[Episode], last_mail_at: datetime, now: datetime) -> Digest:
    """The daily decision: a digest of the day's interruptions, or "stable again".

    :param episodes: outages since ``last_mail_at``, and one that goes on.
    """
    episodes = list(episodes)
    counted, blips = _changes(episodes, last_mail_at, now)
    if counted or blips >= UNSTABLE_BLIPS:
        return Digest.MAIL
    if any(episode.closed_at is None for episode in episodes):
        return Digest.WAIT
    return Digest.STABLE


def summary(episodes: Sequence[Episode], since: datetime, now: datetime) -> tuple[int, timedelta]:
    """How often and how long in sum it was down between ``since`` and ``now``."""
    down = timedelta()
    count = 0
    for episode in episodes:
        start, end = max(episode.opened_at, since), episode.closed_at or now
        if end > since:
            count += 1
            down += end - start
    return count, down


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How many mails left in the last 24 hours, and whether one more may.

    :param configuration: notices of the configuration, each counted once for all its recipients.
    :param address: mails to the address, of all configurations.
    """

    configuration: int
    address: int

    def refusal(self, kind: Kind) -> str | None:
        """Why one more mail is over the day's quota; None: it is not.

        The operators' mails and tests have no configuration's cap; the digest takes the place
        that was kept for it.
        """
        if kind is Kind.DIGEST:
            return None if self.address < ADDRESS_CAP else "cap_address"
        if self.address >= ADDRESS_CAP - 1:
            return "cap_address"
        if kind not in (Kind.TEST, Kind.OPERATOR) and self.configuration >= CONFIGURATION_CAP:
            return "cap_configuration"
        return None


def retry_at(attempts: int, created_at: datetime, now: datetime) -> datetime | None:
    """When to try to send again after 1, 5, 15, 60, 60 … minutes; None: give up after four days.

    :param attempts: those made so far, at least 1.
    """
    if now - created_at >= GIVE_UP:
        return None
    return now + RETRIES[min(attempts, len(RETRIES)) - 1]
