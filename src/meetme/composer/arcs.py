"""A graph laid out for searching: arrays made once per graph, and once per metric.

An *arc* is one direction of an NNI. A path through the federation is a sequence of arcs, and all that is decided in an
exchange is the *turn*: after which arc in comes which arc out, over which transit, at which price for this pair of
ports. So searches walk from arc to arc; a transit can never follow a transit.

To know where to look, they use a picture with one node per exchange. There, the price of a turn is split into a share
of the way in and a share of the way out that together never exceed the price of any turn in the matrix: distances in
the picture are never too long, and are exact where every matrix is such a sum (one price for a whole exchange is).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

from meetme.composer.metrics import Combine, Metric
from meetme.model.errors import InvalidInput

if TYPE_CHECKING:
    from meetme.composer.graph import Edge, Point

FAR = 1 << 200
"""Farther than anything."""
TIE_BITS = 12
"""Below a weight lies the number of NNIs: of two equally good paths the one over fewer exchanges is taken."""

Along = tuple[int, int, int, int]
"""An arc in the picture: the exchange at its other end, its weight there, itself, its bandwidth."""


class Arcs:
    """The arrays of one graph. Arcs, exchanges and links are numbered from 0 in the order of the edges."""

    def __init__(self, points: Sequence[Point], edges: Sequence[Edge]) -> None:
        self._edges = edges
        names = list(dict.fromkeys(point.exchange for point in points))
        self.exchanges: list[str] = names
        number = {name: where for where, name in enumerate(names)}
        self.place = number
        """The number of an exchange."""
        self.at = [number[point.exchange] for point in points]
        """The exchange of each point."""
        self.edge: list[int] = []
        """The edge of each arc."""
        self.tail: list[int] = []
        self.head: list[int] = []
        self.source: list[int] = []
        """The exchange that each arc leaves."""
        self.target: list[int] = []
        self.bandwidth: list[int] = []
        self.link: list[str] = []
        self.leaving: list[list[int]] = [[] for _ in points]
        """The arcs out of each point."""
        self.arriving: list[list[int]] = [[] for _ in points]
        self.outward: list[list[int]] = [[] for _ in names]
        """The arcs out of each exchange."""
        self.inward: list[list[int]] = [[] for _ in names]
        self.transits: list[list[int]] = [[] for _ in points]
        """The transit edges out of each point."""
        self.of_link: dict[str, list[int]] = defaultdict(list)
        """The arcs of each link: two, unless it is one-way."""
        pairs: set[int] = set()
        for position, edge in enumerate(edges):
            if edge.exchange is not None:
                pair = edge.tail * len(points) + edge.head
                if pair in pairs:
                    rule = f"a pair of ports has one transit ({points[edge.tail]} to {points[edge.head]})"
                    raise InvalidInput("bad_graph", f"edges[{position}]: {rule}")
                pairs.add(pair)
                self.transits[edge.tail].append(position)
                continue
            arc = len(self.edge)
            self.edge.append(position)
            self.tail.append(edge.tail)
            self.head.append(edge.head)
            self.source.append(self.at[edge.tail])
            self.target.append(self.at[edge.head])
            self.bandwidth.append(edge.bandwidth)
            self.link.append(edge.link)
            self.leaving[edge.tail].append(arc)
            self.arriving[edge.head].append(arc)
            self.outward[self.at[edge.tail]].append(arc)
            self.inward[self.at[edge.head]].append(arc)
            self.of_link[edge.link].append(arc)
        self.end = [edge.head for edge in edges]
        """The point that each edge leads to."""
        self.free = [edge.bandwidth for edge in edges]
        self.onward = [[edge for edge in here if self.leaving[self.end[edge]]] for here in self.transits]
        """The transit edges out of each point that arcs follow."""
        self.count = len(self.edge)
        self._weights: dict[tuple[str, bool], Weights] = {}
        self._levels: dict[str, list[float]] = {}
        self._narrow: dict[tuple[str, float], tuple[bytes, frozenset[int]]] = {}

    @cached_property
    def arc_of_edge(self) -> dict[int, int]:
        """Which arc an NNI's edge is."""
        return {edge: arc for arc, edge in enumerate(self.edge)}

    @cached_property
    def transits_of(self) -> dict[str, list[int]]:
        """The transit edges of each name: two where it can be crossed both ways."""
        found: dict[str, list[int]] = defaultdict(list)
        for position, edge in enumerate(self._edges):
            if edge.exchange is not None:
                found[edge.link].append(position)
        return dict(found)

    @cached_property
    def at_risk(self) -> dict[str, tuple[list[int], list[int]]]:
        """The arcs and the transit edges that carry each risk tag."""
        found: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for position, edge in enumerate(self._edges):
            for risk in edge.risks:
                if edge.exchange is None:
                    found[risk][0].append(self.arc_of_edge[position])
                else:
                    found[risk][1].append(position)
        return dict(found)

    def weights(self, metric: Metric, *, ties: bool = True) -> Weights:
        """What each edge weighs by a metric that adds up. `ties`: with the count of arcs below."""
        key = (metric.name, ties)
        if key not in self._weights:
            self._weights[key] = Weights(self, self._edges, metric, ties=ties)
        return self._weights[key]

    def levels(self, metric: Metric) -> list[float]:
        """The values of a metric that edges have, in order: all that the least of a path's edges can be."""
        if metric.name not in self._levels:
            self._levels[metric.name] = sorted({getattr(edge, metric.field) for edge in self._edges})
        return self._levels[metric.name]

    def failing(self, metric: Metric, limit: float) -> tuple[bytes, frozenset[int]]:
        """Which edges do not pass a limit to a metric that is the least of its edges: arcs by flag, transit edges."""
        key = (metric.name, limit)
        if key not in self._narrow:
            bad = [not metric.passes(getattr(edge, metric.field), limit) for edge in self._edges]
            arcs = bytes(bad[position] for position in self.edge)
            inside = frozenset(
                where for where, edge in enumerate(self._edges) if bad[where] and edge.exchange is not None
            )
            self._narrow[key] = (arcs, inside)
        return self._narrow[key]


