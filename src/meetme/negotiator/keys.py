"""Idempotency keys of this room: a request that is repeated finds the negotiation that the first one led to."""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from meetme.negotiator import store
from meetme.negotiator.events import Event
from meetme.negotiator.negotiation import Negotiation
from meetme.runtime import keys
from meetme.runtime.loop import Loop

Once: TypeAlias = keys.Once[Negotiation]
Keys: TypeAlias = keys.Keys[Negotiation]


def keys_of(loop: Loop[Negotiation, Event]) -> Keys:
    """The keys of one negotiator."""
    return keys.Keys(loop.commit, store.KEYS, _survivor)


def _survivor(tx: Connection, id: UUID) -> Negotiation | None:
    """The negotiation of an id; where both sides had started, the one that survived is what the key asked for."""
    found = store.load(tx, id)
    if found is not None and found.superseded_by is not None:
        found = store.load(tx, found.superseded_by) or found
    return found
