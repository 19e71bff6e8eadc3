"""Performs what circuits owe: messages to other composers, routes, orders at the own exchange, time that has passed.

Every effect may be performed more than once (the process died before the result was written down), so each is safe to
repeat: messages have ids that stay, orders have references. A result comes back as an event; where the rules need what
is free at that moment, the event is made in the transaction that delivers it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, Protocol
from uuid import uuid5

from sqlalchemy import Connection

from meetme.composer import events as ev
from meetme.composer import store, wire
from meetme.composer.accounts import Accounts
from meetme.composer.bodies import body as body_of
from meetme.composer.circuit import Circuit, Leg
from meetme.composer.domain import Domain
from meetme.composer.effects import Build, Compose, Look, Remove, Send, Wake
from meetme.composer.events import Event
from meetme.composer.graph import NoPath
from meetme.composer.machine import NEGOTIATION, CircuitMachine, read_effect
from meetme.composer.messages import (
    ANSWERS,
    ActivatedBody,
    CommittedBody,
    HeldBody,
    MessageType,
    RefusedBody,
    ReleasedBody,
    StateBody,
)
from meetme.composer.negotiations import Negotiations
from meetme.composer.planner import Planner
from meetme.composer.settling import AGAIN_SECONDS, Settling
from meetme.composer.turns import Turns
from meetme.composer.words import Hop
from meetme.ixapi.exchange import Exchange
from meetme.ixapi.orders import OrderEnd, SegmentOrder, SegmentState, SegmentView
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, InvalidInput, MeetMeError, Pending, Problem, Unreachable
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Lease, Ledger
from meetme.runtime.loop import Retry

MESSAGE_SECONDS = 30.0
"""How long a message says that it is good. A repetition says so anew."""
PENDING_SECONDS = 2.0
"""How long to wait at most before the exchange is asked again whether it is done."""
LOOK_SECONDS = 30.0
"""How long to wait at most before it is looked again how a negotiation does."""
STILL_AT_IT = ("peer_busy", "exchange_pending")
"""Notes while the other side has been told and is not done yet: they are not why anything fails."""
Made = Event | Callable[[Connection], Event]


class ComposerLine(Protocol):
    """The way to the other composers."""

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """The answer's JSON value; None: the peer has the message and no answer yet. Raises MeetMeError."""


