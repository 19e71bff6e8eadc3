"""What is told about negotiations: the log of events that people follow, and the audit log that shows tampering.

Both are only ever appended to, in the transaction that changes the state they speak of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, bindparam, func, insert, select

from meetme.negotiator.locks import lock_audit

_META = MetaData()
EVENT = Table(
    "negotiator_event",
    _META,
    Column("sequence", Integer, primary_key=True),
    Column("negotiation", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
)
AUDIT = Table(
    "negotiator_audit",
    _META,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("entry", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

_ADD_EVENT = insert(EVENT)
_EVENTS = (
    select(EVENT)
    .where(EVENT.c.negotiation == bindparam("who"), EVENT.c.sequence > bindparam("after"))
    .order_by(EVENT.c.sequence)
)
_LAST_EVENT = select(func.max(EVENT.c.sequence)).where(EVENT.c.negotiation == bindparam("who"))
_ADD_AUDIT = insert(AUDIT)
_LAST_AUDIT = select(AUDIT).order_by(AUDIT.c.sequence.desc()).limit(1)

# --- what is told about a negotiation ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of a negotiation's log of events (`state`, `step` or `health`); `body` is JSON text."""

    sequence: int
    kind: str
    body: str


def tell(tx: Connection, id: UUID, kind: str, body: dict[str, Any]) -> None:
    """Append to the log of events."""
    text = json.dumps(body, separators=(",", ":"))
    tx.execute(_ADD_EVENT, {"negotiation": str(id), "kind": kind, "body": text})


def told(tx: Connection, id: UUID, after: int = 0) -> list[Told]:
    """The log of events of one negotiation, behind the sequence number `after`."""
    rows = tx.execute(_EVENTS, {"who": str(id), "after": after})
    return [Told(row.sequence, row.kind, row.body) for row in rows]


def last_told(tx: Connection, id: UUID) -> int:
    """The sequence number of the newest event of one negotiation; 0 where there is none."""
    return tx.scalar(_LAST_EVENT, {"who": str(id)}) or 0


# --- audit ------------------------------------------------------------------------------------------------------------


def audit(tx: Connection, now: float, what: str, **facts: Any) -> None:
    """Append to the audit log. Each entry's hash covers the one before: what was changed later can be told."""
    lock_audit(tx)
    last = tx.execute(_LAST_AUDIT).one_or_none()
    sequence, before = (last.sequence + 1, last.hash) if last else (1, "")
    entry = json.dumps({"at": now, "what": what, **facts}, sort_keys=True, separators=(",", ":"))
    tx.execute(_ADD_AUDIT, {"sequence": sequence, "entry": entry, "hash": _chain(sequence, before, entry)})


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the audit log. `entry` is JSON text, as it was hashed."""

    sequence: int
    entry: str
    hash: str


def audit_entries(tx: Connection, after: int = 0, limit: int | None = None) -> list[AuditEntry]:
    """The audit log behind an entry, the oldest first."""
    rows = tx.execute(select(AUDIT).where(AUDIT.c.sequence > after).order_by(AUDIT.c.sequence).limit(limit))
    return [AuditEntry(row.sequence, row.entry, row.hash) for row in rows]


def first_broken(entries: Iterable[AuditEntry], last: AuditEntry | None = None) -> int | None:
    """The first of `entries` that is not as it was written; None: all of them are. `last`: the one before them."""
    expected, before = (last.sequence + 1, last.hash) if last else (1, "")
    for entry in entries:
        if entry.sequence != expected or entry.hash != _chain(expected, before, entry.entry):
            return expected
        expected, before = expected + 1, entry.hash
    return None


def verify_audit(tx: Connection) -> int | None:
    """The first entry of the audit log that is not as it was written; None: all of them are.

    An end that was cut off shows only to who knows the last hash (`audit_head`) from before.
    """
    return first_broken(audit_entries(tx))


def audit_head(tx: Connection) -> tuple[int, str]:
    """How many entries the audit log has, and the hash that covers all of them."""
    last = tx.execute(_LAST_AUDIT).one_or_none()
    return (last.sequence, last.hash) if last else (0, "")


def _chain(sequence: int, before: str, entry: str) -> str:
    return hashlib.sha256(f"{sequence}\n{before}\n{entry}".encode()).hexdigest()
