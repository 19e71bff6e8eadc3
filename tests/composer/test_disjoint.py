"""Pairs against all pairs, one by one, and against an integer programme; traps, sharing, refusals."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meetme.composer.disjoint import disjoint_pair
from meetme.composer.flow import SHARE, overlapping, shared_count
from meetme.composer.flow import disjoint as flow_pair
from meetme.composer.graph import Disjoint, Exclusions, Graph, NoPath, Pair, Path, Refusal, Shared
from meetme.composer.heights import everywhere
from meetme.composer.metrics import BANDWIDTH, HOPS, LATENCY, PRICE, Bound, Metric
from meetme.composer.paths import shortest
from meetme.composer.query import Budget, Meter, Query
from tests.composer import exact
from tests.composer.brute import all_paths, things
from tests.composer.random_graphs import KINDS, assemble, federation, trap
from tests.composer.test_paths import A, Asked, B, graphs, questions


def best_pair(graph: Graph, paths: list[Path], kind: Disjoint, metric: Metric, need: float = 0) -> tuple[int, float]:
    """The fewest shared things of all pairs and the least total among those; a shared link carries both."""
    free = {edge.link: edge.bandwidth for edge in graph.edges}
    known = [(path.value(metric), things(graph, path, kind)) for path in paths]
    found = [(1 << 30, 0.0)]
    for (one, mine), (other, its) in combinations_with_replacement(known, 2):
        both = mine & its
        if all(what != "link" or free[which] >= 2 * need for what, which in both):
            found.append((len(both), one + other))
    return min(found)


def check(graph: Graph, pair: Pair, kind: Disjoint) -> None:
    """A pair is two paths, and shares what it says."""
    mine, its = things(graph, pair.primary, kind), things(graph, pair.secondary, kind)
    assert {tuple(shared) for shared in pair.shared} == mine & its
    for path in (pair.primary, pair.secondary):
        members = [crossing.exchange for crossing in graph.crossings(path)]
        assert len(set(members)) == len(members)
        assert graph.path(path.edges, optimal=path.optimal) == path
        for edge, following in zip(path.edges, path.edges[1:], strict=False):
            assert graph.edges[edge].head == graph.edges[following].tail
    assert pair.primary.value(LATENCY) <= pair.secondary.value(LATENCY)


@pytest.mark.parametrize("kind", list(Disjoint))
@given(graph=graphs())
@settings(max_examples=40, deadline=None)
def test_a_strict_pair_is_the_best_of_all(graph: Graph, kind: Disjoint) -> None:
    fewest, total = best_pair(graph, all_paths(graph, A, B), kind, LATENCY)
    try:
        pair = disjoint_pair(graph, A, B, LATENCY, kind)
    except NoPath:
        assert fewest > 0
        return
    check(graph, pair, kind)
    assert pair.optimal
    assert fewest == len(pair.shared) == 0
    assert pair.primary.latency_ms + pair.secondary.latency_ms == pytest.approx(total)


@pytest.mark.parametrize("kind", list(Disjoint))
@given(graph=graphs())
@settings(max_examples=40, deadline=None)
def test_best_effort_shares_as_little_as_can_be_and_says_what(graph: Graph, kind: Disjoint) -> None:
    paths = all_paths(graph, A, B)
    try:
        pair = disjoint_pair(graph, A, B, LATENCY, kind, strict=False)
    except NoPath:
        assert not paths
        return
    check(graph, pair, kind)
    fewest, total = best_pair(graph, paths, kind, LATENCY)
    assert pair.optimal
    assert len(pair.shared) == fewest
    assert pair.primary.latency_ms + pair.secondary.latency_ms == pytest.approx(total)


@given(asked=questions(), kind=st.sampled_from(Disjoint), strict=st.booleans())
@settings(max_examples=60, deadline=None)
def test_both_paths_of_a_pair_respect_all_constraints(asked: Asked, kind: Disjoint, strict: bool) -> None:
    need = max((bound.limit for bound in asked.bounds if bound.metric is BANDWIDTH), default=0)
    fewest, total = best_pair(asked.graph, asked.passing(), kind, PRICE, need)
    try:
        pair = disjoint_pair(asked.graph, A, B, PRICE, kind, strict=strict, bounds=asked.bounds, exclude=asked.exclude)
    except NoPath:
        assert fewest > 0 if strict else fewest == 1 << 30
        return
    assert pair.optimal
    assert {pair.primary.edges, pair.secondary.edges} <= {path.edges for path in asked.passing()}
    assert len(pair.shared) == fewest
    assert pair.primary.price + pair.secondary.price == pytest.approx(total)


@pytest.mark.parametrize("kind", list(Disjoint))
@pytest.mark.parametrize("exchanges", [12, pytest.param(30, marks=pytest.mark.slow)])
def test_larger_graphs_agree_with_an_integer_programme(exchanges: int, kind: Disjoint) -> None:
    for seed, prices in enumerate(KINDS):
        graph = federation(seed, exchanges, 2 * exchanges, prices)
        expected = exact.least(graph, A, B, paths=2, kind=kind)
        try:
            pair = disjoint_pair(graph, A, B, LATENCY, kind)
        except NoPath:
            assert expected is None
            continue
        check(graph, pair, kind)
        assert not pair.shared
        assert pair.optimal
        assert pair.primary.latency_ms + pair.secondary.latency_ms == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("prices", KINDS)
@pytest.mark.parametrize("kind", list(Disjoint))
def test_thousands_of_small_graphs(kind: Disjoint, prices: str) -> None:
    for seed in range(600):
        graph = federation(seed, 7, Random(seed).randint(7, 14), prices, whole_ms=seed % 3 == 0)
        paths = all_paths(graph, A, B)
        if not paths:
            continue
        pair = disjoint_pair(graph, A, B, LATENCY, kind, strict=False)
        fewest, total = best_pair(graph, paths, kind, LATENCY)
        check(graph, pair, kind)
        assert len(pair.shared) == fewest
        assert pair.primary.latency_ms + pair.secondary.latency_ms == pytest.approx(total)


@pytest.mark.parametrize("kind", list(Disjoint))
def test_the_trap_does_not_catch(kind: Disjoint) -> None:
    """The shortest path leaves no disjoint second one: whoever takes it first finds none."""
    graph, a, b = trap()
    first = shortest(graph, a, b)
    used = Exclusions(links=frozenset(graph.links(first)))
    with pytest.raises(NoPath):
        shortest(graph, a, b, exclude=used)
    pair = disjoint_pair(graph, a, b, LATENCY, kind)
    check(graph, pair, kind)
    assert pair.optimal
    assert not pair.shared
    assert first.edges not in (pair.primary.edges, pair.secondary.edges)


def test_a_bridge_is_shared_and_named() -> None:
    """Two triangles joined by one link: best effort shares that link and the exchanges at its ends, nothing else."""
    graph = assemble(6, [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)], "even", Random(1))
    b = graph.find("ix-5", "access")
    with pytest.raises(NoPath) as refused:
        disjoint_pair(graph, A, b)
    assert refused.value.refusals == (
        Refusal("disjoint", "link", None),
        Refusal("redundancy", "strict", "best_effort"),
    )
    assert "redundancy strict: best_effort would pass" in str(refused.value)
    link = disjoint_pair(graph, A, b, kind=Disjoint.LINK, strict=False)
    assert link.shared == (Shared("link", "link-3"),)
    node = disjoint_pair(graph, A, b, kind=Disjoint.NODE, strict=False)
    assert set(node.shared) == {Shared("link", "link-3"), Shared("exchange", "ix-2"), Shared("exchange", "ix-3")}


def test_a_node_disjoint_pair_that_does_not_exist_names_the_kind_that_does() -> None:
    """An hourglass: two links on either side of one exchange."""
    graph = assemble(3, [(0, 2), (0, 2), (2, 1), (2, 1)], "pairwise", Random(1))
    assert not disjoint_pair(graph, A, B).shared
    with pytest.raises(NoPath) as refused:
        disjoint_pair(graph, A, B, kind=Disjoint.NODE)
    assert Refusal("disjoint", "node", "link") in refused.value.refusals
    pair = disjoint_pair(graph, A, B, kind=Disjoint.NODE, strict=False)
    assert pair.shared == (Shared("exchange", "ix-2"),)


def test_a_shared_link_carries_both() -> None:
    graph = assemble(2, [(0, 1)], "even", Random(1))
    free = shortest(graph, A, B).bandwidth
    pair = disjoint_pair(graph, A, B, strict=False, bounds=[Bound(BANDWIDTH, free // 2)])
    assert pair.shared == (Shared("link", "link-0"),)
    with pytest.raises(NoPath):
        disjoint_pair(graph, A, B, strict=False, bounds=[Bound(BANDWIDTH, free // 2 + 1)])


def test_two_direct_links_are_a_node_disjoint_pair_one_is_not() -> None:
    two = assemble(2, [(0, 1), (0, 1)], "even", Random(1))
    assert not disjoint_pair(two, A, B, kind=Disjoint.NODE).shared
    one = assemble(2, [(0, 1)], "even", Random(1))
    with pytest.raises(NoPath):
        disjoint_pair(one, A, B, kind=Disjoint.NODE)


def test_the_widest_pair_is_the_one_whose_narrower_path_is_widest() -> None:
    for seed in range(12):
        graph = federation(seed, 6, 11, "pairwise")
        paths = all_paths(graph, A, B)
        best = 0
        for one, other in combinations_with_replacement(paths, 2):
            if not things(graph, one, Disjoint.LINK) & things(graph, other, Disjoint.LINK):
                best = max(best, min(one.bandwidth, other.bandwidth))
        try:
            pair = disjoint_pair(graph, A, B, BANDWIDTH)
        except NoPath:
            assert best == 0
        else:
            assert min(pair.primary.bandwidth, pair.secondary.bandwidth) == best


def test_the_widest_pair_of_best_effort_shares_least_first_and_shared_links_have_half() -> None:
    bridge = assemble(4, [(0, 2), (0, 2), (2, 3), (3, 1), (3, 1)], "even", Random(1))
    free = {"link-0": 3_000, "link-1": 9_000, "link-2": 10_000, "link-3": 40_000, "link-4": 7_000}
    edges = tuple(replace(edge, bandwidth=free.get(edge.link, 100_000)) for edge in bridge.edges)
    graph = Graph(bridge.points, edges)
    assert disjoint_pair(graph, A, B, BANDWIDTH, strict=False).value(BANDWIDTH) == 3_000
    wide = Graph(bridge.points, tuple(replace(edge, bandwidth=max(9_000, edge.bandwidth)) for edge in edges))
    pair = disjoint_pair(wide, A, B, BANDWIDTH, strict=False)
    assert pair.shared == (Shared("link", "link-2"),)
    for seed in range(25):
        graph = federation(seed, 6, 8, "pairwise")
        width = {edge.link: edge.bandwidth for edge in graph.edges}
        best = (-1000, 0.0)
        for one, other in combinations_with_replacement(all_paths(graph, A, B), 2):
            both = things(graph, one, Disjoint.LINK) & things(graph, other, Disjoint.LINK)
            carried = min([one.bandwidth, other.bandwidth, *(width[which] / 2 for _, which in both)])
            best = max(best, (-len(both), carried))
        pairs = disjoint_pair(graph, A, B, BANDWIDTH, strict=False)
        carried = min([pairs.value(BANDWIDTH), *(width[shared.name] / 2 for shared in pairs.shared)])
        assert (-len(pairs.shared), carried) == best


@pytest.mark.parametrize("kind", list(Disjoint))
@pytest.mark.parametrize("seeds", [80, pytest.param(3000, marks=pytest.mark.slow)])
def test_the_widest_pair_of_best_effort_is_the_widest_of_all_pairs(kind: Disjoint, seeds: int) -> None:
    """Few links of odd widths, so that most pairs have to share one, with a need and without."""
    for seed in range(seeds):
        chance = Random(seed)
        size = chance.randint(3, 6)
        graph = federation(seed, size, chance.randint(size - 1, size + 2), KINDS[seed % 4])
        width = {edge.link: chance.choice((100, 101, 150, 300, 301, 333, 1000, 1001)) for edge in graph.edges}
        inside = {edge.link: chance.choice((100, 333, 1000, 100_000)) for edge in graph.edges}
        edges = [replace(e, bandwidth=(inside if e.exchange else width)[e.link]) for e in graph.edges]
        graph = Graph(graph.points, tuple(edges), graph.countries)
        need = chance.choice((1, 50, 100, 120, 151))
        pairs = []
        for one, other in combinations_with_replacement(all_paths(graph, A, B), 2):
            both = things(graph, one, kind) & things(graph, other, kind)
            halves = (width[which] / 2 for what, which in both if what == "link")
            carried = min(one.bandwidth, other.bandwidth, *halves)
            if carried >= need:
                pairs.append((-len(both), carried))
        try:
            pair = disjoint_pair(graph, A, B, BANDWIDTH, kind, strict=False, bounds=[Bound(BANDWIDTH, need)])
        except NoPath:
            assert not pairs
            continue
        halves = (width[shared.name] / 2 for shared in pair.shared if shared.kind == "link")
        carried = min(pair.primary.bandwidth, pair.secondary.bandwidth, *halves)
        assert (-len(pair.shared), carried) == max(pairs)
        assert pair.optimal


RARE = (
    (393, 5, 8, "gaps", False),
    (529, 6, 10, "gaps", False),
    (2369, 7, 11, "gaps", False),
    (7099, 6, 10, "gaps", False),
    (7719, 5, 9, "gaps", False),
)
"""Where the flow comes back to an exchange, or takes a link in both directions: few graphs in a thousand."""


@pytest.mark.parametrize("nodes", [False, True])
def test_the_flow_alone_finds_the_best_pair(nodes: bool) -> None:
    """Without the exact search behind it, which would mend what it gets wrong."""
    kind = Disjoint.NODE if nodes else Disjoint.LINK
    drawn = [(seed, 6, Random(seed).randint(7, 11), KINDS[seed % 4], seed % 3 == 0) for seed in range(60)]
    for seed, exchanges, links, prices, whole_ms in (*drawn, *RARE):
        graph = federation(seed, exchanges, links, prices, whole_ms=whole_ms)
        fewest, total = best_pair(graph, all_paths(graph, A, B), kind, LATENCY)
        query = Query(graph, A, B, LATENCY)
        two = flow_pair(query, everywhere(query), Meter(Budget()), nodes=nodes)
        if fewest:
            assert two is None
            continue
        assert two is not None
        assert two.proven
        both = [graph.path(query.edges(arcs)) for arcs in (two.first, two.second)]
        assert sum(path.latency_ms for path in both) == pytest.approx(total)
        assert not things(graph, both[0], kind) & things(graph, both[1], kind)
        for path in both:
            members = [crossing.exchange for crossing in graph.crossings(path)]
            assert len(set(members)) == len(members)


@pytest.mark.parametrize("nodes", [False, True])
def test_a_flow_that_may_share_is_a_bound_and_mostly_the_best_pair_itself(nodes: bool) -> None:
    """The quick answer, without the exact search that stands behind it."""
    kind, proven, asked = Disjoint.NODE if nodes else Disjoint.LINK, 0, 0
    for seed in range(60):
        graph = federation(seed, 6, Random(seed).randint(5, 7), KINDS[seed % 4])
        paths = all_paths(graph, A, B)
        query = Query(graph, A, B, LATENCY)
        heights = everywhere(query)
        two = overlapping(query, heights, nodes=nodes)
        if not paths:
            assert two is None
            continue
        asked += 1
        if two is None or not two.proven:
            continue
        proven += 1
        fewest, total = best_pair(graph, paths, kind, LATENCY)
        both = [graph.path(query.edges(arcs)) for arcs in (two.first, two.second)]
        assert shared_count(query, two.first, two.second, nodes=nodes) == fewest
        assert sum(path.latency_ms for path in both) == pytest.approx(total)
        assert two.weight // SHARE == fewest
    assert proven > 0.8 * asked, (proven, asked)


def test_a_bound_that_no_pair_respects_is_refused_with_one_that_a_pair_does() -> None:
    graph = federation(4, 8, 18, "sums")
    free = disjoint_pair(graph, A, B)
    tight = Bound(LATENCY, free.primary.latency_ms - 0.001)
    with pytest.raises(NoPath) as refused:
        disjoint_pair(graph, A, B, HOPS, bounds=[tight])
    told = {refusal.constraint: refusal.nearest for refusal in refused.value.refusals}
    nearest = told["max_latency_ms"]
    assert isinstance(nearest, float)
    eased = disjoint_pair(graph, A, B, HOPS, bounds=[Bound(LATENCY, nearest)])
    assert eased.value(LATENCY) <= nearest


def test_inside_one_exchange_there_is_nothing_to_choose_from() -> None:
    graph = federation(3, 4, 5)
    nni = next(place for place, point in enumerate(graph.points) if point.exchange == "ix-0" and place != A)
    with pytest.raises(NoPath):
        disjoint_pair(graph, A, nni)
    pair = disjoint_pair(graph, A, nni, strict=False)
    assert pair.primary == pair.secondary
    assert pair.shared == (Shared("exchange", "ix-0"),)


def test_out_of_budget_the_best_pair_found_is_marked() -> None:
    graph = federation(1, 40, 110, "pairwise")
    assert disjoint_pair(graph, A, 30, kind=Disjoint.SRLG).optimal
    hurried = disjoint_pair(graph, A, 30, kind=Disjoint.SRLG, budget=Budget(steps=50))
    assert not hurried.optimal
    assert not hurried.shared
    check(graph, hurried, Disjoint.SRLG)
