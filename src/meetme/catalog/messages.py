"""What two catalog servers say to each other about an order: the type of each message and its body, as values.

A message travels in an envelope (`wire`) as one POST to `handle_order`; the answer is the other side's message in the
same envelope: `{"version":1,"order":UUID,"message":UUID,"type","from","to","expires","body":{}}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from meetme.catalog.words import State, Wanted
from meetme.model.errors import Problem


class MessageType(StrEnum):
    """Every type on the wire. The first four ask, the others answer."""

    REQUEST = "request"
    ATTACH = "attach"
    TERMINATE = "terminate"
    QUERY = "query"
    APPROVED = "approved"
    DECLINED = "declined"
    PENDING = "pending"
    ATTACHED = "attached"
    TERMINATED = "terminated"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class RequestBody:
    """Buyer to seller: this is what is ordered. Asked again, until a person has decided."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class AttachBody:
    """Buyer to seller: the circuit is there; get your end of it ready."""

    circuit: str


@dataclass(frozen=True, slots=True)
class TerminateBody:
    """It is over. `reason` is set where a failure, not a person, ends it."""

    reason: Problem | None = None


@dataclass(frozen=True, slots=True)
class QueryBody:
    """Where the asking side stands."""

    state: State | None


@dataclass(frozen=True, slots=True)
class ApprovedBody:
    """The seller wants it."""


@dataclass(frozen=True, slots=True)
class DeclinedBody:
    """The seller does not want it, and why."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class PendingBody:
    """A person at the seller decides; ask again in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AttachedBody:
    """The seller's end is ready: the negotiation may begin."""


@dataclass(frozen=True, slots=True)
class TerminatedBody:
    """Nothing of it is left at the side that answers."""


@dataclass(frozen=True, slots=True)
class StateBody:
    """Where the answering side stands; None: it does not know the order."""

    state: State | None


Body = (
    RequestBody
    | AttachBody
    | TerminateBody
    | QueryBody
    | ApprovedBody
    | DeclinedBody
    | PendingBody
    | AttachedBody
    | TerminatedBody
    | StateBody
)

BODIES: dict[MessageType, type[Body]] = {
    MessageType.REQUEST: RequestBody,
    MessageType.ATTACH: AttachBody,
    MessageType.TERMINATE: TerminateBody,
    MessageType.QUERY: QueryBody,
    MessageType.APPROVED: ApprovedBody,
    MessageType.DECLINED: DeclinedBody,
    MessageType.PENDING: PendingBody,
    MessageType.ATTACHED: AttachedBody,
    MessageType.TERMINATED: TerminatedBody,
    MessageType.STATE: StateBody,
}

ANSWERS: dict[MessageType, frozenset[MessageType]] = {
    MessageType.REQUEST: frozenset({MessageType.APPROVED, MessageType.DECLINED, MessageType.PENDING}),
    MessageType.ATTACH: frozenset({MessageType.ATTACHED, MessageType.TERMINATED}),
    MessageType.TERMINATE: frozenset({MessageType.TERMINATED}),
    MessageType.QUERY: frozenset({MessageType.STATE}),
}
"""Which answers each request may get; any other is the other side's fault."""


def type_of(body: Body) -> MessageType:
    """The message type that carries `body`."""
    return next(kind for kind, cls in BODIES.items() if isinstance(body, cls))
