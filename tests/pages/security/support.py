"""Every route of the pages, called with the ids of one organization by another's administrator."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from flask_lms.alerts import unsubscribe
from flask_lms.database.models import Audit, Configuration, Delivery, DeliveryState
from flask_lms.services import tasks
from tests.pages.site import ANA, BEN, SETTINGS, fill
from tests.world import World

#: Words that stand in the victim's data and nowhere else.
CANARIES = (
    "Harbor Main LMS", "Contractor Academy", "Port Authority LMS", "Old Cornerstone",
    "Pilot Site Rotterdam", "Gone for Good", "Janet Canary", "jane@example.com", "ana.ruiz@harbor",
    "harbor-key", "harbor-1", "Spill Response", "Ana Ruiz", "lrs.example.org", "s3cret-canary",
    "HR-Canary", "mapped@harbor-canary",
)  # fmt: skip
#: No sign-in: they bring their own token, or hold nothing of anybody.
PUBLIC = frozenset({"static", "health", "mute", "profile", "schema"})


def is_public(world: World, rule: Rule) -> bool:
    """Whether nobody has to be signed in."""
    route = getattr(world.app.view_functions[rule.endpoint], "lms_route", None)
    if route is not None:
        return bool(route.is_public)
    return rule.endpoint.removeprefix("lms.") in PUBLIC


def routes(world: World) -> list[Rule]:
    """Those of the blueprint, as Flask knows them."""
    return [r for r in world.app.url_map.iter_rules() if r.endpoint.startswith("lms.")]


@dataclass(frozen=True)
class Ids:
    """What an address or a form may name of one organization."""

    organization_id: str
    configurations: tuple[uuid.UUID, ...]
    deliveries: tuple[uuid.UUID, ...]
    objectives: tuple[str, ...]
    emails: tuple[str, ...]
    tasks: tuple[uuid.UUID, ...] = ()
    mappings: tuple[uuid.UUID, ...] = ()


def seed(world: World) -> tuple[Ids, Ids]:
    """Data in every state: the victim's (harbor), and some of the caller's own (dock)."""
    made = fill(world)
    world.known["dock"] = [
        replace(one, name=f"Of the dock {one.id}") for one in world.known["dock"]
    ]
    with world.app.app_context():
        _rename(world)
        services = world.lms.configurations
        gone = services.create("harbor", "Gone for Good", ["a@harbor.example"], settings=SETTINGS)
        services.delete(gone.id)
        own = services.create(
            "dock", "Dock LMS", ["ben@dock.example"],
            settings={"url": "https://127.0.0.1:9/xapi", "key": "dock", "secret": "dock"},
        )  # fmt: skip
        services.attach(own.id, "dock-0")
        session = world.db.session
        per_state: list[uuid.UUID] = []
        for state in DeliveryState:
            per_state += session.scalars(
                sa.select(Delivery.id).where(Delivery.state == state).limit(2)
            )
        task = tasks.ask(
            world.state, "harbor", "attach", {"ids": ["harbor-1"]}, by=ANA,
            configuration_id=made["connected"],
        )  # fmt: skip
        people = world.lms.for_organization("harbor").participants
        people.map("HR-Canary", email="mapped@harbor-canary.example", by=ANA)
        mapping = people.list().items[0]
        all_of_them = (*made.values(), gone.id)
        victim = Ids(
            "harbor",
            all_of_them,
            tuple(per_state),
            ("harbor-1",),
            (str(ANA.email),),
            (task.id,),
            (mapping.id,),
        )
        mine = Ids("dock", (own.id,), (), ("dock-0",), (str(BEN.email),))
        session.commit()
    return victim, mine


def _rename(world: World) -> None:
    """The pages' own examples speak of a Corporate LMS and of Jane Doe."""
    session = world.db.session
    for table, column, old, new in (
        (Configuration, Configuration.name, "Corporate LMS", "Harbor Main LMS"),
        (Audit, Audit.subject, "Corporate LMS", "Harbor Main LMS"),
        (Delivery, Delivery.participant_name, "Jane Doe", "Janet Canary"),
    ):
        session.execute(sa.update(table).where(column == old).values({column: new}))
    session.execute(
        sa.update(Delivery).values(
            statement=sa.func.replace(Delivery.statement, "Jane Doe", "Janet Canary")
        )
    )
    session.commit()


