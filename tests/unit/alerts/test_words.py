"""Subjects of each kind, as an administrator reads them, and the lines of a mail."""

from __future__ import annotations

import pytest

from flask_lms.alerts.rules import Kind
from flask_lms.alerts.texts import Facts, error, subject, wrap
from flask_lms.connectors.causes import Cause

FACTS = {
    "name": "Corporate LMS", "status": "cant_connect", "waiting": 37, "duration_seconds": 260_000,
    "interruptions": 3, "rejected": 5, "not_sent": 7, "count": 4, "configuration_id": "x",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "more", "text"),
    [
        (Kind.ERROR, {}, "Can't Connect: Corporate LMS – 37 results waiting"),
        (Kind.ERROR, {"waiting": 1}, "Can't Connect: Corporate LMS – 1 result waiting"),
        (Kind.ERROR, {"waiting": 0}, "Can't Connect: Corporate LMS"),
        (
            Kind.ERROR,
            {"status": "server_error", "waiting": 12345},
            "Server Error: Corporate LMS – 12,345 results waiting",
        ),
        (Kind.STILL_DOWN, {}, "Can't Connect for 3 days: Corporate LMS – 37 results waiting"),
        (Kind.RECOVERED, {}, "Connected again: Corporate LMS – 37 results are being sent"),
        (Kind.RECOVERED, {"is_stable": True, "waiting": 0}, "Stable again: Corporate LMS"),
        (Kind.UNSTABLE, {}, "Unstable: Corporate LMS – 3 interruptions in a day"),
        (Kind.RESULTS, {}, "12 results need attention: Corporate LMS"),
        (Kind.TEST, {}, "Test alert: Corporate LMS"),
        (Kind.DIGEST, {}, "4 more alerts of the last day"),
        (
            Kind.OPERATOR,
            {"cause": "redis", "stage": "error"},
            "Operator alert: Redis does not answer",
        ),
        (Kind.OPERATOR, {"cause": "redis", "stage": "over"}, "Over: Redis does not answer"),
        (
            Kind.OPERATOR,
            {"cause": "dns", "stage": "still"},
            "Operator alert: No LMS can be reached from here – for 3 days",
        ),
    ],
)
def test_the_subject(kind, more, text):
    assert subject(kind, {**FACTS, **more}, "Harbor Training") == f"[Harbor Training] {text}"


@pytest.mark.parametrize(("is_settings", "minutes"), [(True, 30), (False, 10)])
def test_how_often_we_try_again_depends_on_the_cause(is_settings, minutes):
    cause = Cause(code="x", status=None, sentence="It says no.", is_settings=is_settings)
    body = error(Facts(row={**FACTS, "cause": "x"}, cause_of={"x": cause}.get))
    assert body.doing[0] == f"We try again every {minutes} minutes."
    assert body.why == ["It says no."]


def test_a_hostile_name_does_not_break_out_of_the_subject():
    hostile = {**FACTS, "name": "x\r\nBcc: all@example.org\r\n\r\n<b>"}
    text = subject(Kind.ERROR, hostile, "Harbor\nTraining")
    assert "\n" not in text
    assert "\r" not in text


def test_long_addresses_are_not_broken():
    address = "https://host.example/" + "x" * 200
    assert address in wrap(f"Open {address} now")
    assert max(map(len, wrap("word " * 100, "   ", "1. ").splitlines())) <= 76
