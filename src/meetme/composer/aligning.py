"""Neighbours compare now and then: what has ended there ends here, what one has lost the other one hands over.

The word that a leg is active runs the same way, from the head along the route, and so does the state of the circuit as
a whole, which only the head knows.
"""

from __future__ import annotations

from dataclasses import replace

from meetme.composer import events as ev
from meetme.composer.building import SOON_SECONDS, activate, look
from meetme.composer.capacity import claims as claims_of
from meetme.composer.capacity import conflict, leg_claims
from meetme.composer.circuit import Circuit, Leg, MemberId, Search, Segment, State, reference
from meetme.composer.effects import Effect, Move, Remove, Wake
from meetme.composer.holding import newcomer, route_fits
from meetme.composer.messages import HoldBody, MessageType, StateBody
from meetme.composer.releasing import answered, give_up, put, say, settle, side_done
from meetme.model.errors import Fault, Problem

COMPARE_SECONDS = 30.0
S = State


def compare(circuit: Circuit) -> Move:
    """Ask the neighbours of every leg that is reserved as a whole, and look at the own exchange."""
    effects: tuple[Effect, ...] = ()
    soon = False
    for leg in circuit.legs:
        if leg.state not in (S.COMMITTED, S.ACTIVE):
            continue
        circuit, asked = _ask(circuit, leg)
        effects += asked
        soon |= leg.state is S.COMMITTED
        if leg.segment is Segment.READY:
            effects += (look(leg, circuit),)
    if any(leg.live for leg in circuit.legs):
        effects += (Wake(ev.CompareDue, SOON_SECONDS if soon else COMPARE_SECONDS),)
    return circuit, effects


def _ask(circuit: Circuit, leg: Leg, only: MemberId | None = None) -> Move:
    leg = replace(leg, queries=leg.queries + 1)
    circuit = put(circuit, leg)
    sides = (side for side in (leg.before, leg.beyond) if side is not None and only in (None, side))
    return circuit, tuple(say(circuit, leg, MessageType.QUERY, side) for side in sides)


def spread(circuit: Circuit) -> Move:
    """The head's word, when the state of the circuit has changed: along every leg that is in production."""
    effects: tuple[Effect, ...] = ()
    for leg in circuit.legs:
        if leg.state is S.ACTIVE and leg.beyond is not None:
            circuit, more = _ask(circuit, leg, leg.beyond)
            effects += more
    return circuit, effects


def on_query(circuit: Circuit, leg: Leg, event: ev.QueryReceived) -> Move:
    """A neighbour says where it stands, and is told the same."""
    circuit, effects = _follow(circuit, leg, event.sender, event.state, event.whole, asked=True)
    now = circuit.leg(leg.path, leg.attempt) or leg
    return answered(circuit, leg, event.sender, (event.message,), standing(circuit, now)), effects


def on_state(circuit: Circuit, leg: Leg, event: ev.StateReceived) -> Move:
    """The same as an answer."""
    return _follow(circuit, leg, event.peer, event.state, event.whole, asked=False)


def standing(circuit: Circuit, leg: Leg | None) -> StateBody:
    """Where this side stands."""
    return StateBody(leg.state if leg else None, circuit.state, leg.problem if leg else circuit.problem)


def _follow(
    circuit: Circuit, leg: Leg, peer: MemberId, theirs: State | None, whole: State | None, *, asked: bool
) -> Move:
    ended = theirs is None or theirs is S.RELEASED
    if leg.state is S.RELEASING:
        return side_done(circuit, leg, peer) if theirs is S.RELEASED else (circuit, ())
    if leg.state is S.HELD and theirs is None:
        return circuit, ()  # the hold may still be on its way there
    if ended or theirs is S.RELEASING:
        if theirs is None and leg.state is S.ACTIVE and not leg.handed and not asked:
            return _ask(circuit, replace(leg, handed=True), peer)
        before = peer == leg.before
        text = f"query: {peer} has it no more"
        problem = Problem("peer_lost", text, "another route is tried", fault=Fault.REMOTE)
        # Who does not know it may have it at its exchange nevertheless (a restored backup): `release` makes it look.
        done = theirs is S.RELEASED
        return give_up(circuit, leg, problem, before_done=done and before, beyond_done=done and not before)
    leg = replace(leg, handed=False)
    circuit = put(circuit, leg)
    if peer != leg.before:
        return circuit, ()
    return _word_of_the_head(circuit, leg, theirs, whole)


