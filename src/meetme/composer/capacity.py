"""The ledger of capacity and labels: what a composer's circuits keep from each other (invariant 2).

A *resource* is an access port, a transit between two ports of the own exchange, or an inter-exchange link (NNI). Of a
link only the composer of the lower member id gives capacity and labels; the other one keeps the label too, so that a
link's owner that has forgotten what it gave out cannot give it out again.

What a circuit claims follows from its state alone (`claims`). The store writes the claims in the transaction that
writes the state and refuses what breaks the rules of `conflict`; what is free is read in the same transaction
(`Ledger`), so two that ask at the same time never get the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from meetme.composer.circuit import Circuit, Element, ElementKind, Hop, Leg, MemberId, Segment, State, owner
from meetme.model.errors import Problem

LOWEST_LABEL, HIGHEST_LABEL = 2, 4094
"""IEEE 802.1Q VLAN ids that IX-API may give (0 and 4095 are reserved, 1 is the switches' default)."""


class Kind(StrEnum):
    """What a claim is on."""

    ACCESS = "access"
    TRANSIT = "transit"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing at the own exchange of which there is so much and no more."""

    kind: Kind
    ports: tuple[str, ...]
    """The own port; of a transit both, sorted: it is one thing whichever way a circuit goes through."""

    def __str__(self) -> str:
        return f"{self.kind} {' '.join(self.ports)}"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much there is of a resource, by the own settings and the own exchange."""

    bandwidth: int
    """Mbit/s, each way."""
    labels: tuple[tuple[int, int], ...] = ()
    """VLAN ranges, ends included. Empty: the port has no VLANs, whoever gets it gets all of it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one circuit keeps of one resource. `holder` tells the claims of one circuit on one resource apart.

    An access port is held once for both paths of a circuit (`holder` is empty); anything else by each leg.
    """

    resource: Resource
    holder: str
    label: int | None
    """None on an access port: the whole port."""
    bandwidth: int
    """Mbit/s. 0 on a link that the other exchange owns: its capacity is not ours to give."""
    firm: bool
    """It stays unless somebody ends the circuit, or it is given back much too late: nobody need wait for it."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What there is and what the *other* circuits have of it, read in the transaction that uses it."""

    limits: Mapping[Resource, Limit]
    held: tuple[Claim, ...] = ()
    """Of other circuits, at least those on the resources that the event is about."""

    def on(self, resource: Resource, own: Iterable[Claim] = ()) -> tuple[Claim, ...]:
        """Every claim on `resource`, with the circuit's own ones."""
        return tuple(claim for claim in (*self.held, *own) if claim.resource == resource)


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why something could not be had, and what that means for the route."""

    problem: Problem
    element: Element


# --- resources of a hop -----------------------------------------------------------------------------------------------


def access(port: str) -> Resource:
    """An access port."""
    return Resource(Kind.ACCESS, (port,))


def link(port: str) -> Resource:
    """The inter-exchange link at this port."""
    return Resource(Kind.LINK, (port,))


def transit(hop: Hop) -> Resource:
    """The way through the own exchange."""
    return Resource(Kind.TRANSIT, (min(hop.in_port, hop.out_port), max(hop.in_port, hop.out_port)))


def resources(hops: tuple[Hop, ...], position: int) -> tuple[Resource, ...]:
    """What the composer at `position` of a route needs: way in, way out, and the way between them."""
    hop = hops[position]
    way_in = access(hop.in_port) if position == 0 else link(hop.in_port)
    way_out = access(hop.out_port) if position == len(hops) - 1 else link(hop.out_port)
    return way_in, way_out, transit(hop)


# --- what is claimed --------------------------------------------------------------------------------------------------


def claims(circuit: Circuit) -> frozenset[Claim]:
    """What the circuit keeps from every other one here, as a function of the state alone."""
    held: dict[tuple[Resource, str], Claim] = {}
    for leg in circuit.legs:
        for claim in leg_claims(leg, circuit.request.bandwidth):
            known = held.get((claim.resource, claim.holder))
            if known is None or (claim.firm and not known.firm):
                held[claim.resource, claim.holder] = claim
    return frozenset(held.values())


def leg_claims(leg: Leg, bandwidth: int) -> tuple[Claim, ...]:
    """What one leg keeps, until the own segment is gone; of an own link until the neighbour's is gone too."""
    if leg.state is State.RELEASED or leg.own is None:
        return ()
    way_in, way_out, through = resources(leg.hops, leg.position)
    own, firm = leg.own, leg.state is State.ACTIVE or leg.overdue
    here = leg.live or leg.segment is not Segment.ABSENT
    held = []
    for resource, label, neighbour, gone in (
        (way_in, own.in_label, leg.before, leg.before_done),
        (way_out, own.out_label, leg.beyond, leg.beyond_done),
    ):
        if neighbour is None:
            if here:
                held.append(Claim(resource, "", label, bandwidth, firm))
            continue
        mine = owner(leg.hop.exchange, neighbour) == leg.hop.exchange
        if label is not None and (here or (mine and not (gone or leg.let_go))):
            held.append(Claim(resource, leg.key, label, bandwidth if mine else 0, firm))
    if here:
        held.append(Claim(through, leg.key, None, bandwidth, firm))
    return tuple(held)


def conflict(limit: Limit | None, claim: Claim, others: Iterable[Claim]) -> str | None:
    """What `claim` breaks beside `others` on the same resource; None: nothing. The store asks before it writes."""
    beside = tuple(others)
    kind = claim.resource.kind
    if kind is Kind.ACCESS and beside and (claim.label is None or any(other.label is None for other in beside)):
        return "the whole port is taken"
    if kind is not Kind.TRANSIT and claim.label is not None and any(other.label == claim.label for other in beside):
        return f"VLAN {claim.label} is taken"
    if claim.bandwidth == 0:
        return None
    if limit is None:
        return "there is no such port"
    free = limit.bandwidth - sum(other.bandwidth for other in beside)
    return None if claim.bandwidth <= free else f"{free} Mbit/s are free"


# --- reserving --------------------------------------------------------------------------------------------------------


def reserve(
    circuit: Circuit | None,
    me: MemberId,
    leg: Leg,
    bandwidth: int,
    ledger: Ledger,
    *,
    told: int | None = None,
    asked: tuple[int | None, int | None] = (None, None),
) -> tuple[int | None, int | None] | Shortage:
    """The labels on both ports for the own hop of `leg`, or what is short.

    `told`: the label that the previous composer has given, which owns the link; `asked`: the VLANs that the request
    names for the two ends. The label of a link that the next composer owns is not known yet (None).
    """
    own = tuple(claims(circuit)) if circuit else ()
    way_in, way_out, through = resources(leg.hops, leg.position)
    short = _short_of(ledger, through, own, bandwidth, Element(ElementKind.TRANSIT, me, through.ports), me)
    if short is not None:
        return short
    labels: list[int | None] = []
    for resource, neighbour, given, wish in (
        (way_in, leg.before, told, asked[0]),
        (way_out, leg.beyond, None, asked[1]),
    ):
        if neighbour is None:
            got = _access(ledger, resource, own, bandwidth, wish, me)
        elif owner(me, neighbour) == me:
            got = _label(ledger, resource, own, bandwidth, None, me)
        elif neighbour == leg.before:
            got = taken_elsewhere(ledger, resource, own, given, me)
        else:
            got = None
        if isinstance(got, Shortage):
            return got
        labels.append(got)
    return labels[0], labels[1]


def _access(
    ledger: Ledger, resource: Resource, own: tuple[Claim, ...], bandwidth: int, wish: int | None, me: MemberId
) -> int | Shortage | None:
    """Hold an access port, once for all paths of a circuit."""
    mine = next((claim for claim in own if claim.resource == resource), None)
    if mine is not None:
        return mine.label
    limit = ledger.limits.get(resource)
    if limit is None or limit.labels:
        return _label(ledger, resource, own, bandwidth, wish, me)
    element = Element(ElementKind.END, me, resource.ports)
    if wish is not None:
        return Shortage(_problem("vlan_unavailable", resource, f"has no VLANs (VLAN {wish} was asked for)"), element)
    others = ledger.on(resource)
    if others:
        return Shortage(_problem("port_taken", resource, "is taken as a whole"), _passing(element, others))
    return _short_of(ledger, resource, (), bandwidth, element, me)


def _label(
    ledger: Ledger, resource: Resource, own: tuple[Claim, ...], bandwidth: int, wish: int | None, me: MemberId
) -> int | Shortage:
    """The lowest free label, or the one that is wished for."""
    kind = ElementKind.END if resource.kind is Kind.ACCESS else ElementKind.LINK
    element = Element(kind, me, resource.ports)
    short = _short_of(ledger, resource, own, bandwidth, element, me)
    if short is not None:
        return short
    held = ledger.on(resource, own)
    taken = {claim.label for claim in held}
    ranges = ledger.limits[resource].labels
    if wish is not None:
        if wish in taken or not any(first <= wish <= last for first, last in ranges):
            clash = tuple(claim for claim in held if claim.label == wish)
            return Shortage(
                _problem("vlan_unavailable", resource, f"VLAN {wish} is not free"), _passing(element, clash)
            )
        return wish
    for first, last in ranges:
        for label in range(max(first, LOWEST_LABEL), min(last, HIGHEST_LABEL) + 1):
            if label not in taken:
                return label
    return Shortage(_problem("labels_exhausted", resource, "every VLAN is taken"), _passing(element, held))


def taken_elsewhere(
    ledger: Ledger, resource: Resource, own: tuple[Claim, ...], label: int | None, me: MemberId
) -> int | Shortage:
    """Check the label that a link's owner has given: one that this side knows to be in use is no good."""
    element = Element(ElementKind.LINK, me, resource.ports)
    if label is None or not LOWEST_LABEL <= label <= HIGHEST_LABEL:
        said = f"the link's owner must name a VLAN from {LOWEST_LABEL} to {HIGHEST_LABEL} ({label})"
        return Shortage(_problem("label_malformed", resource, said), element)
    clash = tuple(claim for claim in ledger.on(resource, own) if claim.label == label)
    if clash:
        said = f"the link's owner gave VLAN {label}, which is in use"
        return Shortage(_problem("label_in_use", resource, said), _passing(element, clash))
    if resource not in ledger.limits:
        return Shortage(_problem("port_unknown", resource, "there is no such port"), element)
    return label


def _short_of(
    ledger: Ledger, resource: Resource, own: tuple[Claim, ...], bandwidth: int, element: Element, me: MemberId
) -> Shortage | None:
    limit = ledger.limits.get(resource)
    if limit is None:
        return Shortage(_problem("port_unknown", resource, f"there is no such port at {me}"), element)
    held = ledger.on(resource, own)
    free = limit.bandwidth - sum(claim.bandwidth for claim in held)
    if bandwidth <= free:
        return None
    said = f"{bandwidth} Mbit/s must be free ({max(0, free)} Mbit/s are)"
    # Only where it would fit beside what is sure to stay does it make sense to wait.
    sure = limit.bandwidth - sum(claim.bandwidth for claim in held if claim.firm)
    passing = tuple(claim for claim in held if not claim.firm) if bandwidth <= sure else ()
    return Shortage(_problem("capacity_exhausted", resource, said), _passing(element, passing))


def _passing(element: Element, held: Iterable[Claim]) -> Element:
    waits = any(not claim.firm for claim in held)
    return Element(element.kind, element.member, element.ports, element.risk, passing=waits)


def _problem(code: str, resource: Resource, said: str) -> Problem:
    hint = (
        "try another port, less bandwidth, or later" if resource.kind is Kind.ACCESS else "another route may have room"
    )
    return Problem(code, f"{resource}: {said}", hint, str(resource.kind))
