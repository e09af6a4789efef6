"""The demo's LMS: a real HTTP server that stores statements, with switches for what goes wrong."""

from __future__ import annotations

from typing import Any, ClassVar

from flask_lms.testing import FakeAnswer, FakeLRS


class DemoLMS(FakeLRS):
    """A :class:`FakeLRS` with a mode that can be named in a form."""

    MODES: ClassVar[dict[str, str]] = {
        "answers": "Works",
        "refuses": "Refuses connections",
        "401": "Refuses the key",
        "500": "Has an internal error",
        "page": "Shows a web page",
        "slow": "Is slow",
    }
    _ANSWERS: ClassVar[dict[str, FakeAnswer]] = {
        "401": FakeAnswer(401, {"Content-Type": "text/plain"}, b"This key is not known here."),
        "500": FakeAnswer(500, {"Content-Type": "text/plain"}, b"The disk is full."),
        "page": FakeAnswer(200, {"Content-Type": "text/html"}, b"<h1>Down for maintenance</h1>"),
    }

    def __init__(self, port: int) -> None:
        super().__init__(key="harbor", secret="let-me-in", port=port)
        self.mode = "answers"

    @property
    def count(self) -> int:
        """How many statements it has stored."""
        return len(self.statements)

    def newest(self, most: int) -> list[dict[str, Any]]:
        return self.statements[: -most - 1 : -1]

    def switch(self, mode: str) -> None:
        """Behave so from now on.

        :raises ValueError: there is no such mode.
        """
        if mode not in self.MODES:
            raise ValueError(mode)
        self.mode = mode
        self.answer_always(self._ANSWERS.get(mode))
        self.delay_seconds = 3.0 if mode == "slow" else 0.0
        if mode == "refuses":
            self.refuse()
        else:
            self.accept()

    def clear(self) -> None:
        """Forget what was received; the mode stays."""
        self.reset()
        self.switch(self.mode)
