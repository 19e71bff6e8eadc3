"""Composers and negotiators that are values in memory: what orders are tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import UUID

from meetme.catalog.offers import Offer
from meetme.catalog.order import End, Order, Reach
from meetme.catalog.sight import Sight
from meetme.catalog.stray_views import Made
from meetme.catalog.underlay import CircuitStanding, NegotiationStanding, News
from meetme.catalog.ways import Ways
from meetme.catalog.words import What
from meetme.composer.topology_views import TopologyView
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem, Refused, Unreachable
from meetme.negotiator.negotiation import Health
from meetme.runtime.diagnosis import Finding


class Trouble(StrEnum):
    """What goes wrong."""

    CIRCUIT_REFUSED = "circuit refused"
    CIRCUIT_FAILS = "circuit fails"
    PORT_UNKNOWN = "port unknown"
    NEGOTIATION_FAILS = "negotiation fails"
    SERVICE_SILENT = "service silent"


_EVENTS = ("held", "proposed", "committed", "active", "failed")
"""How far something has got, in order."""


@dataclass
class FakeWorld:
    """What all members share: circuits and negotiations by order, attachments by member and order."""

    circuits: dict[UUID, str] = field(default_factory=dict)
    negotiations: dict[UUID, str] = field(default_factory=dict)
    attachments: set[tuple[MemberId, UUID]] = field(default_factory=set)
    made: list[tuple[What, UUID]] = field(default_factory=list)
    """Everything that was ever made, in order."""
    taken_back: list[tuple[What, UUID]] = field(default_factory=list)
    trouble: dict[MemberId, Trouble] = field(default_factory=dict)
    stuck: set[What] = field(default_factory=set)
    """What refuses to be taken back."""
    away: set[MemberId] = field(default_factory=set)
    """Members whose composer and negotiator do not answer."""
    ways: Ways = field(default_factory=Ways)
    """To every offer. None: the fake federation has one way alone, which nobody has to choose."""
    sight: Sight = field(default_factory=Sight)
    """Of every order."""
    reach: Reach = field(default_factory=lambda: Reach(prefix="172.16.0.0/24"))
    """How every service is reached."""
    strays: dict[str, Made] = field(default_factory=dict)
    """What somebody has made for orders, by its circuit."""
    held: set[What] = field(default_factory=set)
    """What is made no further for now."""

    @property
    def empty(self) -> bool:
        """Nothing of any order is left."""
        return not (self.circuits or self.negotiations or self.attachments)


class FakeUnderlay:
    """One member's share of the world (`underlay.Underlay`)."""

    def __init__(self, world: FakeWorld, me: MemberId) -> None:
        self._world = world
        self._me = me

    def _check(self) -> None:
        if self._me in self._world.away:
            raise Unreachable("composer_unreachable", "composer: must be reachable")

    def _has(self, trouble: Trouble) -> bool:
        return self._world.trouble.get(self._me) is trouble

    async def ways(self, offer: Offer, seller: MemberId, redundancy: str | None = None) -> Ways:
        """Those of the world."""
        self._check()
        return self._world.ways

    async def make_circuit(self, order: Order) -> CircuitStanding:
        """Have it built, once for each order."""
        self._check()
        if self._has(Trouble.CIRCUIT_REFUSED):
            raise Refused("path_none", "circuit: must have a way through the federation")
        if order.id not in self._world.circuits:
            self._world.circuits[order.id] = "held"
            self._world.made.append((What.CIRCUIT, order.id))
        return await self.circuit(order) or CircuitStanding("", "gone")

    async def circuit(self, order: Order) -> CircuitStanding | None:
        """How it stands; each look finds it further on."""
        self._check()
        words = self._world.circuits.get(order.id)
        if words is None:
            return None
        shown = CircuitStanding(
            f"c-{order.id}",
            words,
            words in ("committed", "active"),
            words == "active",
            Problem("exchange_failed", "circuit: an exchange has failed") if words == "failed" else None,
        )
        fails = self._has(Trouble.CIRCUIT_FAILS)
        if What.CIRCUIT in self._world.held:
            return shown
        further = {"held": "committed", "committed": "failed" if fails else "active"}
        self._world.circuits[order.id] = further.get(words, words)
        return shown

    async def remove_circuit(self, order: Order) -> bool:
        """Have it taken back: at once, unless it is stuck."""
        self._check()
        return self._gone(What.CIRCUIT, order, order.id in self._world.circuits)

    async def attach(self, order: Order) -> End:
        """Find the own end, and note where it lands."""
        self._check()
        if self._has(Trouble.PORT_UNKNOWN):
            raise Refused("port_unknown", "port: must be one that the settings know")
        if (self._me, order.id) not in self._world.attachments:
            self._world.attachments.add((self._me, order.id))
            self._world.made.append((What.ATTACHMENT, order.id))
        return End(MemberId("ixp"), "p1", 100, 1500)

    async def detach(self, order: Order) -> None:
        """Forget where it lands."""
        self._check()
        self._world.attachments.discard((self._me, order.id))

    async def make_negotiation(self, order: Order) -> NegotiationStanding:
        """Start it, once for each order."""
        self._check()
        if order.id not in self._world.negotiations:
            self._world.negotiations[order.id] = "proposed"
            self._world.made.append((What.NEGOTIATION, order.id))
        return await self.negotiation(order) or NegotiationStanding("", "gone")

    async def negotiation(self, order: Order) -> NegotiationStanding | None:
        """How it stands; each look finds it further on."""
        self._check()
        words = self._world.negotiations.get(order.id)
        if words is None:
            return None
        if words == "proposed" and What.NEGOTIATION not in self._world.held:
            fails = self._has(Trouble.NEGOTIATION_FAILS)
            self._world.negotiations[order.id] = "failed" if fails else "active"
        ended = Problem("probe_unanswered", "negotiation: no packet crossed") if words == "failed" else None
        reach = self._world.reach if words == "active" else None
        return NegotiationStanding(f"n-{order.id}", words, words == "active", reach, ended)

    async def end_negotiation(self, order: Order) -> bool:
        """Have it taken back: at once, unless it is stuck."""
        self._check()
        return self._gone(What.NEGOTIATION, order, order.id in self._world.negotiations)

    async def verify(self, order: Order) -> Reach:
        """Whether the service answers."""
        self._check()
        if self._has(Trouble.SERVICE_SILENT):
            raise Refused("service_unanswered", "service: must answer at its address")
        return replace(self._world.reach, rtt_ms=1.0)

    async def news(self, order: Order, what: What, seen: int) -> News | None:
        """How it stands, at once: whoever sees nothing new in it looks for itself from then on."""
        standing = await (self.circuit(order) if what is What.CIRCUIT else self.negotiation(order))
        return None if standing is None else News(standing, _EVENTS.index(standing.words) + 1)

    async def sight(self, order: Order) -> Sight:
        """That of the world."""
        if self._me in self._world.away:
            problem = Unreachable("composer_unreachable", "composer: must be reachable").problem
            return Sight(problems=(problem,))
        return self._world.sight

    async def looks(self) -> Sequence[Finding]:
        """Whether it is there."""
        away = self._me in self._world.away
        return [Finding("exchange", not away, "does not answer" if away else "answers", "start it" if away else "")]

    async def made(self) -> Sequence[Made]:
        """The strays of the world."""
        self._check()
        return tuple(self._world.strays.values())

    async def take_back(self, made: Made) -> bool:
        """Have it taken back: at once, unless circuits are stuck."""
        self._check()
        if What.CIRCUIT in self._world.stuck:
            return False
        self._world.strays.pop(made.circuit, None)
        return True

    async def healths(self) -> Mapping[str, Health]:
        """That of the world, for every negotiation."""
        self._check()
        health = self._world.sight.health
        return {f"n-{id}": health for id in self._world.negotiations} if health is not None else {}

    async def federation(self) -> TopologyView | None:
        """That of the world."""
        return None if self._me in self._world.away else self._world.sight.federation

    def _gone(self, what: What, order: Order, there: bool) -> bool:
        if what in self._world.stuck and there:
            return False
        held = self._world.circuits if what is What.CIRCUIT else self._world.negotiations
        if held.pop(order.id, None) is not None:
            self._world.taken_back.append((what, order.id))
        return True
