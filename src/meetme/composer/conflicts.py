"""Two paths that share nothing, where a flow cannot say it: shared risks, and pairs whose paths have bounds.

Both are NP-hard. So: find each of the two paths by itself; where they share something, one of them has to do without it
(or, best effort, both may have it, at the price of sharing), and each case is a question with one more thing forbidden.
The case with the least bound comes first; the first pair without a conflict is the best one. All cases that lead
nowhere for one path are known for the other as well. Everything else is a candidate for the day the budget runs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from meetme.composer.arcs import FAR
from meetme.composer.flow import SHARE, Two
from meetme.composer.graph import Disjoint
from meetme.composer.heights import Heights
from meetme.composer.query import Meter, Query
from meetme.composer.search import Limit, Walk, path


class Thing(NamedTuple):
    """What two paths can share, in the words of `Shared`."""

    kind: str
    name: str


def things(query: Query, arcs: Sequence[int], kind: Disjoint) -> tuple[Thing, ...]:
    """What a path must have for itself, in its order. What lies in the exchanges of the ends is shared by nature."""
    layout = query.arcs
    graph_edges = query.graph.edges
    found: dict[Thing, None] = {}
    for place, arc in enumerate(arcs):
        found[Thing("link", layout.link[arc])] = None
        edges = [graph_edges[layout.edge[arc]]]
        if place + 1 < len(arcs):
            if kind is Disjoint.NODE:
                found[Thing("exchange", layout.exchanges[layout.target[arc]])] = None
            turns = query.turns(arc)
            edges += (graph_edges[transit] for after, _, transit in turns if after == arcs[place + 1])
        if kind is Disjoint.SRLG:
            found |= {Thing("risk", risk): None for edge in edges for risk in sorted(edge.risks)}
    return tuple(found)


class Conflicts:
    """The search for one pair of paths."""

    def __init__(
        self, query: Query, heights: Heights, limits: Sequence[Limit], meter: Meter, kind: Disjoint, *, strict: bool
    ) -> None:
        self._query = query
        self._heights = heights
        self._limits = limits
        self._meter = meter
        self._kind = kind
        self._strict = strict
        self._paths: dict[frozenset[Thing], Walk | None] = {}
        self._best: Two | None = None

    def consider(self, two: Two | None) -> None:
        """Take a pair that was found in another way as a candidate."""
        if two is not None and self.respects(two):
            self._candidate(two.first, two.second)

    def run(self) -> Two | None:
        """The best pair; not `proven` where the meter ran out. None: there is none, or none was found in time."""
        nothing = frozenset[Thing]()
        root = (nothing, nothing, nothing)
        queue = [(0, 0, root)]
        seen = set()
        count = 0
        while queue:
            bound, _, (one, other, accepted) = heappop(queue)
            if self._best is not None and bound >= self._best.weight:
                break
            first, second = self._path(one), self._path(other)
            if first is None or second is None:
                if self._meter.empty:
                    break
                continue
            shared = [thing for thing in self.shared(first.arcs, second.arcs) if thing not in accepted]
            self._candidate(first.arcs, second.arcs)
            if not shared:
                continue
            self._vary(first)
            if not self._meter.spend():
                break
            thing = max(shared, key=lambda each: self._price(one, other, each))
            cases = [(one | {thing}, other, accepted), (one, other | {thing}, accepted)]
            if not self._strict and self._wide(thing):
                cases.append((one, other, accepted | {thing}))
            for case in cases:
                key = (frozenset(case[:2]), case[2])
                if key not in seen:
                    seen.add(key)
                    count += 1
                    heappush(queue, (max(bound, self._bound(*case)), count, case))
        if self._best is None or not self._meter.empty:
            return self._best
        return Two(self._best.first, self._best.second, self._best.weight, proven=False)

    def _bound(self, one: frozenset[Thing], other: frozenset[Thing], accepted: frozenset[Thing]) -> int:
        both = (self._path(one), self._path(other))
        return sum(found.weight if found else FAR for found in both) + SHARE * len(accepted)

    def _price(self, one: frozenset[Thing], other: frozenset[Thing], thing: Thing) -> tuple[int, Thing]:
        """How much a thing is worth: what the cheaper of the two ways to do without it adds."""
        alone = [self._path(forbidden | {thing}) for forbidden in {one, other}]
        return min(found.weight if found else FAR for found in alone), thing

    def _path(self, forbidden: frozenset[Thing]) -> Walk | None:
        if forbidden not in self._paths:
            self._paths[forbidden] = path(self._without(forbidden), self._heights, self._meter, self._limits)
        return self._paths[forbidden]

    def _without(self, forbidden: frozenset[Thing]) -> Query:
        """The question with things forbidden."""
        if not forbidden:
            return self._query
        query, layout = self._query, self._query.arcs
        arcs: list[int] = []
        transits: list[int] = []
        for thing in forbidden:
            if thing.kind == "link":
                arcs += layout.of_link[thing.name]
            elif thing.kind == "exchange":
                arcs += layout.inward[layout.place[thing.name]]
            else:
                outside, within = layout.at_risk[thing.name]
                arcs += outside
                ends = (layout.exchanges[query.origin], layout.exchanges[query.goal])
                transits += (transit for transit in within if query.graph.edges[transit].exchange not in ends)
        return query.without(arcs, transits=transits)

    def shared(self, first: Sequence[int], second: Sequence[int]) -> list[Thing]:
        """What two paths share although they should not, in the order of the first."""
        its = set(things(self._query, second, self._kind))
        return [thing for thing in things(self._query, first, self._kind) if thing in its]

    def respects(self, two: Two) -> bool:
        """Whether both paths of a pair respect all bounds."""
        return all(limit.query.weigh(arcs) <= limit.most for limit in self._limits for arcs in (two.first, two.second))

    def _vary(self, first: Walk) -> None:
        """Try the best path that has nothing in common with this one."""
        second = self._path(frozenset(things(self._query, first.arcs, self._kind)))
        if second is not None:
            self._candidate(first.arcs, second.arcs)

    def _wide(self, thing: Thing) -> bool:
        """Whether a thing can carry both paths."""
        layout = self._query.arcs
        arcs = layout.of_link[thing.name] if thing.kind == "link" else ()
        return all(layout.bandwidth[arc] >= 2 * self._query.bandwidth for arc in arcs)

    def _candidate(self, first: tuple[int, ...], second: tuple[int, ...]) -> None:
        shared = self.shared(first, second)
        if shared and (self._strict or not all(map(self._wide, shared))):
            return
        weight = self._query.weigh(first) + self._query.weigh(second) + SHARE * len(shared)
        if self._best is None or weight < self._best.weight:
            self._best = Two(first, second, weight)
