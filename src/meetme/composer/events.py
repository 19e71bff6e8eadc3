"""The events that move a circuit: what a person, another composer, the own exchange or the time has done.

Every event carries `at`, epoch seconds by the own clock: the rules never ask what time it is. One that is about a leg
carries `path` and `attempt`. `ledger` is read in the transaction that delivers the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.composer.capacity import Ledger
from meetme.composer.circuit import CircuitRequest, Element, MemberId, Reservation, Route, State
from meetme.composer.messages import Handed, HoldBody
from meetme.model.errors import Problem

# --- at the head: about the circuit -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Somebody orders a circuit at this composer. `head` is the composer of the exchange where end a is.

    `routes`: of the offer that was taken; none: they are still to be found.
    """

    at: float
    id: UUID
    me: MemberId
    head: MemberId
    request: CircuitRequest
    ordered_by: MemberId
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class PassedOn:
    """Another composer was asked and has passed the request on (`hold` of path 0)."""

    at: float
    id: UUID
    me: MemberId
    sender: MemberId
    message: UUID
    body: HoldBody
    objection: Problem | None = None
    """Why it may not: a port that nobody knows, no mandate for its member."""


@dataclass(frozen=True, slots=True)
class Composed:
    """Routes were found for the paths that `Compose` named, or for fewer where redundancy is best effort."""

    at: float
    routes: tuple[Route, ...]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class ComposeFailed:
    """There is no route that keeps to the request and the exclusions."""

    at: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class SearchDue:
    """Time to look for routes again: what was in the way may be gone."""

    at: float


# --- a leg: from the previous and the next composer -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HoldReceived:
    """The previous composer asks for this exchange's part."""

    at: float
    id: UUID
    me: MemberId
    sender: MemberId
    message: UUID
    path: int
    attempt: int
    body: HoldBody
    ledger: Ledger
    objection: Problem | None = None
    """What this side has against it, apart from capacity: a port that leads elsewhere, no mandate for its member."""
    given_up: int = 0
    """The highest attempt at this path whose `release` has overtaken its `hold`."""


@dataclass(frozen=True, slots=True)
class HeldReceived:
    """The next composer holds its part."""

    at: float
    path: int
    attempt: int
    label: int | None
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class CommitReceived:
    """Everything is reserved from the next composer to the far end."""

    at: float
    sender: MemberId
    message: UUID
    path: int
    attempt: int
    trace: tuple[Reservation, ...]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class ActivateReceived:
    """The previous composer says: build."""

    at: float
    sender: MemberId
    message: UUID
    path: int
    attempt: int
    trace: tuple[Reservation, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class ActivatedReceived:
    """Every segment from the next composer to the far end is in production."""

    at: float
    path: int
    attempt: int


@dataclass(frozen=True, slots=True)
class RefusedReceived:
    """A neighbour refused a message, or its answer was none. Of `hold` by the head where path is 0."""

    at: float
    path: int
    attempt: int
    peer: MemberId
    problem: Problem
    element: Element | None = None
    whole: bool = False
    seen: int = 0


@dataclass(frozen=True, slots=True)
class AcceptedReceived:
    """The head has taken on what was passed on to it."""

    at: float


@dataclass(frozen=True, slots=True)
class ReleaseReceived:
    """A neighbour gives the leg up. Path 0: the composer that was asked takes the circuit back."""

    at: float
    sender: MemberId
    message: UUID
    path: int
    attempt: int
    problem: Problem | None = None
    element: Element | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class ReleasedReceived:
    """Nothing of the leg is left at the neighbour and behind it."""

    at: float
    path: int
    attempt: int
    peer: MemberId


@dataclass(frozen=True, slots=True)
class QueryReceived:
    """A neighbour tells where it stands and asks the same."""

    at: float
    sender: MemberId
    message: UUID
    path: int
    attempt: int
    state: State | None
    whole: State


@dataclass(frozen=True, slots=True)
class StateReceived:
    """The answer to an own query; `state` None: the neighbour does not know the leg."""

    at: float
    path: int
    attempt: int
    peer: MemberId
    state: State | None
    whole: State | None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """A neighbour hands over an active leg that this side's store has lost (a backup was restored).

    `found`: the own exchange carries a segment of that name, which nobody but this composer can have ordered.
    """

    at: float
    id: UUID
    me: MemberId
    sender: MemberId
    message: UUID
    path: int
    attempt: int
    handed: Handed
    whole: State
    found: bool
    ledger: Ledger


# --- a leg: from the own exchange -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Built:
    """The own segment is in production, with these VLANs on its two ports (None: the whole port)."""

    at: float
    path: int
    attempt: int
    in_vlan: int | None
    out_vlan: int | None


@dataclass(frozen=True, slots=True)
class BuildFailed:
    """The own exchange has refused for good."""

    at: float
    path: int
    attempt: int
    problem: Problem
    element: Element | None = None
    """What to leave out of the next route; None: this exchange."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Nothing of the own segment is left at the exchange, verified."""

    at: float
    path: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at the exchange: whether the own segment is (still) in production."""

    at: float
    path: int
    attempt: int
    ready: bool
    problem: Problem | None = None


# --- people and time --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReleaseAsked:
    """A person takes the circuit back: the member at either end, or an operator of any exchange on its way."""

    at: float


@dataclass(frozen=True, slots=True)
class LetGoAsked:
    """A person ends the quarantine of what neighbours never gave back, on own responsibility."""

    at: float


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time for the leg's present state is over. `cause`: why what is still owed was in vain so far."""

    at: float
    path: int
    attempt: int
    cause: Problem | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The next composer had its time to answer `hold`."""

    at: float
    path: int
    attempt: int
    cause: Problem | None = None


@dataclass(frozen=True, slots=True)
class CompareDue:
    """Time to compare with the neighbours, and with the exchange."""

    at: float


Event = (
    Start
    | PassedOn
    | Composed
    | ComposeFailed
    | SearchDue
    | HoldReceived
    | HeldReceived
    | CommitReceived
    | ActivateReceived
    | ActivatedReceived
    | RefusedReceived
    | AcceptedReceived
    | ReleaseReceived
    | ReleasedReceived
    | QueryReceived
    | StateReceived
    | Restored
    | Built
    | BuildFailed
    | Removed
    | Seen
    | ReleaseAsked
    | LetGoAsked
    | Deadline
    | Unanswered
    | CompareDue
)
