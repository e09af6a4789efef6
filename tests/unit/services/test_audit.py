"""The history: who changed what, when."""

from __future__ import annotations

import pytest

from flask_lms import Administrator, audit, events
from flask_lms.audit import AuditFilters, Audits
from flask_lms.testing import FakeLRS, deliver
from tests.host import result

from .conftest import ANA, BEN, Desk


@pytest.mark.parametrize(
    ("by", "id", "name"),
    [
        (ANA, "7", "Ana Ruiz"),
        (
            Administrator(id="9", organization_id="acme", email="cy@acme.example"),
            "9",
            "cy@acme.example",
        ),
        (Administrator(id="9", organization_id="acme"), "9", "9"),
        ("operator", None, "operator"),
        (None, None, None),
    ],
)
def test_whoever_acted_is_named(desk: Desk, by: audit.By, id: str | None, name: str | None) -> None:
    desk.create(by=by)
    [row] = desk.history()
    assert (row.administrator_id, row.administrator_name) == (id, name)


def test_the_history_is_newest_first_filtered_and_paged(desk: Desk) -> None:
    one, two = desk.create("One"), desk.create("Two", by=BEN)
    desk.clock.advance(days=1)
    desk.configurations.pause(one.id, by=BEN)
    desk.configurations.resume(one.id)

    def found(**filters: object) -> list[tuple[str, str | None]]:
        items = desk.audits.list(AuditFilters(**filters)).items  # type: ignore[arg-type]
        return [(row.action, row.subject) for row in items]

    assert found() == [
        ("resumed", "One"),
        ("paused", "One"),
        ("created", "Two"),
        ("created", "One"),
    ]
    assert found(configuration_id=str(two.id)) == [("created", "Two")]
    assert found(configuration_id="nonsense") == []
    assert found(actions=("paused", "resumed")) == [("resumed", "One"), ("paused", "One")]
    assert found(administrator="8") == [("paused", "One"), ("created", "Two")]
    assert found(since=desk.clock.time) == [("resumed", "One"), ("paused", "One")]
    assert found(until=desk.clock.time) == [("created", "Two"), ("created", "One")]
    first = desk.audits.list(limit=3)
    rest = desk.audits.list(before=first.next, limit=3)
    assert [row.action for row in rest.items] == ["created"]
    assert rest.next is None


def test_another_organizations_history_is_never_shown(desk: Desk) -> None:
    made = desk.create()
    assert Audits(desk.host.state, "ACME").list().items == []
    filters = AuditFilters(configuration_id=made.id)
    assert Audits(desk.host.state, "globex").list(filters).items == []
    assert len(Audits(desk.host.state).list().items) == 1


def test_the_host_is_told_after_the_commit_and_may_use_the_database(desk: Desk) -> None:
    names: list[str] = []

    def on_audit(app: object, event: events.AuditEvent) -> None:
        assert event.configuration_id is not None
        names.append(desk.configurations.get(event.configuration_id).name)

    with events.audit_event.connected_to(on_audit, desk.host.app):
        desk.create()
    assert names == ["Corporate LMS"]


def test_a_receiver_that_raises_harms_nobody(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def on_audit(app: object, event: events.AuditEvent) -> None:
        raise RuntimeError("the host's own fault")

    with events.audit_event.connected_to(on_audit, desk.host.app):
        made = desk.create()
    assert desk.configurations.get(made.id).name == "Corporate LMS"
    assert "a receiver of lms-audit-event raised" in caplog.text


def test_an_automatic_change_of_status_is_in_the_history_and_told(desk: Desk, lrs: FakeLRS) -> None:
    made = desk.create(settings=lrs.settings)
    desk.configurations.attach(made.id, "ppe")
    desk.host.lms.record(result())
    desk.told.clear()
    deliver(desk.host.app)
    [row] = desk.history("status_changed")
    assert (row.administrator_id, row.administrator_name) == (None, None)
    assert row.changes == {"status": ["not_tested", "connected"]}
    assert [(event.action, event.at) for event in desk.told] == [("status_changed", row.at)]
