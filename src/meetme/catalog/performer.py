"""Performs what orders owe: messages to the other side, circuits, attachments, negotiations, and time that has passed.

Every effect may be performed more than once (the process died before the result was written down), so each is safe to
repeat: messages have ids that stay, and what is made is found by its order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, Protocol
from uuid import uuid5

from sqlalchemy import Connection

from meetme.catalog import events as ev
from meetme.catalog import store, wire
from meetme.catalog.effects import Make, Send, TakeBack, Verify, Wake, Watch
from meetme.catalog.events import Event
from meetme.catalog.listening import heard
from meetme.catalog.machine import STILL_AT_IT, OrderMachine, read_effect
from meetme.catalog.messages import (
    ANSWERS,
    ApprovedBody,
    AttachBody,
    AttachedBody,
    Body,
    DeclinedBody,
    MessageType,
    PendingBody,
    QueryBody,
    RequestBody,
    StateBody,
    TerminatedBody,
)
from meetme.catalog.order import Order
from meetme.catalog.underlay import NEVER_OURS, CircuitStanding, NegotiationStanding, Underlay
from meetme.catalog.undoing import terminate_body
from meetme.catalog.words import Presence, State, What
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, InvalidInput, MeetMeError, NotFound, Problem, Unreachable
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Lease, Ledger
from meetme.runtime.loop import Retry

MESSAGE_SECONDS = 30.0
"""How long a message says that it is good. A repetition says so anew."""
LOOK_SECONDS = 1.0
"""How long to wait at most before something that is under way is looked at again."""
STANDING_LOOK_SECONDS = 10.0
"""The same for what stands, and is not expected to change."""
MANY_LOOKS = 60
Hear = Callable[[Order, What], bool]
"""Listen for news of a thing of an order. False: it has to be looked for."""
Made = Event | Callable[[Connection], Event]


class CatalogLine(Protocol):
    """The way to the other catalog servers."""

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """The answer's JSON value; None: the peer has the message and no answer yet. Raises MeetMeError."""


