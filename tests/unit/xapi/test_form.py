"""The form is made of what the connector declares, and gives what the connector takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict

from flask_lms.admin.forms import BasicsForm, carried, connector_form, typed
from flask_lms.connectors.base import Answer, Built, Connector, Verdict
from flask_lms.connectors.fields import Field
from flask_lms.connectors.registry import RESERVED
from flask_lms.connectors.xapi.connector import XapiConnector
from flask_lms.connectors.xapi.fields import FIELDS
from tests.xapi_support import connector

FILLED = {"url": "https://a.example/xapi", "key": "k", "secret": "canary", "send_name": "y"}
GIVEN = {
    **FILLED,
    "send_name": False,
    "version": "2.0.0",
    "identify": "account",
    "results": "passed",
    "steps": "statements",
    "send_completed": True,
    "batch_statements": 20,
    "requests_at_once": 2,
    "one_by_one": True,
}


@pytest.fixture(autouse=True)
def _request() -> Iterator[None]:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="test", WTF_CSRF_ENABLED=False)
    with app.test_request_context(method="POST"):
        yield


def test_the_labels_are_those_that_administrators_look_for() -> None:
    form = connector_form(connector)
    assert form.url.label.text == "xAPI URL"
    assert form.key.label.text == "xAPI Key"
    assert form.secret.label.text == "xAPI Key Secret"


def test_a_field_is_declared_once_and_nowhere_else() -> None:
    class More(XapiConnector):
        fields = (*FIELDS, Field(name="course", label="Course", required="Enter the course."))

    form = connector_form(More(), formdata=MultiDict({**FILLED, "course": " C1 "}))
    assert form.course.label.text == "Course"
    cleaned = More().clean(typed(form), allow_http=False, has_secrets=False)
    assert cleaned.settings["course"] == "C1"
    assert cleaned.hints == ["Spaces around “Course” were removed."]


def test_what_the_form_gives_is_what_clean_takes() -> None:
    form = connector_form(connector, formdata=MultiDict(FILLED))
    assert form.validate()
    cleaned = connector.clean(typed(form), allow_http=False, has_secrets=False)
    from_code = connector.clean(
        {"url": "https://a.example/xapi", "key": "k", "secret": "canary"},
        allow_http=False,
        has_secrets=False,
    )
    assert cleaned == from_code


def test_stored_settings_fill_the_form_and_come_out_the_same() -> None:
    cleaned = connector.clean(GIVEN, allow_http=False, has_secrets=False)
    form = connector_form(connector, cleaned.settings, formdata=None)
    again = connector.clean(typed(form), allow_http=False, has_secrets=True)
    assert again.settings == cleaned.settings


@pytest.mark.parametrize("flags", [True, False])
def test_what_was_typed_goes_through_hidden_inputs_and_back_the_same(flags: bool) -> None:
    values: dict[str, Any] = {**GIVEN, "send_name": flags, "one_by_one": flags}
    cleaned = connector.clean(values, allow_http=False, has_secrets=False)
    form = connector_form(connector, {**cleaned.settings, "secret": "canary"}, formdata=None)
    pairs = dict(carried(form))
    assert "secret" not in pairs
    assert "canary" not in str(pairs)
    back = connector_form(connector, formdata=MultiDict(pairs))
    again = connector.clean(typed(back), allow_http=False, has_secrets=True)
    assert again.settings == cleaned.settings


def test_letters_for_a_number_are_carried_as_they_are() -> None:
    form = connector_form(connector, formdata=MultiDict({**FILLED, "batch_statements": "many"}))
    assert dict(carried(form))["batch_statements"] == "many"


def test_the_secret_is_never_written_into_the_page() -> None:
    for form in (
        connector_form(connector, formdata=MultiDict(FILLED)),
        connector_form(connector, {"secret": "canary"}, formdata=None),
    ):
        assert "canary" not in str(form.secret())
        assert 'autocomplete="new-password"' in str(form.secret())


class Least(Connector):
    """As little as a connector can be."""

    type = "least"
    label = "Least"
    fields = (
        Field(name="url", label="Address", kind="url", required="Enter it."),
        Field(name="token", label="Token", is_secret=True),
    )

    def build(self, *args: object) -> Built:
        return Built()

    def send(self, *args: object) -> Answer:
        return Answer(verdict=Verdict.ACCEPTED)


def test_the_defaults_keep_a_secret_with_its_address() -> None:
    least = Least()
    here, there = {"url": "https://a.example:8443/x?sig=1"}, {"url": "https://b.example/x"}
    assert least.secret_fields == ["token"]
    assert (least.destination(here), least.destination(there)) == ("a.example:8443", "b.example")
    assert least.origin(here) == "https://a.example:8443"
    assert least.origin(there) == "https://b.example:443"
    assert least.destination({}) == "Least"

    class Two(Least):
        fields = (*Least.fields, Field(name="token_url", label="Token URL", kind="url"))

    # A secret goes to each of its addresses.
    tokens = {**here, "token_url": "https://id.example/t"}
    assert Two().destination(tokens) == "a.example:8443"
    assert Two().origin(tokens) == "https://a.example:8443 https://id.example:443"
    assert Two().origin({**tokens, "token_url": "https://x.example"}) != Two().origin(tokens)
    assert least.origin({"folder": "a"}) != least.origin({"folder": "b"})
    assert least.fingerprint(here) != least.fingerprint(there)
    assert least.limits(here) == (1, None)


def test_an_address_of_any_type_needs_encryption_unless_the_operator_allows_it() -> None:
    least = Least()
    kept = least.clean(
        {"url": "HTTPS://A.example:443/x?sig=1"}, allow_http=False, has_secrets=False
    )
    assert kept.settings == {"url": "https://a.example/x?sig=1"}
    assert kept.secrets == {}
    http = {"url": "http://a.example/x"}
    allowed = least.clean(http, allow_http=True, has_secrets=False)
    assert "not encrypted" in allowed.hints[0]
    with pytest.raises(ValueError, match="not encrypted"):
        least.clean(http, allow_http=False, has_secrets=False)


def test_no_field_can_hide_what_a_form_has() -> None:
    form = BasicsForm()
    assert {name for name in dir(FlaskForm) if name.islower() and name[0] != "_"} <= {*RESERVED}
    assert {name for name in vars(form) if name[0] != "_"} <= {*RESERVED}
