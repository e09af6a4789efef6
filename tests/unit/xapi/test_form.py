from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from werkzeug.datastructures import MultiDict

from flask_lms.connectors.xapi.connector import XapiConnector
from flask_lms.connectors.xapi.fields import FIELDS
from tests.xapi_support import connector

FILLED = {"url": "https://a.example/xapi", "key": "k", "secret": "canary", "send_name": "y"}


@pytest.fixture(autouse=True)
def _request() -> Iterator[None]:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="test", WTF_CSRF_ENABLED=False)
    with app.test_request_context(method="POST"):
        yield


def test_the_labels_are_those_that_administrators_look_for() -> None:
    form = connector.form()
    assert form.url.label.text == "xAPI URL"
    assert form.key.label.text == "xAPI Key"
    assert form.secret.label.text == "xAPI Key Secret"


def test_every_field_is_a_setting_and_every_setting_a_field() -> None:
    form = connector.form()
    names = {field.name for field in form} - {"csrf_token"}
    assert names == set(FIELDS)
    assert set(connector.advanced) | set(connector.secret_fields) | {"url", "key"} == names


def test_what_the_form_gives_is_what_clean_takes() -> None:
    form = connector.form(MultiDict(FILLED))
    assert form.validate()
    cleaned = connector.clean(form.data, allow_http=False, has_secrets=False)
    from_code = connector.clean(
        {"url": "https://a.example/xapi", "key": "k", "secret": "canary"},
        allow_http=False,
        has_secrets=False,
    )
    assert cleaned == from_code


def test_stored_settings_fill_the_form_and_come_out_the_same() -> None:
    given = {
        **FILLED,
        "send_name": False,
        "version": "2.0.0",
        "identify": "account",
        "results": "passed",
        "steps": "statements",
        "send_completed": True,
        "batch_statements": 20,
        "one_by_one": True,
    }
    cleaned = connector.clean(given, allow_http=False, has_secrets=False)
    form = connector.form(None, data=dict(cleaned.settings))
    again = connector.clean(form.data, allow_http=False, has_secrets=True)
    assert again.settings == cleaned.settings


def test_the_secret_is_never_written_into_the_page() -> None:
    form = connector.form(MultiDict(FILLED))
    assert "canary" not in str(form.secret())
    assert 'autocomplete="new-password"' in str(form.secret())


def test_the_connector_needs_nothing_to_be_made() -> None:
    assert XapiConnector().type == "xapi"
    assert XapiConnector().label == "xAPI"
