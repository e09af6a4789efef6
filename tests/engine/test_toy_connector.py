"""An LMS type is one folder: a toy one walks through form, attach, delivery and status, and nothing
else changes."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from flask_lms import LMS, Administrator
from flask_lms.connectors.base import Answer, BuildContext, Built, Connector, Statement, Verdict
from flask_lms.connectors.causes import Cause
from flask_lms.connectors.fields import Field
from flask_lms.connectors.registry import Registry
from flask_lms.database.models import Configuration, Status
from flask_lms.errors import SetupError
from flask_lms.values import ObjectiveResult
from tests.pages.support import form_of
from tests.world import World, make_world, result


class ToyConnector(Connector):
    """Puts results as files into a folder, which stands for an LMS."""

    type = "toy"
    label = "Toy box"
    description = "Files in a folder."
    fields = (
        Field(name="folder", label="Toy folder", required="Enter the toy folder."),
        Field(name="word", label="Toy pass word", is_secret=True),
    )
    causes = MappingProxyType(
        {
            "full": Cause(
                code="full",
                status=Status.SERVER_ERROR,
                sentence="The toy box %(folder)s is full.",
                remedy=("Tidy up.",),
                is_settings=True,
            )
        }
    )

    def build(
        self, result: ObjectiveResult, settings: Mapping[str, Any], context: BuildContext
    ) -> Built:
        made = Statement(id=uuid.uuid5(uuid.NAMESPACE_URL, result.id), kind="result", text="{}")
        return Built(statements=[made])

    def send(
        self,
        statements: Sequence[Statement],
        settings: Mapping[str, Any],
        secrets: Mapping[str, str],
        transport: object,
    ) -> Answer:
        folder = Path(settings["folder"])
        if (folder / "full").exists():
            return Answer(verdict=Verdict.FAILED, cause="full", facts={"folder": folder.name})
        for statement in statements:
            (folder / statement.id.hex).write_text(
                json.dumps([secrets["word"].reveal(), statement.text])
            )
        return Answer(verdict=Verdict.ACCEPTED)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    lms = LMS(connectors=[ToyConnector()])
    with make_world(f"sqlite:///{tmp_path / 'toy.db'}", lms=lms) as made:
        yield made


def test_a_new_lms_type_is_one_class_and_no_other_change(world: World, tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.mkdir()
    world.who = Administrator(id=1, organization_id="acme", name="Ana")  # type: ignore[arg-type]
    client = world.app.test_client()
    page = client.get("/lms/new")
    assert "Toy box" in page.text
    first = {"name": "Toys", "type": "toy", "contact_emails": "ana@acme.example"}
    page = client.post("/lms/new", data={**form_of(page), **first})
    assert "Toy folder" in page.text
    fields = {**form_of(page), "folder": "", "word": "open sesame"}
    page = client.post("/lms/new/toy", data={**fields, "act": "save"})
    assert "Enter the toy folder." in page.text
    fields = {**form_of(page), "folder": str(box), "word": "open sesame"}
    page = client.post("/lms/new/toy", data={**fields, "act": "save"})
    assert page.status_code == 303
    [configuration] = world.lms.configurations.list("acme")
    assert configuration.type == "toy"
    assert "open sesame" not in str(configuration.secrets)
    world.lms.configurations.attach(configuration.id, "ppe")
    world.lms.record_many([result("r1"), result("r2")])
    world.deliver(configuration)
    assert world.states() == {"delivered": 2}
    assert len(list(box.iterdir())) == 2
    assert world.health(configuration).status is Status.CONNECTED

    (box / "full").touch()
    world.lms.record(result("r3"))
    world.deliver(configuration)
    assert world.health(configuration).cause == "full"
    page = client.get(f"/lms/{configuration.id}")
    assert "The toy box box is full." in page.text
    assert "Tidy up." in page.text


def test_a_type_that_was_uninstalled_keeps_its_results_and_says_so(
    world: World, tmp_path: Path
) -> None:
    configuration = world.lms.configurations.create(
        "acme",
        "Toys",
        ["ana@acme.example"],
        type="toy",
        settings={"folder": str(tmp_path), "word": "x"},
    )
    world.lms.configurations.attach(configuration.id, "ppe")
    world.lms.record(result("r1"))
    world.state.registry._connectors.pop("toy")
    world.deliver(configuration)
    world.lms.record(result("r2"))
    assert world.health(configuration).cause == "unknown_type"
    assert world.states() == {"pending": 1, "not_sent": 1}
    assert [d.reason for d in world.rows()] == [None, "unknown_type"]


def test_a_connector_that_raises_shows_on_the_page_and_loses_nothing(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = world.freeze()
    box = tmp_path / "box"
    configuration = world.lms.configurations.create(
        "acme",
        "Toys",
        ["ana@acme.example"],
        type="toy",
        settings={"folder": str(box), "word": "open sesame"},
    )
    world.lms.configurations.attach(configuration.id, "ppe")
    world.lms.record(result("r1"))
    world.deliver(configuration)  # there is no such folder: the connector raises
    now = world.health(configuration)
    assert (now.status, now.cause) == (Status.CANT_CONNECT, "connector_failed")
    assert now.next_attempt_at is not None
    assert "the connector of type toy failed" in caplog.text
    assert "open sesame" not in caplog.text
    assert world.states() == {"pending": 1}
    world.who = Administrator(id="1", organization_id="acme")
    page = world.app.test_client().get(f"/lms/{configuration.id}")
    assert "connector for LMS type “toy” failed." in page.text
    box.mkdir()
    clock.advance(seconds=5)
    world.deliver(configuration)
    assert world.states() == {"delivered": 1}
    assert world.health(configuration).status is Status.CONNECTED


def test_what_is_no_connector_is_refused_in_words() -> None:
    class NoConnector:
        type = "toy"

    class Unnamed(ToyConnector):
        type = "Toy Box"

    class Taken(ToyConnector):
        fields = (Field(name="language", label="Language"),)

    for wrong, says in (
        (NoConnector(), "NoConnector is no connector: derive it from flask_lms.Connector."),
        (Unnamed(), "Unnamed.type is 'Toy Box'"),
        (Taken(), "Taken.fields has 'language'"),
    ):
        with pytest.raises(SetupError, match=re.escape(says)):
            Registry([wrong])  # type: ignore[list-item]


def test_without_a_secret_none_is_stored_or_dated(world: World, tmp_path: Path) -> None:
    def made(name: str, **settings: str) -> Configuration:
        return world.lms.configurations.create(
            "acme", name, ["ana@acme.example"], type="toy",
            settings={"folder": str(tmp_path), **settings}, by="Ana Ruiz",
        )  # fmt: skip

    bare, locked = made("Open box"), made("Locked box", word="s3cret")
    assert (bare.secrets, bare.secret_set_at, bare.secret_set_by) == (None, None, None)
    assert locked.secrets is not None
    assert locked.secret_set_by == "Ana Ruiz"
