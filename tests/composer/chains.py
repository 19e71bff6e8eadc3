"""Circuits over three exchanges in a row, for tests of the rules: `ix-a` (p) - `ix-b` - `ix-c` (q)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from meetme.composer import events as ev
from meetme.composer.capacity import Claim, Ledger, Limit, Resource, access, link, transit
from meetme.composer.circuit import Circuit, CircuitRequest, End, Hop, MemberId, Redundancy, Reservation, Route
from meetme.composer.effects import Outcome, Send
from meetme.composer.messages import ActivatedBody, Body, HoldBody, MessageType
from meetme.composer.signalling import step

A, B, C = MemberId("ix-a"), MemberId("ix-b"), MemberId("ix-c")
ID = UUID(int=7)
HOPS = (Hop(A, "p", "to-b"), Hop(B, "to-a", "to-c"), Hop(C, "to-b", "q"))
REQUEST = CircuitRequest(End(MemberId("csp-a"), "p"), End(MemberId("csp-c"), "q"), 100)
VLANS = ((2, 4094),)
NOW = 1_000.0


def ledger(hop: Hop, *held: Claim, bandwidth: int = 1000, labels: tuple[tuple[int, int], ...] = VLANS) -> Ledger:
    """What there is at a hop's exchange: access on ports of one letter, links on the others."""
    limits: dict[Resource, Limit] = {transit(hop): Limit(bandwidth)}
    for port in (hop.in_port, hop.out_port):
        limits[access(port) if len(port) == 1 else link(port)] = Limit(bandwidth, labels)
    return Ledger(limits, held)


def hold(
    position: int = 1, *, attempt: int = 1, label: int | None = 2, at: float = NOW, **changes: object
) -> ev.HoldReceived:
    """`hold` as the composer at this position gets it."""
    trace = tuple(Reservation(hop.exchange, 2, 2, 9000) for hop in HOPS[:position])
    body = HoldBody(REQUEST, REQUEST.a.member, HOPS, trace, label, 9000, 30.0)
    hop = HOPS[position]
    event = ev.HoldReceived(
        at, ID, hop.exchange, HOPS[position - 1].exchange, UUID(int=100 + attempt), 1, attempt, body, ledger(hop)
    )
    inside = {name: value for name, value in changes.items() if hasattr(body, name)}
    outside = {name: value for name, value in changes.items() if name not in inside}
    return replace(event, body=replace(body, **inside), **outside)  # type: ignore[arg-type]


def begun(redundancy: Redundancy = Redundancy.NONE) -> Circuit:
    """A circuit at its head that has just been ordered."""
    request = replace(REQUEST, redundancy=redundancy)
    return step(None, ev.Start(NOW, ID, A, A, request, request.a.member)).circuit


def composed(circuit: Circuit, *routes: Route, at: float = NOW, books: Ledger | None = None) -> Outcome:
    """The same with routes; the one over all three exchanges if none are named."""
    routes = routes or (Route(1, HOPS, 9000),)
    return step(circuit, ev.Composed(at, routes, books or ledger(HOPS[0])))


def whole_trace() -> tuple[Reservation, ...]:
    """What everybody has reserved: the lower id names the label of each link, the lowest that is free."""
    return (Reservation(A, 2, 2, 9000), Reservation(B, 2, 2, 9000), Reservation(C, 2, 2, 1500))


def committed(at: float = NOW) -> Outcome:
    """The head once `commit` has come back."""
    circuit = composed(begun()).circuit
    return step(circuit, ev.CommitReceived(at, B, UUID(int=200), 1, 1, whole_trace(), ledger(HOPS[0])))


def active() -> Circuit:
    """The head once everything is in production."""
    circuit = step(committed().circuit, ev.Built(NOW, 1, 1, 2, 2)).circuit
    return step(circuit, ev.ActivatedReceived(NOW, 1, 1)).circuit


def sent(outcome: Outcome, kind: MessageType) -> list[str]:
    """To whom a message of this type is owed."""
    return [e.to for e in outcome.effects if isinstance(e, Send) and e.type is kind]


def answer(outcome: Outcome) -> Body:
    """The one answer that was given."""
    (only,) = outcome.circuit.answers
    return only.body


def middle_ready() -> Circuit:
    """The composer between, once it has answered `activated`."""
    circuit = step(None, hold()).circuit
    circuit = step(circuit, ev.CommitReceived(NOW, C, UUID(int=1), 1, 1, whole_trace(), ledger(HOPS[1]))).circuit
    circuit = step(circuit, ev.ActivateReceived(NOW, A, UUID(int=2), 1, 1, whole_trace(), 60.0)).circuit
    circuit = step(circuit, ev.ActivatedReceived(NOW, 1, 1)).circuit
    outcome = step(circuit, ev.Built(NOW, 1, 1, 2, 2))
    assert answer(outcome) == ActivatedBody()
    return outcome.circuit
