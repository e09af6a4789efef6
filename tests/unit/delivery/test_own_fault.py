"""Whether a local fault is the installation's own."""

from __future__ import annotations

import pytest

from flask_lms.delivery.decide import fails_alike


@pytest.mark.parametrize(
    ("evidence", "is_ours"),
    [
        ("a b c", True),
        ("a b c d c b a", True),
        ("a b", False),  # two may share a fault of their own
        ("a b a b a b", False),
        ("a b c! d", False),  # one failed with something else: it was reached
        ("a b c d+", False),  # one answered
        ("", False),
    ],
)
def test_it_is_ours_when_three_destinations_fail_alike_and_none_does_otherwise(
    evidence: str, is_ours: bool
) -> None:
    causes = {"": "dns", "!": "refused", "+": None}
    found = [(word[0], causes[word[1:]], True) for word in evidence.split()]
    assert fails_alike(iter(found), "dns") is is_ours
