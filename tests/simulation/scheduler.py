"""Virtual time, and chance that can be replayed and taken back one stroke at a time.

The event loop never waits: where asyncio would sleep, the clock jumps. So the real loop, inbox and performer of the
negotiator run as they are, a virtual minute in a few milliseconds, in the same order for the same seed.
"""

from __future__ import annotations

import asyncio
import hashlib
import selectors
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

EPOCH = 1_800_000_000.0
"""What the members' clocks show when a run begins."""


class Stuck(Exception):
    """Nothing will ever happen again in this run, and it has not ended."""


class _NoWaiting(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only where nothing is left to do at present."""

    def __init__(self) -> None:
        self._virtual = _NoWaiting()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._virtual.now


class VirtualClock:
    """What a member's clock shows."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self._loop.time()

    def monotonic(self) -> float:
        """Virtual seconds since the run began."""
        return self._loop.time()


@dataclass(frozen=True)
class Stroke:
    """One thing that went wrong: `site` names what and where, the same in every run of the seed."""

    at: float
    site: str


class Chance:
    """All randomness of a run. Each decision depends on the seed and its own site alone.

    So taking one stroke out (`dropped`) leaves the others as they were, which is what shrinking needs.
    """

    def __init__(self, seed: int, rates: Mapping[str, float], dropped: frozenset[str] = frozenset()) -> None:
        self._seed = seed
        self._rates = rates
        self._dropped = dropped
        self._seen: Counter[str] = Counter()
        self.calm = False
        self.strokes: list[Stroke] = []

    def strikes(self, kind: str, where: str, at: float) -> bool:
        """Whether `kind` of trouble strikes here and now."""
        rate = self._rates.get(kind, 0.0)
        site = f"{kind}: {where}"
        self._seen[site] += 1
        if self.calm or rate <= 0.0:
            return False
        site = f"{site} #{self._seen[site]}"
        if self._roll(site) >= rate or site in self._dropped:
            return False
        self.strokes.append(Stroke(at, site))
        return True

    def amount(self, where: str, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        site = f"amount {where}"
        self._seen[site] += 1
        return low + (high - low) * self._roll(f"{site} #{self._seen[site]}")

    def _roll(self, site: str) -> float:
        digest = hashlib.blake2b(f"{self._seed} {site}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2.0**64
