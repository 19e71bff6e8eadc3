"""The words of the catalogue: what a service is, what reaching it takes, and where an order stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from meetme.model.agreement import MemberId


class Connectivity(StrEnum):
    """What has to be built so that the buyer reaches the service (thesis section 6.3)."""

    NONE = "none"
    """Nothing: it is reached in another way, which the offer describes."""
    L2 = "l2"
    """A circuit between a port of the buyer and one of the seller."""
    L3 = "l3"
    """A circuit, and an agreement about addresses and routes over it."""


class Party(StrEnum):
    """On which side of an order a member stands."""

    BUYER = "buyer"
    SELLER = "seller"

    @property
    def other(self) -> Party:
        """The opposite side."""
        return Party.SELLER if self is Party.BUYER else Party.BUYER


class State(StrEnum):
    """Where an order stands, at one of its two members."""

    PLACED = "placed"
    """The seller is asked."""
    APPROVING = "approving"
    """A person at the seller decides."""
    COMPOSING = "composing"
    """A way over the federation is looked for and reserved. At the seller: the buyer sees to it."""
    LINKING = "linking"
    """The exchanges build their segments. At the seller: its own end is looked up and made ready."""
    NEGOTIATING = "negotiating"
    """The two negotiators agree on layer 3."""
    VERIFYING = "verifying"
    """Packets are on their way to the service itself."""
    ACTIVE = "active"
    TERMINATING = "terminating"
    """Everything is taken back, in reverse; what it ends as is decided already (`Order.outcome`)."""
    TERMINATED = "terminated"
    """It was active, and has been taken back."""
    DECLINED = "declined"
    """The seller did not want it."""
    CANCELLED = "cancelled"
    """A person took it back before it was active."""
    FAILED = "failed"
    """Something in the middle did not work; nothing of it is left."""


ENDED = frozenset({State.TERMINATED, State.DECLINED, State.CANCELLED, State.FAILED})
UNDER_WAY = frozenset(
    {State.PLACED, State.APPROVING, State.COMPOSING, State.LINKING, State.NEGOTIATING, State.VERIFYING}
)
"""On the way to active."""


class Presence(StrEnum):
    """Whether a thing that an order needs is there: its circuit, its attachment, its negotiation."""

    ABSENT = "absent"
    MAKING = "making"
    """It is ordered; whether it exists is not known yet."""
    THERE = "there"
    LEAVING = "leaving"
    """It is being taken back."""
    SWEEPING = "sweeping"
    """It is gone, and looked for once more when no order for it can be on its way any longer."""
    GONE = "gone"


class What(StrEnum):
    """What an order has made for itself, in the order in which it is taken back."""

    NEGOTIATION = "negotiation"
    """By the own negotiator."""
    ATTACHMENT = "attachment"
    """Where the circuit lands: told to the own negotiator, from the own composer's word about the own end."""
    CIRCUIT = "circuit"
    """By the composer of the own exchange, for the buyer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was ordered, as the signed offer and the buyer's choice have it. Both sides keep the same."""

    offer: str
    """The offer's name at its seller."""
    version: int
    """Of the seller's listing that the buyer saw."""
    connectivity: Connectivity
    circuit_offer: UUID | None = None
    """The way over the federation that the buyer chose; None: the best."""
    exchange: MemberId | None = None
    """The exchange that has made that offer. None: whichever of the buyer's has the best way."""
    redundancy: str = "none"
    approval: bool = False
    """The offer says that a person at the seller decides."""
    words: str = ""
    """How a service that needs no connection is reached."""