class Weights:
    """The arrays of one graph for one metric."""

    def __init__(self, arcs: Arcs, edges: Sequence[Edge], metric: Metric, *, ties: bool) -> None:
        shift = TIE_BITS if ties else 0
        self.metric = metric
        self.shift = shift
        read = attrgetter(metric.field)
        if metric.combine is Combine.SUM:
            values = [round(read(edge) * 1e6) << shift for edge in edges]
        else:
            values = [metric.weight(read(edge)) << shift for edge in edges]
        if ties:
            for edge in arcs.edge:
                values[edge] += 1
        self.edge = values
        """The weight of each edge."""
        self.arc = [self.edge[edge] for edge in arcs.edge]
        """The weight of each arc alone."""
        self.into = [0] * arcs.count
        """The share of a turn that is owed for coming in over each arc."""
        self.out_of = [0] * arcs.count
        self._split(arcs)
        inside = [self.out_of[arc] + self.arc[arc] + self.into[arc] for arc in range(arcs.count)]
        source, target, free = arcs.source, arcs.target, arcs.bandwidth
        self.inward: list[list[Along]] = [
            [(source[arc], inside[arc], arc, free[arc]) for arc in here] for here in arcs.inward
        ]
        self.outward: list[list[Along]] = [
            [(target[arc], inside[arc], arc, free[arc]) for arc in here] for here in arcs.outward
        ]

    def _split(self, arcs: Arcs) -> None:
        """Split each exchange's matrix: what every way out costs at least from this way in, then what that leaves."""
        weight = self.edge
        rest = [FAR] * len(arcs.at)
        for point, arriving in enumerate(arcs.arriving):
            if not arriving:
                continue
            onward = arcs.onward[point]
            least = min((weight[transit] for transit in onward), default=0)
            for arc in arriving:
                self.into[arc] = least
            for transit in onward:
                head = arcs.end[transit]
                rest[head] = min(rest[head], weight[transit] - least)
        for arc, point in enumerate(arcs.tail):
            self.out_of[arc] = rest[point] if rest[point] < FAR else 0
