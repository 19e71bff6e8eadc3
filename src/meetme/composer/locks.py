"""Locks on parts of the store, from here to the commit. For PostgreSQL: SQLite has one writer as it is.

Every transaction takes them in this order, so that none waits in a circle: the circuit that a message or a result is
about (`Ledger.lock`), claims, turns, the audit log.
"""

from __future__ import annotations

from sqlalchemy import Connection

from meetme.runtime.database import lock_until_commit


def lock_claims(tx: Connection) -> None:
    """Nobody else reads or writes claims: what was free is still free when it is written down."""
    lock_until_commit(tx, "composer_claim")


def lock_turns(tx: Connection) -> None:
    """Nobody else takes or gives back a turn."""
    lock_until_commit(tx, "composer_turn")
