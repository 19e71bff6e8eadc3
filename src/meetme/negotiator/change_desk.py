"""Where people and catalogues ask for a change of an active agreement."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from meetme.model.agreement import Agreement, Role
from meetme.model.errors import Conflict, Unsupported, raise_problems
from meetme.negotiator import events as ev
from meetme.negotiator import store, wire
from meetme.negotiator.addressing import Own, own_problems
from meetme.negotiator.changing import under_way
from meetme.negotiator.desk import negotiation_unknown
from meetme.negotiator.events import Event
from meetme.negotiator.facts import port_problems
from meetme.negotiator.keys import Once, keys_of
from meetme.negotiator.locks import lock_claims
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Negotiation, Wish
from meetme.negotiator.performer import PeerLine
from meetme.negotiator.protocol import step
from meetme.negotiator.rehearsal import Rehearsal
from meetme.negotiator.routers import Routers
from meetme.negotiator.side import Side
from meetme.negotiator.states import State
from meetme.negotiator.staying import change_problems
from meetme.negotiator.views import ChangeRequest, Plan, Terms, read_wish
from meetme.runtime.clock import Clock
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop


class ChangeDesk:
    """Takes wishes. Whatever cannot be right is said at once, and nothing is written."""

    def __init__(
        self,
        loop: Loop[Negotiation, Event],
        ledger: Ledger,
        machine: NegotiationMachine,
        side: Side,
        routers: Routers,
        peers: PeerLine,
        clock: Clock,
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._side = side
        self._routers = routers
        self._rehearsal = Rehearsal(loop, side, routers, peers, clock)
        self._clock = clock
        self._keys = keys_of(loop)

    async def change(self, id: UUID, request: ChangeRequest, key: str | None) -> Negotiation:
        """Begin a change, or find the one that `key` began. A wish that changes nothing is done at once.

        Raises NotFound `negotiation_unknown`, Conflict `negotiation_not_active`, `change_under_way`, InvalidInput.
        """
        wish = read_wish(request)
        body = {"change": str(id), **wire.change_json(request)}
        return await self._keys.once(key, body, lambda once: self._change(id, wish, once))

    async def _change(self, id: UUID, wish: Wish, once: Once) -> Negotiation:
        await self._look(id)

        def transaction(tx: Connection) -> Negotiation:
            self._ledger.lock(tx, self._machine.name, str(id))
            if done := once.repeated(tx):
                return done
            n = self._active(tx, id)
            now = self._clock.now()
            once.remember(tx, id, now)
            wanted = _beside(n, wish)
            if not _changes(n, wanted):
                return n
            asked = ev.ChangeAsked(now, wanted, self._own(tx, n, wanted))
            return self._ledger.deliver(tx, self._machine, str(id), asked, now)

        return await self._loop.commit(transaction)

    async def plan(self, id: UUID, request: ChangeRequest) -> Plan:
        """What would be agreed, and the commands for the own router. Nothing is held on either side.

        Raises what `change` raises; Unsupported `dry_run_elsewhere` at the side that did not start the negotiation.
        """
        wish = read_wish(request)
        await self._look(id)

        def read(tx: Connection) -> tuple[Negotiation, Wish, Own | None]:
            n = self._active(tx, id)
            wanted = _beside(n, wish)
            return n, wanted, self._own(tx, n, wanted) if _changes(n, wanted) else None

        n, wanted, own = await self._loop.commit(read)
        if own is None:
            return Plan(_in_force(n), ())
        if n.role is not Role.INITIATOR:
            raise Unsupported(
                "dry_run_elsewhere",
                f"dry_run: must be asked where the negotiation was started ({n.peer})",
                hint="leave --dry-run out: what fails leaves the agreement as it is",
                field="dry_run",
            )
        return await self._rehearsal.plan(step(n, ev.ChangeAsked(self._clock.now(), wanted, own)).negotiation, own)

    async def _look(self, id: UUID) -> None:
        """A fresh look at the router that it is about."""
        n = await self._loop.commit(lambda tx: self._active(tx, id))
        await self._side.resolve()
        await self._routers.get(n.attachment.router).look()

    def _active(self, tx: Connection, id: UUID) -> Negotiation:
        n = store.load(tx, id)
        if n is None:
            raise negotiation_unknown(id)
        if n.state is not State.ACTIVE:
            raise Conflict(
                "negotiation_not_active",
                f"negotiation: must be active to be changed ({n.state})",
                hint=f"see it with meetme show {n.id}",
                field="id",
            )
        return n

    def _own(self, tx: Connection, n: Negotiation, wish: Wish) -> Own:
        if under_way(n) or n.wanted is not None:
            number = n.change.number if n.change is not None and under_way(n) else n.changes + 1
            raise Conflict(
                "change_under_way",
                f"change: must wait for the one that is under way (change {number} of {n.id})",
                hint=f"follow it with meetme show {n.id}, then ask again",
                field="id",
                existing=str(number),
            )
        lock_claims(tx)
        raise_problems(port_problems(n.attachment, self._side.view(n.attachment), Terms(mtu=wish.mtu), "circuit"))
        own = self._side.wished(tx, n, wish)
        raise_problems((*own_problems(own), *change_problems(own, n.agreement, n.role)))
        return own


def _in_force(n: Negotiation) -> Agreement:
    if n.agreement is None:
        raise AssertionError("what is active has an agreement")
    return n.agreement


def _beside(n: Negotiation, wish: Wish) -> Wish:
    """The wish together with what was wished before; prefixes that stay come first, in the order that they have."""
    given = wish.local_subnets
    if given is not None:
        agreed = tuple(entry.real for entry in _in_force(n).side(n.role).prefixes)
        given = (*(p for p in agreed if p in given), *(p for p in given if p not in agreed))
    return Wish(
        given,
        n.wish.private_networks if wish.private_networks is None else wish.private_networks,
        n.wish.mtu if wish.mtu is None else wish.mtu,
    )


def _changes(n: Negotiation, wish: Wish) -> bool:
    """Whether anything of the agreement is to be other than it is. Pools matter to new prefixes alone."""
    agreement = _in_force(n)
    agreed = tuple(entry.real for entry in agreement.side(n.role).prefixes)
    other_mtu = wish.mtu is not None and wish.mtu not in (agreement.mtu, n.wish.mtu)
    return other_mtu or (wish.local_subnets is not None and wish.local_subnets != agreed)