class Performer:
    """What the loop calls with each lease."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        line: ComposerLine,
        exchange: Exchange,
        domain: Domain,
        planner: Planner,
        negotiations: Negotiations,
        turns: Turns,
        settling: Settling,
        clock: Clock,
    ) -> None:
        self._turns = turns
        self._settling = settling
        self._negotiations = negotiations
        self._database = database
        self._ledger = ledger
        self._line = line
        self._exchange = exchange
        self._domain = domain
        self._accounts = Accounts(domain)
        self._planner = planner
        self._clock = clock

    async def __call__(self, lease: Lease) -> Made | None:
        """Perform one effect. Raises Retry or MeetMeError where it has to be tried again."""
        c = await self._database.read(lambda tx: store.load(tx, lease.instance))
        if c is None:
            return None
        if lease.kind == NEGOTIATION:
            waits = await self._negotiations.bring(c)
            if waits is not None:
                raise Retry(min(LOOK_SECONDS, 0.1 * 2.0 ** min(lease.attempts, 10)), waits)
            return None
        effect = read_effect(lease.kind, lease.body)
        match effect:
            case Wake():
                return self._wake(effect, c)
            case Send():
                return await self._send(c, effect)
            case Compose():
                return await self._compose(c, effect, lease)
            case Build():
                return await self._build(c, effect, lease.attempts)
            case Remove():
                return await self._remove(effect, lease.attempts)
            case Look():
                return await self._look(c, effect)
            case _:
                return None

    # --- time ---------------------------------------------------------------------------------------------------------

    def _wake(self, effect: Wake, c: Circuit) -> Made:
        if effect.event is ev.Deadline or effect.event is ev.Unanswered:
            kind, path, attempt = effect.event, effect.path, effect.attempt
            return lambda tx: kind(self._clock.now(), path, attempt, self._cause(tx, c, path, attempt))
        if effect.event is ev.CompareDue:
            return ev.CompareDue(self._clock.now())
        return ev.SearchDue(self._clock.now())

    def _cause(self, tx: Connection, c: Circuit, path: int, attempt: int) -> Problem | None:
        """Why what is still owed for a leg was in vain so far: the exchange first, then the neighbours."""
        leg = f"{path}@{attempt}"
        notes = {
            debt.key: debt.note
            for debt in self._ledger.owed(tx, CircuitMachine.name, str(c.id))
            if debt.note and debt.key.endswith(leg)
        }
        for kind, fault in (("segment:", Fault.DEVICE), ("send:", Fault.REMOTE)):
            for key, note in notes.items():
                code, _, said = note.partition(": ")
                if key.startswith(kind) and said and code not in STILL_AT_IT:
                    return Problem(code, said, "it was tried again until the time was over", None, fault)
        return None

    # --- messages -----------------------------------------------------------------------------------------------------

    async def _send(self, c: Circuit, effect: Send) -> Made | None:
        now = self._clock.now()
        body = body_of(c, effect.type, effect.to, effect.path, effect.attempt, now)
        if body is None:
            return None
        about = (effect.path, effect.attempt)
        message = wire.Message(c.id, effect.message, *about, c.me, effect.to, now + MESSAGE_SECONDS, body)
        try:
            answer = await self._line.send(effect.to, message)
            if answer is None:
                raise Retry(0.0, f"{STILL_AT_IT[0]}: {effect.to} has no answer yet")
            return self._received(c, effect, answer_to(message, answer))
        except Unreachable:
            raise
        except MeetMeError as error:
            if effect.type in (MessageType.RELEASE, MessageType.QUERY):
                raise
            problem = replace(error.problem, fault=Fault.REMOTE)
            return ev.RefusedReceived(self._clock.now(), *about, effect.to, problem)

    def _received(self, c: Circuit, effect: Send, reply: wire.Message) -> Made | None:
        at, path, attempt, peer = self._clock.now(), effect.path, effect.attempt, effect.to
        match reply.body:
            case HeldBody() if path == 0:
                return ev.AcceptedReceived(at)
            case HeldBody(label=label):
                way = _way(c.leg(path, attempt))
                return lambda tx: ev.HeldReceived(at, path, attempt, label, self._accounts.ledger(tx, c.id, way))
            case ActivatedBody():
                return ev.ActivatedReceived(at, path, attempt)
            case ReleasedBody():
                return ev.ReleasedReceived(at, path, attempt, peer)
            case StateBody(state=state, whole=whole, problem=problem):
                return ev.StateReceived(at, path, attempt, peer, state, whole, problem)
            case RefusedBody(problem=problem, element=element, whole=whole, seen=seen):
                return ev.RefusedReceived(at, path, attempt, peer, problem, element, whole, seen)
            case CommittedBody():
                return None
            case _:
                raise AssertionError(reply.type)

    # --- routes -------------------------------------------------------------------------------------------------------

    async def _compose(self, c: Circuit, effect: Compose, lease: Lease) -> Made | None:
        if not await self._database.run(lambda tx: self._turns.take(tx, lease, self._clock.now())):
            return None  # it is owed until its turn comes
        try:
            routes = c.offered or await self._planner.routes(c, effect.paths)
        except Unreachable:
            raise
        except MeetMeError as error:
            if isinstance(error, NoPath) and self._settling.lasts(self._clock.now()):
                raise Retry(AGAIN_SECONDS, f"settling: {error.text}") from error
            return ev.ComposeFailed(self._clock.now(), error.problem)
        ways = tuple((route.hops, 0) for route in routes)
        return lambda tx: ev.Composed(self._clock.now(), routes, self._accounts.ledger(tx, c.id, *ways))

    # --- the own exchange ---------------------------------------------------------------------------------------------

    async def _build(self, c: Circuit, effect: Build, attempts: int) -> Made | None:
        leg = c.leg(effect.path, effect.attempt)
        if leg is None or leg.own is None:
            return None
        order = self._order(c, leg, effect.reference)
        try:
            built = await self._exchange.build(order)
        except Pending as error:
            raise _again(error, attempts) from error
        except Unreachable:
            raise  # whether it was ordered is not known: the same order again does no harm
        except MeetMeError as error:
            return ev.BuildFailed(self._clock.now(), effect.path, effect.attempt, error.problem)
        return ev.Built(self._clock.now(), effect.path, effect.attempt, built.a_vlan, built.b_vlan)

    def _order(self, c: Circuit, leg: Leg, reference: str) -> SegmentOrder:
        assert leg.own is not None
        a = self._end(leg.hop.in_port, leg.own.in_label)
        b = self._end(leg.hop.out_port, leg.own.out_label)
        return SegmentOrder(reference, a, b, c.request.bandwidth)

    def _end(self, port: str, vlan: int | None) -> OrderEnd:
        return OrderEnd(port, vlan, self._domain.account(port), whole=vlan is None and self._domain.whole(port))

    async def _remove(self, effect: Remove, attempts: int) -> Made:
        try:
            await self._exchange.remove(effect.reference)
        except Pending as error:
            raise _again(error, attempts) from error
        return ev.Removed(self._clock.now(), effect.path, effect.attempt)

    async def _look(self, c: Circuit, effect: Look) -> Made | None:
        leg = c.leg(effect.path, effect.attempt)
        if leg is None or leg.own is None:
            return None
        seen = await self._exchange.look(effect.reference)
        problem = _wrong(seen, leg.own.in_label, leg.own.out_label)
        return ev.Seen(self._clock.now(), effect.path, effect.attempt, problem is None, problem)


def answer_to(message: wire.Message, raw: object) -> wire.Message:
    """The peer's answer to a message. Raises InvalidInput where it is none."""
    if not isinstance(raw, dict):
        _not_an_answer("must be a JSON object")
    reply = wire.read_message(raw)
    if (reply.circuit, reply.path, reply.attempt) != (message.circuit, message.path, message.attempt):
        _not_an_answer(f"must be about the same circuit and leg ({reply.circuit} {reply.path}@{reply.attempt})")
    if (reply.sender, reply.to) != (message.to, message.sender):
        _not_an_answer(f"must be from {message.to} to {message.sender} ({reply.sender}, {reply.to})")
    if reply.message != uuid5(message.message, "answer"):
        _not_an_answer("must be that to the message that was sent")
    if reply.type not in ANSWERS[message.type]:
        _not_an_answer(f"must be one of {', '.join(sorted(ANSWERS[message.type]))} ({reply.type})")
    return reply


