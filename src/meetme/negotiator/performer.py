"""Performs what negotiations owe: messages to the peer, orders to the router, probes, and time that has passed.

Every effect may be performed more than once (the process died before the result was written down), so each is safe to
repeat: messages have ids that stay, orders have generations. A result comes back as an event; where the rules need
facts of this side with it, the event is made in the transaction that delivers it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, Protocol

from sqlalchemy import Connection

from meetme.configurator.client import RouterControl
from meetme.model.agreement import Agreement, MemberId
from meetme.model.errors import Fault, InvalidInput, MeetMeError, NotFound, Problem, Unreachable
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator import store, wire
from meetme.negotiator.addressing import Own
from meetme.negotiator.effects import CHANGE_KEY, Effect, ForChange, Probe, Program, Send, Verb, Wake
from meetme.negotiator.events import Event
from meetme.negotiator.host_probe import HostProbe
from meetme.negotiator.intents import link_intent
from meetme.negotiator.machine import NegotiationMachine, read_effect
from meetme.negotiator.messages import (
    ANSWERS,
    ActiveBody,
    Body,
    ChangeBody,
    CommitBody,
    CommittedBody,
    ConfirmBody,
    CounterBody,
    FailedBody,
    HoldBody,
    MessageType,
    ProposeBody,
    QueryBody,
    RefuseBody,
    StateBody,
    TerminateBody,
    TerminatedBody,
)
from meetme.negotiator.negotiation import Negotiation, Wish
from meetme.negotiator.probing import Probing
from meetme.negotiator.routers import CALL_SECONDS, Routers, limited
from meetme.negotiator.states import Device, State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Lease, Ledger
from meetme.runtime.loop import Retry

MESSAGE_SECONDS = 30.0
"""How long a message says that it is good. A repetition says so anew."""
STILL_AT_IT = "peer_busy"
"""The note while a peer has a message and no answer yet: it is not why anything fails."""
Made = Event | Callable[[Connection], Event]


class PeerLine(Protocol):
    """The way to the other negotiators."""

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """The answer's JSON value; None: the peer has the message and no answer yet. Raises MeetMeError."""


class OwnSide(Protocol):
    """What this side knows of itself and of its peers."""

    def own(self, tx: Connection, n: Negotiation) -> Own:
        """The own half of the facts for one negotiation, in the transaction that uses them."""

    def wished(self, tx: Connection, n: Negotiation, wish: Wish) -> Own:
        """The same for a change of an active one."""

    def policy(self, peer: MemberId) -> MemberPolicy:
        """What this peer may do."""

    def verify(self, document: str, agreement: Agreement, signers: frozenset[str]) -> None:
        """Raise InvalidInput unless `document` says exactly `agreement` and carries the signatures of `signers`."""


