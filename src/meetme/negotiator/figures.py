"""What Prometheus is told of the negotiator, beside the figures of every service and of its loop and database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meetme.negotiator import store
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.states import State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger
from meetme.runtime.standing_figures import StandingFigures

ACTIVE_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40)
KINDS = ("send", "program", "probe", "wake")


def standing(database: Database, ledger: Ledger, clock: Clock) -> StandingFigures:
    """How many negotiations stand in each state and what is owed."""
    return StandingFigures(
        database,
        ledger,
        clock,
        machine=NegotiationMachine.name,
        states=[state.value for state in State],
        kinds=KINDS,
        count=lambda tx: {state.value: number for state, number in store.count_by_state(tx).items()},
    )


class CourseFigures:
    """Of the course that negotiations take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._entered = Counter(
            "meetme_negotiation_states",
            "Negotiations that came into a state, by state.",
            ("state",),
            registry=registry,
        )
        for state in State:
            self._entered.labels(state)
        self._active = Histogram(
            "meetme_negotiation_active_seconds",
            "Time from the start of a negotiation at this member to active.",
            registry=registry,
            buckets=ACTIVE_BUCKETS,
        )

    def entered(self, _before: Negotiation | None, after: Negotiation, now: float) -> None:
        """A negotiation has come into another state."""
        self._entered.labels(after.state).inc()
        if after.state is State.ACTIVE:
            self._active.observe(now - after.started)


class RouterFigures(Collector):
    """When each configurator was last reached: as many as the settings name."""

    def __init__(self, reached: Callable[[], dict[str, float | None]]) -> None:
        self._reached = reached

    def describe(self) -> Iterator[Metric]:
        """The same without a sample."""
        yield self._family({})

    def collect(self) -> Iterator[Metric]:
        """Reads what is in memory."""
        yield self._family(self._reached())

    def _family(self, reached: dict[str, float | None]) -> Metric:
        family = GaugeMetricFamily(
            "meetme_configurator_reached_timestamp_seconds",
            "When a configurator last answered, in seconds since the epoch; 0: never yet.",
            labels=("router",),
        )
        for router, at in reached.items():
            family.add_metric((router,), at or 0.0)
        return family