def _not_an_answer(rule: str) -> NoReturn:
    raise InvalidInput(
        "answer_unexpected",
        f"answer: {rule}",
        hint="the other composer broke the protocol; report it to its operator",
        field="answer",
        fault=Fault.REMOTE,
    )


def _way(leg: Leg | None) -> tuple[tuple[Hop, ...], int]:
    return ((), 0) if leg is None else (leg.hops, leg.position)


def _again(error: Pending, attempts: int) -> Retry:
    """The exchange is at it: asked again soon at first, then less often."""
    return Retry(min(PENDING_SECONDS, 0.05 * 2.0 ** min(attempts, 10)), f"{STILL_AT_IT[1]}: {error.text}")


def _wrong(seen: SegmentView, in_label: int | None, out_label: int | None) -> Problem | None:
    """What the exchange does not have as it was ordered; None: nothing."""
    if seen.state is not SegmentState.READY:
        said = f": {seen.problem.text}" if seen.problem is not None else ""
        text = f"segment: must be in production at the exchange ({seen.state}{said})"
        return Problem("segment_not_ready", text, "ask the exchange's operator", None, Fault.DEVICE)
    if (seen.a_vlan, seen.b_vlan) != (in_label, out_label):
        text = f"segment: must have VLANs {in_label} and {out_label} ({seen.a_vlan} and {seen.b_vlan})"
        return Problem("segment_vlan_differs", text, "ask the exchange's operator", None, Fault.DEVICE)
    return None
