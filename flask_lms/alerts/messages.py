"""What a mail says: its subject and both bodies, from the facts of its row.

The words are made here, once, so that the plain and the HTML part say the same; the templates
``lms/mail/<kind>.txt`` and ``.html`` give them their form, and a host may replace each.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import i18n
from ..connectors import Registry
from ..models import Mail
from ..state import State
from . import mute
from .facts import clean
from .letters import LETTERS
from .letters import subject as subject_of
from .rules import Kind
from .wording import Letter, Story

_WIDTH = 76


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A mail's words, ready to send."""

    subject: str
    text: str
    html: str


def subject(kind: Kind, facts: Mapping[str, Any], platform: str) -> str:
    """The subject in the language in use, one line: ``[platform] what: which – how many``."""
    return clean(f"[{clean(platform)}] {subject_of(kind, facts)}")


def compose(state: State, mail: Mail) -> Composed:
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


def _render(state: State, name: str, context: Mapping[str, Any]) -> str:
    # not flask.render_template: a host's context processors may need a request
    return state.app.jinja_env.get_template(f"lms/mail/{name}").render(context)


def _context(state: State, mail: Mail) -> dict[str, Any]:
    letter = _letter(state.registry, mail, state.settings)
    return {
        "letter": letter,
        "subject": mail.subject,
        "language": i18n.language(),
        "platform": clean(state.settings.platform_name),
        "url": f"{state.settings.public_url}{state.settings.url_prefix}{letter.path}",
        "stop_url": (
            mute.url(state, mail.configuration_id, mail.recipient)
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
