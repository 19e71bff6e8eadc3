"""The map that follows from what all exchanges say: which links both ends agree on, and the graph to find paths in.

Rules of this file:

1. A link between two exchanges counts where each names the other's port, and then the worse of the two words counts:
   the smaller bandwidth, MTU and availability, the VLANs of both, the larger latency, every risk; prices add up.
2. A building is a shared risk (`facility:NAME`) like a duct. Not where an end of the circuit stands in it: with that
   building the circuit is gone anyway.
3. Between two points of an exchange the transit that names both counts, else those that name one of them (of two the
   worse in each respect), else the one that names none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from types import MappingProxyType

from meetme.composer.advertisement import ANY, AdvertisedPoint, Advertisement, PointKind, Transit, VlanRange
from meetme.composer.graph import Edge, Graph, Point
from meetme.model.agreement import MemberId
from meetme.model.errors import NotFound, Refused

FACILITY = "facility:"


@dataclass(frozen=True, slots=True)
class Nni:
    """A link between two exchanges that both of them name; `a` is the end of the lower id, which owns it."""

    a: Point
    b: Point
    latency_ms: float
    bandwidth: int
    """Free, Mbit/s each way."""
    vlans: VlanRange
    mtu: int
    price: float
    availability: float
    risks: frozenset[str]

    @property
    def name(self) -> str:
        """What it is called in a graph and in exclusions."""
        return link_name(self.a, self.b)


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """An end of a link that the exchange on the other side does not name, or not so: it is not used."""

    point: Point
    neighbour: MemberId
    reason: str


def link_name(one: Point, other: Point) -> str:
    """The name of a link, or of the way between two ports of one exchange: `ixp-a/p1=ixp-b/p7`, lower end first."""
    low, high = sorted((one, other))
    return f"{low.exchange}/{low.port}={high.exchange}/{high.port}"


def current(advertisements: Iterable[Advertisement], now: float) -> tuple[Advertisement, ...]:
    """Those that have not expired."""
    return tuple(ad for ad in advertisements if ad.expires > now)


def links(advertisements: Iterable[Advertisement]) -> tuple[tuple[Nni, ...], tuple[Unconfirmed, ...]]:
    """The links that both ends name, and the ends that stand alone."""
    ends = {
        Point(ad.member, point.port): point for ad in advertisements for point in ad.points
        if point.kind is PointKind.NNI
    }  # fmt: skip
    agreed, alone = [], []
    for here, near in ends.items():
        there = Point(str(near.neighbour), str(near.neighbour_port))
        far = ends.get(there)
        reason = _disagreement(here, near, there, far)
        if reason is not None:
            alone.append(Unconfirmed(here, MemberId(there.exchange), reason))
        elif here < there and far is not None:
            agreed.append(_joined(here, near, there, far))
    return tuple(agreed), tuple(alone)


def _disagreement(here: Point, near: AdvertisedPoint, there: Point, far: AdvertisedPoint | None) -> str | None:
    if far is None:
        return f"{there.exchange} names no such link at '{there.port}'"
    if (far.neighbour, far.neighbour_port) != here:
        return f"{there.exchange} says that '{there.port}' leads to {far.neighbour}, '{far.neighbour_port}'"
    if near.vlans is None or far.vlans is None or not near.vlans & far.vlans:
        return f"{there.exchange} allows none of the same VLANs"
    return None


def _joined(a: Point, near: AdvertisedPoint, b: Point, far: AdvertisedPoint) -> Nni:
    vlans = (near.vlans or VlanRange()) & (far.vlans or VlanRange())
    assert vlans is not None, "looked at before"
    return Nni(
        a,
        b,
        latency_ms=max(near.latency_ms, far.latency_ms),
        bandwidth=min(near.bandwidth, far.bandwidth),
        vlans=vlans,
        mtu=min(near.mtu, far.mtu),
        price=near.price + far.price,
        availability=min(near.availability, far.availability),
        risks=near.risks | far.risks | _buildings(near, far),
    )


def _buildings(*points: AdvertisedPoint) -> frozenset[str]:
    return frozenset(FACILITY + point.facility for point in points if point.facility is not None)


# --- the graph --------------------------------------------------------------------------------------------------------


def build(advertisements: Iterable[Advertisement], now: float, *, ends: Collection[Point] | None = None) -> Graph:
    """The graph of everything that counts at `now`.

    `ends`: only these access ports are in it; None: all of them, each joined to each other one of its exchange, which
    grows with the square of their number.
    """
    said = current(advertisements, now)
    if ends is None:
        return _Builder(said, None, local=True, spared=frozenset()).graph()
    stand = {Point(ad.member, point.port): point for ad in said for point in ad.points}
    spared = _buildings(*(stand[end] for end in ends if end in stand))
    return _Builder(said, frozenset(ends), local=True, spared=spared).graph()


class Atlas:
    """What is known at one time, with what follows from it worked out once: for many questions."""

    def __init__(self, advertisements: Iterable[Advertisement], now: float) -> None:
        self.advertisements = current(advertisements, now)
        self.until = min((ad.expires for ad in self.advertisements), default=float("inf"))
        """From when on it is another one, if nothing new is said before."""

    @cached_property
    def by_member(self) -> Mapping[str, Advertisement]:
        """Each one's word."""
        return {ad.member: ad for ad in self.advertisements}

    @cached_property
    def links(self) -> tuple[tuple[Nni, ...], tuple[Unconfirmed, ...]]:
        """The links that both ends name, and the ends that stand alone."""
        return links(self.advertisements)

    @cached_property
    def nni_at(self) -> Mapping[Point, Nni]:
        """The link at each port."""
        return {end: nni for nni in self.links[0] for end in (nni.a, nni.b)}

    @cached_property
    def _everywhere(self) -> Graph:
        return _Builder(self.advertisements, None, local=False, spared=frozenset()).graph()

    @cached_property
    def _access(self) -> Mapping[tuple[str, str], tuple[Point, ...]]:
        found: dict[tuple[str, str], list[Point]] = {}
        for ad in self.advertisements:
            for point in ad.points:
                if point.member is not None:
                    found.setdefault((point.member, point.port), []).append(Point(ad.member, point.port))
        return {key: tuple(points) for key, points in found.items()}

    def between(self, a: Point, b: Point, *, apart: bool = False) -> Graph:
        """The graph to look for paths from `a` to `b` in; `apart`: two of them that share no risk."""
        if a.exchange == b.exchange:
            return build((self.by_member[a.exchange],), self.until - 1e-6, ends=(a, b))
        if apart:
            return build(self.advertisements, self.until - 1e-6, ends=(a, b))
        return self._everywhere

    def port(self, member: str, port: str, *, field: str) -> Point:
        """Where a member's access port is. `port` may be written EXCHANGE/PORT.

        Raises NotFound `end_unknown`; Refused `end_ambiguous` where more than one exchange names it.
        """
        found = list(self._access.get((member, port), ()))
        exchange, slash, name = port.partition("/")
        if slash:
            found += [point for point in self._access.get((member, name), ()) if point.exchange == exchange]
        if len(found) == 1:
            return found[0]
        if found:
            where = " and ".join(sorted(point.exchange for point in found))
            raise Refused(
                "end_ambiguous",
                f"{field}.port: must be one port of '{member}' ('{port}' is at {where})",
                hint=f"write it as EXCHANGE/PORT, for example {found[0].exchange}/{port}",
                field=f"{field}.port",
            )
        ports = sorted(
            f"{at.exchange}/{of}" for (who, of), points in self._access.items() if who == member for at in points
        )
        raise NotFound(
            "end_unknown",
            f"{field}.port: must be an access port of '{member}' that an exchange advertises ('{port}')",
            hint=f"known are {', '.join(ports[:8])}" if ports else f"no exchange advertises a port of '{member}'",
            field=f"{field}.port",
        )


