"""A new encryption key: everything readable before, during and after."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from flask_lms.cli.keys import RekeyReport, rekey
from flask_lms.database.models import Attempt, Configuration, ConfigurationHealth
from flask_lms.encryption import Encryption, derive_keys
from flask_lms.testing import FakeLRS
from tests.world import World, result

OLD, NEW = (Fernet.generate_key() for _ in range(2))


@pytest.fixture
def attached(world: World) -> Callable[[int], None]:
    def attach(count: int) -> None:
        for number in range(count):
            world.attach("https://lms.example.com/xapi", f"LMS {number}")

    return attach


def _tokens(world: World) -> list[str]:
    world.db.session.rollback()
    return list(world.db.session.scalars(sa.select(Configuration.secrets)))


def test_every_secret_moves_to_the_newest_key(
    world: World, attached: Callable[[int], None]
) -> None:
    world.state.encryption = Encryption([OLD])
    attached(7)
    world.state.encryption = Encryption([NEW, OLD])
    progress: list[tuple[int, int]] = []
    done = rekey(world.state, batch=3, on_progress=lambda *seen: progress.append(seen))
    assert done == RekeyReport(done=7, already=0, unreadable=())
    assert progress == [(3, 7), (6, 7), (7, 7)]
    only_new = Encryption([NEW])
    assert all(only_new.decrypt(token)["secret"] == "s3cret-canary" for token in _tokens(world))
    assert rekey(world.state) == RekeyReport(done=0, already=7)


def test_each_organization_finds_in_its_history_how_many_were_encrypted_anew(
    world: World, attached: Callable[[int], None]
) -> None:
    world.state.encryption = Encryption([OLD])
    attached(3)
    world.organization_id = "globex"
    world.configuration("Other")
    world.state.encryption = Encryption([NEW, OLD])
    rekey(world.state, batch=2, by="operator")
    rekey(world.state)
    found = [
        (row.organization_id, row.changes, row.administrator_name)
        for row in world.history("rekeyed")
    ]
    assert found == [
        ("acme", {"configurations": 3}, "operator"),
        ("globex", {"configurations": 1}, "operator"),
    ]


def test_a_stopped_run_goes_on_where_it_was(world: World, attached: Callable[[int], None]) -> None:
    world.state.encryption = Encryption([OLD])
    attached(5)
    world.state.encryption = Encryption([NEW, OLD])

    def stop(seen: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rekey(world.state, batch=2, on_progress=stop)
    assert sum(map(Encryption([NEW]).is_current, _tokens(world))) == 2
    assert [row.changes for row in world.history("rekeyed")] == [{"configurations": 2}]
    assert rekey(world.state, batch=2) == RekeyReport(done=3, already=2)


def test_a_secret_that_no_key_reads_is_named_and_left_as_it_is(
    world: World, attached: Callable[[int], None]
) -> None:
    world.state.encryption = Encryption([OLD])
    attached(1)
    lost = _tokens(world)
    world.state.encryption = Encryption([NEW])
    assert rekey(world.state) == RekeyReport(unreadable=("LMS 0 (acme)",))
    assert _tokens(world) == lost


def test_a_secret_saved_meanwhile_is_not_overwritten(
    world: World, attached: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.state.encryption = Encryption([OLD])
    attached(1)
    vault = world.state.encryption = Encryption([NEW, OLD])
    rotate = Encryption.rotate

    def saved_meanwhile(self: Encryption, token: str, *bound_to: str) -> str:
        world.db.session.execute(
            sa.update(Configuration).values(secrets=vault.encrypt({"secret": "entered just now"}))
        )
        return rotate(self, token, *bound_to)

    monkeypatch.setattr(Encryption, "rotate", saved_meanwhile)
    rekey(world.state)
    assert [vault.decrypt(token) for token in _tokens(world)] == [{"secret": "entered just now"}]


def test_a_deleted_configurations_secret_moves_too(
    world: World, attached: Callable[[int], None]
) -> None:
    world.state.encryption = Encryption([OLD])
    attached(1)
    world.lms.configurations.delete(world.lms.configurations.list()[0].id)
    world.state.encryption = Encryption([NEW, OLD])
    assert rekey(world.state).done == 1


def test_nothing_to_do(world: World) -> None:
    assert rekey(world.state) == RekeyReport()


def test_a_token_is_read_by_its_own_configuration_at_its_own_address_only(
    world: World, lrs: FakeLRS
) -> None:
    """Whoever writes to the database gets no secret sent to where they like."""
    mine = world.attach(lrs.url, name="Mine", organization_id="dock")
    theirs = world.attach("https://lms.example/xapi", name="Theirs", secret="s3cret-of-another")
    world.lms.record(result("r1", organization_id="dock"))
    session = world.session
    token = theirs.secrets
    for changes in ({"secrets": token}, {"id": theirs.id, "settings": mine.settings}):
        row = changes.pop("id", mine.id)
        session.execute(sa.update(Configuration).where(Configuration.id == row).values(**changes))
        session.commit()
        assert world.lms.configurations.test(row).cause == "secret_unreadable"
    world.record("r2")
    for one in (mine, theirs):
        session.execute(sa.update(ConfigurationHealth).values(next_attempt_at=None))
        session.commit()
        world.deliver(one)
    assert lrs.received == []
    assert set(session.scalars(sa.select(Attempt.cause))) == {"secret_unreadable"}
    rekey(world.state)
    world.state.encryption = Encryption([NEW, *derive_keys(world.app.config)])
    assert len(rekey(world.state).unreadable) == 2  # nor does moving to a new key bind it anew


def test_secrets_of_before_are_read_and_then_bound(world: World, lrs: FakeLRS) -> None:
    world.state.encryption = Encryption([NEW])
    made = world.attach(lrs.url, key=lrs.key, secret=lrs.secret)
    unbound = Fernet(NEW).encrypt(json.dumps({"secret": lrs.secret}).encode()).decode()
    world.session.execute(sa.update(Configuration).values(secrets=unbound))
    world.session.commit()
    assert world.lms.configurations.test(made.id).is_connected
    assert rekey(world.state) == RekeyReport(done=1, already=0)
    assert world.lms.configurations.test(made.id).is_connected
    [token] = _tokens(world)
    assert made.id.hex in Fernet(NEW).decrypt(token.encode()).decode()
    assert rekey(world.state) == RekeyReport(done=0, already=1)
