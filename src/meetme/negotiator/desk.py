"""Where requests of people and catalogues come in: start, plan, terminate, release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from sqlalchemy import Connection

from meetme.model.agreement import MemberId
from meetme.model.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    raise_problems,
)
from meetme.negotiator import events as ev
from meetme.negotiator import store, wire
from meetme.negotiator.addressing import Own, own_problems
from meetme.negotiator.circuits import direct_circuit, land, port_in_use
from meetme.negotiator.claims import port_claim
from meetme.negotiator.events import Event
from meetme.negotiator.facts import port_problems
from meetme.negotiator.keys import Once, keys_of
from meetme.negotiator.locks import lock_circuit, lock_claims
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Attachment, Negotiation
from meetme.negotiator.performer import PeerLine
from meetme.negotiator.protocol import step
from meetme.negotiator.rehearsal import Rehearsal
from meetme.negotiator.routers import Routers
from meetme.negotiator.side import Side
from meetme.negotiator.states import ENDED, State
from meetme.negotiator.views import Plan, StartRequest, Terms, read_terms
from meetme.runtime.clock import Clock
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop


@dataclass(frozen=True, slots=True)
class Begin:
    """A request that was checked: everything `Start` needs but for what the transaction reads."""

    peer: MemberId
    circuit: str
    attachment: Attachment
    terms: Terms
    order: str | None


class Desk:
    """Takes requests. Whatever cannot be right is said at once, and nothing is written."""

    def __init__(
        self,
        loop: Loop[Negotiation, Event],
        ledger: Ledger,
        machine: NegotiationMachine,
        side: Side,
        routers: Routers,
        peers: PeerLine,
        clock: Clock,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._side = side
        self._routers = routers
        self._rehearsal = Rehearsal(loop, side, routers, peers, clock)
        self._clock = clock
        self._new_id = new_id
        self._keys = keys_of(loop)

    async def start(self, request: StartRequest, key: str | None) -> Negotiation:
        """Begin a negotiation, or find the one that `key` began. Raises MeetMeError before anything is written."""
        body = wire.request_json(request)
        return await self._keys.once(key, body, lambda once: self._start(request, once))

    async def _start(self, request: StartRequest, once: Once) -> Negotiation:
        begin = await self._checked(request)
        id = self._new_id()

        def transaction(tx: Connection) -> Negotiation:
            lock_circuit(tx, begin.circuit)
            # Again in this transaction: another replica may have been quicker.
            if done := once.repeated(tx):
                return done
            own = self._admitted(tx, begin)
            now = self._clock.now()
            store.put_terms(tx, id, begin.terms)
            once.remember(tx, id, now)
            generation = store.next_generation(tx, begin.circuit, now)
            start = self._begun(begin, own, id, generation=generation)
            return self._ledger.deliver(tx, self._machine, str(id), start, now)

        return await self._loop.commit(transaction)

    def _begun(self, begin: Begin, own: Own, id: UUID, *, generation: int) -> ev.Start:
        return ev.Start(
            at=self._clock.now(),
            id=id,
            peer=begin.peer,
            circuit=begin.circuit,
            order=begin.order,
            attachment=begin.attachment,
            own=own,
            generation=generation,
            probe_target=begin.terms.probe_target,
        )

    async def _checked(self, request: StartRequest) -> Begin:
        """Everything that can be said without writing: peer, prefixes, circuit, port as its router has it now."""
        terms = read_terms(request)
        peer = self._side.trust.roster.member(request.peer)
        if peer.id == self._side.me:
            raise InvalidInput("peer_is_self", f'peer: must be another member ("{peer.id}")', field="peer")
        if peer.urls.negotiator is None:
            raise NotFound(
                "peer_url_missing",
                f"peer '{peer.id}': must have a negotiator in the roster",
                hint=f"meetme peer add {peer.id} --negotiator URL",
                field="peer",
            )
        circuit = request.circuit or direct_circuit(self._side.me, peer.id)
        registered = await self._loop.commit(lambda tx: store.attachment(tx, circuit))
        attachment = land(self._side.settings, circuit, (self._side.me, peer.id), registered, request.port)
        await self._side.resolve()
        router = self._routers.get(attachment.router)
        view = await router.look()
        seen = view.port(attachment.port)
        if seen is not None and registered is None:
            attachment = replace(attachment, mtu=seen.mtu)
        found = list(port_problems(attachment, view, terms, "port" if request.port else "border_router_port"))
        if found and found[0].code == "port_in_use":
            raise Conflict(found[0].code, found[0].text, hint=found[0].hint, field=found[0].field)
        raise_problems(found)
        return Begin(peer.id, circuit, attachment, terms, request.order)

    def _admitted(self, tx: Connection, begin: Begin) -> Own:
        """The own half of the facts, once nothing is in the way."""
        lock_claims(tx)
        rival = store.rival(tx, begin.circuit)
        if rival is not None:
            raise Conflict(
                "negotiation_exists",
                f'circuit: must have no other negotiation ("{begin.circuit}" has {rival.id}, {rival.state})',
                hint=f"see it with meetme show {rival.id}; terminate it first, or name another circuit",
                field="circuit",
                existing=str(rival.id),
            )
        holder = store.claimant(tx, "port", port_claim(begin.attachment))
        if holder is not None:
            raise port_in_use(begin.attachment, holder)
        own = self._side.admitted(tx, begin.peer, begin.attachment, begin.terms)
        raise_problems(own_problems(own))
        return own

    # --- dry run ------------------------------------------------------------------------------------------------------

    async def plan(self, request: StartRequest) -> Plan:
        """What would be agreed, and the commands for the own router. Nothing is held on either side."""
        begin = await self._checked(request)
        own = await self._loop.commit(lambda tx: self._admitted(tx, begin))
        n = step(None, self._begun(begin, own, uuid4(), generation=0)).negotiation
        return await self._rehearsal.plan(n, own)

    # --- taking it back -----------------------------------------------------------------------------------------------

    async def terminate(self, id: UUID) -> Negotiation:
        """Take a negotiation back; one that has ended stays as it is. Raises NotFound `negotiation_unknown`."""
        return await self._deliver(id, lambda _n, at: ev.TerminateAsked(at))

    async def release(self, id: UUID) -> Negotiation:
        """End a quarantine on a person's word. Raises NotFound, Conflict `negotiation_live`."""

        def event(n: Negotiation, at: float) -> Event:
            if n.state not in ENDED and n.state is not State.TERMINATING:
                raise Conflict(
                    "negotiation_live",
                    f"negotiation: must have been terminated before it is released ({n.state})",
                    hint=f"meetme terminate {n.id}",
                    field="id",
                )
            return ev.ReleaseAsked(at)

        return await self._deliver(id, event)

    def circuit_released(self, tx: Connection, circuit: str) -> bool:
        """The circuit was given back: tell the negotiation that is being taken back over it. False: there is none."""
        rival = store.rival(tx, circuit)
        if rival is None or rival.state is not State.TERMINATING:
            return False
        now = self._clock.now()
        self._ledger.deliver(tx, self._machine, str(rival.id), ev.CircuitReleased(now), now)
        return True

    async def _deliver(self, id: UUID, make: Callable[[Negotiation, float], Event]) -> Negotiation:
        def transaction(tx: Connection) -> Negotiation:
            n = store.load(tx, id)
            if n is None:
                raise negotiation_unknown(id)
            now = self._clock.now()
            return self._ledger.deliver(tx, self._machine, str(id), make(n, now), now)

        return await self._loop.commit(transaction)


def negotiation_unknown(id: UUID) -> NotFound:
    """The error for an id that no negotiation has."""
    return NotFound(
        "negotiation_unknown",
        f'negotiation: must be one of this member ("{id}")',
        hint="meetme status --all lists them",
        field="id",
    )
