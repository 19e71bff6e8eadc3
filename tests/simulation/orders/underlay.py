"""What one catalog process has of the ground (`catalog.underlay.Underlay`): requests that are lost, late, or refused.

What was given up may still arrive: a request is on its way for up to GHOST_SECONDS, whoever has died meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from meetme.catalog.offers import Offer
from meetme.catalog.order import End, Order, Reach
from meetme.catalog.underlay import CircuitStanding, NegotiationStanding
from meetme.catalog.ways import Ways
from meetme.catalog.words import Connectivity, Party, What
from meetme.model.agreement import MemberId
from meetme.model.errors import MeetMeError, Problem, Unreachable
from tests.simulation.orders import invariants
from tests.simulation.orders.ground import OVER, Circuit, Talk

if TYPE_CHECKING:
    from tests.simulation.orders.member import Catalog

T = TypeVar("T")
TIMEOUT = 4.0
GHOST_SECONDS = 10.0


class SimulatedUnderlay:
    """One process's way to its composers and its negotiator."""

    def __init__(self, catalog: Catalog) -> None:
        self._world = catalog.world
        self._ground = catalog.world.ground
        self._member = catalog.member
        self._me = catalog.member.id

    async def _ask(self, what: str, order: Order, work: Callable[[], T], *, changes: bool = True) -> T:
        world = self._world
        where = f"{self._me} {what} {world.label(order.id)}"
        if self._me in world.away:
            raise Unreachable("composer_unreachable", "composer: must be reachable")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        rarely = "" if changes else " to look"

        def arrives() -> None:
            try:
                result: T | MeetMeError = work()
            except MeetMeError as error:
                result = error
            if changes:
                world.trace(f"{where}: {result}")
            if not world.strikes(f"underlay answer lost{rarely}", where):
                world.later(world.chance.amount(where, 0.001, 0.02), lambda: _answer(answer, result))

        delay = world.chance.amount(where, 0.001, 0.03)
        if world.strikes(f"underlay late{rarely}", where):
            delay = world.chance.amount(where, TIMEOUT, GHOST_SECONDS)
        if not world.strikes(f"underlay request lost{rarely}", where):
            world.later(delay, arrives)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await answer
        except TimeoutError:
            raise Unreachable("composer_timeout", "composer: no answer in time") from None

    # --- circuits -----------------------------------------------------------------------------------------------------

    async def ways(self, offer: Offer, seller: MemberId, redundancy: str | None = None) -> Ways:
        """There is one, which nobody has to choose."""
        return Ways()

    async def make_circuit(self, order: Order) -> CircuitStanding:
        """Have it built."""
        known = await self.circuit(order)
        if known is not None:
            return known
        self._world.check(invariants.not_made_again(self._member, order, What.CIRCUIT))
        return await self._ask(
            "orders a circuit",
            order,
            lambda: _circuit(self._ground.order(order.id, self._me, order.partner)),
        )

    async def circuit(self, order: Order) -> CircuitStanding | None:
        """How it stands."""

        def look() -> CircuitStanding | None:
            found = self._ground.circuit(order.id, order.circuit.id)
            return None if found is None else _circuit(found)

        return await self._ask("looks at the circuit", order, look, changes=False)

    async def remove_circuit(self, order: Order) -> bool:
        """Have it taken back."""

        def remove() -> bool:
            found = self._ground.circuit(order.id, order.circuit.id)
            if found is None or not found.there:
                return True
            if found.state != "releasing":
                self._world.check(invariants.taken_back_in_reverse(self._world, self._member, order, What.CIRCUIT))
            self._ground.release(found)
            return False

        return await self._ask("gives the circuit back", order, remove)

    # --- attachments --------------------------------------------------------------------------------------------------

    async def attach(self, order: Order) -> End:
        """Find the own end, and tell the own negotiator."""
        id = str(order.circuit.id)
        buyer = self._me if order.party is Party.BUYER else order.partner
        self._world.check(invariants.not_made_again(self._member, order, What.ATTACHMENT))
        await self._ask(
            "looks for its end", order, lambda: self._ground.end(self._me, order.partner, buyer, id), changes=False
        )
        if order.wanted.connectivity is Connectivity.L3:
            await self._ask("attaches", order, lambda: self._ground.attach(self._me, id, order.partner))
        return End(MemberId("ixp"), "p1", 100, 1500)

    async def detach(self, order: Order) -> None:
        """Have the own negotiator forget it."""
        if order.wanted.connectivity is not Connectivity.L3 or order.circuit.id is None:
            return
        id = order.circuit.id

        def detach() -> None:
            self._world.check(invariants.taken_back_in_reverse(self._world, self._member, order, What.ATTACHMENT))
            self._ground.detach(self._me, id, order.partner)

        await self._ask("detaches", order, detach)

    # --- negotiations -------------------------------------------------------------------------------------------------

    async def make_negotiation(self, order: Order) -> NegotiationStanding:
        """Start it."""
        self._world.check(invariants.not_made_again(self._member, order, What.NEGOTIATION))
        id = str(order.circuit.id)
        return await self._ask(
            "starts a negotiation", order, lambda: self._talk(self._ground.start(self._me, order.id, id, order.partner))
        )

    async def negotiation(self, order: Order) -> NegotiationStanding | None:
        """How it stands."""

        def look() -> NegotiationStanding | None:
            talk = self._ground.talk(self._me, order.circuit.id)
            return None if talk is None else self._talk(talk)

        return await self._ask("looks at the negotiation", order, look, changes=False)

    async def end_negotiation(self, order: Order) -> bool:
        """Have it taken back."""
        if order.wanted.connectivity is not Connectivity.L3 or order.circuit.id is None:
            return True

        def end() -> bool:
            talk = self._ground.talk(self._me, order.circuit.id)
            if talk is None or not talk.lives(self._me):
                return True
            self._ground.end_talk(self._me, talk)
            return False

        return await self._ask("ends the negotiation", order, end)

    async def verify(self, order: Order) -> Reach:
        """See whether the service answers."""
        await self._ask("verifies", order, lambda: self._ground.verify(self._me, str(order.circuit.id)))
        return Reach(prefix="172.16.0.0/24", rtt_ms=1.0)

    def _talk(self, talk: Talk) -> NegotiationStanding:
        words = talk.standing[self._me]
        ended = Problem("negotiation_ended", f"negotiation: is {words}") if words in {*OVER, "terminating"} else None
        return NegotiationStanding(talk.id, words, words == "active", None, ended)


def _circuit(circuit: Circuit) -> CircuitStanding:
    words = circuit.state
    ended = Problem("circuit_ended", f"circuit: is {words}") if words in {*OVER, "releasing"} else None
    return CircuitStanding(circuit.id, words, words in ("committed", "active"), words == "active", ended)


def _answer(answer: asyncio.Future[T], result: T | MeetMeError) -> None:
    if answer.done():
        return
    if isinstance(result, MeetMeError):
        answer.set_exception(result)
    else:
        answer.set_result(result)
