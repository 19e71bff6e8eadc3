"""A random federation: exchanges, the links between them, access ports; and the way from one to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from meetme.composer.capacity import Kind, Limit, Resource, access, link, transit
from meetme.composer.circuit import Element, ElementKind, Hop, MemberId, Route

LINK_LABELS = ((100, 104),)
MTU = 9000


@dataclass(frozen=True)
class Link:
    """Two exchanges joined at these ports."""

    a: MemberId
    a_port: str
    b: MemberId
    b_port: str


@dataclass(frozen=True)
class Federation:
    """Who is joined to whom, and how much there is of everything."""

    exchanges: tuple[MemberId, ...]
    links: tuple[Link, ...]
    access: Mapping[MemberId, tuple[str, ...]]
    limits: Mapping[MemberId, Mapping[Resource, Limit]]
    beside: dict[MemberId, list[tuple[str, MemberId, str]]] = field(default_factory=dict)
    """exchange → (own port, neighbour, its port)"""

    def routes(
        self, a: tuple[MemberId, str], b: tuple[MemberId, str], avoid: Iterable[Element]
    ) -> Iterator[tuple[Hop, ...]]:
        """Every way without loops, the shortest first."""
        found = sorted(self._walk(a, b, (), frozenset()), key=lambda hops: (len(hops), str(hops)))
        gone = tuple(avoid)
        return (hops for hops in found if not any(hit(element, hops, self) for element in gone))

    def _walk(
        self, at: tuple[MemberId, str], goal: tuple[MemberId, str], hops: tuple[Hop, ...], seen: frozenset[MemberId]
    ) -> Iterator[tuple[Hop, ...]]:
        exchange, port = at
        if exchange == goal[0]:
            yield (*hops, Hop(exchange, port, goal[1]))
            return
        if len(hops) >= 5:
            return
        for out, neighbour, its in self.beside[exchange]:
            if neighbour not in seen and neighbour != exchange:
                yield from self._walk((neighbour, its), goal, (*hops, Hop(exchange, port, out)), seen | {exchange})

    def find(
        self,
        a: tuple[MemberId, str],
        b: tuple[MemberId, str],
        paths: tuple[int, ...],
        avoid: Mapping[int, Iterable[Element]],
        kept: Iterable[tuple[Hop, ...]],
        strict: bool,
    ) -> tuple[Route, ...]:
        """A route for each of `paths`, link-disjoint from each other and from `kept`; fewer where it cannot be."""
        fixed = [links_of(hops) for hops in kept]
        first = [r for r in self.routes(a, b, avoid[paths[0]]) if not any(links_of(r) & other for other in fixed)]
        if len(paths) == 1:
            return tuple(Route(paths[0], hops, MTU) for hops in first[:1])
        second = list(self.routes(a, b, avoid[paths[1]]))
        for one in first:
            for other in second:
                if not links_of(one) & links_of(other) and len(one) > 1:
                    return Route(paths[0], one, MTU), Route(paths[1], other, MTU)
        return () if strict else tuple(Route(paths[0], hops, MTU) for hops in first[:1])


def links_of(hops: tuple[Hop, ...]) -> set[tuple[str, str]]:
    """The links that a route takes, by the port at either side."""
    out = {(hop.exchange, hop.out_port) for hop in hops[:-1]}
    return out | {(hop.exchange, hop.in_port) for hop in hops[1:]}


def hit(element: Element, hops: tuple[Hop, ...], federation: Federation) -> bool:
    """Whether a route takes the element."""
    match element.kind:
        case ElementKind.MEMBER:
            return any(hop.exchange == element.member for hop in hops)
        case ElementKind.LINK:
            return (element.member, element.ports[0]) in links_of(hops)
        case ElementKind.TRANSIT:
            return any(
                hop.exchange == element.member and {hop.in_port, hop.out_port} == set(element.ports) for hop in hops
            )
        case _:
            return False


def build(
    random: Random,
    size: int,
    capacity: int = 1000,
    labels: tuple[tuple[int, int], ...] = LINK_LABELS,
    ports: tuple[str, ...] = ("p1", "p2", "whole"),
) -> Federation:
    """A connected federation of `size` exchanges with a few links more than it needs."""
    names = [MemberId(f"ix-{chr(97 + i)}") for i in range(size)]
    random.shuffle(names)
    pairs = [(names[i], names[random.randrange(i)]) for i in range(1, size)]
    pairs += [tuple(random.sample(names, 2)) for _ in range(random.randint(1, size))] if size > 2 else []
    links = tuple(Link(a, f"n{i}a", b, f"n{i}b") for i, (a, b) in enumerate(pairs))
    return federation(tuple(names), links, dict.fromkeys(names, ("p1", "p2", "whole")), capacity, labels)


def federation(
    names: tuple[MemberId, ...],
    links: tuple[Link, ...],
    ports: Mapping[MemberId, tuple[str, ...]],
    capacity: int,
    labels: tuple[tuple[int, int], ...] = LINK_LABELS,
    access_labels: tuple[tuple[int, int], ...] = ((10, 99),),
) -> Federation:
    """The same from its links. A port called `whole` has no VLANs."""
    beside: dict[MemberId, list[tuple[str, MemberId, str]]] = {name: [] for name in names}
    for one in links:
        beside[one.a].append((one.a_port, one.b, one.b_port))
        beside[one.b].append((one.b_port, one.a, one.a_port))
    limits: dict[MemberId, dict[Resource, Limit]] = {}
    for name in names:
        own = {link(port): Limit(capacity, labels) for port, _, _ in beside[name]}
        own |= {access(port): Limit(10 * capacity, () if port == "whole" else access_labels) for port in ports[name]}
        every = [resource.ports[0] for resource in own]
        own |= {transit(Hop(name, one, two)): Limit(2 * capacity) for one in every for two in every if one < two}
        limits[name] = own
    return Federation(names, links, ports, limits, beside)


def free_label(resource: Resource) -> bool:
    """Whether labels of this resource are told apart by number."""
    return resource.kind is not Kind.TRANSIT
