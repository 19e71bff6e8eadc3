"""What Prometheus is told of a configurator, beside the figures of every service and of its database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meetme.model.errors import DeviceFailed, MeetMeError
from meetme.model.intent import LinkEventKind, LinkState
from meetme.runtime.figures import LONG_BUCKETS

ORDERS = ("apply", "plan", "confirm", "remove", "observe", "probe", "capabilities", "action")


class Result(StrEnum):
    """What became of an order."""

    DONE = "done"
    UNCHANGED = "unchanged"
    """The device was that way already."""
    REFUSED = "refused"
    """It could not be right, or came too late; the device was not touched."""
    FAILED = "failed"


class Order:
    """One order, as it is counted."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result = Result.DONE


class DeviceFigures:
    """Of one device: orders that came in, and what became of its links. Without a registry nobody is told."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._orders = Counter(
            "meetme_configurator_orders",
            "Orders by kind and result (done, unchanged, refused, failed).",
            ("order", "result"),
            registry=registry,
        )
        self._seconds = Histogram(
            "meetme_configurator_order_seconds",
            "Time of one order, by kind.",
            ("order",),
            registry=registry,
            buckets=LONG_BUCKETS,
        )
        self._events = Counter(
            "meetme_configurator_link_events",
            "What happened to links (state, drift, repaired, rolled_back, removed, failed).",
            ("event",),
            registry=registry,
        )
        for kind in LinkEventKind:
            self._events.labels(kind)

    @contextmanager
    def order(self, kind: str) -> Iterator[Order]:
        """Around one order."""
        begin, order = time.perf_counter(), Order()
        try:
            yield order
        except MeetMeError as error:
            order.result = Result.FAILED if isinstance(error, DeviceFailed) else Result.REFUSED
            raise
        except BaseException:
            order.result = Result.FAILED
            raise
        finally:
            self._orders.labels(kind, order.result).inc()
            self._seconds.labels(kind).observe(time.perf_counter() - begin)

    def happened(self, kind: LinkEventKind) -> None:
        """Something happened to a link."""
        self._events.labels(kind).inc()


class LinkFigures(Collector):
    """How many links the device has, and is to have, as they stand when somebody looks."""

    def __init__(self, links: Callable[[], Mapping[tuple[LinkState, bool], int]], strays: Callable[[], int]) -> None:
        """`links`: by state and whether the device agrees. `strays`: circuits on the device that nobody ordered."""
        self._links = links
        self._strays = strays

    def describe(self) -> Iterator[Metric]:
        """The same without the device's numbers."""
        yield from self._families({}, 0)

    def collect(self) -> Iterator[Metric]:
        """Reads what is in memory."""
        yield from self._families(self._links(), self._strays())

    def _families(self, seen: Mapping[tuple[LinkState, bool], int], strays_seen: int) -> Iterator[Metric]:
        links = GaugeMetricFamily(
            "meetme_configurator_links",
            "Links by state (tentative, confirmed, removing), and whether the device has them as ordered.",
            labels=("state", "in_sync"),
        )
        for state in LinkState:
            for in_sync in (True, False):
                links.add_metric((state.value, str(in_sync).lower()), seen.get((state, in_sync), 0))
        yield links
        strays = GaugeMetricFamily(
            "meetme_configurator_stray_circuits",
            "Circuits with our tag on the device that nobody ordered here, and that wait for a negotiator's word.",
        )
        strays.add_metric((), strays_seen)
        yield strays
