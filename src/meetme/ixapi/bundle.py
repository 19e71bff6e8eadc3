"""What is built as one: a service, or several that protect each other, with their pieces on the switches.

Two services of one account whose references differ only after `#` (`CIRCUIT#1`, `CIRCUIT#2`) are one bundle: they may
share an access, and a switch where they do has one segment with two uplinks. Everything else is a bundle of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from uuid import UUID, uuid5

from meetme.ixapi.objects import Cancellation, Config, Owners, Papers, Service
from meetme.model.errors import Problem
from meetme.model.segment import SegmentEnd, SegmentIntent


class Phase(StrEnum):
    """How far a piece is on its switch."""

    APPLY = "apply"
    """To be applied, tentatively."""
    CONFIRM = "confirm"
    """Applied; to be made final once every switch has applied its own."""
    DONE = "done"
    """In force."""
    REMOVE = "remove"
    """To be taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A piece of a bundle on one switch, and what still has to be done about it."""

    switch: str
    name: str
    """The circuit's key on the switch."""
    phase: Phase
    a: tuple[SegmentEnd, ...]
    b: tuple[SegmentEnd, ...]
    bandwidth: int | None
    generation: int
    users: tuple[str, ...]
    """The services that are built with it."""
    former: tuple[str, ...] = ()
    """Services that are not any more, until the switch has followed."""
    problem: Problem | None = None
    """Why the last attempt was in vain."""
    attempts: int = 0

    @property
    def place(self) -> tuple[str, str]:
        """Where it is: one piece per name and switch."""
        return self.switch, self.name

    def concerns(self, service: str) -> bool:
        """Whether the service waits for it."""
        return service in self.users or service in self.former


@dataclass(frozen=True, slots=True)
class Claims:
    """What nobody else may have: labels, by place, and Mbit/s, by place.

    Places are `connection/ID` and `trunk/NAME`; `circuit/NAME` with label 0 is a name on the switches.
    """

    labels: frozenset[tuple[str, int]] = frozenset()
    amounts: tuple[tuple[str, int], ...] = ()

    def joined(self, other: Claims) -> Claims:
        """All labels of both, and at each place the greater amount."""
        amounts = dict(self.amounts)
        for place, amount in other.amounts:
            amounts[place] = max(amount, amounts.get(place, 0))
        return Claims(self.labels | other.labels, tuple(sorted(amounts.items())))


NOTHING = Claims()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The whole state of one bundle."""

    id: UUID
    circuit: str
    """Its name on the switches."""
    key: str | None = None
    """Whoever orders under the same joins it. None: nobody can."""
    services: tuple[Service, ...] = ()
    works: tuple[Work, ...] = ()
    held: Claims = NOTHING
    """What it had before a change, until every switch has followed."""
    generation: int = 0

    @property
    def pending(self) -> tuple[Work, ...]:
        """What the switches have not followed yet."""
        return tuple(work for work in self.works if work.phase is not Phase.DONE)

    @property
    def over(self) -> bool:
        """Whether nothing of it is left."""
        return all(service.ended is not None for service in self.services)

    def configs(self) -> Iterator[Config]:
        """Those of every service."""
        for service in self.services:
            yield from service.configs

    def service(self, id: str) -> Service:
        """The service of this id, or the one that has the config of this id. Raises LookupError."""
        for service in self.services:
            if service.id == id or any(config.id == id for config in service.configs):
                return service
        raise LookupError(id)

    def intent(self, work: Work, mtu: int) -> SegmentIntent:
        """What a switch is told of one piece."""
        return SegmentIntent(
            circuit=work.name,
            service=self.owner_of(work.name),
            revision=work.generation,
            generation=work.generation,
            a=work.a,
            b=work.b,
            mtu=mtu,
            bandwidth=work.bandwidth,
        )

    def owner_of(self, name: str) -> UUID:
        """Under what id a piece is kept on a switch."""
        return uuid5(self.id, name)


@dataclass(frozen=True, slots=True)
class Room:
    """What other bundles have of the places that an order may want."""

    taken: Mapping[str, frozenset[int]] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)


# --- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServiceOrdered:
    """A service, without configs yet; the first of a bundle, or one more. `bundle` is used where there is none."""

    bundle: Bundle
    service: Service
    now: float


@dataclass(frozen=True, slots=True)
class ConfigOrdered:
    """One end of a service. `vlan` None: the exchange chooses."""

    config: Config
    vlan: int | None
    room: Room
    now: float


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """What a customer may change of a service without asking for more."""

    service: str
    owners: Owners
    papers: Papers
    now: float


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """A config as it shall be."""

    config: str
    owners: Owners
    papers: Papers
    roles: tuple[str, ...]
    capacity: int | None
    vlan: int | None
    ethertype: str
    room: Room
    now: float


@dataclass(frozen=True, slots=True)
class ChangeAsked:
    """Another capacity, or product offering, for a service and both its ends."""

    service: str
    offering: str
    capacity: int | None
    room: Room
    now: float


@dataclass(frozen=True, slots=True)
class ChangeWithdrawn:
    """The change request that is pending is not wanted any more."""

    service: str
    room: Room
    now: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A service, or a config, shall end."""

    id: str
    terms: Cancellation
    today: date
    now: float


@dataclass(frozen=True, slots=True)
class DayCame:
    """The day on which something of the bundle ends may have come."""

    today: date
    now: float


@dataclass(frozen=True, slots=True)
class Applied:
    """A switch has a piece, tentatively."""

    switch: str
    name: str
    generation: int
    now: float


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A switch has a piece, for good."""

    switch: str
    name: str
    generation: int
    now: float


@dataclass(frozen=True, slots=True)
class Lost:
    """A switch does not have the piece that was to be confirmed: it has rolled back."""

    switch: str
    name: str
    generation: int
    now: float


@dataclass(frozen=True, slots=True)
class Differs:
    """A switch that had followed does not have a piece any more, or has another one under its name."""

    switch: str
    name: str
    generation: int
    now: float


@dataclass(frozen=True, slots=True)
class Leftover:
    """A switch has a piece that was once the bundle's, and that it does not want there. `generation`: the piece's."""

    switch: str
    name: str
    a: tuple[SegmentEnd, ...]
    b: tuple[SegmentEnd, ...]
    generation: int
    now: float


@dataclass(frozen=True, slots=True)
class Removed:
    """Nothing of a piece is left on a switch."""

    switch: str
    name: str
    generation: int
    now: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A switch could not be made to follow. It is tried again."""

    switch: str
    name: str
    generation: int
    problem: Problem
    now: float


@dataclass(frozen=True, slots=True)
class ArchiveDue:
    """What has ended may go out of sight."""

    now: float


Event = (
    ServiceOrdered
    | ConfigOrdered
    | ServiceChanged
    | ConfigChanged
    | ChangeAsked
    | ChangeWithdrawn
    | Cancelled
    | DayCame
    | Applied
    | Confirmed
    | Lost
    | Differs
    | Leftover
    | Removed
    | Failed
    | ArchiveDue
)


# --- effects ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Program:
    """Make a switch follow, `after` seconds from now."""

    switch: str
    name: str
    verb: Phase
    generation: int
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Look again on a day (`at`, its beginning) or for the archive."""

    kind: str
    after: float


Effect = Program | WakeAt
