"""A composer is dead for long: whoever wants to go through its exchange ends soon, one way or the other."""

from __future__ import annotations

import pytest

from meetme.composer.circuit import CircuitRequest, MemberId, State
from tests.simulation.chains.federation import Link, federation
from tests.simulation.chains.places import end
from tests.simulation.chains.world import Action, Schedule, World

LEFT, DEAD, RIGHT, AROUND = MemberId("ix-a"), MemberId("ix-b"), MemberId("ix-c"), MemberId("ix-d")
NAMES = (LEFT, DEAD, RIGHT, AROUND)
LONG = 400.0


def through_the_dead(orders: int, *, way_around: bool) -> World:
    """Everybody wants a link that has room for one and whose other end does not answer; there is perhaps another."""
    links = [Link(LEFT, "l", DEAD, "dl"), Link(DEAD, "dr", RIGHT, "r")]
    if way_around:
        links += [Link(LEFT, "al", AROUND, "a1"), Link(AROUND, "a2", RIGHT, "ar")]
    there = federation(NAMES, tuple(links), dict.fromkeys(NAMES, ("p1",)), 100)
    actions = [Action(0.0, "kill", (DEAD, LONG))]
    for number in range(1, orders + 1):
        request = CircuitRequest(end(LEFT, "p1"), end(RIGHT, "p1"), 100)
        actions.append(Action(1.0 + number / 10, "order", (number, LEFT, LEFT, request)))
    return World(Schedule(3, "dead", there, tuple(actions), {}, {}, LONG))


@pytest.mark.parametrize(("way_around", "up"), [(False, 0), (True, 1)])
def test_nobody_searches_for_long(way_around: bool, up: int) -> None:
    world = through_the_dead(6, way_around=way_around)
    ended: dict[int, float] = {}
    attempts: dict[int, int] = {}

    def look() -> None:
        for id, circuit in world.composers[LEFT].disk.circuits.items():
            attempts[world.number(id)] = circuit.search(1).attempt
            if circuit.ending or circuit.state is State.ACTIVE:
                ended.setdefault(world.number(id), world.now)
        world.later(1.0, look)

    look()
    result = world.run()
    assert result.violation is None
    assert result.states.get("active", 0) == up
    assert max(ended.values()) < 100.0, "the neighbour is dead, and they know it long before it is back"
    assert max(attempts.values()) <= 20
