"""Two LANs reach each other over a circuit, whatever addresses they use."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from meetme.drivers.linux.names import names
from tests.live.pair import Announced, Pair, apply, inside, intents, lan, pair, pending, probe, remove
from tests.live.world import Machine, datagram, ping, talk, why_not, world

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

SINGLE_A = [Announced("10.0.0.0/24", "100.64.0.0/24", by="owner")]
SINGLE_B = [Announced("10.0.0.0/24", "100.64.0.0/24", by="viewer")]
"""One shared alias, both translated at A's router: B has routes only."""


@pytest.fixture(scope="module")
def single() -> Iterator[Pair]:
    with pair() as made:
        made.join(intents(SINGLE_A, SINGLE_B, probe_a="10.0.0.1", probe_b="10.0.0.1"))
        yield made


def test_hosts_with_equal_prefixes_reach_each_other_by_the_alias(single: Pair) -> None:
    for one, other in ((single.host_a, single.host_b), (single.host_b, single.host_a)):
        assert ping(one, "100.64.0.2")
        assert ping(one, "100.64.0.2", size=1500)
        assert talk(one, other, to="100.64.0.2", at="10.0.0.2", octets=200_000) == ("100.64.0.2", "100.64.0.2")
        assert datagram(one, other, to="100.64.0.2", at="10.0.0.2") == ("100.64.0.2", "100.64.0.2")


def test_fragments_cross(single: Pair) -> None:
    assert "1 received" in single.host_a.sh("ping -n -q -c 1 -W 1 -s 3000 100.64.0.2", check=False)


def test_only_the_translating_side_rewrites(single: Pair) -> None:
    assert "dnat ip prefix" in inside(single.router_a, "nft list ruleset")
    assert "nat" not in inside(single.router_b, "nft list ruleset").replace("destination", "")


def test_a_peer_host_may_have_our_routers_own_address(single: Pair) -> None:
    """In the main tables its packets would be answered here, or dropped as martians."""
    single.host_b.sh("ip addr add 10.0.0.77/24 dev eth0")
    single.router_a.sh("ip addr add 10.0.0.77/24 dev lan")
    try:
        with (
            single.host_b.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
            single.router_a.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        ):
            there.bind(("10.0.0.77", 7100))
            here.bind(("10.0.0.77", 7100))
            here.setblocking(False)
            with single.host_a.socket(socket.AF_INET, socket.SOCK_DGRAM) as calling:
                calling.sendto(b"for the peer", ("100.64.0.77", 7100))
                data, sender = there.recvfrom(100)
                assert (data, sender[0]) == (b"for the peer", "100.64.0.2")
            with pytest.raises(BlockingIOError):
                here.recv(100)
        assert ping(single.host_a, "100.64.0.77")
        assert ping(single.host_b, "100.64.0.2", own="10.0.0.77")
    finally:
        single.router_a.sh("ip addr del 10.0.0.77/24 dev lan")
        single.host_b.sh("ip addr del 10.0.0.77/24 dev eth0")


def test_the_alias_of_the_peers_router_is_answered_by_the_peers_router(single: Pair) -> None:
    for host, near, far in (
        (single.host_a, single.router_a, single.router_b),
        (single.host_b, single.router_b, single.router_a),
    ):
        before = echoes(near), echoes(far)
        assert ping(host, "100.64.0.1")
        assert (echoes(near), echoes(far)) == (before[0], before[1] + 1)


def echoes(router: Machine) -> int:
    """How many echo requests the router itself was asked."""
    header, values = (line.split() for line in router.sh("grep ^Icmp: /proc/net/snmp").splitlines())
    return int(values[header.index("InEchos")])


def test_routers_probe_along_the_customers_path_at_full_size(single: Pair) -> None:
    for router in (single.router_a, single.router_b):
        report = probe(router, "10.0.0.1", "100.64.0.1", 84, 1500)
        assert report.answered == (84, 1500)
        assert report.rtt_ms is not None


def test_a_probe_of_more_than_the_mtu_is_not_answered(single: Pair) -> None:
    report = probe(single.router_a, "10.0.0.1", "100.64.0.1", 84, 1501, within=0.3)
    assert report.answered == (84,)
    assert report.lost == report.sent - 1


