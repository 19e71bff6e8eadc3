"""One question to a graph: from where to where, by what, through what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from meetme.composer.arcs import FAR, Arcs, Weights
from meetme.composer.graph import NOTHING, Exclusions, Graph
from meetme.composer.metrics import BANDWIDTH, Bound, Combine, Metric
from meetme.model.errors import InvalidInput

Turn = tuple[int, int, int]
"""What can follow: the next arc, the weight of transit and arc, the transit's edge."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent on a question that has no quick exact answer: steps, or until `expired` says so.

    A step takes about 10 microseconds, so the default is about a second.
    """

    steps: int = 100_000
    expired: Callable[[], bool] = _never
    """Asked every few hundred steps: rules know no clock, whoever calls them does."""


class Meter:
    """Counts what is spent of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._left = budget.steps
        self._expired = budget.expired
        self._until_asked = 0
        self.empty = False

    def spend(self, steps: int = 1) -> bool:
        """Spend steps; whether there was enough."""
        self._left -= steps
        self._until_asked -= steps
        if self._until_asked < 0:
            self._until_asked = 500
            self.empty = self.empty or self._expired()
        self.empty = self.empty or self._left < 0
        return not self.empty


class Query:
    """From point `a` to point `b` of a graph by one additive metric, with everything filtered that may not be used."""

    def __init__(
        self,
        graph: Graph,
        a: int,
        b: int,
        metric: Metric,
        *,
        bounds: Sequence[Bound] = (),
        exclude: Exclusions = NOTHING,
        ties: bool = True,
    ) -> None:
        if a == b:
            raise InvalidInput("same_port", f"{graph.points[a]}: a circuit has two different ends", field="b")
        arcs = graph.arcs
        self.graph: Graph = graph
        self.arcs: Arcs = arcs
        self.a, self.b = a, b
        self.origin, self.goal = arcs.at[a], arcs.at[b]
        """The exchanges of the two ends."""
        self.weights: Weights = arcs.weights(metric, ties=ties)
        self.bandwidth = 0.0
        self.closed = bytearray(arcs.count)
        """Arcs that may not be used."""
        self.dead: frozenset[int] = frozenset()
        """Transit edges that may not be used."""
        self.banned: frozenset[tuple[int, int]] = frozenset()
        """Turns that may not be taken."""
        self._narrow(bounds)
        shut = _shut(graph, exclude, self.closed)
        self.dead |= _risky(graph, exclude, self.closed) | _ways(graph, exclude)
        self.blocked = self.origin in shut or self.goal in shut
        for arc in arcs.inward[self.origin]:
            self.closed[arc] = 1
        for arc in arcs.outward[self.goal]:
            self.closed[arc] = 1
        self.final = self._ends()
        for arc in arcs.inward[self.goal]:
            if arc not in self.final:
                self.closed[arc] = 1
        self._turns: dict[int, list[Turn]] = {}
        self._start: list[Turn] | None = None

    def _narrow(self, bounds: Iterable[Bound]) -> None:
        for bound in bounds:
            if bound.metric is BANDWIDTH:
                self.bandwidth = max(self.bandwidth, bound.limit)
            elif bound.metric.combine is Combine.MIN:
                arcs, inside = self.arcs.failing(bound.metric, bound.limit)
                self.dead |= inside
                for arc, bad in enumerate(arcs):
                    if bad:
                        self.closed[arc] = 1

    def _ends(self) -> dict[int, tuple[int, int]]:
        """For each arc into the last exchange, what it weighs from there to the end, over which transit."""
        arcs, edges, weight = self.arcs, self.graph.edges, self.weights.edge
        found: dict[int, tuple[int, int]] = {}
        for arc in arcs.inward[self.goal]:
            for transit in arcs.transits[arcs.head[arc]]:
                if edges[transit].head == self.b and self.carries(transit):
                    found[arc] = (weight[transit], transit)
        return found

    def carries(self, transit: int) -> bool:
        """Whether a transit edge passes the filters."""
        return self.graph.edges[transit].bandwidth >= self.bandwidth and transit not in self.dead

    def direct(self) -> int | None:
        """The best transit edge from end to end, where both are ports of one exchange."""
        edges, weight = self.graph.edges, self.weights.edge
        fit = [edge for edge in self.arcs.transits[self.a] if edges[edge].head == self.b and self.carries(edge)]
        return min(fit, key=lambda edge: weight[edge], default=None)

    def start(self) -> list[Turn]:
        """The first steps."""
        if self._start is None:
            self._start = [] if self.blocked else self._turns_from(self.a)
        return self._start

    def turns(self, arc: int) -> list[Turn]:
        """What can follow an arc."""
        known = self._turns.get(arc)
        if known is None:
            known = self._turns_from(self.arcs.head[arc])
            if self.banned:
                known = [turn for turn in known if (arc, turn[0]) not in self.banned]
            self._turns[arc] = known
        return known

    def _turns_from(self, point: int) -> list[Turn]:
        arcs, weights, need, closed, dead = self.arcs, self.weights, self.bandwidth, self.closed, self.dead
        return [
            (arc, weights.edge[transit] + weights.arc[arc], transit)
            for transit in arcs.onward[point]
            if arcs.free[transit] >= need and transit not in dead
            for arc in arcs.leaving[arcs.end[transit]]
            if not closed[arc] and arcs.bandwidth[arc] >= need
        ]

    def without(
        self, arcs: Iterable[int] = (), turns: Iterable[tuple[int, int]] = (), transits: Iterable[int] = ()
    ) -> Query:
        """The same question with more that may not be used. Heights of this one are good for that one too."""
        other = object.__new__(Query)
        other.__dict__.update(self.__dict__)
        other.closed = bytearray(self.closed)
        for arc in arcs:
            other.closed[arc] = 1
        other.banned = self.banned.union(turns)
        other.dead = self.dead.union(transits)
        if transits:
            other.final = other._ends()
            for arc in self.final:
                if arc not in other.final:
                    other.closed[arc] = 1
        other._turns = {}
        other._start = None
        return other

    def after(self, prefix: Sequence[int], but: Iterable[int]) -> Query:
        """How to go on where a path has taken these arcs, through no exchange again, first over none of `but`."""
        arcs = self.arcs
        passed = (other for arc in prefix for other in arcs.inward[arcs.target[arc]])
        following = self.without(passed)
        forbidden = set(but)
        steps = self.turns(prefix[-1]) if prefix else self.start()
        following._start = [turn for turn in steps if turn[0] not in forbidden and not following.closed[turn[0]]]
        return following

    def edges(self, arcs: Sequence[int]) -> list[int]:
        """The edges of a path that takes these arcs."""
        found = [next(transit for arc, _, transit in self.start() if arc == arcs[0]), self.arcs.edge[arcs[0]]]
        for arc, following in pairwise(arcs):
            found.append(next(transit for after, _, transit in self.turns(arc) if after == following))
            found.append(self.arcs.edge[following])
        found.append(self.final[arcs[-1]][1])
        return found

    def weigh(self, arcs: Sequence[int]) -> int:
        """The weight of a walk that takes these arcs; FAR where it takes a turn that there is not."""
        total = next((weight for arc, weight, _ in self.start() if arc == arcs[0]), FAR) + self.final[arcs[-1]][0]
        for arc, following in pairwise(arcs):
            total += next((weight for after, weight, _ in self.turns(arc) if after == following), FAR)
        return min(total, FAR)

    def simple(self, arcs: Sequence[int]) -> int | None:
        """The first exchange that a path would pass a second time; None: it passes each once."""
        seen = {self.origin}
        for arc in arcs:
            exchange = self.arcs.target[arc]
            if exchange in seen:
                return exchange
            seen.add(exchange)
        return None


