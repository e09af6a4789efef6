"""Rows in words: moments, badges, and whole sentences on a status or a delivery.

A relative moment always travels with the absolute one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from ..connectors.base import Connector
from ..connectors.causes import TRANSPORT_CAUSES, Cause
from ..connectors.registry import Registry
from ..database.models import Configuration, Delivery, DeliveryState, ReadBack, Status
from ..database.types import UTC
from ..i18n import (
    N_,
    clock_time,
    date_time,
    gettext,
    in_unit,
    many,
    ngettext,
    number,
    short_date,
    zone,
)
from ..services.deliveries import ATTENTION, MOST_COUNTED, Segments
from ..services.overview import Numbers, Summary

_AGO = {
    "day": many("%(n)s day ago", "%(n)s days ago"),
    "hour": many("%(n)s hour ago", "%(n)s hours ago"),
    "minute": many("%(n)s minute ago", "%(n)s minutes ago"),
    "second": many("%(n)s second ago", "%(n)s seconds ago"),
}
_AHEAD = {
    "day": many("in %(n)s day", "in %(n)s days"),
    "hour": many("in %(n)s hour", "in %(n)s hours"),
    "minute": many("in %(n)s minute", "in %(n)s minutes"),
    "second": many("in %(n)s second", "in %(n)s seconds"),
}


def ago(moment: datetime, now: datetime) -> str:
    """``3 minutes ago``, ``just now``; after two months the date alone."""
    passed = now - moment
    if passed < timedelta(seconds=10):
        return gettext("just now")
    if passed > timedelta(days=60):
        return date_time(moment)
    unit, n = in_unit(passed)
    return ngettext(*_AGO[unit], n)


def ahead(moment: datetime, now: datetime) -> str:
    """``in 3 minutes``; what is due already is ``now``."""
    left = moment - now
    if left < timedelta(seconds=10):
        return gettext("now")
    unit, n = in_unit(left)
    return ngettext(*_AHEAD[unit], n)


def relative(moment: datetime, now: datetime) -> str:
    """The past as :func:`ago`, the future as :func:`ahead`."""
    return ahead(moment, now) if moment > now else ago(moment, now)


def time_tag(moment: datetime, told: str, kind: str = "full") -> Markup:
    """A moment that the script tells in the reader's zone, unless the host has chosen one.

    :param told: as it is told without the script.
    :param kind: ``full``, or ``clock`` for the time of day alone.
    """
    local = Markup(' data-flms-time="{}"').format(kind) if zone() is UTC else ""
    iso = moment.isoformat(timespec="seconds")
    return Markup('<time datetime="{}"{}>{}</time>').format(iso, local, told)


def _joined(*parts: str | None) -> Markup:
    """Sentences one after the other, some of them with times in them."""
    return Markup(" ").join(part for part in parts if part)


def milliseconds(ms: int) -> str:
    """``412 ms``, ``1.3 s``."""
    if ms < 1000:
        return gettext("%(n)s ms", n=ms)
    return gettext("%(n)s s", n=number(round(ms / 1000, 1)))


@dataclass(frozen=True, kw_only=True)
class Badge:
    """A status at a glance: never only a colour.

    :param tone: ``ok``, ``bad``, ``warn``, ``info`` or ``off``.
    """

    tone: str
    icon: str
    label: str


@dataclass(frozen=True, kw_only=True)
class StatusPanel:
    """How a configuration is doing, what that means and what to do.

    :param code: of the cause. :param fields: what of the settings is to be corrected right here.
    """

    badge: Badge
    lead: str
    strong: str | None = None
    cause: str | None = None
    remedies: tuple[str, ...] = ()
    then: str | None = None
    code: str | None = None
    fields: tuple[str, ...] = ()


_STATUS = {
    Status.NOT_TESTED: ("info", "circle"),
    Status.CONNECTED: ("ok", "check"),
    Status.CANT_CONNECT: ("bad", "unplugged"),
    Status.SERVER_ERROR: ("bad", "alert"),
}
_DELIVERY = {
    DeliveryState.PENDING: ("info", "clock", N_("Waiting")),
    DeliveryState.DELIVERED: ("ok", "check", N_("Sent")),
    DeliveryState.SUPERSEDED: ("off", "check", N_("Superseded")),
    DeliveryState.REJECTED: ("bad", "cross", N_("Rejected")),
    DeliveryState.NOT_SENT: ("warn", "alert", N_("Not sent")),
    DeliveryState.CANCELLED: ("off", "minus", N_("Cancelled")),
}
#: What an LMS has of what was sent.
_READ_BACK = {
    ReadBack.CONFIRMED: ("ok", "check", N_("Confirmed")),
    ReadBack.MISSING: ("bad", "cross", N_("Missing")),
    ReadBack.DIFFERENT: ("bad", "alert", N_("Different")),
    ReadBack.DOUBLED: ("warn", "copy", N_("Doubled")),
    ReadBack.VOIDED: ("warn", "minus", N_("Voided")),
    ReadBack.UNREADABLE: ("warn", "unplugged", N_("Can't be read")),
}
_CORRECT = N_(
    "If it is to count, hand it in from %(platform)s as a correction: a correction is a new "
    "statement with an ID of its own."
)
#: What each means, and what to do.
_READ_BACK_MEANING: Mapping[ReadBack, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        ReadBack.CONFIRMED: (N_("Your LMS has it as it was sent."), ()),
        ReadBack.MISSING: (
            N_("Your LMS accepted it and doesn't have it."),
            (N_("Send it again: it goes with the same ID and the same content."),),
        ),
        ReadBack.DIFFERENT: (
            N_("Your LMS has something else under its ID."),
            (
                N_("Ask your LMS administrator who changed it."),
                N_("To send it again changes nothing: an LMS keeps what it has under an ID."),
                _CORRECT,
            ),
        ),
        ReadBack.DOUBLED: (
            N_("Your LMS has it, and the same once more under an ID that isn't ours."),
            (
                N_(
                    "Somebody may have imported it. Ask your LMS administrator to void the other "
                    "one: what we didn't send we don't touch."
                ),
            ),
        ),
        ReadBack.VOIDED: (
            N_("Somebody else voided it in your LMS, so it no longer counts there."),
            (
                N_("Ask your LMS administrator why."),
                N_("What is voided can't come back, and to send it again changes nothing."),
                _CORRECT,
            ),
        ),
        ReadBack.UNREADABLE: (
            N_("Whether your LMS has it can't be said."),
            (N_("Sending is not concerned. The reason, and what to do, stands beside it."),),
        ),
    }
)
#: What an attempt shows: its verdict.
_VERDICTS = {
    "accepted": ("ok", "check", N_("Accepted")),
    "partial": ("warn", "alert", N_("Accepted in part")),
    "refused": ("bad", "cross", N_("Refused")),
    "conflict": ("warn", "alert", N_("Already there")),
    "too_large": ("warn", "alert", N_("Too large")),
    "slow_down": ("warn", "clock", N_("Asked us to slow down")),
    "failed": ("bad", "cross", N_("Failed")),
}
_MAIL_STATES = {
    "waiting": ("info", "clock", N_("Waiting")),
    "sent": ("ok", "check", N_("Sent")),
    "failed": ("bad", "cross", N_("Failed")),
    "skipped": ("off", "minus", N_("Not mailed")),
}
KINDS = {
    "result": N_("Result"),
    "completed": N_("Completion"),
    "step": N_("Step"),
    "void": N_("Withdrawal of an earlier statement"),
    "test": N_("Test"),
}


def _badge(spec: tuple[str, str, str]) -> Badge:
    tone, icon, label = spec
    return Badge(tone=tone, icon=icon, label=gettext(label))


def health_badge(status: Status) -> Badge:
    """The badge of a status alone, whether paused or not."""
    tone, icon = _STATUS[status]
    return Badge(tone=tone, icon=icon, label=gettext(status.label))


def status_badge(configuration: Configuration, attention: int = 0) -> Badge:
    """The badge of a configuration: Paused comes before its status.

    :param attention: how many of its results were rejected or not sent. One that is connected
        doesn't look well then.
    """
    if configuration.is_paused:
        return Badge(tone="off", icon="pause", label=gettext("Paused"))
    if attention and configuration.health.status is Status.CONNECTED:
        words = ngettext(
            "Connected, %(n)s needs attention", "Connected, %(n)s need attention", attention
        )
        return Badge(tone="warn", icon="alert", label=words)
    return health_badge(configuration.health.status)


def delivery_badge(state: DeliveryState | str) -> Badge:
    return _badge(_DELIVERY[DeliveryState(state)])


def read_back_badge(read_back: ReadBack | str) -> Badge:
    return _badge(_READ_BACK[ReadBack(read_back)])


def read_back_meaning(read_back: ReadBack, platform: str) -> tuple[str, list[str]]:
    """What it means, and what to do."""
    meaning, acts = _READ_BACK_MEANING[read_back]
    return gettext(meaning), [
        gettext(act, platform=platform) if "%(" in act else gettext(act) for act in acts
    ]


def read_back_of(
    delivery: Delivery, type: str, registry: Registry, platform: str
) -> tuple[str, list[str]]:
    """What an LMS had of one delivery when it was last asked, and what to do."""
    read_back, facts = delivery.read_back, delivery.read_back_facts or {}
    if read_back is None or delivery.read_back_at is None:
        return "", []
    at = date_time(delivery.read_back_at)
    meaning, acts = read_back_meaning(read_back, platform)
    if read_back is ReadBack.CONFIRMED:
        if facts.get("is_withdrawn"):
            said = gettext(
                "Taken back by a correction, and no longer valid in the LMS on %(time)s.", time=at
            )
        elif facts.get("by_id"):
            said = gettext(
                "Confirmed in the LMS on %(time)s by its ID alone: its content is no longer kept.",
                time=at,
            )
        else:
            said = gettext("Confirmed in the LMS on %(time)s.", time=at)
        return said, []
    if facts.get("is_withdrawn"):
        meaning = gettext("Your LMS still counts it, although a correction took it back.")
        acts = [
            gettext(
                "Ask your LMS administrator to delete it, and whether the LMS can void statements."
            )
        ]
    elif read_back is ReadBack.MISSING and delivery.statement is None:
        acts = [
            gettext("Its content is no longer kept, so it can't be sent again."),
            gettext(_CORRECT, platform=platform),
        ]
    elif read_back is ReadBack.DOUBLED and facts.get("ids"):
        meaning = gettext(
            "Your LMS has it, and the same once more under an ID that isn't ours: %(ids)s.",
            ids=", ".join(facts["ids"]),
        )
    elif read_back is ReadBack.VOIDED and facts.get("by"):
        meaning = gettext(
            "%(name)s voided it in your LMS, so it no longer counts there.", name=facts["by"]
        )
    elif read_back is ReadBack.UNREADABLE:
        sentence, acts = registry.explain(type, facts.get("cause"), facts.get("facts", {}))
        meaning = f"{meaning} {sentence or ''}".strip()
    return gettext("Looked up in the LMS on %(time)s.", time=at) + f" {meaning}", acts


def verdict_badge(verdict: str) -> Badge:
    return _badge(_VERDICTS.get(verdict, ("off", "minus", verdict)))


def mail_badge(state: str) -> Badge:
    return _badge(_MAIL_STATES.get(state, ("off", "minus", state)))


def facts_of(text: str | None) -> dict[str, Any]:
    """The facts kept with a delivery that was not sent; other text is no facts."""
    try:
        found = json.loads(text or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def summary_words(summary: Summary) -> str:
    """``2 of 3 connected, 37 results waiting, 4 need attention``."""
    connected, total, n = summary.connected, summary.total, summary.waiting
    parts = [gettext("%(connected)s of %(total)s connected", connected=connected, total=total)]
    parts.append(
        ngettext("%(n)s result waiting", "%(n)s results waiting", n)
        if n
        else gettext("nothing waiting")
    )
    if n := summary.attention:
        parts.append(ngettext("%(n)s needs attention", "%(n)s need attention", n))
    return ", ".join(parts)


#: How a result went.
_OUTCOMES = {
    "passed": ("ok", "check", N_("passed")),
    "failed": ("bad", "cross", N_("failed")),
    "completed": ("ok", "check", N_("completed")),
    "incomplete": ("off", "minus", N_("not completed")),
}


def outcome_badge(outcome: str | None) -> Badge | None:
    """How a result went; None: an older version recorded it, which kept it in the statement."""
    if outcome not in _OUTCOMES:
        return None
    # In small letters in the catalogue: a participant who failed is another thing than a request.
    tone, icon, label = _OUTCOMES[outcome]
    words = gettext(label)
    return Badge(tone=tone, icon=icon, label=words[:1].upper() + words[1:])


def score_words(score: Mapping[str, float] | None) -> str | None:
    """``17 of 20``, ``85 %`` or ``17``."""
    raw, most, scaled = ((score or {}).get(name) for name in ("raw", "max", "scaled"))
    if raw is not None and most is not None:
        return gettext("%(n)s of %(total)s", n=_short(raw), total=_short(most))
    if scaled is not None:
        return gettext("%(n)s %%", n=_short(scaled * 100))
    return None if raw is None else _short(raw)


def _short(n: float) -> str:
    return number(int(n) if n == int(n) else round(n, 2))


def up_to(n: int) -> str:
    """A count that ended at its most: ``10,000+``."""
    return f"{number(MOST_COUNTED)}+" if n > MOST_COUNTED else number(n)


def segments(counted: Segments, state: str) -> list[tuple[str, str, str, bool]]:
    """The parts of a list of deliveries: filter, words, how many, and whether it is shown."""
    parts = [
        ("attention", gettext("Needs attention"), counted.attention),
        ("pending", gettext("Waiting"), counted.waiting),
        ("delivered", gettext("Sent"), counted.sent),
    ]
    if counted.superseded or state == "superseded":
        parts.append(("superseded", gettext("Superseded"), counted.superseded))
    if counted.cancelled or state == "cancelled":
        parts.append(("cancelled", gettext("Cancelled"), counted.cancelled))
    parts.append(("", gettext("All"), counted.total))
    here = "attention" if state in {one.value for one in ATTENTION} else state
    return [(key, words, up_to(n), key == here) for key, words, n in parts]


def reasons(
    counted: Mapping[str, int], chosen: str | None, registry: Registry
) -> list[tuple[str, str]]:
    """The filter of reasons: those that there are, in a few words, with how many."""
    causes = {**TRANSPORT_CAUSES}
    for connector in registry:
        causes.update(connector.causes)
    codes = {**counted, **({chosen: 0} if chosen and chosen not in counted else {})}
    found = []
    for code, n in codes.items():
        words = causes[code].in_short() if code in causes else code
        found.append((code, f"{words} ({up_to(n)})" if n else words))
    return found


def waits_words(n: int) -> str:
    """Whether anything waits, and not how many: what is read out when it changes."""
    return gettext("Results are waiting.") if n else waiting_words(0)


def attention_words(n: int) -> str:
    """``4 need attention.``; empty for none."""
    return ngettext("%(n)s needs attention.", "%(n)s need attention.", n) if n else ""


def summary_said(summary: Summary) -> str:
    """What of the list is read out when it changes: not each number."""
    failing = summary.failing
    text = ngettext("%(n)s doesn't work.", "%(n)s don't work.", failing) if failing else ""
    return f"{text} {waits_words(summary.waiting)}".strip()


def panel_said(panel: StatusPanel, numbers: Numbers) -> str:
    """What of an overview is read out when it changes."""
    return f"{panel.badge.label}. {waits_words(numbers.waiting)}"


def is_moving(configuration: Configuration, numbers: Numbers) -> bool:
    """Whether a look at it in two seconds may show something else."""
    waits = numbers.waiting and not configuration.is_paused
    return bool(waits or configuration.health.status.is_error)


def waiting_words(n: int) -> str:
    """``37 results are waiting.``"""
    if n == 0:
        return gettext("Nothing is waiting.")
    return ngettext("%(n)s result is waiting.", "%(n)s results are waiting.", n)


def none_lost(n: int) -> str | None:
    """``37 results are waiting. None are lost.``"""
    if n == 0:
        return None
    return ngettext(
        "%(n)s result is waiting. It is not lost.", "%(n)s results are waiting. None are lost.", n
    )


def status_panel(
    configuration: Configuration, numbers: Numbers, registry: Registry, now: datetime
) -> StatusPanel:
    """The whole status of a configuration by its newest evidence."""
    health, waiting = configuration.health, numbers.waiting
    badge = status_badge(configuration, numbers.attention)
    if configuration.paused_at is not None:
        when, by = short_date(configuration.paused_at), configuration.paused_by
        lead = (
            gettext("Paused by %(name)s on %(date)s.", name=by, date=when)
            if by
            else gettext("Paused on %(date)s.", date=when)
        )
        kept = (
            ngettext(
                "%(n)s new result is kept and will be sent when you resume.",
                "%(n)s new results are kept and will be sent when you resume.",
                waiting,
            )
            if waiting
            else gettext("New results are kept and will be sent when you resume.")
        )
        return StatusPanel(badge=badge, lead=f"{lead} {kept}")

    if health.status is Status.NOT_TESTED:
        lead = gettext("This configuration hasn't been tested yet.")
        return StatusPanel(badge=badge, lead=lead, strong=none_lost(waiting))
    if health.status is Status.CONNECTED:
        if health.last_success_at is None:
            lead, strong = gettext("Nothing was sent yet."), waiting_words(waiting)
            return StatusPanel(badge=badge, lead=lead, strong=strong if waiting else None)
        lead = gettext("Last result sent %(ago)s.", ago=ago(health.last_success_at, now))
        return StatusPanel(badge=badge, lead=f"{lead} {waiting_words(waiting)}")

    since = time_tag(health.since or now, date_time(health.since or now))
    connector = registry.get(configuration.type)
    more = gettext("This has been so since %(time)s.", time=since)
    if health.status is not Status.CANT_CONNECT:
        lead = gettext("Your LMS answers, but doesn't accept the results.")
    else:
        lead = gettext("We can't reach your LMS.")
        if connector is not None:
            more = gettext(
                "Since %(time)s we can't open a connection to %(host)s.",
                time=since,
                host=connector.destination(configuration.settings),
            )
    sentence, remedies = registry.explain(configuration.type, health.cause, health.facts)
    told = registry.cause(configuration.type, health.cause)
    fields = fields_to_mend(connector, told, configuration.settings)
    at = health.next_attempt_at
    next_try = (
        gettext("Next try at %(time)s.", time=time_tag(at, clock_time(at), "clock"))
        if at is not None and at > now
        else gettext("Next try in a few seconds.")
    )
    then = gettext(
        "When your LMS answers, waiting results are sent at once, at the latest within 24 hours."
    )
    return StatusPanel(
        badge=badge,
        lead=_joined(lead, more),
        strong=none_lost(waiting),
        cause=sentence,
        remedies=(*remedies, *([] if fields else [gettext("Then test the connection.")]))
        if remedies
        else (),
        then=_joined(next_try, then),
        code=health.cause,
        fields=fields,
    )


def fields_to_mend(
    connector: Connector | None, cause: Cause | None, settings: Mapping[str, Any]
) -> tuple[str, ...]:
    """Which of the fields of these settings stand beside a cause; with an address also the secrets,
    which are asked for again when it moves.
    """
    if connector is None or cause is None or not cause.fields:
        return ()
    wanted = {*cause.fields, *(("secret",) if "url" in cause.fields else ())}
    return tuple(
        one.name
        for one in connector.fields_of(settings)
        if wanted & {one.name, one.kind, "secret" if one.is_secret else ""} and not one.is_advanced
    )


def status_line(configuration: Configuration, registry: Registry) -> str | None:
    """One line beside the badge in a list: the cause of an error, or why nothing is sent."""
    health = configuration.health
    if configuration.paused_at is not None:
        return gettext(
            "Since %(date)s. New results are kept.", date=short_date(configuration.paused_at)
        )
    if health.status is Status.NOT_TESTED:
        return gettext("This configuration hasn't been tested yet.")
    if health.status.is_error:
        return registry.explain(configuration.type, health.cause, health.facts)[0]
    return None


def _refusal(delivery: Delivery, type: str, registry: Registry) -> tuple[str | None, Sequence[str]]:
    """What the LMS said of it, and what to do."""
    facts: dict[str, Any] = {"words": delivery.reason_words}
    connector = registry.get(type)
    # Lists are read without statements: one is looked up only where it tells more.
    if connector is not None and delivery.reason != "rejected" and delivery.statement:
        facts |= connector.refusal_facts(delivery.statement)
    return registry.explain(type, delivery.reason, facts)


def delivery_reason(delivery: Delivery, type: str, registry: Registry, platform: str) -> str | None:
    """Why a delivery is not sent, rejected or cancelled, in one or two sentences; or what is to be
    known of one that was sent.
    """
    if delivery.state is DeliveryState.NOT_SENT:
        facts = {**facts_of(delivery.reason_words), "platform": platform}
        sentence, remedies = registry.explain(type, delivery.reason, facts)
        return " ".join(part for part in (sentence, *remedies) if part)
    if delivery.state in (DeliveryState.REJECTED, DeliveryState.DELIVERED):
        return _refusal(delivery, type, registry)[0]
    if delivery.state is DeliveryState.CANCELLED:
        if delivery.settled_by:
            return gettext("By %(name)s.", name=delivery.settled_by)
        return gettext("Automatically.")
    return None


def delivery_sentence(
    delivery: Delivery,
    configuration: Configuration,
    registry: Registry,
    platform: str,
    now: datetime,
) -> str:
    """What happened to a delivery, in one sentence or two."""
    name = configuration.name
    settled = time_tag(delivery.settled_at or now, date_time(delivery.settled_at or now))
    if delivery.state is DeliveryState.DELIVERED:
        stored = gettext("%(lms)s stored this result on %(time)s.", lms=name, time=settled)
        reason = delivery_reason(delivery, configuration.type, registry, platform)
        return _joined(stored, reason)
    if delivery.state is DeliveryState.SUPERSEDED:
        return gettext(
            "%(lms)s has a newer result in place of this one and didn't store it. It said so on "
            "%(time)s.",
            lms=name,
            time=settled,
        )
    if delivery.state is DeliveryState.NOT_SENT:
        reason = delivery_reason(delivery, configuration.type, registry, platform)
        return _joined(gettext("This result was not sent to %(lms)s.", lms=name), reason)
    if delivery.state is DeliveryState.CANCELLED:
        if by := delivery.settled_by:
            return gettext("Cancelled by %(name)s on %(time)s.", name=by, time=settled)
        return gettext("Cancelled automatically on %(time)s.", time=settled)
    if delivery.state is DeliveryState.PENDING:
        if configuration.is_paused:
            return gettext("Waiting: %(lms)s is paused. It is sent when you resume.", lms=name)
        first = gettext("Waiting to be sent to %(lms)s.", lms=name)
        return _joined(first, delivery_next(delivery, configuration, now))

    # Rejected: when, in whose words, and what to do.
    cause = registry.cause(configuration.type, delivery.reason)
    if delivery.reason_words:
        first = gettext(
            "%(lms)s rejected this result on %(time)s: “%(words)s”.",
            lms=name,
            time=settled,
            words=delivery.reason_words.strip().rstrip("."),
        )
    else:
        first = gettext("%(lms)s rejected this result on %(time)s.", lms=name, time=settled)
    sentence, remedies = _refusal(delivery, configuration.type, registry)
    # One that quotes the LMS would say the same once more.
    also = None if cause is not None and "%(words)s" in cause.sentence else sentence
    return _joined(first, also, *remedies)


def delivery_next(delivery: Delivery, configuration: Configuration, now: datetime) -> str:
    """``Next try in 4 minutes (14:35 UTC).``"""
    if configuration.is_paused:
        return gettext("Sent when you resume.")
    due = max(filter(None, (delivery.due_at, configuration.health.next_attempt_at)))
    if due <= now:
        return gettext("Next try in a few seconds.")
    at = time_tag(due, clock_time(due), "clock")
    return gettext("Next try %(ahead)s (%(time)s).", ahead=ahead(due, now), time=at)
