"""All paths that are worth considering: those that no other path beats in every chosen metric.

Label setting over vectors of metrics (Martins 1984), led by heights for each metric (NAMOA*, Mandow and Perez de la
Cruz 2010): a label is given up when another one at the same place, or a path already found, is at least as good in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from meetme.composer.arcs import FAR
from meetme.composer.finding import inside
from meetme.composer.finding import most as most_of
from meetme.composer.graph import NOTHING, Exclusions, Graph, Path
from meetme.composer.heights import everywhere
from meetme.composer.metrics import BANDWIDTH, HOPS, LATENCY, PRICE, Better, Bound, Metric
from meetme.composer.query import Budget, Meter, Query
from meetme.composer.refusing import refuse
from meetme.composer.search import Limit

CHOSEN = (LATENCY, BANDWIDTH, PRICE, HOPS)


@dataclass(frozen=True, slots=True)
class Front:
    """Paths of which none is at least as good as another in every chosen metric."""

    paths: tuple[Path, ...]
    """By the first metric, then by the second, and so on; of equals, one."""
    complete: bool = True
    """False: the budget ran out; there may be more, and better ones."""


@dataclass(frozen=True, slots=True)
class _Label:
    worth: tuple[int, ...]
    """What was spent of each metric that adds up; the narrowest so far, negative, of each that does not."""
    arc: int
    been: int
    before: _Label | None

    def arcs(self) -> tuple[int, ...]:
        found = []
        label: _Label | None = self
        while label is not None:
            found.append(label.arc)
            label = label.before
        return tuple(reversed(found))


def pareto(
    graph: Graph,
    a: int,
    b: int,
    metrics: Sequence[Metric] = CHOSEN,
    *,
    bounds: Sequence[Bound] = (),
    exclude: Exclusions = NOTHING,
    most: int = 64,
    budget: Budget = Budget(),
) -> Front:
    """The Pareto front over some metrics, within bounds, `most` paths at most. Raises NoPath where there is no path."""
    search = _Search(graph, a, b, metrics, bounds, exclude, Meter(budget), most)
    front = search.run()
    if not front.paths and front.complete:
        raise refuse(graph, a, b, bounds, exclude, budget)
    return front


class _Search:
    def __init__(
        self,
        graph: Graph,
        a: int,
        b: int,
        metrics: Sequence[Metric],
        bounds: Sequence[Bound],
        exclude: Exclusions,
        meter: Meter,
        most: int,
    ) -> None:
        self._graph, self._bounds, self._meter, self._most = graph, bounds, meter, most
        self._metrics = tuple(metrics)
        chosen = [metric for metric in metrics if metric.additive]
        watched = [bound.metric for bound in bounds if bound.metric.additive and bound.metric not in chosen]
        if not chosen and not watched:
            watched = [LATENCY]

        def limit(metric: Metric) -> Limit:
            query = Query(graph, a, b, metric, bounds=bounds, exclude=exclude, ties=False)
            limit = min((most_of(bound) for bound in bounds if bound.metric is metric), default=FAR - 1)
            return Limit(query, everywhere(query), limit)

        self._narrow = [metric for metric in metrics if not metric.additive]
        self._compared = len(metrics)
        """A label's worth begins with what paths are compared by; what is only limited follows."""
        self._before_narrow = len(chosen)
        self._adding = {place: limit(metric) for place, metric in enumerate(chosen)}
        self._adding |= {place: limit(metric) for place, metric in enumerate(dict.fromkeys(watched), len(metrics))}
        self._query = next(iter(self._adding.values())).query
        self._edges = graph.edges

    def run(self) -> Front:
        query = self._query
        if query.origin == query.goal:
            only = inside(query, self._bounds)
            return Front((only,) if only else ())
        watched: dict[int, int] = {}
        while True:
            found, complete = self._labels(watched)
            loops = {again for label in found if (again := query.simple(label.arcs())) is not None}
            if not loops:
                break
            for exchange in sorted(loops - set(watched)):
                watched[exchange] = 1 << len(watched)
            if self._meter.empty:
                found = [label for label in found if query.simple(label.arcs()) is None]
                break
        paths = [self._graph.path(query.edges(label.arcs()), optimal=complete) for label in found]
        return Front(tuple(sorted(paths, key=self._order)), complete)

    def _order(self, path: Path) -> tuple[object, ...]:
        signs = (
            path.value(metric) if metric.better is Better.LESS else -path.value(metric) for metric in self._metrics
        )
        return (*signs, path.edges)

    def _labels(self, watched: dict[int, int]) -> tuple[list[_Label], bool]:
        query, target, goal = self._query, self._query.arcs.target, self._query.goal
        best: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        found: list[_Label] = []
        worths: list[tuple[tuple[int, ...], int]] = []
        heap: list[tuple[tuple[int, ...], int, _Label]] = []
        count = 0

        def extend(label: _Label | None, arc: int, transit: int) -> None:
            nonlocal count
            been = label.been if label else 0
            bit = watched.get(target[arc], 0)
            if been & bit:
                return
            worth = self._worth(label, transit, arc)
            hope = self._hope(worth, arc)
            if hope is None or _beaten(worths, hope[: self._compared], 0):
                return
            made = _Label(worth, arc, been | bit, label)
            if not _beaten(best.get(arc, ()), worth, made.been):
                count += 1
                heappush(heap, (hope, count, made))

        for arc, _, transit in query.start():
            extend(None, arc, transit)
        while heap:
            hope, _, label = heappop(heap)
            known = best.setdefault(label.arc, [])
            if _beaten(known, label.worth, label.been) or _beaten(worths, hope[: self._compared], 0):
                continue
            if not self._meter.spend(3) or len(found) >= self._most:
                return found, False
            known.append((label.worth, label.been))
            if target[label.arc] == goal:
                if query.simple(label.arcs()) is None:
                    worths.append((hope[: self._compared], 0))
                found.append(label)
                continue
            for arc, _, transit in query.turns(label.arc):
                extend(label, arc, transit)
        return found, True

    def _worth(self, label: _Label | None, transit: int, arc: int) -> tuple[int, ...]:
        edge = self._query.arcs.edge[arc]
        size = self._compared + len(self._adding) - self._before_narrow
        worth = list(label.worth) if label else [0] * size
        for place, limit in self._adding.items():
            weight = limit.query.weights.edge
            worth[place] += weight[transit] + weight[edge]
        for place, metric in enumerate(self._narrow, self._before_narrow):
            narrowest = -min(getattr(self._edges[transit], metric.field), getattr(self._edges[edge], metric.field))
            worth[place] = max(worth[place], narrowest) if label else narrowest
        return tuple(worth)

    def _hope(self, worth: tuple[int, ...], arc: int) -> tuple[int, ...] | None:
        """What a path that goes on from here comes to at best; exact at the end. None: too much."""
        hope = list(worth)
        for place, limit in self._adding.items():
            hope[place] += limit.heights.of(limit.query, arc)
            if hope[place] > limit.most:
                return None
        if self._query.arcs.target[arc] == self._query.goal:
            last = self._edges[self._query.final[arc][1]]
            for place, metric in enumerate(self._narrow, self._before_narrow):
                hope[place] = max(hope[place], -getattr(last, metric.field))
        return tuple(hope)


def _beaten(known: Sequence[tuple[tuple[int, ...], int]], worth: tuple[int, ...], been: int) -> bool:
    return any(not passed & ~been and all(map(int.__le__, other, worth)) for other, passed in known)
