"""What was not negotiated does not cross, in either direction or family; a scan of the router finds nothing but probes.

The peer here is a bare machine on the other end of the circuit that may send whatever it likes.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from meetme.drivers.linux.names import link_local, names, own_address
from meetme.model.agreement import Role
from meetme.model.intent import LinkIntent
from tests.live.pair import CIRCUIT, Announced, apply, inside, intents, lan, pending
from tests.live.world import Machine, ping, why_not, world

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

OURS = str(link_local(CIRCUIT, Role.INITIATOR).ip)
THEIRS = link_local(CIRCUIT, Role.RESPONDER)
WIRE = ip_network("100.64.1.0/24"), ip_network("10.0.0.0/24")
"""Source and destination of all that may leave for the peer."""


@dataclass
class Siege:
    """Our router with a host on `lan`, another network on `wan`, and the peer's bare machine on the circuit."""

    host: Machine
    router: Machine
    outside: Machine
    peer: Machine
    intent: LinkIntent


@contextlib.contextmanager
def siege() -> Iterator[Siege]:
    """We translate it all: 10.0.0.0/24 there is 100.64.2.0/24 here, ours is 100.64.1.0/24 there; IPv6 untranslated."""
    with world() as w:
        router, host = lan(w, "a", "10.0.0.1/24", "fd00:1::1/64")
        outside, peer = w.machine("outside"), w.machine("peer")
        w.cable(router, "wan", outside, "eth0")
        w.cable(router, "x", peer, "x")
        router.sh(
            "ip addr add 192.0.2.1/24 dev wan; ip route add default via 192.0.2.2; ip addr add 10.0.0.5/32 dev lo"
        )
        outside.sh("ip addr add 192.0.2.2/24 dev eth0; ip route add default via 192.0.2.1")
        host.sh("ip -6 route replace default via fd00:1::1")
        peer.sh(
            f"ip addr add {THEIRS} dev x nodad; ip addr add 10.0.0.66/32 dev lo;"
            "ip addr add fd00:2::66/128 dev lo nodad;"
            f"ip route add 0.0.0.0/0 via inet6 {OURS} dev x src 10.0.0.66;"
            f"ip route add default via {OURS} dev x src fd00:2::66"
        )
        intent, _ = intents(
            [Announced("10.0.0.0/24", "100.64.1.0/24", by="owner"), Announced("fd00:1::/64")],
            [Announced("10.0.0.0/24", "100.64.2.0/24", by="viewer"), Announced("fd00:2::/64")],
            probe_a="10.0.0.1", probe_b="10.0.0.66",
        )  # fmt: skip
        apply(router, intent)
        yield Siege(host, router, outside, peer, intent)


@pytest.fixture(scope="module")
def besieged() -> Iterator[Siege]:
    with siege() as made:
        yield made


def test_what_was_negotiated_does_cross(besieged: Siege) -> None:
    """Else the tests below would prove nothing."""
    assert ping(besieged.peer, "100.64.1.1")
    assert ping(besieged.peer, "100.64.1.2")
    assert ping(besieged.peer, "fd00:1::2")
    assert ping(besieged.host, "100.64.2.66")
    assert ping(besieged.host, "fd00:2::66")


ROUTER_ADDRESSES = (
    "100.64.1.1", "100.64.1.5", "100.64.1.0", "100.64.1.255", "10.0.0.1", "10.0.0.5", "192.0.2.1",
    str(own_address(CIRCUIT, Role.INITIATOR).ip), "fd00:1::1", "fd00:1::",
    f"{OURS}%x", f"{names(CIRCUIT).inner_address}%x", f"{names(CIRCUIT).outer_address}%x", "ff02::1%x", "224.0.0.1",
)  # fmt: skip
PORTS = (22, 53, 179, 8471, 8475)


def test_a_scan_of_the_router_finds_nothing(besieged: Siege) -> None:
    with contextlib.ExitStack() as stack:
        listeners = []
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for port in PORTS:
                listener = stack.enter_context(besieged.router.socket(socket.AF_INET6, kind))
                listener.bind(("::", port))  # both families
                if kind == socket.SOCK_STREAM:
                    listener.listen()
                listener.setblocking(False)
                listeners.append(listener)
        calls = [
            _knock(stack, besieged.peer, address, kind, port)
            for address in ROUTER_ADDRESSES
            for kind in ("tcp", "udp")
            for port in PORTS
        ]
        answered = _answered(calls, 1.0)
        assert answered == []
        for listener in listeners:
            with pytest.raises(BlockingIOError):
                listener.accept() if listener.type == socket.SOCK_STREAM else listener.recv(100)


