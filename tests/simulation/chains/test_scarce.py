"""A hundred want what sixty can have, at the same moment and from both ends."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from meetme.composer.circuit import CircuitRequest, MemberId
from tests.simulation.chains.federation import Link, federation
from tests.simulation.chains.places import end
from tests.simulation.chains.world import Action, Schedule, World

LEFT, MIDDLE, RIGHT = MemberId("ix-b"), MemberId("ix-a"), MemberId("ix-c")
NAMES = (LEFT, MIDDLE, RIGHT)


def rush(seed: int, capacity: int, labels: tuple[tuple[int, int], ...], wanted: int) -> World:
    """Everybody orders within 50 ms, half of them from either end of two links in a row."""
    random = Random(seed)
    links = (Link(LEFT, "l", MIDDLE, "ml"), Link(MIDDLE, "mr", RIGHT, "r"))
    ports = dict.fromkeys(NAMES, ("p1",))
    there = federation(NAMES, links, ports, capacity, labels, ((2, 4000),))
    actions = []
    for number in range(1, wanted + 1):
        a, b = (LEFT, RIGHT) if number % 2 else (RIGHT, LEFT)
        request = CircuitRequest(end(a, "p1"), end(b, "p1"), 100)
        actions.append(Action(random.uniform(0, 0.05), "order", (number, a, a, request)))
    return World(Schedule(seed, "rush", there, tuple(actions), {}, {}, 0.1))


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
@pytest.mark.parametrize(
    ("capacity", "labels"), [(6_000, ((100, 999),)), (60_000, ((100, 129), (200, 229)))], ids=["capacity", "labels"]
)
def test_exactly_sixty_of_a_hundred_get_it(seed: int, capacity: int, labels: tuple[tuple[int, int], ...]) -> None:
    world = rush(seed, capacity, labels, 100)
    result = world.run()
    assert result.violation is None
    assert result.states == Counter({"active": 60, "failed": 40})
    for name in NAMES:
        used = Counter(at for segment in world.composers[name].exchange.segments.values() for at in segment.ends)
        assert len(world.composers[name].exchange.segments) == 60
        assert max(used.values()) == 1