def test_traffic_that_has_nothing_to_do_with_it_is_untouched(single: Pair) -> None:
    other = single.world.machine("elsewhere")
    single.world.cable(single.router_a, "wan", other, "eth0")
    single.router_a.sh("ip addr add 192.0.2.1/24 dev wan")
    other.sh("ip addr add 192.0.2.2/24 dev eth0; ip route add 10.0.0.0/24 via 192.0.2.1")
    assert talk(single.host_a, other, to="192.0.2.2", at="192.0.2.2") == ("10.0.0.2", "192.0.2.2")
    assert "dev wan" in single.router_a.sh("ip route get 192.0.2.2 from 10.0.0.2 iif lan")
    assert "conntrack" not in single.router_a.sh("nft list ruleset; ip rule")
    assert single.router_a.sh("cat /proc/sys/net/netfilter/nf_conntrack_count").strip() == "0"


def test_applying_twice_changes_nothing(single: Pair) -> None:
    both = intents(SINGLE_A, SINGLE_B, probe_a="10.0.0.1", probe_b="10.0.0.1")
    assert apply(single.router_a, both[0]) == ()
    assert apply(single.router_b, both[1]) == ()


Case = tuple[tuple[str, ...], tuple[str, ...], list[Announced], list[Announced], tuple[str, str] | None]
"""Router addresses at A and at B, prefixes of A and of B, the numbered link's two ends."""

