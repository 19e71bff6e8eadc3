"""Idempotency keys: a request that is repeated finds what the first one led to, and does nothing more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from meetme.model.errors import Conflict, InvalidInput
from meetme.negotiator import store
from meetme.negotiator.events import Event
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.views import bad_name, is_name, raise_problems
from meetme.runtime.loop import Loop


@dataclass(frozen=True, slots=True)
class Once:
    """One request with its key; without one, nothing is remembered."""

    key: str | None
    body_hash: str

    def repeated(self, tx: Connection) -> Negotiation | None:
        """What the key has led to. Raises InvalidInput `idempotency_key_reused`."""
        done = None if self.key is None else store.done_with(tx, self.key)
        if done is None:
            return None
        if done.body_hash != self.body_hash:
            raise InvalidInput(
                "idempotency_key_reused",
                f'Idempotency-Key: must be a new one for another request ("{self.key}")',
                hint="a key repeats one request, word for word",
                field="Idempotency-Key",
            )
        found = store.load(tx, done.negotiation)
        # Both sides had started: what this key asked for is the negotiation that survived.
        if found is not None and found.superseded_by is not None:
            found = store.load(tx, found.superseded_by) or found
        return found

    def remember(self, tx: Connection, id: UUID, now: float) -> None:
        """What it leads to, in the transaction that does it."""
        if self.key is not None:
            store.put_done(tx, self.key, store.Done(self.body_hash, id), now)


class Keys:
    """The keys of one negotiator."""

    def __init__(self, loop: Loop[Negotiation, Event]) -> None:
        self._loop = loop
        self._in_flight: set[str] = set()

    async def once(
        self, key: str | None, body: dict[str, Any], work: Callable[[Once], Awaitable[Negotiation]]
    ) -> Negotiation:
        """What `key` has led to before, else what `work` leads to. Raises what that raises, InvalidInput, Conflict."""
        if key is None:
            return await work(Once(None, ""))
        if not is_name(key):
            raise_problems((bad_name("Idempotency-Key", key),))
        request = Once(key, hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest())
        if key in self._in_flight:
            raise Conflict(
                "idempotency_key_in_flight",
                f'Idempotency-Key: must not be in use by a request that is under way ("{key}")',
                hint="wait for its answer, then ask again",
                field="Idempotency-Key",
            )
        self._in_flight.add(key)
        try:
            return await self._loop.commit(request.repeated) or await work(request)
        finally:
            self._in_flight.discard(key)
