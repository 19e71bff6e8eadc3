"""Forgetting tracked connections, so that flows follow the new truth (`nf_conntrack_netlink`)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator

from meetme.drivers.kernel import tables
from meetme.drivers.kernel.netlink import NETFILTER, Message, Netlink, attribute, attributes
from meetme.model.addresses import Address, Prefix

_GET, _DELETE = (1 << 8) | 1, (1 << 8) | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET and _DELETE
_ORIGINAL, _REPLY = 1, 2
_NESTED = 0x8000


def forget_all() -> None:
    """Every connection of the calling thread's namespace. Raises OSError."""
    if _tracking():
        with Netlink(NETFILTER) as netlink:
            netlink.do(_DELETE, bytes(4))


def forget(prefixes: Iterable[Prefix]) -> int:
    """The connections from or to any of `prefixes`; how many. Raises OSError.

    A router that tracks nothing is not asked: the question alone would load the kernel's module.
    """
    wanted = tuple(prefixes)
    if not _tracking() or not wanted:
        return 0
    gone = 0
    with Netlink(NETFILTER) as netlink:
        for message in netlink.dump(_GET, bytes(4)):
            ends = message.attributes(4)
            if not any(
                address in prefix for address in _ends(ends) for prefix in wanted if address.version == prefix.version
            ):
                continue
            gone += _delete(netlink, message, ends)
    return gone


def _tracking() -> bool:
    return tables.setting("net/netfilter/nf_conntrack_count") not in (None, "0")


def _ends(ends: dict[int, bytes]) -> Iterator[Address]:
    for direction in (_ORIGINAL, _REPLY):
        addresses = attributes(attributes(ends.get(direction, b"")).get(1, b""))
        yield from (ipaddress.ip_address(raw) for raw in addresses.values())


def _delete(netlink: Netlink, message: Message, ends: dict[int, bytes]) -> int:
    body = struct.pack("=BBH", message.body[0], 0, 0) + attribute(_ORIGINAL | _NESTED, ends[_ORIGINAL])
    if 18 in ends:  # CTA_ZONE
        body += attribute(18, ends[18])
    try:
        netlink.do(_DELETE, body)
    except FileNotFoundError:
        return 0  # it ended by itself meanwhile
    return 1
