"""The federation as a graph, and the words in which questions about it are asked and answered.

A *point* is a port of an exchange: an access port, or the exchange's end of an inter-exchange connection (NNI). An
*edge* leads from one point to another, one way: inside an exchange it is a *transit*, between two exchanges an NNI,
whose two directions share the name of the link. A *path* leads from an access port to another one: transit, NNI,
transit, NNI, ..., transit, and never through one exchange twice (each composer carries a circuit once).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from meetme.composer.arcs import Arcs
from meetme.composer.metrics import AVAILABILITY, BANDWIDTH, HOPS, LATENCY, MTU, PRICE, Better, Metric
from meetme.model.errors import InvalidInput, NotFound, Refused


class Point(NamedTuple):
    """A port of an exchange."""

    exchange: str
    port: str


@dataclass(frozen=True, slots=True)
class Edge:
    """One way from the point with index `tail` to the one with index `head`."""

    tail: int
    head: int
    link: str
    """Both directions of one NNI have the same; a transit's is its own."""
    exchange: str | None
    """The exchange that a transit lies in; None: an NNI."""
    latency_ms: float
    bandwidth: int
    """Free, in Mbit/s."""
    price: float
    mtu: int
    availability: float = 1.0
    """The share of time that it works, above 0 and at most 1."""
    risks: frozenset[str] = frozenset()
    """Tags of what it shares with other edges: a duct, a building, a ship's anchorage (SRLG, RFC 8800)."""

    @property
    def hops(self) -> int:
        """An exchange is a hop; the connection to the next one belongs to it."""
        return 0 if self.exchange is None else 1


class Crossing(NamedTuple):
    """How a path passes an exchange."""

    exchange: str
    in_port: str
    out_port: str


@dataclass(frozen=True, slots=True)
class Path:
    """A way from one access port to another: edges by index, and what they come to."""

    edges: tuple[int, ...]
    latency_ms: float
    bandwidth: int
    hops: int
    """Exchanges crossed, both ends' among them."""
    price: float
    availability: float
    mtu: int
    optimal: bool = True
    """False: the best that was found before the budget ran out."""

    def value(self, metric: Metric) -> float:
        """What it comes to by one metric."""
        value: float = getattr(self, metric.field)
        return value


class Disjoint(StrEnum):
    """What the two paths of a pair must not share (the words of RFC 8800)."""

    LINK = "link"
    """No inter-exchange link."""
    NODE = "node"
    """No link, and no exchange but those of the two ends."""
    SRLG = "srlg"
    """No link, and no risk tag of a link or of an exchange between."""


class Shared(NamedTuple):
    """One thing that both paths of a pair depend on although it was asked that they do not."""

    kind: str
    """`link`, `exchange` or `risk`."""
    name: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two paths between the same two access ports; the better one is the primary."""

    primary: Path
    secondary: Path
    shared: tuple[Shared, ...] = ()
    """Empty: as disjoint as was asked. In the order of the primary path."""
    optimal: bool = True

    def value(self, metric: Metric) -> float:
        """What the worse of the two comes to by one metric."""
        worse = max if metric.better is Better.LESS else min
        return worse(self.primary.value(metric), self.secondary.value(metric))


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What a path must stay away from, the exchanges at its ends included."""

    members: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    """By name; the way between two ports of one exchange has one too."""
    countries: frozenset[str] = frozenset()
    within: frozenset[str] = frozenset()
    """The countries to stay in; empty: anywhere. An exchange that names no country lies in none of them."""
    risks: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.members or self.links or self.countries or self.within or self.risks)


NOTHING = Exclusions()


Value = float | int | str | tuple[str, ...] | None
"""What a constraint is set to: a number, a word, or names in order."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A constraint that stands in the way, and the nearest value of it that would pass, all others unchanged."""

    constraint: str
    """As in a request: `max_latency_ms`, `bandwidth`, `avoid_members`, `disjoint`; `path` where none is at all."""
    asked: Value
    nearest: Value = None
    """None: to relax this one alone does not help, or nothing was found in time."""


class NoPath(Refused):
    """No path satisfies everything that was asked. `refusals` says for each constraint what would pass."""

    def __init__(self, text: str, refusals: Sequence[Refusal], *, hint: str = "") -> None:
        super().__init__("no_path", text, hint=hint)
        self.refusals = tuple(refusals)


@dataclass(frozen=True)
class Graph:
    """Points and edges, indexed once. Raises InvalidInput `bad_graph` where an edge contradicts its points."""

    points: tuple[Point, ...]
    edges: tuple[Edge, ...]
    countries: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The country (ISO 3166-1 alpha-2) of each exchange that names one."""

    def __post_init__(self) -> None:
        exchanges = [point.exchange for point in self.points]
        for number, edge in enumerate(self.edges):
            if not (0 <= edge.tail < len(exchanges) and 0 <= edge.head < len(exchanges)):
                raise _bad(number, "both ends are points of the graph", f"{edge.tail} and {edge.head}")
            tail, head = exchanges[edge.tail], exchanges[edge.head]
            if edge.exchange is None:
                if tail == head:
                    raise _bad(number, "an NNI joins two exchanges", tail)
            elif not tail == head == edge.exchange:
                raise _bad(number, f"a transit stays in {edge.exchange}", f"{tail} to {head}")
            if not (
                0 <= edge.latency_ms < inf
                and 0 <= edge.price < inf
                and 0 <= edge.bandwidth < inf
                and 0 < edge.availability <= 1
            ):
                raise _bad(number, "no value is negative or without end, availability is above 0, at most 1", f"{edge}")

    @cached_property
    def index(self) -> dict[Point, int]:
        """Where each point is."""
        return {point: number for number, point in enumerate(self.points)}

    @cached_property
    def arcs(self) -> Arcs:
        """The same graph laid out for searching."""
        return Arcs(self.points, self.edges)

    def find(self, exchange: str, port: str) -> int:
        """The index of a point. Raises NotFound `unknown_port`."""
        number = self.index.get(Point(exchange, port))
        if number is None:
            raise NotFound("unknown_port", f'"{port}": not a port that "{exchange}" advertises', field="port")
        return number

    def path(self, edges: Sequence[int], *, optimal: bool = True) -> Path:
        """The path of these edges, with its totals."""
        chosen = [self.edges[number] for number in edges]
        return Path(
            edges=tuple(edges),
            latency_ms=LATENCY.total(edge.latency_ms for edge in chosen),
            bandwidth=int(BANDWIDTH.total(edge.bandwidth for edge in chosen)),
            hops=int(HOPS.total(edge.hops for edge in chosen)),
            price=PRICE.total(edge.price for edge in chosen),
            availability=AVAILABILITY.total(edge.availability for edge in chosen),
            mtu=int(MTU.total(edge.mtu for edge in chosen)),
            optimal=optimal,
        )

    def crossings(self, path: Path) -> tuple[Crossing, ...]:
        """The exchanges that a path passes, in order, with the ports it takes there."""
        chosen = (self.edges[number] for number in path.edges)
        return tuple(
            Crossing(edge.exchange, self.points[edge.tail].port, self.points[edge.head].port)
            for edge in chosen
            if edge.exchange is not None
        )

    def links(self, path: Path) -> tuple[str, ...]:
        """The inter-exchange links that a path takes, in order."""
        chosen = (self.edges[number] for number in path.edges)
        return tuple(edge.link for edge in chosen if edge.exchange is None)


def _bad(number: int, rule: str, seen: str) -> InvalidInput:
    return InvalidInput("bad_graph", f"edges[{number}]: {rule} ({seen})")
