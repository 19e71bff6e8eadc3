"""What Prometheus is told of the instances of a machine and of what they owe, read from the store when it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from meetme.model.errors import MeetMeError
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger, Standing


class StandingFigures(Collector):
    """How many instances stand in each state, and what is owed."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        clock: Clock,
        *,
        machine: str,
        states: Sequence[str],
        kinds: Sequence[str],
        count: Callable[[Connection], Mapping[str, int]],
    ) -> None:
        """`machine`: what an instance is called (`negotiation`); `count`: how many are in each of the `states`;
        `kinds`: of effects.
        """
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._machine = machine
        self._states = states
        self._kinds = kinds
        self._count = count

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

    def _read(self, tx: Connection) -> tuple[Mapping[str, int], dict[str, Standing]]:
        return self._count(tx), self._ledger.standing(tx, self._machine)

    def _families(self, states: Mapping[str, int], kinds: dict[str, Standing], now: float) -> Iterator[Metric]:
        text = f"{self._machine.capitalize()}s by state."
        standing = GaugeMetricFamily(f"meetme_{self._machine}s", text, labels=("state",))
        for state in self._states:
            standing.add_metric((state,), states.get(state, 0))
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
        for kind in self._kinds:
            stands = kinds.get(kind, Standing(0, 0, None))
            owed.add_metric((kind,), stands.owed)
            failing.add_metric((kind,), stands.failing)
            lag.add_metric((kind,), max(0.0, now - stands.due) if stands.due is not None else 0.0)
        yield from (owed, failing, lag)
