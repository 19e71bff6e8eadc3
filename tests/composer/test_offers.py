"""A triangle of exchanges and a longer way round: a-b, b-c, a-c are dear and quick, a-d-e-c is slow, wide and cheap."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from meetme.composer.advertisement import Advertisement
from meetme.composer.graph import NoPath, Refusal, Shared
from meetme.composer.offers import find_offers, find_routes, locate
from meetme.composer.topology import Atlas
from meetme.composer.words import (
    CircuitRequest,
    Constraints,
    Disjoint,
    Element,
    ElementKind,
    End,
    Hop,
    Objective,
    Redundancy,
    Route,
)
from meetme.model.agreement import MemberId
from meetme.model.errors import NotFound
from tests.composer.advertisements import NOW, access, advertisement, nni, transit

LINKS = {
    ("a", "b"): {"latency_ms": 2.0, "price": 1.0, "bandwidth": 1000, "risks": frozenset({"duct-1"})},
    ("b", "c"): {"latency_ms": 2.0, "price": 1.0, "bandwidth": 1000},
    ("a", "c"): {"latency_ms": 3.0, "price": 4.0, "bandwidth": 500, "risks": frozenset({"duct-1"})},
    ("a", "d"): {"latency_ms": 5.0, "price": 0.1, "bandwidth": 9000, "mtu": 9000},
    ("d", "e"): {"latency_ms": 5.0, "price": 0.1, "bandwidth": 9000, "mtu": 9000},
    ("c", "e"): {"latency_ms": 5.0, "price": 0.1, "bandwidth": 9000, "mtu": 9000},
}
COUNTRIES = {"a": "DE", "b": "FR", "c": "DE", "d": "CH", "e": "AT"}


def exchange(name: str, links: dict[tuple[str, str], dict[str, Any]] = LINKS) -> Advertisement:
    points = [access("p1", f"csp-{name}", mtu=9000), access("p2", f"csp-{name}", mtu=9000)]
    for pair, facts in links.items():
        if name in pair:
            other = pair[0] if pair[1] == name else pair[1]
            half = {**facts, "price": facts.get("price", 0.0) / 2}
            points.append(nni(f"to-{other}", f"ixp-{other}", f"to-{name}", **half))
    return advertisement(f"ixp-{name}", *points, transits=(transit(latency_ms=0.1),), country=COUNTRIES.get(name))


def atlas(links: dict[tuple[str, str], dict[str, Any]] = LINKS) -> Atlas:
    names = sorted({name for pair in links for name in pair})
    return Atlas([exchange(name, links) for name in names], NOW)


def request(a: str = "a", b: str = "c", bandwidth: int = 100, **facts: Any) -> CircuitRequest:
    constraints = Constraints(**facts.pop("constraints", {}))
    ends = (End(MemberId(f"csp-{a}"), "p1"), End(MemberId(f"csp-{b}"), "p1" if a != b else "p2"))
    return CircuitRequest(*ends, bandwidth, constraints=constraints, **facts)


def ways(routes: tuple[Route, ...]) -> list[str]:
    return ["".join(hop.exchange[-1] for hop in route.hops) for route in routes]


def offered(wanted: CircuitRequest, known: Atlas | None = None) -> list[str]:
    found = find_offers(known or atlas(), wanted)
    assert not found.refused
    return ["+".join(ways(offer.routes)) for offer in found.offers]


def test_the_offers_are_the_front_with_the_best_by_the_objective_first() -> None:
    found = find_offers(atlas(), request())
    first = found.offers[0]
    assert ["".join(ways(offer.routes)) for offer in found.offers] == ["ac", "abc", "adec"]
    assert (first.latency_ms, first.bandwidth, first.hops, first.price, first.mtu) == (3.2, 500, 2, 400.0, 1500)
    assert first.routes[0].hops == (Hop(MemberId("ixp-a"), "p1", "to-c"), Hop(MemberId("ixp-c"), "to-a", "p1"))
    assert found.offers[2].mtu == 9000
    assert offered(request(objective=Objective.PRICE)) == ["adec", "abc", "ac"]
    assert offered(request(objective=Objective.THROUGHPUT)) == ["adec", "abc", "ac"]
    assert offered(request(objective=Objective.HOPS)) == ["ac", "abc", "adec"]


def test_constraints_leave_fewer() -> None:
    assert offered(request(bandwidth=600)) == ["abc", "adec"]
    assert offered(request(mtu=4000)) == ["adec"]
    assert offered(request(constraints={"max_latency_ms": 5.0})) == ["ac", "abc"]
    assert offered(request(constraints={"avoid_members": (MemberId("ixp-b"),)})) == ["ac", "adec"]
    assert offered(request(constraints={"avoid_countries": ("FR", "AT")})) == ["ac"]
    assert offered(request(constraints={"within_countries": ("DE", "FR")})) == ["ac", "abc"]


def test_a_refusal_names_what_stands_in_the_way_and_what_would_pass() -> None:
    found = find_offers(atlas(), request(bandwidth=5000, constraints={"max_latency_ms": 5.0}))
    assert found.offers == ()
    latency, bandwidth = sorted(found.refused, key=lambda one: one.asked)
    assert (latency.constraint, latency.asked, latency.nearest) == ("max_latency_ms", 5.0, pytest.approx(15.4))
    assert bandwidth == Refusal("bandwidth", 5000, 1000)
    only = find_offers(atlas(), request(constraints={"within_countries": ("FR",)}))
    assert [one.constraint for one in only.refused] == ["within_countries"]


def test_an_end_that_nobody_advertises_is_named() -> None:
    with pytest.raises(NotFound) as caught:
        find_offers(atlas(), replace(request(), b=End(MemberId("csp-c"), "p9")))
    assert caught.value.field == "b.port"


def test_a_port_may_be_named_with_its_exchange() -> None:
    wanted = replace(request(), a=End(MemberId("csp-a"), "ixp-a/p1", 17))
    ends = locate(atlas(), wanted)
    assert (ends.head, ends.request.a) == ("ixp-a", End(MemberId("csp-a"), "p1", 17))
    assert ways(find_routes(atlas(), wanted)) == ["ac"]


def test_inside_one_exchange() -> None:
    assert offered(request("b", "b")) == ["b"]
    (route,) = find_routes(atlas(), request("b", "b"))
    assert route.hops == (Hop(MemberId("ixp-b"), "p1", "p2"),)


# --- two paths --------------------------------------------------------------------------------------------------------


def pair(**facts: Any) -> CircuitRequest:
    facts.setdefault("redundancy", Redundancy.STRICT)
    return request(**facts)


def test_pairs_share_what_they_may() -> None:
    assert offered(pair())[0] == "ac+abc"
    assert "ac+adec" in offered(pair(disjoint=Disjoint.SRLG)), "a-b and a-c lie in one duct"
    assert "ac+abc" not in offered(pair(disjoint=Disjoint.SRLG))
    (first, *_) = find_offers(atlas(), pair()).offers
    assert (first.latency_ms, first.bandwidth, first.price, first.hops) == (4.3, 500, 600.0, 3)


def test_best_effort_says_what_is_shared_and_strict_says_no() -> None:
    links = {key: value for key, value in LINKS.items() if "b" not in key and key != ("a", "c")}
    links |= {("d", "f"): {}, ("c", "f"): {}}
    known = atlas(links)
    (offer, *_) = find_offers(known, pair(redundancy=Redundancy.BEST_EFFORT)).offers
    assert offer.shared == (Shared("link", "ixp-a/to-d=ixp-d/to-a"),)
    refused = find_offers(known, pair()).refused
    assert Refusal("redundancy", "strict", "best_effort") in refused


def test_two_routes_at_once_and_one_where_there_is_but_one() -> None:
    assert ways(find_routes(atlas(), pair(), (1, 2))) == ["ac", "abc"]
    lonely = {("a", "c"): {}}
    (offer,) = find_offers(atlas(lonely), pair(redundancy=Redundancy.BEST_EFFORT)).offers
    assert (ways(offer.routes), offer.hops, [each.kind for each in offer.shared]) == (["ac"], 2, ["link"])
    assert ways(find_routes(atlas(lonely), pair(redundancy=Redundancy.BEST_EFFORT), (1, 2))) == ["ac"]
    with pytest.raises(NoPath):
        find_routes(atlas(lonely), pair(), (1, 2))


def test_a_second_route_keeps_away_from_the_first() -> None:
    (first,) = find_routes(atlas(), request())
    assert ways(find_routes(atlas(), pair(), (2,), kept={1: first.hops})) == ["abc"]
    srlg = pair(disjoint=Disjoint.SRLG)
    (second,) = find_routes(atlas(), srlg, (2,), kept={1: first.hops})
    assert (second.path, ways((second,))) == (2, ["adec"])
    (long,) = find_routes(atlas(), request(mtu=9000))
    node = pair(disjoint=Disjoint.NODE, constraints={"avoid_members": (MemberId("ixp-b"),)})
    assert ways(find_routes(atlas(), node, (1,), kept={2: long.hops})) == ["ac"]
    lonely = atlas({("a", "c"): {}})
    with pytest.raises(NoPath):
        find_routes(lonely, pair(), (2,), kept={1: first.hops})
    best_effort = pair(redundancy=Redundancy.BEST_EFFORT)
    with pytest.raises(NoPath, match="must differ"):
        find_routes(lonely, best_effort, (2,), kept={1: first.hops})
    shared = atlas({("a", "c"): {}, ("c", "d"): {}, ("c", "e"): {}, ("d", "f"): {}, ("e", "f"): {}})
    (long,) = find_routes(shared, request("a", "f"))
    far = request("a", "f", redundancy=Redundancy.BEST_EFFORT, disjoint=Disjoint.LINK)
    assert ways(find_routes(shared, far, (2,), kept={1: long.hops})) == ["acef"], "a part of it may be shared"


def test_one_route_will_do_where_all_are_broken() -> None:
    lonely = atlas({("a", "c"): {}})
    for redundancy in (Redundancy.STRICT, Redundancy.BEST_EFFORT):
        (route,) = find_routes(lonely, pair(redundancy=redundancy), (1, 2), alone=True)
        assert (route.path, ways((route,))) == (1, ["ac"])
    assert ways(find_routes(atlas(), pair(), (1, 2), alone=True)) == ["ac", "abc"], "two are better"


# --- crank-back -------------------------------------------------------------------------------------------------------


def element(kind: ElementKind, member: str, *ports: str, risk: str | None = None) -> Element:
    return Element(kind, MemberId(member), ports, risk)


def test_what_has_refused_is_left_out() -> None:
    link = element(ElementKind.LINK, "ixp-c", "to-a")
    assert ways(find_routes(atlas(), request(), excluded=(link,))) == ["abc"]
    member = element(ElementKind.MEMBER, "ixp-b")
    assert ways(find_routes(atlas(), request(), excluded=(link, member))) == ["adec"]
    risk = element(ElementKind.RISK, "ixp-a", risk="duct-1")
    assert ways(find_routes(atlas(), request(), excluded=(risk,))) == ["adec"]
    with pytest.raises(NoPath):
        find_routes(atlas(), request(), excluded=(risk, element(ElementKind.LINK, "ixp-d", "to-e")))


def test_a_way_through_an_exchange_that_has_refused_is_left_out_and_no_other() -> None:
    through = element(ElementKind.TRANSIT, "ixp-b", "to-a", "to-c")
    assert ways(find_routes(atlas(), request(bandwidth=600), excluded=(through,))) == ["adec"]
    assert ways(find_routes(atlas(), request("b", "c"), excluded=(through,))) == ["bc"]
    from_port = element(ElementKind.TRANSIT, "ixp-a", "p1", "to-c")
    assert ways(find_routes(atlas(), request(), excluded=(from_port,))) == ["abc"]
    both = pair(disjoint=Disjoint.NODE)
    assert ways(find_routes(atlas(), both, (1, 2), excluded=(from_port,))) == ["abc", "adec"]


def test_an_element_that_the_map_does_not_know_changes_nothing() -> None:
    unknown = (element(ElementKind.LINK, "ixp-a", "to-z"), element(ElementKind.END, "ixp-a", "p1"))
    assert ways(find_routes(atlas(), request(), excluded=unknown)) == ["ac"]


def test_no_route_is_longer_than_composers_carry() -> None:
    names = [f"{number:02}" for number in range(40)]
    quick: dict[tuple[str, str], dict[str, Any]] = {pair: {"latency_ms": 0.1} for pair in itertools.pairwise(names)}
    known = atlas(quick | {("00", "39"): {"latency_ms": 90.0}})
    (route,) = find_routes(known, request("00", "39"))
    assert len(route.hops) == 2
    assert all(len(offer.routes[0].hops) <= 32 for offer in find_offers(known, request("00", "39")).offers)
    with pytest.raises(NoPath):
        find_routes(atlas(quick), request("00", "39"))


@pytest.mark.parametrize("redundancy", list(Redundancy)[1:])
def test_no_route_of_a_pair_is_longer_than_composers_carry(redundancy: Redundancy) -> None:
    names = [f"{number:02}" for number in range(40)]
    quick: dict[tuple[str, str], dict[str, Any]] = {pair: {"latency_ms": 0.1} for pair in itertools.pairwise(names)}
    slow = {("00", "39"): {"latency_ms": 90.0}, ("00", "20"): {"latency_ms": 70.0}}
    wanted = request("00", "39", redundancy=redundancy)
    known = atlas(quick | slow)
    found = find_offers(known, wanted).offers
    assert found
    assert all(len(route.hops) <= 32 for offer in found for route in offer.routes)
    assert sorted(len(route.hops) for route in find_routes(known, wanted, (1, 2))) == [2, 21]
    known = atlas(quick | {("00", "39"): {"latency_ms": 90.0}})
    offers = find_offers(known, wanted)
    if redundancy is Redundancy.STRICT:
        assert not offers.offers
        assert offers.refused
    else:
        assert [len(route.hops) for offer in offers.offers for route in offer.routes] == [2]


def test_the_widest_pair_that_has_to_share_a_link_is_found_and_told_with_half_of_it() -> None:
    """a and b are joined twice, b and c once: that link carries both paths."""
    known = atlas(
        {
            ("a", "b"): {"bandwidth": 333},
            ("a", "d"): {"bandwidth": 500},
            ("b", "d"): {"bandwidth": 500},
            ("b", "c"): {"bandwidth": 301, "latency_ms": 1.0},
        }
    )
    wanted = request(redundancy=Redundancy.BEST_EFFORT, objective=Objective.THROUGHPUT)
    first = find_offers(known, wanted).offers[0]
    assert first.bandwidth == 150
    assert [each.kind for each in first.shared] == ["link"]
    assert len(find_routes(known, wanted, (1, 2))) == 2
    assert not find_offers(known, replace(wanted, bandwidth=151)).offers
