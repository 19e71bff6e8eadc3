"""What Prometheus is told of the data plane of active agreements.

By peer, of which there are as many as the roster has; not by negotiation, of which there are ever more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meetme.negotiator.health import Round
from meetme.negotiator.negotiation import Health, HealthState

RTT_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
UNKNOWN = "unknown"


class HealthFigures(Collector):
    """How many agreements with each peer are up, degraded, down, or not known."""

    def __init__(self, states: Callable[[], list[tuple[str, Health | None]]]) -> None:
        self._states = states

    def describe(self) -> Iterator[Metric]:
        """The same without a sample."""
        yield _family()

    def collect(self) -> Iterator[Metric]:
        """From memory; every state of every peer that has an agreement."""
        family = _family()
        known = self._states()
        counted = Counter((peer, health.state.value if health else UNKNOWN) for peer, health in known)
        for peer in sorted({peer for peer, _ in known}):
            for state in (*HealthState, UNKNOWN):
                family.add_metric((peer, str(state)), counted[peer, str(state)])
        yield family


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "meetme_agreements_health",
        "Active agreements by peer and health of their data plane (up, degraded, down, unknown).",
        labels=("peer", "state"),
    )


class ProbeFigures:
    """Of the probes of active agreements."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rtt = Histogram(
            "meetme_probe_rtt_seconds",
            "Round trip of the probes of active agreements.",
            registry=registry,
            buckets=RTT_BUCKETS,
        )
        self._sent = prometheus_client.Counter(
            "meetme_probe_packets", "Probe packets sent over active agreements.", ("peer",), registry=registry
        )
        self._lost = prometheus_client.Counter(
            "meetme_probe_packets_lost", "Those of them that were not answered.", ("peer",), registry=registry
        )

    def seen(self, peer: str, one: Round) -> None:
        """Count one round."""
        self._sent.labels(peer).inc(one.sent)
        self._lost.labels(peer).inc(one.lost)
        if one.rtt_ms is not None:
            self._rtt.observe(one.rtt_ms / 1000)