def _word_of_the_head(circuit: Circuit, leg: Leg, theirs: State | None, whole: State | None) -> Move:
    """What the previous composer says is what the head has said: it is passed on where it is news."""
    news = whole is not None and whole is not circuit.told
    in_force = whole in (S.ACTIVE, S.DEGRADED)
    circuit = replace(circuit, told=whole or circuit.told, established=circuit.established or in_force)
    ready = leg.segment is Segment.READY and (leg.ready_beyond or leg.beyond is None)
    if leg.state is S.COMMITTED and theirs is S.ACTIVE and ready:
        return activate(circuit, leg)
    if leg.state is S.ACTIVE and news and leg.beyond is not None:
        return _ask(circuit, leg, leg.beyond)
    return circuit, ()


def restore(circuit: Circuit | None, event: ev.Restored) -> Move:
    """Take up an active leg again that the own store has lost, if the own exchange bears witness to it."""
    given = event.handed
    if circuit is None:
        circuit = newcomer(event.id, event.me, HoldBody(given.request, given.ordered_by, given.hops), event.at)
        circuit = replace(circuit, restored=circuit.is_head)
    exchanges = [hop.exchange for hop in given.hops]
    position = exchanges.index(event.me) if event.me in exchanges else 0
    leg = Leg(event.path, event.attempt, given.hops, position, given.mtu, event.at, S.ACTIVE, trace=given.trace)
    leg = replace(leg, joined=True, ready_beyond=True, segment=Segment.READY)
    if not (event.found and _credible(circuit, leg, event)):
        return _disown(circuit, leg, event)
    circuit = put(replace(circuit, told=event.whole, established=True), leg)
    if circuit.is_head:
        known = max((search.attempt for search in circuit.searches if search.path == leg.path), default=0)
        others = tuple(search for search in circuit.searches if search.path != leg.path)
        search = Search(leg.path, max(known, leg.attempt))
        circuit = replace(circuit, wanted=circuit.wanted or circuit.request.paths, searches=(*others, search))
    circuit = answered(circuit, leg, event.sender, (event.message,), StateBody(S.ACTIVE, event.whole))
    timers: tuple[Effect, ...] = (Wake(ev.CompareDue, SOON_SECONDS),)
    if circuit.is_head:
        timers += (Wake(ev.SearchDue, 2 * COMPARE_SECONDS),)  # by then the neighbours have handed over what there is
    return circuit, timers


def _credible(circuit: Circuit, leg: Leg, event: ev.Restored) -> bool:
    """Whether it can be so: the route leads here, and what it has here nobody else has."""
    trace, hops = event.handed.trace, event.handed.hops
    if event.me not in [hop.exchange for hop in hops] or [x.exchange for x in trace] != [h.exchange for h in hops]:
        return False
    if event.sender not in (leg.before, leg.beyond) or circuit.ending:
        return False
    if leg.position and not route_fits(
        circuit, hops, leg.position, hops[leg.position - 1].exchange, trace[: leg.position]
    ):
        return False
    if any(x.path == leg.path and (x.attempt >= leg.attempt or x.live) for x in circuit.legs):
        return False
    own = claims_of(circuit)
    for claim in leg_claims(leg, circuit.request.bandwidth):
        same = {other for other in own if (other.resource, other.holder) == (claim.resource, claim.holder)}
        beside = event.ledger.on(claim.resource, own - same)
        if conflict(event.ledger.limits.get(claim.resource), claim, beside) is not None:
            return False
    return True


def _disown(circuit: Circuit, leg: Leg, event: ev.Restored) -> Move:
    """It cannot be taken up again: whatever the exchange has of it is removed, and the neighbour ends it."""
    known = circuit.leg(leg.path, leg.attempt)
    if known is not None:
        return answered(circuit, leg, event.sender, (event.message,), standing(circuit, known)), ()
    lost = Problem("peer_lost", f"query: {circuit.me} has lost it", fault=Fault.LOCAL)
    leg = replace(leg, state=S.RELEASED, trace=(), problem=lost, before_done=True, beyond_done=True)
    effects: tuple[Effect, ...] = ()
    if event.found:
        leg = replace(leg, state=S.RELEASING, segment=Segment.REMOVING)
        effects = (Remove(leg.path, leg.attempt, reference(circuit.id, leg.path, leg.attempt)),)
    else:
        leg = replace(leg, segment=Segment.ABSENT)
    circuit = answered(put(circuit, leg), leg, event.sender, (event.message,), StateBody(leg.state, None, lost))
    return settle(circuit, leg, effects)
