"""The words of mails to the operators of the installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..i18n import gettext, ngettext
from ..words import N_
from .wording import Letter, Story, duration


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """What is wrong, what it means and what to do (message ids)."""

    title: str
    meaning: str
    steps: tuple[str, ...]


_FAULTS: Mapping[str, _Fault] = {
    "no_worker": _Fault(
        title=N_("No worker was running"),
        meaning=N_("Results waited meanwhile. They are being sent now; none are lost."),
        steps=(
            N_("Look in the log for why “flask lms worker” stopped."),
            N_("Run it under a service manager that starts it again."),
        ),
    ),
    "redis": _Fault(
        title=N_("Redis does not answer"),
        meaning=N_(
            "Results are sent all the same, a few seconds later: workers look into the database."
        ),
        steps=(
            N_("Look whether the server at LMS_REDIS_URL is running and reachable."),
            N_("Run “flask lms check” on a host with workers."),
        ),
    ),
    "secret_unreadable": _Fault(
        title=N_("Stored secrets can't be read"),
        meaning=N_("Nothing is sent for the configurations concerned. Their results wait."),
        steps=(
            N_(
                "Put the previous key back into LMS_ENCRYPTION_KEYS (or SECRET_KEY_FALLBACKS), "
                "after the new one."
            ),
            N_("Then run “flask lms rekey”."),
        ),
    ),
    "mail": _Fault(
        title=N_("The mail server took no mails"),
        meaning=N_("Alerts were late. Results were sent all the while."),
        steps=(N_("Look into the log for what the mail server said."),),
    ),
}
_LOCAL = _Fault(
    title=N_("No LMS can be reached from here"),
    meaning=N_(
        "All destinations fail alike, so the fault is on our side. Results wait; none are lost, "
        "and no customer was told."
    ),
    steps=(
        N_("Look at this platform's DNS, proxy and outbound network."),
        N_("Run “flask lms check” on a host with workers."),
    ),
)


def _fault(story: Story) -> _Fault:
    return _FAULTS.get(str(story.facts.get("cause")), _LOCAL)


def subject(story: Story) -> str:
    """The subject without the platform's name before it."""
    title = gettext(_fault(story).title)
    stage = story.facts.get("stage")
    if stage == "over":
        return gettext("Over: %(title)s", title=title)
    if stage == "still":
        lasts = duration(story.n("duration_seconds"))
        return gettext("Operator alert: %(title)s – for %(duration)s", title=title, duration=lasts)
    return gettext("Operator alert: %(title)s", title=title)


def letter(story: Story) -> Letter:
    """A fault of the installation: it began, lasts, is over, or could only be told afterwards."""
    fault = _fault(story)
    stage = story.facts.get("stage")
    is_over = stage in ("over", "past")
    rows = [(gettext("Since"), story.at("since"))]
    if is_over:
        lasted = duration(story.n("duration_seconds"))
        span = gettext(
            "%(since)s to %(until)s (%(duration)s)",
            since=story.at("since"),
            until=story.at("at"),
            duration=lasted,
        )
        rows = [(gettext("When"), span)]
    facts = story.facts.get("cause_facts") or {}
    if facts.get("configurations"):
        rows.append((gettext("LMS configurations"), str(facts["configurations"])))
    if facts.get("waiting"):
        n = int(facts["waiting"])
        rows.append((gettext("Waiting"), ngettext("%(n)s result", "%(n)s results", n)))
    if fault is _LOCAL:
        rows.append((gettext("Cause"), str(story.facts.get("cause"))))
    title = gettext(fault.title)
    if stage == "over":
        headline = gettext("This is over: %(title)s.", title=title)
        why = [gettext("There is nothing to do.")]
    else:
        headline, why = gettext("%(title)s.", title=title), [gettext(fault.meaning)]
    return Letter(
        tone={"over": "good", "past": "warning"}.get(str(stage), "bad"),
        headline=headline,
        rows=rows,
        why=why,
        steps=[] if stage == "over" else [gettext(step) for step in fault.steps],
        link=gettext("Open LMS configurations"),
        path="/",
        reason=gettext("You get this mail because your address is in LMS_OPERATOR_EMAILS."),
    )
