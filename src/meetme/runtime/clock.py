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


class SharedClock:
    """A clock that is set by another: replicas on one database go by the database's, so that they agree on what is due.

    A process that nobody tells goes by its own.
    """

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds since the epoch, as far as was told."""
        return self._own.now() + self._ahead

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._own.monotonic()

    def set(self, now: float) -> float:
        """The other clock shows `now`. Returns by how many seconds the own one is behind it."""
        self._ahead = now - self._own.now()
        return self._ahead


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
