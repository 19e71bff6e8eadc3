"""What an order needs from the rest of its member: circuits from the exchanges, agreements from the own negotiator.

`Underlay` is the one seam between orders and everything beneath them; `fake.FakeUnderlay` stands in for it in tests.
Everything is found by the order that it belongs to, so that nothing is made twice and nothing is lost: whoever does not
know whether it was made looks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from meetme.catalog.offers import Offer
from meetme.catalog.order import End, Order, Reach
from meetme.catalog.sight import Sight
from meetme.catalog.stray_views import Made
from meetme.catalog.ways import Ways
from meetme.catalog.words import What
from meetme.composer.topology_views import TopologyView
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem
from meetme.negotiator.negotiation import Health
from meetme.runtime.diagnosis import Finding

NEVER_OURS = "circuit_foreign"
"""The code of a refusal that was true all along: the circuit is not of this order, so no attempt can have succeeded."""


@dataclass(frozen=True, slots=True)
class CircuitStanding:
    """How a circuit stands, in the words of the composer that was asked."""

    id: str
    words: str
    """Its state there."""
    committed: bool = False
    """All of it is reserved."""
    built: bool = False
    """Every exchange carries it."""
    ended: Problem | None = None
    """It has ended, or was never made: why."""


@dataclass(frozen=True, slots=True)
class NegotiationStanding:
    """How a negotiation stands, in the words of the own negotiator."""

    id: str
    words: str
    active: bool = False
    reach: Reach | None = None
    """How the other side's network is reached, once it is active."""
    ended: Problem | None = None


@dataclass(frozen=True, slots=True)
class News:
    """How a circuit or a negotiation stands, up to and with event `seen` of whoever has it (0: it does not say)."""

    standing: CircuitStanding | NegotiationStanding
    seen: int


class Underlay(Protocol):
    """Every method may be called again with the same order, and then does no more than it takes.

    Raises Unreachable where it is not known what became of it; any other MeetMeError is a refusal for good.
    """

    async def ways(self, offer: Offer, seller: MemberId, redundancy: str | None = None) -> Ways:
        """Every way to an offer, the best first. Nothing is held."""

    async def make_circuit(self, order: Order) -> CircuitStanding:
        """Have it built, once for each order."""

    async def circuit(self, order: Order) -> CircuitStanding | None:
        """How it stands. None: the exchange knows of none for this order."""

    async def remove_circuit(self, order: Order) -> bool:
        """Have it taken back. False: that is under way."""

    async def attach(self, order: Order) -> End:
        """Find the own end at the own exchange; tell the own negotiator, where layer 3 is wanted, where it lands."""

    async def detach(self, order: Order) -> None:
        """Have the own negotiator forget where it lands."""

    async def make_negotiation(self, order: Order) -> NegotiationStanding:
        """Start it, once for each order."""

    async def negotiation(self, order: Order) -> NegotiationStanding | None:
        """How it stands, whoever started it. None: there is none over the order's circuit."""

    async def end_negotiation(self, order: Order) -> bool:
        """Have it taken back. False: that is under way."""

    async def verify(self, order: Order) -> Reach:
        """See that packets reach the service. Raises Refused where they do not."""

    async def news(self, order: Order, what: What, seen: int) -> News | None:
        """How the order's circuit or negotiation stands: as soon as something happens to it behind event `seen`, or
        after some seconds. None: nobody tells, it has to be looked for.
        """

    async def sight(self, order: Order) -> Sight:
        """What is seen of it from near. Raises nothing: what could not be seen is said in it."""

    async def looks(self) -> Sequence[Finding]:
        """Whether what circuits and agreements are had from answers, and knows what the settings name."""

    async def made(self) -> Sequence[Made]:
        """Everything that orders of this member have made, as far as it is still there, for whichever order."""

    async def take_back(self, made: Made) -> bool:
        """Have it taken back. False: that is under way, and is gone on with by the next call."""

    async def healths(self) -> Mapping[str, Health]:
        """How the data plane of every agreement does, by the id of its negotiation."""

    async def federation(self) -> TopologyView | None:
        """The exchanges and their links, as an own exchange knows them. None: none of them tells."""
