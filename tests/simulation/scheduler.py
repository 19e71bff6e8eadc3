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


TOLERATED_SECONDS = 16.0
"""How far a member's clock may be off either way: its messages are good for 35 s."""


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


@dataclass(frozen=True)
class Skew:
    """How a clock is wrong: by so many seconds at the beginning, and by `drift` more with every second."""

    seconds: float = 0.0
    drift: float = 0.0


class VirtualClock:
    """What a process's clock shows."""

    def __init__(self, loop: VirtualLoop, skew: Skew) -> None:
        self._loop = loop
        self.skew = skew

    def now(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self.skew.seconds + self._loop.time() * (1.0 + self.skew.drift)

    def monotonic(self) -> float:
        """Virtual seconds since the run began."""
        return self._loop.time()

    def mend(self) -> None:
        """Set it right, where it is wrong by more than anybody tolerates."""
        if abs(self.skew.seconds) > TOLERATED_SECONDS:
            self.skew = Skew()


@dataclass(frozen=True)
class Stroke:
    """One thing that went wrong: `site` names what and where, the same in every run of the seed."""

    at: float
    site: str


class Chance:
    """All randomness of a run. Each decision depends on the seed and its own site alone.

    So taking one stroke out (`dropped`) leaves the others as they were, which is what shrinking needs.
    """

    def __init__(
        self, seed: int, rates: Mapping[str, float], dropped: frozenset[str] = frozenset(), quiet: float = 0.0
    ) -> None:
        """`quiet`: for so many seconds nothing goes wrong yet."""
        self._seed = seed
        self._rates = rates
        self._dropped = dropped
        self._seen: Counter[str] = Counter()
        self._quiet = quiet
        self.calm = False
        self.strokes: list[Stroke] = []

    def strikes(self, kind: str, where: str, at: float) -> bool:
        """Whether `kind` of trouble strikes here and now."""
        rate = self._rates.get(kind, 0.0)
        site = f"{kind}: {where}"
        self._seen[site] += 1
        if self.calm or rate <= 0.0 or at < self._quiet:
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
