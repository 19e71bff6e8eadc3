"""How a negotiation ends, and what it owes until nothing of it is left."""

from __future__ import annotations

from dataclasses import replace

from meetme.model.agreement import Role
from meetme.model.errors import Fault, Problem
from meetme.negotiator import events as ev
from meetme.negotiator.effects import Cancel, Effect, Program, Send, Verb, Wake
from meetme.negotiator.messages import FailedBody, MessageType, TerminatedBody
from meetme.negotiator.negotiation import Answer, Negotiation, StepTime
from meetme.negotiator.states import Device, State

COMPARE_SECONDS = 30.0
QUARANTINE_SECONDS = 86_400.0
"""How long alias, link prefix and port stay reserved after the circuit was given back, if the peer is never heard."""
UNDO_SECONDS = 2.0
"""How long the peer is told nothing while the own device is undone: mostly it then hears that this is done."""
FAREWELL_SECONDS = 60.0
"""How long a failed negotiation still tries to tell its peer, which ends by its own deadline in any case."""

S = State
_LATE = {
    S.PROPOSED: Problem(
        "negotiation_timeout", "propose: the peer did not answer in time", "try again", fault=Fault.REMOTE
    ),
    S.HELD: Problem("hold_expired", "hold: the initiator did not commit in time", "start again", fault=Fault.REMOTE),
    S.COMMITTED: Problem(
        "decision_timeout", "commit: not everything was in place in time", "see the steps for what was missing"
    ),
}
Move = tuple[Negotiation, tuple[Effect, ...]]
"""The next value, and what is owed."""


def terminate(n: Negotiation, at: float, reason: Problem | None = None) -> Move:
    """Take it back: the own device at once, the message until it is answered (rule 6).

    The message goes out once the own device is clean, and says so: then the peer, which answers when its own is clean,
    knows that both are. Where that takes long the peer is told nevertheless, and sends a message of its own, which is
    answered when this side is clean. So both know it of each other, whoever began.
    """
    touched = n.device is not Device.ABSENT
    n = replace(n, state=S.TERMINATING, problem=reason or n.problem)
    effects: tuple[Effect, ...] = all_cancelled()
    if touched:
        n, program = order_device(n, Verb.REMOVE)
        effects += (program,)
    if not n.peer_ended:
        effects += (_say_terminate(n, after=UNDO_SECONDS if touched else 0.0),)
        if not touched:
            # the peer cannot be further than `held`, which ends by its own deadline whether it hears of this or not
            effects += (Wake(ev.Deadline, FAREWELL_SECONDS),)
    ended, more = settle_end(mark(n, "terminate", at), at)
    return ended, effects + more


def _say_terminate(n: Negotiation, *, after: float = 0.0) -> Send:
    return Send(MessageType.TERMINATE, n.message(MessageType.TERMINATE), "send:terminate", after)


def on_terminate(n: Negotiation, event: ev.TerminateReceived) -> Move:
    """The peer takes it back. It is answered once nothing is left on the own device.

    What was not active yet has a confirm timer on the peer's device, and goes by itself.
    """
    done = event.undone or n.peer_ended or n.state in (S.PROPOSED, S.HELD, S.COMMITTED, S.FAILED)
    n = replace(n, pending=(*n.pending, event.message), peer_ended=done)
    if n.state in (S.TERMINATING, S.FAILED):
        return settle_end(n, event.at, (Cancel("send:terminate"),) if done else ())
    reason = replace(event.reason, fault=Fault.REMOTE) if event.reason else None
    return terminate(n, event.at, reason)


def settle_end(n: Negotiation, at: float, effects: tuple[Effect, ...] = ()) -> Move:
    """After anything that may have been the last thing owed: answer who waits, and end what can end."""
    gone = n.device is Device.ABSENT
    if gone and n.pending:
        n = replace(n, answers=(*n.answers, *(Answer(m, TerminatedBody()) for m in n.pending)), pending=())
    free = n.circuit_released is not None and at >= n.circuit_released + QUARANTINE_SECONDS
    if n.state is S.TERMINATING and gone and (n.peer_ended or n.released or free):
        kinds = (ev.CompareDue, ev.Deadline, ev.QuarantineOver)
        timers = (*(Cancel(Wake(kind, 0).key) for kind in kinds), Cancel("send:query"))
        return mark(replace(n, state=S.TERMINATED), "terminated", at), (*effects, *timers)
    if n.state is S.FAILED and n.peer_ended:
        effects += (Cancel(Wake(ev.Deadline, 0).key),)  # there is nobody left to be told
    return n, effects