def test_the_scan_would_have_found_something(besieged: Siege) -> None:
    """The same knocking from the LAN is answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(besieged.router.socket(socket.AF_INET6))
        listener.bind(("::", 8471))
        listener.listen()
        calls = [_knock(stack, besieged.host, address, "tcp", 8471) for address in ("10.0.0.1", "fd00:1::1")]
        assert _answered(calls, 1.0) == ["10.0.0.1 tcp 8471", "fd00:1::1 tcp 8471"]


def _knock(
    stack: contextlib.ExitStack, source: Machine, address: str, kind: str, port: int
) -> tuple[str, socket.socket | None]:
    name = f"{address} {kind} {port}"
    target, _, zone = address.partition("%")
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    knocking = stack.enter_context(source.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM))
    if zone:
        knocking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, zone.encode())
    if kind == "udp":
        knocking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    knocking.setblocking(False)
    try:
        knocking.connect((target, port))
        if kind == "udp":
            knocking.send(b"anyone there?")
    except BlockingIOError:
        pass  # under way
    except OSError:
        if kind != "tcp" or not ip_address(target).is_multicast:
            raise
        return name, None  # the knocker's own kernel will not even try: no TCP to a group
    return name, knocking


def _answered(calls: list[tuple[str, socket.socket | None]], within: float) -> list[str]:
    """Calls that got anything: a connection, a datagram, a reset or an ICMP error."""
    time.sleep(within)
    found = []
    for name, knocking in calls:
        if knocking is None:
            continue
        poller = select.poll()
        poller.register(knocking, select.POLLIN | select.POLLOUT | select.POLLERR)
        events = poller.poll(0)
        mask = events[0][1] if events else 0
        error = knocking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        connected = knocking.type == socket.SOCK_STREAM and mask & select.POLLOUT and not error
        if connected or mask & select.POLLIN or error:
            found.append(name)
    return found


@pytest.mark.parametrize(
    "address", [a for a in ROUTER_ADDRESSES if a != "100.64.1.1" and not a.startswith(("ff02", "224"))]
)
def test_no_other_address_of_the_router_answers_echo(besieged: Siege, address: str) -> None:
    assert not ping(besieged.peer, address, within=0.3)


def test_spoofed_sources_do_not_pass(besieged: Siege) -> None:
    besieged.peer.sh(
        "ip addr add 172.16.0.1/32 dev lo; ip addr add 100.64.2.9/32 dev lo; ip addr add fd00:9::1/128 dev lo nodad"
    )
    besieged.peer.sh("ip addr add 100.64.1.9/32 dev lo; ip addr add 192.0.2.99/32 dev lo")
    seen = besieged.host.capture("eth0")
    for source, target in (
        ("172.16.0.1", "100.64.1.2"), ("100.64.2.9", "100.64.1.2"), ("100.64.1.9", "100.64.1.2"),
        ("192.0.2.99", "100.64.1.2"),
        ("fd00:9::1", "fd00:1::2"),
    ):  # fmt: skip
        assert not ping(besieged.peer, target, own=source, within=0.3)
    assert _ip(seen.packets()) == []
    assert ping(besieged.peer, "100.64.1.2")
    assert _ip(seen.packets()) != []


def test_the_circuit_leads_nowhere_else(besieged: Siege) -> None:
    """Not to our hosts by their real addresses, not to our other networks, not through our router to the world."""
    inner, outer = besieged.host.capture("eth0"), besieged.outside.capture("eth0")
    for target in ("10.0.0.2", "192.0.2.2", "198.51.100.1", "100.64.2.66"):
        assert not ping(besieged.peer, target, within=0.3)
    assert _ip(inner.packets()) == _ip(outer.packets()) == []


def test_other_networks_of_ours_do_not_reach_the_peer(besieged: Siege) -> None:
    wire = besieged.peer.capture("x")
    assert not ping(besieged.outside, "100.64.2.66", within=0.3)
    own = names(CIRCUIT)
    besieged.router.sh(f"ip route add 203.0.113.0/24 via inet6 {own.inner_address} dev {own.outer}")
    besieged.router.sh(f"ip route add fd00:3::/64 via {own.inner_address} dev {own.outer}")
    assert not ping(besieged.host, "203.0.113.1", within=0.3)
    assert not ping(besieged.host, "fd00:3::1", within=0.3)
    assert not ping(besieged.router, "100.64.2.66", own="192.0.2.1", within=0.3)
    assert _ip(wire.packets()) == []


def test_an_address_that_the_router_gets_later_is_closed_too(besieged: Siege) -> None:
    assert pending(besieged.router, besieged.intent) == ()
    besieged.router.sh("ip addr add 10.0.0.200/32 dev lo")
    assert pending(besieged.router, besieged.intent) != ()
    apply(besieged.router, besieged.intent)
    assert not ping(besieged.peer, "100.64.1.200", within=0.3)
    besieged.router.sh("ip addr del 10.0.0.200/32 dev lo")
    apply(besieged.router, besieged.intent)
    assert ping(besieged.peer, "100.64.1.2")


def test_the_router_gets_answers_to_what_it_asks_itself(besieged: Siege) -> None:
    with besieged.peer.socket() as listener, besieged.router.socket() as calling:
        listener.bind(("10.0.0.66", 7300))
        listener.listen()
        calling.connect(("100.64.2.66", 7300))
        accepted, who = listener.accept()
        accepted.close()
        assert who[0] == "100.64.1.1"


def _ip(packets: list[bytes]) -> list[tuple[str, str]]:
    """IPv4 and IPv6 packets but for neighbour discovery and group membership, as (source, destination)."""
    found = []
    for packet in packets:
        if packet[0] >> 4 == 4 and len(packet) >= 20:
            found.append((str(ip_address(packet[12:16])), str(ip_address(packet[16:20]))))
        elif packet[0] >> 4 == 6 and len(packet) >= 40 and not (packet[6] in (0, 58) and packet[8] in (0xFE, 0)):
            found.append((str(ip_address(packet[8:24])), str(ip_address(packet[24:40]))))
    return found


def rules(router: Machine) -> list[str]:
    """Every single rule of the namespace's ruleset, as the words that delete it."""
    found, chain = [], ""
    for line in inside(router, "nft -a list ruleset").splitlines():
        words = line.split()
        if words[:1] == ["chain"]:
            chain = words[1]
        elif "# handle" in line and words[:1] not in (["table"], ["set"], ["map"]):
            found.append(f"{chain} handle {words[-1]}")
    return found


