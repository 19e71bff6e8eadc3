"""A dry run: the rules and the peer are asked as for the real thing, and nothing is written down on either side."""

from __future__ import annotations

from uuid import uuid4

from meetme.model.agreement import Agreement
from meetme.model.errors import Fault, Problem, Refused
from meetme.negotiator import events as ev
from meetme.negotiator import store, wire
from meetme.negotiator.addressing import Own
from meetme.negotiator.events import Event
from meetme.negotiator.intents import link_intent
from meetme.negotiator.messages import CounterBody, HoldBody, MessageType, ProposeBody, RefuseBody
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.performer import MESSAGE_SECONDS, PeerLine, answer_to
from meetme.negotiator.protocol import step
from meetme.negotiator.routers import CALL_SECONDS, Routers, limited
from meetme.negotiator.side import Side
from meetme.negotiator.states import State
from meetme.negotiator.views import Plan
from meetme.runtime.clock import Clock
from meetme.runtime.loop import Loop


class Rehearsal:
    """Plays a negotiation, or a change of one, up to the agreement that it would lead to."""

    def __init__(
        self, loop: Loop[Negotiation, Event], side: Side, routers: Routers, peers: PeerLine, clock: Clock
    ) -> None:
        self._loop = loop
        self._side = side
        self._routers = routers
        self._peers = peers
        self._clock = clock

    async def plan(self, n: Negotiation, own: Own) -> Plan:
        """What would be agreed, and the commands for the own router. `n` has its first offer, or its change has.

        Raises Refused where there would be no agreement, and what asking the peer and the router raises.
        """
        agreement = await self._play(n, own)
        now = self._clock.now()
        generation = await self._loop.commit(lambda tx: store.next_generation(tx, n.circuit, now))
        intent = link_intent(agreement, n.role, n.attachment, generation=generation)
        control = await self._routers.get(n.attachment.router).control()
        async with limited(n.attachment.router, CALL_SECONDS):
            commands = await control.apply(intent, dry_run=True)
        return Plan(agreement, commands)

    async def _play(self, n: Negotiation, own: Own) -> Agreement:
        talk = n.change or n
        while talk.state is State.PROPOSED and talk.offer is not None:
            event = await self._asked(talk, own)
            n = step(n, ev.OfChange(talk.number, event) if talk.number else event).negotiation
            talk = n.change or n
        if talk.state is not State.COMMITTED or talk.agreement is None:
            raise _refusal((talk.problem,) if talk.problem else ())
        return talk.agreement

    async def _asked(self, n: Negotiation, own: Own) -> ev.HoldReceived | ev.CounterReceived:
        """What the peer says to the present offer."""
        at = self._clock.now()
        base = n.base.revision if n.base else 0
        assert n.offer is not None
        body = ProposeBody(n.offer, n.order, dry_run=True, base=base)
        expires = at + MESSAGE_SECONDS
        message = wire.Message(n.id, uuid4(), n.circuit, n.me, n.peer, expires, body, change=n.number)
        match answer_to(n, MessageType.PROPOSE, await self._peers.send(n.peer, message)).body:
            case HoldBody(agreement=agreement):
                return ev.HoldReceived(at, agreement, own, self._side.policy(n.peer))
            case CounterBody(counter=counter):
                return ev.CounterReceived(at, counter, own)
            case RefuseBody(problems=problems):
                raise _refusal(problems)
            case other:
                raise AssertionError(other)


def _refusal(problems: tuple[Problem, ...]) -> Refused:
    if not problems:
        return Refused("refused", "propose: the peer refused without a reason", fault=Fault.REMOTE)
    first = problems[0]
    return Refused(first.code, first.text, hint=first.hint, field=first.field, fault=first.fault, problems=problems)
