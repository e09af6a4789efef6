"""The whole way through a host: attach → record → delivered, and every page opens."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.test import TestResponse

from flask_lms.database.models import DeliveryState
from flask_lms.testing import FakeLRS, deliver
from tests.pages.support import form_of
from tests.world import World, result


def walk(world: World, lrs: FakeLRS, prefix: str = "/lms", **changes: Any) -> FlaskClient:
    """Attach, record, deliver, open every page, pause and resume; the client that did so."""
    before = len(lrs.statements)
    with world.app.app_context():
        world.attach(**lrs.settings)
        organization_id = changes.get("organization_id", "acme")
        assert organization_id == "acme"
        assert world.lms.record(result(**changes)).queued == 1
    deliver(world.app)
    assert len(lrs.statements) == before + 1
    with world.app.app_context():
        [delivery] = world.rows()
        assert delivery.state is DeliveryState.DELIVERED
    client = world.app.test_client()
    for path, page in pages(world, client, prefix).items():
        assert page.status_code == 200, path
    press(world, client, prefix)
    return client


def addresses(world: World) -> list[str]:
    """Every page that can be looked at, below the prefix."""
    with world.app.app_context():
        [configuration] = world.lms.configurations.list()
        one = configuration.id
        deliveries = [delivery.id for delivery in world.rows()]
    return [
        "/", "/?q=corporate&status=connected", "/new", f"/{one}", f"/{one}?days=90",
        *(f"/{one}/{name}" for name in ("test", "edit", "pause", "delete", "objectives", "alerts")),
        f"/{one}/objectives?q=fire", f"/{one}/deliveries", "/objectives/", "/objectives/ppe",
        f"/objectives/fire?preview={one}", "/deliveries", "/deliveries?state=attention",
        *(f"/deliveries/{id}" for id in deliveries), "/deliveries.csv",
        "/history", "/history.csv", "/help",
    ]  # fmt: skip


def pages(world: World, client: FlaskClient, prefix: str = "/lms") -> dict[str, TestResponse]:
    """Path → what the administrator gets."""
    return {path: client.get(prefix + path, buffered=True) for path in addresses(world)}


def press(world: World, client: FlaskClient, prefix: str = "/lms") -> None:
    """Two buttons that change something, with the token that their pages hold."""
    with world.app.app_context():
        [configuration] = world.lms.configurations.list()
        one = configuration.id
    for act, is_paused in (("pause", True), ("resume", False)):
        form = form_of(client.get(f"{prefix}/{one}/pause" if is_paused else f"{prefix}/{one}"))
        answer = client.post(f"{prefix}/{one}/{act}", data=form)
        assert answer.status_code == 303, answer.text
        with world.app.app_context():
            assert (world.lms.configurations.get(one).paused_at is not None) is is_paused


def count_rows(world: World) -> dict[str, int]:
    """How many rows each of our tables has, by a connection of its own."""
    with world.app.app_context():
        engine = world.db.engines[world.state.settings.bind_key]
    found = {}
    with engine.connect() as connection:
        for name in _TABLES:
            try:
                rows = connection.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar_one()
            except SQLAlchemyError as error:
                raise AssertionError(f"{name} can't be counted") from error
            found[name] = int(rows)
    return found


_TABLES = ("lms_configuration", "lms_objective_link", "lms_delivery", "lms_audit", "lms_attempt")
