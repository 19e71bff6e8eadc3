"""What a driver is: six verbs around `plan(read(), render(intent))`.

The configurator runs one loop over any driver: render the intent, read the device, plan the difference, show it, apply
it. A driver owns the marks, tables, names and tags it uses; it touches nothing that does not carry its tag.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from meetme.model.intent import Capabilities, LinkIntent, Port, ProbeReport, ProbeRequest, RouteFact

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

    def render(self, intent: LinkIntent, facts: RouterFacts) -> ConfigT:
        """The wished state of one circuit on this kind of device. Pure. Raises InvalidInput, Conflict, Unsupported."""

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
