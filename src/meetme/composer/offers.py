"""From what was ordered to the ways to have it: offers to choose from, and routes for a circuit that is being set up.

Rules of this file:

1. What is offered is on the Pareto front over latency, bandwidth, hops and price: nothing else that was found is better
   in one of them and as good in all others. The first is the best by the objective.
2. Where redundancy is asked for, an offer is a pair; its latency and hops are those of the longer path, its bandwidth
   that of the narrower one, its price that of both. `shared` says what both depend on all the same.
3. What cannot be had is told constraint by constraint (`refused`), with the nearest value that would pass.
4. Nothing is held: whether it is still free is seen when a route is held, and refused there (crank-back).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from meetme.composer.disjoint import disjoint_pair
from meetme.composer.finding import find
from meetme.composer.graph import Disjoint, Exclusions, Graph, NoPath, Pair, Path, Point, Refusal, Shared
from meetme.composer.holding import MOST_HOPS
from meetme.composer.metrics import BANDWIDTH, HOPS, LATENCY, MTU, OBJECTIVES, PRICE, Better, Bound, Metric
from meetme.composer.pareto import CHOSEN, pareto
from meetme.composer.paths import shortest, widest
from meetme.composer.query import Budget, Meter
from meetme.composer.topology import Atlas, link_name
from meetme.composer.words import CircuitRequest, Element, ElementKind, End, Hop, Redundancy, Route
from meetme.model.agreement import MemberId

MOST_OFFERS = 16
_SHORT_ENOUGH = Bound(HOPS, MOST_HOPS)
"""No composer carries a longer route. It is rare, so it is asked for only where the best path breaks it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to have what was asked for."""

    routes: tuple[Route, ...]
    """One, or two where redundancy was asked for."""
    latency_ms: float
    first_latency_ms: float
    """Of the better path."""
    bandwidth: int
    """Mbit/s that are free, as it is told."""
    hops: int
    price: float
    """A month, for the bandwidth that was asked for, on both paths."""
    mtu: int
    availability: float
    """Of one path; of a pair, that one of both works, as if they had nothing in common but `shared`."""
    shared: tuple[Shared, ...] = ()
    optimal: bool = True


@dataclass(frozen=True, slots=True)
class Offers:
    """What can be had; where that is nothing, why."""

    offers: tuple[Offer, ...] = ()
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the two ends of a request are."""

    a: Point
    b: Point
    request: CircuitRequest
    """The same with the ports as their exchanges call them."""

    @property
    def head(self) -> MemberId:
        """The exchange at end a: its composer owns the circuit."""
        return MemberId(self.a.exchange)


def locate(atlas: Atlas, request: CircuitRequest) -> Ends:
    """Where the ends are. Raises NotFound `end_unknown`, Refused `end_ambiguous`."""
    a = atlas.port(request.a.member, request.a.port, field="a")
    b = atlas.port(request.b.member, request.b.port, field="b")
    named = replace(request, a=_named(request.a, a), b=_named(request.b, b))
    return Ends(a, b, named)


def _named(end: End, at: Point) -> End:
    return replace(end, port=at.port)


# --- offers -----------------------------------------------------------------------------------------------------------


def find_offers(atlas: Atlas, request: CircuitRequest, *, budget: Budget = Budget(), most: int = MOST_OFFERS) -> Offers:
    """The offers for a request, the best by its objective first. Raises what `locate` raises."""
    question = _Question(atlas, locate(atlas, request))
    try:
        found = question.pairs(budget) if request.paths == 2 else question.singles(budget)
    except NoPath as error:
        # Where to relax one constraint alone would do, the others are not what stands in the way.
        helpful = tuple(one for one in error.refusals if one.nearest is not None)
        return Offers(refused=helpful or error.refusals)
    return Offers(tuple(sorted(_front(found), key=_order(request))[:most]))


def _front(offers: Collection[Offer]) -> Iterator[Offer]:
    """Those that no other beats; of equals the first."""
    kept: list[Offer] = []
    for offer in offers:
        if not any(_beats(other, offer) for other in offers) and all(_worth(offer) != _worth(one) for one in kept):
            kept.append(offer)
            yield offer


def _beats(one: Offer, other: Offer) -> bool:
    better, worse = _worth(one), _worth(other)
    return better != worse and all(map(float.__le__, better, worse))


def _worth(offer: Offer) -> tuple[float, ...]:
    """Smaller is better, in each. Of a pair the first path counts by itself too: as a rule it is the one in use."""
    return (
        float(len(offer.shared)),
        offer.first_latency_ms,
        offer.latency_ms,
        -float(offer.bandwidth),
        float(offer.hops),
        offer.price,
    )


def _order(request: CircuitRequest) -> _Order:
    return _Order(OBJECTIVES[request.objective])


