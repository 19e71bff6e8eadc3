"""What two composers say to each other about a circuit: the type of each message and its body, as values.

A message travels in an envelope (`wire`) as one POST to `handle_circuit`; the answer is the other side's message in the
same envelope: `{"version":1,"circuit":UUID,"message":UUID,"type","path","attempt","from","to","expires","body":{}}`.
`path` and `attempt` say which leg it is about; path 0, attempt 0 is the circuit itself, between the composer that was
asked and the head. Durations cross the wire, points in time do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from meetme.composer.words import CircuitRequest, Element, Hop, Reservation, State
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem


class MessageType(StrEnum):
    """Every type on the wire. The first five ask, the others answer."""

    HOLD = "hold"
    COMMIT = "commit"
    ACTIVATE = "activate"
    RELEASE = "release"
    QUERY = "query"
    HELD = "held"
    COMMITTED = "committed"
    ACTIVATED = "activated"
    RELEASED = "released"
    STATE = "state"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class HoldBody:
    """Reserve your part of this route, and pass it on. Previous composer to the next one.

    Without hops (path 0) it passes the request on to the head, which then looks for a route.
    """

    request: CircuitRequest
    ordered_by: MemberId
    hops: tuple[Hop, ...] = ()
    trace: tuple[Reservation, ...] = ()
    """What the exchanges before have reserved: whoever finds itself in it refuses."""
    label: int | None = None
    """The VLAN on the link between the two, where the sender owns the link."""
    mtu: int = 1500
    """What fits through the route by what is advertised, octets of Ethernet payload."""
    seconds: float = 30.0
    """For how long it is to be held until `commit` has come back."""


@dataclass(frozen=True, slots=True)
class HeldBody:
    """It is held, and passed on. `label` is the VLAN on the link between the two; None: the circuit was passed on."""

    label: int | None = None


@dataclass(frozen=True, slots=True)
class CommitBody:
    """Everything is reserved to the far end. It runs back from there; `trace` has every exchange's entry."""

    trace: tuple[Reservation, ...]


@dataclass(frozen=True, slots=True)
class CommittedBody:
    """Heard."""


@dataclass(frozen=True, slots=True)
class ActivateBody:
    """Have your segment built, and pass it on. Previous composer to the next one."""

    trace: tuple[Reservation, ...]
    seconds: float
    """For how long the sender waits for the answer."""


@dataclass(frozen=True, slots=True)
class ActivatedBody:
    """Every segment from here to the far end is in production. Not answered before."""


@dataclass(frozen=True, slots=True)
class ReleaseBody:
    """Give this leg up. Between neighbours, either way, from any state.

    `problem` and `element`: why, and what the head is to leave out of the next route. `whole`: the circuit as such is
    taken back, there will be no other route.
    """

    problem: Problem | None = None
    element: Element | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class ReleasedBody:
    """Nothing of it is left here, nor behind this exchange as seen from the receiver. Not answered before."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A whole leg, for a neighbour whose store has lost it."""

    request: CircuitRequest
    ordered_by: MemberId
    hops: tuple[Hop, ...]
    trace: tuple[Reservation, ...]
    mtu: int


@dataclass(frozen=True, slots=True)
class QueryBody:
    """Where the asking side stands, and: where do you?"""

    state: State | None
    """Of the leg; None: not known (any more). Of the circuit where path is 0."""
    whole: State
    """Of the circuit, as far as the sender knows."""
    handed: Handed | None = None
    """For a side that has said that it does not know the leg."""


@dataclass(frozen=True, slots=True)
class StateBody:
    """Where the answering side stands; `state` None: it does not know the leg."""

    state: State | None
    whole: State | None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class RefusedBody:
    """No: to `hold`, `commit` and `activate`. Whoever is refused gives the leg up, and says so with `release`."""

    problem: Problem
    element: Element | None = None
    """What the head is to leave out of the next route."""
    whole: bool = False
    """The circuit as such is being taken back here."""
    seen: int = 0
    """The highest attempt at this path that is known here, where the one asked for is not above it."""


Body = (
    HoldBody
    | CommitBody
    | ActivateBody
    | ReleaseBody
    | QueryBody
    | HeldBody
    | CommittedBody
    | ActivatedBody
    | ReleasedBody
    | StateBody
    | RefusedBody
)

BODIES: dict[MessageType, type[Body]] = {
    MessageType.HOLD: HoldBody,
    MessageType.COMMIT: CommitBody,
    MessageType.ACTIVATE: ActivateBody,
    MessageType.RELEASE: ReleaseBody,
    MessageType.QUERY: QueryBody,
    MessageType.HELD: HeldBody,
    MessageType.COMMITTED: CommittedBody,
    MessageType.ACTIVATED: ActivatedBody,
    MessageType.RELEASED: ReleasedBody,
    MessageType.STATE: StateBody,
    MessageType.REFUSED: RefusedBody,
}

ANSWERS: dict[MessageType, frozenset[MessageType]] = {
    MessageType.HOLD: frozenset({MessageType.HELD, MessageType.REFUSED}),
    MessageType.COMMIT: frozenset({MessageType.COMMITTED, MessageType.REFUSED}),
    MessageType.ACTIVATE: frozenset({MessageType.ACTIVATED, MessageType.REFUSED}),
    MessageType.RELEASE: frozenset({MessageType.RELEASED}),
    MessageType.QUERY: frozenset({MessageType.STATE}),
}
"""Which answers each request may get; any other is the peer's fault."""


def type_of(body: Body) -> MessageType:
    """The message type that carries `body`."""
    return next(kind for kind, cls in BODIES.items() if isinstance(body, cls))
