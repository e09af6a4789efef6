"""Objectives with their configurations; preview and back-fill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import pytest

from flask_lms import MissingCallback, NotFound, Objective, ObjectiveResult, Participant
from flask_lms.database.models import DeliveryState
from flask_lms.services.objectives import Objectives
from tests.host import result

from .conftest import ANA, Desk


def test_a_page_has_the_hosts_objectives_with_their_links(desk: Desk) -> None:
    made = desk.create()
    desk.configurations.attach(made.id, "fire")
    page = desk.objectives.page(limit=2)
    assert [row.objective.id for row in page.items] == ["ppe", "fire"]
    assert page.total == len(desk.objectives.ids())
    assert [len(row.links) for row in page.items] == [0, 1]
    assert page.items[1].links[0].configuration.name == "Corporate LMS"
    assert [row.objective.id for row in desk.objectives.page("fork").items] == ["forklift"]
    assert desk.objectives.get("fire").links[0].configuration_id == made.id
    assert desk.objectives.ids("fork") == ["forklift"]


def test_the_attached_ones_are_shown_even_when_the_host_has_them_no_more(desk: Desk) -> None:
    made = desk.create()
    desk.configurations.attach_many(made.id, ["ppe", "fire"])
    objectives = desk.host.lms._callbacks._functions

    def without_ppe(organization_id: str, objective_id: str) -> Objective | None:
        return Objective(id="fire", name="Fire Safety") if objective_id == "fire" else None

    objectives["objective_loader"] = without_ppe
    page = desk.objectives.page(attached_to=made.id)
    assert [(row.objective.id, row.is_missing) for row in page.items] == [
        ("fire", False),
        ("ppe", True),
    ]
    assert page.total == 2
    assert desk.objectives.ids(attached_to=made.id) == ["fire", "ppe"]


def test_the_attached_ones_can_be_searched(desk: Desk) -> None:
    made = desk.create()
    desk.configurations.attach_many(made.id, ["ppe", "fire"])
    page = desk.objectives.page("fire", attached_to=made.id)
    assert [row.objective.id for row in page.items] == ["fire"]
    assert page.total == 1
    assert desk.objectives.ids("fire", attached_to=made.id) == ["fire"]


def test_what_another_organization_has_is_not_found(desk: Desk) -> None:
    made = desk.create()
    desk.configurations.attach(made.id, "ppe")
    others = Objectives(desk.host.state, "globex")
    assert others.get("ppe").links == ()
    for call in (
        lambda: others.page(attached_to=made.id),
        lambda: others.preview(made.id, "ppe"),
        lambda: others.backfill(made.id, "ppe", None),
        lambda: desk.objectives.get("no-such"),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_preview_is_the_statement_that_a_pass_would_send(desk: Desk) -> None:
    made = desk.create()
    text = desk.objectives.preview(made.id, "ppe")
    statement = json.loads(text)
    assert statement["object"]["id"] == "https://host.example/xapi/objectives/ppe"
    assert statement["verb"]["id"].endswith("/passed")
    assert text.count("\n") > 10
    assert desk.deliveries.count() == 0


# -- back-fill ------------------------------------------------------------------------------------


@pytest.fixture
def past(desk: Desk) -> list[ObjectiveResult]:
    results = [result(f"old-{n}") for n in range(5)]
    results[3] = result("old-3", participant=Participant(id="E001"))

    @desk.host.lms.past_results_loader
    def load(
        organization_id: str, objective_id: str, since: datetime | None
    ) -> Iterator[ObjectiveResult]:
        return iter(results)

    return results


def test_past_results_go_to_the_chosen_configuration_alone_and_once(
    desk: Desk, past: list[ObjectiveResult]
) -> None:
    one, two = desk.create("One"), desk.create("Two")
    for made in (one, two):
        desk.configurations.attach(made.id, "ppe")
    desk.host.lms.record(past[0])
    assert desk.objectives.count_past("ppe", None) == 5
    progress: list[int] = []
    done = desk.objectives.backfill(one.id, "ppe", None, by=ANA, on_progress=progress.append)
    assert (done.queued, done.duplicates) == (3, 1)
    assert [unsent.result_id for unsent in done.not_sent] == ["old-3"]
    assert progress == [5]
    assert desk.deliveries.counts(one.id)[DeliveryState.PENDING] == 4
    assert desk.deliveries.counts(two.id)[DeliveryState.PENDING] == 1
    again = desk.objectives.backfill(one.id, "ppe", None, by=ANA)
    assert (again.queued, again.duplicates) == (0, 5)
    assert desk.history("backfilled")[0].changes == {
        "objective": "ppe",
        "since": None,
        "queued": 3,
        "not_sent": 1,
        "duplicates": 1,
    }


def test_results_of_another_organization_are_left_out_of_a_back_fill(
    desk: Desk, past: list[ObjectiveResult]
) -> None:
    made = desk.create()
    desk.configurations.attach(made.id, "ppe")
    past[:] = [result("foreign", organization_id="globex"), *past]
    assert desk.objectives.backfill(made.id, "ppe", None).queued == 4


def test_an_objective_that_is_not_attached_is_not_back_filled(
    desk: Desk, past: list[ObjectiveResult]
) -> None:
    with pytest.raises(NotFound, match="not attached"):
        desk.objectives.backfill(desk.create().id, "ppe", None)


def test_without_its_slot_there_is_no_back_fill(desk: Desk) -> None:
    made = desk.create()
    desk.configurations.attach(made.id, "ppe")
    assert not desk.objectives.can_backfill()
    with pytest.raises(MissingCallback, match="past_results_loader"):
        desk.objectives.backfill(made.id, "ppe", None)


def test_a_backfill_does_not_end_at_a_stretch_of_others_results(
    desk: Desk, past: list[ObjectiveResult]
) -> None:
    made = desk.create()
    desk.configurations.attach(made.id, "ppe")
    strange = [result(f"other-{n}", organization_id="globex") for n in range(150)]
    strange += [result(f"fire-{n}", objective="fire") for n in range(150)]
    past[:0] = strange
    assert desk.objectives.count_past("ppe", None) == 5
    done = desk.objectives.backfill(made.id, "ppe", None)
    assert (done.queued, len(done.not_sent)) == (4, 1)
