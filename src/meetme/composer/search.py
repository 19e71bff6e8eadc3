"""The best way from end to end: A* over arcs, and label setting where there are limits or where a walk would loop.

A walk may pass an exchange twice, where the matrix of that exchange makes it worth while (to leave by one port and come
back by another, for less than the transit between them). A path may not. The best path is hard to find in general
(paths with forbidden turns, Szeider 2003), so it is done by need: search among all walks; where the best one loops
through an exchange, remember in every label whether it has been there, and search again. It ends, since there are
finitely many exchanges, and with the best path, since what was searched always contained all paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from meetme.composer.arcs import FAR
from meetme.composer.heights import Heights
from meetme.composer.query import Meter, Query

LOST = 100
"""Steps for a search that found nothing."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What a search found: arcs from end to end and their weight."""

    arcs: tuple[int, ...]
    weight: int
    reached: dict[int, int] = field(default_factory=dict, compare=False, repr=False)
    """How much it weighs to come to the head of each arc that was looked at."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a walk may weigh at most by a metric other than the one that is searched by."""

    query: Query
    heights: Heights
    most: int


def walk(query: Query, heights: Heights) -> Walk | None:
    """The walk of least weight, by A*. Of several, the same one every time."""
    arcs, goal, final, need, closed = query.arcs, query.goal, query.final, query.bandwidth, query.closed
    dead, banned = query.dead, query.banned
    target, head, onward, end, leaving = arcs.target, arcs.head, arcs.onward, arcs.end, arcs.leaving
    free, width = arcs.free, arcs.bandwidth
    inside, outside, into, height = query.weights.edge, query.weights.arc, query.weights.into, heights.exchange
    reached: dict[int, int] = {}
    before: dict[int, int] = {}
    heap: list[tuple[int, int]] = []
    for arc, weight, _ in query.start():
        if weight < reached.get(arc, FAR):
            reached[arc] = weight
            exchange = target[arc]
            heappush(heap, (weight + (final[arc][0] if exchange == goal else into[arc] + height[exchange]), arc))
    settled: set[int] = set()
    while heap:
        key, arc = heappop(heap)
        if key >= FAR:
            return None
        if arc in settled:
            continue
        settled.add(arc)
        exchange = target[arc]
        if exchange == goal:
            found = [arc]
            while arc in before:
                arc = before[arc]
                found.append(arc)
            return Walk(tuple(reversed(found)), key, reached)
        here = reached[arc]
        for transit in onward[head[arc]]:
            if free[transit] < need or transit in dead:
                continue
            turned = here + inside[transit]
            for following in leaving[end[transit]]:
                there = turned + outside[following]
                if there >= reached.get(following, FAR) or closed[following] or width[following] < need:
                    continue
                if banned and (arc, following) in banned:
                    continue
                reached[following] = there
                before[following] = arc
                exchange = target[following]
                rest = final[following][0] if exchange == goal else into[following] + height[exchange]
                heappush(heap, (there + rest, following))
    return None


class _Label:
    """A way to come to the head of an arc."""

    __slots__ = ("arc", "been", "before", "spent", "weight")

    def __init__(self, arc: int, weight: int, spent: tuple[int, ...], been: int, before: _Label | None) -> None:
        self.arc = arc
        self.weight = weight
        self.spent = spent
        """What was used of each limit."""
        self.been = been
        """Which of the exchanges that are watched it passed, as bits."""
        self.before = before

    def arcs(self) -> tuple[int, ...]:
        found = []
        label: _Label | None = self
        while label is not None:
            found.append(label.arc)
            label = label.before
        return tuple(reversed(found))


def path(query: Query, heights: Heights, meter: Meter, limits: Sequence[Limit] = ()) -> Walk | None:
    """The path of least weight within all limits, proven; None where there is none, or when the meter is empty."""
    if heights.least >= FAR or any(limit.heights.least > limit.most for limit in limits):
        return None
    if not limits:
        found = walk(query, heights)
        meter.spend(1 + len(found.reached) // 4 if found else LOST)
        if found is None or query.simple(found.arcs) is None:
            return found
    watched: dict[int, int] = {}
    while True:
        found = _labelled(query, heights, limits, watched, meter)
        if found is None:
            return None
        again = query.simple(found.arcs)
        if again is None:
            return found
        watched[again] = 1 << len(watched)


def _labelled(
    query: Query, heights: Heights, limits: Sequence[Limit], watched: dict[int, int], meter: Meter
) -> Walk | None:
    """The walk of least weight within all limits that passes no watched exchange twice."""
    target, goal = query.arcs.target, query.goal
    inner = [(limit.query.weights.edge, limit.heights, limit.query, limit.most) for limit in limits]
    arc_edge = query.arcs.edge
    best: dict[int, list[_Label]] = {}
    heap: list[tuple[int, int, _Label]] = []
    count = 0

    def extend(label: _Label | None, arc: int, weight: int, transit: int) -> None:
        nonlocal count
        exchange = target[arc]
        rest = heights.of(query, arc)
        if rest >= FAR:
            return
        been = label.been if label else 0
        bit = watched.get(exchange, 0)
        if been & bit:
            return
        spent = []
        for place, (weights, high, other, most) in enumerate(inner):
            used = (label.spent[place] if label else 0) + weights[transit] + weights[arc_edge[arc]]
            if used + high.of(other, arc) > most:
                return
            spent.append(used)
        made = _Label(arc, (label.weight if label else 0) + weight, tuple(spent), been | bit, label)
        if not _dominated(best.get(arc, ()), made):
            count += 1
            heappush(heap, (made.weight + rest, count, made))

    for arc, weight, transit in query.start():
        extend(None, arc, weight, transit)
    while heap:
        key, _, label = heappop(heap)
        known = best.setdefault(label.arc, [])
        if _dominated(known, label):
            continue
        if not meter.spend(3):
            return None
        known.append(label)
        if target[label.arc] == goal:
            return Walk(label.arcs(), key)
        for arc, weight, transit in query.turns(label.arc):
            extend(label, arc, weight, transit)
    return None


def _dominated(known: Sequence[_Label], label: _Label) -> bool:
    """Whether one of the known labels at the same arc can do all that `label` can, for no more."""
    weight, spent, been = label.weight, label.spent, label.been
    for other in known:
        if other.weight <= weight and not other.been & ~been:
            for have, used in zip(other.spent, spent, strict=True):
                if have > used:
                    break
            else:
                return True
    return False