def test_no_rule_taken_away_opens_anything() -> None:
    """Each rule of the ruleset in turn, by hand: nothing leaves that the agreement does not allow, nor comes in."""
    with siege() as s:
        count = len(rules(s.router))
        assert count > 20
        s.peer.sh("ip addr add 172.16.0.1/32 dev lo")
        for index in range(count):
            wire, inner = s.peer.capture("x"), s.host.capture("eth0")
            inside(s.router, f"nft delete rule inet meetme {rules(s.router)[index]}")
            assert pending(s.router, s.intent) != ()
            _try_everything(s)
            for source, destination in _ip(wire.packets()):
                going = source not in ("10.0.0.66", "fd00:2::66", "172.16.0.1")
                if going and ":" not in source:
                    assert ip_address(source) in WIRE[0], (index, source, destination)
                    assert ip_address(destination) in WIRE[1], (index, source, destination)
            arrived = {
                source
                for source, _ in _ip(inner.packets())
                if source not in ("10.0.0.2", "10.0.0.1", "fd00:1::2", "fd00:1::1")
            }
            assert arrived <= {"100.64.2.66", "fd00:2::66"}, index
            apply(s.router, s.intent)
        assert ping(s.host, "100.64.2.66")


def _try_everything(s: Siege) -> None:
    s.host.sh("ping -n -q -c 1 -W 0.05 100.64.2.66 & ping -n -q -c 1 -W 0.05 fd00:2::66 & wait", check=False)
    s.peer.sh(
        "for to in 100.64.1.2 '-I 172.16.0.1 100.64.1.2' 10.0.0.2; do ping -n -q -c 1 -W 0.05 $to & done; wait",
        check=False,
    )
