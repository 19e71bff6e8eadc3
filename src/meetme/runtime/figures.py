"""What Prometheus is told of the durable loop and of the database, whatever service they are part of.

Labels have few values, known beforehand: kinds and results, never an id. Seconds are measured, not sampled.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from meetme import __version__

SHORT_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10)
"""Seconds, for what is over in a moment or not well."""
LONG_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
"""Seconds, for what waits for another machine."""


def tell_build(registry: CollectorRegistry, service: str) -> None:
    """Which version of what this is: the same number 1 for ever, for its labels."""
    built = Gauge(
        "meetme_build_info",
        "1, with the service, the version of MeetMe and that of Python as labels.",
        ("service", "version", "python"),
        registry=registry,
    )
    built.labels(service, __version__, platform.python_version()).set(1)


class Ending(StrEnum):
    """How an attempt at an effect ended."""

    DONE = "done"
    RETRIED = "retried"
    """Not now: the peer is at it, or something has to be awaited. No error."""
    FAILED = "failed"
    """In vain; it stays owed and is tried again."""
    DROPPED = "dropped"
    """Its lease was lost, or the service stopped."""


class Attempt:
    """One attempt at an effect, as it is counted. `ending` is set when it is known."""

    __slots__ = ("begin", "ending")

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.ending = Ending.DROPPED


class LoopFigures:
    """Of one durable loop."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Without a registry nobody is told."""
        registry = registry or CollectorRegistry(auto_describe=False)
        self._attempts = Counter(
            "meetme_effects",
            "Attempts at effects by kind and result (done, retried, failed, dropped).",
            ("kind", "result"),
            registry=registry,
        )
        self._seconds = Histogram(
            "meetme_effect_seconds",
            "Time of one attempt at an effect, by kind.",
            ("kind",),
            registry=registry,
            buckets=LONG_BUCKETS,
        )
        self._under_way: set[Attempt] = set()
        oldest = Gauge(
            "meetme_effect_lease_age_seconds",
            "For how long the oldest effect that this process holds a lease of has been under way; 0: none is.",
            registry=registry,
        )
        oldest.set_function(self._oldest)
        leases = Gauge("meetme_effect_leases", "Effects that this process holds a lease of.", registry=registry)
        leases.set_function(lambda: len(self._under_way))

    @contextmanager
    def attempt(self, kind: str) -> Iterator[Attempt]:
        """Around one attempt at an effect of `kind`."""
        attempt = Attempt(time.perf_counter())
        self._under_way.add(attempt)
        try:
            yield attempt
        finally:
            self._under_way.discard(attempt)
            self._attempts.labels(kind, attempt.ending).inc()
            self._seconds.labels(kind).observe(time.perf_counter() - attempt.begin)

    def _oldest(self) -> float:
        # A copy at once: the scrape runs in a thread of its own.
        begins = [attempt.begin for attempt in tuple(self._under_way)]
        return time.perf_counter() - min(begins) if begins else 0.0


class DatabaseFigures:
    """Of one database. May be told of in any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waited = Histogram(
            "meetme_database_wait_seconds",
            "Time until a transaction had its turn.",
            registry=registry,
            buckets=SHORT_BUCKETS,
        )
        self._seconds = Histogram(
            "meetme_database_transaction_seconds",
            "Time of one transaction, from its turn to the disk.",
            registry=registry,
            buckets=SHORT_BUCKETS,
        )
        self._errors = Counter(
            "meetme_database_errors",
            "Transactions that failed because of the database (busy, unreachable, other).",
            ("kind",),
            registry=registry,
        )
        for kind in ("busy", "unreachable", "other"):
            self._errors.labels(kind)

    def waited(self, seconds: float) -> None:
        """A transaction has its turn."""
        self._waited.observe(seconds)

    def took(self, seconds: float) -> None:
        """A transaction is over, either way."""
        self._seconds.observe(seconds)

    def failed(self, kind: str) -> None:
        """A transaction failed: `busy`, `unreachable` or `other`."""
        self._errors.labels(kind).inc()
