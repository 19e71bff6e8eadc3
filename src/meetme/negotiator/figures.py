"""What Prometheus is told of the negotiator, beside the figures of every service."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from meetme.negotiator import store
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.states import State
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger
from meetme.runtime.telemetry import Registry

ACTIVE_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40)
KINDS = ("send", "program", "probe", "wake")


class StandingFigures(Collector):
    """How many negotiations stand in each state and how much is owed, read from the store when somebody looks."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    def describe(self) -> Iterator[Metric]:
        """The same without a sample: registering it must not ask the database."""
        yield from self._families({}, {})

    def collect(self) -> Iterator[Metric]:
        """Blocks for one transaction. Raises what the database raises."""
        yield from self._families(*self._database.run_now(self._read))

    def _read(self, tx: Connection) -> tuple[dict[State, int], dict[str, int]]:
        return store.count_by_state(tx), self._ledger.count_by_kind(tx, NegotiationMachine.name)

    def _families(self, states: dict[State, int], kinds: dict[str, int]) -> Iterator[Metric]:
        standing = GaugeMetricFamily("meetme_negotiations", "Negotiations by state.", labels=("state",))
        for state in State:
            standing.add_metric((state.value,), states.get(state, 0))
        yield standing
        owed = GaugeMetricFamily("meetme_effects_owed", "Effects that are still to be performed.", labels=("kind",))
        for kind in KINDS:
            owed.add_metric((kind,), kinds.get(kind, 0))
        yield owed


def start_to_active(registry: Registry) -> Callable[[float], None]:
    """A histogram of the seconds from the start of a negotiation to active; what is returned takes one more."""
    seconds = Histogram(
        "meetme_negotiation_active_seconds",
        "Time from the start of a negotiation at this member to active.",
        registry=registry,
        buckets=ACTIVE_BUCKETS,
    )
    return seconds.observe
