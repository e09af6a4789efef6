"""Objectives with their configurations; preview and back-fill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import pytest

from flask_lms import MissingCallback, NotFound, Objective, ObjectiveResult, Participant
from flask_lms.database.models import DeliveryState
from flask_lms.services.objectives import Objectives
from tests.world import ANA, World, result


def test_a_page_has_the_hosts_objectives_with_their_links(world: World) -> None:
    made = world.configuration()
    world.configurations.attach(made.id, "fire")
    page = world.objectives.page(limit=2)
    assert [row.objective.id for row in page.items] == ["ppe", "fire"]
    assert page.total == len(world.objectives.ids())
    assert [len(row.links) for row in page.items] == [0, 1]
    assert page.items[1].links[0].configuration.name == "Corporate LMS"
    assert [row.objective.id for row in world.objectives.page("fork").items] == ["forklift"]
    assert world.objectives.get("fire").links[0].configuration_id == made.id
    assert world.objectives.ids("fork") == ["forklift"]


def test_the_attached_ones_are_shown_even_when_the_host_has_them_no_more(world: World) -> None:
    made = world.configuration()
    world.configurations.attach_many(made.id, ["ppe", "fire"])
    objectives = world.lms._callbacks._functions

    def without_ppe(organization_id: str, objective_id: str) -> Objective | None:
        return Objective(id="fire", name="Fire Safety") if objective_id == "fire" else None

    objectives["objective_loader"] = without_ppe
    page = world.objectives.page(attached_to=made.id)
    assert [(row.objective.id, row.is_missing) for row in page.items] == [
        ("fire", False),
        ("ppe", True),
    ]
    assert page.total == 2
    assert world.objectives.ids(attached_to=made.id) == ["fire", "ppe"]


def test_the_attached_ones_can_be_searched(world: World) -> None:
    made = world.configuration()
    world.configurations.attach_many(made.id, ["ppe", "fire"])
    page = world.objectives.page("fire", attached_to=made.id)
    assert [row.objective.id for row in page.items] == ["fire"]
    assert page.total == 1
    assert world.objectives.ids("fire", attached_to=made.id) == ["fire"]


def test_what_another_organization_has_is_not_found(world: World) -> None:
    made = world.configuration()
    world.configurations.attach(made.id, "ppe")
    others = Objectives(world.state, "globex")
    assert others.get("ppe").links == ()
    for call in (
        lambda: others.page(attached_to=made.id),
        lambda: others.previews(made.id, "ppe"),
        lambda: others.backfill(made.id, "ppe", None),
        lambda: world.objectives.get("no-such"),
    ):
        with pytest.raises(NotFound):
            call()


def test_the_previews_are_the_statements_that_a_pass_and_a_failure_would_send(world: World) -> None:
    made = world.configuration()
    text, failed = (one.text for one in world.objectives.previews(made.id, "ppe"))
    assert "completion" not in json.loads(failed)["result"]
    statement = json.loads(text)
    assert statement["object"]["id"] == "https://host.example/xapi/objectives/ppe"
    assert statement["verb"]["id"].endswith("/passed")
    assert text.count("\n") > 10
    assert world.deliveries.count() == 0


# -- back-fill ------------------------------------------------------------------------------------


@pytest.fixture
def past(world: World) -> list[ObjectiveResult]:
    results = [result(f"old-{n}") for n in range(5)]
    results[3] = result("old-3", participant=Participant(id="E001"))

    @world.lms.past_results_loader
    def load(
        organization_id: str, objective_id: str, since: datetime | None
    ) -> Iterator[ObjectiveResult]:
        return iter(results)

    return results


def test_past_results_go_to_the_chosen_configuration_alone_and_once(
    world: World, past: list[ObjectiveResult]
) -> None:
    one, two = world.configuration("One"), world.configuration("Two")
    for made in (one, two):
        world.configurations.attach(made.id, "ppe")
    world.lms.record(past[0])
    assert world.objectives.count_past("ppe", None) == 5
    progress: list[int] = []
    done = world.objectives.backfill(one.id, "ppe", None, by=ANA, on_progress=progress.append)
    assert (done.queued, done.duplicates) == (3, 1)
    assert [unsent.result_id for unsent in done.not_sent] == ["old-3"]
    assert progress == [5]
    assert world.deliveries.counts(one.id)[DeliveryState.PENDING] == 4
    assert world.deliveries.counts(two.id)[DeliveryState.PENDING] == 1
    again = world.objectives.backfill(one.id, "ppe", None, by=ANA)
    assert (again.queued, again.duplicates) == (0, 5)
    assert world.history("backfilled")[0].changes == {
        "objective": "ppe",
        "since": None,
        "queued": 3,
        "not_sent": 1,
        "duplicates": 1,
    }


@pytest.mark.parametrize(
    "others",
    [{"organization_id": "globex"}, {"objective": "fire"}],
    ids=["organization", "objective"],
)
@pytest.mark.parametrize("n", [1, 450], ids=["one", "more than a chunk"])
def test_what_a_loader_yields_of_others_is_left_out_and_does_not_end_a_back_fill(
    world: World, past: list[ObjectiveResult], others: dict[str, str], n: int
) -> None:
    made = world.configuration()
    world.configurations.attach_many(made.id, ["ppe", "fire"])
    past[:] = [*(result(f"other-{number}", **others) for number in range(n)), *past]
    assert world.objectives.count_past("ppe", None) == 5
    done = world.objectives.backfill(made.id, "ppe", None)
    assert (done.queued, len(done.not_sent)) == (4, 1)


def test_an_objective_that_is_not_attached_is_not_back_filled(
    world: World, past: list[ObjectiveResult]
) -> None:
    with pytest.raises(NotFound, match="not attached"):
        world.objectives.backfill(world.configuration().id, "ppe", None)


def test_without_its_callback_there_is_no_back_fill(world: World) -> None:
    made = world.configuration()
    world.configurations.attach(made.id, "ppe")
    assert not world.objectives.can_backfill()
    with pytest.raises(MissingCallback, match="past_results_loader"):
        world.objectives.backfill(made.id, "ppe", None)
