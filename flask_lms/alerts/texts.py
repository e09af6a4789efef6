"""What a mail says: its subject and both bodies, from the facts of its row.

Facts are names and numbers, never an answer's words or a learner. All but :func:`compose` is pure:
facts in, sentences out, in the language in use.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .. import i18n
from ..app_state import AppState
from ..connectors.causes import Cause
from ..database.models import Mail, Status
from ..i18n import N_, date_time, gettext, ngettext
from . import unsubscribe
from .rules import Kind

#: Facts that quote an answer or name a participant.
_NEVER = {"words", "body", "email", "participant", "participant_id", "name"}
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_LONGEST = 200
_WIDTH = 76


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
            if "://" in value:
                try:
                    parts = urlsplit(value)
                except ValueError:
                    value = value.split("?")[0]
                else:
                    place = parts.netloc.rpartition("@")[2]
                    value = urlunsplit((parts.scheme, place, parts.path, "", ""))
            kept[name] = clean(value)
    return kept


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


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a mail's words are made from: the facts of its row, and the causes that they name."""

    row: Mapping[str, Any]
    platform: str = ""
    cause_of: Callable[[str], Cause | None] = lambda code: None
    support_link: Callable[[object, str | None], str | None] = lambda about, cause: None

    @property
    def name(self) -> str:
        return clean(str(self.row.get("name", "")))

    @property
    def status(self) -> str:
        """As on the pages."""
        return gettext(Status(self.row.get("status") or Status.CONNECTED).label)

    @property
    def path(self) -> str:
        return f"/{self.row['configuration_id']}"

    @property
    def contact(self) -> str:
        """Why a contact gets the mail."""
        return gettext("You get this mail as a contact of “%(name)s”.", name=self.name)

    def n(self, name: str) -> int:
        return int(self.row.get(name) or 0)

    def at(self, name: str) -> str:
        value = self.row.get(name)
        return date_time(datetime.fromisoformat(value)) if value else ""

    def span(self, name: str) -> str:
        return i18n.span(timedelta(seconds=self.n(name)), parts=2)

    @property
    def whole_span(self) -> str:
        """From when to when it was so, and for how long."""
        return gettext(
            "%(since)s to %(until)s (%(duration)s)",
            since=self.at("since"),
            until=self.at("at"),
            duration=self.span("duration_seconds"),
        )

    @property
    def waiting(self) -> tuple[str, str]:
        """The line that says how many results wait."""
        n = self.n("waiting")
        if not n:
            return gettext("Waiting"), gettext("No results. None are lost.")
        words = ngettext("%(n)s result. None are lost.", "%(n)s results. None are lost.", n)
        return gettext("Waiting"), words

    def of_cause(self, code: object, facts: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """A cause's sentence and remedies with its facts: they are filled here, nowhere else."""
        cause = self.cause_of(str(code or ""))
        if cause is None:
            return [], []
        known = {"platform": self.platform, **facts}
        # One line each, however hostile what filled it.
        lines = [cause.sentence_for(known), *cause.remedies_for(known)]
        sentence, *remedies = (" ".join(line.split()) for line in lines)
        return [sentence], remedies

    def why(self) -> tuple[list[str], list[str]]:
        """What is wrong with the destination, and what helps."""
        return self.of_cause(self.row.get("cause"), self.row.get("cause_facts") or {})


def subject(kind: Kind, facts: Mapping[str, Any], platform: str) -> str:
    """The subject in the language in use, one line: ``[platform] what: which – how many``."""
    told = Facts(row=facts)
    waiting, tail = told.n("waiting"), ""
    if kind is Kind.OPERATOR:
        title = gettext(_FAULTS.get(str(facts.get("cause")), _LOCAL).title)
        if facts.get("stage") == "over":
            what = gettext("Over: %(title)s", title=title)
        elif facts.get("stage") == "still":
            lasts = told.span("duration_seconds")
            what = gettext(
                "Operator alert: %(title)s – for %(duration)s", title=title, duration=lasts
            )
        else:
            what = gettext("Operator alert: %(title)s", title=title)
    elif kind is Kind.TEST:
        what = gettext("Test alert: %(name)s", name=told.name)
    elif kind is Kind.DIGEST:
        n = told.n("count")
        what = ngettext("%(n)s more alert of the last day", "%(n)s more alerts of the last day", n)
    else:
        if kind is Kind.RESULTS:
            n = told.n("rejected") + told.n("not_sent")
            what = ngettext("%(n)s result needs attention", "%(n)s results need attention", n)
        elif kind is Kind.UNSTABLE:
            what = gettext("Unstable")
            n = told.n("interruptions")
            tail = ngettext("%(n)s interruption in a day", "%(n)s interruptions in a day", n)
        elif kind is Kind.RECOVERED:
            what = gettext("Connected again")
            if facts.get("is_stable"):
                what = gettext("Stable again")
            if waiting:
                tail = ngettext(
                    "%(n)s result is being sent", "%(n)s results are being sent", waiting
                )
        else:
            what = told.status
            if kind is Kind.STILL_DOWN:
                lasts = told.span("duration_seconds")
                what = gettext("%(status)s for %(duration)s", status=what, duration=lasts)
            if waiting:
                tail = ngettext("%(n)s result waiting", "%(n)s results waiting", waiting)
        what = f"{what}: {told.name}" + (f" – {tail}" if tail else "")
    return clean(f"[{clean(platform)}] {what}")


@dataclass(frozen=True, kw_only=True)
class Body:
    """What a mail says, in the order in which it is read; both formats are filled with it.

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
    link: str
    path: str
    reason: str


def error(facts: Facts) -> Body:
    """The first mail of an outage: an LMS can't be reached, or doesn't accept results."""
    if facts.row.get("status") == "cant_connect":
        headline = gettext("We can't reach your LMS.")
    else:
        headline = gettext("Your LMS answers, but doesn't accept the results.")
    return _outage(facts, headline)


def still_down(facts: Facts) -> Body:
    """The outage goes on: after 24 hours, 72 hours, then weekly."""
    lasts = facts.span("duration_seconds")
    if facts.row.get("status") == "cant_connect":
        headline = gettext("We haven't reached your LMS for %(duration)s.", duration=lasts)
    else:
        headline = gettext("Your LMS hasn't accepted any result for %(duration)s.", duration=lasts)
    return _outage(facts, headline)


def _outage(facts: Facts, headline: str) -> Body:
    why, remedies = facts.why()
    if facts.row.get("is_update"):
        news = gettext("The reason has changed since our last mail, and now needs you.")
        why = [news, *why]
    cause = facts.cause_of(str(facts.row.get("cause") or ""))
    minutes = 30 if cause is not None and cause.is_settings else 10
    link = facts.support_link(facts.row["configuration_id"], facts.row.get("cause"))
    steps = remedies[: 1 if link else 2]
    if not steps:
        steps = [gettext("Test the connection on the page linked below.")]
    elif facts.n("failures"):
        steps.append(gettext("Then test the connection on the page linked below."))
    if link:
        steps.append(gettext("Contact %(platform)s: %(link)s", platform=facts.platform, link=link))
    return Body(
        tone="bad",
        headline=headline,
        rows=[
            (gettext("LMS configuration"), facts.name),
            (gettext("Status"), facts.status),
            (gettext("Since"), facts.at("since")),
            facts.waiting,
        ],
        why=why,
        doing=[
            ngettext("We try again every minute.", "We try again every %(n)s minutes.", minutes),
            gettext(
                "When your LMS answers, waiting results are sent at once, at the latest within "
                "24 hours."
            ),
        ],
        steps=steps,
        link=gettext("Open this configuration"),
        path=facts.path,
        reason=facts.contact,
    )


def recovered(facts: Facts) -> Body:
    """The outage is over, or an unstable connection is stable again."""
    n = facts.n("waiting")
    sent = gettext("Nothing is waiting.")
    if n:
        sent = ngettext(
            "%(n)s result that waited is being sent now.",
            "%(n)s results that waited are being sent now.",
            n,
        )
    if facts.row.get("is_stable"):
        headline = gettext("The connection to your LMS is stable again.")
        was = (gettext("Interruptions"), gettext("None in the last 24 hours."))
    else:
        headline = gettext("Your LMS is connected again.")
        was = (gettext("Was down"), facts.whole_span)
    return Body(
        tone="good",
        headline=headline,
        rows=[
            (gettext("LMS configuration"), facts.name),
            (gettext("Status"), gettext("Connected")),
            was,
            (gettext("Results"), sent),
        ],
        why=[gettext("No result was lost. There is nothing to do.")],
        link=gettext("Open this configuration"),
        path=facts.path,
        reason=facts.contact,
    )


def unstable(facts: Facts) -> Body:
    """The connection comes and goes: instead of the sixth change in a day, then once a day."""
    count = ngettext(
        "%(n)s time since %(since)s, %(duration)s in all",
        "%(n)s times since %(since)s, %(duration)s in all",
        facts.n("interruptions"),
        since=facts.at("since"),
        duration=facts.span("down_seconds"),
    )
    return Body(
        tone="warning",
        headline=gettext("The connection to your LMS comes and goes."),
        rows=[
            (gettext("LMS configuration"), facts.name),
            (gettext("Status now"), facts.status),
            (gettext("Interruptions"), count),
            facts.waiting,
        ],
        why=facts.why()[0],
        doing=[
            gettext("Whenever your LMS answers, waiting results are sent at once."),
            gettext("Until it is stable you get one summary a day instead of a mail each time."),
        ],
        steps=[
            gettext("Ask your LMS administrator what happened at these times."),
            gettext("The history of the configuration lists each interruption."),
        ],
        link=gettext("Open this configuration"),
        path=facts.path,
        reason=facts.contact,
    )


def results(facts: Facts) -> Body:
    """Results were rejected or not sent: at most once a day, counts only."""
    rows = [(gettext("LMS configuration"), facts.name), (gettext("Since"), facts.at("since"))]
    for name, label in (
        ("rejected", gettext("Rejected by your LMS")),
        ("not_sent", gettext("Not sent")),
    ):
        if n := facts.n(name):
            rows.append((label, ngettext("%(n)s result", "%(n)s results", n)))
    why = []
    for _, code, n in facts.row.get("reasons") or ():
        for sentence in facts.of_cause(code, {})[0]:
            count = ngettext("%(n)s result", "%(n)s results", n)
            why.append(f"{count}: {sentence}")
    return Body(
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
        path=f"{facts.path}/deliveries",
        reason=facts.contact,
    )


def test(facts: Facts) -> Body:
    """A test alert, asked for on the Alerts page."""
    why = gettext("Alerts about this configuration reach you.")
    if by := clean(str(facts.row.get("by") or "")):
        why += " " + gettext("%(name)s asked for it.", name=by)
    return Body(
        tone="plain",
        headline=gettext("This is a test alert."),
        rows=[
            (gettext("LMS configuration"), facts.name),
            (gettext("Status"), facts.status),
        ],
        why=[why],
        doing=[
            gettext(
                "When your LMS can't be reached or doesn't accept results, we tell you here, and "
                "again when it is over."
            )
        ],
        link=gettext("Open this configuration"),
        path=facts.path,
        reason=facts.contact,
    )


def digest(facts: Facts) -> Body:
    """Alerts that were over the day's quota."""
    items = [
        (date_time(datetime.fromisoformat(at)), clean(told).removeprefix(f"[{facts.platform}] "))
        for _, told, at in facts.row.get("items") or ()
    ]
    n = facts.n("count")
    why = [
        gettext(
            "There is a limit of alerts a day, so that an outage doesn't flood you. These were not "
            "mailed one by one."
        )
    ]
    if n > len(items):
        why.append(ngettext("These are the last of %(n)s.", "These are the last of %(n)s.", n))
    return Body(
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


def operator(facts: Facts) -> Body:
    """A fault of the installation: it began, lasts, is over, or could only be told afterwards."""
    fault = _FAULTS.get(str(facts.row.get("cause")), _LOCAL)
    stage = str(facts.row.get("stage"))
    title = gettext(fault.title)
    if stage in ("over", "past"):
        rows = [(gettext("When"), facts.whole_span)]
    else:
        rows = [(gettext("Since"), facts.at("since"))]
    counts = facts.row.get("cause_facts") or {}
    if counts.get("configurations"):
        rows.append((gettext("LMS configurations"), str(counts["configurations"])))
    if counts.get("waiting"):
        n = int(counts["waiting"])
        rows.append((gettext("Waiting"), ngettext("%(n)s result", "%(n)s results", n)))
    if fault is _LOCAL:
        rows.append((gettext("Cause"), str(facts.row.get("cause"))))
    if stage == "over":
        headline = gettext("This is over: %(title)s.", title=title)
        why, steps = gettext("There is nothing to do."), []
    else:
        headline = gettext("%(title)s.", title=title)
        why, steps = gettext(fault.meaning), [gettext(step) for step in fault.steps]
    return Body(
        tone={"over": "good", "past": "warning"}.get(stage, "bad"),
        headline=headline,
        rows=rows,
        why=[why],
        steps=steps,
        link=gettext("Open LMS configurations"),
        path="/",
        reason=gettext("You get this mail because your address is in LMS_OPERATOR_EMAILS."),
    )


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


_BODIES: Mapping[Kind, Callable[[Facts], Body]] = {
    Kind.ERROR: error,
    Kind.STILL_DOWN: still_down,
    Kind.RECOVERED: recovered,
    Kind.UNSTABLE: unstable,
    Kind.RESULTS: results,
    Kind.TEST: test,
    Kind.DIGEST: digest,
    Kind.OPERATOR: operator,
}


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A mail's words, ready to send."""

    subject: str
    text: str
    html: str


def compose(state: AppState, mail: Mail) -> Composed:
    """Fill the templates of a mail row: its kind's own where the host has one, else the layout.

    :raises jinja2.TemplateError: a host's own template is at fault.
    """
    type = str(mail.facts.get("type") or "")
    platform = clean(state.settings.platform_name)
    facts = Facts(
        row=mail.facts,
        platform=platform,
        cause_of=lambda code: state.registry.cause(type, code),
        support_link=state.settings.support_link,
    )
    with i18n.using(mail.language):
        body = _BODIES[Kind(mail.kind)](facts)
        stop_url = None
        if mail.configuration_id is not None:
            stop_url = unsubscribe.url(
                state, mail.configuration_id, mail.recipient, mail.created_at
            )
        context = {
            "mail": body,
            "subject": mail.subject,
            "language": i18n.language(),
            "platform": platform,
            "url": f"{state.settings.public_url}{state.settings.url_prefix}{body.path}",
            "stop_url": stop_url,
            "others": [clean(address) for address in mail.facts.get("others") or ()],
            "_": gettext,
            "wrap": wrap,
        }
        rendered = {}
        for format in ("txt", "html"):
            names = [f"lms/mail/{mail.kind}.{format}", f"lms/mail/layout.{format}"]
            # not flask.render_template: a host's context processors may need a request
            template = state.app.jinja_env.select_template(names)
            rendered[format] = template.render(context).strip() + "\n"
    return Composed(subject=mail.subject, text=rendered["txt"], html=rendered["html"])
