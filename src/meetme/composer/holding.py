"""Setting a leg up: `hold` goes along the route, each composer reserves its part, `commit` runs back."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from meetme.composer import events as ev
from meetme.composer.building import HOLD_SECONDS, LATE_SECONDS
from meetme.composer.capacity import Ledger, Shortage, link, reserve, taken_elsewhere
from meetme.composer.capacity import claims as claims_of
from meetme.composer.circuit import (
    Circuit,
    Element,
    ElementKind,
    Hop,
    Leg,
    MemberId,
    Reservation,
    Route,
    State,
    owner,
)
from meetme.composer.effects import Cancel, Effect, Move, Wake
from meetme.composer.messages import CommittedBody, HeldBody, HoldBody, MessageType, RefusedBody
from meetme.composer.releasing import GONE, answered, give_up, put, say
from meetme.model.errors import Fault, Problem

ANSWER_SECONDS = 10.0
"""How long the next composer has to answer `hold`."""
BUSY_ATTEMPTS = 2
"""As long as so few were made, whoever says nothing may be busy: it is asked again before it is refused."""
MOST_HOPS = 32
"""No route is longer: a bound for what a peer can make us work on."""
LEAST_MTU = 1280
"""Octets; below that no IPv6 passes (RFC 8200, section 5)."""

S = State


def begin(
    circuit: Circuit, route: Route, attempt: int, at: float, ledger: Ledger
) -> tuple[Circuit, Leg, tuple[Effect, ...]] | Shortage:
    """The head's own leg of a route, or what is short at its own exchange."""
    leg = Leg(route.path, attempt, route.hops, 0, route.mtu, at)
    labels = _reserve(circuit, leg, ledger, None)
    if isinstance(labels, Shortage):
        return labels
    return _held(circuit, leg, (), labels, at, HOLD_SECONDS)


def on_hold(circuit: Circuit | None, event: ev.HoldReceived) -> Move:
    """Reserve the own part and pass it on; or refuse, which is remembered: a repetition gets the same answer."""
    circuit = circuit or newcomer(event.id, event.me, event.body, event.at)
    position = len(event.body.trace)
    seen = max((x.attempt for x in circuit.legs if x.path == event.path), default=0)
    refused = _objection(circuit, event, seen)
    if isinstance(refused, RefusedBody):
        return _refuse(circuit, event, refused, seen)
    body = event.body
    leg = Leg(event.path, event.attempt, body.hops, position, body.mtu, event.at)
    labels = _reserve(circuit, leg, event.ledger, body.label)
    if isinstance(labels, Shortage):
        return _refuse(circuit, event, RefusedBody(labels.problem, labels.element), seen)
    seconds = min(HOLD_SECONDS, max(1.0, body.seconds))
    circuit, leg, effects = _held(circuit, leg, body.trace, labels, event.at, seconds)
    return answered(circuit, leg, event.sender, (event.message,), HeldBody(labels[0])), effects


def newcomer(id: UUID, me: MemberId, body: HoldBody, at: float) -> Circuit:
    """A circuit that this composer hears of for the first time."""
    head = body.hops[0].exchange if body.hops else me
    return Circuit(id, me, head, body.request, body.ordered_by, at)


def _objection(circuit: Circuit, event: ev.HoldReceived, seen: int) -> RefusedBody | None:
    body, here = event.body, Element(ElementKind.MEMBER, event.me)
    if event.attempt <= event.given_up:
        return RefusedBody(GONE)
    if event.attempt <= seen:
        return RefusedBody(_problem("attempt_stale", f"attempt: must be above {seen} ({event.attempt})"), seen=seen)
    if circuit.ending:
        return RefusedBody(circuit.problem or _problem("circuit_ending", "circuit: is being released"), whole=True)
    if any(entry.exchange == event.me for entry in body.trace):
        return RefusedBody(_problem("path_loop", "trace: must not have this exchange already"), here)
    if not route_fits(circuit, body.hops, len(body.trace), event.sender, body.trace):
        return RefusedBody(_problem("path_malformed", "hops: must lead from the sender through this exchange"), here)
    if event.objection is not None:
        hop = body.hops[len(body.trace)]
        last = len(body.trace) == len(body.hops) - 1
        element = Element(ElementKind.END, event.me, (hop.out_port,)) if last else here
        return RefusedBody(replace(event.objection, fault=Fault.REMOTE), element)
    return None


