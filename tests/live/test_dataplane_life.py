"""From apply to remove: what was before is as before, what is removed by hand comes back and fails closed meanwhile."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from meetme.drivers.linux.device import LinuxDriver
from meetme.drivers.linux.names import names
from meetme.model.errors import Conflict, DeviceFailed, MeetMeError, NotFound, Unsupported
from meetme.model.intent import Mapping
from tests.live.pair import (
    CIRCUIT,
    Announced,
    Pair,
    apply,
    drive,
    inside,
    intents,
    pair,
    pending,
    probe,
    read,
    remove,
    snapshot,
)
from tests.live.world import eventually, ping, talk, why_not

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

A = [Announced("10.0.0.0/24", "100.64.1.0/24", by="owner")]
B = [Announced("10.0.0.0/24", "100.64.2.0/24", by="viewer")]
BOTH = intents(A, B, probe_a="10.0.0.1", probe_b="10.0.0.1")
OWN = names(CIRCUIT)


@pytest.fixture
def plain() -> Iterator[Pair]:
    with pair() as made:
        yield made


@pytest.fixture(scope="module")
def joined() -> Iterator[Pair]:
    with pair() as made:
        made.join(BOTH)
        yield made


FOREIGN = (
    "nft add table ip operators",
    "nft add chain ip operators c '{ type filter hook forward priority 0; }'",
    "ip rule add pref 77 from 172.16.0.0/12 lookup 77",
    "ip route add 172.31.0.0/16 dev lan proto 4",
    "ip route add unreachable 172.30.0.0/16 proto 201",
    "ip addr add 198.51.100.9/32 dev lo",
)


@pytest.mark.parametrize(
    "port",
    [
        "true",
        "ip link set x down",
        "ip link set x mtu 9000",
        "ip link set x alias 'to the exchange, rack 7'",
        "ip addr add fe80::77/64 dev x nodad; ip addr add 169.254.9.9/16 dev x",
        "sysctl -qw net.ipv4.conf.x.rp_filter=1 net.ipv6.conf.x.accept_ra=0 net.ipv4.conf.x.arp_ignore=2",
        "sysctl -qw net.ipv6.conf.x.disable_ipv6=1",
        "ip link set x addrgenmode none; ip addr flush dev x scope link",
    ],
)
def test_after_removal_the_router_is_as_before(plain: Pair, port: str) -> None:
    router = plain.router_a
    router.sh(";".join(FOREIGN))
    router.sh(port)
    before = snapshot(router)
    apply(router, BOTH[0])
    assert snapshot(router) != before
    remove(router)
    assert snapshot(router) == before
    assert router.sh("cat /proc/sys/net/netfilter/nf_conntrack_count").strip() == "0"


def test_a_host_with_ipv6_off_by_default_works_and_stays_so(plain: Pair) -> None:
    for router in (plain.router_a, plain.router_b):
        router.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
    before = snapshot(plain.router_a)
    plain.join(BOTH)
    assert ping(plain.host_a, "100.64.2.2")
    remove(plain.router_a)
    assert snapshot(plain.router_a) == before


def test_strict_reverse_path_filters_are_no_obstacle(plain: Pair) -> None:
    for router in (plain.router_a, plain.router_b):
        router.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1")
    plain.join(BOTH)
    assert ping(plain.host_a, "100.64.2.2")
    assert ping(plain.host_b, "100.64.1.1")


def test_a_flow_from_before_is_translated_after_and_ends_with_the_agreement(plain: Pair) -> None:
    """The router masquerades towards the world and so remembers the flow's old way; the port numbers never change."""
    router, host, peer = plain.router_a, plain.host_a, plain.host_b
    outside = plain.world.machine("outside")
    plain.world.cable(router, "wan", outside, "eth0")
    router.sh(
        "ip addr add 192.0.2.1/24 dev wan; ip route add default via 192.0.2.2;"
        "nft add table ip out; nft add chain ip out post '{ type nat hook postrouting priority srcnat; }';"
        "nft add rule ip out post oifname wan masquerade"
    )
    outside.sh("ip addr add 192.0.2.2/24 dev eth0; ip addr add 100.64.2.2/32 dev lo")
    with (
        host.socket(socket.AF_INET, socket.SOCK_DGRAM) as calling,
        outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong,
        peer.socket(socket.AF_INET, socket.SOCK_DGRAM) as right,
    ):
        wrong.bind(("100.64.2.2", 7400))
        right.bind(("10.0.0.2", 7400))
        calling.sendto(b"before", ("100.64.2.2", 7400))
        assert wrong.recvfrom(100)[1][0] == "192.0.2.1"
        plain.join(BOTH)
        calling.sendto(b"during", ("100.64.2.2", 7400))
        data, sender = right.recvfrom(100)
        assert (data, sender[0]) == (b"during", "100.64.1.2")
        right.sendto(b"back", sender)
        assert calling.recvfrom(100) == (b"back", ("100.64.2.2", 7400))
        remove(router)
        calling.sendto(b"after", ("100.64.2.2", 7400))
        data, sender = wrong.recvfrom(100)
        assert (data, sender[0]) == (b"after", "192.0.2.1")
        right.setblocking(False)
        with pytest.raises(BlockingIOError):
            right.recv(100)


