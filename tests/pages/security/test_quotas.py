"""What one organization may cost its host has limits, and they are told kindly."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_lms import InvalidConfiguration, InvalidValue, ObjectiveResult, StepResult
from flask_lms.database.models import Configuration, Delivery, ObjectiveLink
from tests.pages.site import SETTINGS, create, make_site
from tests.pages.support import post, text_of
from tests.world import World

BASICS = {"name": "One more", "type": "xapi", "contact_emails": "ana.ruiz@harbor.example"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """With the limits that hosts have."""
    url = f"sqlite:///{tmp_path / 'site.db'}"
    with make_site(url, LMS_MAX_CONFIGURATIONS=None, LMS_MAX_ATTACHED=None) as made:
        yield made


def count(world: World, model: type) -> int:
    with world.app.app_context():
        return world.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_the_51st_configuration_is_refused_before_anything_is_typed(world: World) -> None:
    ids = [create(world, f"LMS {number}") for number in range(50)]
    client = world.client()
    says = "Your organization has 50 LMS configurations, which is the limit."
    assert says in text_of(client.get("/lms/new"))
    assert says in text_of(post(client, "/lms/new", {**BASICS, "language": "en"}))
    with world.app.app_context(), pytest.raises(InvalidConfiguration, match="is the limit"):
        world.lms.configurations.create("harbor", "One more", ["a@b.example"], settings=SETTINGS)
    assert count(world, Configuration) == 50
    with world.app.app_context():  # another organization, and one that made room
        world.lms.configurations.create("dock", "One", ["a@b.example"], settings=SETTINGS)
        world.lms.configurations.delete(ids[0])
        world.lms.configurations.create("harbor", "One more", ["a@b.example"], settings=SETTINGS)
        with pytest.raises(InvalidConfiguration, match="is the limit"):
            world.lms.configurations.restore(ids[0])


def test_an_objective_takes_ten_configurations(world: World) -> None:
    ids = [create(world, f"LMS {number}") for number in range(12)]
    with world.app.app_context():
        for id in ids[:10]:
            world.lms.configurations.attach(id, "harbor-1")
    client = world.client()
    says = "10 LMS configurations are attached to “Fire Safety (harbor-1)”, which is the limit."
    for path, form in (
        (f"/lms/{ids[10]}/objectives", {"ids": ["harbor-2", "harbor-1"]}),
        ("/lms/objectives/harbor-1", {"configuration_id": str(ids[10])}),
    ):
        assert says in text_of(post(client, path, form))
        assert count(world, ObjectiveLink) == 10
    with world.app.app_context():  # what is attached already, and what made room
        world.lms.configurations.attach(ids[0], "harbor-1")
        world.lms.configurations.delete(ids[0])
        world.lms.configurations.attach(ids[10], "harbor-1")


def test_the_operator_says_how_many(tmp_path: Path) -> None:
    limits = {"LMS_MAX_CONFIGURATIONS": 2, "LMS_MAX_ATTACHED": 1}
    with make_site(f"sqlite:///{tmp_path / 'few.db'}", **limits) as world:
        one, two = create(world, "One"), create(world, "Two")
        with pytest.raises(InvalidConfiguration):
            create(world, "Three")
        with world.app.app_context():
            world.lms.configurations.attach(one, "harbor-1")
            with pytest.raises(InvalidConfiguration):
                world.lms.configurations.attach(two, "harbor-1")


def large(**values: Any) -> ObjectiveResult:
    return ObjectiveResult(
        **{
            "id": "r1",
            "organization_id": "harbor",
            "objective": "harbor-1",
            "participant": "jane@harbor.example",
            "finished_at": datetime(2026, 3, 2, 9, tzinfo=timezone.utc),
            **values,
        }
    )


@pytest.mark.parametrize("size", [19_900, 20_000])
def test_extensions_take_20_kb(size: int) -> None:
    given = {"https://host.example/x": "x" * size}
    if size < 20_000 - 40:
        assert large(extensions=given).extensions == given
    else:
        with pytest.raises(InvalidValue, match="at most 20 kB"):
            large(extensions=given)


@pytest.mark.parametrize("participant", ["jane@harbor.example", "nobody can be told"])
@pytest.mark.parametrize("steps", [20, 4000])
def test_a_result_takes_100_kb(world: World, steps: int, participant: str) -> None:
    id = create(world, steps="statements")
    made = large(
        participant=participant,
        steps=[StepResult(number=n + 1, outcome="succeeded") for n in range(steps)],
    )
    with world.app.app_context():
        world.lms.configurations.attach(id, "harbor-1")
        if steps == 20:
            recorded = world.lms.record(made)
            assert recorded.queued + len(recorded.not_sent) > 0
        else:
            with pytest.raises(InvalidValue, match="at most 100 kB"):
                world.lms.record_many([large(id="small"), made])
            assert count(world, Delivery) == 0
