"""The Alerts page says in words why a mail was not sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_lms import Administrator
from flask_lms.alerts import texts


@pytest.mark.parametrize("code", list(texts._REASONS))
def test_every_reason_has_words(code):
    assert texts.reason(code) != code
    assert texts.reason(code).endswith(".")


def test_a_mail_servers_own_words_stay():
    assert texts.reason("550 no such user") == "550 no such user"


def test_every_code_that_the_source_writes_is_known():
    source = Path(texts.__file__).parent
    written = "".join(path.read_text() for path in source.glob("*.py"))
    for code in texts._REASONS:
        assert f'"{code}"' in written.replace(f'"{code}": N_', ""), code


def test_a_muted_address_is_shown_with_its_reason(stage):
    id = stage.configuration()
    stage.host.lms.configurations.mute(id, "ana@acme.example")
    stage.refuse(id)
    stage.host.administrator.append(Administrator(id="1", organization_id="acme", name="Ana Ruiz"))
    page = stage.host.app.test_client().get(f"/lms/{id}/alerts")
    assert page.status_code == 200
    assert "This address stopped these mails." in page.get_data(as_text=True)
