"""The LMS type xAPI: results as statements to a Learning Record Store (xAPI 1.0.3 and 2.0.0)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from ...i18n import N_
from ..base import Connector
from ..fields import Cleaned
from . import actor, catalogue, client, fields, probe, reading, sign_in, statement
from .causes import CAUSES
from .fields import FIELDS


class XapiConnector(Connector):
    """For every LMS with an LRS.

    ``fields`` takes what an administrator enters, ``statement`` and ``actor`` make the bytes,
    ``client`` carries them, ``answers`` reads what comes back, ``causes`` says it in words,
    ``probe`` tests a connection, ``reading`` looks what the LMS has.
    """

    type = "xapi"
    label = N_("xAPI")
    description = N_(
        "For every LMS or Learning Record Store that takes xAPI statements. "
        "You need its xAPI URL, key and secret."
    )
    fields = FIELDS
    causes = CAUSES

    build = staticmethod(statement.build)
    activity_of = staticmethod(statement.activity_of)
    catalogue = staticmethod(catalogue.tincan)
    meaning = staticmethod(statement.meaning)
    changes = staticmethod(statement.changes)
    send = staticmethod(client.send)
    compare = staticmethod(client.compare)
    reader = staticmethod(reading.XapiReader)
    test = staticmethod(probe.check)
    has_sample = True
    send_sample = staticmethod(probe.send_sample)

    def profile(self) -> str:
        return (resources.files(__package__) / "profile.json").read_text("utf-8")

    def signs_in_with(self, settings: Mapping[str, Any]) -> str:
        return sign_in.words(settings)

    def refusal_facts(self, text: str) -> Mapping[str, Any]:
        return {"shape": actor.address_shape(text)}

    def fingerprint(self, settings: Mapping[str, Any]) -> str:
        who = settings.get("client_id") or settings["key"] or settings.get("auth")
        both = json.dumps([settings["url"], who])
        return hashlib.sha256(both.encode()).hexdigest()

    def clean(self, values: Mapping[str, Any], *, allow_http: bool, has_secrets: bool) -> Cleaned:
        cleaned = super().clean(values, allow_http=allow_http, has_secrets=has_secrets)
        fields.check_headers(cleaned.settings)
        return cleaned

    def limits(self, settings: Mapping[str, Any]) -> tuple[int | None, int | None]:
        return (1 if settings["one_by_one"] else settings["batch_statements"]), None

    def requests_at_once(self, settings: Mapping[str, Any]) -> int | None:
        return 1 if settings["one_by_one"] else settings.get("requests_at_once")
