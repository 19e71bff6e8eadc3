"""What is told in one room: the log of events that people follow, and the audit log that shows tampering.

Both are only ever appended to, in the transaction that changes the state they speak of. Every room has tables of its
own (`negotiator_event`, `negotiator_audit`), made by its migrations.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, bindparam, func, insert, select

from meetme.runtime.database import lock_until_commit


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of the log of events (`state`, `step` or `health`); `body` is JSON text."""

    sequence: int
    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the audit log. `entry` is JSON text, as it was hashed."""

    sequence: int
    entry: str
    hash: str


class Logbook:
    """Both logs of one room. `subject`: what its events are about, and the column that says which one."""

    def __init__(self, room: str, subject: str) -> None:
        # Statements are built once: building one takes longer than running it.
        self.metadata = MetaData()
        self.event = Table(
            f"{room}_event",
            self.metadata,
            Column("sequence", Integer, primary_key=True),
            Column(subject, Text, nullable=False),
            Column("kind", Text, nullable=False),
            Column("body", Text, nullable=False),
        )
        self.audits = Table(
            f"{room}_audit",
            self.metadata,
            Column("sequence", Integer, primary_key=True, autoincrement=False),
            Column("entry", Text, nullable=False),
            Column("hash", Text, nullable=False),
        )
        self._subject = subject
        self._lock = f"{room}_audit"
        event, about = self.event, self.event.c[subject]
        self._add_event = insert(event)
        self._events = (
            select(event)
            .where(about == bindparam("who"), event.c.sequence > bindparam("after"))
            .order_by(event.c.sequence)
        )
        self._last_event = select(func.max(event.c.sequence)).where(about == bindparam("who"))
        self._add_audit = insert(self.audits)
        self._last_audit = select(self.audits).order_by(self.audits.c.sequence.desc()).limit(1)

    # --- what is told -------------------------------------------------------------------------------------------------

    def tell(self, tx: Connection, id: UUID, kind: str, body: dict[str, Any]) -> None:
        """Append to the log of events."""
        text = json.dumps(body, separators=(",", ":"))
        tx.execute(self._add_event, {self._subject: str(id), "kind": kind, "body": text})

    def told(self, tx: Connection, id: UUID, after: int = 0) -> list[Told]:
        """The log of events about one subject, behind the sequence number `after`."""
        rows = tx.execute(self._events, {"who": str(id), "after": after})
        return [Told(row.sequence, row.kind, row.body) for row in rows]

    def last_told(self, tx: Connection, id: UUID) -> int:
        """The sequence number of the newest event about one subject; 0 where there is none."""
        return tx.scalar(self._last_event, {"who": str(id)}) or 0

    # --- audit --------------------------------------------------------------------------------------------------------

    def lock_audit(self, tx: Connection) -> None:
        """Nobody else appends to the audit log until the transaction ends. The last lock that a transaction takes."""
        lock_until_commit(tx, self._lock)

    def audit(self, tx: Connection, now: float, what: str, **facts: Any) -> None:
        """Append to the audit log. Each entry's hash covers the one before: what was changed later can be told."""
        self.lock_audit(tx)
        last = tx.execute(self._last_audit).one_or_none()
        sequence, before = (last.sequence + 1, last.hash) if last else (1, "")
        entry = json.dumps({"at": now, "what": what, **facts}, sort_keys=True, separators=(",", ":"))
        tx.execute(self._add_audit, {"sequence": sequence, "entry": entry, "hash": _chain(sequence, before, entry)})

    def audit_entries(self, tx: Connection, after: int = 0, limit: int | None = None) -> list[AuditEntry]:
        """The audit log behind an entry, the oldest first."""
        table = self.audits
        rows = tx.execute(select(table).where(table.c.sequence > after).order_by(table.c.sequence).limit(limit))
        return [AuditEntry(row.sequence, row.entry, row.hash) for row in rows]

    def verify_audit(self, tx: Connection) -> int | None:
        """The first entry of the audit log that is not as it was written; None: all of them are.

        An end that was cut off shows only to who knows the last hash (`audit_head`) from before.
        """
        return first_broken(self.audit_entries(tx))

    def audit_head(self, tx: Connection) -> tuple[int, str]:
        """How many entries the audit log has, and the hash that covers all of them."""
        last = tx.execute(self._last_audit).one_or_none()
        return (last.sequence, last.hash) if last else (0, "")


def first_broken(entries: Iterable[AuditEntry], last: AuditEntry | None = None) -> int | None:
    """The first of `entries` that is not as it was written; None: all of them are. `last`: the one before them."""
    expected, before = (last.sequence + 1, last.hash) if last else (1, "")
    for entry in entries:
        if entry.sequence != expected or entry.hash != _chain(expected, before, entry.entry):
            return expected
        expected, before = expected + 1, entry.hash
    return None


def _chain(sequence: int, before: str, entry: str) -> str:
    return hashlib.sha256(f"{sequence}\n{before}\n{entry}".encode()).hexdigest()
