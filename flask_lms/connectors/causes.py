"""Why something is wrong, for people: what every connector shares, and how a cause is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..database.models import Status
from ..i18n import N_, gettext

_FACT = re.compile(r"%\((\w+)\)s")
_CLAUSE = re.compile(r"\[([^\]|]*)\|?([^\]]*)\]")


def _told(message: str, facts: Mapping[str, Any]) -> str | None:
    """A message of a cause in the reader's language; None: it needs a fact that is missing."""
    known = {name: value for name, value in facts.items() if value not in (None, "")}
    if "words" in known:
        known["words"] = str(known["words"]).strip().rstrip(".")
    text = _CLAUSE.sub(
        lambda clause: clause[1] if {*_FACT.findall(clause[1])} <= known.keys() else clause[2],
        gettext(message),
    )
    if not {*_FACT.findall(text)} <= known.keys():
        return None
    return _FACT.sub(lambda fact: str(known[fact[1]]), text)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why something is wrong, for people.

    ``sentence`` and ``remedy`` are message ids with ``%(name)s`` of the facts. A clause in square
    brackets is left out when one of its facts is missing, or gives way to what stands after ``|``:
    ``[%(host)s|Your LMS] refuses connections[ on port %(port)s].``

    :param code: what ``Answer.cause`` and ``NotSendable.reason`` name; stored, never changes.
    :param status: what the configuration shows; None: it concerns deliveries only.
    :param sentence: what is wrong, one sentence.
    :param remedy: what to do, one to three sentences, each a step.
    :param is_settings: only a change at either end can mend it: shown and mailed at the first
        failure, and tried every 30 minutes.
    :param label: the same in a few words, for lists; default: the sentence.
    :param fields: names, or kinds such as ``url``, of the connector's fields that are likely
        wrong: they stand beside the cause, to be corrected there.
    :param is_local: may as well be the host's own network: when every destination fails so, the
        fault is the installation's.
    :param is_unidentified: nobody can be told who it is about; sent by itself once the participant
        is mapped.
    :param is_waiting: of ``Verdict.WAITS``: nothing is wrong, something must happen first; sent by
        itself once the connector says that it did (``Call.release``).
    """

    code: str
    status: Status | None
    sentence: str
    remedy: tuple[str, ...] = ()
    is_settings: bool = False
    is_local: bool = False
    label: str = ""
    fields: tuple[str, ...] = ()
    is_unidentified: bool = False
    is_waiting: bool = False

    def in_short(self) -> str:
        """What is wrong in a few words, in the reader's language."""
        return gettext(self.label) if self.label else self.sentence_for({}).rstrip(".")

    def sentence_for(self, facts: Mapping[str, Any]) -> str:
        """What is wrong, in the reader's language.

        :param facts: name → value; no others are told.
        """
        return _told(self.sentence, facts) or gettext("Reason: %(code)s.", code=self.code)

    def remedies_for(self, facts: Mapping[str, Any]) -> list[str]:
        """What to do, in the reader's language.

        :param facts: name → value; a step that lacks one of its facts is left out.
        """
        return [step for message in self.remedy if (step := _told(message, facts))]


