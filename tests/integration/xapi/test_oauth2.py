"""A token server that isn't ours before an LRS that isn't ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_lms import Status
from tests.node_support import RealLRS
from tests.oauth_support import CLIENT_ID, TokenServer
from tests.world import World, make_world, result


@pytest.fixture
def server(lrs: RealLRS) -> Iterator[TokenServer]:
    with TokenServer(lrs.url, (lrs.key, lrs.secret)).running() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with make_world(f"sqlite:///{tmp_path / 'host.db'}") as made:
        yield made


@pytest.mark.node
def test_a_token_revoked_in_mid_batch_costs_one_request_and_shows_no_fault(
    world: World, server: TokenServer, lrs: RealLRS
) -> None:
    def revoke() -> None:
        server.tokens.clear()
        server.after = lambda: None

    made = world.attach(**server.settings, batch_statements=10, scope="xapi:write")
    server.after = revoke
    world.lms.record_many([result(f"r{number}") for number in range(30)])
    report = world.deliver(made)
    assert (report.requests, report.delivered) == (3, 30)
    assert len(lrs.stored()) == 30
    assert server.passed == {True: 3, False: 1}
    assert server.asked == {CLIENT_ID: 2}
    assert world.get(made.id).health.status is Status.CONNECTED
    assert {one.verdict for one in world.attempts()} == {"accepted"}


@pytest.mark.node
@pytest.mark.parametrize("way", ["basic", "body", "json"])
def test_each_way_of_saying_who_the_client_is_connects(
    world: World, server: TokenServer, way: str
) -> None:
    made = world.attach(**server.settings, client_auth=way)
    report = world.lms.configurations.test(made.id)
    assert report.is_connected, report
    assert "Sign-in" in [stage.name for stage in report.stages]
    assert server.asked == {CLIENT_ID: 1}
    world.lms.configurations.update(made.id, settings={"client_secret": "wrong"})
    assert world.lms.configurations.test(made.id).cause == "token_client"