def on_removed(n: Negotiation, event: ev.Removed) -> Move:
    """Nothing of it is on the own device any more."""
    was_there = n.device is not Device.ABSENT
    n = replace(n, device=Device.ABSENT, left_on_device=() if n.released else event.left)
    tell = n.state is S.TERMINATING and was_there and not n.peer_ended
    return settle_end(n, event.at, (_say_terminate(n),) if tell else ())


def on_circuit_released(n: Negotiation, event: ev.CircuitReleased) -> Move:
    """The circuit is given back: a peer that is never heard of again keeps what is reserved for a day more."""
    if n.circuit_released is not None:
        return n, ()
    return replace(n, circuit_released=event.at), (Wake(ev.QuarantineOver, QUARANTINE_SECONDS),)


def fail(n: Negotiation, problem: Problem, at: float, *, tell_peer: bool = True) -> Move:
    """End without having been active: whoever waits is told, the device is undone, the peer hears of it."""
    touched = n.device is not Device.ABSENT
    told = tuple(Answer(message, FailedBody(replace(problem, fault=_seen_from_peer(problem)))) for message in n.pending)
    known_there = n.role is Role.RESPONDER or n.round > 0
    n = replace(n, state=S.FAILED, problem=problem, pending=(), answers=(*n.answers, *told))
    effects = all_cancelled()
    if touched:
        n, program = order_device(n, Verb.REMOVE)
        effects += (program,)
    if tell_peer and known_there and n.role is Role.INITIATOR:
        effects += (_say_terminate(n), Wake(ev.Deadline, FAREWELL_SECONDS))
    return mark(n, "failed", at, ok=False), effects


def _seen_from_peer(problem: Problem) -> Fault:
    return Fault.LOCAL if problem.fault is Fault.REMOTE else Fault.REMOTE


def on_deadline(n: Negotiation, event: ev.Deadline) -> Move:
    """The time for the present state is over."""
    if n.state is S.FAILED:
        return n, (Cancel("send:terminate"),)
    if n.state is S.TERMINATING:
        return settle_end(replace(n, peer_ended=True), event.at, (Cancel("send:terminate"),))
    return fail(n, event.cause or n.problem or _LATE[n.state], event.at)


def too_late(n: Negotiation, at: float) -> Problem | None:
    """What to fail with when the deadline of the present state has passed, whether or not its timer has fired."""
    return None if n.deadline is None or at < n.deadline else _LATE[n.state]


def order_device(
    n: Negotiation, verb: Verb, *, confirm: float | None = None, after: float = 0.0
) -> tuple[Negotiation, Program]:
    """The next order to the device, with a generation that makes every earlier one void."""
    device = {Verb.APPLY: Device.APPLYING, Verb.REMOVE: Device.REMOVING, Verb.CONFIRM: n.device}[verb]
    n = replace(n, generation=n.generation + 1, device=device)
    return n, Program(verb, n.generation, confirm, after)


def wait(n: Negotiation, seconds: float, at: float) -> tuple[Negotiation, Wake]:
    """Give the present state so many seconds."""
    return replace(n, deadline=at + seconds), Wake(ev.Deadline, seconds)


def mark(n: Negotiation, name: str, at: float, *, ok: bool = True) -> Negotiation:
    """Note a finished step."""
    return replace(n, steps=(*n.steps, StepTime(name, max(0.0, at - n.started), ok)))


def all_cancelled() -> tuple[Effect, ...]:
    """Nothing is owed any more but what ends it."""
    keys = ("send", "send:query", "probe", "device", Wake(ev.Deadline, 0).key, Wake(ev.CompareDue, 0).key)
    return tuple(Cancel(key) for key in keys)
