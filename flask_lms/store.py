"""What a connector keeps of a configuration between its calls, such as a token: encrypted, shared
by all processes, and bound to the configuration, its address and the key under which it is kept.

What can't be read (a lost encryption key, a row copied from elsewhere) is as if it were not there.
No transaction is open while something is made: whoever makes it has put a claim into its row.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from .database.models import StoreEntry
from .database.types import Clock, update
from .encryption import Encryption, Secret, binding
from .errors import SecretUnreadable

#: Whoever makes a value has so long; then another one may begin.
CLAIM_SECONDS = 30
#: How often those who wait for it look.
_LOOK_SECONDS = (0.02, 0.05, 0.1, 0.25)
#: MariaDB's TEXT holds 65,535 bytes.
_MOST_CHARACTERS = 60_000


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is to be kept.

    :param values: name → text; all of it is encrypted.
    :param seconds: from now on it is there for so long; None: as long as its configuration.
    """

    values: Mapping[str, Secret | str] = field(repr=False)
    seconds: float | None = None


class Store(ABC):
    """The encrypted store of one configuration.

    A value has a name, such as ``token``, and below it a key of any length, such as an objective's
    id; there may be thousands of one name. Each call is a short transaction of its own.
    """

    @abstractmethod
    def get(self, name: str, key: str = "") -> Mapping[str, Secret] | None:
        """What is kept; None: nothing that can be read, or no longer.

        :param name: at most 40 characters.
        :param key: of any length.
        """

    @abstractmethod
    def put(self, name: str, key: str, kept: Kept) -> None:
        """Keep it, in place of what was there.

        :param name: at most 40 characters.
        :param key: of any length.
        :param kept: the values, and for how long.
        :raises ValueError: it is longer than about 40 kB.
        """

    @abstractmethod
    def delete(self, name: str, key: str | None = None) -> int:
        """Forget it.

        :param name: as in :meth:`put`.
        :param key: None: all of this name.
        :returns: how many there were.
        """

    @abstractmethod
    def count(self, name: str) -> int:
        """How many there are.

        :param name: of all these, with whatever key.
        """

    @abstractmethod
    def renewed(
        self,
        name: str,
        key: str,
        make: Callable[[], Kept],
        is_good: Callable[[Mapping[str, Secret]], bool] = lambda values: True,
    ) -> Mapping[str, Secret]:
        """What is kept; if it is missing or no longer good it is made, by one of all who ask for
        it at this moment, in whatever process. The others wait for it.

        A failure that all should share is kept like a success, for a few seconds.

        :param name: as in :meth:`put`.
        :param key: as in :meth:`put`.
        :param make: may take ``CLAIM_SECONDS``. What it raises is raised to its own caller; one of
            the others tries then.
        :param is_good: pure; asked of what is kept, and not of what ``make`` gave.
        """


