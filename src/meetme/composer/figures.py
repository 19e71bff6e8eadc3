"""What Prometheus is told of the composer, beside the figures of every service and of its loop and database."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from meetme.composer import store
from meetme.composer.circuit import Circuit
from meetme.composer.machine import KINDS, CircuitMachine
from meetme.composer.words import State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger
from meetme.runtime.standing_figures import StandingFigures

ACTIVE_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300)


def standing(database: Database, ledger: Ledger, clock: Clock) -> StandingFigures:
    """How many circuits stand in each state and what is owed."""
    return StandingFigures(
        database,
        ledger,
        clock,
        machine=CircuitMachine.name,
        states=[state.value for state in State],
        kinds=KINDS,
        count=lambda tx: {state.value: number for state, number in store.count_by_state(tx).items()},
    )


class CourseFigures:
    """Of the course that circuits take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._entered = Counter(
            "meetme_circuit_states", "Circuits that came into a state, by state.", ("state",), registry=registry
        )
        for state in State:
            self._entered.labels(state)
        self._attempts = Counter(
            "meetme_circuit_attempts", "Routes that were tried for circuits that this composer owns.", registry=registry
        )
        self._active = Histogram(
            "meetme_circuit_active_seconds",
            "Time from the order of a circuit that this composer owns to active.",
            registry=registry,
            buckets=ACTIVE_BUCKETS,
        )

    def entered(self, before: Circuit | None, after: Circuit, now: float) -> None:
        """A circuit has changed."""
        if after.is_head:
            self._attempts.inc(_attempts(after) - (_attempts(before) if before is not None else 0))
        if before is not None and before.state is after.state:
            return
        self._entered.labels(after.state).inc()
        if after.is_head and after.state is State.ACTIVE and not (before is not None and before.established):
            self._active.observe(now - after.began)


def _attempts(c: Circuit) -> int:
    return sum(search.attempt for search in c.searches)
