"""Acts on more than 200 rows: handed to a worker, with their progress on a page of their own."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_lms import Objective, Participant
from flask_lms.database.models import Delivery, DeliveryState, ObjectiveLink, Task
from flask_lms.services import tasks
from tests.pages.site import BEN, create, make_delivery, make_site
from tests.pages.support import post, post_on, text_of
from tests.world import World, result


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with make_site(f"sqlite:///{tmp_path / 'site.db'}", objectives=450) as made:
        yield made


def work(world: World, turns: int = 100) -> None:
    with world.app.app_context():
        for _ in range(turns):
            if not tasks.work(world.state):
                return


def count(world: World, table: type, **where: object) -> int:
    with world.app.app_context():
        query = sa.select(sa.func.count()).select_from(table).filter_by(**where)
        return int(world.session.scalar(query))


def confirmed(world: World, path: str, **values: str) -> str:
    """Where the confirmed act leads to."""
    answer = post(world.client(), path, {"confirmed": "yes", **values})
    assert answer.status_code == 303
    return answer.headers["Location"]


def fill(world: World, one: uuid.UUID, state: DeliveryState, rows: int) -> None:
    with world.app.app_context():
        made = world.get(one)
        at = world.now - timedelta(hours=1)
        world.session.add_all(make_delivery(made, state, at, number=n) for n in range(rows))
        world.session.commit()


def test_attach_all_and_detach_all(world: World) -> None:
    one, client = create(world), world.client()
    answer = post(client, f"/lms/{one}/objectives", {"all": "yes"})
    here = answer.headers["Location"]
    assert here.startswith("/lms/tasks/")
    assert count(world, ObjectiveLink) == 0  # not in the request
    text = text_of(client.get(here))
    assert "Attaching objectives" in text
    assert "0 of 450" in text
    assert "A worker begins with it in a moment." in text
    assert "Attaching objectives : 0 of 450" in text_of(client.get(f"/lms/{one}/objectives"))
    work(world)
    page = client.get(here)
    assert "450 of 450" in text_of(page)
    assert "Objectives: 450" in text_of(page)
    assert 'max="450" value="450"' in page.text
    assert "Refresh" not in page.text
    assert "http-equiv" not in page.text
    assert "under way" not in client.get(f"/lms/{one}/objectives").text
    assert count(world, ObjectiveLink) == 450
    here = confirmed(world, f"/lms/{one}/objectives/detach", all="yes", waiting="cancel")
    work(world)
    assert "Done." in text_of(client.get(here))
    assert count(world, ObjectiveLink) == 0


def test_what_is_left_out_at_the_limit_is_named(world: World) -> None:
    one, other = create(world), create(world, name="Other")
    world.state.settings = dataclasses.replace(world.state.settings, max_attached=1)
    with world.app.app_context():
        ids = [objective.id for objective in world.known["harbor"][:12]]
        world.configurations.attach_many(other, ids)
    here = post(world.client(), f"/lms/{one}/objectives", {"all": "yes"}).headers["Location"]
    work(world)
    text = text_of(world.client().get(here))
    assert "These objectives were left out" in text
    named = [one for one in world.known["harbor"][:12] if f"{one.name} ({one.id})" in text]
    assert len(named) == 10
    assert "and 2 more" in text
    assert "Left out at the limit: 12" in text


def test_200_are_done_at_once(world: World) -> None:
    one = create(world)
    world.known["harbor"] = world.known["harbor"][:200]
    answer = post(world.client(), f"/lms/{one}/objectives", {"all": "yes"})
    assert answer.headers["Location"].endswith("/objectives?show=attached")
    assert count(world, ObjectiveLink) == 200
    fill(world, one, DeliveryState.REJECTED, 200)
    confirmed(world, "/lms/deliveries/send-again", all="yes", state="rejected")
    assert count(world, Delivery, state=DeliveryState.PENDING) == 200
    assert count(world, Task) == 0


@pytest.mark.parametrize(
    ("act", "state", "becomes", "says"),
    [
        ("send-again", DeliveryState.REJECTED, DeliveryState.PENDING, "Sending results again"),
        ("cancel", DeliveryState.PENDING, DeliveryState.CANCELLED, "Cancelling results"),
    ],
)
def test_send_again_and_cancel(
    world: World, act: str, state: DeliveryState, becomes: DeliveryState, says: str
) -> None:
    one, client = create(world), world.client()
    fill(world, one, state, 201)
    here = confirmed(
        world, f"/lms/deliveries/{act}", all="yes", state=state.value, configuration_id=str(one)
    )
    assert count(world, Delivery, state=state) == 201
    assert f"{says} : 0 of 201" in text_of(client.get("/lms/deliveries"))
    assert "Corporate LMS" in text_of(client.get(here))
    work(world)
    assert count(world, Delivery, state=becomes) == 201
    assert "Results: 201" in text_of(client.get(here))
    with world.app.app_context():
        assert world.history()[-1].administrator_name == "Ana Ruiz"


def test_check_again(world: World) -> None:
    one = create(world)
    with world.app.app_context():
        world.configurations.attach(one, "harbor-0")
        nobody = Participant(id="E1", name="Tom")
        objective = world.known["harbor"][0]
        of = {"organization_id": "harbor", "objective": objective, "participant": nobody}
        world.lms.record_many([result(f"r{n}", **of) for n in range(210)])
    world.participants["E1"] = Participant(id="E1", email="tom@harbor.example")
    here = confirmed(world, "/lms/deliveries/check-again", all="yes")
    work(world)
    assert "To be sent: 210" in text_of(world.client().get(here))


def test_past_results_of_one_objective_and_of_many(world: World) -> None:
    one, client = create(world), world.client()
    objectives = [Objective(id=f"harbor-{n}", name=f"n{n}") for n in (0, 1)]
    world.past = [
        result(f"r{n}", organization_id="harbor", objective=objectives[n % 2]) for n in range(2600)
    ]
    with world.app.app_context():
        world.configurations.attach(one, "harbor-0")
    few = {"past": "yes", "since": "2020-01-01"}
    asked = post(client, f"/lms/{one}/objectives/past", {"ids": "harbor-0", **few})
    assert "This sends 1,300 results." in text_of(asked)
    here = confirmed(world, f"/lms/{one}/objectives/past", ids="harbor-0", **few)
    work(world)
    assert "To be sent: 1,300" in text_of(client.get(here))
    # All objectives, which are attached on the way.
    asked = post_on(client, f"/lms/{one}/objectives", {"all": "yes", **few})
    assert "This attaches these objectives and sends their past results." in text_of(asked)
    assert "Of 450 objectives, since" in text_of(asked)
    here = confirmed(world, f"/lms/{one}/objectives/past", all="yes", **few)
    work(world)
    text = text_of(client.get(here))
    assert "2,600 of 2,600" in text
    assert "To be sent: 1,300" in text
    assert "Sent before: 1,300" in text
    assert count(world, ObjectiveLink) == 450
    assert count(world, Delivery) == 2600


def test_it_may_be_stopped_and_is_nobody_elses(world: World) -> None:
    one, client = create(world), world.client()
    here = post(client, f"/lms/{one}/objectives", {"all": "yes"}).headers["Location"]
    world.who = BEN
    for path in (here, f"{here}/stop"):
        assert world.client().get(path).status_code == 404
        assert post(world.client(), path, {"confirmed": "yes"}).status_code in (404, 405)
    world.who = world.who.__class__(id="7", organization_id="harbor", name="Ana Ruiz")
    assert "What is done already stays as it is." in text_of(client.get(f"{here}/stop"))
    assert confirmed(world, f"{here}/stop") == here
    page = client.get(here)
    assert "Stopped by Ana Ruiz." in text_of(page)
    assert not re.search(r"Refresh|/stop", page.text)
    work(world)
    assert count(world, ObjectiveLink) == 0