def route_fits(
    circuit: Circuit, hops: tuple[Hop, ...], position: int, sender: MemberId, trace: tuple[Reservation, ...]
) -> bool:
    """Whether a route that a peer names is one, leads from it to here, and goes with what is known of the circuit."""
    exchanges = [hop.exchange for hop in hops]
    return (
        0 < position < len(hops) <= MOST_HOPS
        and len(set(exchanges)) == len(hops)
        and exchanges[position] == circuit.me
        and exchanges[position - 1] == sender
        and [entry.exchange for entry in trace] == exchanges[:position]
        and exchanges[0] == circuit.head
        and all(hop.in_port != hop.out_port for hop in hops)
        and hops[0].in_port == circuit.request.a.port
        and hops[-1].out_port == circuit.request.b.port
    )


def _refuse(circuit: Circuit, event: ev.HoldReceived, body: RefusedBody, seen: int) -> Move:
    leg = Leg(event.path, event.attempt, event.body.hops, len(event.body.trace), event.body.mtu, event.at, S.RELEASED)
    circuit = answered(circuit, leg, event.sender, (event.message,), body)
    if event.attempt <= seen or not event.body.hops:
        return circuit, ()
    position = min(leg.position, len(leg.hops) - 1)
    return put(circuit, replace(leg, position=position, problem=body.problem)), ()


def _reserve(circuit: Circuit, leg: Leg, ledger: Ledger, told: int | None) -> tuple[int | None, int | None] | Shortage:
    request = circuit.request
    wishes = (request.a.vlan, request.b.vlan)
    return reserve(circuit, circuit.me, leg, request.bandwidth, ledger, told=told, asked=wishes)


def _held(
    circuit: Circuit,
    leg: Leg,
    trace: tuple[Reservation, ...],
    labels: tuple[int | None, int | None],
    at: float,
    seconds: float,
) -> tuple[Circuit, Leg, tuple[Effect, ...]]:
    """The own part is reserved: on to the next composer; from the last one `commit` runs back."""
    leg = replace(
        leg, trace=(*trace, Reservation(circuit.me, *labels, leg.mtu)), deadline=at + seconds, joined=leg.beyond is None
    )
    effects: tuple[Effect, ...] = (Wake(ev.Deadline, seconds, leg.path, leg.attempt),)
    if leg.beyond is not None:
        effects += (say(circuit, leg, MessageType.HOLD, leg.beyond),)
        effects += (Wake(ev.Unanswered, _patience(seconds), leg.path, leg.attempt),)
    else:
        leg = replace(leg, state=S.COMMITTED, ready_beyond=True)
        effects += _run_back(circuit, leg)
    return put(circuit, leg), leg, effects


def _patience(seconds: float) -> float:
    """How long the next composer is waited for, where so much time is left in all."""
    return min(ANSWER_SECONDS, seconds * 0.7)


def _run_back(circuit: Circuit, leg: Leg) -> tuple[Effect, ...]:
    return (say(circuit, leg, MessageType.COMMIT, leg.before),) if leg.before is not None else ()


def on_held(circuit: Circuit, leg: Leg, event: ev.HeldReceived) -> Move:
    """The next composer holds its part; where it owns the link, this is the label."""
    leg = replace(leg, joined=True)
    quiet = (Cancel(Wake(ev.Unanswered, 0, leg.path, leg.attempt).key),)
    labelled = with_label(circuit, leg, event.label, event.ledger)
    if isinstance(labelled, Shortage):
        circuit, effects = give_up(put(circuit, leg), leg, labelled.problem, labelled.element)
        return circuit, (*quiet, *effects)
    return put(circuit, labelled), quiet


