"""What a path is judged by, as data: how the values of its edges combine, and which of two results is better.

A metric that is a sum or a product can be minimised by a shortest path (a product through its logarithm); one that is
the least of its values by a widest path. Nothing else in this room knows one metric from another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf, log, prod
from types import MappingProxyType

ROUNDING = 64
"""How many units a sum of logarithms may be off: half a unit for each edge."""


class Combine(StrEnum):
    """How the values of a path's edges make the path's own."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"
    MULTIPLY = "multiply"


class Better(StrEnum):
    """Which of two values a customer would take."""

    LESS = "less"
    MORE = "more"


@dataclass(frozen=True, slots=True)
class Metric:
    """One way to judge a path. `field` is the attribute of an edge that holds its value."""

    name: str
    combine: Combine
    better: Better
    unit: str
    field: str
    bound: str
    """What a limit to it is called in a request: `max_latency_ms`."""

    @property
    def additive(self) -> bool:
        """Whether a path's value grows with every edge (a product of probabilities does, as a sum of logarithms)."""
        return self.combine in (Combine.SUM, Combine.MULTIPLY)

    def total(self, values: Iterable[float]) -> float:
        """The value of a path whose edges have these values; a sum in the millionths that searches count in."""
        match self.combine:
            case Combine.SUM:
                return sum(map(self.weight, values)) / 1e6
            case Combine.MULTIPLY:
                return prod(values)
            case Combine.MIN:
                return min(values, default=inf)
            case Combine.MAX:
                return max(values, default=-inf)

    def weight(self, value: float) -> int:
        """An edge's share of what a search adds up and wants least of, in millionths of the unit.

        Whole numbers: sums are exact, so "equal" and "proven optimal" mean what they say. A product is worked on as
        the sum of its negative logarithms, in units of 1e-12: it moves by less than that from rounding.
        """
        if self.combine is Combine.MULTIPLY:
            return round(-log(value) * 1e12)
        return round(value * 1e6)

    def passes(self, value: float, limit: float) -> bool:
        """Whether `value` respects a limit: at most where less is better, at least where more is."""
        if self.combine is Combine.MULTIPLY and value > 0 and limit > 0:
            value, limit = -self.weight(value), -self.weight(limit) - 2 * ROUNDING
        return value <= limit if self.better is Better.LESS else value >= limit


LATENCY = Metric("latency", Combine.SUM, Better.LESS, "ms", "latency_ms", "max_latency_ms")
BANDWIDTH = Metric("bandwidth", Combine.MIN, Better.MORE, "Mbit/s", "bandwidth", "bandwidth")
HOPS = Metric("hops", Combine.SUM, Better.LESS, "exchanges", "hops", "max_hops")
PRICE = Metric("price", Combine.SUM, Better.LESS, "", "price", "max_price")
AVAILABILITY = Metric("availability", Combine.MULTIPLY, Better.MORE, "", "availability", "min_availability")
MTU = Metric("mtu", Combine.MIN, Better.MORE, "octets", "mtu", "mtu")

METRICS = MappingProxyType({metric.name: metric for metric in (LATENCY, BANDWIDTH, HOPS, PRICE, AVAILABILITY, MTU)})
OBJECTIVES = MappingProxyType({"latency": LATENCY, "throughput": BANDWIDTH, "hops": HOPS, "price": PRICE})
"""What a request for a circuit may ask for the best of."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit that a path must respect: at most for latency, hops and price; at least for the others."""

    metric: Metric
    limit: float

    @property
    def name(self) -> str:
        """What it is called in a request."""
        return self.metric.bound
