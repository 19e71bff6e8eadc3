"""802.1Q on the ports of a switch: needs a kernel that has it (`make test-kernel` boots one)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cache

import pytest

from meetme.drivers.fabric.capabilities import capabilities
from tests.live.fabric import Customer, Exchange, access, apply, remove, segment, snapshot, tunnel, two_switches
from tests.live.world import why_not

WHY_NOT = why_not()


@cache
def missing() -> str | None:
    """Why the tests cannot run here."""
    if WHY_NOT is not None:
        return WHY_NOT
    return None if capabilities().vlan else "this kernel has no 802.1Q: `make test-kernel` boots one that has"


pytestmark = [pytest.mark.live, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture
def ix() -> Iterator[Exchange]:
    with two_switches() as made:
        yield made


def arrives(a: Customer, b: Customer, size: int, *, tag: int | None, as_tag: int | None) -> bool:
    """Whether a frame that leaves with one tag arrives with the other, otherwise as it was."""
    b.heard()
    payload = size.to_bytes(4, "big") + bytes(size - 4)
    sent = a.send(payload, tag=tag)
    plain = sent[:12] + sent[16 if tag is not None else 12 :]
    expected = plain if as_tag is None else plain[:12] + b"\x81\x00" + as_tag.to_bytes(2, "big") + plain[12:]
    return b.waits_for(expected, 1.0)


def test_one_port_carries_circuits_apart(ix: Exchange) -> None:
    """VLAN 100 leads over the trunk, 200 to another port; neither hears the other, nor what is untagged."""
    s1, s2 = ix.switches["s1"], ix.switches["s2"]
    a1, a2, b1, b2 = (ix.customers[name] for name in ("a1", "a2", "b1", "b2"))
    before = [snapshot(s1), snapshot(s2)]
    apply(s1, segment("x", access("eth1", 100), tunnel("10.9.1.1", "10.9.1.2", 4711), mtu=1500, bandwidth=100))
    apply(s2, segment("x", tunnel("10.9.1.2", "10.9.1.1", 4711), access("eth1", 7), mtu=1500))
    assert apply(s1, segment("y", access("eth1", 200), access("eth2"), mtu=1500))
    assert apply(s1, segment("y", access("eth1", 200), access("eth2"), mtu=1500)) == ()
    assert arrives(a1, b1, 100, tag=100, as_tag=7)
    assert arrives(b1, a1, 100, tag=7, as_tag=100)
    assert arrives(a1, a2, 100, tag=200, as_tag=None)
    assert arrives(a2, a1, 100, tag=None, as_tag=200)
    assert arrives(a1, b1, 1500, tag=100, as_tag=7)
    assert not arrives(a1, b1, 1501, tag=100, as_tag=7)
    assert not arrives(a1, b1, 100, tag=None, as_tag=7)
    assert not arrives(a1, b1, 100, tag=101, as_tag=7)
    for quiet in (a2, b2):
        quiet.heard()
    assert arrives(a1, b1, 64, tag=100, as_tag=7)
    assert [frame for each in (a2, b2) for frame in each.heard(0.1) if frame[6:12] == a1.mac] == []
    for switch, circuit in ((s1, "x"), (s1, "y"), (s2, "x")):
        remove(switch, circuit)
    assert [snapshot(s1), snapshot(s2)] == before


def test_a_tagged_circuit_takes_a_customers_own_tag_along(ix: Exchange) -> None:
    s1 = ix.switches["s1"]
    a1, a2 = ix.customers["a1"], ix.customers["a2"]
    apply(s1, segment("x", access("eth1", 100), access("eth2", 100), mtu=1500))
    a2.heard()
    inner = b"\x81\x00\x00\x05\x88\xb6" + bytes(60)
    sent = a1.send(inner[2:], ethertype=0x8100, tag=100)
    assert a2.waits_for(sent, 1.0)


def test_the_capability_is_told() -> None:
    assert asyncio.run(_vlan())


async def _vlan() -> bool:
    from meetme.drivers.fabric.device import FabricDriver

    return (await FabricDriver().capabilities()).vlan
