"""What happens in a run: the actions of people and of fate, drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meetme.model.agreement import MemberId
from tests.simulation.layout import ALFA, BRAVO, TWO_CIRCUITS, Home, Layout
from tests.simulation.scheduler import Skew

TROUBLE = {
    "lose request": 0.25,
    "lose answer": 0.25,
    "repeat": 0.3,
    "delay": 0.3,
    "crash": 0.03,
    "crash at an order": 0.15,
    "device fails": 0.3,
    "slow device": 0.4,
    "slow disk": 0.1,
    "lose order": 0.2,
    "lose order's answer": 0.2,
    "delay order": 0.2,
}
"""Every kind of trouble, and how likely it is at most each time that it could strike."""


@dataclass(frozen=True)
class Action:
    """Something that is done at a moment of the run. `seconds`: how long it lasts, where it lasts."""

    at: float
    what: str
    member: MemberId
    circuit: str = "c1"
    seconds: float = 0.0
    which: int = 0
    """Of several replicas."""
    wish: str = ""
    """The prefixes that a change is to announce."""

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:7.3f}  {self.member}: {self.what} {self.circuit} {self.wish}{lasting}"


@dataclass(frozen=True)
class Schedule:
    """One run. The same seed gives the same schedule; shrinking takes actions and strokes out of it."""

    seed: int
    actions: tuple[Action, ...]
    rates: Mapping[str, float]
    layout: Layout
    skews: Mapping[str, Skew] = field(default_factory=dict)
    """Which clocks are wrong: `member/replica` and `member/router`."""
    quiet: float = 0.0
    """For how long nothing goes wrong by itself."""
    dropped: frozenset[str] = frozenset()
    seconds: float = 0.0
    """How long there is trouble."""


@dataclass(frozen=True)
class Plot:
    """What happens, how likely what goes wrong, and how long trouble goes on after the last action."""

    actions: list[Action]
    rates: dict[str, float]
    longer: float = 10.0
    layout: Layout | None = None
    """None: two members, two circuits."""
    skews: Mapping[str, Skew] = field(default_factory=dict)
    quiet: float = 0.0


def two_members(random: Random, **more: Any) -> Layout:
    """Two members with the very same network, and pools that are large enough or just so."""
    common = {
        "aliases": random.choice(["172.16.0.0/22", "172.16.0.0/23", "172.16.0.0/24"]),
        "links": random.choice(["169.254.100.0/29", "169.254.100.0/30", "169.254.100.0/31"]),
        "unnumbered": random.random() < 0.5,
        **more,
    }
    homes = tuple(Home(id, **{"probes": random.random() < 0.95, **common}) for id in (ALFA, BRAVO))
    return Layout(homes, TWO_CIRCUITS)


def some(random: Random, *kinds: str) -> dict[str, float]:
    """Rates for some kinds of trouble, moderate or as high as they go."""
    return {kind: TROUBLE[kind] * random.choice([0.3, 1.0]) for kind in kinds}