@dataclass(frozen=True, slots=True)
class _Order:
    metric: Metric

    def __call__(self, offer: Offer) -> tuple[object, ...]:
        value: float = getattr(offer, self.metric.field)
        first = value if self.metric.better is Better.LESS else -value
        return len(offer.shared), first, offer.latency_ms, offer.price, offer.hops, offer.routes[0].hops


# --- routes -----------------------------------------------------------------------------------------------------------


def find_routes(
    atlas: Atlas,
    request: CircuitRequest,
    paths: Sequence[int] = (1,),
    *,
    excluded: Iterable[Element] = (),
    kept: Mapping[int, tuple[Hop, ...]] | None = None,
    alone: bool = False,
    budget: Budget = Budget(),
) -> tuple[Route, ...]:
    """Routes for the paths of a circuit that have none; for path 1 alone where two are wanted and may share everything.

    `excluded`: what has refused. `kept`: the routes of the circuit's other path, which is not to be met again as far as
    the request says so. `alone`: where there are no two that are far enough apart, one will do. Raises NoPath, and what
    `locate` raises.
    """
    question = _Question(atlas, locate(atlas, request), tuple(excluded))
    if len(paths) == 2:
        try:
            both = _paths(question.pair(budget))
        except NoPath:
            if not alone:
                raise
            both = (question.best(budget),)
        return tuple(question.route(number, path) for number, path in zip(paths, both, strict=False))
    other = next(iter((kept or {}).values()), None)
    path = question.best(budget) if other is None else question.apart(other, budget)
    return tuple(question.route(number, path) for number in paths)