def test_an_established_connection_ends_with_the_agreement(plain: Pair) -> None:
    plain.join(BOTH)
    with plain.host_b.socket() as listener, plain.host_a.socket() as calling:
        listener.bind(("10.0.0.2", 7401))
        listener.listen()
        calling.connect(("100.64.2.2", 7401))
        accepted, _ = listener.accept()
        with accepted:
            calling.send(b"one")
            assert accepted.recv(10) == b"one"
            remove(plain.router_a)
            calling.send(b"two")
            accepted.settimeout(0.5)
            with pytest.raises(TimeoutError):
                accepted.recv(10)


BY_HAND = (
    "ip route del 100.64.2.0/24 metric 64",
    "ip route del unreachable 100.64.2.0/24",
    f"ip link del {OWN.outer}",
    f"ip link set {OWN.outer} down",
    f"ip link set {OWN.outer} mtu 1300",
    f"ip -6 addr flush dev {OWN.outer}",
    f"ip -6 neigh flush dev {OWN.outer} nud permanent",
    f"sysctl -qw net.ipv4.conf.{OWN.outer}.forwarding=0",
    f"ip netns del {OWN.namespace}",
    f"ip -n {OWN.namespace} rule flush",
    f"ip -n {OWN.namespace} rule del pref 10",
    f"ip -n {OWN.namespace} rule add pref 5 lookup main",
    f"ip -n {OWN.namespace} route flush table 1",
    f"ip -n {OWN.namespace} route flush table 2",
    f"ip -n {OWN.namespace} route add default dev {OWN.inner} table 1",
    f"ip -n {OWN.namespace} link set x down",
    f"ip -n {OWN.namespace} addr flush dev x",
    f"ip -n {OWN.namespace} addr add 192.0.2.99/24 dev x",
    f"ip -n {OWN.namespace} link del {OWN.inner}",
    f"ip -n {OWN.namespace} link set x netns $$",
    f"ip netns exec {OWN.namespace} nft flush ruleset",
    f"ip netns exec {OWN.namespace} nft delete table inet meetme",
    f"ip netns exec {OWN.namespace} nft add table ip mine",
    f"ip netns exec {OWN.namespace} sysctl -qw net.ipv4.ip_forward=0",
    "rm /run/meetme/*.json",
    "umount -l /run/meetme/netns/*; rm /run/meetme/netns/*",
)


@pytest.mark.parametrize("hand", BY_HAND)
def test_what_is_changed_by_hand_fails_closed_and_comes_back(joined: Pair, hand: str) -> None:
    router = joined.router_a
    outside = joined.world.machines.get("outside")
    if outside is None:
        outside = joined.world.machine("outside")
        joined.world.cable(router, "wan", outside, "eth0")
        router.sh("ip addr add 192.0.2.1/24 dev wan; ip route add default via 192.0.2.2")
        outside.sh("ip addr add 192.0.2.2/24 dev eth0")
    assert pending(router, BOTH[0]) == ()
    wan, far = outside.capture("eth0"), joined.host_b.capture("eth0")
    router.sh(hand)
    assert pending(router, BOTH[0]) != ()
    ping(joined.host_a, "100.64.2.2")
    assert not {pair for pair in wan.pairs() if ip_address(pair[1]) in ip_network("100.64.0.0/10")}
    assert {source for source, target in far.pairs() if target == "10.0.0.2"} <= {"100.64.1.2"}
    apply(router, BOTH[0])
    assert pending(router, BOTH[0]) == ()
    assert eventually(lambda: ping(joined.host_a, "100.64.2.2"))
    assert talk(joined.host_b, joined.host_a, to="100.64.1.2", at="10.0.0.2") == ("100.64.2.2", "100.64.1.2")


def test_deleting_the_namespaces_name_stops_nothing(joined: Pair) -> None:
    joined.router_a.sh(f"ip netns del {OWN.namespace}")
    assert ping(joined.host_a, "100.64.2.2")
    apply(joined.router_a, BOTH[0])
    assert OWN.namespace in joined.router_a.sh("ip netns list")