class Performer:
    """What the loop calls with each lease."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        peers: PeerLine,
        routers: Routers,
        side: OwnSide,
        clock: Clock,
        host: HostProbe | None = None,
    ) -> None:
        """`host`: how the own host asks where a router's configurator cannot; None: it does not."""
        self._database = database
        self._ledger = ledger
        self._peers = peers
        self._routers = routers
        self._side = side
        self._clock = clock
        self._probing = Probing(routers, clock, host)

    async def __call__(self, lease: Lease) -> Made | None:
        """Perform one effect. Raises Retry or MeetMeError where it has to be tried again."""
        effect = read_effect(lease.kind, lease.key, lease.body)
        n = await self._database.read(lambda tx: store.load(tx, lease.instance))
        if n is None:
            return None
        if not isinstance(effect, ForChange):
            return await self._perform(n, effect)
        if n.change is None:
            return None
        return _of_change(n.change.number, await self._perform(n.change, effect.effect))

    async def _perform(self, n: Negotiation, effect: Effect) -> Made | None:
        """Perform an effect of a negotiation, or of the change inside one."""
        match effect:
            case Wake():
                return self._wake(effect, n)
            case Send():
                return await self._send(n, effect)
            case Program():
                return await self._program(n, effect)
            case Probe(within=within):
                return await self._probe(n, within)
            case _:
                return None

    # --- time ---------------------------------------------------------------------------------------------------------

    def _wake(self, effect: Wake, n: Negotiation) -> Made:
        if effect.event is ev.ChangeDue:
            return lambda tx: ev.ChangeDue(self._clock.now(), self._side.wished(tx, store.load(tx, n.id) or n, n.wish))
        if effect.event is ev.CompareDue or effect.event is ev.QuarantineOver:
            return effect.event(self._clock.now())
        return lambda tx: ev.Deadline(self._clock.now(), self._cause(tx, n))

    def _cause(self, tx: Connection, n: Negotiation) -> Problem | None:
        """Why what is still owed was in vain so far: the device first, because that is what people can mend."""
        owed = self._ledger.owed(tx, NegotiationMachine.name, str(n.id))
        notes = {debt.key: debt.note for debt in owed if debt.note}
        inside = CHANGE_KEY if n.number else ""
        for key, fault in (("device", Fault.DEVICE), ("probe", Fault.DEVICE), ("send", Fault.REMOTE)):
            code, _, said = notes.get(inside + key, "").partition(": ")
            if said and code != STILL_AT_IT:
                return Problem(code, said, "it was tried again until the time was over", None, fault)
        return None

    # --- messages -----------------------------------------------------------------------------------------------------

    async def _send(self, n: Negotiation, effect: Send) -> Made | None:
        body = _body(n, effect.type)
        if body is None:
            return None
        expires = self._clock.now() + MESSAGE_SECONDS
        message = wire.Message(n.id, effect.message, n.circuit, n.me, n.peer, expires, body, n.document, n.number)
        try:
            answer = await self._peers.send(n.peer, message)
            if answer is None:
                raise Retry(0.0, f"{STILL_AT_IT}: {n.peer} has no answer yet")
            reply = answer_to(n, effect.type, answer)
            return self._asked(reply) if effect.type is MessageType.CHANGE else self._received(n, reply)
        except Unreachable:
            raise
        except MeetMeError as error:
            return self._rejected(effect.type, error)

    def _rejected(self, kind: MessageType, error: MeetMeError) -> Made:
        """A peer's final no, or an answer that is none. Before `confirm` that ends it; afterwards it is asked again."""
        problem = replace(error.problem, fault=Fault.REMOTE)
        if kind is MessageType.PROPOSE:
            return ev.RefuseReceived(self._clock.now(), (problem,))
        if kind is MessageType.COMMIT:
            return ev.FailedReceived(self._clock.now(), problem)
        if kind is MessageType.CHANGE:
            return ev.ChangeRefused(self._clock.now(), (problem,))
        raise error

    def _asked(self, reply: wire.Message) -> Made | None:
        """What the initiator says to the wish for a change. None: it has heard it."""
        at = self._clock.now()
        match reply.body:
            case RefuseBody(problems=problems):
                return ev.ChangeRefused(at, problems)
            case StateBody(state=State.CONFIRMING):
                raise Retry(1.0, f"{STILL_AT_IT}: {reply.sender} is not active yet")
            case StateBody(state=State.ACTIVE):
                return None
            case StateBody(state=state, revision=revision):
                return ev.StateReceived(at, state, revision)
            case _:
                raise AssertionError(reply.type)

    def _received(self, n: Negotiation, reply: wire.Message) -> Made:
        at = self._clock.now()
        match reply.body:
            case HoldBody(agreement=agreement):
                document = reply.document or ""
                self._side.verify(document, agreement, frozenset({n.peer}))
                policy = self._side.policy(n.peer)
                return lambda tx: ev.HoldReceived(at, agreement, self._side.own(tx, n), policy, document)
            case CounterBody(counter=counter):
                return lambda tx: ev.CounterReceived(at, counter, self._side.own(tx, n))
            case RefuseBody(problems=problems, superseded_by=other):
                return ev.RefuseReceived(at, problems, other)
            case CommittedBody(verified=verified):
                return ev.CommittedReceived(at, verified)
            case ActiveBody(verified=verified):
                return ev.ActiveReceived(at, verified)
            case FailedBody(problem=problem):
                return ev.FailedReceived(at, problem)
            case TerminatedBody():
                return ev.TerminatedReceived(at)
            case StateBody() as body:
                handed = self._handed(n, body, reply.document or "")
                return ev.StateReceived(at, body.state, body.revision, body.agreed, body.changes, handed)
            case _:
                raise AssertionError(reply.type)

    def _handed(self, n: Negotiation, body: StateBody, document: str) -> ev.Handed | None:
        if body.agreement is None or n.number:
            return None
        self._side.verify(document, body.agreement, frozenset({n.me, n.peer}))
        return ev.Handed(body.agreement, document, self._side.policy(n.peer))

    # --- the device ---------------------------------------------------------------------------------------------------

    async def _program(self, n: Negotiation, order: Program) -> Made | None:
        if n.agreement is None:
            return ev.Removed(self._clock.now()) if order.verb is Verb.REMOVE else None
        intent = link_intent(n.agreement, n.role, n.attachment, generation=order.generation)
        try:
            router = await self._router(n)
            async with limited(n.attachment.router, CALL_SECONDS):
                match order.verb:
                    case Verb.APPLY:
                        await router.apply(intent, confirm_seconds=order.confirm_seconds)
                        return ev.Applied(self._clock.now())
                    case Verb.CONFIRM:
                        await router.confirm(n.circuit, n.agreement.id, order.generation)
                        return ev.DeviceConfirmed(self._clock.now())
                    case Verb.REMOVE:
                        removal = await router.remove(n.circuit, n.agreement.id, order.generation, intent=intent)
                        return ev.Removed(self._clock.now(), removal.left_on_device)
        except Unreachable:
            raise  # whether it was done is not known: the same order again does no harm
        except NotFound:
            if order.verb is not Verb.CONFIRM:
                raise
            return ev.DeviceLost(self._clock.now())
        except MeetMeError as error:
            if error.code == "stale_generation":
                return self._overtaken(n, order, error)
            if order.verb is not Verb.APPLY:
                raise
            return ev.ApplyFailed(self._clock.now(), error.problem)

    def _overtaken(self, n: Negotiation, order: Program, error: MeetMeError) -> Made:
        """The device knows of later orders than our store does. Only whoever has the circuit may go beyond them.

        Our own later orders are no reason: they have replaced this one, and its result is dropped.
        """
        now = self._clock.now()
        # Without a number (another implementation): above the clock, as the first generation of a negotiation is.
        told = error.existing or ""
        seen = int(told) if told.isdecimal() else max(order.generation, int(now * 1000))

        def event(tx: Connection) -> Event:
            if store.claimant(tx, "circuit", n.circuit) not in (n.id, None) or seen < order.generation:
                raise error
            return ev.DeviceAhead(now, seen)

        return event

    async def _router(self, n: Negotiation) -> RouterControl:
        return await self._routers.get(n.attachment.router).control()

    # --- probes -------------------------------------------------------------------------------------------------------

    async def _probe(self, n: Negotiation, within: float) -> Made | None:
        return await self._probing.prove(n, within)


