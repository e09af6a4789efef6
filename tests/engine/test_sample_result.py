"""A sample result: sent when asked for, marked, shown as the LMS stored it, and voided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flask_lms.testing import FakeAnswer, FakeLRS
from tests.node_support import real_lrs
from tests.pages.support import post, text_of
from tests.world import ANA, World, make_world


def test_it_is_asked_for_sent_shown_and_taken_back(world: World, lrs: FakeLRS) -> None:
    world.who = ANA
    one = world.attach(**lrs.settings, send_completed=True, steps="statements", results="passed")
    client = world.client()
    assert "Send a sample result" in text_of(post(client, f"/lms/{one.id}/test", {}))
    asked = text_of(client.get(f"/lms/{one.id}/sample"))
    assert "an invented person, Jane Doe, marked as a test" in asked
    assert lrs.statements == []
    page = post(client, f"/lms/{one.id}/sample", {"confirmed": "1"})
    said = text_of(page)
    assert "Your LMS took the sample result." in said
    assert "As your LMS stored it" in said
    assert '"stored"' in said
    [sample, void] = lrs.statements
    assert sample["context"]["platform"] == "Harbor Training (test)"
    assert void["object"]["id"] == sample["id"]
    assert lrs.voided == {sample["id"]}
    assert world.rows() == []  # nothing of it is a delivery
    assert [row.changes["outcome"] for row in world.history("sample_sent")] == ["connected"]
    assert lrs.secret not in page.text


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (0, "Your LMS refused the xAPI key or secret (403)."),
        (1, "It can't be read"),
        (2, "doesn't take results back. Delete that of Jane Doe there."),
    ],
)
def test_what_an_lms_does_not_do_is_said(
    world: World, lrs: FakeLRS, monkeypatch: pytest.MonkeyPatch, asked: int, says: str
) -> None:
    world.who = ANA
    one = world.attach(**lrs.settings)
    own, answered = lrs.own_answer, iter(range(3))

    def refuse_one(*request: Any) -> FakeAnswer:
        return FakeAnswer(403) if next(answered) == asked else own(*request)

    monkeypatch.setattr(lrs, "own_answer", refuse_one)
    page = post(world.client(), f"/lms/{one.id}/sample", {"confirmed": "1"})
    assert says in text_of(page)


def test_samples_are_limited_as_tests_are(world: World, lrs: FakeLRS) -> None:
    world.who = ANA
    one = world.attach(**lrs.settings)
    client = world.client()
    for _ in range(5):
        post(client, f"/lms/{one.id}/sample", {"confirmed": "1"})
    before = lrs.requests
    post(client, f"/lms/{one.id}/sample", {"confirmed": "1"})
    assert lrs.requests == before


@pytest.mark.node
@pytest.mark.timeout(500)
def test_the_same_with_a_real_lrs(tmp_path: Path) -> None:
    with real_lrs() as lrs, make_world(f"sqlite:///{tmp_path / 'world.db'}") as world:
        for key, stored in ((lrs.key, True), (lrs.write_only_key, False)):
            settings = {"url": lrs.url, "key": key, "secret": lrs.secret}
            one = world.configuration(f"LMS {stored}", settings=settings)
            report = world.configurations.send_sample(one.id)
            assert report.is_connected
            assert [stage.state.value for stage in report.stages] == [
                "ok", "ok" if stored else "skipped", "ok",
            ]  # fmt: skip
            assert ("authority" in (report.stored or "")) == stored  # what only the LRS adds
        assert {one["verb"]["id"].rpartition("/")[2] for one in lrs.stored()} == {"voided"}
