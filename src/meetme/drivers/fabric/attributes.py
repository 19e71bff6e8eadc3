"""What the kernel says of bridges, their members, tunnels, VLANs and queues, out of its messages.

Layouts: the kernel's `include/uapi/linux/{if_link,if_bridge,neighbour,pkt_sched}.h`.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from meetme.drivers.fabric.config import GROUPS, GROUPS_OF_MEMBER, PORT, PROBE_MAC, Shape
from meetme.drivers.kernel import tables
from meetme.drivers.kernel.netlink import (
    ECHO,
    GET_LINK,
    GET_NEIGHBOUR,
    Message,
    Netlink,
    attribute,
    attributes,
    number,
    text,
)
from meetme.model.addresses import Address

GET_QDISC = 38
_ROOT = 0xFFFFFFFF
_TICK = 64
"""Nanoseconds (the kernel's PSCHED_SHIFT), in which a token bucket's burst is told."""
_BRIDGE_FAMILY = 7
_COST, _LEARNING, _FLOOD, _MULTICAST, _BROADCAST, _GROUPS, _ISOLATED = 3, 8, 9, 27, 30, 31, 33
_MADE_BY_KERNEL = {"noqueue", "mq", "pfifo_fast", "fq_codel", "pfifo", "fq"}


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface with what makes it one of ours, or not."""

    link: tables.Link
    kind: str
    data: dict[int, bytes]
    """What its kind says of itself."""
    lower: int
    """The index of the port that a VLAN is on."""
    member: dict[int, bytes]
    """What the bridge says of it as its member."""

    @property
    def name(self) -> str:
        """As the switch calls it."""
        return self.link.name

    @property
    def preference(self) -> int:
        """0 where it is alone on its side of the circuit."""
        return number(self.member.get(_COST)) if _flag(self.member.get(_ISOLATED)) else 0

    @property
    def floods(self) -> bool | None:
        """Whether frames leave by it; None: some."""
        flags = {_flag(self.member.get(kind)) for kind in (_FLOOD, _MULTICAST, _BROADCAST)}
        return flags.pop() if len(flags) == 1 else None

    @property
    def plain_member(self) -> bool:
        """Whether it is a member as we make one."""
        groups = self.member.get(_GROUPS)
        return not _flag(self.member.get(_LEARNING)) and _short(groups) == GROUPS_OF_MEMBER

    @property
    def plain_bridge(self) -> bool:
        """Whether it is a bridge as we make one: no spanning tree, no snooping, all groups pass."""
        snooping = self.data.get(23)
        return (
            number(self.data.get(5)) == 0
            and not (snooping and snooping[0])
            and _short(self.data.get(9)) == GROUPS
        )  # fmt: skip

    @property
    def ends(self) -> tuple[int, Address, Address] | None:
        """A tunnel's VNI, own and other address; None where it is not one as we make it."""
        local, remote = self.data.get(4) or self.data.get(17), self.data.get(2) or self.data.get(16)
        ours = not _flag(self.data.get(7)) and self.data.get(29) == b"\x01"  # no learning, don't-fragment
        if local is None or remote is None or self.data.get(15) != struct.pack("!H", PORT) or not ours:
            return None
        return number(self.data.get(1)), ipaddress.ip_address(local), ipaddress.ip_address(remote)

    @property
    def vlan(self) -> int:
        """The VLAN's number."""
        return _short(self.data.get(1)) or 0


def interfaces(netlink: Netlink, *, master: int = 0) -> list[Interface]:
    """Every interface, or every member of one bridge."""
    body = bytes(16) + attribute(29, struct.pack("=I", 8))  # without counters
    if master:
        body += attribute(10, struct.pack("=I", master))
    found = [_interface(message) for message in netlink.dump(GET_LINK, body)]
    return [each for each in found if master in (0, each.link.master)]


def interface_named(netlink: Netlink, name: str) -> Interface | None:
    """One interface by its name."""
    found = netlink.get(GET_LINK, bytes(16) + attribute(3, name.encode() + b"\0"))
    return None if found is None else _interface(found)


def _interface(message: Message) -> Interface:
    found = message.attributes(16)
    info = attributes(found.get(18, b""))
    member = attributes(info.get(5, b"")) if text(info.get(4)) == "bridge" else {}
    return Interface(
        tables.link(message), text(info.get(1)), attributes(info.get(2, b"")), number(found.get(5)), member
    )


def keeps_probes(netlink: Netlink, bridge: int) -> bool:
    """Whether the bridge keeps frames to the address of probes to itself."""
    head = struct.pack("=BBHiHBB", _BRIDGE_FAMILY, 0, 0, bridge, 0, 0, 0)
    mac = bytes.fromhex(PROBE_MAC.replace(":", ""))
    for message in netlink.dump(GET_NEIGHBOUR, head):
        index = struct.unpack_from("=i", message.body, 4)[0]
        found = message.attributes(12)
        if index == bridge and found.get(2) == mac and number(found.get(9)) == bridge:
            return True
    return False


def destinations(netlink: Netlink, tunnel: int) -> frozenset[tuple[bytes, Address]]:
    """Where a tunnel sends frames, by their destination address; all zero: those it knows nothing of."""
    head = struct.pack("=BBHiHBB", _BRIDGE_FAMILY, 0, 0, tunnel, 0, 0, 0)
    found = ((struct.unpack_from("=i", m.body, 4)[0], m.attributes(12)) for m in netlink.dump(GET_NEIGHBOUR, head))
    return frozenset(
        (said.get(2, b""), ipaddress.ip_address(said[1])) for index, said in found if index == tunnel and 1 in said
    )


def shape(netlink: Netlink, index: int, name: str) -> Shape | None:
    """Our token bucket on an interface; None where there is none of ours."""
    found = _root(netlink, index)
    if found is None:
        return None
    handle = struct.unpack_from("=I", found.body, 8)[0]
    said = found.attributes(20)
    options = attributes(said.get(2, b""))
    if text(said.get(1)) != "tbf" or 1 not in options:
        return None
    rate, peak, limit, buffer = _bucket(options)
    if not peak:
        return None
    made = Shape(name, rate * 8, handle >> 16)
    ticks = made.burst * 10**9 // max(rate, 1) // _TICK
    plain = peak * 8 == made.peak and limit == made.limit and abs(buffer - ticks) <= 2 + ticks // 100
    return made if plain and _queue(netlink, index, handle | 1) is None else replace(made, plain=False)


def _bucket(options: Mapping[int, bytes]) -> tuple[int, int, int, int]:
    """Rate and peak rate (octets a second), limit (octets) and buffer (ticks) of a tbf (struct tc_tbf_qopt)."""
    facts = options[1]
    rate, peak = number(facts[8:12]), number(facts[20:24])
    if 4 in options:
        rate = int(struct.unpack("=Q", options[4])[0])
    if 5 in options:
        peak = int(struct.unpack("=Q", options[5])[0])
    return rate, peak, number(facts[24:28]), number(facts[28:32])


def foreign_queue(netlink: Netlink, link: tables.Link) -> str | None:
    """The kind of a queue that somebody has set up on an interface; None: it has what the kernel gave it, or we."""
    found, ours = _root(netlink, link.index), shape(netlink, link.index, link.name)
    if found is None or (ours is not None and ours.mtu == link.mtu):
        return None
    kind = text(found.attributes(20).get(1))
    handle = struct.unpack_from("=I", found.body, 8)[0]
    return None if kind in _MADE_BY_KERNEL or handle == 0 else kind


def _root(netlink: Netlink, index: int) -> Message | None:
    return _queue(netlink, index, _ROOT)


def _queue(netlink: Netlink, index: int, parent: int) -> Message | None:
    """The queue below `parent`; None: there is none but what the kernel has put there."""
    try:
        return netlink.get(GET_QDISC, struct.pack("=BxxxiIII", 0, index, 0, parent, 0), ECHO)
    except OSError:  # a kernel without traffic control has no queues either
        return None


def _flag(value: bytes | None) -> bool:
    return bool(value and value[0])


def _short(value: bytes | None) -> int | None:
    return int(struct.unpack("=H", value[:2])[0]) if value else None
