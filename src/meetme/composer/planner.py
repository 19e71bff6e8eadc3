"""Routes and offers from what is known of the federation: what to ask of the graph, and what its answer means.

The graph and the algorithms are pure (`topology`, `paths`, `disjoint`, `pareto`). They may take up to a second, so they
run in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from meetme.composer import disjoint, pareto, paths
from meetme.composer.circuit import Circuit, Leg
from meetme.composer.graph import Exclusions, Graph, NoPath, Pair, Path, Point, Shared
from meetme.composer.metrics import BANDWIDTH, HOPS, LATENCY, MTU, PRICE, Bound, Metric
from meetme.composer.query import Budget
from meetme.composer.topology import Atlas, link_name
from meetme.composer.views import OfferView, RefusalView, SharedView, hop_views
from meetme.composer.words import (
    CircuitRequest,
    Disjoint,
    Element,
    ElementKind,
    Hop,
    Objective,
    Redundancy,
    Route,
)
from meetme.model.agreement import MemberId
from meetme.runtime.clock import Clock

BUDGET_SECONDS = 1.0
"""How long a question may take that has no quick exact answer."""
OFFER_SECONDS = 300.0
"""How long an offer is good. Nothing is held for it: it may still be refused when it is taken."""
MOST_OFFERS = 16
_METRICS: dict[Objective, Metric] = {
    Objective.LATENCY: LATENCY,
    Objective.THROUGHPUT: BANDWIDTH,
    Objective.HOPS: HOPS,
    Objective.PRICE: PRICE,
}
Offered = tuple[OfferView, tuple[Route, ...]]


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of a graph, from one point to another."""

    graph: Graph
    a: int
    b: int
    request: CircuitRequest
    bounds: tuple[Bound, ...]
    exclude: Exclusions
    budget: Budget

    @property
    def metric(self) -> Metric:
        """What the routes are chosen by."""
        return _METRICS[self.request.objective]

    def best(self, exclude: Exclusions | None = None) -> Path:
        """The best path. Raises NoPath."""
        find = paths.shortest if self.metric.additive else paths.widest
        chosen = self.exclude if exclude is None else exclude
        return find(self.graph, self.a, self.b, self.metric, bounds=self.bounds, exclude=chosen, budget=self.budget)

    def pair(self, metric: Metric) -> Pair:
        """The best two that share as little as is asked. Raises NoPath."""
        return disjoint.disjoint_pair(
            self.graph,
            self.a,
            self.b,
            metric,
            self.request.disjoint,
            strict=self.request.redundancy is Redundancy.STRICT,
            bounds=self.bounds,
            exclude=self.exclude,
            budget=self.budget,
        )


