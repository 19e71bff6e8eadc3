"""One path, or none: the searches behind `paths`, without the words for a refusal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import floor
from typing import TypeVar

from meetme.composer.graph import Exclusions, Graph, Path
from meetme.composer.heights import between, everywhere
from meetme.composer.metrics import LATENCY, ROUNDING, Bound, Combine, Metric
from meetme.composer.query import Meter, Query
from meetme.composer.search import Limit, path


def find(
    graph: Graph, a: int, b: int, metric: Metric, bounds: Sequence[Bound], exclude: Exclusions, meter: Meter
) -> Path | None:
    """The best path by a metric within bounds. None: there is none, or none was found before the meter ran out."""
    if not metric.additive:
        return find_widest(graph, a, b, metric, LATENCY, bounds, exclude, meter)
    query = Query(graph, a, b, metric, bounds=bounds, exclude=exclude)
    if query.origin == query.goal:
        return inside(query, bounds)
    limited = limits(query, bounds, exclude)
    if not limited:
        walk = path(query, between(query), meter)
        return graph.path(query.edges(walk.arcs)) if walk else None
    return _within(query, limited, bounds, exclude, meter)


def _within(
    query: Query, limited: Sequence[Limit], bounds: Sequence[Bound], exclude: Exclusions, meter: Meter
) -> Path | None:
    graph = query.graph
    heights = everywhere(query)
    freely = path(query, heights, meter)
    if freely is None:
        return None
    if all(limit.query.weigh(freely.arcs) <= limit.most for limit in limited):
        return graph.path(query.edges(freely.arcs))
    walk = path(query, heights, meter, limited)
    if walk is not None:
        return graph.path(query.edges(walk.arcs))
    if not meter.empty:
        return None
    # Out of time: a path that spends least of one limit is likely to respect them all.
    others = [path(limit.query, limit.heights, meter) for limit in limited]
    within = [
        other.arcs
        for other in others
        if other is not None and all(limit.query.weigh(other.arcs) <= limit.most for limit in limited)
    ]
    if not within:
        return None
    return graph.path(query.edges(min(within, key=query.weigh)), optimal=False)


def inside(query: Query, bounds: Sequence[Bound]) -> Path | None:
    """The path between two ports of one exchange: its transit."""
    edge = None if query.blocked else query.direct()
    if edge is None:
        return None
    only = query.graph.path((edge,))
    return only if all(bound.metric.passes(only.value(bound.metric), bound.limit) for bound in bounds) else None


def limits(query: Query, bounds: Sequence[Bound], exclude: Exclusions) -> list[Limit]:
    """What bounds to metrics that add up mean in weights."""
    found = []
    for bound in bounds:
        if bound.metric.additive:
            other = Query(query.graph, query.a, query.b, bound.metric, bounds=bounds, exclude=exclude, ties=False)
            found.append(Limit(other, everywhere(other), most(bound)))
    return found


def most(bound: Bound) -> int:
    """A bound as a weight: the greatest that respects it."""
    if bound.metric.combine is Combine.MULTIPLY:
        return bound.metric.weight(bound.limit) + ROUNDING if bound.limit > 0 else 1 << 100
    return floor(round(bound.limit * 1e6, 3)) if bound.limit < 1e12 else 1 << 100


T = TypeVar("T")


def highest(
    levels: Sequence[float], limit: float, ask: Callable[[float], T | None], reached: Callable[[T], float] | None = None
) -> T | None:
    """The answer at the highest level, at least `limit`, that has one: what can be had at one can be had at all below.

    `reached`: the level that an answer would do for, where that may be higher than the one that was asked.
    """
    low = bisect_left(levels, limit)
    high = len(levels) - 1
    best: T | None = None
    while low <= high:
        middle = (low + high) // 2 if best is not None else low
        found = ask(levels[middle])
        if found is None and best is None:
            return None
        if found is None:
            high = middle - 1
        else:
            best = found
            low = (bisect_left(levels, reached(found)) if reached else middle) + 1
    return best


def find_widest(
    graph: Graph,
    a: int,
    b: int,
    metric: Metric,
    then: Metric,
    bounds: Sequence[Bound],
    exclude: Exclusions,
    meter: Meter,
) -> Path | None:
    """The path whose least value is highest; of several, the best by `then`."""
    least = max((bound.limit for bound in bounds if bound.metric is metric), default=0)
    others = [bound for bound in bounds if bound.metric is not metric]

    def at(level: float) -> Path | None:
        return find(graph, a, b, then, [*others, Bound(metric, level)], exclude, meter)

    found = highest(graph.arcs.levels(metric), least, at, lambda path: path.value(metric))
    return replace(found, optimal=False) if found and meter.empty else found
