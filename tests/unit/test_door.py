"""The door: what the public API takes or returns can be imported from ``flask_lms``."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flask_lms
from flask_lms import LMS, InvalidValue, NotFound, Objectives, OrganizationServices, events
from flask_lms.database.models import DeliveryState
from tests.world import World, make_world

#: Where a reader begins; the classes that these lead to are walked as well.
START = (LMS, *(getattr(flask_lms, name) for name in flask_lms.__all__ if name[0].isupper()))


def classes(hint: Any) -> Iterator[type]:
    """The classes within a type hint."""
    if isinstance(hint, type) and not typing.get_args(hint):
        yield hint
    elif isinstance(hint, typing.TypeVar):
        yield from classes(hint.__bound__)
    elif isinstance(hint, list):  # the arguments of a Callable
        for one in hint:
            yield from classes(one)
    else:
        for one in (typing.get_origin(hint), *typing.get_args(hint)):
            if one is not None and one is not hint:
                yield from classes(one)


def hints(kind: type) -> Iterator[tuple[str, Any]]:
    """Where → type hint, of the public methods, properties and fields of a class."""
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        for name, hint in typing.get_type_hints(kind).items():
            yield f"{kind.__name__}.{name}", hint
    for name, member in vars(kind).items():
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        # A host makes an LMS, and values; services it gets from there.
        is_made = name == "__init__" and kind is LMS
        if inspect.isfunction(function) and (is_made or not name.startswith("_")):
            for part, hint in typing.get_type_hints(function).items():
                yield f"{kind.__name__}.{name}({part})", hint


def closed(start: tuple[Any, ...]) -> dict[str, set[str]]:
    """Name → where it stands, of every class of ours that cannot be imported from the top."""
    missing: dict[str, set[str]] = {}
    todo, seen = list(start), set()
    while todo:
        kind = todo.pop()
        if kind in seen or not isinstance(kind, type):
            continue
        seen.add(kind)
        for where, hint in hints(kind):
            for one in classes(hint):
                if not one.__module__.startswith("flask_lms"):
                    continue
                if getattr(flask_lms, one.__name__, None) is not one:
                    missing.setdefault(one.__name__, set()).add(where)
                todo.append(one)
    return missing


def test_every_class_that_the_api_takes_or_returns_is_exported() -> None:
    assert closed(START) == {}


def test_a_class_that_is_not_would_be_seen() -> None:
    class Door:
        def knock(self) -> list[Callable[[events.NamedSignal], flask_lms.settings.Settings]]: ...

    assert set(closed((Door,))) >= {"Settings"}


def test_what_is_exported_is_listed_once_and_exists() -> None:
    assert len(set(flask_lms.__all__)) == len(flask_lms.__all__)
    assert all(hasattr(flask_lms, name) for name in flask_lms.__all__)
    assert flask_lms.InvalidResult is InvalidValue


# -- for_organization --------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with make_world(f"sqlite:///{tmp_path / 'host.db'}") as made:
        yield made


def test_the_services_of_an_organization_find_nothing_of_others(world: World) -> None:
    acme, globex = (world.lms.for_organization(one) for one in ("acme", "globex"))
    made = acme.configurations.create(
        name="Corporate LMS",
        contact_emails=["ana@acme.example"],
        settings={"url": "https://lrs.example/xapi", "key": "k", "secret": "s"},
    )
    assert made.organization_id == "acme"
    acme.configurations.attach(made.id, "ppe")
    assert [one.id for one in acme.configurations.list()] == [made.id]
    assert acme.objectives.get("ppe").links[0].configuration_id == made.id
    assert acme.health().configurations == 1
    assert acme.deliveries.counts()[DeliveryState.PENDING] == 0

    assert globex.configurations.list() == []
    assert globex.health().configurations == 0
    for call in (
        lambda: globex.configurations.get(made.id),
        lambda: globex.configurations.list("acme"),
        lambda: globex.configurations.create("acme", "Mine", ["a@b.example"]),
        lambda: globex.configurations.same_target("acme", "xapi", made.settings),
        lambda: globex.objectives.previews(made.id, "ppe"),
    ):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(TypeError, match="organization_id"):
        world.lms.configurations.create(name="Whose?")


def test_an_id_that_can_be_none_never_opens_all(world: World) -> None:
    for wrong in (None, "", " ", 1.5):
        with pytest.raises(InvalidValue, match="organization_id"):
            world.lms.for_organization(wrong)  # type: ignore[arg-type]
    services = world.lms.for_organization(7)
    assert isinstance(services, OrganizationServices)
    assert isinstance(services.objectives, Objectives)
    assert services.objectives._organization_id == "7"
