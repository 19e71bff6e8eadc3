"""The life of an order: the one place where it changes its state.

Rules of this file:

1. Every change of state is in `TRANSITIONS`; `step` refuses to make one that is not. The diagram in the documentation
   is made from this table. What each event does is in `reactions`, how an order ends in `undoing`.
2. It does no I/O and knows no clock: events in, the next value and the effects owed out. Both sides run one table.
3. An event that the table does not allow changes nothing. If it was a message, the answer says where this side stands.
4. The buyer drives. The seller approves once, gets its own end ready when it is told the circuit, and sees for itself
   whether the negotiation became active.
5. Nothing is made twice: what is made has a name that the order gives it, and a finished step is not taken again.
6. Whatever was, or may have been, made is owed to be taken back until it is seen to be gone: the negotiation first, the
   circuit last. One that refuses to go holds up the next one for a while, and the end of the order for ever.
7. An order that has ended has nothing left at this side, and the other side knows that it is over, or was not heard
   of for a day.
"""

from __future__ import annotations

from dataclasses import replace

from meetme.catalog import events as ev
from meetme.catalog import reactions, undoing
from meetme.catalog.effects import Outcome
from meetme.catalog.events import Event
from meetme.catalog.messages import (
    ApprovedBody,
    AttachedBody,
    Body,
    DeclinedBody,
    MessageType,
    StateBody,
    TerminatedBody,
)
from meetme.catalog.order import Answer, Order
from meetme.catalog.undoing import Move
from meetme.catalog.words import ENDED, UNDER_WAY, Party, State
from meetme.model.errors import Fault, Problem

S = State
B, T = Party.BUYER, Party.SELLER
_AT_THE_END: tuple[type[Event], ...] = (
    ev.Gone,
    ev.TerminateReceived,
    ev.TerminatedReceived,
    ev.QueryReceived,
    ev.Deadline,
)
"""No answer to an own question: with the first step back it is asked no more, and what comes in then is dropped."""
_ON_THE_WAY = {B: UNDER_WAY, T: UNDER_WAY - {S.PLACED, S.VERIFYING}}
"""The seller is asked before it knows of an order, and does not verify."""
_MAKING = {B: (S.COMPOSING, S.LINKING, S.NEGOTIATING), T: (S.LINKING,)}
"""Where something is being made that can fail to be."""
TRANSITIONS: dict[tuple[Party, State | None, type[Event]], tuple[State, ...]] = {
    # the buyer asks, the seller decides
    (B, None, ev.Placed): (S.PLACED,),
    (B, S.PLACED, ev.PendingReceived): (S.APPROVING,),
    (B, S.PLACED, ev.ApprovedReceived): (S.COMPOSING, S.ACTIVE),
    (B, S.PLACED, ev.DeclinedReceived): (S.DECLINED,),
    (B, S.APPROVING, ev.PendingReceived): (S.APPROVING,),
    (B, S.APPROVING, ev.ApprovedReceived): (S.COMPOSING, S.ACTIVE),
    (B, S.APPROVING, ev.DeclinedReceived): (S.DECLINED,),
    (T, None, ev.RequestReceived): (S.APPROVING, S.COMPOSING, S.ACTIVE, S.DECLINED),
    (T, S.APPROVING, ev.RequestReceived): (S.APPROVING,),
    (T, S.APPROVING, ev.Decided): (S.COMPOSING, S.ACTIVE, S.DECLINED),
    (T, S.APPROVING, ev.Deadline): (S.DECLINED,),
    # layer 2
    (B, S.COMPOSING, ev.CircuitSeen): (S.COMPOSING, S.LINKING, S.NEGOTIATING, S.TERMINATING),
    (B, S.LINKING, ev.CircuitSeen): (S.LINKING, S.NEGOTIATING, S.TERMINATING),
    (T, S.COMPOSING, ev.AttachReceived): (S.LINKING,),
    # both get their ends ready
    (B, S.LINKING, ev.Attached): (S.LINKING, S.ACTIVE),
    (B, S.LINKING, ev.AttachedReceived): (S.LINKING, S.ACTIVE),
    (B, S.NEGOTIATING, ev.Attached): (S.NEGOTIATING,),
    (B, S.NEGOTIATING, ev.AttachedReceived): (S.NEGOTIATING,),
    (T, S.LINKING, ev.Attached): (S.NEGOTIATING, S.ACTIVE),
    # layer 3
    (B, S.NEGOTIATING, ev.NegotiationSeen): (S.NEGOTIATING, S.VERIFYING, S.TERMINATING),
    (B, S.VERIFYING, ev.Verified): (S.ACTIVE,),
    (B, S.VERIFYING, ev.VerifyFailed): (S.TERMINATING,),
    (T, S.NEGOTIATING, ev.NegotiationSeen): (S.NEGOTIATING, S.ACTIVE, S.TERMINATING),
    # what stands is looked after
    **{(B, state, ev.CircuitSeen): (state, S.TERMINATING) for state in (S.NEGOTIATING, S.VERIFYING, S.ACTIVE)},
    (B, S.VERIFYING, ev.NegotiationSeen): (S.VERIFYING, S.TERMINATING),
    **{(party, S.ACTIVE, ev.NegotiationSeen): (S.ACTIVE, S.TERMINATING) for party in Party},
    **{(party, S.ACTIVE, ev.CompareDue): (S.ACTIVE,) for party in Party},
    **{
        (party, state, ev.QueryReceived): (state, S.TERMINATING, *ENDED)
        for party in Party
        for state in (*_ON_THE_WAY[party], S.ACTIVE)
    },
    # who asks is active, or has just approved it
    **{
        (party, state, ev.StateReceived): (state, S.TERMINATING, *ENDED)
        for party in Party
        for state in (S.ACTIVE, *((S.COMPOSING, S.LINKING, S.NEGOTIATING) if party is T else ()))
    },
    # whatever goes wrong, or is not wanted any more, is taken back
    **{
        (party, s, ev.Deadline): (S.TERMINATING, *ENDED)
        for party in Party
        for s in _ON_THE_WAY[party]
        if (party, s) != (T, S.APPROVING)
    },
    **{(party, s, ev.MakingFailed): (S.TERMINATING, *ENDED) for party in Party for s in _MAKING[party]},
    **{
        (party, s, event): (S.TERMINATING, *ENDED)
        for party in Party
        for s in (*_ON_THE_WAY[party], S.ACTIVE)
        for event in (ev.TerminateAsked, ev.TerminateReceived)
    },
    **{(party, S.TERMINATING, event): (S.TERMINATING, *ENDED) for party in Party for event in _AT_THE_END},
    **{(party, S.TERMINATING, ev.PatienceOver): (S.TERMINATING,) for party in Party},
}
"""(side, state, event) → the states it may lead to. None is an order that does not exist yet."""


