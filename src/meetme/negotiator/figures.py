"""What Prometheus is told of the negotiator, beside the figures of every service and of its loop and database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from meetme.model.errors import MeetMeError, Unreachable
from meetme.negotiator import store
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.states import State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.figures import LONG_BUCKETS
from meetme.runtime.identity import valid_until
from meetme.runtime.ledger import Ledger, Standing
from meetme.runtime.tls import Trust

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


class TrustFigures(Collector):
    """Until when certificates are good, the own one and those of the peers: as many as the roster has members."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def describe(self) -> Iterator[Metric]:
        """The same without a sample."""
        yield self._family(())

    def collect(self) -> Iterator[Metric]:
        """Reads what is in memory."""
        own = self._trust.identity
        known = {m.id: min(map(valid_until, m.certificates)) for m in self._trust.roster.members if m.certificates}
        yield self._family({**known, own.member: valid_until(own.certificate)}.items())

    def _family(self, known: Iterable[tuple[str, float]]) -> Metric:
        family = GaugeMetricFamily(
            "meetme_certificate_expires_timestamp_seconds",
            "Until when a member's certificate is good, in seconds since the epoch.",
            labels=("member",),
        )
        for member, until in known:
            family.add_metric((member,), until)
        return family


class Way(StrEnum):
    """Of a message between negotiators."""

    SENT = "sent"
    RECEIVED = "received"


class Result(StrEnum):
    """What became of a message."""

    ANSWERED = "answered"
    PENDING = "pending"
    """202: ask again."""
    REJECTED = "rejected"
    """A problem came back."""
    UNREACHABLE = "unreachable"


@dataclass(slots=True)
class Exchange:
    """One message and its answer, as they are counted."""

    type: str = "unknown"
    pending: bool = False


class PeerFigures:
    """Of the messages with other negotiators. Without a registry nobody is told."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        labels = ("direction", "type", "result")
        self._messages = Counter(
            "meetme_peer_messages",
            "Messages between negotiators, sent or received, by type and result (answered, pending, rejected, "
            "unreachable).",
            labels,
            registry=registry,
        )
        self._seconds = Histogram(
            "meetme_peer_message_seconds",
            "Time from a message to its answer.",
            ("direction", "type"),
            registry=registry,
            buckets=LONG_BUCKETS,
        )
        self._answered = Gauge(
            "meetme_peer_answered_timestamp_seconds",
            "When a peer last answered a message of ours, in seconds since the epoch.",
            ("peer",),
            registry=registry,
        )

    @contextmanager
    def exchange(self, way: Way, kind: str = "unknown", peer: str | None = None) -> Iterator[Exchange]:
        """Around one message and its answer. `peer`: who answers, where a roster knows it."""
        begin, exchange, result = time.perf_counter(), Exchange(kind), Result.REJECTED
        try:
            yield exchange
            result = Result.PENDING if exchange.pending else Result.ANSWERED
        except Unreachable:
            result = Result.UNREACHABLE
            raise
        except MeetMeError:
            raise
        finally:
            self._messages.labels(way, exchange.type, result).inc()
            self._seconds.labels(way, exchange.type).observe(time.perf_counter() - begin)
            if peer is not None and result is not Result.UNREACHABLE:
                self._answered.labels(peer).set_to_current_time()


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
