"""Single paths against all paths, one by one: the best, the widest, within bounds, the k best; refusals; ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meetme.composer.arcs import TIE_BITS
from meetme.composer.graph import Exclusions, Graph, NoPath, Path, Refusal
from meetme.composer.heights import between, everywhere
from meetme.composer.metrics import (
    AVAILABILITY,
    BANDWIDTH,
    HOPS,
    LATENCY,
    MTU,
    PRICE,
    Better,
    Bound,
    Metric,
)
from meetme.composer.paths import constrained, k_best, shortest, widest
from meetme.composer.query import Budget, Query
from meetme.composer.search import walk
from meetme.model.errors import InvalidInput
from tests.composer.brute import all_paths, allowed
from tests.composer.random_graphs import KINDS, federation, line, name

A, B = 0, 1


@dataclass(frozen=True)
class Asked:
    """A random graph and random constraints."""

    graph: Graph
    bounds: tuple[Bound, ...]
    exclude: Exclusions

    def passing(self, but: Bound | None = None) -> list[Path]:
        """All paths that satisfy the constraints, or all but one of them."""
        return [
            path
            for path in all_paths(self.graph, A, B)
            if allowed(self.graph, path, self.exclude)
            and all(bound.metric.passes(path.value(bound.metric), bound.limit) for bound in self.bounds if bound != but)
        ]


@st.composite
def graphs(draw: st.DrawFn, most: int = 7) -> Graph:
    exchanges = draw(st.integers(2, most))
    return federation(
        draw(st.integers(0, 1 << 16)),
        exchanges,
        draw(st.integers(exchanges - 1, 2 * exchanges)),
        draw(st.sampled_from(KINDS)),
        whole_ms=draw(st.booleans()),
    )


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    names = [name(number) for number in range(2, 7)]
    bounds = [
        Bound(metric, draw(limit))
        for metric, limit in (
            (LATENCY, st.integers(5, 120)),
            (PRICE, st.integers(20, 250)),
            (HOPS, st.integers(2, 6)),
            (BANDWIDTH, st.sampled_from((100, 1_000, 10_000))),
            (AVAILABILITY, st.sampled_from((0.8, 0.9, 0.97))),
            (MTU, st.just(9000)),
        )
        if draw(st.integers(0, 2)) == 0
    ]
    exclude = Exclusions(
        members=draw(st.frozensets(st.sampled_from(names), max_size=2)),
        links=draw(st.frozensets(st.sampled_from(("link-0", "link-3")), max_size=1)),
        countries=draw(st.frozensets(st.just("FR"), max_size=1)) if draw(st.booleans()) else frozenset(),
        risks=draw(st.frozensets(st.sampled_from(("duct-1", "duct-2")), max_size=1)),
    )
    return Asked(draw(graphs()), tuple(bounds), exclude)


def answer(ask: Callable[[], Path]) -> Path | NoPath:
    try:
        return ask()
    except NoPath as refused:
        return refused


def same(one: float, other: float) -> bool:
    return one == pytest.approx(other, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("metric", [LATENCY, PRICE, HOPS, AVAILABILITY])
@given(asked=questions())
@settings(max_examples=25, deadline=None)
def test_the_best_path_is_the_best_of_all(asked: Asked, metric: Metric) -> None:
    best = min if metric.better is Better.LESS else max
    passing = asked.passing()
    found = answer(lambda: shortest(asked.graph, A, B, metric, bounds=asked.bounds, exclude=asked.exclude))
    if isinstance(found, NoPath):
        assert not passing
    else:
        assert found.optimal
        assert found.edges in {path.edges for path in passing}
        assert same(found.value(metric), best(path.value(metric) for path in passing))


@given(asked=questions())
@settings(max_examples=25, deadline=None)
def test_the_widest_path_is_the_widest_and_then_the_shortest(asked: Asked) -> None:
    passing = asked.passing()
    found = answer(lambda: widest(asked.graph, A, B, bounds=asked.bounds, exclude=asked.exclude))
    if isinstance(found, NoPath):
        assert not passing
    else:
        assert (-found.bandwidth, found.latency_ms) == min((-path.bandwidth, path.latency_ms) for path in passing)


@given(asked=questions(), k=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_the_k_best_are_the_first_of_all_in_order(asked: Asked, k: int) -> None:
    found = k_best(asked.graph, A, B, k, bounds=asked.bounds, exclude=asked.exclude)
    assert len({path.edges for path in found}) == len(found)
    assert [path.latency_ms for path in found] == sorted(path.latency_ms for path in asked.passing())[:k]


@given(asked=questions())
@settings(max_examples=40, deadline=None)
def test_a_refusal_names_for_each_bound_the_nearest_value_that_passes(asked: Asked) -> None:
    found = answer(lambda: shortest(asked.graph, A, B, bounds=asked.bounds, exclude=asked.exclude))
    if not isinstance(found, NoPath):
        return
    told = {refusal.constraint: refusal for refusal in found.refusals}
    if not all_paths(asked.graph, A, B):
        assert list(told) == ["path"]
        return
    for bound in asked.bounds:
        others = [path.value(bound.metric) for path in asked.passing(but=bound)]
        best = min if bound.metric.better is Better.LESS else max
        nearest = told[bound.name].nearest
        if not others:
            assert nearest is None
        else:
            assert isinstance(nearest, int | float)
            assert same(nearest, best(others))
            eased = [Bound(bound.metric, nearest) if each == bound else each for each in asked.bounds]
            assert shortest(asked.graph, A, B, bounds=eased, exclude=asked.exclude)


@given(asked=questions())
@settings(max_examples=40, deadline=None)
def test_a_refusal_names_for_each_list_one_that_passes(asked: Asked) -> None:
    found = answer(lambda: shortest(asked.graph, A, B, bounds=asked.bounds, exclude=asked.exclude))
    if not isinstance(found, NoPath):
        return
    fields = {
        "avoid_members": "members",
        "avoid_links": "links",
        "avoid_countries": "countries",
        "avoid_risks": "risks",
    }
    for refusal in found.refusals:
        if refusal.constraint in fields and refusal.nearest is not None:
            assert isinstance(refusal.nearest, tuple)
            given = {field: getattr(asked.exclude, field) for field in fields.values()}
            eased = Exclusions(**(given | {fields[refusal.constraint]: frozenset(refusal.nearest)}))
            assert shortest(asked.graph, A, B, bounds=asked.bounds, exclude=eased)


@pytest.mark.parametrize("kind", KINDS)
def test_on_larger_graphs_the_best_walk_is_that_of_networkx(kind: str) -> None:
    """With a node for coming in and one for going out at each port, walks are all that networkx can take."""
    for seed, size in ((0, 70), (1, 70), (2, 70), (5, 200), (6, 200), (9, 200)):
        graph = federation(seed, size, 180 if size == 70 else 330, kind, whole_ms=seed % 4 == 0)
        ends = (name(0), name(size - 1))
        b = graph.find(ends[1], "access")
        drawn: networkx.DiGraph[int] = networkx.DiGraph()
        for edge in graph.edges:
            if edge.exchange is not None:
                drawn.add_edge(2 * edge.tail, 2 * edge.head + 1, weight=edge.latency_ms)
            elif graph.points[edge.head].exchange != ends[0] and graph.points[edge.tail].exchange != ends[1]:
                drawn.add_edge(2 * edge.tail + 1, 2 * edge.head, weight=edge.latency_ms)
        query = Query(graph, A, b, LATENCY)
        expected = networkx.dijkstra_path_length(drawn, 2 * A, 2 * b + 1)
        for heights in (between(query), everywhere(query)):
            found = walk(query, heights)
            assert found is not None
            assert (found.weight >> TIE_BITS) / 1e6 == pytest.approx(expected)
            assert heights.least <= found.weight
            assert kind != "even" or heights.least == found.weight


def test_a_walk_that_would_loop_is_not_taken() -> None:
    """From port 1 to port 2 of the middle exchange is dear; out by port 3 and back by port 4 is a bargain."""
    graph = line(dear_middle=50.0)
    path = shortest(graph, A, graph.find("ix-2", "access"))
    assert path.latency_ms == min(each.latency_ms for each in all_paths(graph, A, graph.find("ix-2", "access")))
    members = [crossing.exchange for crossing in graph.crossings(path)]
    assert len(set(members)) == len(members) == 3


def test_equal_paths_are_told_apart_by_fewer_exchanges_and_always_alike() -> None:
    graphs = [federation(seed, 8, 14, "even", whole_ms=True) for seed in range(20)]
    for graph in graphs:
        best = shortest(graph, A, B)
        again = Graph(graph.points, graph.edges, graph.countries)
        assert shortest(again, A, B) == best
        equal = [path for path in all_paths(graph, A, B) if path.latency_ms == best.latency_ms]
        assert best.hops == min(path.hops for path in equal)


def test_two_ports_of_one_exchange_are_joined_by_its_transit() -> None:
    graph = federation(3, 4, 5)
    nni = next(place for place, point in enumerate(graph.points) if point.exchange == "ix-0" and place != A)
    path = shortest(graph, A, nni)
    assert len(path.edges) == 1
    assert path.hops == 1
    with pytest.raises(NoPath) as refused:
        shortest(graph, A, nni, bounds=[Bound(LATENCY, 0.0)])
    assert refused.value.refusals == (Refusal("max_latency_ms", 0.0, path.latency_ms),)
    with pytest.raises(InvalidInput, match="two different ends"):
        shortest(graph, A, A)


def test_what_is_excluded_at_an_end_is_refused_with_what_would_do() -> None:
    graph = federation(3, 5, 9, "even")
    with pytest.raises(NoPath) as refused:
        shortest(graph, A, B, exclude=Exclusions(members=frozenset({"ix-1", "ix-4"})))
    assert refused.value.refusals == (Refusal("avoid_members", ("ix-1", "ix-4"), ("ix-4",)),)
    assert "avoid_members ix-1, ix-4: ix-4 would pass" in str(refused.value)
    here = {graph.countries["ix-0"], graph.countries["ix-1"]}
    with pytest.raises(NoPath) as refused:
        shortest(graph, A, B, exclude=Exclusions(within=frozenset({"XX"} | here - {graph.countries["ix-1"]})))
    (refusal,) = refused.value.refusals
    assert refusal.constraint == "within_countries"
    assert isinstance(refusal.nearest, tuple)
    assert here <= set(refusal.nearest)
    assert shortest(graph, A, B, exclude=Exclusions(within=frozenset(refusal.nearest)))


def test_out_of_budget_the_best_found_is_marked() -> None:
    graph = federation(7, 60, 160, "pairwise")
    free = shortest(graph, A, 40)
    cheap = shortest(graph, A, 40, PRICE)
    bounds = [Bound(PRICE, cheap.price * 1.02)]
    exact = constrained(graph, A, 40, bounds=bounds)
    assert free.price > bounds[0].limit
    assert exact.optimal
    assert exact.price <= bounds[0].limit
    hurried = constrained(graph, A, 40, bounds=bounds, budget=Budget(steps=1))
    assert not hurried.optimal
    assert hurried.price <= bounds[0].limit
    assert hurried.latency_ms >= exact.latency_ms
    asked = []

    def over() -> bool:
        asked.append(1)
        return True

    assert not constrained(graph, A, 40, bounds=bounds, budget=Budget(expired=over)).optimal
    assert asked
