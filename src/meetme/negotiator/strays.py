"""Links on the routers that no negotiation of the store speaks of: the store was lost, or is an older backup.

The peer knows what became of them: a link that it holds to be active is taken up again from the signed agreement, which
it sends as soon as it hears that it is not known here; one that has ended is taken off the router. Rules of this file:

1. A link is removed only when everybody who may be the peer has answered that it is over. While one of them cannot be
   reached it stays and carries traffic, and its prefixes are nobody else's.
2. A store that does not know what the router has is older than the router. So what it misses there is put back only
   once the peers have said which agreements are over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Connection

from meetme.model.agreement import MemberId
from meetme.model.errors import Forbidden, MeetMeError, Stale
from meetme.model.intent import AppliedLink, LinkIntent
from meetme.negotiator import logbook, store, wire
from meetme.negotiator.circuits import DIRECT
from meetme.negotiator.locks import lock_circuit
from meetme.negotiator.messages import QueryBody, StateBody
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.performer import MESSAGE_SECONDS, PeerLine
from meetme.negotiator.routers import CALL_SECONDS, Router, limited
from meetme.negotiator.side import Side
from meetme.negotiator.states import ENDED, State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0
"""Between two times of asking: doubles, for a peer that is away."""


class Strays:
    """Finds out what becomes of them."""

    def __init__(self, database: Database, side: Side, line: PeerLine, clock: Clock) -> None:
        self._database = database
        self._side = side
        self._line = line
        self._clock = clock
        self._log = structlog.get_logger()

    async def found(self, router: Router, links: Collection[AppliedLink]) -> bool:
        """Note which of a router's links are unknown. Whether there are any."""
        known = await self._database.read(lambda tx: store.known_of(tx, [link.intent.agreement for link in links]))
        router.strays = tuple(link.intent for link in links if link.intent.agreement not in known)
        for stray in router.strays:
            self._log.warning(
                "a link on the router is not known here", router=router.name, circuit=stray.circuit,
                negotiation=str(stray.agreement),
            )  # fmt: skip
        return bool(router.strays)

    async def settle(self, router: Router) -> None:
        """Ask until every one of them is taken up again or gone."""
        seconds = FIRST_SECONDS
        while router.strays:
            router.strays = tuple([stray for stray in router.strays if not await self._settled(router, stray)])
            if router.strays:
                await asyncio.sleep(seconds)
                seconds = min(LONGEST_SECONDS, 2 * seconds)

    async def _settled(self, router: Router, stray: LinkIntent) -> bool:
        if await self._database.read(lambda tx: store.known_of(tx, [stray.agreement])):
            return True
        try:
            if not await self._is_over(stray):
                return False
            await self._remove(router, stray)
        except MeetMeError as error:
            self._log.info("what became of a link cannot be told", circuit=stray.circuit, problem=error.text)
            return False
        return True

    async def _is_over(self, stray: LinkIntent) -> bool:
        peers = await self._database.read(lambda tx: self._peers(tx, stray))
        answers = [await self._ask(peer, stray) for peer in peers]
        return bool(answers) and all(answers)

    def _peers(self, tx: Connection, stray: LinkIntent) -> tuple[MemberId, ...]:
        """Who may be the other side: as the circuit or its attachment says, else everybody."""
        registered = store.attachment(tx, stray.circuit)
        named: tuple[str, ...] = ()
        if stray.circuit.startswith(DIRECT):
            named = tuple(stray.circuit.removeprefix(DIRECT).split(":"))
        others = (m for m in self._side.trust.roster.members if m.id != self._side.me and m.urls.negotiator)
        if registered is not None and registered.peer is not None:
            named = (registered.peer,)
        return tuple(member.id for member in others if not named or member.id in named)

    async def _ask(self, peer: MemberId, stray: LinkIntent) -> bool:
        """Whether the agreement is over as far as this member is concerned. Raises MeetMeError: it cannot be told."""
        try:
            told = await self._query(peer, stray.agreement, stray.circuit)
        except Forbidden as error:
            if error.code == "not_a_party":
                return True
            raise
        return told is not None and (told.state is None or told.state in ENDED)

    async def revision_of_peer(self, n: Negotiation) -> int | None:
        """The revision that the peer holds to be in force; None: it has not said. Raises MeetMeError."""
        told = await self._query(n.peer, n.id, n.circuit)
        return told.agreed if told is not None and told.state is State.ACTIVE else None

    async def _query(self, peer: MemberId, id: UUID, circuit: str) -> StateBody | None:
        expires = self._clock.now() + MESSAGE_SECONDS
        message = wire.Message(id, uuid4(), circuit, self._side.me, peer, expires, QueryBody(None, 0))
        answer = await self._line.send(peer, message)
        reply = wire.read_message(answer) if isinstance(answer, dict) else None
        if reply is None or reply.sender != peer or reply.negotiation != id:
            return None
        return reply.body if isinstance(reply.body, StateBody) else None

    async def _remove(self, router: Router, stray: LinkIntent) -> None:
        generation = await self._database.run(lambda tx: self._free_to_remove(tx, stray))
        if generation is None:
            return
        control = await router.control()
        async with limited(router.name, CALL_SECONDS):
            try:
                await control.remove(stray.circuit, stray.agreement, generation, intent=stray)
            except Stale:
                return  # a later order is about the circuit already
        self._log.warning("a link that is over was removed", router=router.name, circuit=stray.circuit)

    def _free_to_remove(self, tx: Connection, stray: LinkIntent) -> int | None:
        """The order's generation, below that of every negotiation that begins from here on; None: it is known now."""
        lock_circuit(tx, stray.circuit)
        if store.known_of(tx, [stray.agreement]):
            return None
        now = self._clock.now()
        generation = max(store.next_generation(tx, stray.circuit, now), stray.generation + 1)
        store.keep_generation(tx, stray.circuit, generation)
        logbook.audit(tx, now, "StrayRemoved", negotiation=str(stray.agreement), circuit=stray.circuit)
        return generation
