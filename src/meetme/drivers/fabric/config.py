"""What one circuit looks like on a switch, as frozen parts. Pure.

`SegmentConfig` is both the wish and what was read: equal means in sync, and what differs is the difference of two sets.

A circuit is a bridge of its own. Its sides are the bridge's members: a port of the switch, the VLAN of one, or a
tunnel. The bridge learns nothing: whatever comes in by one side goes out by the other. The two uplinks of a protected
side are isolated from each other, frames are taken from both and sent by one, the one that floods.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from meetme.model.addresses import Address, InterfaceAddress
from meetme.model.segment import SegmentEnd, TunnelEnd

PORT = 4789
"""UDP port of VXLAN (RFC 7348 section 8)."""
GROUPS, GROUPS_OF_MEMBER = 0xFFF8, 0xFFFD
"""Which of the groups 01-80-C2-00-00-00 to 0F pass (LLDP, 802.1X, ...): all that the kernel lets pass, on the bridge
and on its members, where LACP and spanning tree may too. PAUSE frames never leave a link (IEEE 802.3 annex 31B)."""
PROBE_MAC = "02:6d:65:65:74:70"
"""Where probe frames of protected circuits go. Every bridge that has a customer's port keeps frames to this address, so
that no probe ever leaves the circuit, and no customer's frame can pass for one."""
ETHERNET = 14
"""Octets of an Ethernet header."""
OVERHEAD = {4: 50, 6: 70}
"""What a tunnel adds to a circuit's MTU: the inner Ethernet header, VXLAN, UDP and IP (RFC 7348 section 5)."""


def bridge_name(circuit: str) -> str:
    """The bridge of a circuit; within the kernel's 15 octets."""
    return f"mmb-{hashlib.sha256(circuit.encode()).hexdigest()[:10]}"


def tunnel_name(vni: int) -> str:
    """The tunnel with this VNI."""
    return f"mmx-{vni}"


def device_name(end: SegmentEnd) -> str:
    """The interface by which an end is a member of the bridge."""
    if isinstance(end, TunnelEnd):
        return tunnel_name(end.vni)
    return end.port if end.vlan is None else vlan_name(end.port, end.vlan)


def vlan_name(port: str, vlan: int) -> str:
    """The name of a VLAN's interface; shortened at the front where the kernel's 15 octets do not suffice."""
    return f"{port[-(14 - len(str(vlan))) :]}.{vlan}"


@dataclass(frozen=True, slots=True)
class Bridge:
    """The circuit's bridge: no spanning tree, no snooping, no ageing; `keeps_probes`: it ends the way of probes."""

    name: str
    mtu: int
    keeps_probes: bool
    up: bool = True
    plain: bool = True
    """It is as we make one, and speaks no IPv6."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A VXLAN interface of ours. `ttl` and don't-fragment are what we make it with."""

    name: str
    vni: int
    local: Address
    remote: Address


@dataclass(frozen=True, slots=True)
class Vlan:
    """An 802.1Q interface of ours on a port of the switch."""

    name: str
    port: str
    vlan: int


@dataclass(frozen=True, slots=True)
class Member:
    """An interface in the bridge. `preference`: 0 alone on its side, else 1 before 2.

    `floods` is None where it is one of two uplinks: which of them carries is decided while they run.
    """

    name: str
    bridge: str
    mtu: int
    preference: int = 0
    floods: bool | None = True
    up: bool = True
    plain: bool = True
    """It neither learns nor snoops, lets all groups pass, and speaks no IPv6."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What leaves by an interface: `bits` a second at most, frames of mtu + 14 octets at most, exactly."""

    name: str
    bits: int
    mtu: int
    plain: bool = True
    """Its bursts are as we make them, and nothing of somebody else's is beneath it."""

    @property
    def burst(self) -> int:
        """Octets that may leave at once: 10 ms, within bounds."""
        return min(max(self.bits // 800, 131_072), 33_554_432)

    @property
    def limit(self) -> int:
        """Octets that may wait: 20 ms on top of the burst, within bounds."""
        return self.burst + min(max(self.bits // 400, 16 * (self.mtu + ETHERNET)), 67_108_864)

    @property
    def peak(self) -> int:
        """Bits a second within a burst. Its bucket holds one frame: what is longer, or a batch, does not fit."""
        return max(2 * self.bits, 1_000_000_000_000)


@dataclass(frozen=True, slots=True)
class OneCarries:
    """Of the two uplinks exactly one floods."""

    bridge: str


@dataclass(frozen=True, slots=True)
class Apart:
    """Bridged frames do not go through the switch's own packet filter (`net.bridge.bridge-nf-call-*`)."""


Part = Bridge | Tunnel | Vlan | Member | Shape | OneCarries | Apart


@dataclass(frozen=True, slots=True)
class PortBefore:
    """How a whole port was when the circuit took it, to give it back just so."""

    mtu: int
    up: bool
    ipv6_off: str = "0"
    addresses: tuple[InterfaceAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentConfig:
    """One circuit on one switch."""

    circuit: str
    parts: frozenset[Part]
    before: tuple[tuple[str, PortBefore], ...] = field(default=(), compare=False)
    """The whole ports that it holds, as they were."""
    carrying: str | None = field(default=None, compare=False)
    """Which of two uplinks floods, as it was read."""

    @property
    def ports(self) -> frozenset[str]:
        """The whole ports among its members: what is neither a tunnel nor a VLAN of ours."""
        made = {part.name for part in self.parts if isinstance(part, Tunnel | Vlan)}
        return frozenset(part.name for part in self.parts if isinstance(part, Member) and part.name not in made)
