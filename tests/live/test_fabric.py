"""Circuits through real switches: real frames of every kind, and nothing that was not ordered."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from meetme.drivers.fabric.config import PROBE_MAC
from meetme.model.errors import Conflict, InvalidInput, MeetMeError, NotFound, Unsupported
from tests.live.fabric import (
    ARP,
    IPV4,
    IPV6,
    LLDP,
    Customer,
    Exchange,
    access,
    apply,
    blocked,
    crosses,
    drive,
    remove,
    segment,
    snapshot,
    tunnel,
    two_switches,
    wish,
)
from tests.live.world import ping, why_not

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

NEAREST_BRIDGE = "01:80:c2:00:00:0e"
SLOW_PROTOCOLS = "01:80:c2:00:00:02"
SPANNING_TREE = "01:80:c2:00:00:00"


@pytest.fixture
def ix() -> Iterator[Exchange]:
    with two_switches() as made:
        yield made


def across(
    ix: Exchange, *, mtu: int = 1500, bandwidth: int | None = None, six: bool = False
) -> tuple[Customer, Customer]:
    """A circuit from a1 to b1 over the trunk."""
    one, two = ("fd09:1::1", "fd09:1::2") if six else ("10.9.1.1", "10.9.1.2")
    apply(ix.switches["s1"], segment("x", access("eth1"), tunnel(one, two, 4711), mtu=mtu, bandwidth=bandwidth))
    apply(ix.switches["s2"], segment("x", tunnel(two, one, 4711), access("eth1"), mtu=mtu, bandwidth=bandwidth))
    return ix.customers["a1"], ix.customers["b1"]


def transparent(a: Customer, b: Customer, mtu: int) -> None:
    for one, other in ((a, b), (b, a)):
        for ethertype in (ARP, IPV6, IPV4, 0x88B5, 0x9999, 0x8847):
            assert crosses(one, other, ethertype=ethertype), hex(ethertype)
        assert crosses(one, other, ethertype=LLDP, to=NEAREST_BRIDGE)
        assert crosses(one, other, ethertype=0x8809, to=SLOW_PROTOCOLS)
        assert crosses(one, other, ethertype=38, to=SPANNING_TREE)
        assert crosses(one, other, to="02:00:00:00:00:42")
        assert crosses(one, other, tag=7)
        assert crosses(one, other, mtu, tag=7), "a customer's tag comes on top, where the underlay has the octets"
        assert crosses(one, other, mtu)
        assert blocked(one, other, mtu + 1)
        assert blocked(one, other, mtu + 4)
        assert blocked(one, other, mtu + 5)


def test_two_ports_of_one_switch_are_one_cable(ix: Exchange) -> None:
    apply(ix.switches["s1"], segment("x", access("eth1"), access("eth2"), mtu=1500))
    transparent(ix.customers["a1"], ix.customers["a2"], 1500)


@pytest.mark.parametrize(("mtu", "six"), [pytest.param(1500, False, marks=pytest.mark.slow), (9000, True)])
def test_two_switches_are_one_cable(ix: Exchange, mtu: int, six: bool) -> None:
    transparent(*across(ix, mtu=mtu, bandwidth=1000, six=six), mtu)


@pytest.mark.slow
def test_the_underlay_may_have_just_room_for_it(ix: Exchange) -> None:
    for switch in ("s1", "s2"):
        ix.switches[switch].sh("ip link set u1 mtu 1550")
    a, b = across(ix)
    assert crosses(a, b, 1500)
    assert blocked(a, b, 1501)


@pytest.mark.slow
def test_hosts_find_and_reach_each_other(ix: Exchange) -> None:
    a, b = across(ix)
    for customer, host in ((a, 1), (b, 2)):
        customer.machine.sh(
            "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip link set eth0 mtu 1500;"
            f" ip addr add 10.0.0.{host}/24 dev eth0; ip addr add fd00::{host}/64 dev eth0 nodad"
        )
    assert ping(a.machine, "10.0.0.2", size=1500, within=2)
    assert ping(a.machine, "fd00::2", size=1500, within=2)


def test_circuits_do_not_see_each_other_nor_the_switch(ix: Exchange) -> None:
    a1, b1 = across(ix)
    for name, one, two in (("s1", "10.9.1.1", "10.9.1.2"), ("s2", "10.9.1.2", "10.9.1.1")):
        apply(ix.switches[name], segment("y", access("eth2"), tunnel(one, two, 4712)))
    a2, b2 = ix.customers["a2"], ix.customers["b2"]
    for each in (a1, a2, b1, b2):
        each.heard()
    assert crosses(a1, b1)
    assert crosses(b2, a2)
    assert [len(each.heard(0.1)) for each in (a2, b1, b2, a1)] == [0, 0, 0, 0], "of the other circuit, or of the switch"
    a1.machine.sh("ip addr add 10.9.1.77/24 dev eth0")
    assert not ping(a1.machine, "10.9.1.1"), "the switch answers a customer"


def test_no_frame_passes_for_a_probe(ix: Exchange) -> None:
    a, b = across(ix)
    assert blocked(a, b, to=PROBE_MAC, ethertype=0x88B5)


def test_the_ordered_bandwidth_is_what_passes(ix: Exchange) -> None:
    a, b = across(ix, bandwidth=20)
    for one, other in ((a, b), (b, a)):
        other.heard()
        begin = time.monotonic()
        for _ in range(1500):  # 18 Mbit, in far less than a second where the machine is quick
            one.send(bytes(1486))
        seconds = time.monotonic() - begin + 0.5
        passed = len([frame for frame in other.heard(0.3) if len(frame) == 1500])
        assert 80 < passed <= (131_072 + 20e6 / 8 * seconds) / 1500, passed


def test_applying_again_changes_nothing_and_removal_leaves_nothing(ix: Exchange) -> None:
    s1, s2 = ix.switches["s1"], ix.switches["s2"]
    s1.sh("ip link set eth1 mtu 9100; ip link set eth2 down")
    before = [snapshot(s1), snapshot(s2)]
    across(ix)
    assert "4711" in s1.sh("ip -d link")
    assert apply(s1, segment("x", access("eth1"), tunnel("10.9.1.1", "10.9.1.2", 4711))) == ()
    apply(s1, segment("y", access("eth2"), tunnel("10.9.1.1", "10.9.1.2", 4712), bandwidth=10))
    for switch, circuit in ((s1, "x"), (s1, "y"), (s2, "x")):
        assert remove(switch, circuit)
        assert remove(switch, circuit) == ()
    assert [snapshot(s1), snapshot(s2)] == before


@pytest.mark.slow
def test_a_change_takes_what_it_takes(ix: Exchange) -> None:
    a, b = across(ix)
    s1, s2 = ix.switches["s1"], ix.switches["s2"]
    apply(s1, segment("x", access("eth1"), tunnel("10.9.1.1", "10.9.1.2", 4711), mtu=1600, bandwidth=50))
    apply(s2, segment("x", tunnel("10.9.1.2", "10.9.1.1", 4711), access("eth2"), mtu=1600, bandwidth=50))
    assert crosses(a, ix.customers["b2"], 1600)
    assert blocked(a, ix.customers["b2"], 1601)
    assert s2.sh("ip -o link show eth1").split("mtu ")[1].split()[0] == "9600"
    assert [frame for frame in b.heard(0.1) if frame[6:12] == a.mac] == []


WIDE = tunnel("10.9.1.1", "10.9.1.2", 1)
TOO_SMALL = (InvalidInput, "underlay_mtu_too_small", "mtu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("intent", "kind", "code", "field"),
    [
        (segment("x", access("eth9"), access("eth2")), NotFound, "port_unknown", "a[0].port"),
        (segment("x", access("eth1"), access("eth2"), mtu=9601), InvalidInput, "mtu_too_large", "mtu"),
        (segment("x", access("u1"), access("eth2")), Conflict, "port_has_addresses", "a[0].port"),
        (
            segment("x", access("eth1"), tunnel("10.9.1.9", "10.9.1.2", 1)),
            NotFound,
            "underlay_address_unknown",
            "b[0].local",
        ),
        (segment("x", tunnel("10.9.1.1", "10.9.1.3", 2), WIDE, mtu=9651), *TOO_SMALL),
        (segment("x", tunnel("fd09:1::1", "fd09:1::3", 2), WIDE, mtu=9631), *TOO_SMALL),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    ix: Exchange, intent: object, kind: type[MeetMeError], code: str, field: str
) -> None:
    before = snapshot(ix.switches["s1"])
    with pytest.raises(kind) as failure:
        apply(ix.switches["s1"], intent)  # type: ignore[arg-type]
    assert (failure.value.code, failure.value.field) == (code, field)
    assert failure.value.hint
    assert snapshot(ix.switches["s1"]) == before


@pytest.mark.slow
def test_a_port_of_somebody_else_is_left_alone(ix: Exchange) -> None:
    s1 = ix.switches["s1"]
    s1.sh("ip link add br0 type bridge && ip link set eth1 master br0")
    before = snapshot(s1)
    with pytest.raises(Conflict) as failure:
        apply(s1, segment("x", access("eth1"), access("eth2")))
    assert failure.value.code == "port_in_use"
    assert snapshot(s1) == before
    s1.sh("ip link set eth1 nomaster && tc qdisc add dev eth1 root handle 7: tbf rate 1mbit burst 10k latency 1ms")
    with pytest.raises(Conflict) as failure:
        apply(s1, segment("x", access("eth1"), access("eth2")))
    assert failure.value.code == "port_has_queue"


@pytest.mark.slow
def test_the_packet_filter_of_other_bridges_stays_as_it_is(ix: Exchange) -> None:
    s1 = ix.switches["s1"]
    key = "net.bridge.bridge-nf-call-iptables"
    s1.sh(f"ip link add br0 type bridge; sysctl -qw {key}=1")
    apply(s1, segment("x", access("eth1"), access("eth2")))
    assert s1.sh(f"sysctl -n {key}") == "1\n"
    missing = drive(s1, lambda driver: driver.capabilities()).missing
    assert "bridge_filtered" in {problem.code for problem in missing}


def test_a_vlan_needs_a_kernel_that_has_them(ix: Exchange) -> None:
    s1 = ix.switches["s1"]
    if drive(s1, lambda driver: driver.capabilities()).vlan:
        pytest.skip("this kernel has 802.1Q: test_fabric_vlan has more to say")
    before = snapshot(s1)
    with pytest.raises(Unsupported) as failure:
        apply(s1, segment("x", access("eth1", 100), access("eth2")))
    assert failure.value.code == "vlan_unsupported"
    assert snapshot(s1) == before


@pytest.mark.slow
def test_a_link_is_not_for_a_switch(ix: Exchange) -> None:
    from tests.contract.test_drivers import INTENT

    with pytest.raises(Unsupported) as failure:
        drive(ix.switches["s1"], lambda driver: wish(driver, INTENT.circuit, INTENT))
    assert failure.value.code == "links_unsupported"
