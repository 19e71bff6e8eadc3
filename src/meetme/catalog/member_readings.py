"""What circuits and negotiations mean to an order: read from how exchanges and the own negotiator show them."""

from __future__ import annotations

from dataclasses import replace

from meetme.catalog.order import Order, Reach
from meetme.catalog.underlay import CircuitStanding
from meetme.catalog.words import Party
from meetme.composer.views import CircuitView
from meetme.composer.words import ENDED as CIRCUIT_ENDED
from meetme.composer.words import State as CircuitState
from meetme.model.errors import Fault, Problem
from meetme.negotiator.intents import as_reached
from meetme.negotiator.views import NegotiationView

BUILT = frozenset({CircuitState.ACTIVE, CircuitState.DEGRADED})


def circuit_standing(circuit: CircuitView) -> CircuitStanding:
    """How a circuit stands, to the order that has it."""
    ended = None
    if circuit.state in CIRCUIT_ENDED or circuit.state is CircuitState.RELEASING:
        ended = circuit.problem or Problem("circuit_ended", f"circuit: is {circuit.state}", "order it again")
        ended = replace(ended, fault=Fault.REMOTE)  # some exchange's, whichever
    return CircuitStanding(
        str(circuit.id),
        circuit.state.value,
        circuit.state in BUILT or circuit.state is CircuitState.COMMITTED,
        circuit.state in BUILT,
        ended,
    )


def reach(order: Order, n: NegotiationView) -> Reach:
    """How the buyer addresses the service, by the agreement; the seller's own view is the other way round."""
    if n.agreement is None:
        return Reach()
    theirs = n.agreement.side(n.role.other)
    offer = order.offered
    address = offer.address if order.party is Party.BUYER and offer is not None else None
    reached = None if address is None else as_reached(theirs, address)
    prefixes = ", ".join(str(prefix.alias) for prefix in theirs.prefixes)
    rtt = n.health.rtt_ms if n.health is not None else None
    return Reach(reached, prefixes, rtt)
