"""The list of deliveries as a log to read: segments, reasons, search by any id, a day, CSV."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest

from flask_lms import ObjectiveResult, Participant, Score
from flask_lms.database.models import DeliveryState
from flask_lms.services import deliveries as service
from tests.pages.site import create, deliver, id_at
from tests.pages.support import text_of
from tests.world import World

STATES = (
    *[DeliveryState.PENDING] * 3,
    *[DeliveryState.DELIVERED] * 4,
    *[DeliveryState.REJECTED] * 2,
    DeliveryState.NOT_SENT,
)


def people(world: World, path: str) -> list[str]:
    """Who is in the rows of a list."""
    text = world.client().get(f"/lms{path}").text
    found = re.findall(
        r'<a class="flms-link flms-strong" href="[^"]*/deliveries/[^"]*">(.*?)</a>', text
    )
    return sorted(found)


@pytest.mark.parametrize("configurations", [1, 2, 25])
def test_segments_have_their_counts_and_only_the_reasons_that_there_are(
    world: World, configurations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [create(world, f"LMS {n}", key=f"key {n}") for n in range(configurations)]
    for n, state in enumerate(STATES):
        deliver(world, ids[n % configurations], state)
    text = text_of(world.client().get("/lms/deliveries"))
    assert "Needs attention 3 Waiting 3 Sent 4 All 10" in text
    assert "Rejected by the LMS (2) No e-mail address (1)" in text
    assert "Too long" not in text
    assert "Needs attention 3 Waiting 0 Sent 0" not in text
    of_one = text_of(world.client().get(f"/lms/{ids[0]}/deliveries?state=pending"))
    if configurations == 1:
        assert "Needs attention 3 Waiting 3 Sent 4 All 10" in of_one
    monkeypatch.setattr(service, "MOST_COUNTED", 2)
    monkeypatch.setattr("flask_lms.admin.wording.MOST_COUNTED", 2)
    text = text_of(world.client().get("/lms/deliveries"))
    assert ("Waiting 2+ Sent 2+" in text) or configurations == 1


def test_it_is_searched_by_the_id_of_a_participant_a_result_and_a_statement(world: World) -> None:
    one = create(world)
    wanted = deliver(
        world, one, DeliveryState.REJECTED, participant_name="Wanted", participant_id="W-7",
        result_id="attempt-99",
    )  # fmt: skip
    deliver(world, one, participant_name="Another", participant_id="W-77")
    with world.app.app_context():
        statement_id = world.lms.deliveries.get(wanted).statement_id
    for asked in ("W-7", "attempt-99", str(statement_id), statement_id.hex, "wanted"):
        assert people(world, f"/deliveries?participant={asked}") == ["Wanted"], asked
    assert people(world, "/deliveries?participant=W-") == ["Another", "Wanted"]


def test_a_bar_of_the_chart_opens_its_day(world: World) -> None:
    one = create(world)
    with world.app.app_context():
        now = world.now
    yesterday = (now - timedelta(days=1)).replace(hour=12)
    old = yesterday - timedelta(days=1)
    deliver(world, one, DeliveryState.DELIVERED, participant_name="Settled then",
            id=id_at(old), recorded_at=old, settled_at=yesterday)  # fmt: skip
    deliver(world, one, id=id_at(yesterday), recorded_at=yesterday, participant_name="Waits since")
    deliver(world, one, DeliveryState.DELIVERED, participant_name="Settled now",
            id=id_at(yesterday), recorded_at=yesterday, settled_at=now)  # fmt: skip
    day = yesterday.date().isoformat()
    page = world.client().get(f"/lms/{one}").text
    assert page.count(f'deliveries?day={day}"') == 2  # the bar, and the table's row
    assert people(world, f"/{one}/deliveries?day={day}") == ["Settled then", "Waits since"]


def test_a_delivery_and_the_csv_say_who_what_how_it_went_and_why(world: World) -> None:
    one = create(world)
    with world.app.app_context():
        world.lms.configurations.attach(one, "harbor-1")
        world.lms.record(
            ObjectiveResult(
                id="r1", organization_id="harbor", objective="harbor-1", success=False,
                participant=Participant(id="E7", name="Noah Berg"), finished_at=world.now,
                score=Score(raw=7, max=20),
            )
        )  # fmt: skip
        made = world.lms.deliveries.list(limit=1).items[0].id
    head = text_of(world.client().get(f"/lms/deliveries/{made}"))
    assert "Noah Berg Fire Safety · Failed · 7 of 20" in head
    assert "The participant ID 'E7' is not an e-mail address." in head
    lines = list(csv.reader(io.StringIO(world.client().get("/lms/deliveries.csv").text)))
    assert lines[0][1:10] == [
        "Participant", "Participant ID", "Objective", "Objective ID", "Result", "Score", "Kind",
        "Status", "Reason",
    ]  # fmt: skip
    assert lines[1][1:9] == [
        "Noah Berg", "E7", "Fire Safety", "harbor-1", "Failed", "7 of 20", "Result", "Not sent",
    ]  # fmt: skip


def test_the_host_may_set_the_zone(world: World) -> None:
    one = create(world)
    made = deliver(world, one, DeliveryState.DELIVERED)
    assert "data-flms-time" in world.client().get(f"/lms/deliveries/{made}").text
    object.__setattr__(world.state.settings, "time_zone", "Asia/Tokyo")
    page = world.client().get(f"/lms/deliveries/{made}").text
    assert "data-flms-time" not in page
    assert " JST" in page
    assert " UTC" not in page