def test_events_tell_of_a_disturbance(joined: Pair) -> None:
    hands = ["ip route del 100.64.2.0/24 metric 64", *(h for h in BY_HAND[9:12]), BY_HAND[15], BY_HAND[20]]

    async def run(driver: LinuxDriver) -> list[str]:
        missed = []
        for hand in hands:
            events = driver.watch()
            following = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(subprocess.run, hand, shell=True, check=True)
            try:
                told = await asyncio.wait_for(following, 1.0)
                if told.circuit not in (CIRCUIT, None):
                    missed.append(f"{hand}: {told}")
            except TimeoutError:
                missed.append(hand)
            await events.aclose()  # type: ignore[attr-defined]
            have = await driver.read(CIRCUIT)
            await driver.apply(driver.plan(CIRCUIT, have, driver.render(BOTH[0], await driver.facts())))
        return missed

    assert drive(joined.router_a, run) == []


def test_moving_a_port_disturbs_its_circuit_and_no_other(plain: Pair) -> None:
    """A router of a thousand circuits does not look at all of them because one was made."""

    async def heard(driver: LinuxDriver) -> set[str | None]:
        events, found = driver.watch(), set[str | None]()
        following = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await driver.apply(driver.plan(CIRCUIT, None, driver.render(BOTH[0], await driver.facts())))
        await driver.apply(driver.plan(CIRCUIT, await driver.read(CIRCUIT), None))
        while (await asyncio.wait({following}, timeout=1.0))[0]:
            found.add(following.result().circuit)
            following = asyncio.ensure_future(anext(events))
        following.cancel()
        return found

    assert drive(plain.router_a, heard) == {CIRCUIT}


def test_a_circuit_is_found_again_by_its_tag_alone(joined: Pair) -> None:
    assert drive(joined.router_a, lambda driver: driver.circuits()) == {CIRCUIT}
    joined.router_a.sh("rm /run/meetme/*.json")
    assert drive(joined.router_a, lambda driver: driver.circuits()) == {CIRCUIT}
    assert read(joined.router_a) is not None
    apply(joined.router_a, BOTH[0])


def test_without_our_notes_a_circuit_is_still_removed(plain: Pair) -> None:
    before = snapshot(plain.router_a)
    apply(plain.router_a, BOTH[0])
    plain.router_a.sh("rm /run/meetme/*.json")
    remove(plain.router_a)
    plain.router_a.sh("ip link set x up")
    assert snapshot(plain.router_a) == before


def test_a_failed_apply_leaves_nothing(plain: Pair) -> None:
    plain.router_a.sh("ip route add 100.64.2.0/24 dev lan metric 64")
    before = snapshot(plain.router_a)
    with pytest.raises(DeviceFailed) as failure:
        apply(plain.router_a, BOTH[0])
    assert "100.64.2.0/24" in failure.value.text
    assert snapshot(plain.router_a) == before


def test_a_failed_change_leaves_the_circuit_as_it_was(joined: Pair) -> None:
    joined.router_a.sh("ip route add 100.64.7.0/24 dev lan metric 64")
    more = Mapping(inside=ip_network("100.64.7.0/24"), wire=ip_network("10.7.0.0/24"))
    with pytest.raises(DeviceFailed):
        apply(joined.router_a, replace(BOTH[0], remote=(*BOTH[0].remote, more)))
    joined.router_a.sh("ip route del 100.64.7.0/24 dev lan metric 64")
    assert pending(joined.router_a, BOTH[0]) == ()
    assert ping(joined.host_a, "100.64.2.2")


def test_a_change_of_prefixes_while_it_is_up(joined: Pair) -> None:
    more = Mapping(inside=ip_network("100.64.7.0/24"), wire=ip_network("10.7.0.0/24"))
    changed = replace(BOTH[0], remote=(*BOTH[0].remote, more), revision=2)
    apply(joined.router_a, changed)
    assert pending(joined.router_a, changed) == ()
    assert ping(joined.host_a, "100.64.2.2")
    apply(joined.router_a, BOTH[0])
    assert "100.64.7.0" not in joined.router_a.sh("ip route")
    assert ping(joined.host_a, "100.64.2.2")


def test_a_change_of_port_gives_the_old_one_back(plain: Pair) -> None:
    plain.world.cable(plain.router_a, "y", plain.router_b, "y")
    plain.join(BOTH)
    moved = replace(BOTH[0], port="y"), replace(BOTH[1], port="y")
    plain.join(moved)
    assert ping(plain.host_a, "100.64.2.2")
    assert "state UP" in plain.router_a.sh("ip link show x")


