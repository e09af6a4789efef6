"""What connectors keep between their calls: encrypted, bound, and made once for all who ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from flask_lms import Configuration, Kept, Store
from flask_lms.cli.keys import rekey
from flask_lms.database.models import StoreEntry
from flask_lms.delivery.retention import purge
from flask_lms.encryption import Encryption
from flask_lms.store import CLAIM_SECONDS, MemoryStore
from tests.world import SETTINGS, World

TOKEN = "t0ken-canary"


@pytest.fixture
def made(world: World) -> Configuration:
    world.freeze()
    return world.configuration()


def store_of(world: World, made: Configuration) -> Store:
    world.session.rollback()
    return world.state.store_of(made.id, made.type, made.settings)


@pytest.fixture(params=["memory", "database"])
def store(request: pytest.FixtureRequest, world: World, made: Configuration) -> Store:
    return MemoryStore() if request.param == "memory" else store_of(world, made)


def kept(text: str = TOKEN, seconds: float | None = None) -> Kept:
    return Kept(values={"token": text}, seconds=seconds)


def must_not() -> Kept:
    raise AssertionError("there was no need to make it")


def test_what_is_put_is_found_under_its_name_and_key_to_the_letter(store: Store) -> None:
    store.put("user", "Jane", kept("1"))
    store.put("user", "jane", kept("2"))
    store.put("user", "x" * 5000, kept("3"))
    store.put("user", "jane", kept("4"))
    store.put("course", "jane", kept("5"))
    found = store.get("user", "jane")
    assert found is not None
    assert (found["token"], repr(found["token"])) == ("4", "<Secret>")
    assert store.get("user", "Jane") == {"token": "1"}
    assert store.get("user", "x" * 5000) == {"token": "3"}
    assert store.get("user") is None
    assert store.count("user") == 3
    assert (store.delete("user", "jane"), store.delete("user"), store.count("user")) == (1, 2, 0)
    assert store.get("course", "jane") == {"token": "5"}


def test_a_value_that_is_over_is_made_anew(store: Store) -> None:
    store.put("token", "", kept("old", seconds=-1))
    assert (store.get("token"), store.count("token")) == (None, 0)
    assert store.renewed("token", "", lambda: kept("new", 60)) == {"token": "new"}
    assert store.renewed("token", "", must_not) == {"token": "new"}


def test_a_value_that_is_good_no_more_is_made_anew(store: Store) -> None:
    store.put("token", "", kept("revoked"))
    found = store.renewed("token", "", kept, lambda values: values["token"] != "revoked")
    assert found == store.get("token") == {"token": TOKEN}


def test_who_fails_to_make_it_leaves_the_way_to_others(store: Store) -> None:
    def fail() -> Kept:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.renewed("token", "", fail)
    assert store.get("token") is None
    assert store.renewed("token", "", kept) == {"token": TOKEN}


def test_nothing_of_it_stands_in_the_database_in_clear(world: World, made: Configuration) -> None:
    store_of(world, made).put("user", "jane.doe@acme.example", kept())
    rows = world.session.execute(sa.select(StoreEntry.__table__)).all()
    assert len(rows) == 1
    assert "canary" not in str(rows)
    assert "jane" not in str(rows)
    with pytest.raises(ValueError, match="too long"):
        store_of(world, made).put("user", "", kept("x" * 50_000))


def test_a_row_copied_to_another_place_or_address_is_as_if_it_were_not_there(
    world: World, made: Configuration
) -> None:
    other = world.configuration("Other")
    store_of(world, made).put("user", "jane", kept())
    store_of(world, made).put("user", "john", kept("john's"))
    store_of(world, other).put("user", "jane", kept("other"))
    token = world.session.scalar(
        sa.select(StoreEntry.token).where(StoreEntry.configuration_id == made.id).limit(1)
    )
    world.session.execute(sa.update(StoreEntry).values(token=token))
    world.session.commit()
    found = [
        store_of(world, one).get("user", key)
        for one, key in ((made, "jane"), (made, "john"), (other, "jane"))
    ]
    assert sum(one is not None for one in found) == 1
    assert found[2] is None
    moved = world.state.store_of(made.id, "xapi", {**SETTINGS, "url": "https://elsewhere.example"})
    assert moved.get("user", "jane") is moved.get("user", "john") is None


def test_a_value_that_no_key_reads_is_made_anew(world: World, made: Configuration) -> None:
    store_of(world, made).put("token", "", kept("lost"))
    world.state.encryption = Encryption([Fernet.generate_key()])
    assert store_of(world, made).get("token") is None
    assert store_of(world, made).renewed("token", "", kept) == {"token": TOKEN}


def test_of_many_threads_one_makes_it_and_no_transaction_is_open_meanwhile(
    world: World, made: Configuration
) -> None:
    id, asked, calls = made.id, threading.Barrier(9), []

    def make() -> Kept:
        calls.append(world.session.in_transaction())
        asked.wait(10)  # the others have seen that it isn't there
        return kept("made once", 60)

    def ask(number: int) -> str:
        with world.app.app_context():
            store = world.state.store_of(id, "xapi", SETTINGS)
            if number:
                assert store.get("token") is None
                asked.wait(10)
            return store.renewed("token", "", make)["token"].reveal()

    world.session.rollback()
    with ThreadPoolExecutor(9) as pool:
        found = set(pool.map(ask, range(9)))
    assert (found, calls) == ({"made once"}, [False])


def test_a_claim_of_a_process_that_died_is_taken_over_and_the_late_one_writes_nothing(
    world: World, made: Configuration
) -> None:
    def died() -> Kept:
        world.clock.advance(seconds=CLAIM_SECONDS + 1)
        other = world.state.store_of(made.id, made.type, made.settings)
        assert other.renewed("token", "", lambda: kept("of the other")) == {"token": "of the other"}
        return kept("late")

    store = store_of(world, made)
    assert store.renewed("token", "", died) == {"token": "late"}
    assert store.get("token") == {"token": "of the other"}


def test_it_goes_with_the_address_and_with_the_configuration(
    world: World, made: Configuration
) -> None:
    def rows() -> int:
        world.session.rollback()
        return int(world.session.scalar(sa.select(sa.func.count()).select_from(StoreEntry)) or 0)

    store_of(world, made).put("user", "jane", kept())
    world.configurations.update(made.id, name="Renamed", settings={"key": "other"})
    assert rows() == 1
    moved = {**SETTINGS, "url": "https://elsewhere.example/xapi"}
    world.configurations.update(made.id, settings=moved)
    assert rows() == 0
    store_of(world, made).put("user", "jane", kept())
    store_of(world, made).put("token", "", kept(seconds=60))
    purge(world.state, world.clock.advance(days=2))
    assert rows() == 1
    world.configurations.delete(made.id)
    purge(world.state, world.clock.advance(days=29))
    assert rows() == 1
    purge(world.state, world.clock.advance(days=2))
    assert rows() == 0


def test_it_moves_to_the_newest_key(world: World, made: Configuration) -> None:
    old, new = Fernet.generate_key(), Fernet.generate_key()
    world.state.encryption = Encryption([old])
    for number in range(5):
        store_of(world, made).put("user", str(number), kept())
    world.state.encryption = Encryption([new, old])
    assert rekey(world.state, batch=2).kept == 5
    assert rekey(world.state).kept == 0
    world.state.encryption = Encryption([new])
    assert store_of(world, made).get("user", "3") == {"token": TOKEN}
    world.state.encryption = Encryption([Fernet.generate_key()])
    assert rekey(world.state).unreadable == ("Corporate LMS (acme)",)
