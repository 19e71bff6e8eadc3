"""What a number of runs has reached: every row of the table, every point at which a catalog can die."""

from __future__ import annotations

from dataclasses import dataclass, field

from meetme.catalog.lifecycle import TRANSITIONS
from meetme.catalog.words import Party, State
from tests.simulation.orders.member import CRASH_POINTS
from tests.simulation.orders.world import Result

BROKEN = {(Party.SELLER, State.LINKING, "QueryReceived")}
"""Only a buyer that breaks the protocol by a message of its own asks then: `tests.catalog.test_lifecycle` does."""
ROWS = {(party, state, event.__name__) for party, state, event in TRANSITIONS} - BROKEN


@dataclass
class Coverage:
    """The rows taken and the points at which a process really died, over several runs."""

    rows: set[tuple[Party, State | None, str]] = field(default_factory=set)
    crashes: set[str] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Count one run in."""
        self.rows |= result.rows & ROWS
        self.crashes |= result.crashed

    @property
    def missing(self) -> list[str]:
        """What was never reached."""
        rows = [f"{party} {state or '-'} + {event}" for party, state, event in ROWS - self.rows]
        return sorted(rows) + sorted(set(CRASH_POINTS) - self.crashes)

    def __str__(self) -> str:
        found = f"{len(self.rows)} of {len(ROWS)} transitions, {len(self.crashes)} of {len(CRASH_POINTS)} crash points"
        return "\n".join([found, *(f"never reached: {what}" for what in self.missing)])
