"""Two disjoint paths of least total weight: a flow of two units, Suurballe's way, and branching where that is not all.

1. The first path P is the shortest. The second search may run along P backwards, taking away what the first unit uses
   there (Suurballe 1974; Bhandari 1999). Heights are corrected by what the first search learned, so every step of the
   second one weighs nothing or more, and it is an A* too.
2. Link-disjoint: an arc carries one path. What a turn costs is known for each pair of arcs, so this is an exact flow.
3. Node-disjoint: an exchange carries one path. For the exchanges of P that is part of the flow: who comes in may only
   go back along P, who goes back along P may leave. There, the price of a turn is split between coming in and leaving:
   the split is never more than the price, is exact for P itself, and exact for all where prices are sums.
4. So the flow is a lower bound. What can be wrong with it is seen in the paths that it gives: a turn that costs more
   than its split, an exchange passed twice, a link used in both directions. Then the question is divided into ones
   that exclude just that, best bound first, until a pair costs no more than every bound that is left: it is optimal.
   With prices that obey the triangle inequality in every exchange, division is rare: one flow in most cases.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise, permutations

from meetme.composer.arcs import FAR
from meetme.composer.heights import Heights
from meetme.composer.query import Meter, Query
from meetme.composer.search import Walk, walk

SHARE = 1 << 100
"""What it weighs to share one thing, where that is allowed: more than any path."""


@dataclass(frozen=True, slots=True)
class Two:
    """Two paths, and what they weigh together; sharing is in the upper bits."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    weight: int
    proven: bool = True


def disjoint(query: Query, heights: Heights, meter: Meter, *, nodes: bool) -> Two | None:
    """The two disjoint paths of least total weight. None: there are none, or none was found in time."""
    best: Two | None = None
    count = 0
    queue = [(2 * heights.least, count, query)]
    while queue and (best is None or queue[0][0] < best.weight):
        bound, _, asked = heappop(queue)
        if not meter.spend(20):
            return Two(best.first, best.second, best.weight, proven=False) if best else None
        first = walk(asked, heights)
        if first is None:
            continue
        again = asked.simple(first.arcs)
        children: Iterator[Query]
        if again is not None:
            children = _enter_once(asked, first.arcs, again) if nodes else _open_loop(asked, first.arcs, again)
        else:
            flow = _Flow(asked, heights, first, nodes=nodes, share=False)
            found = flow.run()
            meter.spend(flow.settled)
            if found is None:
                continue
            bound = max(bound, flow.weight)
            two = _assemble(asked, found)
            fault = _fault(asked, two, nodes=nodes)
            if fault is None and two.weight < (best.weight if best else FAR):
                best = two
            if fault is None and two.weight <= bound:
                continue
            children = fault or flow.dearer(two)
        for child in children:
            count += 1
            heappush(queue, (bound, count, child))
    return best


def overlapping(query: Query, heights: Heights, *, nodes: bool) -> Two | None:
    """Two paths that share as little as possible, then weigh least. Not `proven` where the flow is only a bound."""
    first = walk(query, heights)
    if first is None or query.simple(first.arcs) is not None:
        return None
    flow = _Flow(query, heights, first, nodes=nodes, share=True)
    found = flow.run()
    if found is None:
        return None
    two = _assemble(query, found)
    if two.weight >= FAR or any(query.simple(arcs) is not None for arcs in (two.first, two.second)):
        return None
    weight = two.weight + SHARE * shared_count(query, two.first, two.second, nodes=nodes)
    return Two(two.first, two.second, weight, proven=weight <= flow.weight)


def shared_count(query: Query, first: Sequence[int], second: Sequence[int], *, nodes: bool) -> int:
    """How many links, and with `nodes` exchanges between the ends, both paths use."""
    arcs = query.arcs
    links = {arcs.link[arc] for arc in first} & {arcs.link[arc] for arc in second}
    if not nodes:
        return len(links)
    return len(links) + len({arcs.target[arc] for arc in first[:-1]} & {arcs.target[arc] for arc in second[:-1]})


