"""The history: who changed what, when."""

from __future__ import annotations

import pytest

from flask_lms import Administrator, audit, events
from flask_lms.audit import AuditFilters, Audits
from flask_lms.testing import FakeLRS, deliver
from tests.world import ANA, BEN, World, result


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
def test_whoever_acted_is_named(
    world: World, by: audit.By, id: str | None, name: str | None
) -> None:
    world.configuration(by=by)
    [row] = world.history()
    assert (row.administrator_id, row.administrator_name) == (id, name)


def test_the_history_is_newest_first_filtered_and_paged(world: World) -> None:
    one, two = world.configuration("One"), world.configuration("Two", by=BEN)
    world.clock.advance(days=1)
    world.configurations.pause(one.id, by=BEN)
    world.configurations.resume(one.id)

    def found(**filters: object) -> list[tuple[str, str | None]]:
        items = world.audits.list(AuditFilters(**filters)).items  # type: ignore[arg-type]
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
    assert found(since=world.clock.time) == [("resumed", "One"), ("paused", "One")]
    assert found(until=world.clock.time) == [("created", "Two"), ("created", "One")]
    first = world.audits.list(limit=3)
    rest = world.audits.list(before=first.next, limit=3)
    assert [row.action for row in rest.items] == ["created"]
    assert rest.next is None


def test_another_organizations_history_is_never_shown(world: World) -> None:
    made = world.configuration()
    assert Audits(world.state, "ACME").list().items == []
    filters = AuditFilters(configuration_id=made.id)
    assert Audits(world.state, "globex").list(filters).items == []
    assert len(Audits(world.state).list().items) == 1


def test_the_host_is_told_after_the_commit_and_may_use_the_database(world: World) -> None:
    names: list[str] = []

    def on_audit(app: object, event: events.AuditEvent) -> None:
        assert event.configuration_id is not None
        names.append(world.configurations.get(event.configuration_id).name)

    with events.audit_event.connected_to(on_audit, world.app):
        world.configuration()
    assert names == ["Corporate LMS"]


def test_a_receiver_that_raises_harms_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def on_audit(app: object, event: events.AuditEvent) -> None:
        raise RuntimeError("the host's own fault")

    with events.audit_event.connected_to(on_audit, world.app):
        made = world.configuration()
    assert world.configurations.get(made.id).name == "Corporate LMS"
    assert "a receiver of lms-audit-event raised" in caplog.text


def test_an_automatic_change_of_status_is_in_the_history_and_told(
    world: World, lrs: FakeLRS
) -> None:
    made = world.configuration(settings=lrs.settings)
    world.configurations.attach(made.id, "ppe")
    world.lms.record(result())
    world.told.clear()
    deliver(world.app)
    [row] = world.history("status_changed")
    assert (row.administrator_id, row.administrator_name) == (None, None)
    assert row.changes == {"status": ["not_tested", "connected"]}
    assert [(event.action, event.at) for event in world.told] == [("status_changed", row.at)]
