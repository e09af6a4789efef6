"""Putting every stored secret under the newest encryption key."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from ..app_state import AppState
from ..database.models import Configuration
from ..errors import SecretUnreadable


@dataclass(frozen=True, kw_only=True)
class RekeyReport:
    """What :func:`rekey` did.

    :param done: secrets that it encrypted anew.
    :param already: those that were under the newest key before.
    :param unreadable: names of the configurations whose secret no key in use can read: add the old
        key, or have the secret entered again.
    """

    done: int = 0
    already: int = 0
    unreadable: tuple[str, ...] = ()


def rekey(
    state: AppState, batch: int = 100, on_progress: Callable[[int, int], None] | None = None
) -> RekeyReport:
    """Encrypt all secrets with the newest key, those of deleted configurations too.

    Each batch is committed, and what is under the newest key is left alone, so it can be stopped
    and run again at any time, also beside running workers and pages.

    :param batch: configurations in one transaction.
    :param on_progress: called with how many were looked at, of how many.
    """
    session = state.session
    has_secret = Configuration.secrets.is_not(None)
    total = session.scalar(sa.select(sa.func.count()).where(has_secret)) or 0
    done = already = seen = 0
    unreadable: list[str] = []
    last = uuid.UUID(int=0)
    while True:
        rows = session.execute(
            sa.select(
                Configuration.id,
                Configuration.name,
                Configuration.organization_id,
                Configuration.secrets,
            )
            .where(has_secret, Configuration.id > last)
            .order_by(Configuration.id)
            .limit(batch)
        ).all()
        for id, name, organization_id, token in rows:
            if token is None or state.encryption.is_current(token):
                already += 1
                continue
            try:
                _replace(state, id, token)
            except SecretUnreadable:
                unreadable.append(f"{name} ({organization_id})")
            else:
                done += 1
        session.commit()
        seen += len(rows)
        if on_progress is not None:
            on_progress(seen, max(total, seen))
        if len(rows) < batch:
            return RekeyReport(done=done, already=already, unreadable=tuple(unreadable))
        last = rows[-1].id


def _replace(state: AppState, id: uuid.UUID, token: str) -> None:
    """Compare and set: a secret that was saved meanwhile is under the newest key anyway."""
    state.session.execute(
        sa.update(Configuration)
        .where(Configuration.id == id, Configuration.secrets == token)
        .values(secrets=state.encryption.rotate(token))
        .execution_options(synchronize_session=False)
    )
