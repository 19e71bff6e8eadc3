"""How an order ends: everything that was made for it is taken back, in reverse, and both sides know it."""

from __future__ import annotations

from dataclasses import replace

from meetme.catalog import events as ev
from meetme.catalog.effects import Cancel, Effect, Send, TakeBack, Wake
from meetme.catalog.messages import MessageType, TerminateBody, TerminatedBody
from meetme.catalog.order import Answer, Order, StepTime, Thing
from meetme.catalog.words import Party, Presence, State, What
from meetme.model.errors import Fault, Problem

SWEEP_SECONDS = 15.0
"""Longer than an order to make something can be on its way to whoever makes it."""
PATIENCE_SECONDS = 30.0
"""How long the next thing waits for one that refuses to go."""
FAREWELL_SECONDS = 86_400.0
"""How long a side that has nothing left waits for the other one's word."""

S = State
Move = tuple[Order, tuple[Effect, ...]]
"""The next value, and what is owed."""


def undo(n: Order, outcome: State, at: float, problem: Problem | None = None) -> Move:
    """Take back what there is; it ends as `outcome`. The other side is told at once, and does its part meanwhile."""
    n = mark(replace(n, state=S.TERMINATING, outcome=outcome, problem=problem or n.problem, deadline=None), "undo", at)
    effects: tuple[Effect, ...] = tuple(Cancel(key) for key in _DRIVING)
    if not n.partner_knows:
        effects += (Send(MessageType.TERMINATE, n.message(MessageType.TERMINATE)),)
        effects += (Wake(ev.Deadline, FAREWELL_SECONDS),)
    n, more = _next(n)
    n, last = settle(n, at)
    return n, (*effects, *more, *last)


_DRIVING = ("send", "send:query", "verify", Wake(ev.Deadline, 0).key, Wake(ev.CompareDue, 0).key)
"""What drives an order forward."""


def terminate_body(n: Order) -> TerminateBody:
    """What the other side is told of why it is over."""
    return TerminateBody(None if n.outcome in (S.CANCELLED, S.TERMINATED) else n.problem)


def _next(n: Order) -> Move:
    """Begin to take back whatever need not wait for something before it."""
    effects: tuple[Effect, ...] = ()
    for what in What:
        thing = n.thing(what)
        if thing.presence in (Presence.MAKING, Presence.THERE):
            thing = replace(thing, presence=Presence.LEAVING)
            n = put(n, what, thing)
            effects += (TakeBack(what), Wake(ev.PatienceOver, PATIENCE_SECONDS))
        if thing.first:
            break
    return n, effects


def on_gone(n: Order, event: ev.Gone) -> Move:
    """It is not there. What nobody has seen may still be on its way, and is looked for once more later."""
    thing = n.thing(event.what)
    effects: tuple[Effect, ...] = ()
    if thing.presence is Presence.LEAVING and not thing.known:
        n = put(n, event.what, replace(thing, presence=Presence.SWEEPING))
        effects = (TakeBack(event.what, SWEEP_SECONDS),)
    else:
        n = put(n, event.what, replace(thing, presence=Presence.GONE))
    n, more = _next(n)
    n, last = settle(n, event.at)
    return n, (*effects, *more, *last)


def on_patience_over(n: Order, at: float) -> Move:
    """What is still there has refused to go for long: the next one is taken back now, and this one further on."""
    for what in What:
        thing = n.thing(what)
        if thing.presence is Presence.LEAVING:
            n = put(n, what, replace(thing, late=True))
    return _next(n)


def on_terminate(n: Order, event: ev.TerminateReceived) -> Move:
    """The other side takes it back. It is answered once nothing is left here."""
    n = replace(n, pending=(*n.pending, event.message))
    if n.state is S.TERMINATING:
        # It is on its way out itself, and waits for our answer as we do for its own.
        return settle(replace(n, partner_knows=True), event.at)
    active = n.state is S.ACTIVE
    reason = replace(event.reason, fault=Fault.REMOTE) if event.reason else None
    ended = S.TERMINATED if active else S.FAILED if reason else S.CANCELLED
    return undo(replace(n, partner_knows=True), ended, event.at, reason)


def settle(n: Order, at: float) -> Move:
    """After anything that may have been the last thing owed: answer who waits, and end what can end."""
    outcome = n.outcome
    if n.state is not S.TERMINATING or outcome is None or not n.clean:
        return n, ()
    n = replace(n, answers=(*n.answers, *(Answer(m, TerminatedBody()) for m in n.pending)), pending=())
    if not n.partner_knows:
        return n, ()
    timers = (Wake(ev.Deadline, 0), Wake(ev.PatienceOver, 0))
    ended = mark(replace(n, state=outcome), outcome, at)
    return ended, (Cancel("send:terminate"), *(Cancel(timer.key) for timer in timers))


def put(n: Order, what: What, thing: Thing) -> Order:
    """The same with another word about one thing."""
    match what:
        case What.CIRCUIT:
            return replace(n, circuit=thing)
        case What.ATTACHMENT:
            return replace(n, attachment=thing)
        case What.NEGOTIATION:
            return replace(n, negotiation=thing)


def mark(n: Order, name: str, at: float, *, ok: bool = True) -> Order:
    """Note a finished step."""
    return replace(n, steps=(*n.steps, StepTime(name, max(0.0, at - n.began), ok)))


def gave_up(party: Party) -> Problem:
    """That the other side has ended it without a reason."""
    return Problem("order_ended_there", f"order: has ended at the {party.other}", "order it again", fault=Fault.REMOTE)
