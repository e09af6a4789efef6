"""What the script asks for while somebody looks at a page: the parts that change, no more."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import event

from flask_lms.database.models import DeliveryState
from flask_lms.services import tasks
from tests.pages.site import create, deliver, fill, make_site
from tests.pages.support import post, text_of
from tests.world import World


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, list[str]]]:
    path = tmp_path_factory.mktemp("live") / "site.db"
    with make_site(f"sqlite:///{path}") as world:
        ids = fill(world)
        with world.app.app_context():
            task = tasks.ask(world.state, "harbor", "attach", {"ids": ["harbor-1"]}, by="operator")
            one = world.lms.deliveries.list(state="pending", limit=1).items[0].id
            yield (
                world,
                [
                    "/", f"/{ids['cant_connect']}", f"/{ids['cant_connect']}/deliveries",
                    "/deliveries?state=attention", f"/deliveries/{one}", f"/tasks/{task.id}",
                ],
            )  # fmt: skip


def _live(path: str) -> str:
    return f"/lms{path}{'&' if '?' in path else '?'}live=1"


def test_the_parts_alone_come_without_layout_and_without_a_token(
    filled: tuple[World, list[str]],
) -> None:
    world, paths = filled
    client = world.client()
    for path in paths:
        whole, part = client.get(f"/lms{path}").text, client.get(_live(path)).text
        assert 'data-flms-every="2"' in whole, path
        assert 'role="status" id="flms-said"' in whole, path
        assert "Refresh</a></noscript>" in whole, path
        assert "<html" not in part, path
        assert "csrf_token" not in part, path  # it differs each time, so nothing would be the same
        assert "data-flms-live" in part, path
        assert "live=1" not in part, path  # its links lead to pages


def test_beside_a_cause_stand_only_the_fields_of_how_this_lms_is_signed_in_at(
    filled: tuple[World, list[str]],
) -> None:
    world, paths = filled
    page = world.client().get(f"/lms{paths[1]}").text
    fields = re.findall(r'<input[^>]*class="[^"]*flms-input[^>]*>', page)
    entered = {name for one in fields for name in re.findall(r' name="(\w+)"', one)}
    assert entered == {"url", "secret"}


def test_what_is_the_same_is_not_sent_again(filled: tuple[World, list[str]]) -> None:
    world, paths = filled
    client = world.client()
    for path in paths:
        world.freeze()
        first = client.get(_live(path))
        again = client.get(_live(path), headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b""), path
    assert first.headers["Cache-Control"] == "no-store"


def test_a_change_is_sent_and_said_once(world: World) -> None:
    one = create(world)
    waiting = deliver(world, one)
    client = world.client()
    first = client.get(f"/lms/{one}?live=1")
    assert 'data-flms-said="Not tested. Results are waiting."' in first.text
    with world.app.app_context():
        world.lms.deliveries.cancel(ids=[waiting])
    then = client.get(f"/lms/{one}?live=1", headers={"If-None-Match": first.headers["ETag"]})
    assert then.status_code == 200
    assert 'data-flms-said="Not tested. Nothing is waiting."' in then.text
    assert 'data-flms-every="15"' in then.text
    deliver(world, one)
    deliver(world, one)
    more = client.get(f"/lms/{one}?live=1")
    assert 'data-flms-said="Not tested. Results are waiting."' in more.text  # and not how many


def test_a_task_that_ended_is_looked_at_no_more(world: World) -> None:
    with world.app.app_context():
        task = tasks.ask(world.state, "harbor", "attach", {"ids": []}, by="operator").id
    client = world.client()
    assert 'data-flms-every="2"' in client.get(f"/lms/tasks/{task}").text
    post(client, f"/lms/tasks/{task}/stop", {"confirmed": "yes"})
    assert 'data-flms-every="0"' in client.get(f"/lms/tasks/{task}?live=1").text
    assert "data-flms-every" not in client.get(f"/lms/tasks/{task}").text


def test_who_is_signed_out_gets_no_part(filled: tuple[World, list[str]]) -> None:
    world, paths = filled
    who, world.who = world.who, None
    try:
        for path in paths:
            answer = world.client().get(_live(path))
            assert answer.status_code == 403
            assert "data-flms-every" not in answer.text
    finally:
        world.who = who


def test_a_connected_one_with_rejected_results_does_not_look_well(world: World) -> None:
    one = create(world)
    with world.app.app_context():
        world.get(one).health.status = "connected"
        world.db.session.commit()
    deliver(world, one, DeliveryState.DELIVERED)
    for _ in range(25):
        deliver(world, one, DeliveryState.REJECTED)
    for path in ("/", f"/{one}"):
        assert "Connected, 25 need attention" in text_of(world.client().get(f"/lms{path}"))


def test_its_counts_come_from_three_queries_at_most(filled: tuple[World, list[str]]) -> None:
    world, paths = filled
    asked: list[str] = []

    def note(connection: object, cursor: object, sql: str, *more: object) -> None:
        asked.append(sql)

    event.listen(world.db.engine, "before_cursor_execute", note)
    try:
        for path in paths:
            asked.clear()
            world.client().get(_live(path))
            counting = [sql for sql in asked if "count(" in sql and "lms_delivery" in sql]
            assert len(counting) <= 3, (path, counting)
            assert len(asked) <= 12, (path, len(asked))
    finally:
        event.remove(world.db.engine, "before_cursor_execute", note)
