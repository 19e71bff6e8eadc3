"""Having a leg built: `activate` goes along the route, all exchanges build at once, answers come when they are done.

Nothing is active before every segment is in production. The head is the first to know that; from it the word runs along
the route once more (`aligning`). A composer that has answered `activated` never gives up alone: the head may have
decided. It asks, as after a lost message, until it knows.
"""

from __future__ import annotations

from dataclasses import replace

from meetme.composer import events as ev
from meetme.composer.circuit import Circuit, Element, ElementKind, Leg, Segment, State, reference
from meetme.composer.effects import Build, Cancel, Effect, Look, Move, Wake
from meetme.composer.messages import ActivatedBody, MessageType, RefusedBody
from meetme.composer.releasing import answered, give_up, put, say
from meetme.model.errors import Fault, Problem

BUILD_SECONDS = 120.0
"""How long the head waits until every exchange has its segment in production."""
HOLD_SECONDS = 30.0
"""How long anything is held at most without the next move."""
SHORTEST_WAIT_SECONDS = 0.05
"""Who was woken too early waits at least so long again."""
LATE_SECONDS = 1.0
"""Who wakes so much too late is short of time itself: what others have said may be there, and not have been read."""
LONGEST_HOLD_SECONDS = 3 * HOLD_SECONDS
"""Longer than that nothing is held for a composer that is late."""
SOON_SECONDS = 2.0
"""How soon a composer asks what has become of it, while it waits for the head's word."""

S = State


def build(circuit: Circuit, leg: Leg, at: float, seconds: float = BUILD_SECONDS) -> Move:
    """Have the own segment built, and tell the next composer to do the same."""
    leg = replace(leg, segment=Segment.BUILDING, deadline=at + seconds, ordered=at)
    effects: tuple[Effect, ...] = (
        Build(leg.path, leg.attempt, reference(circuit.id, leg.path, leg.attempt)),
        Wake(ev.Deadline, seconds, leg.path, leg.attempt),
    )
    if leg.beyond is not None:
        effects += (say(circuit, leg, MessageType.ACTIVATE, leg.beyond),)
    return put(circuit, leg), effects


def on_activate(circuit: Circuit, leg: Leg, event: ev.ActivateReceived) -> Move:
    """The previous composer says: build. It is answered when everything from here on is in production."""
    if not _agrees(leg, event):
        problem = Problem("label_differs", "trace: must have the labels that were held", fault=Fault.REMOTE)
        circuit = answered(circuit, leg, event.sender, (event.message,), RefusedBody(problem))
        return give_up(circuit, leg, problem)
    leg = replace(leg, waiting=(*leg.waiting, event.message), trace=event.trace)
    if leg.segment is Segment.ABSENT:
        return build(circuit, leg, event.at, min(BUILD_SECONDS, max(1.0, event.seconds)))
    return _ready(circuit, leg)


def _agrees(leg: Leg, event: ev.ActivateReceived) -> bool:
    """Whether the trace still says of this exchange, and of the links beside it, what was held."""
    trace, at = event.trace, leg.position
    if len(trace) != len(leg.hops) or trace[at] != leg.own or event.sender != leg.before:
        return False
    beside = trace[at - 1].out_label == trace[at].in_label
    return beside and (leg.beyond is None or trace[at + 1].in_label == trace[at].out_label)


def on_activated(circuit: Circuit, leg: Leg, event: ev.ActivatedReceived) -> Move:
    """Everything beyond is in production."""
    return _ready(circuit, replace(leg, ready_beyond=True))


def on_built(circuit: Circuit, leg: Leg, event: ev.Built) -> Move:
    """The own segment is in production; with other VLANs than ordered it would join what must not be joined."""
    own = leg.own
    if leg.segment is not Segment.BUILDING or own is None:
        return circuit, ()
    for ordered, built in ((own.in_label, event.in_vlan), (own.out_label, event.out_vlan)):
        if ordered is not None and built != ordered:
            text = f"vlan: {circuit.me} must build what was ordered ({built} instead of {ordered})"
            problem = Problem("vlan_differs", text, "ask the exchange", fault=Fault.DEVICE)
            built_leg = replace(leg, segment=Segment.READY)
            return give_up(put(circuit, built_leg), built_leg, problem, Element(ElementKind.MEMBER, circuit.me))
    return _ready(circuit, replace(leg, segment=Segment.READY, problem=None))


