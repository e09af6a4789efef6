"""A new encryption key: everything readable before, during and after."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from flask_lms.cli.keys import RekeyReport, rekey
from flask_lms.database.models import Configuration
from flask_lms.encryption import Encryption
from tests.host import Host

OLD, NEW = (Fernet.generate_key() for _ in range(2))


@pytest.fixture
def attached(host: Host) -> Callable[[int], None]:
    def attach(count: int) -> None:
        for number in range(count):
            host.attach("https://lms.example.com/xapi", f"LMS {number}")

    return attach


def _tokens(host: Host) -> list[str]:
    host.db.session.rollback()
    return list(host.db.session.scalars(sa.select(Configuration.secrets)))


def test_every_secret_moves_to_the_newest_key(host: Host, attached: Callable[[int], None]) -> None:
    host.state.encryption = Encryption([OLD])
    attached(7)
    host.state.encryption = Encryption([NEW, OLD])
    progress: list[tuple[int, int]] = []
    done = rekey(host.state, batch=3, on_progress=lambda *seen: progress.append(seen))
    assert done == RekeyReport(done=7, already=0, unreadable=())
    assert progress == [(3, 7), (6, 7), (7, 7)]
    only_new = Encryption([NEW])
    assert all(only_new.decrypt(token)["secret"] == "s3cret-canary" for token in _tokens(host))
    assert rekey(host.state) == RekeyReport(done=0, already=7)


def test_a_stopped_run_goes_on_where_it_was(host: Host, attached: Callable[[int], None]) -> None:
    host.state.encryption = Encryption([OLD])
    attached(5)
    host.state.encryption = Encryption([NEW, OLD])

    def stop(seen: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rekey(host.state, batch=2, on_progress=stop)
    assert sum(map(Encryption([NEW]).is_current, _tokens(host))) == 2
    assert rekey(host.state, batch=2) == RekeyReport(done=3, already=2)


def test_a_secret_that_no_key_reads_is_named_and_left_as_it_is(
    host: Host, attached: Callable[[int], None]
) -> None:
    host.state.encryption = Encryption([OLD])
    attached(1)
    lost = _tokens(host)
    host.state.encryption = Encryption([NEW])
    assert rekey(host.state) == RekeyReport(unreadable=("LMS 0 (acme)",))
    assert _tokens(host) == lost


def test_a_secret_saved_meanwhile_is_not_overwritten(
    host: Host, attached: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.state.encryption = Encryption([OLD])
    attached(1)
    vault = host.state.encryption = Encryption([NEW, OLD])
    rotate = Encryption.rotate

    def saved_meanwhile(self: Encryption, token: str) -> str:
        host.db.session.execute(
            sa.update(Configuration).values(secrets=vault.encrypt({"secret": "entered just now"}))
        )
        return rotate(self, token)

    monkeypatch.setattr(Encryption, "rotate", saved_meanwhile)
    rekey(host.state)
    assert [vault.decrypt(token) for token in _tokens(host)] == [{"secret": "entered just now"}]


def test_a_deleted_configurations_secret_moves_too(
    host: Host, attached: Callable[[int], None]
) -> None:
    host.state.encryption = Encryption([OLD])
    attached(1)
    host.lms.configurations.delete(host.lms.configurations.list()[0].id)
    host.state.encryption = Encryption([NEW, OLD])
    assert rekey(host.state).done == 1


def test_nothing_to_do(host: Host) -> None:
    assert rekey(host.state) == RekeyReport()
