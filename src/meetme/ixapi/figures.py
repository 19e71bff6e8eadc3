"""What Prometheus is told of the IX-API server, beside the figures of every service and of its loop and database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from meetme.ixapi import store
from meetme.ixapi.machine import BundleMachine
from meetme.ixapi.objects import State
from meetme.ixapi.switches import SwitchDoor
from meetme.model.errors import MeetMeError
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger, Standing

KINDS = ("program", "wake")


class StandingFigures(Collector):
    """How many services stand in each state and what is owed, read from the store when somebody looks."""

    def __init__(
        self, database: Database, ledger: Ledger, clock: Clock, switches: Callable[[], Iterable[SwitchDoor]]
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._switches = switches

    def describe(self) -> Iterator[Metric]:
        """The same without a sample: registering it must not ask the database."""
        yield from self._families({}, {}, 0.0)

    def collect(self) -> Iterator[Metric]:
        """Blocks for one transaction. While the database is away the other figures are told all the same."""
        try:
            states, kinds = self._database.read_now(self._read)
        except MeetMeError:
            return
        yield from self._families(states, kinds, self._clock.now())

    def _read(self, tx: Connection) -> tuple[dict[State, int], dict[str, Standing]]:
        return store.count_by_state(tx), self._ledger.standing(tx, BundleMachine.name)

    def _families(self, states: dict[State, int], kinds: dict[str, Standing], now: float) -> Iterator[Metric]:
        standing = GaugeMetricFamily("meetme_ixapi_services", "Network services by state.", labels=("state",))
        for state in State:
            standing.add_metric((state.value,), states.get(state, 0))
        yield standing
        owed = GaugeMetricFamily("meetme_effects_owed", "Effects that are still to be performed.", labels=("kind",))
        lag = GaugeMetricFamily(
            "meetme_effects_lag_seconds",
            "For how long the effect that has waited longest is due and not being performed by anybody.",
            labels=("kind",),
        )
        for kind in KINDS:
            stands = kinds.get(kind, Standing(0, 0, None))
            owed.add_metric((kind,), stands.owed)
            lag.add_metric((kind,), max(0.0, now - stands.due) if stands.due is not None else 0.0)
        yield from (owed, lag)
        reached = GaugeMetricFamily(
            "meetme_ixapi_switch_reached_seconds",
            "When the configurator of a switch last answered, in seconds since the epoch.",
            labels=("switch",),
        )
        strays = GaugeMetricFamily(
            "meetme_ixapi_stray_segments",
            "Segments in force on a switch that belong to no service known here, and are left alone.",
            labels=("switch",),
        )
        for switch in self._switches():
            reached.add_metric((switch.name,), switch.reached_at or 0.0)
            strays.add_metric((switch.name,), len(switch.strays))
        yield from (reached, strays)


class CourseFigures:
    """Of the course that services take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._entered = Counter(
            "meetme_ixapi_service_states",
            "Network services that came into a state, by state.",
            ("state",),
            registry=registry,
        )
        for state in State:
            self._entered.labels(state.value)
        self._reordered = Counter(
            "meetme_ixapi_pieces_reordered",
            "Segments that a switch had and lost, or had otherwise, so that they were ordered again, by switch.",
            ("switch",),
            registry=registry,
        )

    def entered(self, state: State) -> None:
        """A service has come into a state."""
        self._entered.labels(state.value).inc()

    def reordered(self, switch: str) -> None:
        """A piece is ordered again because the switch does not have it as it was ordered."""
        self._reordered.labels(switch).inc()
