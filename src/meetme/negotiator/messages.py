"""What two negotiators say to each other: the type of each message and its body, as values.

A message travels in an envelope (`wire`) as one POST; the answer is the other side's message in the same envelope.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from meetme.model.agreement import Agreement
from meetme.model.errors import Problem
from meetme.negotiator.addressing import Counter, Offer
from meetme.negotiator.states import State


class MessageType(StrEnum):
    """Every type on the wire. The first six ask, the others answer."""

    PROPOSE = "propose"
    COMMIT = "commit"
    CONFIRM = "confirm"
    TERMINATE = "terminate"
    QUERY = "query"
    CHANGE = "change"
    HOLD = "hold"
    COUNTER = "counter"
    REFUSE = "refuse"
    COMMITTED = "committed"
    FAILED = "failed"
    ACTIVE = "active"
    TERMINATED = "terminated"
    STATE = "state"


class Verified(StrEnum):
    """How far packets were seen to cross: between the routers, or along the customers' path through the translation."""

    LINK = "link"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class ProposeBody:
    """The initiator's offer, and the order that it belongs to. A dry run holds nothing at either side."""

    offer: Offer
    order: str | None = None
    dry_run: bool = False
    base: int = 0
    """Of a change: the revision of the agreement that it starts from."""


@dataclass(frozen=True, slots=True)
class HoldBody:
    """The one agreement, its resources held for `seconds` by the responder's clock."""

    agreement: Agreement
    seconds: float


@dataclass(frozen=True, slots=True)
class CounterBody:
    """What the initiator has to know for its next offer."""

    counter: Counter


@dataclass(frozen=True, slots=True)
class RefuseBody:
    """Every reason. `superseded_by` names the negotiation that survives where both sides had started one."""

    problems: tuple[Problem, ...]
    superseded_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class CommitBody:
    """The agreement as the initiator signed it."""

    agreement: Agreement


@dataclass(frozen=True, slots=True)
class CommittedBody:
    """The responder's router is configured, and this is what it saw cross. None: it cannot probe."""

    verified: Verified | None


@dataclass(frozen=True, slots=True)
class ConfirmBody:
    """What the initiator saw cross."""

    verified: Verified | None


@dataclass(frozen=True, slots=True)
class FailedBody:
    """The negotiation has ended without becoming active here."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class ActiveBody:
    """The responder has decided: active."""

    verified: Verified | None


@dataclass(frozen=True, slots=True)
class TerminateBody:
    """`reason` is set where a failure, not a person, ends it; `undone`: the own device is clean already, verified.

    A peer that is told so lets go of everything once its own device is clean too; else it sends a message of its own.
    """

    reason: Problem | None = None
    undone: bool = False


@dataclass(frozen=True, slots=True)
class TerminatedBody:
    """Undone and verified at the side that answers."""


@dataclass(frozen=True, slots=True)
class QueryBody:
    """Where the asking side stands. `agreement` is sent along to a side that has lost it, or an older one."""

    state: State | None
    """None: it does not know the negotiation, but its router has a link of that name."""
    revision: int
    agreement: Agreement | None = None
    agreed: int = 0
    """The revision of the agreement in force; 0: there is none, or this side does not tell."""
    changes: int = 0
    """The number of the last change that was tried."""


@dataclass(frozen=True, slots=True)
class StateBody:
    """Where the answering side stands; None where it does not know the negotiation. The rest is as in `QueryBody`."""

    state: State | None
    revision: int
    agreement: Agreement | None = None
    agreed: int = 0
    changes: int = 0


@dataclass(frozen=True, slots=True)
class ChangeBody:
    """The responder's side wants the agreement changed; what it wants shows when the initiator proposes."""


Body = (
    ProposeBody
    | HoldBody
    | CounterBody
    | RefuseBody
    | CommitBody
    | CommittedBody
    | ConfirmBody
    | FailedBody
    | ActiveBody
    | TerminateBody
    | TerminatedBody
    | QueryBody
    | StateBody
    | ChangeBody
)

BODIES: dict[MessageType, type[Body]] = {
    MessageType.PROPOSE: ProposeBody,
    MessageType.HOLD: HoldBody,
    MessageType.COUNTER: CounterBody,
    MessageType.REFUSE: RefuseBody,
    MessageType.COMMIT: CommitBody,
    MessageType.COMMITTED: CommittedBody,
    MessageType.CONFIRM: ConfirmBody,
    MessageType.FAILED: FailedBody,
    MessageType.ACTIVE: ActiveBody,
    MessageType.TERMINATE: TerminateBody,
    MessageType.TERMINATED: TerminatedBody,
    MessageType.QUERY: QueryBody,
    MessageType.STATE: StateBody,
    MessageType.CHANGE: ChangeBody,
}

ANSWERS: dict[MessageType, frozenset[MessageType]] = {
    MessageType.PROPOSE: frozenset({MessageType.HOLD, MessageType.COUNTER, MessageType.REFUSE}),
    MessageType.COMMIT: frozenset({MessageType.COMMITTED, MessageType.FAILED}),
    MessageType.CONFIRM: frozenset({MessageType.ACTIVE, MessageType.FAILED}),
    MessageType.TERMINATE: frozenset({MessageType.TERMINATED}),
    MessageType.QUERY: frozenset({MessageType.STATE}),
    MessageType.CHANGE: frozenset({MessageType.STATE, MessageType.REFUSE}),
}
"""Which answers each request may get; any other is the peer's fault."""


def type_of(body: Body) -> MessageType:
    """The message type that carries `body`."""
    return next(kind for kind, cls in BODIES.items() if isinstance(body, cls))