class _Builder:
    """Points and edges on their way to a graph."""

    def __init__(
        self, said: Iterable[Advertisement], ends: frozenset[Point] | None, *, local: bool, spared: frozenset[str]
    ) -> None:
        """`local`: with the ways between two access ports of one exchange."""
        self._said = tuple(said)
        self._ends = ends
        self._local = local
        self._spared = spared
        self._points: dict[Point, int] = {}
        self._edges: list[Edge] = []

    def graph(self) -> Graph:
        """All of it."""
        agreed, _ = links(self._said)
        used = {end for nni in agreed for end in (nni.a, nni.b)}
        for ad in self._said:
            self._cross(ad, used)
        for nni in agreed:
            self._both_ways(
                nni.a, nni.b, None, latency_ms=nni.latency_ms, bandwidth=nni.bandwidth, price=nni.price, mtu=nni.mtu,
                availability=nni.availability, risks=nni.risks - self._spared,
            )  # fmt: skip
        countries: dict[str, str] = {ad.member: ad.country for ad in self._said if ad.country is not None}
        return Graph(tuple(self._points), tuple(self._edges), MappingProxyType(countries))

    def _cross(self, ad: Advertisement, used: Collection[Point]) -> None:
        points = [point for point in ad.points if self._counts(Point(ad.member, point.port), point, used)]
        for point in points:
            self._points.setdefault(Point(ad.member, point.port), len(self._points))
        ways = {(min(t.a, t.b), max(t.a, t.b)): t for t in ad.transits}
        for one, other in combinations(points, 2):
            if not self._local and one.kind is other.kind is PointKind.ACCESS:
                continue
            way = _way(ways, one.port, other.port)
            if way is None:
                continue
            # What an access port lets through is no edge of its own: it bounds every way that begins there.
            ports = [point for point in (one, other) if point.kind is PointKind.ACCESS]
            self._both_ways(
                Point(ad.member, one.port),
                Point(ad.member, other.port),
                ad.member,
                latency_ms=way.latency_ms,
                bandwidth=min(way.bandwidth, *(point.bandwidth for point in ports)) if ports else way.bandwidth,
                price=way.price,
                mtu=min(one.mtu, other.mtu),
                availability=way.availability,
                risks=frozenset(),
            )

    def _counts(self, at: Point, point: AdvertisedPoint, used: Collection[Point]) -> bool:
        if point.kind is PointKind.NNI:
            return at in used
        return self._ends is None or at in self._ends

    def _both_ways(
        self, a: Point, b: Point, exchange: str | None, *, latency_ms: float, bandwidth: int, price: float, mtu: int,
        availability: float, risks: frozenset[str],
    ) -> None:  # fmt: skip
        tail, head, name = self._points[a], self._points[b], link_name(a, b)
        rest = (name, exchange, latency_ms, bandwidth, price, mtu, availability, risks)
        self._edges += (Edge(tail, head, *rest), Edge(head, tail, *rest))


def _way(ways: Mapping[tuple[str, str], Transit], one: str, other: str) -> Transit | None:
    exact = ways.get((min(one, other), max(one, other)))
    if exact is not None:
        return exact
    # No name of a port is less than `*`.
    halves = [way for port in (one, other) if (way := ways.get((ANY, port))) is not None]
    if len(halves) == 2:
        first, second = halves
        return Transit(
            a=one,
            b=other,
            latency_ms=max(first.latency_ms, second.latency_ms),
            bandwidth=min(first.bandwidth, second.bandwidth),
            price=max(first.price, second.price),
            availability=min(first.availability, second.availability),
        )
    return halves[0] if halves else ways.get((ANY, ANY))
