"""What time it is: the only place that asks the system."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where shells get the time. Rules never ask: time comes to them with the event."""

    def now(self) -> float:
        """Seconds since the epoch, UTC. May jump when somebody sets the clock."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back. For measuring how long something took."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved: for tests and for the simulation."""

    seconds: float = 1_700_000_000.0

    def now(self) -> float:
        """Seconds since the epoch, as set."""
        return self.seconds

    def monotonic(self) -> float:
        """The same figure: this clock never jumps by itself."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.seconds += seconds