REAL, ONE, OTHER = "10.0.0.0/24", "100.64.1.0/24", "100.64.2.0/24"
APART = ("10.1.0.1/24",), ("10.2.0.1/24",), [Announced("10.1.0.0/24")], [Announced("10.2.0.0/24")]
EQUAL = ("10.0.0.1/24",), ("10.0.0.1/24",)
OWNER, VIEWER = [Announced(REAL, ONE, by="owner")], [Announced(REAL, OTHER, by="viewer")]
SIX = ("fd00:1::1/64",), ("fd00:1::1/64",)
CASES: dict[str, Case] = {
    "nothing overlaps": (*APART, None),
    "numbered": (*APART, ("192.168.255.0/31", "192.168.255.1/31")),
    "numbered with IPv6": (*APART, ("fd00:ffff::/127", "fd00:ffff::1/127")),
    "numbered, single": (*EQUAL, SINGLE_A, SINGLE_B, ("192.168.255.1/30", "192.168.255.2/30")),
    "each its own": (*EQUAL, OWNER, [Announced(REAL, OTHER, by="owner")], None),
    "the responder does it all": (
        *EQUAL, [Announced(REAL, ONE, by="viewer")], [Announced(REAL, OTHER, by="owner")], None,
    ),
    "the initiator does it all": (*EQUAL, OWNER, VIEWER, None),
    "a /16 here holds their /24": (
        ("10.0.0.1/16",), ("10.0.5.1/24",),
        [Announced("10.0.0.0/16", "100.65.0.0/16", by="owner")],
        [Announced("10.0.5.0/24", "100.64.0.0/24", by="viewer")], None,
    ),
    "two prefixes a side": (
        ("10.0.0.1/24", "10.9.0.1/25"), ("10.0.0.1/24", "10.8.0.1/26"),
        [*OWNER, Announced("10.9.0.0/25")], [*VIEWER, Announced("10.8.0.0/26")], None,
    ),
    "IPv6 untranslated": (
        ("fd00:1::1/64",), ("fd00:2::1/64",), [Announced("fd00:1::/64")], [Announced("fd00:2::/64")], None,
    ),
    "IPv6 single": (
        *SIX, [Announced("fd00:1::/64", "fd64:1::/64", by="owner")],
        [Announced("fd00:1::/64", "fd64:2::/64", by="viewer")], None,
    ),
    "both families over a numbered IPv4 link": (
        ("10.0.0.1/24", "fd00:1::1/64"), ("10.0.0.1/24", "fd00:2::1/64"),
        [*SINGLE_A, Announced("fd00:1::/64")], [*SINGLE_B, Announced("fd00:2::/64")],
        ("192.168.255.0/31", "192.168.255.1/31"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_pair_of_prefixes_both_ways(case: Case) -> None:
    at_a, at_b, a, b, link = case
    router = {"a": at_a[0].partition("/")[0], "b": at_b[0].partition("/")[0]}
    with pair(a=at_a, b=at_b) as made:
        both = intents(a, b, probe_a=router["a"], probe_b=router["b"], link=link)
        made.join(both)
        assert pending(made.router_a, both[0]) == pending(made.router_b, both[1]) == ()
        for p in a:
            for q in b:
                if (":" in p.real) == (":" in q.real):
                    _both_ways(made, p, q)
        assert both[0].peer_probe is not None
        assert both[1].peer_probe is not None
        assert probe(made.router_a, router["a"], str(both[0].peer_probe), 84, 1500).answered == (84, 1500)
        assert probe(made.router_b, router["b"], str(both[1].peer_probe), 84, 1500).answered == (84, 1500)
        remove(made.router_a)
        remove(made.router_b)
        assert not ping(made.host_a, _second(b[0].alias or b[0].real))


def _both_ways(made: Pair, p: Announced, q: Announced) -> None:
    real_a, real_b = _second(p.real), _second(q.real)
    alias_a, alias_b = _second(p.alias or p.real), _second(q.alias or q.real)
    bind_a = f"{real_a}"
    assert ping(made.host_a, alias_b, own=bind_a, size=1500)
    assert ping(made.host_b, alias_a, own=real_b, size=1500)
    with made.host_b.socket(socket.AF_INET6 if ":" in real_a else socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((real_b, 7001))
        with made.host_a.socket(listening.family, socket.SOCK_DGRAM) as calling:
            calling.bind((real_a, 0))
            calling.sendto(b"there", (alias_b, 7001))
            assert listening.recvfrom(100)[1][0] == alias_a
    talk(made.host_a, made.host_b, to=alias_b, at=real_b, octets=100_000)
    talk(made.host_b, made.host_a, to=alias_a, at=real_a, octets=100_000)


def _second(prefix: str) -> str:
    """The host's address in a prefix (the router has the first)."""
    return str(ip_network(prefix)[2])


def test_three_partners_with_one_prefix_at_one_router_do_not_see_each_other() -> None:
    with world() as w:
        hub, host = lan(w, "hub", "10.0.0.1/24")
        partners = []
        for number in (1, 2, 3):
            router, end = lan(w, f"p{number}", "10.0.0.1/24")
            w.cable(hub, f"x{number}", router, "x")
            here, there = intents(
                [Announced("10.0.0.0/24", f"100.64.{10 + number}.0/24", by="owner")],
                [Announced("10.0.0.0/24", f"100.64.{number}.0/24", by="viewer")],
                probe_a="10.0.0.1", probe_b="10.0.0.1", circuit=f"circuit-{number}", port_a=f"x{number}",
            )  # fmt: skip
            apply(hub, here)
            apply(router, there)
            partners.append((number, router, end))
        for number, router, end in partners:
            assert ping(host, f"100.64.{number}.1")
            assert talk(host, end, to=f"100.64.{number}.2", at="10.0.0.2") == (
                f"100.64.{10 + number}.2",
                f"100.64.{number}.2",
            )
            assert probe(router, "10.0.0.1", f"100.64.{10 + number}.1", circuit=f"circuit-{number}").answered == (84,)
        # equal five-tuples from three partners at the same time stay three flows
        with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
            listening.bind(("10.0.0.2", 7002))
            for number, _, end in partners:
                with end.socket(socket.AF_INET, socket.SOCK_DGRAM) as calling:
                    calling.bind(("10.0.0.2", 5555))
                    calling.sendto(b"%d" % number, (f"100.64.{10 + number}.2", 7002))
                    data, sender = listening.recvfrom(10)
                    assert (data, sender) == (b"%d" % number, (f"100.64.{number}.2", 5555))
                    listening.sendto(data, sender)
                    assert calling.recv(10) == b"%d" % number
        for number, router, end in partners:
            other = number % 3 + 1
            via = names(f"circuit-{number}")
            router.sh(f"ip route add 100.64.{other}.0/24 via inet6 {via.inner_address} dev {via.outer}")
            assert not ping(end, f"100.64.{other}.2")
