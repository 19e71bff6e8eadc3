"""Paths between two access ports: the best by a metric, the widest, the k best.

All are exact. Where bounds to metrics that add up make that hard (it is NP-hard), they are exact within a budget, and
beyond it the best that was found comes marked `optimal=False`. Equal paths are told apart always in the same way: fewer
exchanges first, then the order of the edges. What cannot be had raises NoPath, which says what could.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from meetme.composer.finding import find, find_widest, inside
from meetme.composer.graph import NOTHING, Exclusions, Graph, Path
from meetme.composer.heights import everywhere
from meetme.composer.metrics import BANDWIDTH, LATENCY, Bound, Metric
from meetme.composer.query import Budget, Meter, Query
from meetme.composer.refusing import refuse
from meetme.composer.search import path


def shortest(
    graph: Graph,
    a: int,
    b: int,
    metric: Metric = LATENCY,
    *,
    bounds: Sequence[Bound] = (),
    exclude: Exclusions = NOTHING,
    budget: Budget = Budget(),
) -> Path:
    """The best path by a metric, within all bounds, away from what is excluded. Raises NoPath."""
    meter = Meter(budget)
    found = find(graph, a, b, metric, bounds, exclude, meter)
    if found is None:
        raise refuse(graph, a, b, bounds, exclude, budget, proven=not meter.empty)
    return found


constrained = shortest
"""The same: a bound to a metric that adds up makes it a constrained search."""


def widest(
    graph: Graph,
    a: int,
    b: int,
    metric: Metric = BANDWIDTH,
    *,
    then: Metric = LATENCY,
    bounds: Sequence[Bound] = (),
    exclude: Exclusions = NOTHING,
    budget: Budget = Budget(),
) -> Path:
    """The path whose narrowest edge is the widest; of several, the best by `then`. Raises NoPath."""
    meter = Meter(budget)
    found = find_widest(graph, a, b, metric, then, bounds, exclude, meter)
    if found is None:
        raise refuse(graph, a, b, bounds, exclude, budget, proven=not meter.empty)
    return found


def k_best(
    graph: Graph,
    a: int,
    b: int,
    k: int,
    metric: Metric = LATENCY,
    *,
    bounds: Sequence[Bound] = (),
    exclude: Exclusions = NOTHING,
    budget: Budget = Budget(),
) -> tuple[Path, ...]:
    """The k best paths, best first; fewer where there are no more. The last is not `optimal` where the budget ended it.

    Yen 1971, with Lawler's rule: a path is only varied behind the place where it left the one it came from. Paths that
    break a bound to an additive metric are varied too, but not given.
    """
    query = Query(graph, a, b, metric, bounds=bounds, exclude=exclude)
    if query.origin == query.goal:
        only = inside(query, bounds)
        return (only,) if only else ()
    meter = Meter(budget)
    heights = everywhere(query)
    found: list[Path] = []
    taken: list[tuple[int, ...]] = []
    queue: list[tuple[int, tuple[int, ...], int]] = []
    first = path(query, heights, meter)
    if first is not None:
        queue.append((first.weight, first.arcs, 0))
    while queue and len(found) < k:
        _, arcs, left = heappop(queue)
        whole = graph.path(query.edges(arcs), optimal=not meter.empty)
        if all(bound.metric.passes(whole.value(bound.metric), bound.limit) for bound in bounds):
            found.append(whole)
        if not meter.spend(len(arcs)):
            break
        taken.append(arcs)
        for place in range(left, len(arcs)):
            prefix = arcs[:place]
            but = {other[place] for other in taken if other[:place] == prefix and len(other) > place}
            spur = path(query.after(prefix, but), heights, meter)
            if spur is not None:
                variant = prefix + spur.arcs
                heappush(queue, (query.weigh(variant), variant, place))
    return tuple(found)
