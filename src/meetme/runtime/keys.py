"""Idempotency keys: a request that is repeated finds what the first one led to, and does nothing more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Column, Connection, Double, MetaData, Table, Text, insert, select

from meetme.model.errors import Conflict, InvalidInput, raise_problems
from meetme.model.names import bad_name, is_name

T = TypeVar("T")
Find = Callable[[Connection, UUID], T | None]
"""What stands under an id by now."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a key was used for."""

    body_hash: str
    about: UUID


class KeyStore:
    """The table `<room>_idempotency`. `subject`: the column that says what a key has led to."""

    def __init__(self, room: str, subject: str, metadata: MetaData) -> None:
        self.table = Table(
            f"{room}_idempotency",
            metadata,
            Column("key", Text, primary_key=True),
            Column("body_hash", Text, nullable=False),
            Column(subject, Text, nullable=False),
            Column("at", Double, nullable=False),
        )
        self._subject = subject

    def done_with(self, tx: Connection, key: str) -> Done | None:
        """What this key was used for; None: nothing yet."""
        columns = self.table.c
        query = select(columns.body_hash, columns[self._subject]).where(columns.key == key)
        row = tx.execute(query).one_or_none()
        return None if row is None else Done(row[0], UUID(row[1]))

    def put_done(self, tx: Connection, key: str, done: Done, now: float) -> None:
        """Remember what a key was used for."""
        values = {"key": key, "body_hash": done.body_hash, self._subject: str(done.about), "at": now}
        tx.execute(insert(self.table).values(values))


@dataclass(frozen=True, slots=True)
class Once(Generic[T]):
    """One request with its key; without one, nothing is remembered."""

    key: str | None
    body_hash: str
    store: KeyStore
    find: Find[T]

    def repeated(self, tx: Connection) -> T | None:
        """What the key has led to. Raises InvalidInput `idempotency_key_reused`."""
        done = None if self.key is None else self.store.done_with(tx, self.key)
        if done is None:
            return None
        if done.body_hash != self.body_hash:
            raise InvalidInput(
                "idempotency_key_reused",
                f'Idempotency-Key: must be a new one for another request ("{self.key}")',
                hint="a key repeats one request, word for word",
                field="Idempotency-Key",
            )
        return self.find(tx, done.about)

    def remember(self, tx: Connection, id: UUID, now: float) -> None:
        """What it leads to, in the transaction that does it."""
        if self.key is not None:
            self.store.put_done(tx, self.key, Done(self.body_hash, id), now)


class Keys(Generic[T]):
    """The keys of one service. `commit` runs a transaction."""

    def __init__(
        self,
        commit: Callable[[Callable[[Connection], T | None]], Awaitable[T | None]],
        store: KeyStore,
        find: Find[T],
    ) -> None:
        self._commit = commit
        self._store = store
        self._find = find
        self._in_flight: set[str] = set()

    async def once(self, key: str | None, body: dict[str, Any], work: Callable[[Once[T]], Awaitable[T]]) -> T:
        """What `key` has led to before, else what `work` leads to. Raises what that raises, InvalidInput, Conflict."""
        if key is None:
            return await work(Once(None, "", self._store, self._find))
        if not is_name(key):
            raise_problems((bad_name("Idempotency-Key", key),))
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        request = Once(key, digest, self._store, self._find)
        if key in self._in_flight:
            raise Conflict(
                "idempotency_key_in_flight",
                f'Idempotency-Key: must not be in use by a request that is under way ("{key}")',
                hint="wait for its answer, then ask again",
                field="Idempotency-Key",
            )
        self._in_flight.add(key)
        try:
            return await self._commit(request.repeated) or await work(request)
        finally:
            self._in_flight.discard(key)