def _body(n: Negotiation, kind: MessageType) -> Body | None:
    """What the message says, by the present state. None: there is nothing left to say."""
    match kind:
        case MessageType.PROPOSE:
            return ProposeBody(n.offer, n.order, base=n.base.revision if n.base else 0) if n.offer else None
        case MessageType.COMMIT:
            return CommitBody(n.agreement) if n.agreement else None
        case MessageType.CONFIRM:
            return ConfirmBody(n.verified)
        case MessageType.TERMINATE:
            return TerminateBody(n.problem, undone=n.device is Device.ABSENT)
        case MessageType.QUERY:
            agreed = n.agreement.revision if n.agreement and not n.number else 0
            return QueryBody(n.state, n.revision, n.agreement if n.peer_lost else None, agreed, n.changes)
        case MessageType.CHANGE:
            return ChangeBody()
        case _:
            raise AssertionError(kind)


def _of_change(number: int, made: Made | None) -> Made | None:
    """The same, as an event of a change."""
    if made is None or isinstance(made, Event):
        return None if made is None else ev.OfChange(number, made)
    return lambda tx: ev.OfChange(number, made(tx))


def answer_to(n: Negotiation, kind: MessageType, answer: object) -> wire.Message:
    """Read the answer and check that it is one. Raises InvalidInput."""
    if not isinstance(answer, dict):
        _no_answer("message", "must be a JSON object", type(answer).__name__)
    reply = wire.read_message(answer)
    if reply.sender != n.peer or reply.to != n.me:
        _no_answer("message.from", f'must be from "{n.peer}" to "{n.me}"', f"{reply.sender} to {reply.to}")
    if reply.negotiation != n.id or reply.circuit != n.circuit:
        _no_answer("message.negotiation", f"must be about {n.id}", str(reply.negotiation))
    if reply.change != n.number:
        _no_answer("message.change", f"must be about change {n.number}", str(reply.change))
    if reply.type not in ANSWERS[kind]:
        _no_answer("message.type", f"must answer {kind}", reply.type)
    return reply


def _no_answer(field: str, rule: str, seen: str) -> NoReturn:
    raise InvalidInput(
        "answer_unexpected",
        f"{field}: {rule} ({seen})",
        hint="the other negotiator broke the protocol; report it to its operator",
        field=field,
        fault=Fault.REMOTE,
    )
