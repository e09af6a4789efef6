"""The words of each kind of mail. Pure: facts in, sentences out, in the language in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..i18n import date_time, gettext, ngettext
from . import operator_letters
from .facts import clean
from .rules import Kind
from .wording import Letter, Story, duration, status

# -- subjects --------------------------------------------------------------------------------------


def subject(kind: Kind, facts: Mapping[str, Any]) -> str:
    """The subject without the platform's name before it."""
    story = Story(facts=facts, platform="")
    name = story.name
    if kind is Kind.RESULTS:
        n = story.n("rejected") + story.n("not_sent")
        told = ngettext("%(n)s result needs attention", "%(n)s results need attention", n)
        return f"{told}: {name}"
    if kind is Kind.TEST:
        return gettext("Test alert: %(name)s", name=name)
    if kind is Kind.DIGEST:
        n = story.n("count")
        return ngettext("%(n)s more alert of the last day", "%(n)s more alerts of the last day", n)
    if kind is Kind.OPERATOR:
        return operator_letters.subject(story)
    if kind is Kind.RECOVERED:
        what = gettext("Stable again") if facts.get("is_stable") else gettext("Connected again")
        tail = _being_sent(story.n("waiting")) if story.n("waiting") else ""
    elif kind is Kind.UNSTABLE:
        what = gettext("Unstable")
        n = story.n("interruptions")
        tail = ngettext("%(n)s interruption in a day", "%(n)s interruptions in a day", n)
    else:
        what = status(facts.get("status"))
        tail = _waiting(story.n("waiting")) if story.n("waiting") else ""
        if kind is Kind.STILL_DOWN:
            what = gettext(
                "%(status)s for %(duration)s",
                status=what,
                duration=duration(story.n("duration_seconds")),
            )
    return f"{what}: {name}" + (f" – {tail}" if tail else "")


def _waiting(n: int) -> str:
    return ngettext("%(n)s result waiting", "%(n)s results waiting", n)


def _being_sent(n: int) -> str:
    return ngettext("%(n)s result is being sent", "%(n)s results are being sent", n)


# -- letters ---------------------------------------------------------------------------------------


def _waiting_row(story: Story) -> tuple[str, str]:
    n = story.n("waiting")
    if not n:
        return gettext("Waiting"), gettext("No results. None are lost.")
    words = ngettext("%(n)s result. None are lost.", "%(n)s results. None are lost.", n)
    return gettext("Waiting"), words


def _contact(story: Story) -> str:
    return gettext("You get this mail as a contact of “%(name)s”.", name=story.name)


def _why(story: Story) -> list[str]:
    if story.cause is None:
        return []
    facts = {
        **(story.facts.get("cause_facts") or {}),
        "words": gettext("its words are on the page linked below"),
    }
    return [story.fill(story.cause.sentence, facts)]


def _doing(story: Story) -> list[str]:
    minutes = 30 if story.cause is not None and story.cause.is_settings else 10
    return [
        ngettext("We try again every minute.", "We try again every %(n)s minutes.", minutes),
        gettext(
            "When your LMS answers, waiting results are sent at once, at the latest within "
            "24 hours."
        ),
    ]


def _steps(story: Story) -> list[str]:
    remedy = story.cause.remedy if story.cause is not None else ()
    steps = [story.fill(step) for step in remedy[:2]]
    if story.n("failures") or not steps:
        test = gettext("Test the connection on the page linked below.")
        steps.append(
            gettext("Then test the connection on the page linked below.") if steps else test
        )
    return steps


def _outage(story: Story, headline: str, why: Sequence[str] = ()) -> Letter:
    return Letter(
        tone="bad",
        headline=headline,
        rows=[
            (gettext("LMS configuration"), story.name),
            (gettext("Status"), status(story.facts.get("status"))),
            (gettext("Since"), story.at("since")),
            _waiting_row(story),
        ],
        why=[*why, *_why(story)],
        doing=_doing(story),
        steps=_steps(story),
        link=gettext("Open this configuration"),
        path=story.path,
        reason=_contact(story),
    )


def _error(story: Story) -> Letter:
    if story.is_cant_connect:
        headline = gettext("We can't reach your LMS.")
    else:
        headline = gettext("Your LMS answers, but doesn't accept the results.")
    news = []
    if story.facts.get("is_update"):
        news = [gettext("The reason has changed since our last mail, and now needs you.")]
    return _outage(story, headline, news)


def _still_down(story: Story) -> Letter:
    lasts = duration(story.n("duration_seconds"))
    if story.is_cant_connect:
        return _outage(
            story, gettext("We haven't reached your LMS for %(duration)s.", duration=lasts)
        )
    return _outage(
        story,
        gettext("Your LMS hasn't accepted any result for %(duration)s.", duration=lasts),
    )


