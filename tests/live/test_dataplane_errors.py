"""ICMP errors, whoever makes them, reach the sender of the packet that caused them, in its own address space."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.live.pair import Announced, Pair, intents, lan
from tests.live.world import Machine, ping, provoke, talk, why_not, world

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

TIME_EXCEEDED, UNREACHABLE = {4: 11, 6: 3}, {4: 3, 6: 1}
PORT, TOO_BIG = {4: 3, 6: 4}, {4: (3, 4), 6: (2, 0)}
HOPS = (
    "router",
    "its circuit's namespace",
    "the peer's namespace",
    "the peer's router",
    "a router in the peer's network",
)

REAL4, REAL6 = "10.0.0.0/24", "fd00:1::/64"
ALIAS4, ALIAS6 = ("100.64.1.0/24", "100.64.2.0/24"), ("fd64:1::/64", "fd64:2::/64")
FOUR = {
    "single": ([Announced(REAL4, ALIAS4[0], by="owner")], [Announced(REAL4, ALIAS4[1], by="viewer")]),
    "shared": ([Announced(REAL4, ALIAS4[0], by="owner")], [Announced(REAL4, ALIAS4[0], by="viewer")]),
    "each-own": ([Announced(REAL4, ALIAS4[0], by="owner")], [Announced(REAL4, ALIAS4[1], by="owner")]),
    "none": ([Announced("10.1.0.0/24")], [Announced(REAL4)]),
}
SIX = {
    "single": ([Announced(REAL6, ALIAS6[0], by="owner")], [Announced(REAL6, ALIAS6[1], by="viewer")]),
    "each-own": ([Announced(REAL6, ALIAS6[0], by="owner")], [Announced(REAL6, ALIAS6[1], by="owner")]),
    "none": ([Announced("fd00:2::/64")], [Announced(REAL6)]),
}


@contextlib.contextmanager
def deep(version: int, mode: str, *, strict: bool = False, mtu: int = 1500) -> Iterator[tuple[Pair, Machine, str, str]]:
    """A pair where B's host lies behind a router of B's own; and how A's host names B's, and B's A's."""
    a, b = (FOUR if version == 4 else SIX)[mode]
    first_a, first_b = _nth(a[0].real, 1), _nth(b[0].real, 1)
    half, far = (f"{first_b}/25", 129) if version == 4 else (f"{first_b}/65", 1 << 63 | 1)
    with world() as w:
        router_a, host_a = lan(w, "a", f"{first_a}/{24 if version == 4 else 64}")
        router_b, middle = lan(w, "b", half, host="mb")
        middle.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        host_b = w.machine("hb")
        w.cable(middle, "inner", host_b, "eth0")
        near, end = _nth(b[0].real, far), _nth(b[0].real, far + 1)
        length = half.rpartition("/")[2]
        middle.sh(f"ip addr add {near}/{length} dev inner")
        host_b.sh(f"ip addr add {end}/{length} dev eth0; ip route add default via {near}")
        router_b.sh(f"ip route add {_nth(b[0].real, far - 1)}/{length} via {_nth(b[0].real, 2)}")
        w.cable(router_a, "x", router_b, "x", mtu=mtu)
        if strict:
            for machine in (router_a, router_b, middle):
                machine.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1")
        made = Pair(w, host_a, router_a, router_b, host_b)
        made.join(intents(a, b, probe_a=first_a, probe_b=first_b, mtu=mtu))
        yield made, middle, _nth(b[0].alias or b[0].real, far + 1), _nth(a[0].alias or a[0].real, 2)


def _nth(prefix: str, n: int) -> str:
    return str(ip_network(prefix)[n])


CASES = [(4, mode) for mode in FOUR] + [(6, mode) for mode in SIX]


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict reverse path"])
@pytest.mark.parametrize(("version", "mode"), CASES)
def test_every_hop_is_heard_from(version: int, mode: str, strict: bool) -> None:
    """The first packet of each flow dies at each hop in turn: nothing is known of it but itself."""
    with deep(version, mode, strict=strict) as (made, _, to_b, to_a):
        for hops, where in enumerate(HOPS, start=1):
            error = provoke(made.host_a, to_b, hops=hops, port=40000 + hops)
            assert error is not None, f"nothing from {where}"
            assert error.kind == TIME_EXCEEDED[version], where
        for hops, where in enumerate(reversed(HOPS), start=1):
            error = provoke(made.host_b, to_a, hops=hops, port=40000 + hops)
            assert error is not None, f"nothing from {where}"
            assert error.kind == TIME_EXCEEDED[version], where
        # and an answered flow's later packets
        assert ping(made.host_a, to_b)


@pytest.mark.parametrize(("version", "mode"), CASES)
def test_a_closed_port_is_told_to_the_one_who_knocked(version: int, mode: str) -> None:
    with deep(version, mode) as (made, middle, to_b, to_a):
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        bystanders = [
            m.socket(family, socket.SOCK_RAW, 1 if version == 4 else 58) for m in (made.router_a, made.router_b, middle)
        ]
        for host, to in ((made.host_a, to_b), (made.host_b, to_a)):
            error = provoke(host, to)
            assert error is not None
            assert (error.offender, error.kind, error.code) == (to, UNREACHABLE[version], PORT[version])
            with host.socket(family) as calling, pytest.raises(ConnectionRefusedError):
                calling.connect((to, 9))
        for raw in bystanders:
            raw.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    data = raw.recv(2048)
                    kind = data[20] if version == 4 else data[0]
                    assert kind not in (3, 11) if version == 4 else kind not in (1, 3), "an error went astray"
            raw.close()


SEGMENTS = ("a: host", "circuit", "b: lan", "b: inner")


@pytest.mark.parametrize(("version", "mode"), CASES)
def test_a_smaller_mtu_anywhere_is_learned_both_ways(version: int, mode: str) -> None:
    """Packets too big for a segment: the sender learns the MTU, and a large transfer completes."""
    for segment in SEGMENTS:
        with deep(version, mode, mtu=1400 if segment == "circuit" else 1500) as (made, middle, to_b, to_a):
            match segment:
                case "a: host":
                    made.router_a.sh("ip link set lan mtu 1400")
                    made.host_a.sh("ip link set eth0 mtu 1400")
                case "b: lan":
                    made.router_b.sh("ip link set lan mtu 1400")
                    middle.sh("ip link set eth0 mtu 1400")
                case "b: inner":
                    middle.sh("ip link set inner mtu 1400")
                    made.host_b.sh("ip link set eth0 mtu 1400")
            here, there = _own(made.host_a, version), _own(made.host_b, version)
            for host, to in ((made.host_a, to_b), (made.host_b, to_a)):
                if (segment, host.name) in (("a: host", "ha"), ("b: inner", "hb")):
                    continue  # its own interface says so
                error = provoke(host, to, size=1500)
                assert error is not None, f"{segment}: a black hole towards {to}"
                assert (error.kind, error.code, error.info) == (*TOO_BIG[version], 1400), segment
            talk(made.host_a, made.host_b, to=to_b, at=there, octets=300_000)
            talk(made.host_b, made.host_a, to=to_a, at=here, octets=300_000)


def _own(host: Machine, version: int) -> str:
    return host.sh(f"ip -{version} -o addr show dev eth0 scope global").split()[3].partition("/")[0]


def test_the_mss_is_fixed_in_both_directions() -> None:
    """A connection across a circuit of 1400 octets never has to discover anything."""
    for version in (4, 6):
        with deep(version, "none", mtu=1400) as (made, _, to_b, to_a):
            for one, other, to in ((made.host_a, made.host_b, to_b), (made.host_b, made.host_a, to_a)):
                at = _own(other, version)
                family = socket.AF_INET if version == 4 else socket.AF_INET6
                with other.socket(family) as listener, one.socket(family) as calling:
                    listener.bind((at, 7005))
                    listener.listen()
                    calling.connect((to, 7005))
                    accepted, _ = listener.accept()
                    with accepted:
                        for end in (calling, accepted):
                            mss = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                            assert mss <= 1400 - (40 if version == 4 else 60)
