"""A request that another composer was asked for: it passes it on to the head, and follows what becomes of it there.

The circuit itself, apart from its legs, is path 0, attempt 0 of the messages between the two.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from meetme.composer import events as ev
from meetme.composer.aligning import COMPARE_SECONDS
from meetme.composer.building import SOON_SECONDS
from meetme.composer.circuit import ENDED, Answer, Circuit, MemberId, Search, State
from meetme.composer.effects import Cancel, Compose, Effect, Move, Send, Wake
from meetme.composer.messages import Body, HeldBody, MessageType, RefusedBody, ReleasedBody, StateBody
from meetme.composer.releasing import give_up_all
from meetme.model.errors import Fault, Problem

ACCEPT_SECONDS = 30.0
"""How long the head has to take a request on."""

LOST_SECONDS = 120.0
"""For how long a head that knows nothing of it is asked again."""


def pass_on(event: ev.Start) -> Move:
    """This composer was asked, another one is the head."""
    circuit = Circuit(event.id, event.me, event.head, event.request, event.ordered_by, event.at, passed=True)
    return circuit, (_say(circuit, MessageType.HOLD), Wake(ev.Unanswered, ACCEPT_SECONDS))


def on_passed(event: ev.PassedOn) -> Move:
    """The head takes a request on, or refuses it."""
    body, paths = event.body, event.body.request.paths
    circuit = Circuit(event.id, event.me, event.me, body.request, body.ordered_by, event.at, asked_by=event.sender)
    if event.objection is not None:
        problem = replace(event.objection, fault=Fault.REMOTE)
        refused = replace(circuit, ending=True, problem=problem)
        return _answered(refused, event.sender, event.message, RefusedBody(problem, whole=True)), ()
    searches = tuple(Search(path) for path in range(1, paths + 1))
    circuit = replace(circuit, wanted=paths, searches=searches)
    return _answered(circuit, event.sender, event.message, HeldBody()), (Compose(tuple(range(1, paths + 1))),)


def on_accepted(circuit: Circuit) -> Move:
    """The head has it: now and then it is asked what has become of it."""
    circuit = replace(circuit, accepted=True)
    return circuit, (Cancel(Wake(ev.Unanswered, 0).key), Wake(ev.CompareDue, SOON_SECONDS))


def on_refused(circuit: Circuit, event: ev.RefusedReceived) -> Move:
    """The head does not take it on."""
    circuit = replace(circuit, parted=True)
    return give_up_all(circuit, event.problem)


def on_unanswered(circuit: Circuit, event: ev.Unanswered) -> Move:
    """The head does not answer: it is told for as long as it takes that nothing is wanted any more."""
    if circuit.accepted or circuit.ending:
        return circuit, ()
    cause = event.cause or Problem(
        "peer_unreachable", f"{circuit.head}: its composer does not answer", "try again later", fault=Fault.REMOTE
    )
    return end(circuit, cause)


def end(circuit: Circuit, problem: Problem | None) -> Move:
    """Take it back: the head is told, and asked until it has ended there."""
    circuit, effects = give_up_all(circuit, problem)
    stop: tuple[Effect, ...] = (Cancel(_say(circuit, MessageType.HOLD).key), Cancel(Wake(ev.Unanswered, 0).key))
    return circuit, (*effects, *stop, _say(circuit, MessageType.RELEASE))


def ask(circuit: Circuit) -> Move:
    """What has become of it?"""
    if not circuit.passed or circuit.parted:
        return circuit, ()
    circuit = replace(circuit, queries=circuit.queries + 1)
    settled = not circuit.ending and circuit.told in (State.ACTIVE, State.DEGRADED)
    pause = COMPARE_SECONDS if settled else SOON_SECONDS
    asked = (_say(circuit, MessageType.QUERY),) if circuit.accepted or circuit.ending else ()
    return circuit, (*asked, Wake(ev.CompareDue, pause))


def on_released(circuit: Circuit) -> Move:
    """The head has heard that it is taken back."""
    return ask(circuit)


def on_state(circuit: Circuit, event: ev.StateReceived) -> Move:
    """Where the head stands. None: it knows nothing of it."""
    if not circuit.passed:
        return circuit, ()
    in_force = event.whole in (State.ACTIVE, State.DEGRADED)
    circuit = replace(circuit, told=event.whole or circuit.told, established=circuit.established or in_force)
    if event.whole is not None:
        circuit = replace(circuit, lost_since=None)
    elif not circuit.ending:
        # A head that was restored from a backup is given back by the next composer what it has lost.
        circuit = replace(circuit, lost_since=circuit.lost_since or event.at)
        if event.at < (circuit.lost_since or 0.0) + LOST_SECONDS:
            return circuit, ()
    if event.whole is None or event.whole in ENDED:
        circuit = replace(circuit, parted=True)
        lost = Problem("peer_lost", f"query: {circuit.head} has it no more", fault=Fault.REMOTE)
        return give_up_all(circuit, event.problem or (lost if event.whole is None and not circuit.ending else None))
    return circuit, ()


def on_release(circuit: Circuit, event: ev.ReleaseReceived) -> Move:
    """At the head: whoever passed it on takes it back. Heard; it asks until all of it is gone."""
    circuit, effects = give_up_all(circuit, event.problem)
    return _answered(circuit, event.sender, event.message, ReleasedBody()), effects


def on_query(circuit: Circuit, event: ev.QueryReceived) -> Move:
    """At the head: whoever passed it on asks."""
    body = StateBody(circuit.state, circuit.state, circuit.problem)
    return _answered(circuit, event.sender, event.message, body), ()


def _say(circuit: Circuit, kind: MessageType) -> Send:
    return Send(kind, circuit.head, circuit.message(kind, circuit.head, None), 0, 0)


def _answered(circuit: Circuit, peer: MemberId, message: UUID, body: Body) -> Circuit:
    return replace(circuit, answers=(*circuit.answers, Answer(message, peer, 0, 0, body)))