class Performer:
    """What the loop calls with each lease."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        line: CatalogLine,
        underlay: Underlay,
        clock: Clock,
        hear: Hear = lambda _order, _what: False,
    ) -> None:
        """`hear`: what is watched need not be looked for so often where it does something."""
        self._hear = hear
        self._database = database
        self._ledger = ledger
        self._line = line
        self._underlay = underlay
        self._clock = clock

    async def __call__(self, lease: Lease) -> Made | None:
        """Perform one effect. Raises Retry or MeetMeError where it has to be tried again."""
        n = await self._database.read(lambda tx: store.load(tx, lease.instance))
        if n is None:
            return None
        effect = read_effect(lease.kind, lease.body)
        match effect:
            case Wake():
                return self._wake(effect, n)
            case Send():
                return await self._send(n, effect)
            case Make(what=what):
                return await self._make(n, what, lease.attempts)
            case Watch(what=what):
                return await self._watch(n, what, lease.attempts)
            case TakeBack(what=what):
                return await self._take_back(n, what, lease.attempts)
            case Verify():
                return await self._verify(n)
            case _:
                return None

    # --- time ---------------------------------------------------------------------------------------------------------

    def _wake(self, effect: Wake, n: Order) -> Made:
        if effect.event is ev.Deadline:
            return lambda tx: ev.Deadline(self._clock.now(), self._cause(tx, n))
        return effect.event(self._clock.now())

    def _cause(self, tx: Connection, n: Order) -> Problem | None:
        """Why what is still owed was in vain so far."""
        for debt in self._ledger.owed(tx, OrderMachine.name, str(n.id)):
            code, _, said = debt.note.partition(": ")
            if said and code != STILL_AT_IT:
                fault = Fault.REMOTE if debt.kind == "send" else Fault.LOCAL
                return Problem(code, said, "it was tried again until the time was over", None, fault)
        return None

    # --- messages -----------------------------------------------------------------------------------------------------

    async def _send(self, n: Order, effect: Send) -> Made | None:
        expires = self._clock.now() + MESSAGE_SECONDS
        message = wire.Message(n.id, effect.message, n.me, n.partner, expires, body_of(n, effect.type))
        try:
            answer = await self._line.send(n.partner, message)
            if answer is not None:
                return self._heard(answer_to(message, answer))
        except MeetMeError as error:
            if effect.once:
                return None
            if isinstance(error, Unreachable):
                raise
            if effect.type is MessageType.REQUEST:
                return ev.DeclinedReceived(self._clock.now(), replace(error.problem, fault=Fault.REMOTE))
            if effect.type is MessageType.ATTACH:
                return ev.MakingFailed(self._clock.now(), What.NEGOTIATION, replace(error.problem, fault=Fault.REMOTE))
            raise
        if effect.once:
            return None
        raise Retry(0.0, f"{STILL_AT_IT}: {n.partner} has no answer yet")

    def _heard(self, reply: wire.Message) -> Made:
        at = self._clock.now()
        match reply.body:
            case ApprovedBody():
                return ev.ApprovedReceived(at)
            case DeclinedBody(problem=problem):
                return ev.DeclinedReceived(at, replace(problem, fault=Fault.REMOTE))
            case PendingBody(seconds=seconds):
                return ev.PendingReceived(at, seconds)
            case AttachedBody():
                return ev.AttachedReceived(at)
            case TerminatedBody():
                return ev.TerminatedReceived(at)
            case StateBody(state=state):
                return ev.StateReceived(at, state)
            case _:
                raise AssertionError(reply.type)

    # --- what it makes ------------------------------------------------------------------------------------------------

    async def _make(self, n: Order, what: What, attempts: int) -> Made | None:
        if n.thing(what).presence is not Presence.MAKING:
            return None  # it is being taken back since this was leased: what takes its place waits for us
        # An attempt whose answer did not come may still arrive, after the next one has succeeded or was refused.
        sure = attempts == 0
        try:
            match what:
                case What.CIRCUIT:
                    return self._seen(await self._underlay.make_circuit(n))
                case What.ATTACHMENT:
                    return ev.Attached(self._clock.now(), await self._underlay.attach(n), sure)
                case What.NEGOTIATION:
                    return self._seen(await self._underlay.make_negotiation(n))
        except Unreachable:
            raise  # whether it was made is not known: the same again does no harm
        except MeetMeError as error:
            # Nobody can be asked whether a process that died had registered where the circuit lands.
            sure = error.code == NEVER_OURS or (sure and what is not What.ATTACHMENT)
            return ev.MakingFailed(self._clock.now(), what, error.problem, sure)

    async def _watch(self, n: Order, what: What, attempts: int) -> Made:
        if not attempts and self._hear(n, what):
            raise Retry(LOOK_SECONDS, f"{STILL_AT_IT}: the {what} is listened for")
        known = n.thing(what).standing
        if what is What.CIRCUIT:
            circuit = await self._underlay.circuit(n)
            if circuit is None:
                return self._seen(CircuitStanding(n.circuit.id or "", "unknown", ended=_lost(what)))
            if circuit.words != known or circuit.ended:
                return self._seen(circuit)
        else:
            negotiation = await self._underlay.negotiation(n)
            if negotiation is None and n.negotiation.known:
                lost = NegotiationStanding(n.negotiation.id or "", "unknown", ended=_lost(what))
                return self._seen(lost)
            if negotiation is not None and (negotiation.words != known or negotiation.ended):
                return self._seen(negotiation)
        raise self._later(n, what, attempts)

    def _later(self, n: Order, what: What, attempts: int) -> Retry:
        note = f"the {what} stands as it did"
        if n.state is State.ACTIVE:
            return Retry(STANDING_LOOK_SECONDS, f"{STILL_AT_IT}: {note}")
        if n.thing(what).presence is Presence.THERE or self._hear(n, what):
            return Retry(LOOK_SECONDS, f"{STILL_AT_IT}: {note}")
        return _again(attempts, note)

    async def _take_back(self, n: Order, what: What, attempts: int) -> Made:
        gone = True
        try:
            match what:
                case What.CIRCUIT:
                    gone = await self._underlay.remove_circuit(n)
                case What.ATTACHMENT:
                    await self._underlay.detach(n)
                case What.NEGOTIATION:
                    gone = await self._underlay.end_negotiation(n)
        except NotFound:
            gone = True
        if not gone:
            raise _again(attempts, f"the {what} is being taken back")
        return ev.Gone(self._clock.now(), what)

    async def _verify(self, n: Order) -> Made:
        try:
            return ev.Verified(self._clock.now(), await self._underlay.verify(n))
        except Unreachable:
            raise
        except MeetMeError as error:
            return ev.VerifyFailed(self._clock.now(), error.problem)

    def _seen(self, standing: CircuitStanding | NegotiationStanding) -> Event:
        return heard(standing, self._clock.now())


def body_of(n: Order, kind: MessageType) -> Body:
    """What a message says, by the present state."""
    match kind:
        case MessageType.REQUEST:
            return RequestBody(n.wanted)
        case MessageType.ATTACH:
            return AttachBody(n.circuit.id or "")
        case MessageType.TERMINATE:
            return terminate_body(n)
        case MessageType.QUERY:
            return QueryBody(n.state)
        case _:
            raise AssertionError(kind)


def answer_to(message: wire.Message, raw: object) -> wire.Message:
    """The other side's answer to a message. Raises InvalidInput where it is none."""
    reply = wire.read_message(raw) if isinstance(raw, dict) else None
    if reply is None:
        _no_answer("must be a JSON object")
    if reply.order != message.order:
        _no_answer(f"must be about the same order ({reply.order})")
    if (reply.sender, reply.to) != (message.to, message.sender):
        _no_answer(f"must be from {message.to} to {message.sender} ({reply.sender}, {reply.to})")
    if reply.message != uuid5(message.message, "answer"):
        _no_answer("must be that to the message that was sent")
    if reply.type not in ANSWERS[message.type]:
        _no_answer(f"must be one of {', '.join(sorted(ANSWERS[message.type]))} ({reply.type})")
    return reply


def _no_answer(rule: str) -> NoReturn:
    raise InvalidInput(
        "answer_unexpected",
        f"answer: {rule}",
        hint="the other catalog server broke the protocol; report it to its operator",
        field="answer",
        fault=Fault.REMOTE,
    )


def _lost(what: What) -> Problem:
    return Problem(
        f"{what}_lost",
        f"{what}: must still be there (nobody knows of it any more)",
        "it was removed by somebody else, or a database was lost; order it again",
        what,
    )


def _again(attempts: int, note: str) -> Retry:
    """Soon at first, then less often: what has not gone for long will not go within a second."""
    longest = LOOK_SECONDS if attempts < MANY_LOOKS else STANDING_LOOK_SECONDS
    return Retry(min(longest, 0.02 * 2.0 ** min(attempts, 9)), f"{STILL_AT_IT}: {note}")
