"""Who did it: the participant as an xAPI Agent with exactly one identifier (Data 2.4.2.3)."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ...checks import mail_address
from ...values import Participant


class Unidentified(ValueError):
    """The participant can't be named.

    :param reason: a code of ``causes``.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def agent(
    participant: Participant, *, identify: str, send_name: bool, home_page: str
) -> dict[str, Any]:
    """The Agent.

    :param identify: ``mbox``, ``mbox_sha1sum`` or ``account``; one kind for a configuration, as
        an LRS takes two kinds for two people.
    :param home_page: of accounts for which the host named no other system.
    :raises Unidentified: there is no usable e-mail address.
    """
    actor: dict[str, Any] = {"objectType": "Agent"}
    if identify == "account":
        actor["account"] = {
            "homePage": participant.account_home_page or home_page,
            "name": participant.account_name or participant.id,
        }
    else:
        mbox = f"mailto:{_address(participant)}"
        if identify == "mbox_sha1sum":
            # Data 2.4.2.3: of the whole IRI. A name beside it would undo the hash.
            actor["mbox_sha1sum"] = hashlib.sha1(mbox.encode(), usedforsecurity=False).hexdigest()
            return actor
        actor["mbox"] = mbox
    if send_name and participant.name:
        actor["name"] = participant.name
    return actor


def blames_address(text: str, words: str | None) -> bool:
    """Whether an LRS that refused a statement says that its actor's address is to blame.

    Real ones differ in what they take: some refuse ``!`` in the local part, some ``.local``.
    """
    said = words or ""
    is_named = re.search(r"\bmbox\b|\bmailto:|\bvalid e-?mail address\b", said)
    # Who names other parts too quotes the statement, or blames something else.
    names_others = re.search(r"\b(verb|object|result|context|timestamp)\b", said)
    return bool(is_named and not names_others and address_shape(text))


def address_shape(text: str) -> str | None:
    """The form of a statement's address without the person: ``x!x@x.local``; None: it has none."""
    mbox = str(json.loads(text).get("actor", {}).get("mbox", ""))
    local, at, domain = mbox.removeprefix("mailto:").rpartition("@")
    name, dot, last = domain.rpartition(".")
    return re.sub("[A-Za-z0-9]+", "x", f"{local}{at}{name}") + dot + last if at else None


def _address(participant: Participant) -> str:
    if participant.email:
        address = mail_address(participant.email)
        if address is None:
            raise Unidentified("bad_email")
        return address
    address = mail_address(participant.id)
    if address is None:
        raise Unidentified("account_only" if participant.account_name else "no_email")
    return address