class Planner:
    """Finds ways through the federation."""

    def __init__(self, atlas: Callable[[], Atlas], clock: Clock, new_id: Callable[[], UUID] = uuid4) -> None:
        """`atlas`: what is known of the federation now."""
        self._atlas = atlas
        self._clock = clock
        self._new_id = new_id

    def locate(self, request: CircuitRequest) -> tuple[Point, Point]:
        """At which exchange each end is. Raises NotFound `end_unknown`, Refused `end_ambiguous`."""
        atlas = self._atlas()
        return (
            atlas.port(request.a.member, request.a.port, field="a"),
            atlas.port(request.b.member, request.b.port, field="b"),
        )

    async def routes(self, c: Circuit, lacking: Collection[int]) -> tuple[Route, ...]:
        """A route for each of the paths that a circuit lacks, apart from those it has; for fewer where redundancy is
        best effort and there is only one way. Raises NoPath, NotFound.
        """
        return await asyncio.to_thread(self._routes, c, tuple(lacking))

    async def offers(self, request: CircuitRequest) -> tuple[tuple[Offered, ...], tuple[RefusalView, ...]]:
        """The ways of which none is better than another in every respect; or what stands in the way."""
        return await asyncio.to_thread(self._offers, request)

    # --- routes -------------------------------------------------------------------------------------------------------

    def _routes(self, c: Circuit, lacking: tuple[int, ...]) -> tuple[Route, ...]:
        atlas = self._atlas()
        refused = tuple(element for path in lacking for element in c.search(path).excluded)
        question = self._question(atlas, c.request, refused)
        kept = [leg for leg in c.legs if leg.live and leg.path not in lacking]
        if len(lacking) == 1 and not kept:
            return (_route(question.graph, question.best(), lacking[0]),)
        if len(lacking) == 1:
            return (self._beside(atlas, question, kept[0], lacking[0]),)
        pair = question.pair(question.metric)
        first = _route(question.graph, pair.primary, lacking[0])
        if pair.secondary.edges == pair.primary.edges:
            return (first,)
        return first, _route(question.graph, pair.secondary, lacking[1])

    @staticmethod
    def _beside(atlas: Atlas, question: _Question, kept: Leg, path: int) -> Route:
        """A second route apart from one that is in use."""
        apart = _apart_from(atlas, kept, question.request.disjoint)
        try:
            best = question.best(_both(question.exclude, apart))
        except NoPath:
            if question.request.redundancy is Redundancy.STRICT:
                raise
            best = question.best()
        return _route(question.graph, best, path)

    def _question(self, atlas: Atlas, request: CircuitRequest, refused: Iterable[Element] = ()) -> _Question:
        a, b = self.locate(request)
        elements = tuple(refused)
        apart = request.redundancy is not Redundancy.NONE
        graph = _without(atlas.between(a, b, apart=apart), set(_transits(elements)))
        bounds = [Bound(BANDWIDTH, request.bandwidth)]
        if request.constraints.max_latency_ms is not None:
            bounds.append(Bound(LATENCY, request.constraints.max_latency_ms))
        if request.mtu is not None:
            bounds.append(Bound(MTU, request.mtu))
        deadline = time.monotonic() + BUDGET_SECONDS
        return _Question(
            graph,
            graph.find(*a),
            graph.find(*b),
            request,
            tuple(bounds),
            _exclusions(atlas, request, elements),
            Budget(expired=lambda: time.monotonic() > deadline),
        )

    # --- offers -------------------------------------------------------------------------------------------------------

    def _offers(self, request: CircuitRequest) -> tuple[tuple[Offered, ...], tuple[RefusalView, ...]]:
        question = self._question(self._atlas(), request)
        try:
            if request.redundancy is Redundancy.NONE:
                front = pareto.pareto(
                    question.graph,
                    question.a,
                    question.b,
                    bounds=question.bounds,
                    exclude=question.exclude,
                    most=MOST_OFFERS,
                    budget=question.budget,
                )
                found = [self._one(question, path, None, ()) for path in front.paths]
            else:
                pairs = {_edges(pair): pair for pair in self._pairs(question)}
                found = [self._one(question, p.primary, p.secondary, p.shared) for p in pairs.values()]
        except NoPath as error:
            return (), tuple(RefusalView(r.constraint, r.asked, r.nearest) for r in error.refusals)
        return tuple(sorted(found, key=lambda each: _rank(each[0], request.objective))), ()

    @staticmethod
    def _pairs(question: _Question) -> Iterator[Pair]:
        """The best pair by what is asked, and by whatever else somebody may prefer."""
        yield question.pair(question.metric)
        for metric in (LATENCY, BANDWIDTH, HOPS, PRICE):
            if metric is not question.metric:
                yield question.pair(metric)

    def _one(self, question: _Question, path: Path, second: Path | None, shared: Iterable[Shared]) -> Offered:
        routes = [_route(question.graph, path, 1)]
        both = [path]
        if second is not None and second.edges != path.edges:
            routes.append(_route(question.graph, second, 2))
            both.append(second)
        view = OfferView(
            id=self._new_id(),
            expires=datetime.fromtimestamp(self._clock.now() + OFFER_SECONDS, UTC),
            path=hop_views(routes[0].hops),
            latency_ms=max(each.latency_ms for each in both),
            bandwidth=min(each.bandwidth for each in both),
            hops=max(each.hops for each in both),
            price=round(sum(each.price for each in both) * question.request.bandwidth, 6),
            mtu=min(each.mtu for each in both),
            availability=_together([each.availability for each in both]),
            second_path=hop_views(routes[1].hops) if len(routes) > 1 else (),
            shared=tuple(SharedView(each.kind, each.name) for each in shared),
            optimal=all(each.optimal for each in both),
        )
        return view, tuple(routes)