def _recovered(story: Story) -> Letter:
    n = story.n("waiting")
    sent = (
        ngettext(
            "%(n)s result that waited is being sent now.",
            "%(n)s results that waited are being sent now.",
            n,
        )
        if n
        else gettext("Nothing is waiting.")
    )
    if story.facts.get("is_stable"):
        headline = gettext("The connection to your LMS is stable again.")
        was = (gettext("Interruptions"), gettext("None in the last 24 hours."))
    else:
        headline = gettext("Your LMS is connected again.")
        was = (
            gettext("Was down"),
            gettext(
                "%(since)s to %(until)s (%(duration)s)",
                since=story.at("since"),
                until=story.at("at"),
                duration=duration(story.n("duration_seconds")),
            ),
        )
    return Letter(
        tone="good",
        headline=headline,
        rows=[
            (gettext("LMS configuration"), story.name),
            (gettext("Status"), status("connected")),
            was,
            (gettext("Results"), sent),
        ],
        why=[gettext("No result was lost. There is nothing to do.")],
        link=gettext("Open this configuration"),
        path=story.path,
        reason=_contact(story),
    )


def _unstable(story: Story) -> Letter:
    count = ngettext(
        "%(n)s time since %(since)s, %(duration)s in all",
        "%(n)s times since %(since)s, %(duration)s in all",
        story.n("interruptions"),
        since=story.at("since"),
        duration=duration(story.n("down_seconds")),
    )
    return Letter(
        tone="warning",
        headline=gettext("The connection to your LMS comes and goes."),
        rows=[
            (gettext("LMS configuration"), story.name),
            (gettext("Status now"), status(story.facts.get("status"))),
            (gettext("Interruptions"), count),
            _waiting_row(story),
        ],
        why=_why(story),
        doing=[
            gettext("Whenever your LMS answers, waiting results are sent at once."),
            gettext("Until it is stable you get one summary a day instead of a mail each time."),
        ],
        steps=[
            gettext("Ask your LMS administrator what happened at these times."),
            gettext("The history of the configuration lists each interruption."),
        ],
        link=gettext("Open this configuration"),
        path=story.path,
        reason=_contact(story),
    )


def _results(story: Story) -> Letter:
    rows = [(gettext("LMS configuration"), story.name), (gettext("Since"), story.at("since"))]
    if story.n("rejected"):
        n = story.n("rejected")
        rows.append((gettext("Rejected by your LMS"), ngettext("%(n)s result", "%(n)s results", n)))
    if story.n("not_sent"):
        n = story.n("not_sent")
        rows.append((gettext("Not sent"), ngettext("%(n)s result", "%(n)s results", n)))
    why = []
    for _, code, n in story.facts.get("reasons") or ():
        cause = story.cause_of(code)
        if cause is not None:
            count = ngettext("%(n)s result", "%(n)s results", n)
            why.append(f"{count}: {story.fill(cause.sentence, {'platform': story.platform})}")
    return Letter(
        tone="warning",
        headline=gettext("Some results need your attention."),
        rows=rows,
        why=why,
        doing=[
            gettext("They are kept until you decide. All other results are sent as usual."),
            gettext("You get at most one such mail a day."),
        ],
        steps=[
            gettext("Open the deliveries: each one says what is wrong with it."),
            gettext("Correct that, then use Check again or Send again there."),
        ],
        link=gettext("Open these deliveries"),
        path=f"{story.path}/deliveries",
        reason=_contact(story),
    )


def _test(story: Story) -> Letter:
    by = clean(str(story.facts.get("by") or ""))
    asked = gettext("%(name)s asked for it.", name=by) if by else ""
    return Letter(
        tone="plain",
        headline=gettext("This is a test alert."),
        rows=[
            (gettext("LMS configuration"), story.name),
            (gettext("Status"), status(story.facts.get("status"))),
        ],
        why=[
            " ".join(filter(None, (gettext("Alerts about this configuration reach you."), asked)))
        ],
        doing=[
            gettext(
                "When your LMS can't be reached or doesn't accept results, we tell you here, and "
                "again when it is over."
            )
        ],
        link=gettext("Open this configuration"),
        path=story.path,
        reason=_contact(story),
    )


def _digest(story: Story) -> Letter:
    items = [
        (date_time(datetime.fromisoformat(at)), clean(told).removeprefix(f"[{story.platform}] "))
        for _, told, at in story.facts.get("items") or ()
    ]
    n = story.n("count")
    why = [
        gettext(
            "There is a limit of alerts a day, so that an outage doesn't flood you. These were not "
            "mailed one by one."
        )
    ]
    if n > len(items):
        why.append(ngettext("These are the last of %(n)s.", "These are the last of %(n)s.", n))
    return Letter(
        tone="warning",
        headline=ngettext(
            "There was %(n)s more alert for you.", "There were %(n)s more alerts for you.", n
        ),
        why=why,
        items=items,
        doing=[gettext("No result is lost: whatever can't be sent now is kept.")],
        link=gettext("Open LMS configurations"),
        path="/",
        reason=gettext("You get this mail as a contact of LMS configurations."),
    )


LETTERS: Mapping[Kind, Callable[[Story], Letter]] = {
    Kind.ERROR: _error,
    Kind.STILL_DOWN: _still_down,
    Kind.RECOVERED: _recovered,
    Kind.UNSTABLE: _unstable,
    Kind.RESULTS: _results,
    Kind.TEST: _test,
    Kind.DIGEST: _digest,
    Kind.OPERATOR: operator_letters.letter,
}
