"""One organization's administrator never sees or changes anything of another's.

All routes and methods of the blueprint are crawled, as Flask knows them. A route that is added must
be entered in ``EXPECTED``; until then :func:`test_every_route_is_covered` fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Response

from flask_lms import Administrator
from tests.pages.security.support import (
    CANARIES,
    PUBLIC,
    Ids,
    addresses,
    assert_stays_here,
    assert_tells_nothing,
    forms,
    is_public,
    routes,
    rows_of,
    seed,
)
from tests.pages.site import ANA, BEN, make_site
from tests.world import World

#: With another organization's id in the address: 404. Without an id: the caller's own page.
NOT_FOUND, OWN, OPEN = "404", "own", "open"
EXPECTED = {
    "static": OPEN, "health": OPEN, "mute": OPEN, "profile": OPEN, "schema": OPEN,
    "index": OWN, "new": OWN, "new_connection": OWN, "objectives": OWN, "deliveries": OWN,
    "deliveries_csv": OWN, "delivery_act": OWN, "history": OWN, "history_csv": OWN, "help": OWN,
    "participants": OWN, "add_participant": OWN, "upload_participants": OWN,
    "participants_csv": OWN, "unmatched_csv": OWN,
    "activity_id": NOT_FOUND, "upload_activity_ids": NOT_FOUND, "activity_ids_csv": NOT_FOUND,
    "catalogue_csv": NOT_FOUND, "catalogue_file": NOT_FOUND,
    "participant": NOT_FOUND, "remove_participant": NOT_FOUND,
    "overview": NOT_FOUND, "test": NOT_FOUND, "sample": NOT_FOUND, "edit": NOT_FOUND,
    "send_waiting": NOT_FOUND, "reconcile": NOT_FOUND,
    "pause": NOT_FOUND, "resume": NOT_FOUND, "delete": NOT_FOUND, "restore": NOT_FOUND,
    "attach": NOT_FOUND, "backfill": NOT_FOUND, "detach": NOT_FOUND, "objective": NOT_FOUND,
    "delivery": NOT_FOUND, "configuration_deliveries": NOT_FOUND, "alerts": NOT_FOUND,
    "secrets": NOT_FOUND,
    "task": NOT_FOUND, "stop_task": NOT_FOUND,
}  # fmt: skip
GUARDED = sorted(name for name in EXPECTED if name not in PUBLIC)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Ids, Ids]]:
    path = tmp_path_factory.mktemp("tenancy") / "site.db"
    with make_site(f"sqlite:///{path}", WTF_CSRF_ENABLED=False, LMS_HEALTH_TOKEN="t" * 20) as world:
        victim, own = seed(world)
        yield world, victim, own


@pytest.fixture
def world(seeded: tuple[World, Ids, Ids], monkeypatch: pytest.MonkeyPatch) -> World:
    """Ben of the dock is signed in; he may test as often as he likes."""
    found = seeded[0]
    found.who = BEN
    monkeypatch.setattr("flask_lms.services.connection_test.MOST_A_MINUTE", 10**6)
    with found.app.app_context():  # what a test before entered for the dock
        people = found.lms.for_organization("dock").participants
        for one in people.list().items:
            people.remove(one.participant_id)
    return found


@pytest.fixture
def victim(seeded: tuple[World, Ids, Ids]) -> Ids:
    return seeded[1]


@pytest.fixture
def own(seeded: tuple[World, Ids, Ids]) -> Ids:
    return seeded[2]


def test_every_route_is_covered(world: World) -> None:
    assert {rule.endpoint.removeprefix("lms.") for rule in routes(world)} == set(EXPECTED)


def test_the_victim_sees_all_that_the_others_must_not(world: World, victim: Ids) -> None:
    """Else the crawl would prove nothing."""
    world.who = ANA
    client = world.client()
    seen = ""
    for rule in routes(world):
        if "GET" in (rule.methods or ()) and rule.endpoint.removeprefix("lms.") in GUARDED:
            for address in addresses(world, rule, victim):
                seen += client.get(address).get_data(as_text=True)
    missing = [word for word in CANARIES if word not in seen]
    assert missing == ["s3cret-canary"]


@pytest.mark.parametrize("name", GUARDED)
def test_another_organizations_ids_show_and_change_nothing(
    name: str, world: World, victim: Ids, own: Ids
) -> None:
    before = rows_of(world, "harbor")
    client = world.client()
    for rule in [rule for rule in routes(world) if rule.endpoint == f"lms.{name}"]:
        for address in addresses(world, rule, victim):
            for method in sorted(rule.methods or ()):
                for form in forms(victim) if method == "POST" else [None]:
                    response = client.open(address, method=method, data=form)
                    if EXPECTED[name] == NOT_FOUND and method != "OPTIONS":
                        assert response.status_code == 404, f"{method} {address}"
                    assert response.status_code < 500
                    assert_stays_here(response)
                    _assert_tells_nothing(response, form, address)
    assert rows_of(world, "harbor") == before


#: The others take nothing but the address.
TAKE_MORE = [name for name in GUARDED if name not in ("delete", "restore", "pause")]


@pytest.mark.parametrize("name", TAKE_MORE)
def test_another_organizations_ids_in_query_and_form_show_and_change_nothing(
    name: str, world: World, victim: Ids, own: Ids
) -> None:
    """The address is the caller's own; what it asks for and posts is not."""
    before = rows_of(world, "harbor")
    client = world.client()
    for rule in [rule for rule in routes(world) if rule.endpoint == f"lms.{name}"]:
        for address in addresses(world, rule, own):
            for form in forms(victim):
                for method in sorted({"GET", "POST"} & set(rule.methods or ())):
                    query = form if method == "GET" else None
                    data = None if method == "GET" else {**form, "name": "Dock LMS"}
                    response = client.open(address, method=method, query_string=query, data=data)
                    assert response.status_code < 500, f"{method} {address}"
                    assert_stays_here(response)
                    _assert_tells_nothing(response, form, address)
    assert rows_of(world, "harbor") == before


