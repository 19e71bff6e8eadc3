"""One negotiation as one side knows it, and what it claims. `events` move it, `effects` are what it owes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from meetme.model.addresses import Address, Prefix
from meetme.model.agreement import Agreement, MemberId, Role
from meetme.model.errors import Problem
from meetme.negotiator.addressing import Offer
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
    """How the data plane does, by the last probes: median round trip in milliseconds, loss as a share of 1."""

    state: HealthState
    rtt_ms: float | None
    loss: float
    since: datetime | None = None
    """When it came to this state, by the own clock."""
    reason: Problem | None = None
    """Why it is not up."""


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
    change: int = 0
    """Which change of the agreement it is about; 0: the negotiation itself."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a side wants of an agreement that is in force; None: as it is."""

    local_subnets: tuple[Prefix, ...] | None = None
    private_networks: tuple[Prefix, ...] | None = None
    mtu: int | None = None


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
    """The peer has nothing of it any more."""
    circuit_released: float | None = None
    """When the circuit was given back: from then on the quarantine ends by itself."""
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
    wish: Wish = Wish()
    """What this side wants other than its request said when the negotiation began."""

    # changing an active agreement (rules in `changing`)
    change: Negotiation | None = None
    """The change that is under way, or what became of the last one that failed: a negotiation inside this one."""
    changes: int = 0
    """The number of the last change that was tried."""
    adopted: int = 0
    """The number of the change that led to the agreement in force; 0: none."""
    wanted: Wish | None = None
    """Responder: what its own side wants. It asks the initiator, who drives."""
    wishes: int = 0
    """Responder: how often it has asked."""
    peer_wants: bool = False
    """Initiator: the peer has asked for a change that is to begin once the present one is over."""
    leaving: tuple[Agreement, ...] = ()
    """Agreements that are not in force, of which something may be on the device until the one in force is confirmed."""
    number: int = 0
    """Of a change: which one it is. 0: this is the negotiation itself."""
    base: Agreement | None = None
    """Of a change: the agreement in force that it starts from."""

    def message(self, kind: MessageType) -> UUID:
        """The id of an own message: the same for every repetition, so that the peer can tell them."""
        counts = {
            MessageType.PROPOSE: self.round,
            MessageType.QUERY: self.queries,
            MessageType.CHANGE: self.wishes,
            MessageType.TERMINATE: int(self.device is Device.ABSENT),  # it says whether anything is left there
        }
        # A store that was restored from a backup may count a change twice, but not at the same time.
        about = uuid5(self.id, f"change {self.number} {self.started}") if self.number else self.id
        return uuid5(about, f"{self.role}/{kind}/{counts.get(kind, 0)}")


@dataclass(frozen=True, slots=True)
class Claim:
    """Something of this side's that no other negotiation may use: a prefix, a port, a circuit.

    A `local` prefix is one that this side announces: others may announce it too, but use it for nothing else.
    """

    kind: str
    """`prefix | local | port | circuit`"""
    value: str
    prefix: Prefix | None = None
