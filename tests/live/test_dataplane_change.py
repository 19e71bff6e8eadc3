"""A changed intent over the one in force: what stays loses nothing, what is new passes, what is withdrawn does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.live.pair import Announced, Pair, apply, inside, intents, pair, pending, remove, snapshot
from tests.live.stream import flowing, one_way
from tests.live.world import ping, talk, why_not

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

STAYS_A, STAYS_B = (
    Announced("10.0.0.0/24", "100.64.1.0/24", by="owner"),
    Announced("10.0.0.0/24", "100.64.2.0/24", by="viewer"),
)
GOES_A, GOES_B = Announced("10.1.0.0/24"), Announced("10.2.0.0/24", "100.64.4.0/24", by="owner")
COMES_A, COMES_B = Announced("10.3.0.0/24", "100.64.5.0/24", by="owner"), Announced("10.4.0.0/24")
SIX_A, SIX_B = Announced("fd01::/64"), Announced("fd02::/64")
BEFORE = intents([STAYS_A, GOES_A], [STAYS_B, GOES_B], probe_a="10.0.0.1", probe_b="10.0.0.1")
AFTER = tuple(
    replace(intent, revision=2, generation=2)
    for intent in intents(
        [STAYS_A, COMES_A, SIX_A], [STAYS_B, COMES_B, SIX_B], probe_a="10.0.0.1", probe_b="10.0.0.1", mtu=1400
    )
)


@pytest.fixture
def both() -> Iterator[Pair]:
    a = ("10.0.0.1/24", "10.1.0.1/24", "10.3.0.1/24", "fd01::1/64")
    b = ("10.0.0.1/24", "10.2.0.1/24", "10.4.0.1/24", "fd02::1/64")
    with pair(a=a, b=b) as made:
        yield made


def reach_before(p: Pair) -> list[bool]:
    return [ping(p.host_b, "10.1.0.2", own="10.0.0.2"), ping(p.host_a, "100.64.4.2", own="10.0.0.2")]


def reach_after(p: Pair) -> list[bool]:
    four = [ping(p.host_b, "100.64.5.2", own="10.0.0.2"), ping(p.host_a, "10.4.0.2", own="10.0.0.2")]
    return [*four, ping(p.host_a, "fd02::2"), ping(p.host_b, "fd01::2")]


@pytest.mark.parametrize("first", ["a", "b"])
def test_what_stays_loses_no_packet(both: Pair, first: str) -> None:
    p = both
    order = (0, 1) if first == "a" else (1, 0)
    routers = (p.router_a, p.router_b)
    clean = [snapshot(router) for router in routers]
    p.join(BEFORE)
    assert reach_before(p) == [True, True]
    assert not any(reach_after(p))
    there = one_way(p.host_a, p.host_b, to="100.64.2.2", at="10.0.0.2", port=6001)
    back = one_way(p.host_b, p.host_a, to="100.64.1.2", at="10.0.0.2", port=6002)
    with flowing(there, back):
        for wanted in (AFTER, BEFORE, AFTER):
            for side in order:
                time.sleep(0.2)
                apply(routers[side], replace(wanted[side], generation=9))
    assert there.sent > 200
    assert (there.lost(), back.lost()) == ([], [])
    for side in order:
        assert pending(routers[side], AFTER[side]) == ()
    assert reach_after(p) == [True] * 4
    assert reach_before(p) == [False, False]
    for router in routers:
        remove(router)
    assert [snapshot(router) for router in routers] == clean


def test_the_namespace_the_port_and_the_flows_of_what_stays_are_not_touched(both: Pair) -> None:
    p = both
    p.join(BEFORE)
    assert ping(p.host_a, "100.64.2.2")
    talk(p.host_a, p.host_b, to="100.64.2.2", at="10.0.0.2")
    talk(p.host_b, p.host_a, to="10.1.0.2", at="10.1.0.2")
    look = "conntrack -L 2>/dev/null | grep tcp | sed 's/ [0-9]* TIME_WAIT//' | sort"
    before = inside(p.router_a, f'sh -c "{look}"').splitlines()
    links = [line.split()[1] for line in inside(p.router_a, "ip -o link").splitlines()]
    assert len(before) == 2
    apply(p.router_a, AFTER[0])
    assert inside(p.router_a, f'sh -c "{look}"').splitlines() == [line for line in before if "10.1.0.2" not in line]
    assert [line.split()[1] for line in inside(p.router_a, "ip -o link").splitlines()] == links


def test_another_probe_address_is_changed_without_a_hole(both: Pair) -> None:
    """It is the source of every route: each is replaced in its place."""
    p = both
    p.join(BEFORE)
    moved = intents([STAYS_A, GOES_A], [STAYS_B, GOES_B], probe_a="10.1.0.1", probe_b="10.0.0.1")
    stream = one_way(p.host_a, p.host_b, to="100.64.2.2", at="10.0.0.2", port=6003)
    with flowing(stream):
        for wanted in (moved, BEFORE, moved):
            time.sleep(0.1)
            commands = apply(p.router_a, wanted[0])
            assert any("route replace 100.64.2.0/24" in command for command in commands)
            assert not any("route del" in command for command in commands)
    assert stream.lost() == []
