"""What circuits left free a moment ago is not yet in what all exchanges say of themselves.

An exchange says what has changed once a second at most (`spreader.LEAST_SECONDS`), and its word takes a moment to be
everywhere. Who takes a circuit back and orders the next one over the same ports at once would be refused for want of
what it has just given back. So a search that finds nothing looks again for as long as that may be why.
"""

from __future__ import annotations

from meetme.composer.circuit import Circuit
from meetme.composer.words import ENDED

SETTLING_SECONDS = 2.0
"""How long after the end of a circuit others may still say that they have no room: their pause, and the way here."""
AGAIN_SECONDS = 0.1
"""Between two searches meanwhile."""


class Settling:
    """When a circuit that had been in force last ended here, as far as this process has seen it."""

    def __init__(self) -> None:
        self._since = float("-inf")

    def entered(self, before: Circuit | None, after: Circuit, now: float) -> None:
        """A circuit has changed. One that never was in force has left nothing free that anybody had spoken of."""
        if before is not None and before.established and before.state not in ENDED and after.state in ENDED:
            self._since = now

    def lasts(self, now: float) -> bool:
        """Whether what was said of free capacity may be from before that end."""
        return now - self._since < SETTLING_SECONDS
