"""The kernel's tables as values: links, addresses, routes, rules, neighbours of the calling thread's namespace."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from meetme.drivers.kernel.netlink import (
    GET_ADDRESS,
    GET_LINK,
    GET_NEIGHBOUR,
    GET_ROUTE,
    GET_RULE,
    NETFILTER,
    Message,
    Netlink,
    attribute,
    number,
    text,
)
from meetme.model.addresses import Address, InterfaceAddress, Prefix

UNREACHABLE = 7
KERNEL = 2
_UP = 0x1
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_GET_GENERATION = (10 << 8) | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_UNDERSTOOD = 8192
"""Messages whose meaning is kept: a router of a thousand circuits is read many times between two changes of a line."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `master` is the index of the bridge or bond it belongs to, 0 for none."""

    index: int
    name: str
    mtu: int
    up: bool
    mac: str | None
    alias: str
    master: int
    peer_namespace: int | None
    """The id, in this namespace, of the one where its other end or lower device is."""


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route of any kind and origin."""

    prefix: Prefix
    table: int
    kind: int
    protocol: int
    metric: int
    device: int
    via: Address | None
    source: Address | None


@dataclass(frozen=True, slots=True)
class KernelRule:
    """A routing rule, as far as ours have anything in them."""

    version: int
    priority: int
    device: str
    mark: int
    table: int


@dataclass(frozen=True, slots=True)
class KernelAddress:
    """An address; `automatic` is an IPv6 link-local that the kernel makes by itself."""

    device: int
    address: InterfaceAddress
    automatic: bool


def links(netlink: Netlink) -> list[Link]:
    """Every interface."""
    skip_statistics = attribute(29, struct.pack("=I", 8))
    return [link(m) for m in netlink.dump(GET_LINK, bytes(16) + skip_statistics)]


def link_named(netlink: Netlink, name: str) -> Link | None:
    """One interface by its name."""
    found = netlink.get(GET_LINK, bytes(16) + attribute(3, name.encode() + b"\0"))
    return None if found is None else link(found)


@lru_cache(_UNDERSTOOD)
def link(message: Message) -> Link:
    """An interface from its message."""
    index, flags = struct.unpack_from("=iI", message.body, 4)
    found = message.attributes(16)
    mac = found.get(1)
    return Link(
        index=index,
        name=text(found.get(3)),
        mtu=number(found.get(4)),
        up=bool(flags & _UP),
        mac=":".join(f"{octet:02x}" for octet in mac) if mac else None,
        alias=text(found.get(20)),
        master=number(found.get(10)),
        peer_namespace=struct.unpack("=i", found[37][:4])[0] if 37 in found else None,
    )


def addresses(netlink: Netlink, device: int = 0) -> Iterator[KernelAddress]:
    """Every address, or those of one interface."""
    for message in netlink.dump(GET_ADDRESS, struct.pack("=BBBBI", 0, 0, 0, 0, device)):
        found = _address(message)
        if found is not None and device in (0, found.device):
            yield found


@lru_cache(_UNDERSTOOD)
def _address(message: Message) -> KernelAddress | None:
    found = message.attributes(8)
    raw = found.get(2) or found.get(1)  # IFA_LOCAL is the own one where a link is point to point
    if raw is None:
        return None
    protocol = found.get(11)
    return KernelAddress(
        device=address_device(message),
        address=ipaddress.ip_interface((raw, message.body[1])),
        automatic=protocol is not None and protocol[0] == 3,
    )


def address_device(message: Message) -> int:
    """The interface's index in an address message."""
    return int(struct.unpack_from("=I", message.body, 4)[0])


def routes(
    netlink: Netlink, version: int, *, table: int = 0, protocol: int = 0, kind: int = 0, device: int = 0
) -> Iterator[KernelRoute]:
    """Routes of one family, filtered in the kernel; 0 is any."""
    head = struct.pack("=BBBBBBBBI", _FAMILIES[version], 0, 0, 0, min(table, 255), protocol, 0, kind, 0)
    body = head + (attribute(4, struct.pack("=I", device)) if device else b"")
    for message in netlink.dump(GET_ROUTE, body):
        found = route(message)
        if found is not None and kind in (0, found.kind) and device in (0, found.device):
            yield found


@lru_cache(_UNDERSTOOD)
def route(message: Message) -> KernelRoute | None:
    """A route from its message; None for cloned ones (exceptions, caches)."""
    family, length, _, _, table, protocol, _, kind, flags = struct.unpack_from("=BBBBBBBBI", message.body)
    if flags & 0x200 or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = message.attributes(12)
    anywhere = bytes(4 if family == socket.AF_INET else 16)
    via = found.get(5)
    if 18 in found:
        via = found[18][2:]
    device = number(found.get(4))
    if 9 in found and not device:  # several next hops: the first speaks for all
        device = int(struct.unpack_from("=i", found[9], 4)[0])
    return KernelRoute(
        prefix=ipaddress.ip_network((found.get(1, anywhere), length)),
        table=number(found.get(15), table),
        kind=kind,
        protocol=protocol,
        metric=number(found.get(6)),
        device=device,
        via=ipaddress.ip_address(via) if via else None,
        source=ipaddress.ip_address(found[7]) if 7 in found else None,
    )


def rules(netlink: Netlink, version: int) -> Iterator[KernelRule]:
    """Routing rules but for `local` and `default`, which every namespace has and none of ours needs."""
    for message in netlink.dump(GET_RULE, struct.pack("=BBBBBBBBI", _FAMILIES[version], 0, 0, 0, 0, 0, 0, 0, 0)):
        found = message.attributes(12)
        priority = number(found.get(6))
        if priority in (0, 32767):
            continue
        table = number(found.get(15), message.body[4])
        yield KernelRule(version, priority, text(found.get(3)), number(found.get(10)), table)


def neighbours(netlink: Netlink, device: int) -> Iterator[tuple[Address, str]]:
    """Permanent neighbours of one interface."""
    body = struct.pack("=BBHiHBB", 0, 0, 0, 0, 0, 0, 0) + attribute(8, struct.pack("=I", device))
    for message in netlink.dump(GET_NEIGHBOUR, body):
        state = struct.unpack_from("=H", message.body, 8)[0]
        found = message.attributes(12)
        if state & 0x80 and 1 in found and 2 in found:
            yield ipaddress.ip_address(found[1]), ":".join(f"{octet:02x}" for octet in found[2])


def ruleset_generation() -> int:
    """Counts every change of the nftables ruleset in the calling thread's namespace; 0 where it cannot be told."""
    with Netlink(NETFILTER) as netlink:
        try:
            found = netlink.get(_GET_GENERATION, bytes(4))
        except OSError:
            return 0
        value = found.attributes(4).get(1) if found is not None else None
        return int(struct.unpack("!I", value)[0]) if value else 0


def setting(key: str) -> str | None:
    """A kernel setting by its path below /proc/sys; None where there is none or it cannot be read."""
    try:
        descriptor = os.open(f"/proc/sys/{key}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096).decode().strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def own_settings(device: str) -> tuple[tuple[str, str], ...]:
    """An interface's settings that differ from those a new one would get."""
    found: list[tuple[str, str]] = []
    for family in ("ipv4", "ipv6"):
        base = f"net/{family}/conf"
        try:
            keys = sorted(os.listdir(f"/proc/sys/{base}/{device}"))
        except OSError:
            continue
        for key in keys:
            value, usual = setting(f"{base}/{device}/{key}"), setting(f"{base}/default/{key}")
            if key != "mtu" and value is not None and usual is not None and value != usual:
                found.append((f"{base}/{device}/{key}", value))
    return tuple(found)
