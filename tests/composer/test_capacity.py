"""The ledger: in whatever order things are reserved and given back, nothing is oversold, no label given out twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.composer.capacity import (
    Claim,
    Kind,
    Ledger,
    Limit,
    Resource,
    Shortage,
    access,
    claims,
    conflict,
    leg_claims,
    link,
    reserve,
    transit,
)
from meetme.composer.circuit import (
    Circuit,
    CircuitRequest,
    ElementKind,
    End,
    Hop,
    Leg,
    MemberId,
    Reservation,
    Segment,
    State,
)
from tests.composer.chains import HOPS, A, B, C

MIDDLE = HOPS[1]
PLENTY = Limit(10_000, ((2, 4094),))


def circuit(number: int, bandwidth: int, *legs: Leg) -> Circuit:
    """A circuit at the exchange between."""
    request = CircuitRequest(End(MemberId("a"), "p"), End(MemberId("c"), "q"), bandwidth)
    return Circuit(UUID(int=number), B, A, request, MemberId("a"), 0.0, legs=legs)


def leg(position: int = 1, path: int = 1, **changes: object) -> Leg:
    """A leg over the three exchanges, at one of them."""
    return replace(Leg(path, 1, HOPS, position, 9000, 0.0), **changes)  # type: ignore[arg-type]


Move = tuple[int, int, int, bool]
moves = st.lists(
    st.tuples(st.integers(0, 11), st.integers(1, 60), st.integers(2, 9), st.booleans()), min_size=1, max_size=60
)


@given(moves)
def test_nothing_is_oversold_and_no_label_is_given_out_twice(story: list[Move]) -> None:
    limits: dict[Resource, Limit] = {
        link("to-a"): Limit(1000, ((2, 9),)),
        link("to-c"): Limit(150, ((2, 5), (7, 8))),
        transit(MIDDLE): Limit(180),
    }
    held: dict[int, Circuit] = {}
    for number, bandwidth, told, firm in story:
        if number in held:
            del held[number]  # given back
            continue
        others = tuple(claim for other in held.values() for claim in claims(other))
        new = circuit(number, bandwidth)
        got = reserve(new, B, leg(), bandwidth, Ledger(limits, others), told=told)
        if isinstance(got, Shortage):
            assert not _fits(limits, others, bandwidth, told), "what fits is given"
            continue
        assert _fits(limits, others, bandwidth, told)
        state = State.ACTIVE if firm else State.HELD
        done = leg(
            trace=(Reservation(A, 2, told, 9000), Reservation(B, *got, 9000)), state=state, segment=Segment.READY
        )
        held[number] = circuit(number, bandwidth, done)
        _sound(limits, held)


def _fits(limits: dict[Resource, Limit], others: tuple[Claim, ...], bandwidth: int, told: int) -> bool:
    """An oracle that counts by itself. The exchange between owns the link to ix-c, and not the one to ix-a."""
    out = [claim for claim in others if claim.resource == link("to-c")]
    through = sum(claim.bandwidth for claim in others if claim.resource.kind is Kind.TRANSIT)
    free = {2, 3, 4, 5, 7, 8} - {claim.label for claim in out}
    told_free = told not in {claim.label for claim in others if claim.resource == link("to-a")}
    room = sum(claim.bandwidth for claim in out) + bandwidth <= 150 and through + bandwidth <= 180
    return bool(free) and told_free and room


def _sound(limits: dict[Resource, Limit], held: dict[int, Circuit]) -> None:
    every = [claim for one in held.values() for claim in claims(one)]
    for resource, limit in limits.items():
        here = [claim for claim in every if claim.resource == resource]
        assert sum(claim.bandwidth for claim in here) <= limit.bandwidth
        labels = Counter(claim.label for claim in here if claim.label is not None)
        assert all(count == 1 for count in labels.values())
        for claim in here:
            assert conflict(limit, claim, [other for other in here if other is not claim]) is None


def test_an_access_port_is_held_once_for_both_paths() -> None:
    own = Reservation(A, 10, 20, 9000)
    first, second = leg(0, trace=(own,)), leg(0, path=2, trace=(replace(own, out_label=21),))
    held = claims(circuit(1, 100, first, second))
    assert Counter(claim.resource.kind for claim in held) == {Kind.ACCESS: 1, Kind.LINK: 2, Kind.TRANSIT: 2}
    got = reserve(circuit(1, 100, first), A, leg(0, path=2), 100, _books(Limit(100, ((10, 10),))))
    assert got == (10, 2), "the second path finds the port held by the first"


def _books(port: Limit, *held: Claim) -> Ledger:
    return Ledger({access("p"): port, link("to-b"): PLENTY, transit(HOPS[0]): PLENTY}, held)


def test_a_port_without_vlans_goes_to_one_as_a_whole() -> None:
    whole = Limit(1000)
    assert reserve(None, A, leg(0), 100, _books(whole)) == (None, 2)
    taken = Claim(access("p"), "", None, 100, firm=True)
    short = reserve(None, A, leg(0), 100, _books(whole, taken))
    assert isinstance(short, Shortage)
    assert (short.problem.code, short.element.kind, short.element.passing) == ("port_taken", ElementKind.END, False)
    wish = reserve(None, A, leg(0), 100, _books(whole), asked=(7, None))
    assert isinstance(wish, Shortage)
    assert wish.problem.code == "vlan_unavailable"


@pytest.mark.parametrize(
    ("claim", "beside", "broken"),
    [
        (Claim(link("x"), "1@1", 5, 600, True), Claim(link("x"), "1@1", 6, 500, True), "400 Mbit/s are free"),
        (Claim(link("x"), "1@1", 5, 1, True), Claim(link("x"), "1@1", 5, 1, True), "VLAN 5 is taken"),
        (Claim(link("x"), "1@1", 5, 0, True), Claim(link("x"), "1@1", 5, 0, True), "VLAN 5 is taken"),
        (Claim(access("x"), "", None, 1, True), Claim(access("x"), "", 5, 1, True), "the whole port is taken"),
        (Claim(access("x"), "", 5, 1, True), Claim(access("x"), "", None, 1, True), "the whole port is taken"),
        (Claim(link("x"), "1@1", 5, 0, True), Claim(link("x"), "1@1", 6, 5000, True), None),
        (Claim(transit(MIDDLE), "1@1", None, 5, True), Claim(transit(MIDDLE), "1@1", None, 900, True), None),
    ],
)
def test_what_two_must_not_have(claim: Claim, beside: Claim, broken: str | None) -> None:
    said = conflict(Limit(1000, ((2, 9),)), claim, [beside])
    assert said == ("500 Mbit/s are free" if broken and "Mbit" in broken else broken)


def test_where_only_what_may_go_is_in_the_way_one_may_wait() -> None:
    for firm in (True, False):
        books = _books(PLENTY, Claim(link("to-b"), "1@1", 2, 9_950, firm=firm))
        short = reserve(None, A, leg(0), 100, books)
        assert isinstance(short, Shortage)
        assert short.element.passing is not firm
    both = _books(PLENTY, Claim(link("to-b"), "x", 2, 9_950, firm=True), Claim(link("to-b"), "y", 3, 10, firm=False))
    short = reserve(None, A, leg(0), 100, both)
    assert isinstance(short, Shortage)
    assert not short.element.passing, "it would not fit even then"


def test_the_owner_of_a_link_keeps_its_label_until_both_sides_have_let_go() -> None:
    gone = leg(1, trace=(Reservation(A, 2, 4, 9000), Reservation(B, 4, 6, 9000)), state=State.RELEASING)
    assert [(str(x.resource), x.label) for x in leg_claims(gone, 100)] == [("link to-c", 6)]
    assert leg_claims(replace(gone, beyond_done=True), 100) == ()
    assert leg_claims(replace(gone, let_go=True), 100) == ()
    building = replace(gone, segment=Segment.SWEEPING, beyond_done=True)
    assert len(leg_claims(building, 100)) == 3, "an order may still be on its way"


def test_the_way_through_an_exchange_is_one_thing_in_both_directions() -> None:
    assert transit(Hop(C, "x", "y")) == transit(Hop(C, "y", "x"))