class _Flow:
    """The second search. Its states: an arc (its head was reached), or a place on P.

    Places are numbered along P: 2j is where arc j begins, 2j + 1 where it ends, and a state is -1 - place. Going
    back along P, from a place to the one before, weighs nothing after correction. In an exchange that carries one
    path, who comes in arrives where P does and who leaves starts where P leaves; in one that carries many, turns
    lead from arc to arc and going back over one frees it.
    """

    def __init__(self, query: Query, heights: Heights, first: Walk, *, nodes: bool, share: bool) -> None:
        self.query = query
        self.heights = heights
        self.first = first
        self.share = share
        arcs = query.arcs
        self.position = {arc: place for place, arc in enumerate(first.arcs)}
        self.single = {arcs.target[arc]: place for place, arc in enumerate(first.arcs[:-1])} if nodes else {}
        """The exchanges that carry one path, by where on P they are."""
        self._height: dict[int, int] = {}
        self._split: dict[int, tuple[dict[int, int], dict[int, int]]] = {}
        self.settled = 0
        self.weight = FAR
        """Of both paths together, at least."""

    def height(self, arc: int) -> int:
        """How far it is to the end: what the first search learned is worked in."""
        known = self._height.get(arc)
        if known is None:
            known = self.heights.of(self.query, arc)
            reached = self.first.reached.get(arc)
            if reached is not None and self.first.weight - reached > known:
                known = self.first.weight - reached
            self._height[arc] = known
        return known

    def run(self) -> list[int] | None:
        """The arcs of both paths, those twice that both use."""
        goal, target, query, single = self.query.goal, self.query.arcs.target, self.query, self.single
        best: dict[int, int] = {}
        before: dict[int, int | None] = {}
        heap: list[tuple[int, int]] = []
        done: set[int] = set()

        def offer(state: int, key: int, origin: int | None) -> None:
            if key < best.get(state, FAR):
                best[state] = key
                before[state] = origin
                heappush(heap, (key, state))

        for state, step in self._steps(query.start(), self.first.weight):
            if state >= 0 or self.share:
                offer(state, step, None)
        last = -2 * len(self.first.arcs)
        while heap:
            key, state = heappop(heap)
            if state in done:
                continue
            done.add(state)
            if state == last or (state >= 0 and target[state] == goal):
                self.settled = len(done)
                self.weight = 2 * self.first.weight + key
                return self._used(state, before)
            if state < 0:
                for following, step in self._from_place(-1 - state):
                    offer(following, key + step, state)
            elif target[state] in single:
                place = single[target[state]]
                come_in = self._prices(place)[0].get(state)
                if come_in is not None:
                    offer(-2 - 2 * place, key + come_in, state)
            else:
                for following, step in self._steps(query.turns(state), self.height(state)):
                    offer(following, key + step, state)
        self.settled = len(done)
        return None

    def _steps(self, turns: Sequence[tuple[int, int, int]], height: int) -> Iterator[tuple[int, int]]:
        """The states that turns lead to, and what that weighs after correction."""
        known, position, learn = self._height, self.position, self.height
        for arc, weight, _ in turns:
            high = known.get(arc)
            if high is None:
                high = learn(arc)
            if high < FAR:
                yield (-1 - 2 * position[arc] if arc in position else arc), weight + high - height

    def _from_place(self, place: int) -> Iterator[tuple[int, int]]:
        path = self.first.arcs
        number, end = divmod(place, 2)
        if place:
            yield -place, 0
        if not end:
            if number and self.query.arcs.source[path[number]] in self.single:
                yield from self._prices(number - 1)[1].items()
            if self.share and self.query.arcs.bandwidth[path[number]] >= 2 * self.query.bandwidth:
                yield -2 - place, SHARE
            return
        if number + 1 == len(path):
            return
        if self.query.arcs.target[path[number]] in self.single:
            if self.share:
                yield -2 - place, SHARE
            return
        onward = path[number + 1]
        turns = self.query.turns(path[number])
        yield from self._steps([turn for turn in turns if turn[0] != onward], self.height(path[number]))
        if self.share:
            yield -2 - place, 0

    def _prices(self, place: int) -> tuple[dict[int, int], dict[int, int]]:
        """The split of an exchange of P: what coming in over each arc weighs, what leaving over each does."""
        known = self._split.get(place)
        if known is None:
            path, query = self.first.arcs, self.query
            exchange = query.arcs.target[path[place]]
            come_in: dict[int, int] = {}
            leave: dict[int, int] = {}
            for arc, row in self._matrix(exchange).items():
                least = come_in[arc] = min(row.values())
                for following, weight in row.items():
                    leave[following] = min(leave.get(following, FAR), weight - least)
            leave.pop(path[place + 1], None)
            known = self._split[place] = (come_in, leave)
        return known

    def _matrix(self, exchange: int) -> dict[int, dict[int, int]]:
        """What each turn in an exchange weighs after correction."""
        query, matrix = self.query, {}
        for arc in query.arcs.inward[exchange]:
            if not query.closed[arc]:
                here = self.height(arc)
                turns = query.turns(arc)
                row = {
                    following: weight + self.height(following) - here
                    for following, weight, _ in turns
                    if self.height(following) < FAR
                }
                if row:
                    matrix[arc] = row
        return matrix

    def _used(self, state: int, before: dict[int, int | None]) -> list[int]:
        path = self.first.arcs
        used = Counter(path)
        following: int | None = None
        at: int | None = state
        while at is not None:
            if at >= 0:
                used[at] += 1
            elif following is not None and following < 0:
                here, there = -1 - at, -1 - following
                if there < here and here % 2:
                    used[path[here // 2]] -= 1
                elif there > here and not here % 2:
                    used[path[here // 2]] += 1
            following, at = at, before[at]
        return sorted(used.elements())

    def dearer(self, two: Two) -> Iterator[Query]:
        """Divide the question at a turn of the pair that costs more than its split, or that there is not."""
        for path in (two.first, two.second):
            for arc, following in pairwise(path):
                exchange = self.query.arcs.target[arc]
                if exchange not in self.single:
                    continue
                place = self.single[exchange]
                come_in, leave = self._prices(place)
                share = come_in.get(arc, 0) + leave.get(following, 0)
                if self._matrix(exchange).get(arc, {}).get(following, FAR) > share:
                    return _enter_once(self.query, path, exchange)
        raise AssertionError("the flow weighs less than its pair, yet every turn costs what its split says")


def _assemble(query: Query, used: Sequence[int]) -> Two:
    """Put arcs together to two walks; where both pass an exchange, so that they weigh less. Weight FAR: no way fits."""
    arcs = query.arcs
    outward: dict[int, list[int]] = defaultdict(list)
    inward: dict[int, list[int]] = defaultdict(list)
    for arc in used:
        outward[arcs.source[arc]].append(arc)
        inward[arcs.target[arc]].append(arc)
    onward: dict[int, list[int]] = defaultdict(list)
    for exchange, come in inward.items():
        if exchange == query.goal:
            continue
        ways = permutations(outward[exchange])
        leave = min(ways, key=lambda way: sum(_turn(query, *turn) for turn in zip(come, way, strict=True)))
        for arc, following in zip(come, leave, strict=True):
            onward[arc].append(following)
    walks = []
    for arc in outward[query.origin]:
        found = [arc]
        while arcs.target[found[-1]] != query.goal:
            found.append(onward[found[-1]].pop())
        walks.append(tuple(found))
    walks.sort(key=lambda found: (query.weigh(found), found))
    return Two(walks[0], walks[1], min(FAR, query.weigh(walks[0]) + query.weigh(walks[1])))


def _turn(query: Query, arc: int, following: int) -> int:
    return next((weight for after, weight, _ in query.turns(arc) if after == following), FAR)


def _fault(query: Query, two: Two, *, nodes: bool) -> Iterator[Query] | None:
    """What is wrong with a pair, as questions that exclude it; None: nothing."""
    arcs = query.arcs
    passed: set[int] = set()
    for found in (two.first, two.second):
        again = query.simple(found)
        if again is not None:
            return _enter_once(query, found, again) if nodes else _open_loop(query, found, again)
        between = {arcs.target[arc] for arc in found[:-1]}
        if nodes and passed & between:
            return _enter_once(query, found, min(passed & between))
        passed |= between
    names = {arcs.link[arc]: arc for arc in two.first}
    for arc in two.second:
        if arcs.link[arc] in names:
            return (query.without([one]) for one in (arc, names[arcs.link[arc]]))
    return None


def _enter_once(query: Query, found: Sequence[int], exchange: int) -> Iterator[Query]:
    """An exchange carries one path: either it comes in over this arc, or it does not."""
    arc = next(arc for arc in found if query.arcs.target[arc] == exchange)
    yield query.without(other for other in query.arcs.inward[exchange] if other != arc)
    yield query.without([arc])


def _open_loop(query: Query, found: Sequence[int], exchange: int) -> Iterator[Query]:
    """A walk comes back to an exchange: one of the turns from its first visit to its second is not taken."""
    visits = [place for place, arc in enumerate(found) if query.arcs.target[arc] == exchange]
    for turn in pairwise(found[visits[0] : visits[1] + 2]):
        yield query.without(turns=[turn])
