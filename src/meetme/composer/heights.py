"""How far it is to the end, at least: distances in the picture with one node per exchange, to lead searches by.

A search that adds to what it has spent how far it is, at least, comes to the end first by the best way (A*), and looks
at nothing else than what could be better, provided that no step is longer than the drop in height along it. Distances
in the picture are such heights, since no turn costs less than there (see `arcs`); so are distances cut off at a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from meetme.composer.arcs import FAR, Along
from meetme.composer.query import Query


@dataclass(frozen=True, slots=True)
class Heights:
    """The heights of one question; they are heights too for every question that allows less."""

    exchange: list[int]
    least: int
    """No path weighs less; FAR: there is none."""

    def of(self, query: Query, arc: int) -> int:
        """How much it weighs, at least, to the end from where an arc leads."""
        exchange = query.arcs.target[arc]
        if exchange == query.goal:
            return query.final[arc][0]
        return query.weights.into[arc] + self.exchange[exchange]


def everywhere(query: Query) -> Heights:
    """The heights of all exchanges: for searches that look beyond the best path."""
    closed, need, origin, goal = query.closed, query.bandwidth, query.origin, query.goal
    inward = query.weights.inward
    first = _first(query)
    height = [FAR] * len(inward)
    height[goal] = 0
    heap = [(0, goal)]
    while heap:
        distance, exchange = heappop(heap)
        if distance > height[exchange]:
            continue
        for source, weight, arc, bandwidth in _last(query) if exchange == goal else inward[exchange]:
            there = distance + weight
            if there < height[source] and not closed[arc] and bandwidth >= need and source != origin:
                height[source] = there
                heappush(heap, (there, source))
    return Heights(height, min((weight + height[exchange] for exchange, weight in first.items()), default=FAR))


def between(query: Query) -> Heights:
    """Heights that are exact along the best path only, found by searching from both ends: for that path alone.

    Where the two searches meet, the length D of the best way is known. The one from the end is complete up to a level;
    all that is higher counts as that high, plus how far it is behind D - level in the search from the beginning.
    """
    closed, need, origin, goal = query.closed, query.bandwidth, query.origin, query.goal
    inward, outward = query.weights.inward, query.weights.outward
    behind = _first(query)
    ahead = {goal: 0}
    best = behind.get(goal, FAR)
    rear = sorted((weight, exchange) for exchange, weight in behind.items())
    front = [(0, goal)]
    while rear and front and rear[0][0] + front[0][0] < best:
        if len(rear) < len(front):
            distance, exchange = heappop(rear)
            if distance > behind[exchange] or exchange == goal:
                continue
            for target, weight, arc, bandwidth in outward[exchange]:
                there = distance + weight
                if there < behind.get(target, FAR) and not closed[arc] and bandwidth >= need and target != goal:
                    behind[target] = there
                    heappush(rear, (there, target))
                    if target in ahead and there + ahead[target] < best:
                        best = there + ahead[target]
        else:
            distance, exchange = heappop(front)
            if distance > ahead[exchange]:
                continue
            for source, weight, arc, bandwidth in _last(query) if exchange == goal else inward[exchange]:
                there = distance + weight
                if there < ahead.get(source, FAR) and not closed[arc] and bandwidth >= need and source != origin:
                    ahead[source] = there
                    heappush(front, (there, source))
                    if source in behind and there + behind[source] < best:
                        best = there + behind[source]
    level = min(front[0][0], best) if front else best
    height = [level] * len(inward)
    for exchange, distance in ahead.items():
        if distance < level:
            height[exchange] = distance
    for exchange, distance in behind.items():
        if distance < best - level:
            height[exchange] += best - level - distance
    return Heights(height, best)


def _first(query: Query) -> dict[int, int]:
    """The exchanges next to the origin, and how much it weighs to come in there."""
    found: dict[int, int] = {}
    target, into, final, goal = query.arcs.target, query.weights.into, query.final, query.goal
    for arc, weight, _ in query.start():
        exchange = target[arc]
        there = weight + (final[arc][0] if exchange == goal else into[arc])
        if there < found.get(exchange, FAR):
            found[exchange] = there
    return found


def _last(query: Query) -> list[Along]:
    """The arcs into the goal: what they weigh to the very end is known."""
    into, final = query.weights.into, query.final
    return [
        (source, weight - into[arc] + final[arc][0], arc, bandwidth)
        for source, weight, arc, bandwidth in query.weights.inward[query.goal]
        if arc in final
    ]
