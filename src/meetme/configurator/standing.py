"""How every circuit stands on the device, and telling those who watch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import structlog

from meetme.configurator.figures import DeviceFigures
from meetme.configurator.plan import Kept
from meetme.configurator.watchers import Watchers
from meetme.drivers.base import RouterFacts
from meetme.model.errors import MeetMeError, Problem
from meetme.model.intent import (
    AppliedLink,
    AppliedSegment,
    LinkEvent,
    LinkEventKind,
    LinkIntent,
    LinkState,
    Observation,
)
from meetme.model.segment import SegmentIntent, Uplink, describe


@dataclass(slots=True)
class Health:
    """How a circuit does on the device. Not kept on disk: found out anew after a start."""

    in_sync: bool = False
    problem: Problem | None = None


class Standing:
    """Of one device. `kept` is what is kept of each circuit, as it changes."""

    def __init__(self, kept: Mapping[str, Kept], figures: DeviceFigures) -> None:
        self._kept = kept
        self._figures = figures
        self._health: defaultdict[str, Health] = defaultdict(Health)
        self._watchers = Watchers()

    def well(self, circuit: str) -> None:
        """It is as intended."""
        self._health[circuit] = Health(in_sync=True)

    def drifted(self, circuit: str) -> None:
        """The device differs from the intent."""
        self._health[circuit].in_sync = False

    def ill(self, circuit: str, error: Exception) -> None:
        """The device failed to be as intended."""
        if isinstance(error, MeetMeError):
            problem, trace = error.problem, None
        else:
            problem, trace = Problem("internal_error", f"configurator: failed unexpectedly ({error!r})"), error
        structlog.get_logger().warning("link not in force", circuit=circuit, problem=problem.text, exc_info=trace)
        self._health[circuit] = Health(in_sync=False, problem=problem)
        self.tell(circuit, LinkEventKind.FAILED, problem.text)

    def forget(self, circuit: str) -> None:
        """It is gone."""
        self._health.pop(circuit, None)

    def uplinks(self, circuit: str, uplinks: tuple[Uplink, ...]) -> None:
        """The ends of its protected side are like this now."""
        down = ", ".join(describe(uplink.end) for uplink in uplinks if not uplink.up)
        carrying = ", ".join(describe(uplink.end) for uplink in uplinks if uplink.carrying) or "nothing"
        said = f"down: {down}; carried by {carrying}" if down else f"carried by {carrying}"
        self.tell(circuit, LinkEventKind.DEGRADED if down else LinkEventKind.UP, said)

    def tell(self, circuit: str, kind: LinkEventKind, detail: str, *, agreement: UUID | None = None) -> None:
        """Tell those who watch, the log and the figures. `agreement`: whose it was, where nothing is kept any more."""
        event = self._event(circuit, kind, detail, agreement)
        self._figures.happened(kind)
        about = str(event.agreement) if event.agreement else None
        structlog.get_logger().info("link", circuit=circuit, negotiation=about, event_kind=kind.value, detail=detail)
        self._watchers.tell(event)

    def watch(self) -> AsyncIterator[LinkEvent]:
        """The state of every circuit, then every change, until `close`. Raises Exhausted `watch_too_slow`."""
        return self._watchers.watch(
            lambda: (
                self._event(circuit, LinkEventKind.STATE, kept.state.value) for circuit, kept in self._kept.items()
            )
        )

    def close(self) -> None:
        """End the iteration of everybody who watches."""
        self._watchers.close()

    def count(self) -> dict[tuple[LinkState, bool], int]:
        """How many circuits there are by state, and by whether the device has them as ordered."""
        kept = tuple(self._kept.items())
        return Counter(
            (each.state, circuit in self._health and self._health[circuit].in_sync) for circuit, each in kept
        )

    def observation(self, facts: RouterFacts, uplinks: Callable[[str], tuple[Uplink, ...]]) -> Observation:
        """What the device has, and what is kept for it."""
        links: list[AppliedLink] = []
        segments: list[AppliedSegment] = []
        for circuit, kept in sorted(self._kept.items()):
            health = self._health[circuit]
            if isinstance(kept.intent, LinkIntent):
                links.append(AppliedLink(kept.intent, kept.state, health.in_sync, health.problem))
            else:
                segments.append(_segment(kept.intent, kept.state, health, uplinks(circuit)))
        return Observation(facts.ports, facts.routes, tuple(links), tuple(segments))

    def _event(self, circuit: str, kind: LinkEventKind, detail: str, agreement: UUID | None = None) -> LinkEvent:
        kept = self._kept.get(circuit)
        in_sync = circuit in self._health and self._health[circuit].in_sync
        return LinkEvent(circuit, kept.intent.agreement if kept else agreement, kind, detail, in_sync)


def _segment(intent: SegmentIntent, state: LinkState, health: Health, uplinks: tuple[Uplink, ...]) -> AppliedSegment:
    return AppliedSegment(intent, state, health.in_sync, health.problem, uplinks)