def addresses(world: World, rule: Rule, path: Ids) -> Iterator[str]:
    """The rule filled with ids. A converter that is not known here fails: add it.

    :raises AssertionError: a route was added whose arguments nobody thought about.
    """
    choices: dict[str, tuple[Any, ...]] = {
        "configuration_id": path.configurations,
        "delivery_id": path.deliveries or (uuid.uuid4(),),
        "objective_id": path.objectives,
        "type": ("xapi", "nonsense"),
        "act": ("send-again", "check-again", "cancel"),
        "mapping_id": path.mappings or (uuid.uuid4(),),
        "task_id": path.tasks or (uuid.uuid4(),),
        "filename": ("lms.css",),
        "token": (_token(world, path), "forged"),
    }
    unknown = rule.arguments - choices.keys()
    assert not unknown, f"{rule.endpoint}: say in support.py what {unknown} may name"
    adapter = world.app.url_map.bind("localhost")
    names = sorted(rule.arguments)
    for values in itertools.product(*(choices[name] for name in names)):
        yield adapter.build(rule.endpoint, dict(zip(names, values, strict=True)))


def _token(world: World, path: Ids) -> str:
    with world.app.app_context():
        return unsubscribe.make(world.state, path.configurations[0], path.emails[0], world.now)


def fields(named: Ids, act: str, **more: Any) -> dict[str, Any]:
    """One form for all pages, whose every field names something of ``named``."""
    return {
        "act": act,
        "ids": [*map(str, named.deliveries), *named.objectives, *map(str, named.configurations)],
        "configuration_id": str(named.configurations[0]),
        "objective_id": named.objectives[0],
        "preview": str(named.configurations[0]),
        "organization": named.organization_id,
        "organization_id": named.organization_id,
        "email": named.emails[0],
        "confirmed": "1",
        "past": "yes",
        "since": "2020-01-01",
        "waiting": "cancel",
        "version": "1",
        "lms_version": "1",
        "name": "Taken over",
        "type": "xapi",
        "contact_emails": "thief@evil.example",
        "language": "en",
        "url": "https://evil.example/xapi",
        "key": "evil",
        "secret": "evil",
        "objective": named.objectives[0],
        "activity_id": "https://evil.example/1",
        "participant_id": "HR-Canary",
        "participant": "HR-Canary",
        "account_name": "",
        "account_home_page": "",
        **more,
    }


def forms(named: Ids) -> Iterator[dict[str, Any]]:
    """What a crafted page may post or ask for."""
    for act in ("save", "save_test", "mute", "unmute", "test", "back"):
        yield fields(named, act)
    for delivery_id in named.deliveries:
        yield fields(named, "save", only=str(delivery_id))
    yield fields(named, "save", all="1")
    yield fields(named, "save", all="1", configuration_id="", objective_id="", participant="jane")


def rows_of(world: World, organization_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of one organization, to see whether anything changed."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with world.app.app_context():
        session = world.db.session
        ids = list(
            session.scalars(
                sa.select(Configuration.id).where(Configuration.organization_id == organization_id)
            )
        )
        for name, table in world.db.metadata.tables.items():
            columns: Mapping[str, Any] = table.c
            where = []
            if "organization_id" in columns:
                where.append(table.c.organization_id == organization_id)
            if "configuration_id" in columns:
                where.append(table.c.configuration_id.in_(ids))
            if not where:
                continue
            order = list(table.primary_key.columns)
            rows = session.execute(sa.select(table).where(sa.or_(*where)).order_by(*order))
            found[name] = [tuple(row) for row in rows]
        session.rollback()
    assert len(found) >= 7
    return found


def assert_stays_here(response: TestResponse) -> None:
    """A redirect leads to the pages themselves, by a path without a host."""
    if 300 <= response.status_code < 400:
        parts = urlsplit(response.headers["Location"])
        assert (parts.scheme, parts.netloc) == ("", ""), response.headers["Location"]
        assert parts.path.startswith("/lms/")
        assert not parts.path.startswith("//")


def assert_tells_nothing(response: TestResponse, *, echoed: tuple[str, ...] = ()) -> None:
    """Nothing of the victim; ``echoed`` are words that the caller sent itself."""
    text = response.get_data(as_text=True) + str(response.headers)
    for canary in CANARIES:
        if canary not in echoed:
            assert canary not in text, f"{canary!r} at {response.request.path}"
