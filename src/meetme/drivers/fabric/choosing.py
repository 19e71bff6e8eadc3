"""Which of two uplinks carries the frames. Pure: times come in, in seconds of a monotonic clock.

Each end sends a probe frame over each uplink every 100 ms and says in it whether it hears the other end there: a path
is up only where both do (as in BFD, RFC 5880 section 6.2). An end takes frames from both uplinks and sends by one, so
either moves alone, and none is lost while they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INTERVAL = 0.1
"""Seconds between two probes of one uplink."""
LOST = 3
"""Probes missed in a row after which an uplink is down."""
SILENCE = INTERVAL * (LOST + 0.2)
"""Seconds without a probe after which that many are missed: a frame may be late by a fifth of an interval."""
WELL_SECONDS = 5.0
"""How long the preferred uplink must have been up before the frames come back to it."""


@dataclass(slots=True)
class Path:
    """One uplink as this end sees it."""

    heard_at: float | None = None
    """When the last probe of the other end came in."""
    hears_us: bool = False
    """What it said."""
    up_since: float | None = None

    def hear(self, now: float, hears_us: bool) -> None:
        """A probe came in."""
        self.heard_at, self.hears_us = now, hears_us

    def hears(self, now: float) -> bool:
        """Whether the other end is heard here."""
        return self.heard_at is not None and now - self.heard_at <= SILENCE

    def look(self, now: float) -> bool:
        """Whether it is up, now."""
        up = self.hears(now) and self.hears_us
        if not up:
            self.up_since = None
        elif self.up_since is None:
            self.up_since = now
        return up


def choose(paths: Sequence[Path], carrying: int, now: float) -> int:
    """Which of `paths`, in order of preference, is to carry; `carrying` is the one that does.

    Where none is up it stays: moving would gain nothing.
    """
    up = [path.look(now) for path in paths]
    if not up[carrying]:
        return up.index(True) if True in up else carrying
    for i, path in enumerate(paths[:carrying]):
        if path.up_since is not None and now - path.up_since >= WELL_SECONDS:
            return i
    return carrying