def _shut(graph: Graph, exclude: Exclusions, closed: bytearray) -> set[int]:
    """Close what leads into exchanges that are excluded, and links that are; the exchanges."""
    arcs = graph.arcs
    shut = {arcs.place[member] for member in exclude.members if member in arcs.place}
    if exclude.countries or exclude.within:
        for number, name in enumerate(arcs.exchanges):
            country = graph.countries.get(name)
            if country in exclude.countries or (exclude.within and country not in exclude.within):
                shut.add(number)
    for number in shut:
        for arc in arcs.inward[number]:
            closed[arc] = 1
    for link in exclude.links:
        for arc in arcs.of_link.get(link, ()):
            closed[arc] = 1
    return shut


def _risky(graph: Graph, exclude: Exclusions, closed: bytearray) -> frozenset[int]:
    """Close arcs with risks that are excluded; the transit edges with such."""
    inside: set[int] = set()
    for risk in exclude.risks:
        arcs, transits = graph.arcs.at_risk.get(risk, ((), ()))
        inside.update(transits)
        for arc in arcs:
            closed[arc] = 1
    return frozenset(inside)


def _ways(graph: Graph, exclude: Exclusions) -> frozenset[int]:
    """The transit edges whose names are excluded, as links are."""
    named = (graph.arcs.transits_of.get(link, ()) for link in exclude.links)
    return frozenset(edge for edges in named for edge in edges)
