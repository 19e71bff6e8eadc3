"""What Prometheus is told of other members: until when they are who they are, and the messages with them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meetme.model.errors import MeetMeError, Unreachable
from meetme.runtime.figures import LONG_BUCKETS
from meetme.runtime.identity import valid_until
from meetme.runtime.tls import Trust


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
    """Of a message between members."""

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
    """Of the messages with the same service of other members. Without a registry nobody is told."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        labels = ("direction", "type", "result")
        self._messages = Counter(
            "meetme_peer_messages",
            "Messages with other members, sent or received, by type and result (answered, pending, rejected, "
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
