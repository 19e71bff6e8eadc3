"""From words to a map: what both ends confirm, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.composer.advertisement import Advertisement, VlanRange
from meetme.composer.graph import Graph, Point
from meetme.composer.topology import Atlas, build, link_name, links
from meetme.model.errors import NotFound, Refused
from tests.composer.advertisements import NOW, access, advertisement, nni, transit

A_B = (nni("n1", "ixp-b", "n7"), nni("n7", "ixp-a", "n1"))


def pair(near: dict[str, object] | None = None, far: dict[str, object] | None = None) -> tuple[Advertisement, ...]:
    """Two exchanges, a member at each, a link between them."""
    return (
        advertisement("ixp-a", access("p1", "csp-a"), replace(A_B[0], **(near or {}))),
        advertisement("ixp-b", access("p1", "csp-b"), replace(A_B[1], **(far or {})), country="FR"),
    )


def edges(graph: Graph) -> set[tuple[Point, Point]]:
    return {(graph.points[edge.tail], graph.points[edge.head]) for edge in graph.edges}


def test_a_link_is_the_worse_of_what_its_ends_say() -> None:
    ads = pair(
        {"bandwidth": 4000, "mtu": 9000, "vlans": VlanRange(100, 300), "latency_ms": 2.0, "price": 1.0,
         "risks": frozenset({"duct-1"}), "facility": "north", "availability": 0.99},
        {"bandwidth": 6000, "mtu": 1600, "vlans": VlanRange(200, 400), "latency_ms": 3.0, "price": 0.5,
         "risks": frozenset({"duct-2"}), "facility": "south"},
    )  # fmt: skip
    (nni,), alone = links(ads)
    assert alone == ()
    assert nni.name == "ixp-a/n1=ixp-b/n7"
    assert (nni.bandwidth, nni.mtu, nni.vlans, nni.latency_ms) == (4000, 1600, VlanRange(200, 300), 3.0)
    assert (nni.price, nni.availability) == (1.5, 0.99)
    assert nni.risks == {"duct-1", "duct-2", "facility:north", "facility:south"}


CLAIMS = [
    ("names no such link", (advertisement("ixp-a", A_B[0]), advertisement("ixp-b", access("p1", "csp-b")))),
    ("names no such link", (advertisement("ixp-a", A_B[0]),)),
    ("names no such link", (advertisement("ixp-a", A_B[0]), advertisement("ixp-b", access("n7", "csp-b")))),
    ("leads to ixp-c", (advertisement("ixp-a", A_B[0]), advertisement("ixp-b", nni("n7", "ixp-c", "n1")))),
    ("leads to ixp-a, 'n2'", (advertisement("ixp-a", A_B[0]), advertisement("ixp-b", nni("n7", "ixp-a", "n2")))),
    ("none of the same VLANs", pair({"vlans": VlanRange(2, 99)}, {"vlans": VlanRange(100, 199)})),
]


@pytest.mark.parametrize(("reason", "ads"), CLAIMS, ids=range(len(CLAIMS)))
def test_a_link_that_only_one_of_them_names_is_none(reason: str, ads: tuple[Advertisement, ...]) -> None:
    agreed, alone = links(ads)
    assert agreed == ()
    (first,) = [end for end in alone if end.point == Point("ixp-a", "n1")]
    assert reason in first.reason
    graph = build(ads, NOW)
    assert not any(edge.exchange is None for edge in graph.edges)
    assert Point("ixp-a", "n1") not in graph.points


def test_nobody_can_put_a_link_to_a_port_that_is_taken() -> None:
    liar = advertisement("ixp-c", nni("x1", "ixp-b", "n7"), nni("x2", "ixp-a", "n1"), nni("x3", "ixp-a", "p1"))
    honest = pair()
    agreed, alone = links((*honest, liar))
    assert agreed == links(honest)[0]
    assert {end.point.exchange for end in alone} == {"ixp-c"}


def test_what_crosses_an_exchange() -> None:
    ad = advertisement(
        "ixp-a",
        access("p1", "csp-a", bandwidth=1000, mtu=1600),
        access("p2", "csp-b"),
        *(nni(f"n{n}", "ixp-b", f"n{n}", mtu=9000) for n in (1, 2, 3)),
        transits=(
            transit("p1", "n1", latency_ms=1.0),
            transit("n1", latency_ms=2.0, bandwidth=300),
            transit("*", "n2", latency_ms=3.0, bandwidth=9000, price=2.0),
            transit(latency_ms=9.0),
        ),
    )
    far = advertisement("ixp-b", *(nni(f"n{n}", "ixp-a", f"n{n}", mtu=9000) for n in (1, 2, 3)))
    graph = build((ad, far), NOW)
    ways = {edge.link: edge for edge in graph.edges if edge.exchange == "ixp-a"}
    latency = {name.replace("ixp-a/", ""): edge.latency_ms for name, edge in ways.items()}
    assert latency == {
        "n1=p1": 1.0, "n1=p2": 2.0, "n1=n2": 3.0, "n1=n3": 2.0, "n2=p1": 3.0, "n2=p2": 3.0, "n2=n3": 3.0,
        "n3=p1": 9.0, "n3=p2": 9.0, "p1=p2": 9.0,
    }  # fmt: skip
    both = ways[link_name(Point("ixp-a", "n1"), Point("ixp-a", "n2"))]
    assert (both.bandwidth, both.price) == (300, 2.0)
    assert ways["ixp-a/n3=ixp-a/p1"].bandwidth == 1000, "an access port bounds what begins there"
    assert (ways["ixp-a/n3=ixp-a/p1"].mtu, ways["ixp-a/n1=ixp-a/n2"].mtu) == (1600, 9000)


def test_without_a_transit_nothing_crosses() -> None:
    ads = pair()
    graph = build((replace(ads[0], transits=()), ads[1]), NOW)
    assert (Point("ixp-a", "p1"), Point("ixp-a", "n1")) not in edges(graph)
    assert (Point("ixp-a", "n1"), Point("ixp-b", "n7")) in edges(graph)


def test_what_has_expired_is_not_there() -> None:
    ads = (pair()[0], replace(pair()[1], expires=NOW + 10))
    assert len(build(ads, NOW + 9).points) == 4
    assert {point.exchange for point in build(ads, NOW + 10).points} == {"ixp-a"}


def test_only_the_ports_that_are_asked_about() -> None:
    ads = (advertisement("ixp-a", access("p1", "csp-a"), access("p2", "csp-a"), A_B[0]), pair()[1])
    ends = (Point("ixp-a", "p1"), Point("ixp-b", "p1"))
    assert set(build(ads, NOW, ends=ends).points) == {*ends, Point("ixp-a", "n1"), Point("ixp-b", "n7")}
    assert build(ads, NOW).countries == {"ixp-a": "DE", "ixp-b": "FR"}


def test_the_building_that_an_end_stands_in_is_no_risk_that_could_be_avoided() -> None:
    ads = (
        advertisement("ixp-a", access("p1", "csp-a", facility="north"), replace(A_B[0], facility="north")),
        advertisement("ixp-b", access("p1", "csp-b"), replace(A_B[1], facility="south")),
    )
    ends = (Point("ixp-a", "p1"), Point("ixp-b", "p1"))
    (risks,) = {edge.risks for edge in build(ads, NOW, ends=ends).edges if edge.exchange is None}
    assert risks == {"facility:south"}
    (all_risks,) = {edge.risks for edge in build(ads, NOW).edges if edge.exchange is None}
    assert all_risks == {"facility:north", "facility:south"}


# --- the atlas --------------------------------------------------------------------------------------------------------


def test_a_member_and_its_port_are_found_or_it_is_said_why_not() -> None:
    atlas = Atlas((*pair(), advertisement("ixp-c", access("p9", "csp-a"), access("p1", "csp-a"))), NOW)
    assert atlas.port("csp-b", "p1", field="b") == Point("ixp-b", "p1")
    assert atlas.port("csp-a", "p9", field="a") == Point("ixp-c", "p9")
    with pytest.raises(Refused, match="ixp-a and ixp-c") as ambiguous:
        atlas.port("csp-a", "p1", field="a")
    assert ambiguous.value.field == "a.port"
    assert atlas.port("csp-a", "ixp-c/p1", field="a") == Point("ixp-c", "p1")
    with pytest.raises(NotFound, match="csp-b") as unknown:
        atlas.port("csp-b", "p2", field="b")
    assert unknown.value.code == "end_unknown"
    assert "ixp-b/p1" in unknown.value.hint
    with pytest.raises(NotFound):
        atlas.port("csp-a", "n1", field="a")
    with pytest.raises(NotFound):
        atlas.port("csp-a", "ixp-b/p1", field="a")


def test_the_map_is_drawn_once_and_within_one_exchange_only_of_that() -> None:
    ads = (advertisement("ixp-a", access("p1", "csp-a"), access("p2", "csp-b"), A_B[0]), pair()[1])
    atlas = Atlas(ads, NOW)
    p1, p2, far = Point("ixp-a", "p1"), Point("ixp-a", "p2"), Point("ixp-b", "p1")
    assert atlas.between(p1, far) is atlas.between(p2, far)
    assert (p1, p2) not in edges(atlas.between(p1, far))
    assert edges(atlas.between(p1, p2)) == {(p1, p2), (p2, p1)}
    assert atlas.nni_at[Point("ixp-b", "n7")].a == Point("ixp-a", "n1")
    assert atlas.until == NOW + 3600


@given(st.permutations(range(4)), st.randoms())
def test_the_map_is_the_same_whoever_draws_it(order: list[int], random: object) -> None:
    """The names and values do not hang on the order in which words came."""
    names = [f"ixp-{letter}" for letter in "abcd"]
    ads = [
        advertisement(
            name,
            access("p1", f"csp-{index}"),
            *(nni(f"to-{other}", other, f"to-{name}", latency_ms=index + 1.0) for other in names if other != name),
        )
        for index, name in enumerate(names)
    ]
    one, other = (build(each, NOW) for each in (ads, [ads[index] for index in order]))
    assert set(one.points) == set(other.points)
    assert {(e.link, e.latency_ms, e.bandwidth) for e in one.edges} == {
        (e.link, e.latency_ms, e.bandwidth) for e in other.edges
    }
    assert {link.latency_ms for link in links(ads)[0]} == {2.0, 3.0, 4.0}
