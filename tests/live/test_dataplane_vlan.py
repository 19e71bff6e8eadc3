"""802.1Q on a border router's port, and a link that loses: needs a kernel that has both (`make test-kernel`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from meetme.drivers.linux.capabilities import capabilities
from meetme.drivers.linux.names import names
from meetme.model.errors import Conflict
from meetme.model.intent import LinkIntent, ProbeRequest
from meetme.negotiator.health import Course
from meetme.negotiator.negotiation import Health, HealthState
from meetme.negotiator.probing import _round
from tests.live.pair import Announced, Pair, apply, drive, intents, lan, pair, pending, remove, snapshot
from tests.live.world import Machine, datagram, eventually, ping, talk, why_not, world


def missing() -> str | None:
    """Why the tests cannot run here."""
    if (reason := why_not()) is not None:
        return reason
    return None if capabilities().vlan else "this kernel has no 802.1Q: `make test-kernel` boots one that has"


WHY_NOT = missing()
pytestmark = [pytest.mark.live, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

REAL = "10.0.0.0/24"
HOST = "10.0.0.2"


def joining(circuit: str, own: str, other: str, vlan_a: int, vlan_b: int | None) -> tuple[LinkIntent, LinkIntent]:
    """Both sides have 10.0.0.0/24; A translates both: `own` is what the partner calls A, `other` what A calls it."""
    both = intents(
        [Announced(REAL, own, by="owner")],
        [Announced(REAL, other, by="viewer")],
        probe_a="10.0.0.1",
        probe_b="10.0.0.1",
        circuit=circuit,
    )
    return replace(both[0], vlan=vlan_a), replace(both[1], vlan=vlan_b)


TO_B = joining("to-b", "100.64.1.0/24", "100.64.2.0/24", 100, 7)
TO_C = joining("to-c", "100.64.3.0/24", "100.64.4.0/24", 200, None)
"""At B the circuit has another VLAN than at A, at C the whole port."""


@dataclass
class Trio:
    """A with one port, on which two partners come in, through an exchange that gives each its own VLAN."""

    router_a: Machine
    host_a: Machine
    router_b: Machine
    host_b: Machine
    router_c: Machine
    host_c: Machine

    def join(self) -> None:
        apply(self.router_a, TO_B[0])
        apply(self.router_b, TO_B[1])
        apply(self.router_a, TO_C[0])
        apply(self.router_c, TO_C[1])


@pytest.fixture
def trio() -> Iterator[Trio]:
    with world() as w:
        sides = {name: lan(w, name, "10.0.0.1/24") for name in ("a", "b", "c")}
        exchange = w.machine("exchange")
        for name in sides:
            w.cable(sides[name][0], "x", exchange, f"p{name}", mtu=1504)
        exchange.sh(
            "ip link add to-b type bridge; ip link add to-c type bridge; ip link set to-b up; ip link set to-c up;"
            "ip link add link pa name pa.100 type vlan id 100; ip link add link pa name pa.200 type vlan id 200;"
            "ip link add link pb name pb.7 type vlan id 7;"
            "for p in pa.100 pb.7; do ip link set $p master to-b up; done;"
            "for p in pa.200 pc; do ip link set $p master to-c up; done"
        )
        yield Trio(*sides["a"], *sides["b"], *sides["c"])


def test_two_partners_on_one_port_with_the_same_addresses(trio: Trio) -> None:
    routers = (trio.router_a, trio.router_b, trio.router_c)
    before = [snapshot(router) for router in routers]
    trio.join()
    for router, intent in zip(routers, (TO_B[0], TO_B[1], TO_C[1]), strict=True):
        assert pending(router, intent) == ()
    assert pending(trio.router_a, TO_C[0]) == ()
    at_b, at_c = trio.host_b.capture("eth0"), trio.host_c.capture("eth0")
    assert talk(trio.host_a, trio.host_b, to="100.64.2.2", at=HOST, octets=50_000) == ("100.64.1.2", "100.64.2.2")
    assert {pair for pair in at_c.pairs() if "100.64.1.2" in pair} == set()
    at_b.pairs()
    assert talk(trio.host_a, trio.host_c, to="100.64.4.2", at=HOST, octets=50_000) == ("100.64.3.2", "100.64.4.2")
    assert {pair for pair in at_b.pairs() if "100.64.3.2" in pair} == set()
    # back, from both at once, with the same ports
    assert datagram(trio.host_b, trio.host_a, to="100.64.1.2", at=HOST) == ("100.64.2.2", "100.64.1.2")
    assert datagram(trio.host_c, trio.host_a, to="100.64.3.2", at=HOST) == ("100.64.4.2", "100.64.3.2")
    # a partner does not come in by the other's alias
    assert not ping(trio.host_b, "100.64.3.2", within=0.5)
    assert not ping(trio.host_c, "100.64.1.2", within=0.5)
    for alias in ("100.64.2.2", "100.64.4.2"):
        assert ping(trio.host_a, alias, size=1500)
    remove(trio.router_a, "to-b")
    assert not ping(trio.host_a, "100.64.2.2", within=0.5)
    assert ping(trio.host_a, "100.64.4.2"), "the other on the same port goes on"
    remove(trio.router_a, "to-c")
    remove(trio.router_b, "to-b")
    remove(trio.router_c, "to-c")
    assert [snapshot(router) for router in routers] == before


def test_what_is_changed_by_hand_comes_back_and_the_other_is_not_touched(trio: Trio) -> None:
    trio.join()
    namespace = names("to-b").namespace
    for hand in (
        f"ip -n {namespace} link del x.100",
        f"ip -n {namespace} link set x.100 down",
        f"ip netns del {namespace}",
    ):
        trio.router_a.sh(hand)
        assert pending(trio.router_a, TO_B[0]) != ()
        assert pending(trio.router_a, TO_C[0]) == ()
        assert ping(trio.host_a, "100.64.4.2")
        apply(trio.router_a, TO_B[0])
        assert pending(trio.router_a, TO_B[0]) == ()
        assert eventually(lambda: ping(trio.host_a, "100.64.2.2"))


def test_a_vlan_is_given_once_and_a_port_with_vlans_is_not_given_whole(trio: Trio) -> None:
    trio.join()
    for vlan in (100, None):
        with pytest.raises(Conflict) as failure:
            apply(trio.router_a, replace(TO_B[0], circuit="third", vlan=vlan))
        assert (failure.value.code, failure.value.field) == ("port_in_use", "port")
    assert ping(trio.host_a, "100.64.2.2")
    assert ping(trio.host_a, "100.64.4.2")


def test_a_port_of_the_router_itself_carries_circuits_beside(trio: Trio) -> None:
    """Untagged the port is the router's own, with addresses and routes; only the VLAN is the circuit's."""
    trio.router_a.sh("ip addr add 192.0.2.1/24 dev x; ip route add 198.51.100.0/24 via 192.0.2.254 dev x")
    before = snapshot(trio.router_a)
    trio.join()
    assert ping(trio.host_a, "100.64.2.2")
    remove(trio.router_a, "to-b")
    remove(trio.router_a, "to-c")
    assert snapshot(trio.router_a) == before


# --- a link that loses ------------------------------------------------------------------------------------------


@pytest.fixture
def lossy() -> Iterator[Pair]:
    """Two routers, and between them what a bad line does; `tc` says how bad, at B."""
    with pair() as made:
        made.join(
            intents(
                [Announced(REAL, "100.64.1.0/24", by="owner")],
                [Announced(REAL, "100.64.2.0/24", by="viewer")],
                probe_a="10.0.0.1",
                probe_b="10.0.0.1",
            )
        )
        yield made


def test_loss_and_delay_are_measured_and_degrade(lossy: Pair) -> None:
    request = ProbeRequest("circuit-1", ip_address("10.0.0.1"), ip_address("100.64.2.1"), (84, 1500), 2.0, 2.0)
    impair = f"tc -n {names('circuit-1').namespace} qdisc"

    def looked(course: Course, until: Callable[[Health], bool]) -> Course:
        for number in range(200):
            report = drive(lossy.router_a, lambda driver: driver.probe(request))
            course = course.see(_round(float(number), [request], [report]))
            if course.health is not None and until(course.health):
                return course
        raise AssertionError(course)

    well = looked(Course(), lambda health: health.state is HealthState.UP)
    assert well.health is not None
    assert (well.health.loss, well.health.reason) == (0.0, None)
    assert well.health.rtt_ms is not None, "how long it takes is a matter of the machine: one that is emulated is slow"
    lossy.router_b.sh(f"{impair} add dev x root netem delay 80ms loss 12%")
    ill = looked(well, lambda health: health.reason is not None and health.reason.code == "packets_lost")
    assert ill.health is not None
    assert ill.health.state is HealthState.DEGRADED
    assert 0.02 < ill.health.loss < 0.6
    assert (ill.health.rtt_ms or 0.0) >= 80
    lossy.router_b.sh(f"{impair} del dev x root")
    looked(ill, lambda health: health.state is HealthState.UP)
