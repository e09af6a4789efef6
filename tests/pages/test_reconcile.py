"""Check in your LMS, from the administrator's side and from the operator's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from flask_lms import ReadBack
from flask_lms.services import tasks
from flask_lms.testing import FakeLRS
from tests.pages.support import form_of, post, text_of
from tests.planted_support import Planted, plant
from tests.world import ANA, World, make_world

SPOILT = {"missing": 3, "different": 2, "doubled": 1}


@pytest.fixture
def world(url: str) -> Iterator[World]:
    with make_world(url) as made:
        made.who = ANA
        yield made


@pytest.fixture
def planted(world: World, lrs: FakeLRS) -> Planted:
    made = plant(world, lrs.settings, 20, **SPOILT)
    world.clock.advance(minutes=10)
    return made


@pytest.fixture
def client(world: World) -> FlaskClient:
    return world.client()


def row(planted: Planted, word: ReadBack) -> str:
    [found, *_] = [one for one in planted.world.rows() if one.read_back is word]
    return f"/lms/deliveries/{found.id}"


def test_from_the_button_to_the_last_missing_one(
    world: World, lrs: FakeLRS, planted: Planted, client: FlaskClient
) -> None:
    one = planted.configuration.id
    here = f"/lms/{one}/check"
    assert f'href="{here}"' in client.get(f"/lms/{one}").text
    assert "nothing is sent again by itself" in text_of(client.get(here))
    task = post(client, here, {"since": "2026-03-01"}).headers["Location"]
    assert post(client, here, {"since": "2026-03-01"}).headers["Location"] == task  # one at a time
    assert "Checking in your LMS" in text_of(client.get(task))
    while tasks.work(world.state):
        pass
    said = text_of(client.get(task))
    assert "20 of 20" in said
    assert "Missing: 3" in said
    page = client.get(here)
    said = text_of(page)
    for words in (
        "What was sent since 1 Mar",
        "Confirmed 14 Your LMS has it as it was sent.",
        "Missing 3 Your LMS accepted it and doesn't have it. Send it again",
        "Different 2 Your LMS has something else under its ID.",
        "Doubled 1 Your LMS has it, and the same once more",
    ):
        assert words in said
    listed = text_of(client.get(f"/lms/{one}/deliveries?read_back=missing"))
    assert listed.count("Put on PPE") == 3
    assert world.history("reconciled")[-1].changes["missing"] == 3
    assert "Looked up in the LMS" in text_of(client.get("/lms/history"))

    chosen = {"all": "yes", "configuration_id": str(one), "read_back": "missing"}
    assert form_of(page).items() >= chosen.items()
    assert "Send 3 results again?" in text_of(post(client, "/lms/deliveries/send-again", chosen))
    post(client, "/lms/deliveries/send-again", {**chosen, "confirmed": "yes"})
    assert world.states() == {"delivered": 17, "pending": 3}
    world.deliver(planted.configuration)
    assert planted.check() == {"confirmed": 17, "different": 2, "doubled": 1}


def test_a_delivery_tells_what_its_lms_has(planted: Planted, client: FlaskClient) -> None:
    planted.check()
    said = text_of(client.get(row(planted, ReadBack.CONFIRMED)))
    assert "Confirmed in the LMS on 2 Mar 2026" in said
    said = text_of(client.get(row(planted, ReadBack.DIFFERENT)))
    assert "result.success true false" in said
    assert "A correction" in said or "a correction is a new statement" in said
    said = text_of(client.get(row(planted, ReadBack.DOUBLED)))
    assert re.search(r"under an ID that isn't ours: [0-9a-f-]{36}\.", said)
    csv = client.get("/lms/deliveries.csv?read_back=doubled").text
    assert csv.splitlines()[0].endswith("In the LMS,Looked up in the LMS (UTC)")
    assert csv.splitlines()[1].split(",")[-2] == "Doubled"
    assert len(csv.splitlines()) == 2


def test_a_key_that_may_not_read_is_told_with_the_way_out(
    world: World, lrs: FakeLRS, planted: Planted, client: FlaskClient
) -> None:
    lrs.secret = "another"
    assert planted.check() == {"unreadable": 20}
    said = text_of(client.get(f"/lms/{planted.configuration.id}/check"))
    assert "Our key may not read what your LMS has." in said
    assert "a key that may read statements" in said
    assert "Missing" not in said
    said = text_of(client.get(row(planted, ReadBack.UNREADABLE)))
    assert "Our key may not read what your LMS has." in said


def test_the_command_tells_the_same(world: World, lrs: FakeLRS, planted: Planted) -> None:
    run = world.app.test_cli_runner().invoke
    done = run(args=["lms", "reconcile", "Corporate LMS", "--since", "2026-03-01"])
    assert done.exit_code == 1, done.output
    assert re.search(r"Missing +3 +The LMS accepted it", done.output)
    world.clock.advance(minutes=10)
    done = run(args=["lms", "reconcile", "Corporate LMS", "--since", "2026-03-01", "--json"])
    told = json.loads(done.output)
    assert (done.exit_code, told["ok"]) == (1, False)
    assert {word: n for word, n in told["counts"].items() if n} == {"confirmed": 14, **SPOILT}
    assert sorted(one["read_back"] for one in told["list"]) == sorted(
        word for word, n in SPOILT.items() for _ in range(n)
    )
    lrs._statements = {  # somebody mends it all
        str(one.statement_id): {**json.loads(one.statement), "stored": "2026-11-20T00:00:00+00:00"}
        for one in world.rows()
    }
    world.clock.advance(minutes=10)
    done = run(args=["lms", "reconcile", "Corporate LMS", "--since", "2026-03-01"])
    assert (done.exit_code, "Confirmed          20" in done.output) == (0, True), done.output
