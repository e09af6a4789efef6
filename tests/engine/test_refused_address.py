"""An address that the LMS refuses has a cause of its own, in which nobody is named but on the page
of the delivery itself.
"""

from __future__ import annotations

import json
import logging

import pytest
import sqlalchemy as sa

from flask_lms import Participant
from flask_lms.database.models import DeliveryState, Mail
from flask_lms.testing import FakeAnswer, FakeLRS
from tests.pages.support import text_of
from tests.world import ANA, World, result

SAID = "Problem in 'statements.0.actor.mbox'. Received '\"mailto:jane!doe@corp.local\"'"


def test_it_names_the_shape_on_the_page_and_no_mail_and_no_log_names_anybody(
    world: World, lrs: FakeLRS, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = world.freeze()
    configuration = world.attach(**lrs.settings)
    who = Participant(id="E7", email="jane!doe@corp.local", name="Jane Doe")
    for id in ("r1", "r2"):  # also when it is refused in a batch first
        world.lms.record(result(id, participant=who))
    lrs.answer_always(FakeAnswer(400, {}, json.dumps({"message": SAID}).encode()))
    for _ in range(12):
        world.deliver(configuration)
        clock.advance(hours=13)
    rows = world.rows()
    assert [(row.state, row.reason) for row in rows] == [
        (DeliveryState.REJECTED, "address_refused")
    ] * 2
    world.who = ANA
    client = world.client()
    page = text_of(client.get(f"/lms/deliveries/{rows[0].id}"))
    assert "does not take an e-mail address of the form x!x@x.local" in page
    assert "Account on this platform" in page
    listed = text_of(client.get("/lms/deliveries"))
    assert "of the form x!x@x.local" in listed
    world.tick(days=2)
    mails = world.session.scalars(sa.select(Mail)).all()
    said = caplog.text + repr([vars(mail) for mail in mails])
    for text in ("jane!doe", "x!x@x", "corp.local"):
        assert text not in said
