"""Locks on parts of the store, from here to the commit. For PostgreSQL: SQLite has one writer as it is.

Every transaction takes them in this order, so that none waits in a circle: the negotiation that a message or a result
is about (`Ledger.lock`), the circuit, a rival for it that may have to give way (`Ledger.lock`), claims, the audit log.
"""

from __future__ import annotations

from sqlalchemy import Connection

from meetme.runtime.database import lock_until_commit


def lock_circuit(tx: Connection, circuit: str) -> None:
    """Nobody else begins a negotiation for the circuit."""
    lock_until_commit(tx, f"negotiator_circuit {circuit}")


def lock_claims(tx: Connection) -> None:
    """Nobody else reads or writes claims."""
    lock_until_commit(tx, "negotiator_claim")
