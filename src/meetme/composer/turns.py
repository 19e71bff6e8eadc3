"""Who may be set up now: so many circuits at a time, the others wait, durably and in order.

Every circuit that is being set up holds things from others and has deadlines. A hundred at once, on a machine that has
time for ten, would all be late, give everything up, and begin again. So a circuit that begins at this exchange looks
for routes when its turn comes, and its time counts from then on. It gives its turn back once it is reserved, has
failed, or has to wait for what others hold for the moment; then it queues again. Who waits holds nothing, and who has
a turn waits for nobody's: so composers whose circuits cross each other cannot wait in a circle.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from meetme.composer import store
from meetme.composer.effects import COMPOSE
from meetme.composer.locks import lock_turns
from meetme.runtime.ledger import Lease, Ledger

WAIT_SECONDS = 600.0
"""When to look again, should nobody have said that the turn has come."""


class Turns:
    """The turns of one exchange. Every method is part of the caller's transaction."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        """`most`: how many circuits are set up at a time."""
        self._ledger = ledger
        self._most = most

    def take(self, tx: Connection, lease: Lease, now: float) -> bool:
        """Whether the circuit whose search was leased has its turn. If not, the search is put off until it has."""
        lock_turns(tx)
        store.queue(tx, lease.instance, now)
        self._call(tx, lease.machine, now, but=lease.instance)
        if store.has_turn(tx, lease.instance):
            return True
        self._ledger.postpone(tx, lease, now, WAIT_SECONDS, f"waits_turn: {self._most} others are being set up")
        return False

    def leave(self, tx: Connection, machine: str, circuit: UUID, now: float) -> None:
        """A circuit is not being set up any more: the next one is."""
        lock_turns(tx)
        store.leave_queue(tx, circuit)
        self._call(tx, machine, now)

    def _call(self, tx: Connection, machine: str, now: float, but: str | None = None) -> None:
        for instance in store.call_next(tx, self._most):
            if instance != but:
                self._ledger.hasten(tx, machine, instance, COMPOSE, now)
