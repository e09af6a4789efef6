"""The threat model names tests that exist, and says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from flask_lms.settings import Settings
from flask_lms.transport import MOST_BODY_BYTES, MOST_HEADER_BYTES
from flask_lms.transport.policy import BAD_PORTS, METADATA

from ..address_cases import BLOCKED

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "SECURITY.md").read_text()


def test_every_named_file_exists() -> None:
    named = re.findall(r"`((?:tests|flask_lms)/[^`]+)`", TEXT)
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_boundary_has_a_test_that_holds_it() -> None:
    sections = re.split(r"^## \d+\. ", TEXT, flags=re.M)[1:]
    assert len(sections) == 9
    assert all("Held by `tests/" in section for section in sections)


def test_every_security_test_is_named() -> None:
    folders = ("integration/security", "engine/security", "pages/security")
    files = {path for folder in folders for path in (ROOT / "tests" / folder).glob("test_*.py")}
    assert len(files) >= 6
    assert [str(p) for p in files if str(p.relative_to(ROOT)) not in TEXT] == []


def test_the_figures_are_those_of_the_code() -> None:
    settings = Settings()
    assert (
        settings.connect_timeout_seconds,
        settings.read_timeout_seconds,
        settings.total_timeout_seconds,
    ) == (5, 60, 75)
    assert (MOST_HEADER_BYTES, MOST_BODY_BYTES) == (64_000, 16_384)
    assert len(BLOCKED) > 100
    assert {22, 25, 6379} <= BAD_PORTS
    assert "169.254.0.0/16" in map(str, METADATA)
