"""What Prometheus is told of the catalogue, beside the figures of every service and of its loop and database."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from meetme.catalog import store
from meetme.catalog.machine import OrderMachine
from meetme.catalog.order import Order
from meetme.catalog.words import Party, State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger
from meetme.runtime.standing_figures import StandingFigures

KINDS = ("send", "make", "watch", "take back", "verify", "wake")
"""Of effects."""
ACTIVE_BUCKETS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300, 3600, 86_400)


def standing(database: Database, ledger: Ledger, clock: Clock) -> StandingFigures:
    """How many orders stand in each state and what is owed."""
    return StandingFigures(
        database,
        ledger,
        clock,
        machine=OrderMachine.name,
        states=[state.value for state in State],
        kinds=KINDS,
        count=lambda tx: {state.value: number for state, number in store.count_by_state(tx).items()},
    )


class CourseFigures:
    """Of the course that orders take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._entered = Counter(
            "meetme_order_states", "Orders that came into a state, by state.", ("state",), registry=registry
        )
        for state in State:
            self._entered.labels(state)
        self._active = Histogram(
            "meetme_order_active_seconds",
            "Time from an order of this member to active.",
            registry=registry,
            buckets=ACTIVE_BUCKETS,
        )

    def entered(self, before: Order | None, after: Order, now: float) -> None:
        """An order has changed."""
        if before is not None and before.state is after.state:
            return
        self._entered.labels(after.state).inc()
        if after.party is Party.BUYER and after.state is State.ACTIVE:
            self._active.observe(now - after.began)