def _together(shares: list[float]) -> float:
    """The share of time that at least one of them works, if they fail apart."""
    lost = 1.0
    for share in shares:
        lost *= 1.0 - share
    return round(1.0 - lost, 9)


def _rank(view: OfferView, objective: Objective) -> tuple[float, ...]:
    order = {
        Objective.LATENCY: view.latency_ms,
        Objective.THROUGHPUT: -view.bandwidth,
        Objective.HOPS: view.hops,
        Objective.PRICE: view.price,
    }
    return order[objective], view.latency_ms, view.hops, view.price


def _edges(pair: Pair) -> tuple[tuple[int, ...], ...]:
    return pair.primary.edges, pair.secondary.edges


def _route(graph: Graph, path: Path, number: int) -> Route:
    hops = tuple(Hop(MemberId(each.exchange), each.in_port, each.out_port) for each in graph.crossings(path))
    return Route(number, hops, path.mtu)


# --- what to stay away from -------------------------------------------------------------------------------------------


def _exclusions(atlas: Atlas, request: CircuitRequest, refused: Iterable[Element]) -> Exclusions:
    limits = request.constraints
    members, links, risks = set(map(str, limits.avoid_members)), set(), set()
    for element in refused:
        match element.kind:
            case ElementKind.MEMBER:
                members.add(element.member)
            case ElementKind.LINK:
                nni = atlas.nni_at.get(Point(element.member, element.ports[0])) if element.ports else None
                if nni is not None:
                    links.add(nni.name)
            case ElementKind.RISK if element.risk is not None:
                risks.add(element.risk)
    return Exclusions(
        members=frozenset(members),
        links=frozenset(links),
        countries=frozenset(limits.avoid_countries),
        within=frozenset(limits.within_countries),
        risks=frozenset(risks),
    )


def _apart_from(atlas: Atlas, leg: Leg, kind: Disjoint) -> Exclusions:
    """What a second route must not share with one that is in use."""
    between = [nni for hop in leg.hops[:-1] if (nni := atlas.nni_at.get(Point(hop.exchange, hop.out_port))) is not None]
    members = {hop.exchange for hop in leg.hops[1:-1]} if kind is Disjoint.NODE else set()
    risks = {risk for nni in between for risk in nni.risks} if kind is Disjoint.SRLG else set()
    return Exclusions(
        members=frozenset(map(str, members)),
        links=frozenset(nni.name for nni in between),
        risks=frozenset(risks),
    )


def _both(one: Exclusions, other: Exclusions) -> Exclusions:
    return replace(
        one, members=one.members | other.members, links=one.links | other.links, risks=one.risks | other.risks
    )


def _transits(refused: Iterable[Element]) -> Iterator[str]:
    for element in refused:
        if element.kind is ElementKind.TRANSIT and len(element.ports) == 2:
            yield link_name(*(Point(element.member, port) for port in element.ports))


def _without(graph: Graph, transits: set[str]) -> Graph:
    """The graph without some ways through exchanges."""
    if not transits:
        return graph
    edges = tuple(edge for edge in graph.edges if edge.exchange is None or edge.link not in transits)
    return Graph(graph.points, edges, graph.countries)
