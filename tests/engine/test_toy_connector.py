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
from flask_lms.connectors.base import (
    Answer,
    BuildContext,
    Built,
    Cause,
    Connector,
    Field,
    Statement,
    Verdict,
)
from flask_lms.connectors.registry import Registry
from flask_lms.database.models import Status
from flask_lms.errors import SetupError
from flask_lms.values import ObjectiveResult
from tests.engine.support import drain, health, states
from tests.host import Host, make_host, result
from tests.pages.support import form_of


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
            (folder / statement.id.hex).write_text(json.dumps([secrets["word"], statement.text]))
        return Answer(verdict=Verdict.ACCEPTED)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    lms = LMS(connectors=[ToyConnector()])
    with make_host(f"sqlite:///{tmp_path / 'toy.db'}", lms=lms) as made:
        yield made


def test_a_new_lms_type_is_one_class_and_no_other_change(host: Host, tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.mkdir()
    host.administrator.append(Administrator(id=1, organization_id="acme", name="Ana"))  # type: ignore[arg-type]
    client = host.app.test_client()
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
    [configuration] = host.lms.configurations.list("acme")
    assert configuration.type == "toy"
    assert "open sesame" not in str(configuration.secrets)
    host.lms.configurations.attach(configuration.id, "ppe")
    host.lms.record_many([result("r1"), result("r2")])
    drain(host, configuration)
    assert states(host) == {"delivered": 2}
    assert len(list(box.iterdir())) == 2
    assert health(host, configuration).status is Status.CONNECTED

    (box / "full").touch()
    host.lms.record(result("r3"))
    drain(host, configuration)
    assert health(host, configuration).cause == "full"
    page = client.get(f"/lms/{configuration.id}")
    assert "The toy box box is full." in page.text
    assert "Tidy up." in page.text


def test_a_type_that_was_uninstalled_keeps_its_results_and_says_so(
    host: Host, tmp_path: Path
) -> None:
    configuration = host.lms.configurations.create(
        "acme",
        "Toys",
        ["ana@acme.example"],
        type="toy",
        settings={"folder": str(tmp_path), "word": "x"},
    )
    host.lms.configurations.attach(configuration.id, "ppe")
    host.lms.record(result("r1"))
    host.state.registry._connectors.pop("toy")
    drain(host, configuration)
    host.lms.record(result("r2"))
    assert health(host, configuration).cause == "unknown_type"
    assert states(host) == {"pending": 1, "not_sent": 1}
    assert [d.reason for d in host.deliveries()] == [None, "unknown_type"]


def test_a_connector_that_raises_shows_on_the_page_and_loses_nothing(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = host.freeze()
    box = tmp_path / "box"
    configuration = host.lms.configurations.create(
        "acme",
        "Toys",
        ["ana@acme.example"],
        type="toy",
        settings={"folder": str(box), "word": "open sesame"},
    )
    host.lms.configurations.attach(configuration.id, "ppe")
    host.lms.record(result("r1"))
    drain(host, configuration)  # there is no such folder: the connector raises
    now = health(host, configuration)
    assert (now.status, now.cause) == (Status.CANT_CONNECT, "connector_failed")
    assert now.next_attempt_at is not None
    assert "the connector of type toy failed" in caplog.text
    assert "open sesame" not in caplog.text
    assert states(host) == {"pending": 1}
    host.administrator.append(Administrator(id="1", organization_id="acme"))
    page = host.app.test_client().get(f"/lms/{configuration.id}")
    assert "connector for LMS type “toy” failed." in page.text
    box.mkdir()
    clock.advance(seconds=5)
    drain(host, configuration)
    assert states(host) == {"delivered": 1}
    assert health(host, configuration).status is Status.CONNECTED


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
