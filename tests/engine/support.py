"""An LMS with a will of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from flask_lms.testing import FakeAnswer, FakeLRS


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
