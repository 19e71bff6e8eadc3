"""The replicas of one member, as `runtime.replicas` lets them know of each other, and the clock they go by.

One process alone (SQLite) takes back what the one before it had leased as soon as it starts. Several (PostgreSQL) hear
what the others commit, look for dead ones now and then, and go by the database's clock. A line to the database may be
lost for a while: then a replica hears nothing, and is dead to the others although it is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from meetme.runtime.clock import SharedClock
from meetme.runtime.ledger import Ledger

if TYPE_CHECKING:
    from tests.simulation.member import Negotiator

LOOK_SECONDS = 2.0
"""The real ones look more often; that only makes a run slow."""
DEAF_SECONDS = 6.0


class Siblings:
    """What one replica knows of the others."""

    def __init__(
        self, negotiator: Negotiator, ledger: Ledger, owner: str, clock: SharedClock, changed: Callable[..., None]
    ) -> None:
        self.owner = owner
        self.deaf_until = 0.0
        self._negotiator = negotiator
        self._world = negotiator.world
        self._ledger = ledger
        self._clock = clock
        self._changed = changed
        self._suspects: frozenset[str] = frozenset()

    def join(self) -> None:
        """Before anything is leased."""
        member = self._negotiator.member
        if len(member.negotiators) > 1:
            self.look()
        else:
            self._reclaim(frozenset(member.disk.run(self._ledger.owners)) - {self.owner})

    async def run(self) -> None:
        """Look for dead ones, for as long as the process lives."""
        while len(self._negotiator.member.negotiators) > 1:
            await asyncio.sleep(LOOK_SECONDS)
            if self._world.strikes("lose the line to the database", self._negotiator.name):
                self.deaf_until = self._world.now + self._world.chance.amount(self.owner, 0.2, DEAF_SECONDS)
                await asyncio.sleep(self.deaf_until - self._world.now)
                self._changed(())
            self.look()

    def look(self) -> None:
        """What time it is at the database, and who owns leases and is dead for the second time in a row."""
        member = self._negotiator.member
        self.keep_time()
        alive = {n.siblings.owner for n in member.alive if n.siblings.deaf_until <= self._world.now}
        dead = frozenset(member.disk.run(self._ledger.owners)) - alive - {self.owner}
        self._reclaim(dead & self._suspects)
        self._suspects = dead

    def keep_time(self) -> None:
        """Go by the database's clock."""
        self._clock.set(self._world.clock(f"{self._negotiator.member.id}/database").now())

    def _reclaim(self, owners: Collection[str]) -> None:
        if owners:
            now = self._clock.now()
            self._negotiator.member.disk.run(lambda tx: self._ledger.reclaim(tx, owners, now))
            self._world.trace(f"{self._negotiator.name} takes over from {sorted(owners)}")
            self._changed(())

    def wrote(self, instances: Collection[str]) -> None:
        """A transaction of this process was committed: the others hear of it."""
        for other in self._negotiator.member.alive:
            if other is not self._negotiator and other.siblings.deaf_until <= self._world.now:
                self._world.later(0.002, lambda o=other: o.hear(instances) if o.alive else None)  # type: ignore[misc]
