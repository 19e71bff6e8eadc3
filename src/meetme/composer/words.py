"""The words of a circuit: its states, what is ordered, the hops of a route, what stands in its way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from meetme.composer.graph import Disjoint as Disjoint
from meetme.model.agreement import MemberId


class State(StrEnum):
    """Where a circuit stands, or one leg of it. A leg is never `degraded` or `failed`."""

    HELD = "held"
    """A route is looked for, or reserved exchange by exchange, until a deadline."""
    COMMITTED = "committed"
    """All of it is reserved; the exchanges build their segments."""
    ACTIVE = "active"
    """Every segment is in production."""
    DEGRADED = "degraded"
    """It has been active, and now a path of it is broken."""
    FAILED = "failed"
    """It has never been active, and nothing of it is left."""
    RELEASING = "releasing"
    """Being taken back: here, or at an exchange that has not said yet that it is done."""
    RELEASED = "released"


ENDED = frozenset({State.FAILED, State.RELEASED})
LIVE_LEG = frozenset({State.HELD, State.COMMITTED, State.ACTIVE})
"""States of a leg that has not been given up."""


class Segment(StrEnum):
    """What the own exchange carries of a leg, as far as the composer knows."""

    ABSENT = "absent"
    BUILDING = "building"
    READY = "ready"
    REMOVING = "removing"
    CANCELLING = "cancelling"
    """Being removed although it was not built yet: an order to build it may still be on its way to the exchange."""
    SWEEPING = "sweeping"
    """It was gone after `cancelling`; it is removed once more when nothing can be on its way any more."""


class Objective(StrEnum):
    """What a route is chosen by."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    HOPS = "hops"
    PRICE = "price"


class Redundancy(StrEnum):
    """Whether there is a second path, and what happens where no disjoint one exists."""

    NONE = "none"
    BEST_EFFORT = "best_effort"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a circuit: a member's port at an exchange."""

    member: MemberId
    port: str
    """The exchange's name for it (IX-API: the connection)."""
    vlan: int | None = None
    """The VLAN asked for. None: the exchange's composer chooses, or the whole port where that has no VLANs."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a route has to keep to."""

    max_latency_ms: float | None = None
    avoid_members: tuple[MemberId, ...] = ()
    avoid_countries: tuple[str, ...] = ()
    within_countries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CircuitRequest:
    """What was ordered (body of `POST /api/v1/circuits`)."""

    a: End
    b: End
    bandwidth: int
    """Mbit/s, each way."""
    objective: Objective = Objective.LATENCY
    constraints: Constraints = Constraints()
    redundancy: Redundancy = Redundancy.NONE
    disjoint: Disjoint = Disjoint.LINK
    mtu: int | None = None
    """Octets of Ethernet payload that have to fit at least. None: whatever the route carries."""
    then: str | None = None
    """`negotiate`: the head starts the L3 negotiation once the circuit is active. Of no concern to the rules."""

    @property
    def paths(self) -> int:
        """How many paths are wanted."""
        return 1 if self.redundancy is Redundancy.NONE else 2


@dataclass(frozen=True, slots=True)
class Hop:
    """A route's way through one exchange, as seen from end a."""

    exchange: MemberId
    in_port: str
    out_port: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where one path leads."""

    path: int
    """1 or 2."""
    hops: tuple[Hop, ...]
    mtu: int
    """The least that is advertised along it, octets of Ethernet payload."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one exchange has reserved for a leg: an entry of the path trace."""

    exchange: MemberId
    in_label: int | None
    """VLAN on the port towards end a; None: not known yet, or the whole port."""
    out_label: int | None
    """VLAN on the port towards end b."""
    mtu: int


class ElementKind(StrEnum):
    """What can stand in a route's way."""

    MEMBER = "member"
    LINK = "link"
    """An inter-exchange link (NNI): its capacity, its labels, or itself."""
    TRANSIT = "transit"
    """The way between two ports inside one exchange."""
    RISK = "risk"
    """A shared-risk tag."""
    END = "end"
    """An access port of the circuit: no route leads around it."""


@dataclass(frozen=True, slots=True)
class Element:
    """What refused, to be left out of the next route."""

    kind: ElementKind
    member: MemberId
    """The exchange; of a link the one that says so."""
    ports: tuple[str, ...] = ()
    """That exchange's names: one of a link or an end, two of a transit."""
    risk: str | None = None
    passing: bool = False
    """What is in the way is itself not sure to stay: it may be free again shortly."""


def reference(circuit: UUID, path: int, attempt: int) -> str:
    """The name of a leg's segment at the exchange (IX-API `external_ref`, at most 80 characters).

    It is never used again for another segment. Segments whose names differ only after `#` may share an access port.
    """
    return f"{circuit}#{path}@{attempt}"


def owner(one: MemberId, other: MemberId) -> MemberId:
    """Which of two exchanges gives the capacity and the labels of the links between them: the lower id."""
    return min(one, other)
