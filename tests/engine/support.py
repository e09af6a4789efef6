"""LMSs with a will of their own, and ways to look at what became of deliveries."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from flask_lms.database.models import Configuration
from flask_lms.delivery import lease
from flask_lms.delivery.deliver import Deliverer, DeliverReport
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.host import Host, result


class PickyLRS(FakeLRS):
    """An LRS that refuses some statements, all or nothing, and may not say which.

    :ivar refuses: its words about a statement, or None when it likes it.
    :ivar most: more statements, or more bytes, than this in a request are too many (413).
    """

    refuses: Callable[[Mapping[str, Any]], str | None] = staticmethod(lambda statement: None)
    most: int | None = None
    most_bytes: int | None = None

    def _store(self, sent: list[Any]) -> FakeAnswer:
        if self.most is not None and len(sent) > self.most:
            return FakeAnswer(413, {"Content-Type": "text/plain"}, b"Request Entity Too Large")
        if self.most_bytes is not None and len(json.dumps(sent)) > self.most_bytes:
            return FakeAnswer(413, {"Content-Type": "text/plain"}, b"Request Entity Too Large")
        for statement in sent:
            words = self.refuses(statement)
            if words:
                body = json.dumps({"error": words}).encode()
                headers = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}
                return FakeAnswer(400, headers, body)
        return super()._store(sent)


def record(host: Host, *ids: str, **changes: Any) -> None:
    """Record one result for each id."""
    host.lms.record_many([result(id, **changes) for id in ids])


def drain(
    host: Host, configuration: Configuration | uuid.UUID, chance: float = 0.5
) -> DeliverReport:
    """One drain, with chance taken out (0.5: no jitter)."""
    id = configuration if isinstance(configuration, uuid.UUID) else configuration.id
    return Deliverer(host.state, chance=lambda: chance).deliver(id)


def drain_due(host: Host) -> None:
    """What a tick would set going."""
    session = host.db.session
    ids = lease.due(session(), host.state.clock.now(session()))
    session.rollback()
    for id in ids:
        drain(host, id)


def states(host: Host) -> Counter[str]:
    """How many deliveries are in each state."""
    return Counter(delivery.state.value for delivery in host.deliveries())


def health(host: Host, configuration: Configuration) -> Any:
    """The configuration's health as stored now."""
    return host.lms.configurations.get(configuration.id).health


def assert_everything_arrived(host: Host, lrs: FakeLRS) -> None:
    """Read every id back from the receiving end: none is missing."""
    sent = {str(delivery.statement_id) for delivery in host.deliveries()}
    stored = {statement["id"] for statement in lrs.statements}
    assert sent - stored == set()
    assert states(host) == {"delivered": len(sent)}
