"""What the customer's LMS calls an objective, and the catalogue of those attached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from flask_lms import InvalidConfiguration, Objective
from flask_lms.connectors.base import CatalogueEntry
from flask_lms.connectors.xapi import catalogue
from flask_lms.connectors.xapi.statement import statement_id
from tests.world import ANA, World, make_world

OURS = "https://host.example/xapi/objectives/ppe"
THEIRS = "https://lms.example/courses/42?x=1#a"


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """On each database."""
    with make_world(database_url) as made:
        made.freeze()
        with made.listening():
            yield made


def statements(world: World) -> list[dict[str, Any]]:
    return [json.loads(row.statement) for row in world.rows() if row.statement]


def test_the_lms_is_told_its_own_id_and_ours_beside_it(world: World) -> None:
    made = world.attach(steps="statements")
    other = world.attach(name="Other")
    assert world.configurations.attach(made.id, "ppe", activity_id=f" {THEIRS} ").activity_id == (
        THEIRS
    )
    world.record("r1")
    by_id = {one["id"]: one for one in statements(world)}
    main = by_id[str(statement_id("result", "acme", "r1", 0))]
    rows = {(row.configuration_id, row.kind): json.loads(row.statement) for row in world.rows()}
    main, step = rows[made.id, "result"], rows[made.id, "step"]
    assert main["object"]["id"] == THEIRS
    assert main["object"]["definition"]["name"] == {"en": "Put on PPE"}
    around = main["context"]["contextActivities"]
    assert around["other"] == [{"objectType": "Activity", "id": OURS}]
    assert step["object"]["id"] == f"{OURS}/steps/1"
    assert step["context"]["contextActivities"]["parent"] == [
        {"objectType": "Activity", "id": THEIRS}
    ]
    # Another LMS is told ours, and under the same statement id.
    plain = rows[other.id, "result"]
    assert (plain["id"], plain["object"]["id"]) == (main["id"], OURS)
    assert "other" not in plain["context"]["contextActivities"]


def test_it_counts_from_the_next_result_on_and_a_correction_voids_the_old(world: World) -> None:
    made = world.attach()
    world.record("r1")
    before = [row.statement for row in world.rows()]
    world.configurations.attach(made.id, "ppe", ANA, activity_id=THEIRS)
    assert [row.statement for row in world.rows()] == before
    world.record("r1", revision=1)
    world.record("r2")
    rows = world.rows()
    assert [row.kind for row in rows] == ["result", "result", "void", "result"]
    objects = [json.loads(row.statement or "")["object"]["id"] for row in rows]
    assert objects == [OURS, THEIRS, str(rows[0].statement_id), THEIRS]
    assert world.history("activity_ids_changed")[0].changes == {
        "objective": "Put on PPE (ppe)",
        "activity_id": [None, THEIRS],
    }
    # None leaves it as it is; the empty text goes back to ours.
    assert world.configurations.attach(made.id, "ppe").activity_id == THEIRS
    assert world.configurations.attach(made.id, "ppe", activity_id="").activity_id is None
    world.record("r3")
    assert statements(world)[-1]["object"]["id"] == OURS


def test_what_could_not_be_sent_is_built_with_the_id_of_now(world: World) -> None:
    made = world.attach()
    world.record("r1", participant="E001")
    world.configurations.attach(made.id, "ppe", activity_id=THEIRS)
    world.lms.for_organization("acme").participants.map("E001", email="jane@corp.example")
    assert [one["object"]["id"] for one in statements(world)] == [THEIRS]


def test_the_preview_shows_it(world: World) -> None:
    made = world.attach()
    world.configurations.attach(made.id, "ppe", activity_id=THEIRS)
    shown = world.objectives.previews(made.id, "ppe")[0].text
    assert json.loads(shown)["object"]["id"] == THEIRS


@pytest.mark.parametrize("wrong", ["42", "courses/42", "https://a b", "x" * 3000, "https://x\x00y"])
def test_what_is_no_absolute_iri_is_refused_and_nothing_attached(world: World, wrong: str) -> None:
    made = world.configuration()
    with pytest.raises(InvalidConfiguration) as refused:
        world.configurations.attach(made.id, "ppe", activity_id=wrong)
    assert set(refused.value.errors) == {"activity_id"}
    assert world.configurations.links(made.id) == []


def test_many_come_from_a_file_whose_bad_lines_are_told_by_number(world: World) -> None:
    made = world.configuration()
    world.configurations.attach_many(made.id, ["ppe", "fire", "forklift"])
    report = world.configurations.import_activity_ids(
        made.id,
        "objective_id;name;activity_id\nppe;;42\nnone;;https://a.example/1\n"
        "fire;;https://a.example/1\nfire;;https://a.example/2\n",
    )
    assert report.changed == 0
    assert [(line.number, *line.errors) for line in report.bad_lines] == [
        (2, "activity_id"),
        (3, "objective_id"),
        (5, "activity_id"),
    ]
    assert {link.activity_id for link in world.configurations.links(made.id)} == {None}
    file = "objective_id,activity_id\nppe,https://a.example/1\nfire,https://a.example/1\nforklift,"
    assert world.configurations.import_activity_ids(made.id, file, ANA).changed == 2
    assert world.configurations.import_activity_ids(made.id, file, ANA).changed == 0
    assert world.configurations.doubled_activity_ids(made.id) == ["https://a.example/1"]
    assert world.history("activity_ids_changed")[0].changes == {"objectives": 2}


def test_the_catalogue_has_the_ids_as_they_are_sent(world: World) -> None:
    made = world.attach()
    world.configurations.attach(made.id, "fire", activity_id=THEIRS)
    world.known["acme"] = [
        Objective(id="ppe", name="Put on <PPE> & go", language="de", url="https://host.example/p"),
        Objective(id="fire", name="Fire\ufffe Safety", description="Get out."),
    ]
    entries = world.objectives.catalogue(made.id)
    assert [(one.objective.id, one.activity_id) for one in entries] == [
        ("ppe", OURS),
        ("fire", THEIRS),
    ]
    world.record("a", objective="ppe")
    world.record("b", objective="fire")
    assert [one["object"]["id"] for one in statements(world)] == [OURS, THEIRS]
    world.known["acme"].pop()
    assert [one.objective.id for one in world.objectives.catalogue(made.id)] == ["ppe"]
    assert world.objectives.catalogue(world.configuration("Empty").id) == ()


def test_tincan_xml_has_the_structure_that_importers_read() -> None:
    entries = [
        CatalogueEntry(
            objective=Objective(
                id="ppe", name="Put on <PPE> & go", language="de", url="https://host.example/p"
            ),
            activity_id=THEIRS,
        ),
        CatalogueEntry(
            objective=Objective(id="f", name="Fire\ufffe", description="Out."), activity_id=OURS
        ),
    ]
    name, text = catalogue.tincan(entries)
    assert name == "tincan.xml"
    root = ElementTree.fromstring(text)  # our own
    ns = "{http://projecttincan.com/tincan.xsd}"
    assert root.tag == f"{ns}tincan"
    [activities] = root
    assert activities.tag == f"{ns}activities"
    assert [
        (
            one.get("id"),
            one.get("type"),
            [(part.tag.removeprefix(ns), part.get("lang"), part.text) for part in one],
        )
        for one in activities
    ] == [
        (
            THEIRS,
            "http://adlnet.gov/expapi/activities/objective",
            [
                ("name", "de", "Put on <PPE> & go"),
                ("description", "de", "Put on <PPE> & go"),
                ("launch", "de", "https://host.example/p"),
            ],
        ),
        (
            OURS,
            "http://adlnet.gov/expapi/activities/objective",
            [("name", "en", "Fire"), ("description", "en", "Out.")],
        ),
    ]
    assert ElementTree.fromstring(catalogue.tincan([])[1])[0].tag == f"{ns}activities"
