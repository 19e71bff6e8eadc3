"""What a number of runs has reached: every row of the table, every point at which a process can die."""

from __future__ import annotations

from dataclasses import dataclass, field

from meetme.composer.circuit import State
from meetme.composer.signalling import TRANSITIONS
from tests.simulation.chains.draw import CRASHES
from tests.simulation.chains.world import Result

SELDOM = {(State.DEGRADED, "AcceptedReceived")}
"""An answer that comes later than a path takes to be built and to break: hardly any run has it."""
ROWS = {(state, event.__name__) for state, event in TRANSITIONS} - SELDOM
CRASH_POINTS = {kind.removeprefix("crash ") for kind in CRASHES}


@dataclass
class Coverage:
    """The rows taken and the points at which a process really died, over several runs."""

    rows: set[tuple[State | None, str]] = field(default_factory=set)
    crashes: set[str] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Count one run in."""
        self.rows |= result.rows & ROWS
        self.crashes |= result.crashed & CRASH_POINTS

    @property
    def missing(self) -> list[str]:
        """What was never reached."""
        rows = [f"{state or '-'} + {event}" for state, event in ROWS - self.rows]
        return sorted(rows) + sorted(CRASH_POINTS - self.crashes)

    def __str__(self) -> str:
        found = f"{len(self.rows)} of {len(ROWS)} transitions, {len(self.crashes)} of {len(CRASH_POINTS)} crash points"
        return "\n".join([found, *(f"never reached: {what}" for what in self.missing)])