def allowed(now: Order | None, event: Event) -> bool:
    """Whether the table has a row for this event in this state, at this side."""
    if now is None:
        return isinstance(event, ev.Placed | ev.RequestReceived)
    return (now.party, now.state, type(event)) in TRANSITIONS


def step(now: Order | None, event: Event) -> Outcome:
    """Advance one side's order by one event. Raises LookupError for an event that cannot create one."""
    if not allowed(now, event):
        if now is None:
            raise LookupError(f"{type(event).__name__} cannot begin an order")
        return Outcome(replace(now, answers=_standing_answer(now, event)))
    before = replace(now, answers=()) if now else None
    after, effects = _react(before, event)
    old = now.state if now else None
    if after.state not in TRANSITIONS[after.party, old, type(event)]:
        raise AssertionError(f"{type(event).__name__} may not lead from {old} to {after.state}")
    if after.state is not old:
        after = replace(after, revision=after.revision + 1)
    return Outcome(after, effects)


def _react(n: Order | None, event: Event) -> Move:
    match event:
        case ev.Placed():
            return reactions.place(event)
        case ev.RequestReceived():
            return reactions.on_request(n, event)
    if n is None:
        raise LookupError(type(event).__name__)
    match event:
        case ev.Decided():
            return reactions.on_decided(n, event)
        case ev.PendingReceived():
            return reactions.on_pending(n, event)
        case ev.ApprovedReceived(at=at):
            return reactions.on_approved(n, at)
        case ev.DeclinedReceived(problem=problem, at=at):
            return undoing.undo(replace(n, partner_knows=True), S.DECLINED, at, problem)
        case ev.CircuitSeen():
            return reactions.on_circuit(n, event)
        case ev.AttachReceived():
            return reactions.on_attach(n, event)
        case ev.Attached():
            return reactions.on_attached(n, event)
        case ev.AttachedReceived(at=at):
            return reactions.go_on(replace(n, partner_ready=True), at)
        case ev.NegotiationSeen():
            return reactions.on_negotiation(n, event)
        case ev.Verified():
            return reactions.on_verified(n, event)
        case ev.VerifyFailed(problem=problem, at=at):
            return undoing.undo(n, S.FAILED, at, problem)
        case ev.MakingFailed():
            return reactions.on_making_failed(n, event)
        case ev.CompareDue():
            return reactions.compare(n)
        case ev.QueryReceived() | ev.StateReceived():
            return reactions.on_partner_state(n, event)
        case ev.TerminateAsked(at=at):
            return undoing.undo(n, S.TERMINATED if n.state is S.ACTIVE else S.CANCELLED, at)
        case ev.TerminateReceived():
            return undoing.on_terminate(n, event)
        case ev.TerminatedReceived(at=at):
            return undoing.settle(replace(n, partner_knows=True), at)
        case ev.Gone():
            return undoing.on_gone(n, event)
        case ev.PatienceOver(at=at):
            return undoing.on_patience_over(n, at)
        case ev.Deadline():
            return reactions.on_deadline(n, event)


def _standing_answer(n: Order, event: Event) -> tuple[Answer, ...]:
    """Rule 3: a message that changes nothing is told where this side stands."""
    gone = n.problem or Problem("order_ended", f"order: is {n.state} here", fault=Fault.REMOTE)
    match event:
        case ev.RequestReceived(message=message):
            live = n.state in UNDER_WAY or n.state is S.ACTIVE
            return (Answer(message, ApprovedBody() if live else DeclinedBody(gone)),)
        case ev.AttachReceived(message=message):
            if n.state is S.LINKING:
                return ()  # the one that is waited for answers this too: it has the same id
            ready = n.state in (S.NEGOTIATING, S.ACTIVE)
            return (Answer(message, AttachedBody() if ready else TerminatedBody()),)
        case ev.TerminateReceived(message=message):
            return (Answer(message, TerminatedBody()),)
        case ev.QueryReceived(message=message):
            return (Answer(message, StateBody(n.state)),)
        case _:
            return ()


_UNKNOWN = Problem("order_unknown", "order: is not known here", "order it again", fault=Fault.REMOTE)


def stranger_answer(kind: MessageType) -> Body:
    """The answer to a message about an order that this side does not know."""
    match kind:
        case MessageType.REQUEST:
            return DeclinedBody(_UNKNOWN)
        case MessageType.QUERY:
            return StateBody(None)
        case _:
            return TerminatedBody()
