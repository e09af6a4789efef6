"""Rows tell what happened and nothing else: what isn't known is left out, never made up."""

from __future__ import annotations

import re
import uuid

import pytest
import sqlalchemy as sa

from flask_lms.database.models import Attempt, Audit, Configuration, DeliveryState, Status
from tests.pages.site import create, deliver
from tests.pages.support import text_of
from tests.world import World

#: What the help page says of no LMS in particular.
INVENTED = re.compile(r"lms\.example\.org|port 443|jane\.doe@localhost|E001|…|%\(")


@pytest.fixture
def one(world: World) -> uuid.UUID:
    return create(world, url="https://lrs.harbor.example:5001/xapi")


def attempted(world: World, one: uuid.UUID, cause: str, **values: object) -> uuid.UUID:
    """A waiting delivery after a request that failed; the delivery's id."""
    delivery = deliver(world, one, DeliveryState.PENDING)
    with world.app.app_context():
        world.db.session.add(
            Attempt(
                configuration_id=one,
                started_at=world.state.clock.now(world.db.session()),
                duration_ms=12,
                statements=1,
                delivery_ids=delivery.hex,
                size=700,
                verdict="failed",
                cause=cause,
                **values,
            )
        )
        world.db.session.commit()
    return delivery


def read(world: World, path: str) -> str:
    return text_of(world.client().get(f"/lms{path}"))


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        ("refused", "refuses connections"),
        ("timeout", "sent no answer"),
        ("redirect", "Your LMS redirects to another address."),
        ("settings", "Your LMS rejects the results as invalid."),
        ("credentials", "Your LMS refused the xAPI key or secret."),
    ],
)
def test_an_attempt_tells_only_what_was_kept_of_it(
    world: World, one: uuid.UUID, cause: str, says: str
) -> None:
    text = read(world, f"/deliveries/{attempted(world, one, cause)}")
    assert says in text
    assert not INVENTED.search(text)


def test_what_was_kept_of_an_attempt_is_told(world: World, one: uuid.UUID) -> None:
    delivery = attempted(world, one, "settings", http_status=400, words="No such version.")
    assert "invalid: “No such version”." in read(world, f"/deliveries/{delivery}")


def test_history_tells_only_what_was_kept_of_a_change(world: World, one: uuid.UUID) -> None:
    with world.app.app_context():
        now = world.state.clock.now(world.db.session())
        for cause in ("refused", "redirect", "settings"):
            changes = {"status": ["connected", "cant_connect"], "cause": cause}
            world.db.session.add(
                Audit(
                    organization_id="harbor",
                    configuration_id=one,
                    subject="Corporate LMS",
                    at=now,
                    action="status_changed",
                    changes=changes,
                )
            )
        world.db.session.commit()
    for path in ("/history", "/history.csv"):
        text = read(world, path)
        assert "refuses connections" in text
        assert "redirects to another address" in text
        assert not INVENTED.search(text)


def test_deliveries_say_why_without_facts_that_are_not_there(world: World, one: uuid.UUID) -> None:
    for reason in ("no_email", "bad_email", "too_long", "unknown_type"):
        deliver(world, one, DeliveryState.NOT_SENT, reason=reason, reason_words=None)
    for reason in ("rejected", "conflict", "too_large", "unheard_of"):
        deliver(world, one, DeliveryState.REJECTED, reason=reason, reason_words=None)
    for path in ("/deliveries", "/deliveries.csv"):
        text = read(world, path)
        assert "Your LMS rejected this result." in text
        assert "The participant ID is not an e-mail address." in text
        assert "Reason: unheard_of." in text
        assert not INVENTED.search(text)


def test_the_overview_of_one_whose_facts_were_lost(world: World, one: uuid.UUID) -> None:
    with world.app.app_context():
        rows = world.db.session.scalars(sa.select(Configuration)).all()
        for row in rows:
            row.health.status, row.health.cause = Status.CANT_CONNECT, "refused"
            row.health.since = world.state.clock.now(world.db.session())
        world.db.session.commit()
    for path in ("/", f"/{one}"):
        text = read(world, path)
        assert "Your LMS refuses connections: it may be stopped." in text
        assert not INVENTED.search(text)


def test_the_help_page_alone_has_examples(world: World) -> None:
    assert "lms.example.org refuses connections on port 443" in read(world, "/help")
