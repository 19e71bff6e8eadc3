"""Circuits of ours that stand on the device while no record here speaks of them: the database was lost, or is another.

They carry traffic that was agreed on once. So they are not removed before a negotiator has had its say: some time after
it has asked how the router stands, it has ordered again whatever it wants to be there, and that is taken over as it is.
"""

from __future__ import annotations

import structlog

from meetme.runtime.clock import Clock

MOST_NAMED = 10
"""How many of many circuits a log line names."""


class Strays:
    """The strays of one device, and until when they are left alone. `seconds`: for how long once somebody has asked."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._until: float | None = None if seconds else float("-inf")
        """Monotonic second; None: nobody has spoken for them yet."""
        self.circuits: frozenset[str] = frozenset()
        """Those that the last look has found, less those settled since."""

    def heard(self) -> None:
        """A negotiator has asked how the router stands."""
        if self._until is None:
            self._until = self._clock.monotonic() + self._seconds

    def found(self, circuits: frozenset[str]) -> None:
        """A look at the device is over, and these are of no record."""
        new, self.circuits = circuits - self.circuits, frozenset(circuits)
        if new and not self.over:
            structlog.get_logger().warning(
                "circuits of ours are on the device, and this database knows nothing of them",
                number=len(new),
                circuits=sorted(new)[:MOST_NAMED],
                hint="is it the right database, or was it lost? What no negotiator orders again will be removed",
                seconds_left=None if self._until is None else round(self._until - self._clock.monotonic(), 1),
            )

    def settled(self, circuit: str) -> None:
        """It was ordered again, or is gone."""
        self.circuits -= {circuit}

    @property
    def over(self) -> bool:
        """Whether the time is over, and what is still a stray goes."""
        return self._until is not None and self._clock.monotonic() >= self._until