class MemoryStore(Store):
    """Keeps it in memory: for what belongs to no saved configuration, and for tests."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: dict[tuple[str, str], tuple[float | None, dict[str, Secret]]] = {}

    def get(self, name: str, key: str = "") -> Mapping[str, Secret] | None:
        until, values = self._kept.get((name, key), (0.0, {}))
        return values if until is None or time.monotonic() < until else None

    def put(self, name: str, key: str, kept: Kept) -> None:
        until = None if kept.seconds is None else time.monotonic() + kept.seconds
        self._kept[name, key] = until, _hidden(kept)

    def delete(self, name: str, key: str | None = None) -> int:
        gone = [one for one in self._kept if one[0] == name and key in (None, one[1])]
        for one in gone:
            del self._kept[one]
        return len(gone)

    def count(self, name: str) -> int:
        return sum(self.get(*one) is not None for one in list(self._kept) if one[0] == name)

    def renewed(
        self,
        name: str,
        key: str,
        make: Callable[[], Kept],
        is_good: Callable[[Mapping[str, Secret]], bool] = lambda values: True,
    ) -> Mapping[str, Secret]:
        with self._lock:
            found = self.get(name, key)
            if found is None or not is_good(found):
                kept = make()
                self.put(name, key, kept)
                found = _hidden(kept)
            return found


class DatabaseStore(Store):
    """Keeps it in ``lms_store``.

    :param session: gives the session; none of its transactions is open.
    :param origin: of the configuration: what was kept for another one is not found.
    :param turn: held while the database is used, never while something is made.
    """

    def __init__(
        self,
        session: Callable[[], Session],
        clock: Clock,
        encryption: Encryption,
        configuration_id: uuid.UUID,
        origin: str,
        *,
        turn: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._session = session
        self._clock = clock
        self._encryption = encryption
        self._configuration_id = configuration_id
        self._bound_to = binding(configuration_id, origin)
        self._turn = turn or nullcontext()

    def get(self, name: str, key: str = "") -> Mapping[str, Secret] | None:
        with self._transaction() as session:
            return self._read(self._find(session, name, key), name, key)

    def put(self, name: str, key: str, kept: Kept) -> None:
        token = self._encrypted(name, key, kept)
        for is_last in (False, True):
            try:
                with self._transaction() as session:
                    now = self._clock.now(session)
                    values = {"token": token, "expires_at": _end(now, kept)}
                    if not update(
                        session, sa.update(StoreEntry).where(self._at(name, key)).values(**values)
                    ):
                        self._add(session, name, key, **values)
                return
            except IntegrityError:  # another one put it there at the same moment
                if is_last:
                    raise

    def delete(self, name: str, key: str | None = None) -> int:
        gone = self._named(name) if key is None else self._at(name, key)
        with self._transaction() as session:
            return update(session, sa.delete(StoreEntry).where(gone))

    def count(self, name: str) -> int:
        with self._transaction() as session:
            now = self._clock.now(session)
            is_there = StoreEntry.expires_at.is_(None) | (StoreEntry.expires_at > now)
            query = sa.select(sa.func.count()).where(
                self._named(name), StoreEntry.token.is_not(None), is_there
            )
            return session.scalar(query) or 0

    def renewed(
        self,
        name: str,
        key: str,
        make: Callable[[], Kept],
        is_good: Callable[[Mapping[str, Secret]], bool] = lambda values: True,
    ) -> Mapping[str, Secret]:
        seen, since, looks = None, 0.0, 0
        while True:
            with self._transaction() as session:
                row = self._find(session, name, key)
                found = self._read(row, name, key)
                if found is not None and is_good(found):
                    return found
                # Whoever claimed it may have died; a clock that stands still doesn't matter.
                if row is not None and row.claim != seen:
                    seen, since = row.claim, time.monotonic()
                is_gone = seen is not None and time.monotonic() - since > CLAIM_SECONDS
                claim = self._claim(session, name, key, row, is_gone=is_gone)
            if claim is not None:
                break
            time.sleep(_LOOK_SECONDS[min(looks, len(_LOOK_SECONDS) - 1)])
            looks += 1
        is_mine = self._at(name, key), StoreEntry.claim == claim
        try:
            kept = make()
            token = self._encrypted(name, key, kept)
        except BaseException:
            with self._transaction() as session:
                update(session, sa.update(StoreEntry).where(*is_mine).values(claimed_until=None))
            raise
        with self._transaction() as session:  # if another one took over, that one's stays
            new = {"token": token, "expires_at": _end(self._clock.now(session), kept)}
            update(session, sa.update(StoreEntry).where(*is_mine).values(claimed_until=None, **new))
        return _hidden(kept)

    # -- inside ------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._turn:
            session = self._session()
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    def _named(self, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(
            StoreEntry.configuration_id == self._configuration_id, StoreEntry.name == name
        )

    def _at(self, name: str, key: str) -> sa.ColumnElement[bool]:
        return sa.and_(self._named(name), StoreEntry.key_digest == _digest(key))

    def _find(self, session: Session, name: str, key: str) -> Any:
        return session.execute(
            sa.select(
                StoreEntry.token,
                StoreEntry.expires_at,
                StoreEntry.claim,
                StoreEntry.claimed_until,
                self._clock.column().label("now"),
            ).where(self._at(name, key))
        ).one_or_none()

    def _read(self, row: Any, name: str, key: str) -> dict[str, Secret] | None:
        if row is None or row.token is None or (row.expires_at and row.expires_at <= row.now):
            return None
        try:
            return self._encryption.decrypt(row.token, self._bound(name, key))
        except SecretUnreadable:
            return None

    def _claim(
        self, session: Session, name: str, key: str, row: Any, *, is_gone: bool
    ) -> int | None:
        """Its number; None: another one is at it."""
        now = self._clock.now(session)
        until = now + timedelta(seconds=CLAIM_SECONDS)
        if row is None:
            try:
                self._add(session, name, key, claim=1, claimed_until=until)
            except IntegrityError:
                session.rollback()
                return None
            return 1
        if row.claimed_until is not None and row.claimed_until > now and not is_gone:
            return None
        claimed = update(
            session,
            sa.update(StoreEntry)
            .where(self._at(name, key), StoreEntry.claim == row.claim)
            .values(claim=row.claim + 1, claimed_until=until),
        )
        return row.claim + 1 if claimed else None

    def _add(self, session: Session, name: str, key: str, **values: Any) -> None:
        session.execute(
            sa.insert(StoreEntry).values(
                configuration_id=self._configuration_id,
                name=name,
                key_digest=_digest(key),
                **values,
            )
        )

    def _bound(self, name: str, key: str) -> str:
        return f"{self._bound_to}\n{name}\n{key}"

    def _encrypted(self, name: str, key: str, kept: Kept) -> str:
        token = self._encryption.encrypt(kept.values, self._bound(name, key))
        if len(token) > _MOST_CHARACTERS:
            raise ValueError("this is too long to be kept")
        return token


def _hidden(kept: Kept) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in kept.values.items()}


def _end(now: datetime, kept: Kept) -> datetime | None:
    return None if kept.seconds is None else now + timedelta(seconds=kept.seconds)


def _digest(key: str) -> str:
    """Keys of any length, and those that differ in case only are two on every database."""
    return hashlib.sha256(key.encode()).hexdigest()
