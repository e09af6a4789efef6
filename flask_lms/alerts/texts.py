"""What a mail may tell of a cause: names and numbers, never an answer's words or a learner."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .. import i18n
from ..app_state import AppState
from ..connectors.base import Cause
from ..connectors.registry import Registry
from ..database.models import Mail
from ..i18n import N_, date_time, gettext, ngettext
from . import unsubscribe
from .rules import Kind

#: Facts that quote an answer or name a participant.
_NEVER = {"words", "body", "email", "participant", "participant_id", "name"}
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_LONGEST = 200


def clean(text: str) -> str:
    """One line without control characters, at most 200 long."""
    text = _UNSEEN.sub(" ", text.encode("utf-8", "replace").decode()).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def plain(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """The facts of a cause as they go into a mail row.

    An address loses its user name, query and fragment: they may hold a secret.
    """
    kept: dict[str, Any] = {}
    for name, value in (facts or {}).items():
        if name in _NEVER or isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            kept[name] = value
        elif isinstance(value, str):
            kept[name] = clean(_without_secrets(value))
    return kept


def _without_secrets(text: str) -> str:
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return text.split("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


# -- What letters are made of: the facts of a mail row, and their common words. Pure.


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

    @property
    def cause_facts(self) -> dict[str, Any]:
        return {**(self.facts.get("cause_facts") or {}), "platform": self.platform}


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


# -- The words of mails to the operators of the installation.


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


def operator_subject(story: Story) -> str:
    """The subject without the platform's name before it."""
    title = gettext(_fault(story).title)
    stage = story.facts.get("stage")
    if stage == "over":
        return gettext("Over: %(title)s", title=title)
    if stage == "still":
        lasts = duration(story.n("duration_seconds"))
        return gettext("Operator alert: %(title)s – for %(duration)s", title=title, duration=lasts)
    return gettext("Operator alert: %(title)s", title=title)


def operator_letter(story: Story) -> Letter:
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


# -- The words of each kind of mail. Pure: facts in, sentences out, in the language in use.

# -- subjects --------------------------------------------------------------------------------------


def letter_subject(kind: Kind, facts: Mapping[str, Any]) -> str:
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
        return operator_subject(story)
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
    return [clean_sentence(story.cause.sentence_for(story.cause_facts))]


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
    remedies = story.cause.remedies_for(story.cause_facts) if story.cause is not None else []
    steps = [clean_sentence(step) for step in remedies[:2]]
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
            why.append(f"{count}: {cause.sentence_for({'platform': story.platform})}")
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
    Kind.OPERATOR: operator_letter,
}


# -- What a mail says: its subject and both bodies, from the facts of its row.

_WIDTH = 76


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A mail's words, ready to send."""

    subject: str
    text: str
    html: str


def subject(kind: Kind, facts: Mapping[str, Any], platform: str) -> str:
    """The subject in the language in use, one line: ``[platform] what: which – how many``."""
    return clean(f"[{clean(platform)}] {letter_subject(kind, facts)}")


def compose(state: AppState, mail: Mail) -> Composed:
    """Fill the templates of a mail row.

    :raises jinja2.TemplateError: a host's own template is at fault.
    """
    with i18n.using(mail.language):
        context = _context(state, mail)
        return Composed(
            subject=mail.subject,
            text=_render(state, f"{mail.kind}.txt", context).strip() + "\n",
            html=_render(state, f"{mail.kind}.html", context).strip() + "\n",
        )


def _render(state: AppState, name: str, context: Mapping[str, Any]) -> str:
    # not flask.render_template: a host's context processors may need a request
    return state.app.jinja_env.get_template(f"lms/mail/{name}").render(context)


def _context(state: AppState, mail: Mail) -> dict[str, Any]:
    letter = _letter(state.registry, mail, state.settings)
    return {
        "letter": letter,
        "subject": mail.subject,
        "language": i18n.language(),
        "platform": clean(state.settings.platform_name),
        "url": f"{state.settings.public_url}{state.settings.url_prefix}{letter.path}",
        "stop_url": (
            unsubscribe.url(state, mail.configuration_id, mail.recipient)
            if mail.configuration_id is not None
            else None
        ),
        "others": [clean(address) for address in mail.facts.get("others") or ()],
        "_": i18n.gettext,
        "wrap": wrap,
    }


def _letter(registry: Registry, mail: Mail, settings: Any) -> Letter:
    facts = dict(mail.facts)
    story = Story(
        facts=facts,
        platform=clean(settings.platform_name),
        cause=registry.cause(str(facts.get("type") or ""), facts.get("cause")),
        cause_of=lambda code: registry.cause(str(facts.get("type") or ""), code),
    )
    return LETTERS[Kind(mail.kind)](story)


def wrap(text: str, indent: str = "", first: str | None = None) -> str:
    """Lines of at most 76 characters; a word (an address) is never broken.

    :param indent: before each line.
    :param first: before the first one instead.
    """
    return "\n".join(
        textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=indent if first is None else first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
