"""Putting every stored secret under the newest encryption key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..app_state import AppState
from ..audit import By, change
from ..database.models import Configuration, StoreEntry
from ..database.types import by_id, update
from ..encryption import binding
from ..errors import SecretUnreadable


@dataclass(frozen=True, kw_only=True)
class RekeyReport:
    """What :func:`rekey` did.

    :param done: secrets that it encrypted anew.
    :param already: those that were under the newest key before.
    :param unreadable: names of the configurations whose secret no key in use can read: add the old
        key, or have the secret entered again.
    :param kept: values that connectors keep, such as tokens, encrypted anew.
    """

    done: int = 0
    already: int = 0
    unreadable: tuple[str, ...] = ()
    kept: int = 0


def rekey(
    state: AppState,
    batch: int = 100,
    on_progress: Callable[[int, int], None] | None = None,
    by: By = None,
) -> RekeyReport:
    """Encrypt all secrets with the newest key, those of deleted configurations too, and bind those
    of before to their configuration and its address. Then what connectors keep.

    Each batch is committed, and what is under the newest key is left alone, so it can be stopped
    and run again at any time, also beside running workers and pages. Each organization finds in its
    history how many of its secrets were.

    :param batch: configurations in one transaction.
    :param on_progress: called with how many were looked at, of how many.
    :param by: who acts, for the history.
    """
    session = state.session
    has_secret = Configuration.secrets.is_not(None)
    total = session.scalar(sa.select(sa.func.count()).where(has_secret)) or 0
    already = seen = kept = 0
    unreadable: list[str] = []
    of = Counter[str]()  # organization → secrets encrypted anew
    columns: list[Any] = [
        Configuration.id,
        Configuration.name,
        Configuration.organization_id,
        Configuration.secrets,
        Configuration.type,
        Configuration.settings,
    ]
    query = sa.select(*columns).where(has_secret)
    try:
        for rows in by_id(session, query, Configuration.id, batch):
            here = Counter[str]()
            for id, name, organization_id, token, type, settings, _ in rows:
                if token is None or state.encryption.is_current(token):
                    already += 1
                    continue
                connector = state.registry.get(type)
                bound_to = binding(id, connector.origin(settings)) if connector else None
                try:
                    rotated = state.encryption.rotate(token, bound_to)
                except SecretUnreadable:
                    unreadable.append(f"{name} ({organization_id})")
                    continue
                # Compare and set: one saved meanwhile is under the newest key anyway.
                same = sa.and_(Configuration.id == id, Configuration.secrets == token)
                update(session, sa.update(Configuration).where(same).values(secrets=rotated))
                here[organization_id] += 1
            session.commit()
            of += here
            seen += len(rows)
            if on_progress is not None:
                on_progress(seen, max(total, seen))
        kept_columns: list[Any] = [
            StoreEntry.token,
            Configuration.name,
            Configuration.organization_id,
        ]
        entries = sa.select(*kept_columns)
        entries = entries.join(Configuration, Configuration.id == StoreEntry.configuration_id)
        has_token = StoreEntry.token.is_not(None)
        for rows in by_id(session, entries.where(has_token), StoreEntry.id, batch):
            for token, name, organization_id, id in rows:
                if token is None or state.encryption.is_current(token):
                    continue
                try:
                    rotated = state.encryption.rotate(token)
                except SecretUnreadable:
                    unreadable.append(f"{name} ({organization_id})")
                    continue
                same = sa.and_(StoreEntry.id == id, StoreEntry.token == token)
                kept += update(session, sa.update(StoreEntry).where(same).values(token=rotated))
            session.commit()
    finally:
        session.rollback()
        with change(state, by) as made:  # told even when it was broken off
            for organization_id, count in sorted(of.items()):
                made.note(
                    "rekeyed", None, {"configurations": count}, organization_id=organization_id
                )
    return RekeyReport(
        done=sum(of.values()),
        already=already,
        unreadable=tuple(dict.fromkeys(unreadable)),
        kept=kept,
    )
