"""How a leg is given up, and what is owed until nothing of it is left.

Whoever gives a leg up has its own segment removed and tells both neighbours, for as long as it takes. A neighbour
answers once nothing is left at its exchange and behind it, and a link's owner only once nothing can come any more: so
the head knows of the whole route, and whoever owns a link gives its label to nobody else before both exchanges have let
go of it.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from meetme.composer import events as ev
from meetme.composer.circuit import Answer, Circuit, Element, Leg, MemberId, Segment, State, owner, reference
from meetme.composer.effects import COMPOSE, Build, Cancel, Effect, Look, Move, Remove, Send, Wake
from meetme.composer.messages import Body, MessageType, RefusedBody, ReleasedBody
from meetme.model.errors import Fault, Problem

OVERDUE_SECONDS = 30.0
"""After this long what is still kept of a leg, for a neighbour or for the own exchange, may be kept for ever."""
SWEEP_SECONDS = 10.0
"""After this long an order to build, whose sender has given it up, is on its way no more."""
LAST_LOOK_SECONDS = 60.0
"""After this long not even the order of a process that has died is."""
GONE = Problem("circuit_unknown", "circuit: is not known here, or not any more", fault=Fault.REMOTE)

S = State


def put(circuit: Circuit, leg: Leg) -> Circuit:
    """The circuit with this leg, new or in the place of what it was."""
    if circuit.leg(leg.path, leg.attempt) is None:
        return replace(circuit, legs=(*circuit.legs, leg))
    same = tuple(leg if (x.path, x.attempt) == (leg.path, leg.attempt) else x for x in circuit.legs)
    return replace(circuit, legs=same)


def answered(circuit: Circuit, leg: Leg, peer: MemberId | None, messages: tuple[UUID, ...], body: Body) -> Circuit:
    """The circuit with an answer to each of the peer's messages about `leg`."""
    if peer is None:
        return circuit
    more = tuple(Answer(message, peer, leg.path, leg.attempt, body) for message in messages)
    return replace(circuit, answers=(*circuit.answers, *more))


def say(circuit: Circuit, leg: Leg, kind: MessageType, to: MemberId, after: float = 0.0) -> Send:
    """An own message about `leg`."""
    return Send(kind, to, circuit.message(kind, to, leg), leg.path, leg.attempt, after)


def give_up(
    circuit: Circuit,
    leg: Leg,
    problem: Problem | None = None,
    element: Element | None = None,
    *,
    before_done: bool = False,
    beyond_done: bool = False,
) -> Move:
    """Take one leg back: the own segment is removed, both neighbours are told, whoever waits for it is refused."""
    if not leg.live:
        return circuit, ()
    refused = RefusedBody(problem or GONE, element, circuit.ending)
    circuit = answered(circuit, leg, leg.before, leg.waiting, refused)
    leg = replace(
        leg,
        state=S.RELEASING,
        deadline=None,
        problem=problem,
        element=element,
        waiting=(),
        before_done=before_done or leg.before is None,
        beyond_done=beyond_done or leg.beyond is None,
    )
    effects = (*quiet(leg), Wake(ev.Deadline, OVERDUE_SECONDS, leg.path, leg.attempt))
    if leg.segment is not Segment.ABSENT:
        building = leg.segment is Segment.BUILDING
        leg = replace(leg, segment=Segment.CANCELLING if building else Segment.REMOVING)
        effects += (Remove(leg.path, leg.attempt, reference(circuit.id, leg.path, leg.attempt)),)
    circuit = put(circuit, leg)
    return settle(circuit, leg, (*effects, *tell(circuit, leg)))


def tell(circuit: Circuit, leg: Leg) -> tuple[Effect, ...]:
    """`release` to every neighbour that has not said yet that it is done."""
    sides = ((leg.before, leg.before_done), (leg.beyond, leg.beyond_done))
    return tuple(say(circuit, leg, MessageType.RELEASE, side) for side, done in sides if side is not None and not done)


def settle(circuit: Circuit, leg: Leg, effects: tuple[Effect, ...] = ()) -> Move:
    """After anything that may have been the last thing owed: answer who waits, and end what can end."""
    if leg.state is not S.RELEASING or leg.segment not in (Segment.ABSENT, Segment.SWEEPING):
        return circuit, effects
    if leg.beyond_done and leg.before_asks and _may_answer(circuit, leg, leg.before):
        circuit = answered(circuit, leg, leg.before, leg.before_asks, ReleasedBody())
        leg = replace(leg, before_asks=())
    if leg.before_done and leg.beyond_asks and _may_answer(circuit, leg, leg.beyond):
        circuit = answered(circuit, leg, leg.beyond, leg.beyond_asks, ReleasedBody())
        leg = replace(leg, beyond_asks=())
    if leg.segment is Segment.ABSENT and (leg.let_go or (leg.before_done and leg.beyond_done)):
        if leg.let_go:
            circuit = answered(circuit, leg, leg.before, leg.before_asks, ReleasedBody())
            circuit = answered(circuit, leg, leg.beyond, leg.beyond_asks, ReleasedBody())
        leg = replace(leg, state=S.RELEASED, before_asks=(), beyond_asks=())
        sides = (side for side in (leg.before, leg.beyond) if side is not None)
        effects += tuple(Cancel(say(circuit, leg, MessageType.RELEASE, side).key) for side in sides)
        effects += (Cancel(Wake(ev.Deadline, 0, leg.path, leg.attempt).key),)
    return put(circuit, leg), effects


