"""One order as one of its two members knows it. `events` move it by the table in `lifecycle`, `effects` are owed.

The buyer's server drives: it has the circuit composed and starts the negotiation. The seller's server approves, and
gets its own end ready. Each believes only itself about its own side: what there is it asks of its own composer and its
own negotiator.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

from meetme.catalog.messages import Body, MessageType
from meetme.catalog.offers import Offer
from meetme.catalog.words import Party, Presence, State, Wanted, What
from meetme.model.addresses import Address
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that was made for the order, and has to be taken back with it."""

    presence: Presence = Presence.ABSENT
    id: str | None = None
    """As whoever made it calls it."""
    standing: str = ""
    """What whoever made it said of it last, in its own words."""
    known: bool = False
    """It was seen to exist: once it is gone it does not come back."""
    late: bool = False
    """It takes long to go: the others need not wait for it."""

    @property
    def settled(self) -> bool:
        """Nothing of it is there, and nothing is on its way."""
        return self.presence in (Presence.ABSENT, Presence.GONE)

    @property
    def first(self) -> bool:
        """It has to go before the next one may."""
        return self.presence is Presence.LEAVING and not self.late


@dataclass(frozen=True, slots=True)
class StepTime:
    """A finished step: seconds since the order began at this side."""

    name: str
    seconds: float
    ok: bool = True


@dataclass(frozen=True, slots=True)
class End:
    """The own end of the order's circuit, as the own exchange gives it."""

    exchange: MemberId
    port: str
    """The exchange's name for the own port."""
    vlan: int | None
    mtu: int


@dataclass(frozen=True, slots=True)
class Reach:
    """How the buyer reaches the service."""

    address: Address | None = None
    """Where it answers, as the buyer's network addresses it: behind the alias, where there is translation."""
    prefix: str | None = None
    """The seller's network, as the buyer's addresses it."""
    rtt_ms: float | None = None
    words: str = ""
    """Of a service that needs no connection: what the offer says."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the message `to` of the other side, written with the state it speaks of."""

    to: UUID
    body: Body


@dataclass(frozen=True, slots=True)
class Order:
    """One order, as one side knows it."""

    id: UUID
    party: Party
    me: MemberId
    partner: MemberId
    wanted: Wanted
    began: float
    """Epoch seconds, by the own clock."""
    offered: Offer | None = None
    """The offer as this side knew it when the order began: what it says counts for this order."""
    state: State = State.PLACED
    revision: int = 0
    """Grows with each change of the state."""
    outcome: State | None = None
    """What it ends as, once nothing of it is left. Set while it is `terminating`."""
    problem: Problem | None = None
    deadline: float | None = None
    """Until when the present state has to be over, by the own clock."""

    circuit: Thing = Thing()
    """Of the buyer. The seller keeps its name alone."""
    attachment: Thing = Thing()
    """Where the circuit lands, as told to the own negotiator; each side its own."""
    negotiation: Thing = Thing()
    end: End | None = None
    partner_ready: bool = False
    """The seller has its end ready."""
    partner_knows: bool = False
    """The other side knows that it is over, or never heard of it."""
    reach: Reach | None = None
    decided_by: str | None = None
    """Who approved or declined it, at the seller: a person's name, or `policy`."""

    steps: tuple[StepTime, ...] = ()
    pending: tuple[UUID, ...] = ()
    """Messages of the other side that are answered when what they ask for is done."""
    answers: tuple[Answer, ...] = ()
    """What the last event made this side answer. Not part of the standing state."""
    asked: int = 0
    """How often the same question was asked anew: each has a message id of its own."""

    def thing(self, what: What) -> Thing:
        """What was made for it, by its name."""
        thing: Thing = getattr(self, what)
        return thing

    @property
    def clean(self) -> bool:
        """Nothing of it is left at this side."""
        return all(self.thing(what).settled for what in What)

    def message(self, kind: MessageType) -> UUID:
        """The id of an own message: the same for every repetition, so that the other side can tell them."""
        count = self.asked if kind in (MessageType.REQUEST, MessageType.QUERY) else 0
        return uuid5(self.id, f"{self.me} {kind} {count}")
