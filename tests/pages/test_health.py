"""health.json: nothing without the token; counts and ages only."""

from __future__ import annotations

from pathlib import Path

from tests.pages.site import BEN, create, fill, make_site
from tests.world import World

TOKEN = "monitoring-token-0123456789"


def test_without_a_token_there_is_nothing(world: World) -> None:
    assert world.client().get("/lms/health.json").status_code == 404
    headers = {"Authorization": "Bearer "}
    assert world.client().get("/lms/health.json", headers=headers).status_code == 404


def test_with_the_token_counts_and_ages(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'health.db'}"
    with make_site(url, LMS_HEALTH_TOKEN=TOKEN) as world:
        world.who = None
        client, headers = world.client(), {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/lms/health.json").status_code == 404
        wrong = {"Authorization": "Bearer wrong"}
        assert client.get("/lms/health.json", headers=wrong).status_code == 404
        create(world, "Alone")
        good = client.get("/lms/health.json", headers=headers)
        assert good.status_code == 200
        assert good.json is not None
        assert good.json["configurations"] == 1
        fill(world)
        bad = client.get("/lms/health.json", headers=headers)
        assert bad.status_code == 503
        assert bad.json is not None
        assert bad.json["failing"] == 2
        assert "Contractor" not in bad.text
        other = client.get(f"/lms/health.json?organization={BEN.organization_id}", headers=headers)
        assert other.json is not None
        assert other.json["configurations"] == 0
