"""Pairs of paths for redundancy: link-, node- and shared-risk-disjoint, strict or best effort.

Link- and node-disjoint pairs of least total are exact, by flow (see `flow`); with bounds to metrics that add up, and
for shared risks, exact within the budget (see `conflicts`), else marked `optimal=False`. Best effort shares as few
things as possible (links, exchanges or risk tags, each counts one), then weighs least, and says what it shares. A link
that both paths share needs the bandwidth twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from meetme.composer import flow
from meetme.composer.conflicts import Conflicts
from meetme.composer.finding import highest, inside, limits
from meetme.composer.flow import Two
from meetme.composer.graph import NOTHING, Disjoint, Exclusions, Graph, NoPath, Pair, Path, Refusal, Shared
from meetme.composer.heights import everywhere
from meetme.composer.metrics import HOPS, LATENCY, Better, Bound, Metric
from meetme.composer.query import Budget, Meter, Query
from meetme.composer.refusing import nearest_bounds, nearest_lists, no_path


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of a pair."""

    graph: Graph
    a: int
    b: int
    metric: Metric
    kind: Disjoint
    strict: bool
    bounds: Sequence[Bound]
    exclude: Exclusions


def disjoint_pair(
    graph: Graph,
    a: int,
    b: int,
    metric: Metric = LATENCY,
    kind: Disjoint = Disjoint.LINK,
    *,
    strict: bool = True,
    bounds: Sequence[Bound] = (),
    exclude: Exclusions = NOTHING,
    budget: Budget = Budget(),
) -> Pair:
    """Two paths that share as little as `kind` says and are the best together. Raises NoPath.

    By a metric that is the least of its edges (throughput): the pair whose narrower path is the widest.
    """
    question = _Question(graph, a, b, metric, kind, strict, tuple(bounds), exclude)
    meter = Meter(budget)
    found = _find(question, meter)
    if found is None:
        raise _refuse(question, budget, proven=not meter.empty)
    return found


def _find(question: _Question, meter: Meter) -> Pair | None:
    graph, metric, kind, strict = question.graph, question.metric, question.kind, question.strict
    if not metric.additive:
        return _widest(question, meter)
    query = Query(graph, question.a, question.b, metric, bounds=question.bounds, exclude=question.exclude)
    if query.origin == query.goal:
        # Inside one exchange there is nothing to choose from: how it protects a transit is its own affair.
        only = None if strict else inside(query, question.bounds)
        return Pair(only, only, (Shared("exchange", graph.points[question.a].exchange),)) if only else None
    heights = everywhere(query)
    nodes = kind is Disjoint.NODE
    two = flow.disjoint(query, heights, meter, nodes=nodes)
    if two is None and strict:
        return None
    limited = limits(query, question.bounds, question.exclude)
    search = Conflicts(query, heights, limited, meter, kind, strict=strict)
    if two is None:
        two = flow.overlapping(query, heights, nodes=nodes)
        enough = two is not None and two.proven and kind is not Disjoint.SRLG and search.respects(two)
    else:
        enough = not search.shared(two.first, two.second) and search.respects(two)
    if not enough:
        search.consider(two)
        two = search.run()
    return None if two is None else _pair(query, two, search)


def _pair(query: Query, two: Two, search: Conflicts) -> Pair:
    metric = query.weights.metric
    both = [query.graph.path(query.edges(arcs), optimal=two.proven) for arcs in (two.first, two.second)]
    worse = 1 if metric.better is Better.LESS else -1
    primary, secondary = sorted(both, key=lambda path: (worse * path.value(metric), path.hops, path.edges))
    first = two.first if primary is both[0] else two.second
    second = two.second if primary is both[0] else two.first
    shared = tuple(Shared(thing.kind, thing.name) for thing in search.shared(first, second))
    return Pair(primary, secondary, shared, optimal=two.proven)


def _widest(question: _Question, meter: Meter) -> Pair | None:
    """The widest of the pairs that share as little as can be; of several, the one of least latency."""
    metric, arcs = question.metric, question.graph.arcs
    least = max((bound.limit for bound in question.bounds if bound.metric is metric), default=0)
    others = tuple(bound for bound in question.bounds if bound.metric is not metric)

    def at(level: float, *, strict: bool = True) -> Pair | None:
        bounds = (*others, Bound(metric, level))
        return _find(replace(question, metric=LATENCY, bounds=bounds, strict=strict), meter)

    found = highest(arcs.levels(metric), least, at, lambda pair: pair.value(metric))
    if found is None and not question.strict:
        lowest = at(least, strict=False)
        fewest = len(lowest.shared) if lowest else 0

        def sharing(level: float) -> Pair | None:
            pair = at(level, strict=False)
            return pair if pair and len(pair.shared) == fewest else None

        # What carries both paths has half of its bandwidth for each.
        halves = sorted({value / share for value in arcs.levels(metric) for share in (1, 2) if value / share >= least})
        found = (highest(halves, least, sharing) or lowest) if lowest else None
    return replace(found, optimal=False) if found and meter.empty else found


def _refuse(question: _Question, budget: Budget, *, proven: bool) -> NoPath:
    graph, a, b = question.graph, question.a, question.b
    meter = Meter(budget)

    def find(**change: object) -> Pair | None:
        return _find(replace(question, **change), meter)  # type: ignore[arg-type]

    def ask(bounds: Sequence[Bound], exclude: Exclusions) -> Path | None:
        pair = find(bounds=tuple(bounds), exclude=exclude, metric=HOPS)
        return graph.path(pair.primary.edges + pair.secondary.edges) if pair else None

    def best(bound: Bound, others: Sequence[Bound]) -> float | None:
        pair = find(bounds=tuple(others), metric=bound.metric)
        return None if pair is None else pair.value(bound.metric)

    refusals: list[Refusal] = []
    if question.strict:
        looser = None
        if question.kind is not Disjoint.LINK:
            looser = Disjoint.LINK.value if find(kind=Disjoint.LINK) else None
        refusals.append(Refusal("disjoint", question.kind.value, looser))
        refusals.append(Refusal("redundancy", "strict", "best_effort" if find(strict=False) else None))
    refusals += nearest_bounds(question.bounds, best)
    refusals += nearest_lists(graph, question.bounds, question.exclude, ask)
    exists = find(strict=False, bounds=(), exclude=NOTHING, kind=Disjoint.LINK) is not None
    return no_path(graph, a, b, refusals, exists=exists, proven=proven)
