"""Everything that can happen to an order. `at` is the time by the own clock, in epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.catalog.offers import Offer
from meetme.catalog.order import End, Reach
from meetme.catalog.words import State, Wanted, What
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem


@dataclass(frozen=True, slots=True)
class Placed:
    """A person at the buyer orders."""

    at: float
    id: UUID
    me: MemberId
    seller: MemberId
    wanted: Wanted
    offered: Offer | None = None
    """As the catalogue had it."""


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """The buyer asks. `refusal`: why the own rules do not let it order this, checked against the own offers."""

    at: float
    message: UUID
    id: UUID
    me: MemberId
    buyer: MemberId
    wanted: Wanted
    refusal: Problem | None = None
    seconds: float = 86_400.0
    """How long a person at the seller has to decide."""
    offered: Offer | None = None
    """The own offer; None: there is none of that name."""


@dataclass(frozen=True, slots=True)
class Decided:
    """At the seller: a person approves or declines."""

    at: float
    by: str
    problem: Problem | None = None
    """Why it is declined; None: it is approved."""


@dataclass(frozen=True, slots=True)
class ApprovedReceived:
    """The seller wants it."""

    at: float


@dataclass(frozen=True, slots=True)
class DeclinedReceived:
    """The seller does not want it."""

    at: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class PendingReceived:
    """A person at the seller decides."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class CircuitSeen:
    """The own composer says how the circuit stands."""

    at: float
    id: str
    standing: str
    """In the composer's words."""
    built: bool
    """Every exchange carries it."""
    committed: bool = False
    """All of it is reserved."""
    problem: Problem | None = None
    """It has ended, or could not be made: why."""


@dataclass(frozen=True, slots=True)
class Attached:
    """The own end is known, and the own negotiator knows where the circuit lands."""

    at: float
    end: End
    sure: bool = True
    """No earlier attempt can still be on its way."""


@dataclass(frozen=True, slots=True)
class NegotiationSeen:
    """The own negotiator says how the negotiation stands."""

    at: float
    id: str
    standing: str
    """In the negotiator's words."""
    active: bool
    reach: Reach | None = None
    problem: Problem | None = None
    """It has ended, or could not be begun: why."""


@dataclass(frozen=True, slots=True)
class MakingFailed:
    """What was to be made cannot be: the one who was asked has refused for good."""

    at: float
    what: What
    problem: Problem
    sure: bool = True
    """No earlier attempt can have made it, or still be on its way."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Packets reach the service, as far as this side can see."""

    at: float
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class VerifyFailed:
    """They do not, and not for want of trying."""

    at: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class Gone:
    """What was to be taken back is not there any more."""

    at: float
    what: What


@dataclass(frozen=True, slots=True)
class AttachReceived:
    """The buyer says which circuit it is."""

    at: float
    message: UUID
    circuit: str


@dataclass(frozen=True, slots=True)
class AttachedReceived:
    """The seller's end is ready."""

    at: float


@dataclass(frozen=True, slots=True)
class TerminateAsked:
    """A person at this side takes it back."""

    at: float


@dataclass(frozen=True, slots=True)
class TerminateReceived:
    """The other side takes it back."""

    at: float
    message: UUID
    reason: Problem | None = None


@dataclass(frozen=True, slots=True)
class TerminatedReceived:
    """Nothing of it is left at the other side."""

    at: float


@dataclass(frozen=True, slots=True)
class QueryReceived:
    """The other side says where it stands, and asks."""

    at: float
    message: UUID
    state: State | None


@dataclass(frozen=True, slots=True)
class StateReceived:
    """The other side says where it stands."""

    at: float
    state: State | None


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time for the present state is over. `cause`: why what is owed was in vain so far."""

    at: float
    cause: Problem | None = None


@dataclass(frozen=True, slots=True)
class PatienceOver:
    """What is being taken back takes long: the next thing need not wait for it any more."""

    at: float


@dataclass(frozen=True, slots=True)
class CompareDue:
    """Time to compare with the other side."""

    at: float


Event = (
    Placed
    | RequestReceived
    | Decided
    | ApprovedReceived
    | DeclinedReceived
    | PendingReceived
    | CircuitSeen
    | Attached
    | NegotiationSeen
    | MakingFailed
    | Verified
    | VerifyFailed
    | Gone
    | AttachReceived
    | AttachedReceived
    | TerminateAsked
    | TerminateReceived
    | TerminatedReceived
    | QueryReceived
    | StateReceived
    | Deadline
    | PatienceOver
    | CompareDue
)