def _may_answer(circuit: Circuit, leg: Leg, peer: MemberId | None) -> bool:
    """While an order may still be on its way the link's owner waits: it would give out a label that is kept here."""
    return leg.segment is Segment.ABSENT or (peer is not None and owner(circuit.me, peer) == circuit.me)


def side_done(circuit: Circuit, leg: Leg, peer: MemberId) -> Move:
    """Nothing of it is left at `peer` and behind it."""
    leg = replace(
        leg, before_done=leg.before_done or peer == leg.before, beyond_done=leg.beyond_done or peer == leg.beyond
    )
    stop = Cancel(say(circuit, leg, MessageType.RELEASE, peer).key)
    return settle(put(circuit, leg), leg, (stop,))


def on_release(circuit: Circuit, leg: Leg, event: ev.ReleaseReceived) -> Move:
    """A neighbour gives the leg up: so does this side. It is answered once nothing is left here and behind."""
    if leg.state is S.RELEASED:
        return answered(circuit, leg, event.sender, (event.message,), ReleasedBody()), ()
    if event.sender == leg.before:
        leg = replace(leg, before_asks=(*leg.before_asks, event.message))
    else:
        leg = replace(leg, beyond_asks=(*leg.beyond_asks, event.message))
    circuit = put(circuit, leg)
    if leg.live:
        return give_up(circuit, leg, event.problem, event.element)
    return settle(circuit, leg)


def on_removed(circuit: Circuit, leg: Leg, at: float) -> Move:
    """Nothing of the own segment is at the exchange.

    Where it was given up before it was built, an order may still be on its way, so it is removed once more before the
    own part is free. Soon after it was ordered an order of a process that died may be, too: that is only looked after.
    """
    name = reference(circuit.id, leg.path, leg.attempt)
    if leg.segment is Segment.CANCELLING:
        leg = replace(leg, segment=Segment.SWEEPING)
        return settle(put(circuit, leg), leg, (Remove(leg.path, leg.attempt, name, SWEEP_SECONDS),))
    since = at - leg.ordered if leg.ordered is not None else LAST_LOOK_SECONDS
    fresh = leg.segment is not Segment.ABSENT and 0 <= since < LAST_LOOK_SECONDS
    leg = replace(leg, segment=Segment.ABSENT)
    again = (Remove(leg.path, leg.attempt, name, LAST_LOOK_SECONDS - since),) if fresh else ()
    return settle(put(circuit, leg), leg, again)


def on_overdue(circuit: Circuit, leg: Leg) -> Move:
    """Somebody has not given it back in time, and may be dead: what is kept of it is passing no more.

    It is still waited for here, and owed. But no search of others hangs on it.
    """
    return put(circuit, replace(leg, overdue=True)), ()


def let_go(circuit: Circuit) -> Move:
    """A person ends the quarantine: neighbours that were never heard of are waited for no more."""
    effects: tuple[Effect, ...] = ()
    for leg in circuit.legs:
        if leg.state is S.RELEASING:
            circuit, more = settle(put(circuit, free := replace(leg, let_go=True)), free)
            effects += more
    if circuit.passed and circuit.ending:
        circuit = replace(circuit, parted=True)
    return circuit, effects


def give_up_all(circuit: Circuit, problem: Problem | None) -> Move:
    """Take the circuit back as a whole. What is being given up already is told that there will be no other route."""
    known = circuit.ending
    circuit = replace(circuit, ending=True, problem=circuit.problem or problem)
    effects: tuple[Effect, ...] = (Cancel(COMPOSE), Cancel(Wake(ev.SearchDue, 0).key))
    for leg in circuit.legs:
        if leg.live:
            circuit, more = give_up(circuit, leg, problem)
            effects += more
        elif leg.state is S.RELEASING and not known:
            effects += tell(circuit, leg)
    return circuit, effects


def quiet(leg: Leg) -> tuple[Effect, ...]:
    """Nothing is owed for this leg any more but what ends it."""
    sides = tuple(side for side in (leg.before, leg.beyond) if side is not None)
    kinds = (MessageType.HOLD, MessageType.COMMIT, MessageType.ACTIVATE, MessageType.QUERY)
    keys = [f"send:{kind}:{side}:{leg.key}" for kind in kinds for side in sides]
    keys += [Wake(kind, 0, leg.path, leg.attempt).key for kind in (ev.Deadline, ev.Unanswered)]
    keys += [Look(leg.path, leg.attempt, "").key, Build(leg.path, leg.attempt, "").key]
    return tuple(Cancel(key) for key in keys)
