"""What a number of runs has reached: every row of the protocol's table, every point at which a process can die."""

from __future__ import annotations

from dataclasses import dataclass, field

from meetme.negotiator.protocol import TRANSITIONS
from meetme.negotiator.states import State
from tests.simulation.world import Result

CRASH_POINTS = {
    "before a message is handled",
    "after a message was handled, before its answer left",
    "before a transaction",
    "after a transaction",
    "before an effect",
    "after an effect, before it is settled",
    "before an order is written down",
    "after an order was written down, before the device was touched",
    "half-way through a change of the device",
    "after the device was changed",
    "after an order was carried out, before its answer left",
    "before a probe",
}
"""Where negotiators and configurators die."""
ROWS = {(state, event.__name__) for state, event in TRANSITIONS}


@dataclass
class Coverage:
    """The rows taken and the points at which a process really died, over several runs."""

    rows: set[tuple[State | None, str]] = field(default_factory=set)
    crashes: set[str] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Count one run in."""
        self.rows |= result.rows & ROWS
        self.crashes |= result.crashed

    @property
    def missing(self) -> list[str]:
        """What was never reached."""
        rows = [f"{state or '-'} + {event}" for state, event in ROWS - self.rows]
        return sorted(rows) + sorted(CRASH_POINTS - self.crashes)

    def __str__(self) -> str:
        found = f"{len(self.rows)} of {len(ROWS)} transitions, {len(self.crashes)} of {len(CRASH_POINTS)} crash points"
        return "\n".join([found, *(f"never reached: {what}" for what in self.missing)])
