"""What Prometheus is told of the negotiator, beside the figures of every service and of its loop and database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from meetme.model.errors import MeetMeError
from meetme.negotiator import store
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.states import State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger, Standing

ACTIVE_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40)
KINDS = ("send", "program", "probe", "wake")


class StandingFigures(Collector):
    """How many negotiations stand in each state and what is owed, read from the store when somebody looks."""

    def __init__(self, database: Database, ledger: Ledger, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """The same without a sample: registering it must not ask the database."""
        yield from self._families({}, {}, 0.0)

    def collect(self) -> Iterator[Metric]:
        """Blocks for one transaction. While the database is away the other figures are told all the same."""
        try:
            states, kinds = self._database.run_now(self._read)
        except MeetMeError:
            return
        yield from self._families(states, kinds, self._clock.now())

    def _read(self, tx: Connection) -> tuple[dict[State, int], dict[str, Standing]]:
        return store.count_by_state(tx), self._ledger.standing(tx, NegotiationMachine.name)

    def _families(self, states: dict[State, int], kinds: dict[str, Standing], now: float) -> Iterator[Metric]:
        standing = GaugeMetricFamily("meetme_negotiations", "Negotiations by state.", labels=("state",))
        for state in State:
            standing.add_metric((state.value,), states.get(state, 0))
        yield standing
        owed = GaugeMetricFamily("meetme_effects_owed", "Effects that are still to be performed.", labels=("kind",))
        failing = GaugeMetricFamily(
            "meetme_effects_failing", "Owed effects whose last attempt was in vain.", labels=("kind",)
        )
        lag = GaugeMetricFamily(
            "meetme_effects_lag_seconds",
            "For how long the effect that has waited longest is due and not being performed by anybody.",
            labels=("kind",),
        )
        for kind in KINDS:
            stands = kinds.get(kind, Standing(0, 0, None))
            owed.add_metric((kind,), stands.owed)
            failing.add_metric((kind,), stands.failing)
            lag.add_metric((kind,), max(0.0, now - stands.due) if stands.due is not None else 0.0)
        yield from (owed, failing, lag)


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
