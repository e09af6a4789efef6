"""The LMS type webhook: each result as a signed message to an address of the customer's, as
Standard Webhooks 1.0.0 says (https://www.standardwebhooks.com): for automation services, and for
receivers of ten lines.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets as chance
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

from ...encryption import Secret
from ...i18n import N_, Words
from ...transport import Transport
from ...transport.faults import Unreachable
from ...values import Objective, ObjectiveResult, Participant, to_json
from ..base import Answer, BuildContext, Built, Connector, Statement, Verdict
from ..fields import Field, GeneratedSecret, valid
from ..replies import read_reply, read_unreachable, said
from ..stages import Stage, StageState, TestReport
from .causes import CAUSES

_IDS = uuid.UUID("5d1ad2e2-7d5b-5e0b-8d6c-0b2c1f6a4f0e")  # never changes
#: What of a result is nobody's but the host's.
_LEFT_OUT = ("organization_id", "session_id", "extensions")


def signature(id: str, at: datetime, body: bytes, keys: Sequence[Secret]) -> dict[str, str]:
    """The headers that prove who sends, with one signature for each key.

    :param keys: ``whsec_…``; while one replaces another, both.
    """
    sent_at = str(int(at.timestamp()))
    signed = f"{id}.{sent_at}.".encode() + body
    of_each = [
        hmac.digest(base64.b64decode(key.reveal().removeprefix("whsec_")), signed, "sha256")
        for key in keys
    ]
    return {
        "webhook-id": id,
        "webhook-timestamp": sent_at,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in of_each),
    }


class WebhookConnector(Connector):
    """One message a result; any 2xx is delivered."""

    type = "webhook"
    label = N_("Webhook")
    description = N_(
        "For Zapier, Make, Power Automate, Workato or your own software: each result is posted "
        "to an address of yours, signed. You need that address."
    )
    fields = (
        Field(
            name="url",
            label=N_("Webhook URL"),
            kind="url",
            hint=N_("The address that your automation service shows for a webhook."),
            required=N_("Enter the webhook URL."),
        ),
    )
    generated = (
        GeneratedSecret(
            name="signing",
            label=N_("Signing secret"),
            hint=N_(
                "Enter it in your own software to check that a message is from this platform. "
                "Automation services work without it."
            ),
            make=lambda: "whsec_" + base64.b64encode(chance.token_bytes(32)).decode(),
        ),
    )
    causes = CAUSES

    def signs_in_with(self, settings: Mapping[str, Any]) -> str:
        return Words("A signature of each message")

    def build(
        self, result: ObjectiveResult, settings: Mapping[str, Any], context: BuildContext
    ) -> Built:
        id = uuid.uuid5(_IDS, json.dumps([result.organization_id, result.id, result.revision]))
        assert isinstance(result.objective, Objective)
        assert isinstance(result.participant, Participant)
        data = {name: one for name, one in to_json(result).items() if name not in _LEFT_OUT}
        if context.activity_id:
            data["objective"]["activity_id"] = context.activity_id
        kind = "result.corrected" if result.revision else "result.recorded"
        body = {"type": kind, "timestamp": data["finished_at"], "data": data}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return Built(statements=[Statement(id=id, kind="result", text=text)])

    def send(
        self,
        statements: Sequence[Statement],
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        transport: Transport,
    ) -> Answer:
        return self._post(str(statements[0].id), statements[0].text, settings, secrets, transport)

    def test(
        self, settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
    ) -> Iterator[Stage | TestReport]:
        """Opens a connection, then posts a message of type ``ping``, which holds no result."""
        stages: list[Stage] = []
        for step in super().test(settings, secrets, transport):
            if isinstance(step, Stage):
                stages.append(step)
                yield step
            elif not step.is_connected:
                yield step
                return
        ping = {"type": "ping", "timestamp": transport.now().isoformat(), "data": {}}
        answer = self._post(f"ping-{uuid.uuid4()}", json.dumps(ping), settings, secrets, transport)
        state = StageState.OK if answer.verdict is Verdict.ACCEPTED else StageState.FAILED
        stage = Stage(name=N_("Message"), state=state, http_status=answer.http_status)
        yield stage
        yield TestReport(stages=[*stages, stage], cause=answer.cause, facts=answer.facts)

    def _post(
        self,
        id: str,
        text: str,
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        transport: Transport,
    ) -> Answer:
        url, now, body = settings["url"], transport.now(), text.encode()
        signed = signature(id, now, body, valid(secrets, "signing", now))
        headers = {"Content-Type": "application/json", "User-Agent": "Flask-LMS", **signed}
        try:
            reply = transport.request("POST", url, headers=headers, body=body)
        except Unreachable as error:
            return read_unreachable(error, url)
        return read_reply(reply, url, said(reply, {}))  # no secret is ever sent

    def schema(self) -> str:
        return (resources.files(__package__) / "schema.json").read_text("utf-8")
