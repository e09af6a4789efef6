"""The connector of "Write a connector" and its test run as they stand there, and on the pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_lms import LMS, Administrator, Connector, Verdict
from tests.docs_support import TOP, between, imported, python_blocks, run_pytest

PAGE = TOP / "docs" / "connectors.md"


def write(folder: Path, part: str, name: str) -> Path:
    [code] = python_blocks(between(PAGE, part))
    path = folder / name
    path.write_text(code)
    return path


def test_its_test_passes(tmp_path: Path) -> None:
    write(tmp_path, "connector", "acme_hub.py")
    write(tmp_path, "test", "test_acme_hub.py")
    assert "3 passed" in run_pytest(tmp_path, "test_acme_hub.py")


def test_it_is_short() -> None:
    [code] = python_blocks(between(PAGE, "connector"))
    assert len(code.splitlines()) < 80


def test_its_form_is_on_the_pages(tmp_path: Path) -> None:
    app = Flask("host")
    app.config.update(
        SECRET_KEY="x",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'host.sqlite'}",
        LMS_ACTIVITY_BASE_URL="https://training.example/xapi",
        WTF_CSRF_ENABLED=False,
    )
    db = SQLAlchemy(app)
    with imported(write(tmp_path, "connector", "acme_hub.py")) as acme_hub:
        lms = LMS(app, connectors=[acme_hub.AcmeHub()])
    lms.administrator_loader(lambda: Administrator(id="1", organization_id="acme"))
    with app.app_context():
        db.create_all()
    client = app.test_client()
    assert "You need the address of your hub and a token." in client.get("/lms/new").text
    first = {"name": "Hub", "type": "acme_hub", "contact_emails": "ana@acme.example"}
    assert "Hub address" in client.post("/lms/new", data=first).text
    page = client.post("/lms/new/acme_hub", data={**first, "act": "save", "url": "hub"}).text
    assert "Enter the token." in page
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_explained(verdict: Verdict) -> None:
    assert f"| `{verdict.name}` |" in PAGE.read_text()


def test_every_part_of_a_connector_is_named() -> None:
    table = PAGE.read_text().partition("## The connector")[0]
    parts = {*Connector.__annotations__, *vars(Connector)} - {"secret_fields"}
    missing = {one for one in parts if not one.startswith("_") and f"`{one}`" not in table}
    assert not missing