class _Question:
    """One request, put to the graph."""

    def __init__(self, atlas: Atlas, ends: Ends, excluded: tuple[Element, ...] = ()) -> None:
        self._atlas = atlas
        self._request = ends.request
        apart = ends.request.paths == 2 and ends.request.disjoint is Disjoint.SRLG
        self._graph: Graph = atlas.between(ends.a, ends.b, apart=apart)
        self._a = self._graph.find(*ends.a)
        self._b = self._graph.find(*ends.b)
        self._bounds = tuple(_bounds(ends.request))
        self._exclude = _exclusions(atlas, ends.request, excluded)

    def singles(self, budget: Budget) -> list[Offer]:
        """The front of single paths."""
        front = pareto(self._graph, self._a, self._b, CHOSEN, bounds=self._bounds, exclude=self._exclude, budget=budget)
        paths = [path for path in front.paths if path.hops <= MOST_HOPS] or [self.best(budget)]
        return [self._offer((path,), optimal=front.complete and path.optimal) for path in paths]

    def pairs(self, budget: Budget) -> list[Offer]:
        """The best pair by each metric. Each of them is the best there is; there may be others between."""
        part = replace(budget, steps=budget.steps // 4)
        found = [self._pair(LATENCY, part)]
        for metric in (BANDWIDTH, PRICE, HOPS):
            with suppress(NoPath):
                found.append(self._pair(metric, part))
        return [self._offer(_paths(pair), shared=pair.shared, optimal=pair.optimal) for pair in found]

    def pair(self, budget: Budget) -> Pair:
        """The best pair by the objective. Raises NoPath."""
        return self._pair(OBJECTIVES[self._request.objective], budget)

    def _pair(self, metric: Metric, budget: Budget) -> Pair:
        strict = self._request.redundancy is Redundancy.STRICT

        def find(*more: Bound) -> Pair:
            return disjoint_pair(
                self._graph, self._a, self._b, metric, self._request.disjoint, strict=strict,
                bounds=(*self._bounds, *more), exclude=self._exclude, budget=budget,
            )  # fmt: skip

        pair = find()
        return pair if pair.value(HOPS) <= MOST_HOPS else find(_SHORT_ENOUGH)

    def best(self, budget: Budget, more: Exclusions | None = None) -> Path:
        """The best path by the objective. Raises NoPath."""
        metric = OBJECTIVES[self._request.objective]
        find = shortest if metric.additive else widest
        exclude = self._exclude if more is None else _both(self._exclude, more)
        path = find(self._graph, self._a, self._b, metric, bounds=self._bounds, exclude=exclude, budget=budget)
        if path.hops > MOST_HOPS:
            bounds = (*self._bounds, _SHORT_ENOUGH)
            path = find(self._graph, self._a, self._b, metric, bounds=bounds, exclude=exclude, budget=budget)
        return path

    def apart(self, other: tuple[Hop, ...], budget: Budget) -> Path:
        """The best path that shares as little as was asked with one that there is. Raises NoPath."""
        links = frozenset(
            link_name(Point(hop.exchange, hop.out_port), Point(following.exchange, following.in_port))
            for hop, following in itertools.pairwise(other)
        )
        inside: frozenset[str] = frozenset(hop.exchange for hop in other[1:-1])
        risks = frozenset[str]().union(*(edge.risks for edge in self._graph.edges if edge.link in links))
        wish = {
            Disjoint.LINK: Exclusions(links=links),
            Disjoint.NODE: Exclusions(links=links, members=inside),
            Disjoint.SRLG: Exclusions(links=links, risks=risks),
        }[self._request.disjoint]
        try:
            return self.best(budget, wish)
        except NoPath:
            if self._request.redundancy is Redundancy.STRICT:
                raise
        try:
            return self.best(budget, Exclusions(links=links))
        except NoPath:
            path = self._sharing_little(links, budget)
        if self.route(0, path).hops in (other, other[::-1]):
            # The same over again would protect from nothing, and cost twice.
            raise NoPath("path: must differ from the one that there is (there is no other)", ())
        return path

    def _sharing_little(self, links: frozenset[str], budget: Budget) -> Path:
        """A path without as many of these links as can be spared together, one after the other. Raises NoPath."""
        metric = OBJECTIVES[self._request.objective]
        bounds = (*self._bounds, _SHORT_ENOUGH)
        part = replace(budget, steps=budget.steps // (2 * len(links) + 2))
        spared: frozenset[str] = frozenset()
        found: Path | None = None
        for link in sorted(links):
            without = _both(self._exclude, Exclusions(links=spared | {link}))
            path = find(self._graph, self._a, self._b, metric, bounds, without, Meter(part))
            if path is not None:
                spared, found = spared | {link}, path
        return found or self.best(budget)

    def route(self, number: int, path: Path) -> Route:
        """A path as the rules of a circuit have it."""
        hops = tuple(
            Hop(MemberId(crossing.exchange), crossing.in_port, crossing.out_port)
            for crossing in self._graph.crossings(path)
        )
        return Route(number, hops, path.mtu)

    def _halves(self, shared: Collection[Shared]) -> Iterator[int]:
        """What is free for each of two paths of the links that they share."""
        names = {each.name for each in shared if each.kind == "link"}
        return (edge.bandwidth // 2 for edge in self._graph.edges if edge.link in names)

    def _offer(self, paths: tuple[Path, ...], *, shared: tuple[Shared, ...] = (), optimal: bool) -> Offer:
        broken = 1.0
        for path in paths:
            broken *= 1 - path.availability
        return Offer(
            routes=tuple(self.route(number, path) for number, path in enumerate(paths, 1)),
            latency_ms=round(max(path.latency_ms for path in paths), 6),
            first_latency_ms=round(min(path.latency_ms for path in paths), 6),
            bandwidth=min([*(path.bandwidth for path in paths), *(self._halves(shared) if len(paths) > 1 else ())]),
            hops=max(path.hops for path in paths),
            price=round(sum(path.price for path in paths) * self._request.bandwidth, 6),
            mtu=min(path.mtu for path in paths),
            availability=1 - broken,
            shared=shared,
            optimal=optimal,
        )


def _paths(pair: Pair) -> tuple[Path, ...]:
    """Both, or one where the second is the first over again: that would protect from nothing, and cost twice."""
    same = pair.primary.edges == pair.secondary.edges
    return (pair.primary,) if same else (pair.primary, pair.secondary)


def _bounds(request: CircuitRequest) -> Iterator[Bound]:
    yield Bound(BANDWIDTH, request.bandwidth)
    if request.constraints.max_latency_ms is not None:
        yield Bound(LATENCY, request.constraints.max_latency_ms)
    if request.mtu is not None:
        yield Bound(MTU, request.mtu)


def _exclusions(atlas: Atlas, request: CircuitRequest, excluded: Iterable[Element]) -> Exclusions:
    members: set[str] = set(request.constraints.avoid_members)
    links: set[str] = set()
    risks: set[str] = set()
    for element in excluded:
        match element.kind:
            case ElementKind.MEMBER:
                members.add(element.member)
            case ElementKind.LINK if element.ports:
                nni = atlas.nni_at.get(Point(element.member, element.ports[0]))
                if nni is not None:
                    links.add(nni.name)
            case ElementKind.TRANSIT if len(element.ports) == 2:
                one, other = (Point(element.member, port) for port in element.ports)
                links.add(link_name(one, other))
            case ElementKind.RISK if element.risk is not None:
                risks.add(element.risk)
            case _:
                pass
    return Exclusions(
        members=frozenset(members),
        links=frozenset(links),
        countries=frozenset(request.constraints.avoid_countries),
        within=frozenset(request.constraints.within_countries),
        risks=frozenset(risks),
    )


def _both(one: Exclusions, other: Exclusions) -> Exclusions:
    return Exclusions(
        one.members | other.members,
        one.links | other.links,
        one.countries | other.countries,
        one.within | other.within,
        one.risks | other.risks,
    )
