"""The connection test against a real server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_lms.connectors.base import Answer, Built, Connector, Verdict
from flask_lms.connectors.causes import TRANSPORT_CAUSES
from flask_lms.connectors.fields import Field
from flask_lms.connectors.stages import Stage, StageState, TestReport
from flask_lms.connectors.xapi.causes import CAUSES
from flask_lms.transport import Transport
from tests.transport_support import transport as make_transport
from tests.xapi_support import SECRET, Script, ScriptedLRS, connector, scripted_lrs
from tests.xapi_support import settings as make_settings

LRS = {"X-Experience-API-Version": "1.0.3"}
ABOUT = ("GET", "/xapi/about")
POST = ("POST", "/xapi/statements")
DESCRIBES_ITSELF = Script(body=b'{"version": ["1.0.3", "1.0.2"]}', headers=LRS)
OK, FAILED, SKIPPED = StageState.OK, StageState.FAILED, StageState.SKIPPED


@pytest.fixture
def lrs() -> Iterator[ScriptedLRS]:
    with scripted_lrs() as server:
        server.by_request[ABOUT] = DESCRIBES_ITSELF
        server.by_request[POST] = Script(body=b"[]", headers=LRS)
        yield server


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = make_transport()
    yield made
    made.close()


def run(url: str, transport: Transport, **values: Any) -> tuple[dict[str, Stage], TestReport]:
    settings = make_settings(url=url, **values)
    *stages, report = connector.test(settings, {"secret": SECRET}, transport)
    assert isinstance(report, TestReport)
    assert list(report.stages) == stages
    return {stage.name: stage for stage in report.stages}, report


def test_a_good_connection_passes_every_stage_and_stores_nothing(
    lrs: ScriptedLRS, transport: Transport
) -> None:
    stages, report = run(lrs.url, transport)
    assert report.is_connected
    assert report.words == "Connected. Nothing was stored in your LMS."
    states = {name: stage.state for name, stage in stages.items()}
    assert states == {
        "Address": OK,
        "Connection": OK,
        "Encryption": SKIPPED,
        "xAPI service": OK,
        "Key and secret": OK,
    }
    assert stages["Encryption"].words == "This address is not encrypted."
    assert stages["xAPI service"].words == "It offers xAPI 1.0.3, 1.0.2."
    assert [(item.method, item.path) for item in lrs.asked] == [ABOUT, POST]
    assert lrs.asked[1].body == b"[]"


def test_a_name_is_looked_up(lrs: ScriptedLRS, transport: Transport) -> None:
    stages, report = run(lrs.url.replace("127.0.0.1", "localhost"), transport)
    assert report.is_connected
    assert stages["Name look-up"].state is OK


@pytest.mark.parametrize("status", [204, 400, 409, 413, 422])
def test_an_lrs_that_let_us_in_is_connected_whatever_it_says_of_an_empty_list(
    lrs: ScriptedLRS, transport: Transport, status: int
) -> None:
    lrs.by_request[POST] = Script(status=status, body=b'{"message": "no statements"}')
    assert run(lrs.url, transport)[1].is_connected


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (Script(status=401, body=b"who?"), "credentials"),
        (Script(status=403), "credentials"),
        (Script(status=404), "address"),
        (Script(status=405), "address"),
        (Script(status=410), "address"),
        (Script(status=301, headers={"Location": "https://x.example/y"}), "redirect"),
        (Script(body=b"<!doctype html><p>Hello"), "not_lrs"),
        (Script(status=400, body=b"<html>plain HTTP to HTTPS port"), "not_lrs"),
        (Script(body=b'{"ok": true}'), "not_lrs"),
        (Script(body=b""), "not_lrs"),
        (Script(status=400, body=b"X-Experience-API-Version not supported"), "settings"),
        (Script(status=415), "protocol"),
        (Script(status=429), "rate"),
        (Script(status=500), "internal"),
        (Script(status=503, headers={"Retry-After": "9"}), "rate"),
        (Script(hangs_up=True), "reset"),
    ],
)
def test_each_fault_has_its_cause(
    lrs: ScriptedLRS, transport: Transport, script: Script, cause: str
) -> None:
    lrs.by_request[POST] = script
    stages, report = run(lrs.url, transport)
    assert report.cause == cause
    assert stages["Key and secret"].state is FAILED
    known = connector.causes.get(cause)
    if known is not None:
        assert "…" not in known.sentence_for(report.facts)


def test_an_empty_list_without_the_version_header_counts_only_for_a_known_lrs(
    lrs: ScriptedLRS, transport: Transport
) -> None:
    lrs.by_request[POST] = Script(body=b"[ ]")
    assert run(lrs.url, transport)[1].is_connected
    lrs.by_request[ABOUT] = Script(status=404)
    stages, report = run(lrs.url, transport)
    assert report.cause == "not_lrs"
    assert stages["xAPI service"].state is SKIPPED


@pytest.mark.parametrize(
    "about",
    [
        Script(status=404), Script(status=401), Script(status=500), Script(hangs_up=True),
        Script(body=b"<html>"), Script(body=b"[]"), Script(body=b'{"version": "1.0.3"}'),
        Script(body=b"[" * 9000),
    ],
)  # fmt: skip
def test_an_lms_that_does_not_describe_itself_is_no_fault(
    lrs: ScriptedLRS, transport: Transport, about: Script
) -> None:
    lrs.by_request[ABOUT] = about
    stages, report = run(lrs.url, transport)
    assert report.is_connected
    assert stages["xAPI service"].state is SKIPPED


def test_a_version_that_is_not_offered_is_hinted_at(lrs: ScriptedLRS, transport: Transport) -> None:
    stages, report = run(lrs.url, transport, version="2.0.0")
    assert report.is_connected
    assert "not 2.0.0" in (stages["xAPI service"].words or "")


def test_after_the_stage_that_fails_the_others_are_skipped(transport: Transport) -> None:
    with scripted_lrs() as lrs:
        pass
    stages, report = run(lrs.url, transport)
    assert report.cause == "refused"
    assert [(name, stage.state) for name, stage in stages.items()] == [
        ("Address", OK),
        ("Connection", FAILED),
        ("Encryption", SKIPPED),
        ("xAPI service", SKIPPED),
        ("Key and secret", SKIPPED),
    ]


def test_a_blocked_address_fails_at_its_own_stage() -> None:
    stages, report = run("https://10.0.0.1/xapi", make_transport(allowed_networks=()))
    assert report.cause == "blocked"
    assert stages["Address"].state is FAILED


def test_a_server_without_tls_fails_at_encryption(lrs: ScriptedLRS, transport: Transport) -> None:
    stages, report = run(lrs.url.replace("http:", "https:"), transport)
    assert (report.cause or "").startswith(("tls", "not_http", "reset"))
    assert stages["Encryption"].state is FAILED
    assert lrs.asked == []


def test_the_report_and_its_stages_hold_no_secret(lrs: ScriptedLRS, transport: Transport) -> None:
    lrs.by_request[POST] = Script(status=401, body=f"no such secret: {SECRET}".encode())
    stages, report = run(lrs.url, transport)
    assert stages["Key and secret"].words == "no such secret: •••"
    assert SECRET not in repr(report)


def test_without_a_secret_nothing_is_asked(lrs: ScriptedLRS, transport: Transport) -> None:
    *_, report = connector.test(make_settings(url=lrs.url), {}, transport)
    assert isinstance(report, TestReport)
    assert report.cause == "secret_unreadable"
    assert lrs.asked == []


def test_every_cause_of_a_test_can_be_explained() -> None:
    assert {"credentials", "address", "redirect", "not_lrs", "settings"} <= CAUSES.keys()


# -- what a connector without a test of its own does ----------------------------------------------


class Plain(Connector):
    type = "plain"
    label = "Plain"
    fields = (Field(name="address", label="Address", kind="url"),)

    def build(self, *args: object) -> Built:
        return Built()

    def send(self, *args: object) -> Answer:
        return Answer(verdict=Verdict.ACCEPTED)


def test_by_default_a_connection_is_opened_and_nothing_sent(
    lrs: ScriptedLRS, transport: Transport
) -> None:
    *stages, report = Plain().test({"address": lrs.url}, {}, transport)
    assert isinstance(report, TestReport)
    assert report.is_connected
    assert list(report.stages) == stages
    assert {stage.name: stage.state for stage in report.stages} == {
        "Address": OK,
        "Connection": OK,
        "Encryption": SKIPPED,
    }
    assert lrs.asked == []


def test_by_default_a_fault_has_the_cause_that_all_types_share(transport: Transport) -> None:
    with scripted_lrs() as stopped:
        url = stopped.url
    *stages, report = Plain().test({"address": url}, {}, transport)
    assert isinstance(report, TestReport)
    assert report.cause == "refused"
    port = url.rpartition(":")[2].partition("/")[0]
    said = TRANSPORT_CAUSES["refused"].sentence_for(report.facts)
    assert said == f"127.0.0.1 refuses connections on port {port}: it may be stopped."
    assert stages[-1].state is FAILED


def test_a_type_without_an_address_says_that_nothing_was_tested(transport: Transport) -> None:
    [stage, report] = Plain().test({"address": None}, {}, transport)
    assert isinstance(report, TestReport)
    assert isinstance(stage, Stage)
    assert (stage.state, stage.words) == (SKIPPED, "This LMS type has no connection test.")