@pytest.mark.parametrize(
    ("prepare", "kind", "code"),
    [
        ("ip link set x name z", NotFound, "port_unknown"),
        ("ip addr add 192.0.2.7/24 dev x", Conflict, "port_has_addresses"),
        ("ip route add 192.0.2.0/24 dev x", Conflict, "port_has_routes"),
        ("ip link add br0 type bridge; ip link set x master br0", Conflict, "port_in_use"),
        ("sysctl -qw net.ipv4.ip_forward=0", Unsupported, "forwarding_off"),
        ("ip link set x mtu 1400", MeetMeError, "mtu_too_large"),
    ],
)
def test_a_router_that_is_not_ready_says_so_and_stays_as_it_is(
    plain: Pair, prepare: str, kind: type[MeetMeError], code: str
) -> None:
    plain.router_a.sh(prepare)
    before = snapshot(plain.router_a)
    with pytest.raises(kind) as failure:
        apply(plain.router_a, BOTH[0])
    assert failure.value.code == code
    assert failure.value.hint
    assert snapshot(plain.router_a) == before


def test_a_port_belongs_to_one_circuit(joined: Pair) -> None:
    second = replace(BOTH[0], circuit="circuit-2")
    with pytest.raises(Conflict) as failure:
        apply(joined.router_a, second)
    assert (failure.value.code, failure.value.field) == ("port_in_use", "port")


def test_a_vlan_where_the_kernel_has_none(plain: Pair) -> None:
    capabilities = drive(plain.router_a, lambda driver: driver.capabilities())
    if capabilities.vlan:
        pytest.skip("this kernel has 802.1Q")
    before = snapshot(plain.router_a)
    with pytest.raises(Unsupported) as failure:
        apply(plain.router_a, replace(BOTH[0], vlan=7))
    assert failure.value.code == "vlan_unsupported"
    assert snapshot(plain.router_a) == before


def test_capabilities_are_those_of_this_kernel(plain: Pair) -> None:
    found = drive(plain.router_a, lambda driver: driver.capabilities())
    assert found.translate
    assert found.unnumbered
    assert found.ipv6
    assert found.probe
    assert found.removes
    assert all(problem.hint for problem in found.missing)


def test_a_probe_waits_for_the_other_side(plain: Pair) -> None:
    """The first router probes before the second is configured, and is answered soon after it is."""
    apply(plain.router_a, BOTH[0])
    assert probe(plain.router_a, "10.0.0.1", "100.64.2.1", within=0.1).answered == ()
    apply(plain.router_b, BOTH[1])
    report = probe(plain.router_a, "10.0.0.1", "100.64.2.1", 84, 1500)
    assert report.answered == (84, 1500)


def test_a_probe_leaves_by_its_circuit_or_not_at_all(plain: Pair) -> None:
    """The router has a way out to the world: what is asked of a circuit that is being removed must not take it."""
    world = plain.world.machine("outside")
    plain.world.cable(plain.router_a, "wan", world, "eth0")
    plain.router_a.sh("ip addr add 192.0.2.1/24 dev wan; ip route add default via 192.0.2.2")
    world.sh(
        "ip addr add 192.0.2.2/24 dev eth0; ip addr add 100.64.2.1/24 dev lo; ip route add 10.0.0.0/24 via 192.0.2.1"
    )
    assert ping(plain.router_a, "100.64.2.1", own="10.0.0.1"), "the world would answer"
    assert probe(plain.router_a, "10.0.0.1", "100.64.2.1", within=0.3).answered == ()
    plain.join(BOTH)
    plain.router_a.sh(f"ip route del 100.64.2.0/24 dev {OWN.outer}; ip route flush 100.64.2.0/24")
    assert ping(plain.router_a, "100.64.2.1", own="10.0.0.1"), "the world would answer again"
    assert probe(plain.router_a, "10.0.0.1", "100.64.2.1", within=0.3).answered == ()


def test_the_commands_are_what_a_person_can_type(plain: Pair) -> None:
    """The plan of a dry run, typed into a shell by hand, makes the very same circuit."""

    async def commands(driver: LinuxDriver) -> tuple[str, ...]:
        return driver.plan(CIRCUIT, None, driver.render(BOTH[0], await driver.facts())).commands

    typed = drive(plain.router_a, commands)
    plain.router_a.sh("\n".join(c for c in typed if not c.startswith("conntrack")))
    apply(plain.router_b, BOTH[1])
    assert ping(plain.host_a, "100.64.2.2")
    assert "not ours" not in inside(plain.router_a, "ip rule")
