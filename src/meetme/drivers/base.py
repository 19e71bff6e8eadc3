"""What a driver is: six verbs around `plan(read(), render(intent))`.

The configurator runs one loop over any driver: render the intent, read the device, plan the difference, show it, apply
it. A driver owns the marks, tables, names and tags it uses; it touches nothing that does not carry its tag.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from meetme.model.errors import Unsupported
from meetme.model.intent import Capabilities, Intent, LinkIntent, Port, ProbeReport, ProbeRequest, RouteFact
from meetme.model.segment import SegmentIntent, Uplink

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, slots=True)
class RouterFacts:
    """What `render` may need of the router beside the intent: its ports with their addresses, and its main tables.

    Ports that were moved into a circuit are listed too, under the router's name for them.
    """

    ports: tuple[Port, ...]
    routes: tuple[RouteFact, ...]
    taken: tuple[tuple[str, str], ...] = ()
    """Interface and circuit, for every port (or VLAN of one) that a circuit holds."""


def link_only(intent: Intent, driver: str) -> LinkIntent:
    """The intent, where it is of a link. Raises Unsupported `segments_unsupported`."""
    if isinstance(intent, LinkIntent):
        return intent
    raise Unsupported(
        "segments_unsupported",
        f'segment: this device is a router, and takes no segments of circuits (driver "{driver}")',
        field="segment",
        hint="send it to a switch: meetme serve configurator --driver fabric",
    )


def segment_only(intent: Intent, driver: str) -> SegmentIntent:
    """The intent, where it is of a segment. Raises Unsupported `links_unsupported`."""
    if isinstance(intent, SegmentIntent):
        return intent
    raise Unsupported(
        "links_unsupported",
        f'intent: this device is a switch, and takes no links (driver "{driver}")',
        field="intent",
        hint="send it to a border router: meetme serve configurator --driver linux",
    )


@dataclass(frozen=True, slots=True)
class Change(Generic[ConfigT]):
    """What separates a device from a wish, for one circuit. `commands` is the same, for a person to read or to run."""

    circuit: str
    have: ConfigT | None
    want: ConfigT | None
    commands: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether the device already is as wished."""
        return not self.commands


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A device event after which a circuit may differ from its intent. `circuit` None: any of them."""

    circuit: str | None
    what: str


class Driver(Protocol[ConfigT]):
    """One device. Methods that touch it are async and raise DeviceFailed, Unsupported, Conflict or InvalidInput."""

    name: str

    async def open(self) -> None:
        """Prepare (find the device, take up what an earlier process left). Called once."""

    async def close(self) -> None:
        """Let go of the process's own handles. Leaves the device as it is."""

    async def capabilities(self) -> Capabilities:
        """What device and kernel can do, probed."""

    async def facts(self) -> RouterFacts:
        """Ports, addresses and main tables as they are now."""

    def render(self, intent: Intent, facts: RouterFacts) -> ConfigT:
        """The wished state of one circuit on this kind of device. Pure. Raises InvalidInput, Conflict, Unsupported.

        A router is told links, a switch segments; what is not for its kind it refuses as Unsupported.
        """

    async def read(self, circuit: str) -> ConfigT | None:
        """What the device has for this circuit: only what carries our tag. None: nothing at all."""

    def plan(self, circuit: str, have: ConfigT | None, want: ConfigT | None) -> Change[ConfigT]:
        """What has to be done. Pure; empty where nothing has. `want` None: remove everything."""

    async def apply(self, change: Change[ConfigT]) -> None:
        """Do it, all or nothing: on failure put back what was there and raise DeviceFailed."""

    async def circuits(self) -> frozenset[str]:
        """Every circuit of which the device carries anything with our tag."""

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """Echo requests along the customers' path; returns early once every size is answered."""

    def watch(self) -> AsyncIterator[Disturbance]:
        """Device events that may have disturbed a circuit, as they happen; never ends by itself."""


@runtime_checkable
class ReportsUplinks(Protocol):
    """A driver of switches that watches the ends of protected sides."""

    def uplinks(self, circuit: str) -> tuple[Uplink, ...]:
        """The ends of the circuit's protected side, in order of preference. Empty: it has none, or is not there."""

    def follow_uplinks(self, tell: Callable[[str, tuple[Uplink, ...]], None]) -> None:
        """Call `tell` from the event loop whenever one of a circuit's goes up or down, or another one carries."""