def with_label(circuit: Circuit, leg: Leg, label: int | None, ledger: Ledger) -> Leg | Shortage:
    """The leg with the label on the link to the next exchange as that one says it; its owner knows it already."""
    own = leg.own
    if own is None or leg.beyond is None:
        return leg
    if own.out_label is not None or owner(circuit.me, leg.beyond) == circuit.me:
        if label == own.out_label:
            return leg
        said = f"label: {leg.beyond} must have the one that was held ({label} instead of {own.out_label})"
        return Shortage(_problem("label_differs", said), Element(ElementKind.LINK, circuit.me, (leg.hop.out_port,)))
    got = taken_elsewhere(ledger, link(leg.hop.out_port), tuple(claims_of(circuit)), label, circuit.me)
    if isinstance(got, Shortage):
        return got
    return with_own(leg, replace(own, out_label=got))


def with_own(leg: Leg, own: Reservation) -> Leg:
    """The leg with its own entry of the trace."""
    return replace(leg, trace=(*leg.trace[: leg.position], own, *leg.trace[leg.position + 1 :]))


def on_commit(circuit: Circuit, leg: Leg, event: ev.CommitReceived) -> Move:
    """Everything beyond is reserved: so is this, and it is told to the previous composer."""
    whole = [entry.exchange for entry in event.trace] == [hop.exchange for hop in leg.hops]
    if not whole or event.sender != leg.beyond:
        problem = _problem("path_malformed", "trace: must have every exchange of the route in its order")
        circuit = answered(circuit, leg, event.sender, (event.message,), RefusedBody(problem))
        return give_up(circuit, leg, problem)
    beyond = event.trace[leg.position + 1 :]
    labelled = with_label(circuit, leg, beyond[0].in_label, event.ledger)
    if isinstance(labelled, Shortage):
        circuit = answered(circuit, leg, event.sender, (event.message,), RefusedBody(labelled.problem))
        return give_up(circuit, leg, labelled.problem, labelled.element)
    mtu = min(entry.mtu for entry in (*labelled.trace[: leg.position + 1], *beyond))
    leg = replace(
        labelled,
        state=S.COMMITTED,
        joined=True,
        mtu=mtu,
        trace=(*labelled.trace[: leg.position + 1], *beyond),
        deadline=event.at + HOLD_SECONDS,
    )
    circuit = answered(put(circuit, leg), leg, event.sender, (event.message,), CommittedBody())
    timers = (
        Wake(ev.Deadline, HOLD_SECONDS, leg.path, leg.attempt),
        Cancel(Wake(ev.Unanswered, 0, leg.path, leg.attempt).key),
        Cancel(f"send:{MessageType.HOLD}:{leg.beyond}:{leg.key}"),
    )
    return circuit, (*timers, *_run_back(circuit, leg))


def on_unanswered(circuit: Circuit, leg: Leg, event: ev.Unanswered) -> Move:
    """The next composer did not answer in time: the route is tried without it."""
    if leg.joined or leg.beyond is None:
        return circuit, ()
    left = (leg.deadline or event.at) - event.at
    if event.at - leg.began - ANSWER_SECONDS > LATE_SECONDS and _patience(left) > LATE_SECONDS:
        return circuit, (Wake(ev.Unanswered, _patience(left), leg.path, leg.attempt),)
    cause = event.cause or _problem("peer_unreachable", f"{leg.beyond}: its composer does not answer")
    silent = event.cause is None or event.cause.code == "peer_timeout"
    element = Element(ElementKind.MEMBER, leg.beyond, passing=silent and leg.attempt <= BUSY_ATTEMPTS)
    return give_up(circuit, leg, cause, element)


def _problem(code: str, text: str) -> Problem:
    return Problem(code, text, "another route is tried", fault=Fault.REMOTE)