def place(url: str) -> dict[str, Any]:
    """Host and port of a URL, as facts; of what is no URL: none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:  # somebody wrote it into the database past :meth:`Connector.clean`
        return {}
    return {"host": parts.hostname, "port": port} if parts.hostname else {}


_TRANSPORT = (
    Cause(
        code="dns",
        status=Status.CANT_CONNECT,
        sentence=N_("The name[ %(host)s] was not found."),
        remedy=(N_("Check the URL for a typing error."),),
        is_local=True,
        fields=("url",),
    ),
    Cause(
        code="refused",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "[%(host)s|Your LMS] refuses connections[ on port %(port)s]: it may be stopped."
        ),
        remedy=(N_("Ask your LMS administrator whether the LMS is running."),),
        fields=("url",),
    ),
    Cause(
        code="unreachable",
        status=Status.CANT_CONNECT,
        sentence=N_("There is no network route to [%(host)s|your LMS]."),
        remedy=(N_("Ask your LMS administrator whether the LMS is reachable from the internet."),),
        is_local=True,
    ),
    Cause(
        code="connect_timeout",
        status=Status.CANT_CONNECT,
        sentence=N_("[%(host)s|Your LMS] did not answer[ within %(seconds)s seconds| in time]."),
        remedy=(N_("Ask your LMS administrator whether it is running and lets us in."),),
        is_local=True,
    ),
    Cause(
        code="timeout",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "[%(host)s|Your LMS] took the connection but sent no answer"
            "[ within %(seconds)s seconds| in time]."
        ),
        remedy=(N_("Ask your LMS administrator whether it is overloaded."),),
    ),
    Cause(
        code="reset",
        status=Status.CANT_CONNECT,
        sentence=N_("[%(host)s|Your LMS] closed the connection without an answer."),
        remedy=(N_("Ask your LMS administrator whether it is running."),),
    ),
    Cause(
        code="tls_expired",
        status=Status.CANT_CONNECT,
        sentence=N_("The certificate of [%(host)s|your LMS] has expired."),
        remedy=(N_("Ask your LMS administrator to renew the certificate."),),
    ),
    Cause(
        code="tls_name",
        status=Status.CANT_CONNECT,
        sentence=N_("The certificate of [%(host)s|your LMS] is for another name."),
        remedy=(N_("Check the URL."), N_("Ask your LMS administrator for the right address.")),
        fields=("url",),
    ),
    Cause(
        code="tls_untrusted",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "The certificate of [%(host)s|your LMS] is not signed by an authority that we trust."
        ),
        remedy=(
            N_("Ask your LMS administrator to install a complete, publicly trusted certificate."),
            N_("If your organization has its own authority, enter its certificate under Advanced."),
        ),
    ),
    Cause(
        code="tls",
        status=Status.CANT_CONNECT,
        sentence=N_("No secure connection to [%(host)s|your LMS] could be made."),
        remedy=(N_("Ask your LMS administrator whether it offers TLS 1.2 or newer."),),
    ),
    Cause(
        code="blocked",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "[%(host)s is|This address leads to] a private network address, which this platform "
            "doesn't call."
        ),
        remedy=(
            N_("Check the URL."),
            N_(
                "If your LMS is inside a private network, ask your platform's operator to allow it."
            ),
        ),
        is_settings=True,
        fields=("url",),
    ),
    Cause(
        code="not_http",
        status=Status.CANT_CONNECT,
        sentence=N_("What answers at [%(host)s|this address] does not speak HTTP."),
        remedy=(N_("Check the URL and its port."),),
        fields=("url",),
    ),
    Cause(
        code="proxy",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "The outbound proxy of this platform doesn't let us through to [%(host)s|your LMS]."
        ),
        remedy=(N_("Ask your platform's operator to look at the proxy."),),
        is_local=True,
    ),
    Cause(
        code="secret_unreadable",
        status=Status.CANT_CONNECT,
        sentence=N_("The stored secret can't be read any more, so nothing is sent."),
        remedy=(
            N_("Enter the secret again."),
            N_("Or ask your platform's operator to restore the previous encryption key."),
        ),
        is_settings=True,
        fields=("secret",),
    ),
    Cause(
        code="unknown_type",
        status=Status.CANT_CONNECT,
        sentence=N_(
            "This platform has no connector for [LMS type “%(type)s”|this LMS type] any more."
        ),
        remedy=(N_("Ask your platform's operator to install it again."),),
        is_settings=True,
    ),
    Cause(
        code="interrupted",
        status=None,
        sentence=N_(
            "A worker of this platform stopped in the middle of a request that may have carried it."
        ),
        remedy=(N_("There is nothing to do: sending goes on by itself."),),
    ),
    Cause(
        code="not_verified",
        status=None,
        sentence=N_(
            "Not verified: your LMS says that it has this result, but our key may not read it."
        ),
        remedy=(N_("Ask your LMS administrator to let the key read statements."),),
        label=N_("Not verified"),
    ),
    Cause(
        code="may_not_read",
        status=None,
        sentence=N_("Our key may not read what your LMS has."),
        remedy=(
            N_("Ask your LMS administrator for a key that may read statements, and enter it here."),
        ),
        is_settings=True,
    ),
    Cause(
        code="connector_failed",
        status=Status.CANT_CONNECT,
        sentence=N_("This platform's connector for [LMS type “%(type)s”|this LMS type] failed."),
        remedy=(N_("Ask your platform's operator: the worker's log tells what happened."),),
    ),
    Cause(
        code="recording",
        status=None,
        sentence=N_("This result is being recorded a second time at this moment."),
        remedy=(N_("There is nothing to do: within seconds it is sent, if it still has to be."),),
        label=N_("Being recorded"),
    ),
)

#: Causes that every connector shares: what happens before an LMS answers, or before it is asked.
TRANSPORT_CAUSES: Mapping[str, Cause] = MappingProxyType(
    {cause.code: cause for cause in _TRANSPORT}
)
