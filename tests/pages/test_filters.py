"""What stands in an address, as anybody may type it: what makes no sense is left out, kindly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from flask_lms.database.models import DeliveryState
from tests.pages.site import create, deliver, make_site
from tests.pages.support import post, text_of
from tests.world import World

TOKEN = "monitoring-token-0123456789"
NAMES = (
    "q", "status", "state", "offset", "days", "show", "preview", "before", "configuration_id",
    "objective_id", "participant", "reason", "since", "until", "action", "organization",
    "endpoint", "_scheme", "_external", "_anchor", "self",
)  # fmt: skip
VALUES = (
    "a\0b", "0001-01-01", "9999-12-31", "2026-02-30", "20260101", "-1", "9" * 30, "²", "%",
    "ä" * 999, "' OR 1=1 --", "00000000-0000-0000-0000-000000000000", "\ud7ff\U0010ffff",
)  # fmt: skip


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, list[str]]]:
    """A world, and its lists and pages that take something from their address."""
    path = tmp_path_factory.mktemp("filters") / "site.db"
    with make_site(f"sqlite:///{path}", LMS_HEALTH_TOKEN=TOKEN) as world:
        one = create(world)
        deliver(world, one, DeliveryState.DELIVERED)
        with world.app.app_context():
            sa.event.listen(world.db.engine, "before_cursor_execute", _refuse_nul)
        yield world, [
            "/", f"/{one}", f"/{one}/objectives", f"/{one}/deliveries", "/objectives/",
            "/objectives/harbor-1", "/deliveries", "/deliveries.csv", "/history", "/history.csv",
            "/health.json",
        ]  # fmt: skip


def _refuse_nul(connection: Any, cursor: Any, sql: str, parameters: Any, *more: Any) -> None:
    """As PostgreSQL does, whose texts can't hold it."""
    assert "\\x00" not in repr(parameters), "NUL"


@pytest.mark.parametrize("value", VALUES)
def test_no_filter_fails_a_page(walked: tuple[World, list[str]], value: str) -> None:
    """All of them at once; one by one too for the worst, as one may hide another."""
    world, paths = walked
    client, headers = world.client(), {"Authorization": f"Bearer {TOKEN}"}
    queries = [dict.fromkeys(NAMES, value)]
    if value in VALUES[:3]:
        queries += [{name: value} for name in NAMES]
    addresses = [f"/lms{path}?{urlencode(query)}" for path in paths for query in queries]
    for address in addresses:
        page = client.get(address, headers=headers)
        assert (page.status_code, bool(page.data)) == (200, True), address


def test_a_date_beyond_all_calendars_filters_as_it_says(world: World) -> None:
    deliver(world, create(world), DeliveryState.DELIVERED)
    client = world.client()
    for address, rows in (
        ("since=0001-01-01", 1),
        ("until=9999-12-31", 1),
        ("until=0001-01-01", 0),
        ("since=9999-12-31", 0),
        ("since=0001-01-01&until=9999-12-31", 1),
        ("since=yesterday", 1),
    ):
        page = client.get(f"/lms/deliveries?{address}")
        assert page.text.count('name="ids"') == rows, address


def test_an_id_with_a_nul_is_asked_of_nobody(world: World) -> None:
    asked: list[str] = []

    @world.lms.objective_loader(replace=True)
    def objective(organization_id: str, objective_id: str) -> None:
        asked.append(objective_id)

    assert world.client().get("/lms/objectives/a%00b").status_code == 404
    page = post(world.client(), f"/lms/{create(world)}/objectives", {"ids": "a\0b"})
    assert "Choose at least one objective." in text_of(page)
    assert asked == []


def test_the_acts_take_odd_filters_too(world: World) -> None:
    deliver(world, create(world), DeliveryState.REJECTED)
    for values in ({"until": "9999-12-31"}, {"participant": "a\0b"}, {"since": "0001-01-01"}):
        page = post(world.client(), "/lms/deliveries/send-again", {"all": "yes", **values})
        assert "Send 1 result again?" in text_of(page)
