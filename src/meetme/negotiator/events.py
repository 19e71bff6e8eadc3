"""The events that move a negotiation: what a person, the peer, the device or the time has done.

Every event carries `at`, epoch seconds by the own clock: the rules never ask what time it is. Durations cross the wire,
points in time do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.model.addresses import Address
from meetme.model.agreement import Agreement, MemberId, Role
from meetme.model.errors import Problem
from meetme.model.members import MemberPolicy
from meetme.negotiator.addressing import Counter, Offer, Own
from meetme.negotiator.change_events import ChangeAsked as ChangeAsked
from meetme.negotiator.change_events import ChangeDue as ChangeDue
from meetme.negotiator.change_events import ChangeRefused as ChangeRefused
from meetme.negotiator.change_events import ChangeWanted as ChangeWanted
from meetme.negotiator.messages import Verified
from meetme.negotiator.negotiation import Attachment, Health
from meetme.negotiator.states import State


@dataclass(frozen=True, slots=True)
class Rival:
    """Another live negotiation for the same circuit at this side."""

    id: UUID
    role: Role
    state: State


@dataclass(frozen=True, slots=True)
class Start:
    """A person or a catalogue asks for an agreement."""

    at: float
    id: UUID
    peer: MemberId
    circuit: str
    order: str | None
    attachment: Attachment
    own: Own
    generation: int
    probe_target: Address | None = None


@dataclass(frozen=True, slots=True)
class ProposeReceived:
    """The peer's offer. `own`, `policy` and `rival` are read in the transaction that handles it."""

    at: float
    message: UUID
    id: UUID
    peer: MemberId
    circuit: str
    order: str | None
    attachment: Attachment
    own: Own
    generation: int
    offer: Offer
    policy: MemberPolicy
    agreements: int = 0
    """How many live agreements the peer has with us already."""
    rival: Rival | None = None
    base: int = 0
    """Of a change: the revision of the agreement that the peer starts from."""


@dataclass(frozen=True, slots=True)
class HoldReceived:
    """The responder agreed; its signature was verified. `own` is fresh."""

    at: float
    agreement: Agreement
    own: Own
    policy: MemberPolicy
    document: str | None = None
    """The agreement with the peer's signature. Carried for the shell, never read by the rules."""


@dataclass(frozen=True, slots=True)
class CounterReceived:
    """The responder needs another offer."""

    at: float
    counter: Counter
    own: Own


@dataclass(frozen=True, slots=True)
class RefuseReceived:
    """The responder refused."""

    at: float
    problems: tuple[Problem, ...]
    superseded_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class CommitReceived:
    """The initiator signed; its signature was verified."""

    at: float
    message: UUID
    agreement: Agreement
    document: str | None = None
    """The agreement with both signatures. Carried for the shell, never read by the rules."""


@dataclass(frozen=True, slots=True)
class CommittedReceived:
    """The responder's router is configured and probed."""

    at: float
    verified: Verified | None


@dataclass(frozen=True, slots=True)
class ConfirmReceived:
    """The initiator saw packets cross and asks for the decision."""

    at: float
    message: UUID
    verified: Verified | None


@dataclass(frozen=True, slots=True)
class ActiveReceived:
    """The responder decided: active."""

    at: float
    verified: Verified | None = None


@dataclass(frozen=True, slots=True)
class FailedReceived:
    """The responder has ended it."""

    at: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class TerminateReceived:
    """The peer takes it back."""

    at: float
    message: UUID
    reason: Problem | None = None
    undone: bool = False
    """Nothing of it is left on the peer's device."""


@dataclass(frozen=True, slots=True)
class TerminatedReceived:
    """The peer has taken it back."""

    at: float


@dataclass(frozen=True, slots=True)
class Handed:
    """An agreement of a higher revision than ours that the peer has in force; both signatures were verified."""

    agreement: Agreement
    document: str
    policy: MemberPolicy


@dataclass(frozen=True, slots=True)
class QueryReceived:
    """The peer tells where it stands and asks the same."""

    at: float
    message: UUID
    state: State | None
    """None: it does not know the negotiation."""
    revision: int
    agreed: int = 0
    """The revision of the agreement in force there; 0: there is none, or it does not tell."""
    changes: int = 0
    handed: Handed | None = None


@dataclass(frozen=True, slots=True)
class StateReceived:
    """The answer to an own query; state None: the peer does not know this negotiation."""

    at: float
    state: State | None
    revision: int
    agreed: int = 0
    changes: int = 0
    handed: Handed | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """The peer holds an active agreement that this side's store has lost; both signatures were verified."""

    at: float
    message: UUID
    agreement: Agreement
    role: Role
    attachment: Attachment
    generation: int
    document: str | None = None
    """The agreement with both signatures. Carried for the shell, never read by the rules."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """The peer's negotiation for the same circuit survives (glare)."""

    at: float
    by: UUID


@dataclass(frozen=True, slots=True)
class TerminateAsked:
    """A person or a catalogue takes it back."""

    at: float


@dataclass(frozen=True, slots=True)
class ReleaseAsked:
    """A person ends the quarantine on own responsibility."""

    at: float


@dataclass(frozen=True, slots=True)
class CircuitReleased:
    """The circuit under it is given back: whatever the peer still has, packets have no way any more."""

    at: float


@dataclass(frozen=True, slots=True)
class QuarantineOver:
    """The circuit was given back a day ago."""

    at: float


@dataclass(frozen=True, slots=True)
class Applied:
    """The device carries the intent."""

    at: float


@dataclass(frozen=True, slots=True)
class ApplyFailed:
    """The device does not, and is as it was before."""

    at: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class DeviceConfirmed:
    """The device's confirm timer is off."""

    at: float


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """There was nothing to confirm: the device had already rolled back."""

    at: float


@dataclass(frozen=True, slots=True)
class DeviceAhead:
    """The device refused the present order as older than one it has `seen`: our store was restored from a backup."""

    at: float
    seen: int


@dataclass(frozen=True, slots=True)
class Removed:
    """Nothing of it is on the device, verified; but for what the device cannot take back."""

    at: float
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probed:
    """Packets crossed. `verified` None: this side's configurator cannot probe."""

    at: float
    verified: Verified | None
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    """They did not."""

    at: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class HealthTurned:
    """The data plane of an active agreement is up, degraded or down, as it was not before."""

    at: float
    health: Health


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time for the present state is over. `cause`: why the last attempt at what is still owed failed, if it did."""

    at: float
    cause: Problem | None = None


@dataclass(frozen=True, slots=True)
class CompareDue:
    """Time to compare with the peer."""

    at: float


@dataclass(frozen=True, slots=True)
class OfChange:
    """An event that is about a change, and not about the negotiation itself."""

    number: int
    event: Event

    @property
    def at(self) -> float:
        """When it happened."""
        return self.event.at


Event = (
    Start
    | ProposeReceived
    | HoldReceived
    | CounterReceived
    | RefuseReceived
    | CommitReceived
    | CommittedReceived
    | ConfirmReceived
    | ActiveReceived
    | FailedReceived
    | TerminateReceived
    | TerminatedReceived
    | QueryReceived
    | StateReceived
    | Restored
    | Superseded
    | TerminateAsked
    | ReleaseAsked
    | CircuitReleased
    | QuarantineOver
    | Applied
    | ApplyFailed
    | DeviceConfirmed
    | DeviceLost
    | DeviceAhead
    | Removed
    | Probed
    | ProbeFailed
    | HealthTurned
    | Deadline
    | CompareDue
    | ChangeAsked
    | ChangeWanted
    | ChangeRefused
    | ChangeDue
    | OfChange
)