def _ready(circuit: Circuit, leg: Leg) -> Move:
    """Once the own segment and all beyond are in production: the head decides, any other one says so and asks."""
    if leg.segment is not Segment.READY:
        return put(circuit, leg), ()
    stop: tuple[Effect, ...] = (Cancel(Wake(ev.Deadline, 0, leg.path, leg.attempt).key),)
    if leg.state is S.ACTIVE:
        return put(circuit, replace(leg, deadline=None)), stop
    if not leg.ready_beyond:
        return put(circuit, leg), ()
    if leg.before is None:
        return activate(circuit, leg, stop)
    circuit = answered(circuit, leg, leg.before, leg.waiting, ActivatedBody())
    return put(circuit, replace(leg, waiting=(), deadline=None)), (*stop, Wake(ev.CompareDue, SOON_SECONDS))


def activate(circuit: Circuit, leg: Leg, effects: tuple[Effect, ...] = ()) -> Move:
    """The whole route is in production: that is so from here on, and the next composer is told."""
    leg = replace(leg, state=S.ACTIVE, deadline=None, problem=None, queries=leg.queries + 1)
    circuit = put(circuit, leg)
    if leg.beyond is not None:
        effects += (say(circuit, leg, MessageType.QUERY, leg.beyond),)
    return circuit, (*effects, Wake(ev.CompareDue, SOON_SECONDS))


def on_build_failed(circuit: Circuit, leg: Leg, event: ev.BuildFailed) -> Move:
    """The own exchange has refused: the route is tried without it."""
    if leg.segment is not Segment.BUILDING:
        return circuit, ()
    leg = replace(leg, segment=Segment.READY)  # whatever there is of it is removed, and nothing is on its way any more
    element = event.element or Element(ElementKind.MEMBER, circuit.me)
    return give_up(put(circuit, leg), leg, event.problem, element)


def on_seen(circuit: Circuit, leg: Leg, event: ev.Seen) -> Move:
    """The exchange was looked at. What it has lost it is told again, for so long."""
    if event.ready or leg.segment is not Segment.READY:
        return circuit, ()
    lost = Problem("segment_lost", f"segment: {circuit.me} must have it in production", fault=Fault.DEVICE)
    leg = replace(leg, segment=Segment.BUILDING, problem=event.problem or lost, ordered=event.at)
    leg = replace(leg, deadline=event.at + BUILD_SECONDS)
    again = Build(leg.path, leg.attempt, reference(circuit.id, leg.path, leg.attempt))
    return put(circuit, leg), (again, Wake(ev.Deadline, BUILD_SECONDS, leg.path, leg.attempt))


def on_deadline(circuit: Circuit, leg: Leg, event: ev.Deadline) -> Move:
    """The time for the leg's present state is over."""
    if leg.deadline is None:
        return circuit, ()
    if event.at < leg.deadline:
        # A timer may be early, by a rounding or because the clock was put back; nobody else would wake the leg.
        early = max(SHORTEST_WAIT_SECONDS, leg.deadline - event.at)
        return circuit, (Wake(ev.Deadline, early, leg.path, leg.attempt),)
    if leg.state is S.HELD or leg.segment is Segment.ABSENT:
        late = event.at - leg.deadline
        if late > LATE_SECONDS and event.at - leg.began < LONGEST_HOLD_SECONDS:
            more = min(late, HOLD_SECONDS)
            leg = replace(leg, deadline=event.at + more)
            return put(circuit, leg), (Wake(ev.Deadline, more, leg.path, leg.attempt),)
        over = Problem("hold_expired", "hold: the next move did not come in time", "order it again", fault=Fault.REMOTE)
        # A store that was restored from a backup may not know that it was built.
        leg = replace(leg, segment=Segment.READY) if leg.state is S.COMMITTED else leg
        return give_up(put(circuit, leg), leg, event.cause or over)
    slow = circuit.me if leg.segment is Segment.BUILDING or leg.beyond is None else leg.beyond
    text = f"activate: {slow} does not have its segment in production in time"
    problem = event.cause or Problem("build_timeout", text, "ask that exchange", fault=Fault.DEVICE)
    return give_up(circuit, leg, problem, Element(ElementKind.MEMBER, slow))


def look(leg: Leg, circuit: Circuit) -> Look:
    """A look at the own exchange."""
    return Look(leg.path, leg.attempt, reference(circuit.id, leg.path, leg.attempt))