def _assert_tells_nothing(response: object, form: object, address: str) -> None:
    """What the caller sent may stand in the answer again."""
    sent = str(form) + address
    if "/history" in address:  # the caller's own tells what the caller mapped before
        sent += "HR-Canary"
    assert_tells_nothing(response, echoed=tuple(word for word in CANARIES if word in sent))  # type: ignore[arg-type]


def test_all_that_match_are_the_callers_own(world: World, victim: Ids) -> None:
    before = rows_of(world, "harbor")
    client = world.client()
    for act in ("send-again", "check-again", "cancel"):
        for query in ("all=1&confirmed=1", f"only={victim.deliveries[0]}&confirmed=1"):
            client.post(f"/lms/deliveries/{act}?{query}")
            client.post(f"/lms/deliveries/{act}", data=query, content_type=_URLENCODED)
    assert rows_of(world, "harbor") == before


_URLENCODED = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("who", [None, Response("sign in", 302, {"Location": "/login"})])
def test_who_is_not_signed_in_sees_and_changes_nothing(
    who: Response | None, world: World, victim: Ids
) -> None:
    world.who = who
    before = rows_of(world, "harbor")
    client = world.client()
    for rule in routes(world):
        if is_public(world, rule):
            continue
        for address in addresses(world, rule, victim):
            for method in sorted(rule.methods or ()):
                form = next(forms(victim)) if method == "POST" else None
                response = client.open(address, method=method, data=form)
                assert response.status_code == (302 if who else 403), f"{method} {address}"
                _assert_tells_nothing(response, form, address)
    assert rows_of(world, "harbor") == before


def test_open_pages_give_nothing_away_without_their_token(world: World, victim: Ids) -> None:
    world.who = None
    client = world.client()
    before = rows_of(world, "harbor")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "t" * 19}):
        answer = client.get("/lms/health.json?organization=harbor", headers=headers)
        assert answer.status_code == 404
    for token in ("forged", "..", "a.b", f"[%22{victim.configurations[0].hex}%22].x"):
        for method in ("GET", "POST"):
            answer = client.open(f"/lms/mute/{token}", method=method)
            assert answer.status_code in (400, 404, 405, 308)
            assert_tells_nothing(answer)
    for path in ("../lms.css", "..%2f__init__.py", "%2e%2e/models.py", "/etc/passwd"):
        assert client.get(f"/lms/static/{path}").status_code in (301, 308, 400, 404)
    assert rows_of(world, "harbor") == before


def test_an_organization_of_almost_the_same_name_is_another_one(world: World, victim: Ids) -> None:
    client = world.client()
    for organization_id in ("Harbor", "harbor ", "harbo", "harbor\x00", "%", "harbor'--", ""):
        try:
            world.who = Administrator(id="9", organization_id=organization_id, name="Eve")
        except ValueError:
            continue  # no such value can be made
        for address in ("/lms/", "/lms/deliveries", "/lms/deliveries.csv", "/lms/history"):
            assert_tells_nothing(client.get(address), echoed=("Spill Response", "harbor-1"))
        one = client.get(f"/lms/{victim.configurations[0]}")
        assert one.status_code == 404
