"""What a number of runs has reached: every row of the protocol's table, every point at which a process can die."""

from __future__ import annotations

from dataclasses import dataclass, field

from meetme.negotiator.events import CircuitReleased, HealthTurned, QuarantineOver
from meetme.negotiator.protocol import TRANSITIONS
from meetme.negotiator.states import State
from tests.simulation.process import CONFIGURATOR_POINTS, NEGOTIATOR_POINTS
from tests.simulation.world import Result

CRASH_POINTS = {*NEGOTIATOR_POINTS, *CONFIGURATOR_POINTS}
ELSEWHERE = (HealthTurned, CircuitReleased, QuarantineOver)
"""What these runs do not have: they do not watch the data plane, and a quarantine lasts longer than they do."""
ROWS = {(state, event.__name__) for state, event in TRANSITIONS if event not in ELSEWHERE}


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
