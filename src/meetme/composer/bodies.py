"""What each message says, by the state at the time it is sent: the shell asks at every attempt."""

from __future__ import annotations

from meetme.composer.circuit import Circuit, Leg, MemberId, State, owner
from meetme.composer.messages import (
    ActivateBody,
    Body,
    CommitBody,
    Handed,
    HoldBody,
    MessageType,
    QueryBody,
    ReleaseBody,
)

SHARE = 0.8
"""How much of its own time a composer leaves to those after it: who is nearest to what hangs gives up first."""


def body(circuit: Circuit, kind: MessageType, to: MemberId, path: int, attempt: int, at: float) -> Body | None:
    """The body of an own message at the time `at`. None: there is nothing left to say."""
    if path == 0:
        return _about_the_circuit(circuit, kind)
    leg = circuit.leg(path, attempt)
    if leg is None:
        return None
    match kind:
        case MessageType.HOLD if leg.state is State.HELD:
            return HoldBody(
                circuit.request,
                circuit.ordered_by,
                leg.hops,
                leg.trace,
                leg.own.out_label if leg.own and owner(circuit.me, to) == circuit.me else None,
                leg.mtu,
                seconds_left(leg, at),
            )
        case MessageType.COMMIT if leg.state is State.COMMITTED:
            return CommitBody(leg.trace)
        case MessageType.ACTIVATE if leg.live:
            return ActivateBody(leg.trace, seconds_left(leg, at))
        case MessageType.RELEASE:
            return ReleaseBody(leg.problem, leg.element, circuit.ending)
        case MessageType.QUERY:
            return QueryBody(leg.state, circuit.state, handed(circuit, leg) if leg.handed else None)
        case _:
            return None


def seconds_left(leg: Leg, at: float) -> float:
    """How long those after this composer have."""
    return max(0.5, (leg.deadline - at) * SHARE) if leg.deadline is not None else 30.0


def handed(circuit: Circuit, leg: Leg) -> Handed:
    """The whole leg, for a neighbour that has lost it."""
    return Handed(circuit.request, circuit.ordered_by, leg.hops, leg.trace, leg.mtu)


def _about_the_circuit(circuit: Circuit, kind: MessageType) -> Body | None:
    match kind:
        case MessageType.HOLD:
            return HoldBody(circuit.request, circuit.ordered_by)
        case MessageType.RELEASE:
            return ReleaseBody(circuit.problem, None, whole=True)
        case MessageType.QUERY:
            return QueryBody(circuit.state, circuit.state)
        case _:
            return None
