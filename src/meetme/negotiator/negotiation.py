"""The values the protocol works on: a negotiation, the events that move it, the effects it owes.

Every event carries `at`, epoch seconds by the own clock: the rules never ask what time it is. Durations cross the wire,
points in time do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid5

from meetme.model.addresses import Address, Prefix
from meetme.model.agreement import Agreement, MemberId, Role
from meetme.model.errors import Problem
from meetme.model.members import MemberPolicy
from meetme.negotiator.addressing import Counter, Offer, Own
from meetme.negotiator.messages import Body, MessageType, Verified
from meetme.negotiator.states import Device, State


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where a circuit lands: a port of one of the own border routers."""

    router: str
    port: str
    vlan: int | None = None
    mtu: int = 1500
    peer: MemberId | None = None
    """Whom the circuit leads to: nobody else may negotiate over it. None: whoever names it."""


class HealthState(StrEnum):
    """Health of the data plane of an active agreement, apart from the negotiation's state."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Health:
    """The last probe's outcome: round trip in milliseconds, loss as a share of 1."""

    state: HealthState
    rtt_ms: float | None
    loss: float


@dataclass(frozen=True, slots=True)
class StepTime:
    """A finished step, for people: seconds since the negotiation began here."""

    name: str
    seconds: float
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the peer's message `to`, written with the state it speaks of."""

    to: UUID
    body: Body


@dataclass(frozen=True, slots=True)
class Negotiation:
    """One negotiation, as one side knows it."""

    id: UUID
    role: Role
    me: MemberId
    peer: MemberId
    circuit: str
    order: str | None
    attachment: Attachment
    generation: int
    """Fencing number of the last order to the device; grows with each."""
    started: float
    deadline: float | None = None
    """Until when the next move has to come, by the own clock. The timer only wakes us: what comes later is too late."""
    state: State = State.PROPOSED
    revision: int = 0
    round: int = 0
    queries: int = 0
    offer: Offer | None = None
    agreement: Agreement | None = None
    document: str | None = None
    """The signed agreement (JWS, JSON). Written by the shell, never read by the rules."""
    device: Device = Device.ABSENT
    verified: Verified | None = None
    probe_done: bool = False
    peer_ready: bool = False
    """Initiator: `committed` has arrived."""
    peer_verified: Verified | None = None
    peer_ended: bool = False
    peer_lost: bool = False
    """The peer said that it does not know this negotiation: the next query carries the signed agreement."""
    released: bool = False
    pending: tuple[UUID, ...] = ()
    """Messages of the peer that are answered when the work they asked for is done."""
    problem: Problem | None = None
    superseded_by: UUID | None = None
    left_on_device: tuple[str, ...] = ()
    health: Health | None = None
    steps: tuple[StepTime, ...] = ()
    probe_target: Address | None = None
    answers: tuple[Answer, ...] = ()
    """What the last event made this side answer. Not part of the standing state."""

    def message(self, kind: MessageType) -> UUID:
        """The id of an own message: the same for every repetition, so that the peer can tell them."""
        count = {MessageType.PROPOSE: self.round, MessageType.QUERY: self.queries}.get(kind, 0)
        return uuid5(self.id, f"{self.role}/{kind}/{count}")


# --- events -----------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class TerminatedReceived:
    """The peer has taken it back."""

    at: float


@dataclass(frozen=True, slots=True)
class QueryReceived:
    """The peer tells where it stands and asks the same."""

    at: float
    message: UUID
    state: State
    revision: int


@dataclass(frozen=True, slots=True)
class StateReceived:
    """The answer to an own query; state None: the peer does not know this negotiation."""

    at: float
    state: State | None
    revision: int


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
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    """They did not."""

    at: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time for the present state is over. `cause`: why the last attempt at what is still owed failed, if it did."""

    at: float
    cause: Problem | None = None


@dataclass(frozen=True, slots=True)
class CompareDue:
    """Time to compare with the peer, and to look at the data plane."""

    at: float


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
    | Applied
    | ApplyFailed
    | DeviceConfirmed
    | DeviceLost
    | DeviceAhead
    | Removed
    | Probed
    | ProbeFailed
    | Deadline
    | CompareDue
)


# --- effects ----------------------------------------------------------------------------------------------------------


class Verb(StrEnum):
    """What the device is told."""

    APPLY = "apply"
    CONFIRM = "confirm"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Send:
    """Send the message of this type to the peer, and again until it is answered. Its body follows from the state."""

    type: MessageType
    message: UUID
    key: str = "send"


@dataclass(frozen=True, slots=True)
class Program:
    """Tell the device. A later one replaces it: `generation` makes the device refuse the earlier one."""

    verb: Verb
    generation: int
    confirm_seconds: float | None = None
    after: float = 0.0
    key: str = field(default="device", init=False)


@dataclass(frozen=True, slots=True)
class Probe:
    """See whether packets cross, for at most `within` seconds."""

    within: float
    key: str = field(default="probe", init=False)


@dataclass(frozen=True, slots=True)
class Wake:
    """Deliver `Deadline` or `CompareDue` after so many seconds, unless replaced or cancelled by its key."""

    event: type[Deadline] | type[CompareDue]
    after: float

    @property
    def key(self) -> str:
        """One timer of each kind."""
        return f"timer:{self.event.__name__}"


@dataclass(frozen=True, slots=True)
class Cancel:
    """The effect with this key is owed no more."""

    key: str


Effect = Send | Program | Probe | Wake | Cancel


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step made: the new value, and what is owed from now on."""

    negotiation: Negotiation
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Something of this side's that no other negotiation may use: a prefix, a port, a circuit."""

    kind: str
    """`prefix | port | circuit`"""
    value: str
    prefix: Prefix | None = None
